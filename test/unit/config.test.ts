/** Configuration: where values come from, which one counts, and what is refused with which words. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { put } from '../../src/config/choice.ts';
import { describeConfig, redacted } from '../../src/config/describe.ts';
import type { Options } from '../../src/config/file-options.ts';
import { type Config, jsonSchema, optionTable, type SchemaInput } from '../../src/config/options.ts';
import { type Resolved, resolveConfig, resolveEtcd } from '../../src/config/resolve.ts';
import { environmentNames, readSources } from '../../src/config/sources.ts';
import { codeOf, detailsOf, problemText } from '../../src/errors.ts';
import type { Machine } from '../../src/host-address.ts';
import { nearest } from '../../src/nearest.ts';
import { createAuthority } from '../helpers/certificates.ts';
import { typescript } from '../helpers/run.ts';

interface Given {
  readonly options?: object;
  readonly argv?: object;
  readonly env?: NodeJS.ProcessEnv;
  /** The content of the configuration file: an object, or its text. */
  readonly file?: object | string;
}

const directory = mkdtempSync(join(tmpdir(), 'discover-config-'));
after(() => rmSync(directory, { recursive: true }));

function written(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

/** Root may read everything, and any other user does not have to become another one. */
function asUnprivileged(path: string, work: () => void): void {
  const { geteuid, seteuid } = process;
  if (geteuid?.() !== 0 || seteuid === undefined) {
    chmodSync(path, 0);
    work();
    return;
  }
  seteuid(65_534);
  try {
    work();
  } finally {
    seteuid(0);
  }
}

const authority = createAuthority(directory, 'ca');
const { ca: certificate } = authority;
const signed = authority.sign('cert');
const other = authority.sign('other');
const encryptedKey = written(
  'encrypted.key',
  createPrivateKey(readFileSync(signed.key))
    .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'hunter2' })
    .toString(),
);
const notPem = written('not.pem', 'hello');
const secretFile = written('secret', 'from-file\n');
const emptyFile = written('empty', '\n');
const missing = join(directory, 'missing.pem');

const machine: Machine = {
  cores: 4,
  hostname: 'host-1',
  metadataUrl: 'http://127.0.0.1:1',
  interfaces: () => ({
    eth0: [{ address: '10.0.0.5', family: 'IPv4', internal: false, netmask: '', mac: '', cidr: null }],
  }),
  sourceAddress: async () => undefined,
  read: () => undefined,
};

function resolve({ file, ...given }: Given = {}, on: Machine = machine): Promise<Resolved> {
  const path =
    file === undefined ? undefined : written('discover.json', typeof file === 'string' ? file : JSON.stringify(file));
  return resolveConfig(readSources({ ...given, file: path }), on);
}

async function configOf(given: Given = {}): Promise<Config> {
  return (await resolve(given)).config;
}

async function problemsOf(given: Given, on: Machine = machine): Promise<string[]> {
  const error: unknown = await resolve(given, on).then(
    () => assert.fail('the configuration was accepted'),
    (error: unknown) => error,
  );
  assert.equal(codeOf(error), 'CONFIG_INVALID');
  const { problems = [] } = detailsOf(error);
  const texts = problems.map(problemText);
  assert.equal((error as Error).message, ['Cannot use the configuration:', ...texts].join('\n  '));
  return texts;
}

describe('without any configuration', () => {
  test('every value is its default', async () => {
    const { config, warnings } = await resolve();
    assert.deepEqual(config, {
      workers: 2,
      resyncSeconds: 60,
      serviceVariable: 'DISCOVER',
      sources: ['variable', 'label'],
      explicit: false,
      label: 'discover',
      namePolicy: 'compat',
      realms: ['default'],
      views: [],
      publish: {
        health: 'exclude-unhealthy',
        drain: true,
        paused: 'keep',
        afterMs: 0,
        flapDeaths: 5,
        flapMs: 60_000,
        engineAwayMs: 0,
        stopGraceMs: 5_000,
      },
      address: { from: 'published', families: 'one' },
      docker: { endpoint: { kind: 'socket', path: '/var/run/docker.sock' }, apiVersion: undefined },
      etcd: { endpoints: ['http://localhost:2379'], prefix: '/discover', ttlSeconds: 30 },
      host: { id: 'host-1', ip: '10.0.0.5', realm: 'default', onExit: 'keep', wanted: {}, isGuessed: true },
      log: { level: 'info' },
    });
    assert.deepEqual(warnings, []);
  });

  test('attributes of the host are read as those of a label, and refused as they are', async () => {
    const attributes = ['weight=5', 'tags=a,b', 'region=eu'];
    const { hostAttributes, entriesMax } = await configOf({ file: { host: { attributes } } });
    assert.deepEqual(hostAttributes, { weight: 5, tags: ['a', 'b'], others: { region: 'eu' } });
    assert.equal(entriesMax, 63, 'Each instance has a meta');
    await assert.rejects(
      configOf({ file: { host: { attributes: ['weight=many'] } } }),
      /host\.attributes .*weight is an integer/,
    );
  });

  test('DNS is off unless it is told where to listen, and has a zone in lower case', async () => {
    assert.equal((await configOf({ file: { dns: { zone: 'x' } } })).dns, undefined);
    const { dns } = await configOf({ argv: { dns: { listen: '[::1]:53', zone: 'Discover.Example', ttl: '0' } } });
    const expected = { listen: { host: '::1', port: 53 }, zone: 'discover.example', ttlSeconds: 0, rate: 5_000 };
    assert.deepEqual(dns, expected);
  });

  test('the endpoint listens where it is told: to this machine alone unless an address is given', async () => {
    const told: [string | number, object][] = [
      [9320, { host: '127.0.0.1', port: 9320 }],
      ['9320', { host: '127.0.0.1', port: 9320 }],
      ['0.0.0.0:80', { host: '0.0.0.0', port: 80 }],
      ['[::1]:80', { host: '::1', port: 80 }],
      ['localhost:80', { host: 'localhost', port: 80 }],
      ['/run/discover/http.sock', { path: '/run/discover/http.sock' }],
    ];
    for (const [given, listen] of told) {
      assert.deepEqual((await configOf({ file: { http: { listen: given } } })).http, { listen, hosts: [] });
    }
    const { http } = await configOf({ argv: { http: { listen: '9320', hosts: 'host-1,host-1.example.org' } } });
    assert.deepEqual(http?.hosts, ['host-1', 'host-1.example.org']);
  });

  test('a machine of up to two cores gets one worker', async () => {
    assert.equal((await resolve({}, { ...machine, cores: 2 })).config.workers, 1);
  });
});

describe('config.example.json', () => {
  const example: unknown = JSON.parse(readFileSync(new URL('../../config.example.json', import.meta.url), 'utf8'));

  function leaves(tree: unknown, parent = ''): [path: string, value: unknown][] {
    return Object.entries(tree as object).flatMap(([key, value]: [string, unknown]): [string, unknown][] =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? leaves(value, `${parent}${key}.`)
        : [[parent + key, value]],
    );
  }

  test('it holds every option of the table at its default', () => {
    assert.deepEqual(
      leaves(example),
      optionTable.map((row) => [row.path, row.default]),
    );
  });

  test('it changes nothing', async () => {
    const { config, warnings } = await resolve({ file: example as object });
    assert.deepEqual(config, await configOf());
    assert.deepEqual(warnings, []);
  });
});

