/** The examples of `deploy/examples`: run by their programs where Debian has them, else read. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { startHaproxy } from '../helpers/proxy-programs.ts';
import {
  atExit,
  cleanEnvironment,
  exitOf,
  killProcessesOf,
  needs,
  requireCommand,
  runDiscover,
  scratchDirectory,
} from '../helpers/run.ts';

const examples = fileURLToPath(new URL('../../deploy/examples', import.meta.url));
const read = (name: string): string => readFileSync(path.join(examples, name), 'utf8');

/** With ports of the test's own; each of them has to be there. */
function adapted(name: string, changes: Readonly<Record<string, string>>): string {
  return Object.entries(changes).reduce((text, [from, to]) => {
    assert.ok(text.includes(from), `${name} has no ${from}`);
    return text.replaceAll(from, to);
  }, read(name));
}

const rendered = (script: string, discovered: string): string =>
  execFileSync(path.join(examples, script), {
    env: { PATH: process.env.PATH ?? '', DISCOVERED: discovered },
    encoding: 'utf8',
  });

test('every example is named in their README', () => {
  const readme = read('README.md');
  for (const name of readdirSync(examples).filter((one) => one !== 'README.md'))
    assert.ok(readme.includes(`\`${name}\``), name);
});

test('the endpoints for Envoy are JSON in the form of its files, and its configuration names them', () => {
  const { resources } = JSON.parse(rendered('envoy-eds.sh', '10.0.0.1:80 [2001:db8::5]:81'));
  const endpoints = resources[0].endpoints[0].lb_endpoints.map(
    (one: { endpoint: { address: object } }) => one.endpoint.address,
  );
  assert.deepEqual(endpoints, [
    { socket_address: { address: '10.0.0.1', port_value: 80 } },
    { socket_address: { address: '2001:db8::5', port_value: 81 } },
  ]);
  assert.deepEqual(JSON.parse(rendered('envoy-eds.sh', '')).resources[0].endpoints[0].lb_endpoints, []);
  const [cluster] = parse(read('envoy.yaml')).static_resources.clusters;
  assert.equal(cluster.name, resources[0].cluster_name);
  assert.ok(read('envoy-eds.sh').includes(`--to ${cluster.eds_cluster_config.eds_config.path_config_source.path}`));
});

