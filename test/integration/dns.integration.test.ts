/** DNS of a running agent, as real programs ask it: dig, glibc, HAProxy, nginx and the c-ares in Node. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import dns from 'node:dns/promises';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { runCommand } from '../helpers/command.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { startHaproxy, startNginx } from '../helpers/proxy-programs.ts';
import { needs, scratchDirectory } from '../helpers/run.ts';

const run = promisify(execFile);
/** glibc asks at port 53 alone; an address of this process's own has it. */
const at = `127.${(process.pid >> 8) & 127}.${process.pid & 255}.53`;
const zone = 'discover.internal';
const id = (number: number): string => number.toString(16).padStart(12, '0');

interface Backend {
  readonly name: string;
  readonly port: number;
  readonly key: string;
  readonly url: string;
  close(): void;
}

describe('DNS', { skip: needs('etcd', 'dig', 'getent', 'haproxy', 'nginx', 'unshare', 'root') }, () => {
  let engine: EngineHandle;
  let host: Host;
  let backends: Backend[];
  let httpPort: number;
  let directory: string;
  let configuration: string;
  before(async () => {
    directory = scratchDirectory('dns', os.tmpdir());
    engine = await forkEngine({ containers: 0 });
    host = await startHost({ source: fromEngine(engine), idle: true, record: false });
    // All at one port, because nginx takes addresses alone.
    const port = await freePort();
    backends = await Promise.all([1, 2, 3].map((number) => startBackend(number, port)));
    const puts = backends.map(({ key, url }) => [key, url] as const);
    await host.etcd.put(
      new Map([...puts, ['/discover/service/six/default/h2/00000000000a', 'tcp://[2001:db8::5]:80']]),
    );
    httpPort = await freePort();
    configuration = path.join(directory, 'config.json');
    writeFileSync(configuration, '{}');
    const args = ['--config', configuration, '--dns:listen', `${at}:53`, '--http:listen', String(httpPort)];
    const running = await host.launch(args);
    await running.waitForLog(({ msg }) => msg === 'answering over DNS');
    await eventually(async () =>
      assert.match(await dig('shop.default', 'A', '+noall', '+comments'), /status: NOERROR/),
    );
  });
  after(async () => {
    for (const backend of backends ?? []) backend.close();
    await host?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  const dig = async (name: string, type: string, ...more: string[]): Promise<string> =>
    (await run('dig', [`@${at}`, '+tries=1', '+time=5', ...more, `${name}.${zone}`, type])).stdout;
  const short = async (name: string, type: string, ...more: string[]): Promise<string[]> =>
    (await dig(name, type, '+short', ...more)).trim().split('\n').filter(Boolean).sort();

  test('dig reads A, AAAA, SRV, TXT, PTR and SOA, over UDP and TCP, with and without EDNS (real dig, real etcd)', async () => {
    const addresses = ['127.0.1.1', '127.0.1.2', '127.0.1.3'];
    const port = backends[0]?.port;
    const targets = [1, 2, 3].map((number) => `10 1 ${port} ${id(number)}.shop.default.${zone}.`);
    for (const how of [['+notcp'], ['+tcp'], ['+noedns'], ['+bufsize=4096']]) {
      assert.deepEqual(await short('shop.default', 'A', ...how), addresses, how.join());
      assert.deepEqual(await short('_shop._tcp.default', 'SRV', ...how), targets, how.join());
    }
    assert.deepEqual(await short('six.default', 'AAAA'), ['2001:db8::5']);
    const [text = ''] = await short(`${id(2)}.shop.default`, 'TXT');
    assert.equal(text, `"id=${id(2)}" "host=h2" "protocol=tcp" "port=${port}"`);
    const { stdout } = await run('dig', [`@${at}`, '+short', '-x', '127.0.1.2']);
    assert.equal(stdout.trim(), `${id(2)}.shop.default.${zone}.`);
    const negative = await dig('no.default', 'A');
    assert.match(negative, /status: NXDOMAIN.*flags: qr aa rd;.*AUTHORITY: 1.*SOA\s+ns\.discover\.internal\./s);
    const foreign = await run('dig', [`@${at}`, 'example.org', 'A']);
    assert.match(foreign.stdout, /status: REFUSED/);
  });

  test("glibc, in a mount namespace with a resolv.conf of its own, and Node's c-ares find the addresses (real getent)", async () => {
    const file = path.join(directory, 'resolv.conf');
    writeFileSync(file, `nameserver ${at}\nsearch default.${zone}\noptions timeout:5\n`);
    const script = 'mount --bind "$1" /etc/resolv.conf && getent ahostsv4 shop';
    const { stdout } = await run('unshare', ['--mount', 'sh', '-c', script, 'sh', file]);
    const found = new Set([...stdout.matchAll(/^(\S+)\s+STREAM/gm)].map(([, address]) => address));
    assert.deepEqual([...found].sort(), ['127.0.1.1', '127.0.1.2', '127.0.1.3']);
    const resolver = new dns.Resolver();
    resolver.setServers([at]);
    assert.equal((await resolver.resolveSrv(`_shop._tcp.default.${zone}`)).length, 3);
  });

  test('HAProxy fills its server-template by SRV, and nginx resolves by A; both follow an instance that leaves (real haproxy, real nginx, real etcd)', async () => {
    const [haproxyPort, nginxPort] = [await freePort(), await freePort()];
    const directories = ['haproxy', 'nginx'].map((name) => path.join(directory, name)) as [string, string];
    for (const one of directories) mkdirSync(one);
    await using _haproxy = await startHaproxy(directories[0], haproxyConfiguration(haproxyPort), [
      `127.0.0.1:${haproxyPort}`,
    ]);
    await using _nginx = await startNginx(
      directories[1],
      `resolver ${at} valid=1s ipv6=off;
       server {
         listen 127.0.0.1:${nginxPort};
         set $web http://shop.default.${zone}:${backends[0]?.port};
         location / { proxy_pass $web; }
       }`,
      [`127.0.0.1:${nginxPort}`],
    );
    const seenBy = async (port: number): Promise<string[]> => {
      const answers = await Promise.all(Array.from({ length: 12 }, () => get(port)));
      return [...new Set(answers)].sort();
    };
    for (const port of [haproxyPort, nginxPort]) {
      await eventually(async () => assert.deepEqual(await seenBy(port), ['1', '2', '3']));
    }
    const [gone] = backends as [Backend];
    await run('etcdctl', ['--endpoints', host.etcd.endpoints.join(), 'del', gone.key], {
      env: { ...process.env, ETCDCTL_API: '3' },
    });
    for (const port of [haproxyPort, nginxPort]) {
      await eventually(async () => assert.deepEqual(await seenBy(port), ['2', '3']));
    }
    await host.etcd.put(new Map([[gone.key, gone.url]]));
  });

  test('doctor, /status and /metrics show it (real etcd)', async () => {
    const args = ['--dns:listen', `${at}:53`, '--docker:socketPath', engine.socketPath];
    const doctor = await runCommand([
      'doctor',
      ...args,
      '--etcd:endpoints',
      host.etcd.endpoints.join(),
      '--host:id',
      'h1',
    ]);
    assert.match(doctor.out, new RegExp(`ok +dns +${at}:53 answers for ${zone}`));
    const metrics = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
    const counts = [...metrics.matchAll(/^discover_dns_queries_total\{outcome="(\w+)"\} (\d+)$/gm)];
    const status = (await (await fetch(`http://127.0.0.1:${httpPort}/status`)).json()) as {
      readonly dns: { readonly zone: string; readonly outcomes: Readonly<Record<string, number>> };
    };
    assert.equal(status.dns.zone, zone);
    assert.deepEqual(
      Object.keys(status.dns.outcomes),
      counts.map(([, outcome]) => outcome),
    );
    for (const outcome of ['answered', 'nxdomain', 'refused'])
      assert.ok((status.dns.outcomes[outcome] ?? 0) > 0, outcome);
  });

  test('answers go on while etcd is away, with a TTL of one second (real dig, real etcd)', async () => {
    const ttlOf = async (): Promise<string | undefined> =>
      /^shop\S+\s+(\d+)\s+IN\s+A/m.exec(await dig('shop.default', 'A', '+noall', '+answer'))?.[1];
    assert.equal(await ttlOf(), '5');
    await host.etcd.kill();
    await eventually(async () => assert.equal(await ttlOf(), '1'));
    await host.etcd.restart();
    await eventually(async () => assert.equal(await ttlOf(), '5'));
  });

  test('every query is answered while the configuration is reloaded (real etcd)', async () => {
    const resolver = new dns.Resolver({ timeout: 5_000, tries: 1 });
    resolver.setServers([at]);
    writeFileSync(configuration, '{ "debug": true }');
    host.discover.signal('SIGHUP');
    const reloaded = host.discover.waitForLog(({ msg }) => msg === 'configuration reloaded');
    let isOver = false;
    void reloaded.then(() => {
      isOver = true;
    });
    for (let tries = 0; !isOver || tries < 10; tries++) {
      assert.equal((await resolver.resolve4(`shop.default.${zone}`)).length, 3);
    }
    await reloaded;
  });
});

function haproxyConfiguration(port: number): string {
  return `
resolvers discover
    nameserver here ${at}:53
    accepted_payload_size 8192
    timeout resolve 200ms
    timeout retry 1s
    hold valid 200ms
    hold obsolete 0s
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen web
    bind 127.0.0.1:${port}
    balance roundrobin
    server-template web 20 _shop._tcp.default.${zone} resolvers discover init-addr none
`;
}

async function startBackend(number: number, port: number): Promise<Backend> {
  const server = http.createServer((_request, response) => response.end(String(number)));
  const address = `127.0.1.${number}`;
  await new Promise<void>((resolve) => server.listen(port, address, resolve));
  return {
    ...{ name: String(number), port },
    key: `/discover/service/shop/default/h2/${id(number)}`,
    url: `tcp://${address}:${port}`,
    close: () => server.close().closeAllConnections(),
  };
}

async function get(port: number): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
  return response.ok ? response.text() : `status ${response.status}`;
}