describe('the JSON Schema', () => {
  const at = (node: unknown, ...keys: string[]): unknown =>
    keys.reduce<unknown>((inner, key) => (inner as Record<string, unknown>)[key], node);

  test('it has every option with its default and description', () => {
    for (const { path, default: value, description } of optionTable) {
      const keys = path.split('.').flatMap((key) => ['properties', key]);
      assert.deepEqual(at(jsonSchema(), ...keys, 'default'), value, path);
      assert.equal(at(jsonSchema(), ...keys, 'description'), description);
    }
  });

  test('it knows limits, choices and null, and refuses what it does not know', () => {
    const schema = jsonSchema();
    assert.deepEqual(at(schema, 'properties', 'etcd', 'properties', 'ttl', 'anyOf'), [
      { type: 'integer', minimum: 2, maximum: 86_400 },
      { type: 'null' },
    ]);
    const choices = at(schema, 'properties', 'host', 'properties', 'onExit', 'anyOf', '0', 'enum');
    assert.deepEqual(choices, ['keep', 'remove', 'drain']);
    assert.equal(at(schema, 'additionalProperties'), false);
    assert.equal(at(schema, 'properties', 'docker', 'properties', 'tls', 'additionalProperties'), false);
    assert.equal(at(schema, 'required'), undefined);
  });
});

describe('precedence', () => {
  const places: [name: string, given: (realm: string) => Given][] = [
    ['file', (realm) => ({ file: { host: { realm } } })],
    ['environment host_realm', (realm) => ({ env: { host_realm: realm } })],
    ['environment DISCOVER_HOST_REALM', (realm) => ({ env: { DISCOVER_HOST_REALM: realm } })],
    ['command line', (realm) => ({ argv: { host: { realm } } })],
  ];
  const merged = (all: Given[]): Given => ({
    ...Object.assign({}, ...all),
    env: Object.assign({}, ...all.map(({ env }) => env)) as NodeJS.ProcessEnv,
  });

  for (const [index, [name]] of places.entries()) {
    test(`${name} counts before all that is below it`, async () => {
      const given = merged(places.slice(0, index + 1).map(([place, make]) => make(place.replaceAll(' ', '-'))));
      const { config, origins } = await resolve(given);
      assert.equal(config.host.realm, name.replaceAll(' ', '-'));
      assert.match(origins.get('host.realm') ?? '', new RegExp(`^${name}`));
    });
  }

  test('options that a program gives count as the command line does, and are what they are', async () => {
    const given: Given = { options: { host: { realm: 'a' } }, env: { DISCOVER_HOST_REALM: 'b' } };
    const { config, origins } = await resolve(given);
    assert.equal(config.host.realm, 'a');
    assert.equal(origins.get('host.realm'), 'options');
    const [problem] = await problemsOf({ options: { etcd: { ttl: '30' } } });
    assert.match(problem ?? '', /^etcd\.ttl \(options\) must be an integer .* got "30"$/);
  });

  test('the tools count after DISCOVER_* and before the original', async () => {
    const tool = { ETCDCTL_ENDPOINTS: 'tool:1', DOCKER_API_VERSION: '1.41', docker_version: '1.40' };
    const { config } = await resolve({ env: { ...tool, DISCOVER_ETCD_ENDPOINTS: 'ours:2' } });
    assert.deepEqual(config.etcd.endpoints, ['http://ours:2']);
    assert.equal(config.docker.apiVersion, '1.41');
  });

  test('null in a file means unset', async () => {
    assert.equal((await configOf({ file: { host: { realm: null }, etcd: null } })).host.realm, 'default');
  });

  test('what nobody set has the origin default, and what was found out says how', async () => {
    const { origins } = await resolve();
    assert.equal(origins.get('etcd.ttl'), 'default');
    assert.equal(origins.get('host.ip'), 'interface eth0');
    assert.equal(origins.get('host.id'), 'host name');
  });

  test('a file named on the command line counts, then DISCOVER_CONFIG, then config', async () => {
    const [first, second, third] = ['first', 'second', 'third'].map((realm) =>
      written(`${realm}.json`, JSON.stringify({ host: { realm } })),
    );
    const env = { DISCOVER_CONFIG: second, config: third };
    const realm = async (from: Parameters<typeof readSources>[0]): Promise<string> =>
      (await resolveConfig(readSources(from), machine)).config.host.realm;
    assert.equal(await realm({ env, file: first }), 'first');
    assert.equal(await realm({ env }), 'second');
    assert.equal(await realm({ env: { config: third } }), 'third');
  });
});

