/** `discover reap` as an operator runs it: what goes, what stays, who is asked who lives, and its exit codes. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { forkEngine } from '../../bench/engine/client.ts';
import { EtcdRegistry } from '../../src/etcd/cluster.ts';
import { readFleet, removeHost } from '../../src/reap/fleet.ts';
import { type Outcome, runCommand } from '../helpers/command.ts';
import { type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { fromEngine, startHost } from '../helpers/host.ts';
import { atExit, cleanEnvironment, exitOf, needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const builtCli = path.join(root, 'dist/cli.js');
const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-reap-'));

interface Run {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cli?: string;
}

const run = async (args: readonly string[], options: Run = {}): Promise<Outcome> =>
  options.env === undefined && options.cli === undefined
    ? runCommand(['reap', ...args], { input: options.input ?? '' })
    : runProcess(args, options);

/** As a process, because the AWS SDK reads the environment. The process gets no AWS setting except those in `env`. */
async function runProcess(args: readonly string[], { input = '', env = {}, cli = builtCli }: Run): Promise<Outcome> {
  const bare = Object.entries(cleanEnvironment()).filter(([name]) => !name.startsWith('AWS_'));
  const nowhere = {
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
  };
  const child = spawn(process.execPath, [cli, 'reap', ...args], {
    env: { ...Object.fromEntries(bare), ...nowhere, ...env },
  });
  const forget = atExit(() => child.kill('SIGKILL'));
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  child.stdin.on('error', () => {}); // It may have ended before it has read anything.
  child.stdin.end(input);
  const closed = once(child, 'close');
  const { code } = await exitOf(child);
  await closed;
  forget();
  return { code: code ?? -1, out, err };
}

const id = '2a03efc597e9';
const keysOf = (host: string, name = 'web'): string[] => [
  `/discover/host/${host}/${id}`,
  `/discover/service/${name}/blue/${host}/${id}`,
];