test('Traefik is given the root key that its view is written below, and CoreDNS the zone of discover', () => {
  const { providers } = parse(read('traefik.yaml'));
  assert.ok(read('traefik.yaml').includes(`--views:traefik ${providers.etcd.rootKey} `));
  assert.match(read('Corefile'), /^discover\.internal:53 \{\n {4}forward \. 127\.0\.0\.1:5353\n/m);
});

describe('by their programs', { skip: needs('etcd', 'haproxy', 'nginx', 'prometheus') }, () => {
  let engine: EngineHandle;
  let host: Host;
  let directory: string;
  let dnsPort: number;
  let httpPort: number;
  const backends = new Map<number, http.Server>();
  before(async () => {
    directory = scratchDirectory('examples', os.tmpdir());
    engine = await forkEngine({ containers: 0 });
    host = await startHost({ source: fromEngine(engine), idle: true, record: false });
    [dnsPort, httpPort] = [await freePort(), await freePort()];
    const args = ['--host:realm', 'default', '--dns:listen', String(dnsPort), '--http:listen', String(httpPort)];
    const running = await host.launch(args);
    await running.waitForLog(({ msg }) => msg === 'answering over DNS');
    for (let count = 0; count < 3; count++) {
      const server = http.createServer((_request, response) => response.end(String(count)));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const address = server.address();
      if (typeof address === 'object' && address !== null) backends.set(address.port, server);
    }
    await put([...backends.keys()]);
  });
  after(async () => {
    for (const server of backends.values()) server.close().closeAllConnections();
    await host?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  // One of its keys takes the place of the neighbour that every host of the tests has.
  const keyOf = (at: number): string =>
    `/discover/service/web/default/${at === 0 ? 'h1x/0123456789ab' : `h2/00000000000${at}`}`;
  const put = (ports: readonly number[]): Promise<void> =>
    host.etcd.put(new Map(ports.map((port, at) => [keyOf(at), `tcp://127.0.0.1:${port}`])));
  const get = async (port: number): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
    return response.ok ? response.text() : `status ${response.status}`;
  };
  const seenBy = async (port: number): Promise<string[]> =>
    [...new Set(await Promise.all(Array.from({ length: 12 }, () => get(port))))].sort();

  test('HAProxy fills its servers by DNS (real haproxy, real etcd)', async () => {
    const port = await freePort();
    const own = path.join(directory, 'haproxy');
    mkdirSync(own);
    const text = adapted('haproxy.cfg', {
      'here 127.0.0.1:5353': `here 127.0.0.1:${dnsPort}`,
      'bind :8080': `bind 127.0.0.1:${port}`,
    });
    await using _proxy = await startHaproxy(own, text, [`127.0.0.1:${port}`]);
    await eventually(async () => assert.deepEqual(await seenBy(port), ['0', '1', '2']));
  });

  test('nginx is reloaded with the upstream that discover watch renders (real nginx, real etcd)', async () => {
    const port = await freePort();
    const own = path.join(directory, 'nginx');
    mkdirSync(own);
    const upstream = path.join(own, 'web.conf');
    const pid = path.join(own, 'nginx.pid');
    const args = [
      ...['watch', 'web', '--etcd:endpoints', host.etcd.endpoint, '--wait', '10ms:50ms'],
      ...['--exec', path.join(examples, 'nginx-upstream.sh'), '--to', upstream],
      ...['--reload', `test ! -e ${pid} || kill -HUP $(cat ${pid})`],
    ];
    await using _watching = runDiscover(args);
    await eventually(() =>
      assert.match(readFileSync(upstream, 'utf8'), /^upstream web \{\n( {4}server \S+ .*;\n){3}\}\n$/),
    );
    const text = [
      `user root; daemon off; pid ${pid}; error_log stderr; events {} http { access_log off;`,
      ...['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
        (kind) => `${kind}_temp_path ${path.join(own, kind)};`,
      ),
      `include ${upstream};`,
      adapted('nginx.conf', { 'listen 8080': `listen 127.0.0.1:${port}` }),
      '}',
    ];
    const file = path.join(own, 'nginx.conf');
    writeFileSync(file, text.join('\n'));
    // With a master, unlike other tests: it loads the configuration again.
    const child = spawn(requireCommand('nginx'), ['-e', 'stderr', '-c', file], {
      stdio: 'ignore',
      env: cleanEnvironment(),
    });
    const forget = atExit(() => killProcessesOf(own, ['nginx']));
    try {
      await eventually(async () => assert.deepEqual(await seenBy(port), ['0', '1', '2']));
      const [first = 0, second = 0] = backends.keys();
      await put([first, second, second]);
      await eventually(async () => assert.deepEqual(await seenBy(port), ['0', '1']));
      await put([...backends.keys()]);
    } finally {
      child.kill('SIGTERM');
      await exitOf(child);
      forget();
    }
  });

  test('Prometheus finds the instances of its service (real prometheus, real etcd)', async () => {
    const port = await freePort();
    const own = path.join(directory, 'prometheus');
    mkdirSync(own);
    const [target = 0] = backends.keys();
    await host.etcd.put(new Map([['/discover/service/metrics/blue/h7/00000000000a', `tcp://127.0.0.1:${target}`]]));
    const file = path.join(own, 'prometheus.yml');
    writeFileSync(file, adapted('prometheus.yml', { '127.0.0.1:9320': `127.0.0.1:${httpPort}` }));
    const flags = [
      `--config.file=${file}`,
      `--storage.tsdb.path=${path.join(own, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ];
    const child = spawn(requireCommand('prometheus'), flags, { stdio: 'ignore', env: cleanEnvironment() });
    try {
      await eventually(async () => {
        const { data } = (await (await fetch(`http://127.0.0.1:${port}/api/v1/targets`)).json()) as {
          readonly data: { readonly activeTargets: readonly { readonly labels: Readonly<Record<string, string>> }[] };
        };
        const found = data.activeTargets.map(({ labels }) =>
          `${labels.job} ${labels.instance} ${labels.host ?? ''} ${labels.realm ?? ''}`.trim(),
        );
        assert.deepEqual(found.sort(), [`discover 127.0.0.1:${httpPort}`, `services 127.0.0.1:${target} h7 blue`]);
      });
    } finally {
      child.kill('SIGKILL');
      await exitOf(child);
    }
  });
});