describe('the environment', () => {
  test('every option can be set by a variable of its own', () => {
    const names = optionTable.flatMap(({ path }) => environmentNames(path));
    assert.equal(new Set(names).size, names.length);
    assert.deepEqual(environmentNames('docker.socketPath'), ['DISCOVER_DOCKER_SOCKET_PATH']);
    assert.deepEqual(environmentNames('docker.tls.ca'), ['DISCOVER_DOCKER_TLS_CA']);
    assert.deepEqual(environmentNames('host.onExit'), ['DISCOVER_HOST_ON_EXIT']);
  });

  test('the group discover may be left out of a name', async () => {
    assert.equal((await configOf({ env: { DISCOVER_SERVICE_VARIABLE: 'SVC' } })).serviceVariable, 'SVC');
    assert.equal((await configOf({ env: { DISCOVER_DISCOVER_SERVICE_VARIABLE: 'SVC' } })).serviceVariable, 'SVC');
  });

  test('numbers, booleans and lists are read from text', async () => {
    const config = await configOf({
      env: { DISCOVER_WORKERS: '0', DISCOVER_SILLY: 'true', DISCOVER_ETCD_ENDPOINTS: 'a:1, b:2', DISCOVER_DEBUG: '0' },
    });
    assert.equal(config.workers, 0);
    assert.equal(config.log.level, 'trace');
    assert.deepEqual(config.etcd.endpoints, ['http://a:1', 'http://b:2']);
  });

  test('a text that looks like a number stays the text it is', async () => {
    const { host } = await configOf({ env: { DISCOVER_HOST_ID: '0123', DISCOVER_HOST_REALM: '1e3' } });
    assert.deepEqual([host.id, host.realm], ['0123', '1e3']);
  });

  test('the file of the system is read where no other is named', async () => {
    const systemFile = written('system.json', JSON.stringify({ host: { realm: 'blue' } }));
    const file = written('named.json', JSON.stringify({ host: { id: 'h' } }));
    const origins = (given: Given) => {
      const { chosen } = readSources({ ...given, systemFile, file: given.file as string | undefined });
      return [...chosen].map(([path, { origin }]) => `${path} ${origin}`);
    };
    assert.deepEqual(origins({}), [`host.realm file ${systemFile}`]);
    assert.deepEqual(origins({ file }), [`host.id file ${file}`]);
    assert.deepEqual(origins({ env: { DISCOVER_CONFIG: file } }), [`host.id file ${file}`]);
    const { problems, warnings, chosen } = readSources({ systemFile: '/nowhere/config.json' });
    assert.deepEqual([problems, warnings, chosen.size], [[], [], 0]);
  });

  test('a file of the system that may not be read stops the agent, and is a warning of a command', () => {
    const folder = join(directory, 'system');
    const systemFile = join(folder, 'config.json');
    mkdirSync(folder, { mode: 0o755 });
    writeFileSync(systemFile, '{}', { mode: 0o600 });
    chmodSync(directory, 0o755);
    const check = (): void => {
      for (const isAgent of [false, true]) {
        const { chosen, problems, warnings } = readSources({ systemFile, isAgent });
        const [expected, none] = isAgent ? [problems, warnings] : [warnings, problems];
        assert.match(expected.map(problemText).join('\n'), /^file .*config\.json .*: permission denied/);
        assert.deepEqual([none, chosen.size], [[], 0]);
      }
    };
    try {
      asUnprivileged(systemFile, check);
      // Nor is a folder that may not be opened one that has no such file.
      chmodSync(folder, 0o700);
      asUnprivileged(folder, check);
    } finally {
      chmodSync(folder, 0o700);
      chmodSync(directory, 0o700);
    }
  });

  test('a view that no reader finds is refused or warned of', async () => {
    const [problem, ...more] = await problemsOf({ argv: { 'views.traefik': '/traefik' } });
    assert.match(problem ?? '', /^views\.traefik \(command line\) must not begin with a slash.*got "\/traefik"$/);
    assert.deepEqual(more, []);
    const warned = async (views: object) =>
      (await resolve({ options: { views } })).warnings.map(problemText).join('\n');
    assert.match(await warned({ grpc: '/discover/grpc' }), /^views\.grpc \(options\) begins with a slash/);
    assert.equal(await warned({ custom: ['/x/{{name}}/{{id}}-{{privatePort}}-{{protocol:dns}} = {{address}}'] }), '');
    assert.equal(await warned({ custom: ['/x/{{name}}/{{index}} = {{address}}'] }), '');
    assert.equal(await warned({ grpc: 'discover/grpc', traefik: 'traefik' }), '');
  });

  test('DISCOVER alone is an advertisement and not configuration', async () => {
    const { config, warnings } = await resolve({ env: { DISCOVER: 'web:8080' } });
    assert.deepEqual(config, await configOf());
    assert.deepEqual(warnings, []);
  });

  test('an unknown variable is refused as on the command line, and the nearest is named', async () => {
    const problems = await problemsOf({ env: { DISCOVER_HOST_RELM: 'x', DISCOVER_REALM: 'y', DISCOVER_: 'z' } });
    assert.equal(problems.length, 3);
    const unknown = 'is not an option, did you mean DISCOVER_HOST_REALM?';
    assert.equal(problems[0], `DISCOVER_HOST_RELM (environment) ${unknown}`);
    assert.equal(problems[1], `DISCOVER_REALM (environment) ${unknown}`);
  });

  test('a name near to one of the original is refused where it is certainly ours, and warned of elsewhere', async () => {
    const env = { discover_realm: 'x', host_relm: 'x', etcd_endpoints: 'a:1', docker_image: 'x', etcd_: 'x' };
    assert.deepEqual(await problemsOf({ env }), ['discover_realm (environment) is not an option']);
    const { discover_realm: _, ...others } = env;
    const { config, warnings } = await resolve({ env: others });
    assert.deepEqual(config, await configOf());
    assert.deepEqual(warnings.map(problemText), [
      'host_relm (environment) is not read, did you mean host_realm?',
      'etcd_endpoints (environment) is not read, did you mean DISCOVER_ETCD_ENDPOINTS?',
    ]);
  });

  test('what Kubernetes sets for a service called discover is no mistake', async () => {
    const env = { KUBERNETES_SERVICE_HOST: '10.0.0.1', DISCOVER_SERVICE_HOST: '10.0.0.9', DISCOVER_PORT: 'tcp://x:1' };
    assert.deepEqual(await configOf({ env }), await configOf());
    assert.equal((await problemsOf({ env: { DISCOVER_PORT: '1' } })).length, 1);
  });

  test('a member named by one of the original names has that as its origin', async () => {
    const { origins } = await resolve({ env: { etcd_host: 'e1' } });
    assert.equal(origins.get('etcd.endpoints'), 'environment etcd_host');
  });

  test('the names of the original are read exactly', async () => {
    const config = await configOf({
      env: {
        discover_serviceVariable: 'SVC',
        docker_host: 'engine',
        docker_port: '2375',
        docker_version: 'v1.41',
        etcd_host: 'etcd',
        etcd_port: '4001',
        etcd_prefix: 'old/',
        host_ip: '10.1.1.1',
        host_id: 'h',
        host_realm: 'r',
        debug: 'true',
        log: '/tmp/log',
        HOST_REALM: 'not-this',
        docker_socketpath: '/not/this',
      },
    });
    assert.deepEqual(config, {
      workers: 2,
      resyncSeconds: 60,
      serviceVariable: 'SVC',
      sources: ['variable', 'label'],
      explicit: false,
      label: 'discover',
      namePolicy: 'compat',
      realms: ['r'],
      views: [],
      publish: {
        health: 'exclude-unhealthy',
        drain: true,
        paused: 'keep',
        afterMs: 0,
        flapDeaths: 5,
        flapMs: 60_000,
        engineAwayMs: 0,
        stopGraceMs: 5_000,
      },
      address: { from: 'published', families: 'one' },
      docker: { endpoint: { kind: 'tcp', host: 'engine', port: 2375 }, apiVersion: '1.41' },
      etcd: { endpoints: ['http://etcd:4001'], prefix: '/old', ttlSeconds: 30 },
      host: { id: 'h', ip: '10.1.1.1', realm: 'r', onExit: 'keep' },
      log: { level: 'debug', file: '/tmp/log' },
    });
  });

  test('of the original docker_socketPath is read too, false as well', async () => {
    const socket = await configOf({ env: { docker_socketPath: '/s' } });
    assert.deepEqual(socket.docker.endpoint, { kind: 'socket', path: '/s' });
    const tcp = await configOf({ env: { docker_socketPath: 'false' } });
    assert.deepEqual(tcp.docker.endpoint, { kind: 'tcp', host: 'localhost', port: 4243 });
  });

  test('an empty variable of a tool or of the original is one that is not set', async () => {
    const env = { ETCDCTL_ENDPOINTS: '', ETCDCTL_USER: '', DOCKER_HOST: '', DOCKER_TLS_VERIFY: '', host_id: '' };
    assert.deepEqual(await configOf({ env }), await configOf());
  });
});

describe('docker.filter', () => {
  test('is a list of lines, each by itself', async () => {
    const file = { docker: { filter: ['label=tier=web,db', 'name=^web'] } };
    const wanted = [
      { key: 'label', value: 'tier=web,db' },
      { key: 'name', value: '^web' },
    ];
    assert.deepEqual((await configOf({ file })).docker.filter, wanted);
    const env = { DISCOVER_DOCKER_FILTER: 'label=tier=web,db\nname=^web\n' };
    assert.deepEqual((await configOf({ env })).docker.filter, wanted);
    assert.equal((await configOf({ file: { docker: { filter: [] } } })).docker.filter, undefined);
  });

  test('is refused with the key, the line and what is allowed, each line by itself', async () => {
    const problems = await problemsOf({ options: { docker: { filter: ['label=a', 'status=exited', 'name=('] } } });
    assert.deepEqual(problems.length, 2);
    const [status = '', name = ''] = problems;
    assert.match(status, /^docker\.filter \(options\) must filter by label, name or network.*got "status=exited"$/);
    assert.match(name, /^docker\.filter .*regular expression.*got "name=\("$/);
  });
});