describe('discover reap', { skip: needs('etcd', 'etcdctl') }, () => {
  let etcd: EtcdServer;
  before(async () => {
    etcd = await startEtcd();
  });
  after(async () => {
    await etcd.close();
    rmSync(directory, { recursive: true, force: true });
  });
  afterEach(() => etcd.ctl('del', '--prefix', ''));

  const reap = (args: readonly string[], options?: Run): Promise<Outcome> =>
    run(['--etcd:endpoints', etcd.endpoint, ...args], options);
  const keys = async (): Promise<string[]> => [...(await etcd.get('')).keys()];
  const put = (names: readonly string[], lease?: string): Promise<void> => putAll(etcd.endpoint, names, lease);
  /** What a host has in etcd while discover runs there. */
  const putLiving = async (...hosts: string[]): Promise<string[]> => {
    const { ID } = (await post(etcd.endpoint, 'lease/grant', { TTL: 600 })) as { ID: string };
    const names = hosts.flatMap((host) => [`/discover/owner/${host}`, ...keysOf(host)]);
    await put(names, ID);
    return names;
  };

  test('says by leases what would go, then deletes that and nothing else, then finds nothing (real etcd)', async () => {
    const living = await putLiving('i-12', 'i-13', 'i-14');
    const others = [
      '/discover/meta/i-1/x',
      '/discover/host/i-1',
      '/discover/service/web/i-1',
      '/discoverx/host/i-1/x',
      'discover/host/i-1/x',
      '/discover/owner/i-1',
    ];
    const stale = [
      ...keysOf('i-1'),
      `/discover/service/web/green/i-1/${id}:53:udp`,
      `/discover/service/a/b/blue/i-1/${id}`,
      `/discover/meta/web/blue/i-1/${id}`,
    ];
    await put([...others, ...stale]);
    const revision = await etcd.revision();

    const dry = await reap([]);
    assert.equal(dry.code, 1, dry.err);
    for (const key of stale) assert.ok(dry.out.includes(`would delete ${key}\n`), dry.out);
    assert.match(dry.out, /\n5 keys of 1 of 4 hosts would be deleted; --no-dry-run deletes them\n$/);
    assert.equal(await etcd.revision(), revision);

    const done = await reap(['--no-dry-run']);
    assert.deepEqual([done.code, done.err], [0, '']);
    assert.match(done.out, /\nDeleted 5 of 5 keys, of 1 of 4 hosts\n$/);
    assert.deepEqual((await keys()).sort(), [...living, ...others].sort());
    assert.equal(await etcd.revision(), revision + 1);

    assert.deepEqual(await reap([]), { code: 0, out: 'Nothing to delete: 4 hosts\n', err: '' });
  });

  test('prints JSON for programs, of a dry run and of the deed (real etcd)', async () => {
    await putLiving('i-2', 'i-3');
    await put(keysOf('i-1'));
    const row = { host: 'i-1', why: 'no lease', keys: keysOf('i-1') };
    const report = {
      source: 'lease',
      dryRun: true,
      hosts: 3,
      reaped: [{ ...row, deleted: [] }],
      kept: [],
      refusal: null,
    };
    assert.deepEqual(JSON.parse((await reap(['-o', 'json'])).out), report);
    const done = JSON.parse((await reap(['-o', 'json', '--no-dry-run'])).out) as object;
    assert.deepEqual(done, { ...report, dryRun: false, reaped: [{ ...row, deleted: row.keys }] });
  });

  test('refuses with 65 where too many would go or nobody lives, unless told (real etcd)', async () => {
    await put([...keysOf('i-1'), ...keysOf('i-2')]);
    const revision = await etcd.revision();
    const empty = await reap(['--no-dry-run']);
    assert.equal(empty.code, 65);
    assert.match(empty.err, /^discover: refused: no host holds a lease: .*--allow-empty/);
    await putLiving('i-3');
    const many = await reap(['--no-dry-run']);
    assert.equal(many.code, 65);
    assert.match(many.err, /refused: 2 of 3 hosts would go and --max-percent 20 allows 1/);
    assert.match(many.out, /4 keys of 2 of 3 hosts would be deleted\n$/);
    assert.equal((await reap([])).code, 65);
    assert.equal(await etcd.revision(), revision + 1);
    assert.equal((await reap(['--no-dry-run', '--max-percent', '67'])).code, 0);
    assert.equal((await keys()).length, 3);
  });

  test('reads who lives from standard input or a file, and believes no broken list (real etcd)', async () => {
    await putLiving('i-4');
    await put([...keysOf('i-1'), ...keysOf('i-2'), ...keysOf('i-12')]);
    const file = path.join(directory, 'living');
    writeFileSync(file, '["i-2", "i-12"]');
    const dry = await reap(['--source', 'file', '--file', file, '-o', 'json']);
    const { reaped, kept } = JSON.parse(dry.out) as { reaped: { host: string; why: string }[]; kept: string[] };
    assert.deepEqual(
      [dry.code, reaped.map(({ host, why }) => `${host} ${why}`), kept],
      [1, ['i-1 not in the list'], ['i-4']],
    );

    for (const [input, said] of [
      ['', /refused: the list of living hosts is empty/],
      ['i-2\n<html>no/ne</html>\n', /Cannot use standard input: a host id must be/],
    ] as const) {
      const refused = await reap(['--source', 'stdin', '--no-dry-run', '--max-percent', '100'], { input });
      assert.equal(refused.code, 65);
      assert.match(refused.err, said);
    }
    assert.match((await reap(['--source', 'file', '--file', '/nonexistent'])).err, /Cannot read \/nonexistent: ENOENT/);
    assert.equal((await keys()).length, 9);

    assert.equal((await reap(['--source', 'stdin', '--no-dry-run'], { input: 'i-2\ni-12\n' })).code, 0);
    assert.deepEqual(
      (await keys()).filter((key) => key.includes('/i-1/')),
      [],
    );
    assert.equal((await keys()).length, 7);
  });

  test('a host that comes to life between reading and deleting keeps its keys (real etcd)', async () => {
    const registry = new EtcdRegistry({ endpoints: [etcd.endpoint] });
    try {
      const many = Array.from({ length: 300 }, (_, index) => `/discover/host/i-1/${String(index).padStart(12, '0')}`);
      await put(many.slice(0, 130));
      const [owner, found] = ['/discover/owner/i-1', (await readFleet(registry, '/discover')).get('i-1')];
      assert.equal(found?.keys.length, 130);
      const removed = removeHost(registry, owner, found, false);
      assert.equal((await removed.next()).value?.length, 127);
      await put([owner]);
      assert.equal((await removed.next()).done, true);
      assert.equal((await keys()).length, 4);

      // Whoever it is that writes: a key that was written again is somebody's, with or without an owner.
      const again = (await readFleet(registry, '/discover')).get('i-1');
      await put(['/discover/host/i-1/000000000128']);
      for (const isForced of [false, true]) {
        assert.equal((await removeHost(registry, owner, again ?? { keys: [] }, isForced).next()).done, true);
      }
      assert.equal((await keys()).length, 4);
    } finally {
      registry.close();
    }
  });

  test('reads more keys than fit in one answer (real etcd)', async () => {
    const registry = new EtcdRegistry({ endpoints: [etcd.endpoint] });
    try {
      const wanted = Array.from(
        { length: 12_000 },
        (_, index) => `/discover/host/i-${index % 7}/${String(index).padStart(12, '0')}`,
      );
      await put(wanted);
      const hosts = await readFleet(registry, '/discover');
      assert.deepEqual([...hosts.values()].flatMap((host) => host.keys.map(({ key }) => key)).sort(), wanted.sort());
    } finally {
      registry.close();
    }
  });

  test('a host where discover runs is kept against a list, and mends itself where force deletes (simulated engine, real etcd)', async () => {
    const engine = await forkEngine({ containers: 3 });
    try {
      await using host = await startHost({ source: fromEngine(engine), args: ['--resync', '1'], ttl: 60 });
      await host.converged();
      const list = ['--etcd:endpoints', host.etcd.endpoint, '--source', 'stdin', '--no-dry-run'];
      const kept = await run(list, { input: 'h1x\n' });
      assert.deepEqual([kept.code, kept.err], [0, '']);
      assert.match(
        kept.out,
        /^h1: kept: its owner is alive, although the list does not have it\nNothing to delete: 2 hosts\n$/,
      );
      const forced = await run([...list, '--force', 'h1,h2'], { input: 'h1\nh1x\n' });
      assert.match(forced.out, /^h1: forced\n/);
      assert.deepEqual([forced.code, forced.err], [0, 'discover: --force h2: there is no key of this host\n']);
      await host.converged();
    } finally {
      await engine.close();
    }
  });

  test('asks the next member where one is away (real etcd)', async () => {
    await putLiving('i-1');
    const around = await run(['--etcd:endpoints', `127.0.0.1:1,127.0.0.1:2,${etcd.endpoint.replace('http://', '')}`]);
    assert.deepEqual(around, { code: 0, out: 'Nothing to delete: 1 host\n', err: '' });
  });

  test('says what is done where etcd refuses half-way, and needs no more than the prefix to be its own (real etcd)', async () => {
    await using secured = await startEtcd();
    await putAll(secured.endpoint, [...keysOf('i-1'), ...keysOf('i-2')]);
    const role = (...args: string[]) => secured.ctl('role', 'grant-permission', 'reaper', '--prefix=true', ...args);
    for (const name of ['root', 'reaper']) {
      await secured.ctl('user', 'add', `${name}:secret`);
      await secured.ctl('role', 'add', name);
      await secured.ctl('user', 'grant-role', name, name);
    }
    await role('read', '/discover/');
    for (const key of keysOf('i-1')) await role('readwrite', key);
    await secured.ctl('auth', 'enable');
    const list = ['--source', 'stdin', '--max-percent', '100', '--no-dry-run', '-o', 'json'];
    const args = ['--etcd:endpoints', secured.endpoint, '--etcd:username', 'reaper', ...list];
    const reaped = () => run(args, { input: 'i-3', env: { DISCOVER_ETCD_PASSWORD: 'secret' } });
    const half = await reaped();
    assert.equal(half.code, 69, half.err);
    assert.match(half.err, /discover: etcd at http:.*: permission denied \(txn\)/);
    const rows = (JSON.parse(half.out) as { reaped: { host: string; deleted: string[] }[] }).reaped;
    assert.deepEqual(
      rows.map(({ host, deleted }) => [host, deleted]),
      [
        ['i-1', keysOf('i-1')],
        ['i-2', []],
      ],
    );
    await secured.ctl(
      '--user=root:secret',
      'role',
      'grant-permission',
      'reaper',
      '--prefix=true',
      'readwrite',
      '/discover/',
    );
    assert.equal((await reaped()).code, 0);
    assert.equal(await secured.ctl('--user=root:secret', 'get', '--prefix', ''), '');
  });

  test('ends with 69 where etcd is not to be had, and with 78 for a mistake (no etcd)', async () => {
    const away = await run(['--etcd:endpoints', '127.0.0.1:1']);
    assert.deepEqual([away.code, away.out], [69, '']);
    assert.match(away.err, /^discover: etcd at http:\/\/127\.0\.0\.1:1: connection refused \(range\)/);
    const mistake = await reap(['--source', 'file']);
    assert.deepEqual([mistake.code, mistake.out], [78, '']);
    assert.match(mistake.err, /--source file and --file must be given together/);
  });

  describe('by EC2', () => {
    const requests: { readonly region: string; readonly key: string; readonly body: URLSearchParams }[] = [];
    /** By region: its instances, a page each; or the status of a failure. */
    let answers: Record<string, readonly string[] | number> = {};
    const server = http.createServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      request.on('end', () => {
        const [, key = '', region = ''] =
          /Credential=([^/]+)\/\d+\/([^/]+)\//.exec(request.headers.authorization ?? '') ?? [];
        const body = new URLSearchParams(text);
        requests.push({ region, key, body });
        const answer = answers[region] ?? [];
        if (typeof answer === 'number') return response.writeHead(answer).end();
        const page = Number(body.get('NextToken') ?? 0);
        const next = page + 1 < answer.length ? `<nextToken>${page + 1}</nextToken>` : '';
        const instance = `<item><instanceId>${answer[page]}</instanceId></item>`;
        const set = answer.length > 0 ? `<item><instancesSet>${instance}</instancesSet></item>` : '';
        response.end(
          `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet>${set}</reservationSet>${next}</DescribeInstancesResponse>`,
        );
      });
    });
    const file = path.join(directory, 'reap.json');
    const writeFile = (more: object): void =>
      writeFileSync(
        file,
        JSON.stringify({
          accounts: [
            ['AK1', 's1'],
            ['AK2', 's2'],
          ],
          regions: ['us-west-1', 'eu-west-1'],
          ...more,
        }),
        { mode: 0o600 },
      );
    let env: Record<string, string> = {};
    before(async () => {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      env = { AWS_ENDPOINT_URL_EC2: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
    });
    after(() => {
      server.closeAllConnections();
      server.close();
    });

    test('the file of the original alone says what to do (simulated EC2, real etcd)', async () => {
      await put([...keysOf('i-1'), ...keysOf('i-2'), ...keysOf('i-3'), ...keysOf('i-4')]);
      answers = { 'us-west-1': ['i-1', 'i-2'], 'eu-west-1': ['i-4'] };
      const [host = '', port = ''] = etcd.endpoint.replace(/^http:\/\//, '').split(':');
      const group = { prefix: 'discover', host, port: Number(port) };
      writeFile({ filters: { 'instance-state-name': 'running' }, dryRun: false, force: [], etcd: group });
      const done = await run(['-c', file], { env });
      assert.equal(done.code, 0, done.err);
      assert.deepEqual(await keys(), [...keysOf('i-1'), ...keysOf('i-2'), ...keysOf('i-4')].sort());

      const asked = requests.map(({ key, region, body }) => `${key} ${region} ${body.get('NextToken') ?? ''}`.trim());
      const each = ['us-west-1', 'us-west-1 1', 'eu-west-1'];
      assert.deepEqual(asked, [...each.map((one) => `AK1 ${one}`), ...each.map((one) => `AK2 ${one}`)]);
      for (const { body } of requests) {
        assert.equal(body.get('Filter.1.Name'), 'instance-state-name');
        assert.equal(body.get('Filter.1.Value.1'), 'running');
      }

      // An instance that EC2 counts among the living goes when it is named, as it did.
      const forced = await run(['-c', file, '--force', 'i-4', '-n', '-o', 'json'], { env });
      const { reaped, dryRun } = JSON.parse(forced.out) as { reaped: { host: string }[]; dryRun: boolean };
      assert.deepEqual([forced.code, dryRun, reaped.map((one) => one.host)], [1, true, ['i-4']]);
    });

    testInFull('half an answer is none, and an empty one is not believed (simulated EC2, real etcd)', async () => {
      await put(keysOf('i-1'));
      writeFile({ dryRun: false });
      answers = { 'us-west-1': ['i-2'], 'eu-west-1': 403 };
      const half = await reap(['-c', file, '--max-percent', '100'], { env });
      assert.deepEqual([half.code, half.out], [69, '']);
      assert.match(half.err, /discover: EC2 in eu-west-1: /);
      assert.doesNotMatch(half.err, /s1|s2/);
      answers = {};
      const empty = await reap(['-c', file, '--max-percent', '100'], { env });
      assert.equal(empty.code, 65, empty.err);
      assert.equal((await keys()).length, 2);
    });

    testInFull('without accounts the environment gives credentials and region (simulated EC2, real etcd)', async () => {
      await put([...keysOf('i-1'), ...keysOf('i-2')]);
      answers = { 'ap-south-1': ['i-2'] };
      const own = { AWS_REGION: 'ap-south-1', AWS_ACCESS_KEY_ID: 'AKENV', AWS_SECRET_ACCESS_KEY: 'secret' };
      const dry = await reap(['--source', 'ec2'], { env: { ...env, ...own } });
      assert.match(dry.out, /^i-1: not in the list\n/, dry.err);
      assert.equal(requests.at(-1)?.key, 'AKENV');
    });

    test('without the package it is named, with the line that installs it (no EC2)', async () => {
      // The built program beside every package but that one.
      const bare = path.join(directory, 'bare');
      mkdirSync(path.join(bare, 'node_modules'), { recursive: true });
      cpSync(path.join(root, 'dist'), path.join(bare, 'dist'), { recursive: true });
      cpSync(path.join(root, 'package.json'), path.join(bare, 'package.json'));
      for (const name of readdirSync(path.join(root, 'node_modules')).filter((one) => one !== '@aws-sdk')) {
        symlinkSync(path.join(root, 'node_modules', name), path.join(bare, 'node_modules', name));
      }
      const missing = await reap(['--source', 'ec2'], { cli: path.join(bare, 'dist/cli.js') });
      assert.equal(missing.code, 78);
      assert.match(missing.err, /^discover: --source ec2 needs the package @aws-sdk\/client-ec2: npm install /);
    });
  });
});

/** One call to etcd's gateway. */
async function post(endpoint: string, call: string, body: object): Promise<unknown> {
  const response = await fetch(`${endpoint}/v3/${call}`, { method: 'POST', body: JSON.stringify(body) });
  assert.ok(response.ok, `${call}: HTTP status ${response.status}`);
  return response.json();
}

/** Puts the keys, in as few transactions as etcd allows. */
async function putAll(endpoint: string, names: readonly string[], lease = '0'): Promise<void> {
  for (let start = 0; start < names.length; start += 128) {
    const success = names.slice(start, start + 128).map((name) => ({
      request_put: { key: Buffer.from(name).toString('base64'), value: '', lease },
    }));
    await post(endpoint, 'kv/txn', { success });
  }
}