describe('views', () => {
  test('each has the root that is configured, and makes room in the transaction', async () => {
    const { views, entriesMax } = await configOf({
      options: { views: { grpc: 'g', skydns: 'a.b', custom: ['tcp: /x/{{id}}-{{privatePort}} = {{url}}'] } },
    });
    assert.deepEqual(
      views.map(({ key }) => key.replace(/\/?\{\{.*/, '')),
      ['/skydns/b/a', '/skydns/b/a', '/skydns/b/a', 'g', '/x'],
    );
    assert.equal(entriesMax, 25);
    assert.equal((await configOf()).entriesMax, undefined);
  });

  test('of the environment, custom ones stand a line each', async () => {
    const env = { DISCOVER_VIEWS_CUSTOM: '/x/{{name}}/{{index}} = {"a":1,"b":2}\n/y/{{name}}/{{index}} = {{url}}\n' };
    assert.deepEqual((await configOf({ env })).views, [
      { key: '/x/{{name}}/{{index}}', value: '{"a":1,"b":2}' },
      { key: '/y/{{name}}/{{index}}', value: '{{url}}' },
    ]);
  });

  test('of one protocol are written as a text or as an object, and are shown as a text', async () => {
    const [key, value] = ['/x/{{id}}-{{privatePort}}', '{{url}}'];
    for (const entry of [`tcp: ${key} = ${value}`, `tcp: "${key} = ${value}"`, { tcp: `${key} = ${value}` }]) {
      const resolved = await resolve({ options: { views: { custom: [entry] } } });
      assert.deepEqual(resolved.config.views, [{ protocols: ['tcp'], key, value }]);
      assert.match(describeConfig(resolved, 'table'), /views\.custom +tcp: \/x\/\{\{id\}\}-\{\{privatePort\}\} = /);
    }
    const both = { custom: [{ tcp: `${key} = ${value}`, udp: `/y${key} = ${value}` }] };
    assert.deepEqual(
      (await configOf({ options: { views: both } })).views.map(({ protocols }) => protocols),
      [['tcp'], ['udp']],
    );
  });

  const wrong: [views: object, message: RegExp][] = [
    [
      { skydns: 'a b' },
      /^views\.skydns .*must be a DNS zone such as "discover\.local", at most 200 characters, got "a b"$/,
    ],
    [{ grpc: 'g/' }, /^views\.grpc .*must be a path such as "\/lookup", without a slash at its end, got "g\/"$/],
    [{ registrator: '/discover/service' }, /^views\.registrator .*must begin with a text of its own.*got "\/discover/],
    [{ custom: ['/x/{{id}}'] }, /^views\.custom .*must be a list of "<key template> = <value template>"/],
    [{ custom: ['/x/{{name}} = a'] }, /^views\.custom .*must name the container by .*got "\/x\/\{\{name\}\} = a"$/],
    [
      { custom: ['/x/{{name}}/{{index}} = a', '/x/{{name}}/{{index}} = b'] },
      /^views\.custom .*must be unlike the keys of other views/,
    ],
    [{ custom: ['/x/{{id}} = {"a": {{ip}}}'] }, /^views\.custom .*JSON/],
    [{ custom: ['/x/{{id}} = a'] }, /^views\.custom .*must tell the ports and protocols of a service apart.*got "\/x/],
    [{ custom: ['/x/{{id}}-{{privatePort}} = a'] }, /must tell the protocols of a service apart: add \{\{protocol\}\}/],
    [{ custom: ['tcp: /x/{{id}} = a'] }, /must tell the ports of a service apart: add \{\{privatePort\}\}, got "tcp:/],
    [{ custom: [{ http: '/x/{{index}} = a' }] }, /^views\.custom .*must be a list of .* if it is for one protocol/],
  ];
  for (const [views, message] of wrong) {
    test(`such as ${JSON.stringify(views)} are refused`, async () => {
      assert.deepEqual((await problemsOf({ options: { views } })).filter((problem) => message.test(problem)).length, 1);
    });
  }
});

describe('log levels', () => {
  const levels: [options: object, level: string][] = [
    [{ debug: true }, 'debug'],
    [{ verbose: true }, 'debug'],
    [{ silly: true }, 'trace'],
    [{ silly: true, debug: true }, 'trace'],
    [{ debug: false }, 'info'],
  ];
  for (const [argv, level] of levels) {
    test(`${JSON.stringify(argv)} logs at ${level}`, async () =>
      assert.equal((await configOf({ argv })).log.level, level));
  }
});

describe('the engine', () => {
  type Endpoint = Config['docker']['endpoint'];
  const tcp = (host: string, port: number): Endpoint => ({ kind: 'tcp', host, port });
  const cases: [name: string, given: Given, expected: Endpoint, warnings?: RegExp[]][] = [
    ['a socket path', { argv: { docker: { socketPath: '/s' } } }, { kind: 'socket', path: '/s' }],
    ['a host alone', { argv: { docker: { host: 'e' } } }, tcp('e', 4243)],
    ['a port alone', { argv: { docker: { port: 2375 } } }, tcp('localhost', 2375)],
    ['socketPath false', { file: { docker: { socketPath: false } } }, tcp('localhost', 4243)],
    ['socketPath false and a host', { file: { docker: { socketPath: false, host: 'e' } } }, tcp('e', 4243)],
    ['an IPv6 host loses its brackets', { argv: { docker: { host: '[fd00::1]' } } }, tcp('fd00::1', 4243)],
    [
      'a socket beside host and port counts, with one warning',
      { file: { docker: { socketPath: '/s', host: 'e', port: 1 } } },
      { kind: 'socket', path: '/s' },
      [/^docker\.host \(file .*\) and docker\.port \(file .*\) ignored in favour of docker\.socketPath \(file /],
    ],
    [
      'a host from a higher place counts before a socket from a lower one',
      { argv: { docker: { host: 'e' } }, file: { docker: { socketPath: '/s' } } },
      tcp('e', 4243),
      [/^docker\.socketPath \(file .*\) ignored in favour of docker\.host \(command line\)$/],
    ],
    ['DOCKER_HOST unix://', { env: { DOCKER_HOST: 'unix:///run/d.sock' } }, { kind: 'socket', path: '/run/d.sock' }],
    ['DOCKER_HOST tcp://', { env: { DOCKER_HOST: 'tcp://e:1234' } }, tcp('e', 1234)],
    ['DOCKER_HOST tcp:// without port', { env: { DOCKER_HOST: 'tcp://e' } }, tcp('e', 2375)],
    ['DOCKER_HOST http://', { env: { DOCKER_HOST: 'http://e:1234/' } }, tcp('e', 1234)],
    ['DOCKER_HOST with IPv6', { env: { DOCKER_HOST: 'tcp://[fd00::1]:1234' } }, tcp('fd00::1', 1234)],
    [
      'DOCKER_HOST https:// turns TLS on',
      { env: { DOCKER_HOST: 'https://e' } },
      { kind: 'tcp', host: 'e', port: 2376, tls: {} },
    ],
    [
      'DOCKER_HOST counts before a socket of the file',
      { env: { DOCKER_HOST: 'tcp://e:1' }, file: { docker: { socketPath: '/s' } } },
      tcp('e', 1),
    ],
    [
      'DOCKER_HOST is not mixed with a host from a higher place',
      { env: { DOCKER_HOST: 'tcp://e:1', DISCOVER_DOCKER_HOST: 'f' } },
      tcp('f', 4243),
    ],
    [
      'a DOCKER_HOST that cannot be used does no harm where it does not count',
      { env: { DOCKER_HOST: 'ssh://e' }, argv: { docker: { socketPath: '/s' } } },
      { kind: 'socket', path: '/s' },
    ],
  ];
  for (const [name, given, expected, warnings = []] of cases) {
    test(`${name}`, async () => {
      const resolved = await resolve(given);
      assert.deepEqual(resolved.config.docker.endpoint, expected);
      assert.equal(resolved.warnings.length, warnings.length, resolved.warnings.map(problemText).join('\n'));
      for (const [index, warning] of warnings.entries()) {
        assert.match(problemText(resolved.warnings[index] ?? assert.fail('no such warning')), warning);
      }
    });
  }

  const ofTls: [name: string, tls: object, expected: object][] = [
    ['a certificate authority turns TLS on', { ca: certificate }, { ca: readFileSync(certificate) }],
    ['verify turns TLS on without a file', { verify: true }, {}],
    ['certificate and key are read', signed, { cert: readFileSync(signed.cert), key: readFileSync(signed.key) }],
  ];
  for (const [name, tls, expected] of ofTls) {
    test(`${name}`, async () => {
      const { docker } = await configOf({ argv: { docker: { host: 'e', tls } } });
      assert.deepEqual(docker.endpoint, { ...tcp('e', 4243), tls: expected });
    });
  }

  test('DOCKER_TLS_VERIFY is on when not empty and takes the files of DOCKER_CERT_PATH', async () => {
    copyFileSync(signed.key, join(directory, 'key.pem')); // ca.pem and cert.pem are there
    const env = { DOCKER_HOST: 'tcp://e', DOCKER_TLS_VERIFY: '0', DOCKER_CERT_PATH: directory };
    const { endpoint } = await configOf({ env }).then(({ docker }) => docker);
    assert.ok(endpoint.kind === 'tcp');
    assert.equal(endpoint.port, 2376);
    assert.deepEqual(endpoint.tls?.key, readFileSync(signed.key));
  });

  test('a pinned version is given without v', async () => {
    assert.equal((await configOf({ argv: { docker: { version: 'v1.41' } } })).docker.apiVersion, '1.41');
    assert.equal((await configOf({ env: { DOCKER_API_VERSION: '1.44' } })).docker.apiVersion, '1.44');
  });
});

describe('etcd', () => {
  const cases: [name: string, given: Given, endpoints: string[], warnings?: number][] = [
    ['a host alone has port 2379', { argv: { etcd: { host: 'e' } } }, ['http://e:2379']],
    ['a port alone has localhost', { argv: { etcd: { port: 4001 } } }, ['http://localhost:4001']],
    ['an IPv6 host gets brackets', { argv: { etcd: { host: 'fd00::1' } } }, ['http://[fd00::1]:2379']],
    [
      'bare endpoints are http',
      { file: { etcd: { endpoints: ['a:1', 'http://b:2/'] } } },
      ['http://a:1', 'http://b:2'],
    ],
    ['an endpoint given twice is one', { file: { etcd: { endpoints: ['a:1', 'http://A:1'] } } }, ['http://a:1']],
    [
      'bare endpoints are https with etcd.tls',
      { argv: { etcd: { endpoints: 'a:1', tls: { ca: certificate } } } },
      ['https://a:1'],
    ],
    [
      'the default is https with etcd.tls',
      { argv: { etcd: { tls: { ca: certificate } } } },
      ['https://localhost:2379'],
    ],
    ['endpoints beside a host count', { file: { etcd: { endpoints: ['a:1'], host: 'b' } } }, ['http://a:1'], 1],
    [
      'a host from a higher place counts before endpoints',
      { env: { etcd_host: 'b' }, file: { etcd: { endpoints: ['a:1'] } } },
      ['http://b:2379'],
      1,
    ],
    ['ETCDCTL_ENDPOINTS', { env: { ETCDCTL_ENDPOINTS: 'https://a:1,https://b:2' } }, ['https://a:1', 'https://b:2']],
  ];
  for (const [name, given, endpoints, warnings = 0] of cases) {
    test(`${name}`, async () => {
      const resolved = await resolve(given);
      assert.deepEqual(resolved.config.etcd.endpoints, endpoints);
      assert.equal(resolved.warnings.length, warnings, resolved.warnings.map(problemText).join('\n'));
    });
  }

  test('the files of ETCDCTL_CACERT, _CERT and _KEY are read', async () => {
    const env = { ETCDCTL_CACERT: certificate, ETCDCTL_CERT: signed.cert, ETCDCTL_KEY: signed.key };
    const { tls } = (await configOf({ env })).etcd;
    assert.deepEqual(tls, {
      ca: readFileSync(certificate),
      cert: readFileSync(signed.cert),
      key: readFileSync(signed.key),
    });
  });

  for (const prefix of ['discover', '/discover', 'discover/', '/discover/']) {
    test(`prefix ${prefix} is /discover`, async () =>
      assert.equal((await configOf({ argv: { etcd: { prefix } } })).etcd.prefix, '/discover'));
  }

  const logins: [name: string, given: Given, username: string, password: string][] = [
    ['ETCDCTL_USER may hold the password', { env: { ETCDCTL_USER: 'root:a:b' } }, 'root', 'a:b'],
    ['ETCDCTL_PASSWORD', { env: { ETCDCTL_USER: 'ro:ot', ETCDCTL_PASSWORD: 'p' } }, 'ro:ot', 'p'],
    [
      'DISCOVER_ETCD_PASSWORD counts before ETCDCTL_PASSWORD',
      { env: { DISCOVER_ETCD_PASSWORD: 'q', ETCDCTL_USER: 'u', ETCDCTL_PASSWORD: 'p' } },
      'u',
      'q',
    ],
    ['a password that a program gives', { options: { etcd: { username: 'u', password: 'p' } } }, 'u', 'p'],
    ['a password of the file', { file: { etcd: { username: 'u', password: 'p' } } }, 'u', 'p'],
    ['a password file', { argv: { etcd: { username: 'u', passwordFile: secretFile } } }, 'u', 'from-file'],
    [
      'a password file counts before a password from a lower place',
      { argv: { etcd: { username: 'u', passwordFile: secretFile } }, file: { etcd: { password: 'p' } } },
      'u',
      'from-file',
    ],
  ];
  for (const [name, given, username, password] of logins) {
    test(`login: ${name}`, async () => {
      const { etcd } = await configOf(given);
      assert.deepEqual([etcd.username, etcd.password], [username, password]);
    });
  }

  test('a password that crosses the network in the clear earns a warning', async () => {
    const login = { username: 'u', passwordFile: secretFile };
    const { warnings } = await resolve({ argv: { etcd: { ...login, endpoints: 'db:2379' } } });
    assert.match(warnings.map(problemText).join(), /unencrypted/);
  });
});

describe('etcd alone, for commands that want nothing else', () => {
  test('is what it is in the whole, though this machine has no address to publish', async () => {
    const given = { argv: { 'etcd.endpoints': 'a:1,b:2', 'etcd.prefix': 'x/' }, env: { DISCOVER_ETCD_TTL: '9' } };
    const { etcd, warnings } = resolveEtcd(readSources(given));
    assert.deepEqual(etcd, (await configOf(given)).etcd);
    assert.deepEqual(warnings, []);
  });

  test('is refused for what is wrong anywhere', () => {
    assert.throws(
      () => resolveEtcd(readSources({ argv: { 'etcd.ttl': '1', 'host.realm': '..' } })),
      (error: Error) => codeOf(error) === 'CONFIG_INVALID' && /etcd\.ttl .*\n {2}host\.realm /.test(error.message),
    );
  });
});

describe('mistakes', () => {
  const long = 'x'.repeat(256);
  const wide = 'é'.repeat(128);
  const segment = /must be 1 to 255 bytes without slash, white space or control characters, not "\." or "\.\."/;
  const cases: [name: string, given: Given, ...problems: RegExp[]][] = [
    [
      'an empty host id',
      { argv: { host: { id: '' } } },
      /^host\.id \(command line\) must be 1 to 255 bytes .* got ""$/,
    ],
    [
      'an empty host id from the environment',
      { env: { DISCOVER_HOST_ID: '' } },
      /^host\.id \(environment DISCOVER_HOST_ID\)/,
    ],
    ['a slash in the host id', { argv: { host: { id: 'a/b' } } }, /^host\.id .*got "a\/b"$/],
    [
      'a slash in the realm',
      { env: { host_realm: 'a/b' } },
      /^host\.realm \(environment host_realm\) must be .* got "a\/b"$/,
    ],
    ['a space in the realm', { file: { host: { realm: 'a b' } } }, segment],
    ['a line break in the host id', { file: { host: { id: 'a\nb' } } }, segment],
    ['a control character in the realm', { file: { host: { realm: 'a\u0007' } } }, segment],
    ['a no-break space in the realm', { file: { host: { realm: 'a\u00a0b' } } }, segment],
    ['a lone surrogate in the realm', { file: { host: { realm: 'a\ud800' } } }, segment],
    ['a realm of one dot', { argv: { host: { realm: '.' } } }, segment],
    ['a realm of two dots', { argv: { host: { realm: '..' } } }, segment],
    ['a realm of 256 bytes', { argv: { host: { realm: long } } }, segment],
    ['a realm of 128 letters and 256 bytes', { argv: { host: { realm: wide } } }, segment],
    ['a realm that is a number', { file: { host: { realm: 7 } } }, /^host\.realm \(file .*\) must be .* got 7$/],
    [
      'an address that is none',
      { argv: { host: { ip: '10.0.0' } } },
      /^host\.ip .*must be an IPv4 or IPv6 address.*"10\.0\.0"$/,
    ],
    ['an address that means all', { argv: { host: { ip: '0.0.0.0' } } }, /^host\.ip .*got "0\.0\.0\.0"$/],
    ['the IPv6 address that means all', { argv: { host: { ip: '::' } } }, /^host\.ip .*got "::"$/],
    ['an address with a zone', { argv: { host: { ip: 'fe80::1%eth0' } } }, /^host\.ip .*got "fe80::1%eth0"$/],
    ['a host name for the address', { argv: { host: { ip: 'localhost' } } }, /^host\.ip .*got "localhost"$/],
    [
      'an interface that is not there',
      { argv: { host: { interface: 'ens5' } } },
      /^host\.interface must be .*"ens5".*eth0 10\.0\.0\.5$/,
    ],
    [
      'an unknown onExit',
      { argv: { host: { onExit: 'drop' } } },
      /^host\.onExit .*must be keep or remove or drain, got "drop"$/,
    ],
    ['a prefix of nothing', { argv: { etcd: { prefix: '' } } }, /^etcd\.prefix .*at least one segment.*got ""$/],
    ['a prefix of one slash', { argv: { etcd: { prefix: '/' } } }, /^etcd\.prefix .*got "\/"$/],
    [
      'a prefix with a double slash',
      { argv: { etcd: { prefix: '/a//b' } } },
      /^etcd\.prefix .*no double slash, got "\/a\/\/b"$/,
    ],
    ['a prefix that begins with a double slash', { argv: { etcd: { prefix: '//a' } } }, /^etcd\.prefix /],
    ['a prefix that ends with a double slash', { argv: { etcd: { prefix: 'a//' } } }, /^etcd\.prefix /],
    ['a prefix with dots for a segment', { argv: { etcd: { prefix: 'a/../b' } } }, /^etcd\.prefix /],
    ['a prefix with white space', { argv: { etcd: { prefix: '/a b' } } }, /^etcd\.prefix /],
    [
      'a TTL of one second',
      { file: { etcd: { ttl: 1 } } },
      /^etcd\.ttl \(file .*\) must be an integer from 2 to 86400, got 1$/,
    ],
    ['a port to listen at that is none', { argv: { http: { listen: '70000' } } }, /^http\.listen .*got "70000"$/],
    ['an address to listen at without port', { argv: { http: { listen: '127.0.0.1' } } }, /^http\.listen /],
    ['an IPv6 address to listen at without brackets', { file: { http: { listen: '::1:80' } } }, /^http\.listen /],
    ['a socket to answer DNS at', { argv: { dns: { listen: '/run/dns' } } }, /^dns\.listen .*\[IPv6\]:port, got/],
    [
      'a label over 63 octets',
      { file: { dns: { zone: `${'a'.repeat(64)}.b` } } },
      /^dns\.zone .*at most 200 characters/,
    ],
    ['a TTL below 0', { file: { dns: { ttl: -1 } } }, /^dns\.ttl .*from 0 to 3600, got -1/],
    ['a relative socket to listen at', { file: { http: { listen: 'run/d.sock' } } }, /^http\.listen /],
    ['a host name with a port', { argv: { http: { hosts: 'web:80' } } }, /^http\.hosts .*a list of host names/],
    ['a TTL of a week', { argv: { etcd: { ttl: '604800' } } }, /^etcd\.ttl .*got 604800$/],
    ['a TTL of half a second', { file: { etcd: { ttl: 2.5 } } }, /^etcd\.ttl .*got 2\.5$/],
    [
      'a TTL with a unit',
      { env: { DISCOVER_ETCD_TTL: '30s' } },
      /^etcd\.ttl \(environment DISCOVER_ETCD_TTL\) .*got "30s"$/,
    ],
    ['a TTL in quotes in a file', { file: { etcd: { ttl: '30' } } }, /^etcd\.ttl .*got "30"$/],
    [
      'a switch that is neither on nor off',
      { argv: { debug: 'maybe' } },
      /^debug \(command line\) must be true or false, got "maybe"$/,
    ],
    [
      'an engine that is not verified',
      { argv: { docker: { host: 'e', tls: { ca: certificate, verify: 'false' } } } },
      /^docker\.tls\.verify \(command line\) must be true: verification cannot be switched off, got false$/,
    ],
    [
      'an endpoint without port',
      { argv: { etcd: { endpoints: 'db' } } },
      /^etcd\.endpoints .*list of host:port.*\["db"\]$/,
    ],
    ['an endpoint with a path', { argv: { etcd: { endpoints: 'http://db:1/v3' } } }, /^etcd\.endpoints /],
    ['an endpoint with another scheme', { argv: { etcd: { endpoints: 'unix://db:1' } } }, /^etcd\.endpoints /],
    ['an endpoint with a port above 65535', { argv: { etcd: { endpoints: 'db:65536' } } }, /^etcd\.endpoints /],
    ['no endpoint', { file: { etcd: { endpoints: [] } } }, /^etcd\.endpoints .*got \[\]$/],
    ['an empty endpoint', { argv: { etcd: { endpoints: 'a:1,,b:1' } } }, /^etcd\.endpoints /],
    ['endpoints as one text in a file', { file: { etcd: { endpoints: 'a:1' } } }, /^etcd\.endpoints .*got "a:1"$/],
    [
      'http and https endpoints',
      { argv: { etcd: { endpoints: 'http://a:1,https://b:1' } } },
      /^etcd\.endpoints .*must be all https/,
    ],
    [
      'http endpoints with TLS',
      { argv: { etcd: { endpoints: 'http://a:1', tls: { ca: certificate } } } },
      /^etcd\.endpoints /,
    ],
    [
      'a scheme in etcd.host',
      { argv: { etcd: { host: 'http://db' } } },
      /^etcd\.host .*without scheme and port, got "http:\/\/db"$/,
    ],
    ['a port in etcd.host', { argv: { etcd: { host: 'db:2379' } } }, /^etcd\.host .*got "db:2379"$/],
    ['port 0', { argv: { etcd: { port: 0 } } }, /^etcd\.port .*an integer from 1 to 65535, got 0$/],
    [
      'a CA that is not there',
      { argv: { etcd: { tls: { ca: missing } } } },
      /^etcd\.tls\.ca \(command line\) must be a file that can be read, got ".*missing\.pem": ENOENT/,
    ],
    [
      'a CA that is a directory',
      { argv: { etcd: { tls: { ca: directory } } } },
      /^etcd\.tls\.ca .*discover-config-.*EISDIR/,
    ],
    [
      'a CA that is not PEM',
      { argv: { etcd: { tls: { ca: notPem } } } },
      /^etcd\.tls\.ca .*must be a PEM file that holds a certificate, got ".*not\.pem"$/,
    ],
    [
      'an environment in which Node takes any certificate',
      { env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' } },
      /^NODE_TLS_REJECT_UNAUTHORIZED \(environment\) must not be 0: /,
    ],
    [
      'a key where the CA belongs',
      { argv: { etcd: { tls: { ca: signed.key } } } },
      /^etcd\.tls\.ca .*must be a PEM file that holds a certificate, got ".*cert\.key"$/,
    ],
    [
      'a CA that was cut short',
      { argv: { etcd: { tls: { ca: written('cut.pem', readFileSync(certificate, 'utf8').slice(0, 300)) } } } },
      /^etcd\.tls\.ca .*must be a PEM file that holds a certificate, got ".*cut\.pem"$/,
    ],
    [
      'a certificate where the key belongs',
      { argv: { etcd: { tls: { cert: signed.cert, key: signed.cert } } } },
      /^etcd\.tls\.key .*must be a PEM file that holds a private key without a passphrase, got ".*cert\.pem"$/,
    ],
    [
      'a key with a passphrase',
      { argv: { docker: { host: 'e', tls: { cert: signed.cert, key: encryptedKey } } } },
      /^docker\.tls\.key .*must be a PEM file that holds a private key without a passphrase, got ".*encrypted\.key"$/,
    ],
    [
      'a key of another certificate',
      { argv: { etcd: { tls: { cert: signed.cert, key: other.key } } } },
      /^etcd\.tls\.key .*must be the key of etcd\.tls\.cert, got ".*other\.key"$/,
    ],
    [
      'a key that is a directory',
      { argv: { etcd: { tls: { cert: signed.cert, key: directory } } } },
      /^etcd\.tls\.key .*must be a file that can be read, got ".*": EISDIR/,
    ],
    [
      'a certificate without key',
      { argv: { etcd: { tls: { cert: certificate } } } },
      /^etcd\.tls\.cert and etcd\.tls\.key must be set together$/,
    ],
    ['a user without password', { argv: { etcd: { username: 'u' } } }, /^etcd\.username must be set together with/],
    ['a password without user', { env: { DISCOVER_ETCD_PASSWORD: 'p' } }, /^etcd\.username must be set together with/],
    [
      'a password file that is not there',
      { argv: { etcd: { username: 'u', passwordFile: missing } } },
      /^etcd\.passwordFile .*ENOENT/,
    ],
    [
      'a password file that is empty',
      { argv: { etcd: { username: 'u', passwordFile: emptyFile } } },
      /^etcd\.passwordFile .*empty"? is empty$/,
    ],
    [
      'DOCKER_HOST ssh://',
      { env: { DOCKER_HOST: 'ssh://e' } },
      /^DOCKER_HOST \(environment\) must be unix:\/\/\/path, tcp:\/\/host:port, .*got "ssh:\/\/e"$/,
    ],
    [
      'DOCKER_HOST npipe://',
      { env: { DOCKER_HOST: 'npipe:////./pipe/docker' } },
      /^DOCKER_HOST \(environment\) must be unix/,
    ],
    [
      'DOCKER_HOST unix:// with a relative path',
      { env: { DOCKER_HOST: 'unix://run/d.sock' } },
      /^DOCKER_HOST \(environment\) must be unix/,
    ],
    ['DOCKER_HOST without scheme', { env: { DOCKER_HOST: 'e:2375' } }, /^DOCKER_HOST \(environment\) must be unix/],
    [
      'DOCKER_HOST with a bad port',
      { env: { DOCKER_HOST: 'tcp://e:99999' } },
      /^docker\.port \(environment DOCKER_HOST\) .*got 99999$/,
    ],
    [
      'DOCKER_CERT_PATH without ca.pem',
      { env: { DOCKER_HOST: 'tcp://e', DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: '/nowhere' } },
      /^docker\.tls\.ca \(environment DOCKER_CERT_PATH\) .*"\/nowhere\/ca\.pem": ENOENT/,
    ],
    [
      'a relative socket path',
      { argv: { docker: { socketPath: 'docker.sock' } } },
      /^docker\.socketPath .*absolute path of a socket, at most 107 bytes, or false, got "docker\.sock"$/,
    ],
    [
      'a socket path that the system would cut',
      { argv: { docker: { socketPath: `/${'x'.repeat(107)}` } } },
      /^docker\.socketPath .*at most 107 bytes, or false, got "\/xxx/,
    ],
    [
      'a socket path of the endpoint that the system would cut',
      { argv: { http: { listen: `/${'é'.repeat(60)}` } } },
      /^http\.listen .*at most 107 bytes, got "\/ééé/,
    ],
    [
      'a group that is in a file twice',
      { file: '{"etcd": {"host": "a"}, "log": "/tmp/{\\"etcd\\":1}", "etc\\u0064": {"port": 1}}' },
      /^etcd \(file .*\) must be there once/,
    ],
    [
      'an option that is in a file twice',
      { file: '{"host": {"id": "a", "ip": "10.0.0.1", "id": "b"}}' },
      /^host\.id \(file /,
    ],
    ['a URL for the socket path', { argv: { docker: { socketPath: 'unix:///s' } } }, /^docker\.socketPath /],
    ['socketPath true', { file: { docker: { socketPath: true } } }, /^docker\.socketPath .*got true$/],
    [
      'a version that is a number',
      { file: { docker: { version: 1.4 } } },
      /^docker\.version .*such as "1\.41", got 1\.4$/,
    ],
    ['a version that is none', { argv: { docker: { version: 'latest' } } }, /^docker\.version .*got "latest"$/],
    [
      'a key of the engine that is not there',
      { argv: { docker: { host: 'e', tls: { cert: signed.cert, key: missing } } } },
      /^docker\.tls\.key /,
    ],
    ['too many workers', { argv: { workers: '65' } }, /^workers .*an integer from 0 to 64, got 65$/],
    ['fewer than no workers', { argv: { workers: '-1' } }, /^workers .*got -1$/],
    ['workers in words', { argv: { workers: 'two' } }, /^workers .*got "two"$/],
    ['a resync of zero', { argv: { resync: 0 } }, /^resync .*got 0$/],
    ['a boolean in words', { env: { DISCOVER_DEBUG: 'yes' } }, /^debug .*must be true or false, got "yes"$/],
    ['an empty log file', { argv: { log: '' } }, /^log .*must be the path of a file, got ""$/],
    [
      'an equals sign in the variable',
      { argv: { discover: { serviceVariable: 'A=B' } } },
      /^discover\.serviceVariable .*got "A=B"$/,
    ],
    ['an empty variable name', { argv: { discover: { serviceVariable: '' } } }, /^discover\.serviceVariable /],
    [
      'an unknown name policy',
      { argv: { discover: { namePolicy: 'lax' } } },
      /^discover\.namePolicy .*must be compat or strict or encode or raw, got "lax"$/,
    ],
    [
      'an unknown key',
      { file: { hots: {} } },
      /^hots \(file .*discover\.json\) is not an option, did you mean host\?$/,
    ],
    ['an unknown key in a group', { file: { etcd: { prefx: 'a' } } }, /^etcd\.prefx .*did you mean etcd\.prefix\?$/],
    [
      'an unknown key two levels down',
      { file: { docker: { tls: { cacert: 'a' } } } },
      /^docker\.tls\.cacert .* is not an option/,
    ],
    ['a key outside its group', { file: { realm: 'a' } }, /^realm .*did you mean host\.realm\?$/],
    ['a key like nothing', { file: { $schema: 'a' } }, /^\$schema \(file .*\) is not an option$/],
    [
      'a key named as what all objects have',
      { file: '{"__proto__": {"debug": true}, "constructor": 1}' },
      /^__proto__ /,
      /^constructor /,
    ],
    [
      'a group that is a text',
      { file: { etcd: 'http://db' } },
      /^etcd \(file .*\) must be an object that holds its options$/,
    ],
    ['a group that is a list', { file: { host: ['a'] } }, /^host \(file .*\) must be an object/],
    ['a file that holds a list', { file: '[]' }, /^file .*discover\.json must hold a JSON object$/],
    ['a file that is not JSON', { file: '{\n"debug": true,\n}' }, /^file .*discover\.json is not JSON from line 3 on$/],
    ['an empty file', { file: '' }, /^file .*discover\.json is not JSON$/],
    ['a file that is not there', { env: { DISCOVER_CONFIG: missing } }, /^file .*missing\.pem cannot be read: ENOENT/],
    [
      'a wrong value that a higher place outvotes',
      { argv: { etcd: { ttl: 9 } }, file: { etcd: { ttl: 0 } } },
      /^etcd\.ttl \(file/,
    ],
    [
      'several mistakes in several places',
      {
        argv: { workers: 'x' },
        env: { DISCOVER_ETCD_TTL: '1', DOCKER_HOST: 'ssh://e' },
        file: { hots: 1, host: { id: '' } },
      },
      /^workers /,
      /^etcd\.ttl /,
      /^DOCKER_HOST /,
      /^hots /,
      /^host\.id /,
    ],
  ];
  for (const [name, given, ...expected] of cases) {
    test(`${name} is refused`, async () => {
      const problems = await problemsOf(given);
      assert.equal(problems.length, expected.length, problems.join('\n'));
      for (const [index, problem] of expected.entries()) assert.match(problems[index] ?? '', problem);
    });
  }

  test('what the machine lacks is reported with the other mistakes', async () => {
    const problems = await problemsOf({ argv: { etcd: { ttl: 1 } } }, { ...machine, interfaces: () => ({}) });
    assert.equal(problems.length, 2);
    assert.match(problems[1] ?? '', /^host\.ip or host\.interface must be set/);
  });

  test('an address and an id that the machine lacks are reported together', async () => {
    const inContainer = { ...machine, hostname: '0123456789ab', read: () => '', interfaces: () => ({}) };
    const problems = await problemsOf({}, inContainer);
    assert.equal(problems.length, 2);
    assert.match(problems[0] ?? '', /^host\.ip or host\.interface must be set/);
    assert.match(problems[1] ?? '', /^host\.id must be set/);
  });

  test('a bad host id does not make the machine be asked for one', async () => {
    const inContainer = { ...machine, hostname: '0123456789ab', read: () => '' };
    assert.equal((await problemsOf({ argv: { host: { id: 'a/b' } } }, inContainer)).length, 1);
  });
});

describe('secrets', () => {
  const secret = 'hunter2';
  const leaks: [name: string, given: Given][] = [
    ['a password of the wrong type', { file: { etcd: { username: 'u', password: [secret] } } }],
    ['a password in an endpoint', { argv: { etcd: { endpoints: `http://root:${secret}@db:2379` } } }],
    ['a password in DOCKER_HOST', { env: { DOCKER_HOST: `tcp://root:${secret}@e:2375` } }],
    ['a password in a file that is not JSON', { file: `{"etcd": {"password": ${secret}}}` }],
    ['a password under a wrong key', { file: { etcd: { pasword: secret } } }],
  ];
  for (const [name, given] of leaks) {
    test(`${name} is not quoted`, async () => {
      assert.doesNotMatch((await problemsOf(given)).join('\n'), /hunter/);
    });
  }

  test('printing hides every value that is not known to be harmless', async () => {
    const resolved = await resolve({ file: { etcd: { username: 'u', password: secret } } });
    const row = redacted(resolved).find(({ key }) => key === 'etcd.password');
    assert.equal(row?.value, '***');
    assert.doesNotMatch(describeConfig(resolved, 'table') + describeConfig(resolved, 'json'), /hunter2/);
  });

  test('only the password is not known to be harmless', async () => {
    const effective: Record<string, unknown> = {};
    for (const { path } of optionTable) put(effective, path.split('.'), secret);
    const rows = redacted({ ...(await resolve()), effective });
    assert.deepEqual(
      rows.filter(({ value }) => value !== secret).map(({ key }) => key),
      ['etcd.password'],
    );
  });
});

type Paths<Tree> = {
  [Key in keyof Required<Tree> & string]: NonNullable<Tree[Key]> extends readonly unknown[] | string | number | boolean
    ? Key
    : `${Key}.${Paths<NonNullable<Tree[Key]>>}`;
}[keyof Required<Tree> & string];
test('the options written out for other programs are those of the schema', () => {
  // The compiler is the test: whatever the one takes the other does, and neither has a path of its own.
  const taken = (options: Options): SchemaInput => options;
  const written = (options: SchemaInput): Options => options;
  const pathOf = (path: Paths<SchemaInput>): Paths<Options> => path;
  const backOf = (path: Paths<Options>): Paths<SchemaInput> => path;
  assert.deepEqual(written(taken({ workers: 1 })), { workers: 1 });
  assert.equal(backOf(pathOf('docker.tls.ca')), 'docker.tls.ca');
});

describe('printing', () => {
  test('the table has a line of key, value and origin for each option', async () => {
    const lines = describeConfig(await resolve({ argv: { host: { realm: 'blue' } } }), 'table').split('\n');
    assert.equal(lines.length, optionTable.length);
    assert.ok(lines.some((line) => /^host\.realm +blue +command line$/.test(line)));
    assert.ok(lines.some((line) => /^docker\.socketPath +\/var\/run\/docker\.sock +default$/.test(line)));
    assert.ok(lines.some((line) => /^etcd\.endpoints +http:\/\/localhost:2379 +default$/.test(line)));
    assert.ok(lines.some((line) => /^host\.ip +10\.0\.0\.5 +interface eth0$/.test(line)));
    assert.ok(lines.some((line) => /^docker\.host +- +default$/.test(line)));
  });

  test('discover config has its warnings on standard error', () => {
    const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
    const argv = [...typescript, cli, 'config', '-o', 'json', '--host:id', 'h', '--host:ip', '127.0.0.1'];
    const env = { PATH: process.env.PATH };
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { env, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    assert.equal((JSON.parse(stdout) as Record<string, { value: unknown }>)['host.id']?.value, 'h');
    assert.match(stderr, /^discover: host\.ip 127\.0\.0\.1 cannot be reached from other machines\n$/);
  });

  test('JSON has value and origin by key', async () => {
    const given = { argv: { docker: { host: 'e' } } };
    const printed: unknown = JSON.parse(describeConfig(await resolve(given), 'json'));
    const { 'docker.port': port, 'docker.socketPath': socket } = printed as Record<string, unknown>;
    assert.deepEqual(port, { value: 4243, origin: 'default' });
    assert.deepEqual(socket, { value: false, origin: 'default' });
  });
});

describe('the nearest name', () => {
  const names = ['host', 'log', 'etcd.prefix'];
  const cases: [word: string, expected: string | undefined][] = [
    ['hots', 'host'],
    ['HOST', 'host'],
    ['etcd.prefx', 'etcd.prefix'],
    ['lgo', undefined],
    ['x'.repeat(100_000), undefined],
    ['', undefined],
  ];
  for (const [word, expected] of cases) {
    test(`of ${word.slice(0, 12)} is ${expected}`, () => assert.equal(nearest(word, names), expected));
  }
});
