/**
 * The helpers against the real daemons: what every other integration and fault test relies on
 * without looking. A helper that loses an event or leaves a container behind would show up there
 * as somebody else's fault.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { startDockerd } from '../helpers/dockerd.ts';
import { startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { exitOf, needs, requireCommand, runDiscover, typescript } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const etcdHere = { skip: needs('etcd', 'etcdctl') };
const dockerdHere = { skip: needs('dockerd', 'docker', 'busybox', 'ip', 'root') };

testInFull('recorder of a real etcd sees each put and delete once, across a kill and a restart', etcdHere, async () => {
  await using etcd = await startEtcd();
  await etcd.ctl('put', '/d/before', '0');
  await using recorder = await etcd.record('/d/');
  const lease = /lease ([0-9a-f]+) granted/.exec(await etcd.ctl('lease', 'grant', '600'))?.[1] ?? '';
  const expected: (readonly [kind: string, key: string, previous: string | undefined])[] = [];
  for (let round = 0; round < 3; round++) {
    await etcd.ctl('put', '/d/a', String(round), `--lease=${lease}`);
    await etcd.ctl('put', '/elsewhere', String(round));
    await etcd.ctl('put', '/d/b', String(round));
    await etcd.kill();
    await etcd.restart();
    await etcd.ctl('del', '/d/b');
    expected.push(['put', '/d/a', round === 0 ? undefined : String(round - 1)]);
    expected.push(['put', '/d/b', undefined], ['delete', '/d/b', String(round)]);
  }
  await recorder.settled();
  assert.deepEqual(
    recorder.changes.map(({ kind, key, previous }) => [kind, key, previous]),
    expected,
  );
  assert.deepEqual(
    recorder.changes.filter(({ key }) => key === '/d/a').map((change) => change.lease),
    Array.from({ length: 3 }, () => BigInt(`0x${lease}`).toString()),
  );
  assert.deepEqual([...recorder.initial], [['/d/before', '0']]);
  assert.deepEqual(recorder.at(await etcd.revision()), await etcd.get('/d/'));
  assert.deepEqual([...(await etcd.keysWithLease('/d/')).keys()], ['/d/a']);
});

test('recorder of a real etcd catches up with more than fits one answer', etcdHere, async () => {
  await using etcd = await startEtcd();
  const value = 'x'.repeat(100_000);
  for (let index = 0; index < 50; index++) await etcd.ctl('put', `/d/${index % 3}`, value);
  await using recorder = await etcd.record('/d/', 2);
  await recorder.settled();
  assert.deepEqual(
    recorder.changes.map(({ revision }) => revision),
    Array.from({ length: 50 }, (_, index) => index + 2),
  );
});

test('recorder of a real etcd says so when the history it needs has been compacted', etcdHere, async () => {
  await using etcd = await startEtcd();
  await using recorder = await etcd.record('/d/');
  for (const value of ['1', '2', '3']) await etcd.ctl('put', '/d/a', value);
  await recorder.settled();
  await etcd.ctl('compact', String(await etcd.revision()));
  await recorder.settled(); // it had seen it all
  await using late = await etcd.record('/d/', 2);
  await assert.rejects(late.settled(), /compact_revision/);
});

test('three nodes of a real etcd survive their leader, and so does the recorder', etcdHere, async () => {
  await using etcd = await startEtcd({ nodes: 3 });
  await using recorder = await etcd.record('/d/');
  await etcd.ctl('put', '/d/a', '1');
  const leader = await etcd.leader();
  await etcd.kill(leader);
  await eventually(() => etcd.ctl('put', '/d/a', '2'));
  await etcd.restart(leader);
  etcd.pause(leader);
  await etcd.ctl('put', '/d/a', '3');
  await recorder.settled();
  etcd.resume(leader);
  const values = recorder.changes.map(({ value }) => value);
  assert.deepEqual([...new Set(values)], ['1', '2', '3']); // a put tried twice may have been made twice
});

test('real dockerd publishes a port that inspect shows and that answers', dockerdHere, async () => {
  await using dockerd = await startDockerd();
  const id = await dockerd.run({
    env: { DISCOVER: 'web:80' },
    ports: [80],
    labels: { a: 'b' },
    command: ['httpd', '-f', '-p', '80'],
  });
  assert.match(id, /^[0-9a-f]{64}$/);
  const port = await dockerd.hostPort(id, '80/tcp');
  assert.ok(port !== undefined && port > 0);
  // Busybox has nothing to serve: its 404 is an answer from inside the container.
  const status = await eventually(() => get({ host: '127.0.0.1', port, path: '/' }));
  assert.equal(status.statusCode, 404);
  const image = await dockerd.image(['ENV DISCOVER=db:5432']);
  const other = await dockerd.run({ image, name: 'other', rm: true });
  assert.match(await dockerd.docker('inspect', '--format={{.Config.Env}}', other), /DISCOVER=db:5432/);
});

testInFull(
  'real dockerd comes back after SIGKILL and after SIGTERM, on the same socket and data',
  dockerdHere,
  async () => {
    await using dockerd = await startDockerd({ liveRestore: true });
    const id = await dockerd.run({ ports: [80] });
    const { StartedAt } = (await dockerd.inspect(id)).State;
    await dockerd.kill();
    await assert.rejects(dockerd.docker('ps'));
    await dockerd.restart();
    assert.equal((await dockerd.inspect(id)).State.StartedAt, StartedAt);
    await dockerd.stop();
    await dockerd.restart();
    assert.equal((await dockerd.inspect(id)).State.StartedAt, StartedAt);
  },
);

test(
  'real dockerd leaves nothing behind, also when its daemon is dead and paused at the end',
  dockerdHere,
  async () => {
    const dockerd = await startDockerd();
    const scratch = path.dirname(dockerd.socketPath);
    await dockerd.docker('network', 'create', 'inner');
    const ids = [await dockerd.run({ ports: [80] }), await dockerd.run({ ports: [80], network: 'inner' })];
    const pids = await Promise.all(ids.map(async (id) => (await dockerd.inspect(id)).State.Pid));
    const subnet = dockerd.gateway.replace(/\.1$/, '.').replace('172.30.', '172.3[01].').replaceAll('.', '\\.');
    dockerd.pause();
    await dockerd.kill();
    await dockerd.close();
    assert.equal(existsSync(scratch), false);
    assert.equal(readFileSync('/proc/self/mountinfo', 'utf8').includes(scratch), false);
    assert.doesNotMatch(
      spawnSync(requireCommand('ip'), ['-o', '-4', 'address'], { encoding: 'utf8' }).stdout,
      RegExp(subnet),
    );
    assert.deepEqual(pids.filter(isRunning), []);
  },
);

test('containers of a real dockerd go with a test process that is killed, at the next start', dockerdHere, async () => {
  const script = `
    import { startDockerd } from ${JSON.stringify(new URL('../helpers/dockerd.ts', import.meta.url).href)};
    const dockerd = await startDockerd();
    const id = await dockerd.run();
    console.log((await dockerd.inspect(id)).State.Pid);
    process.kill(process.pid, 'SIGKILL');`;
  const child = spawn(process.execPath, [...typescript, '--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [output] = await Promise.all([text(child.stdout), exitOf(child)]);
  assert.ok(isRunning(Number(output)), output);
  await using _next = await startDockerd();
  await eventually(() => assert.equal(isRunning(Number(output)), false));
});

testInFull(
  'proxy before a real dockerd logs its requests, cuts after N bytes and holds without an end',
  dockerdHere,
  async () => {
    await using dockerd = await startDockerd();
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-proxy-'));
    const socketPath = path.join(directory, 's');
    await using proxy = await startProxy({ to: dockerd.socketPath, listen: socketPath });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const whole = (await get({ socketPath, path: '/info', agent })).body;
    await get({ socketPath, path: '/_ping', agent });
    assert.deepEqual(
      proxy.log.map(({ method, path, connection }) => `${method} ${path} ${connection}`),
      ['GET /info 1', 'GET /_ping 1'],
    );
    agent.destroy();

    const received = await new Promise<number>((resolve) => {
      const before = proxy.toClient.bytes;
      proxy.toClient.cutAfter(1000);
      const client = net.connect(socketPath, () => client.write('GET /info HTTP/1.1\r\nHost: d\r\n\r\n'));
      let bytes = 0;
      client.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      client.on('close', () => resolve(proxy.toClient.bytes - before === bytes ? bytes : -1));
    });
    assert.equal(received, 1000);
    assert.ok(whole.length > 1000);

    proxy.toClient.sliceBytes = 7;
    proxy.toClient.delayMs = 5;
    const sliced = await get({ socketPath, path: '/_ping', agent: false });
    assert.equal(sliced.body, 'OK');

    proxy.pause();
    const held = get({ socketPath, path: '/_ping', agent: false });
    await eventually(() => assert.equal(proxy.connections, 1));
    dockerd.pause();
    assert.equal(await Promise.race([held, new Promise((resolve) => setImmediate(resolve, 'held'))]), 'held');
    dockerd.resume();
    proxy.resume();
    assert.equal((await held).body, 'OK');

    await proxy.refuse();
    await assert.rejects(get({ socketPath, path: '/_ping', agent: false }), { code: /ENOENT|ECONNREFUSED/ });
    await proxy.accept();
    assert.equal((await get({ socketPath, path: '/_ping', agent: false })).statusCode, 200);
    rmSync(directory, { recursive: true, force: true });
  },
);

test('a run collects log lines, knows how it ended and is not led elsewhere by the environment', async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-run-'));
  const script = path.join(directory, 'cli.mjs');
  writeFileSync(
    script,
    `process.on('SIGTERM', () => { console.log(JSON.stringify({ msg: 'bye' })); process.exit(7); });
     console.log('not JSON');
     console.error(JSON.stringify({ msg: 'ready', args: process.argv.slice(2), env: Object.keys(process.env) }));
     setInterval(() => {}, 1000);`,
  );
  process.env.DISCOVER_ETCD_PREFIX = '/elsewhere';
  await using running = runDiscover(['a', 'b'], { script, env: { DISCOVER_HOST_ID: 'h' } });
  delete process.env.DISCOVER_ETCD_PREFIX;
  const ready = await running.waitForLog((line) => line.msg === 'ready');
  assert.deepEqual(ready.args, ['a', 'b']);
  assert.ok(Array.isArray(ready.env) && ready.env.includes('DISCOVER_HOST_ID'));
  assert.equal(ready.env.includes('DISCOVER_ETCD_PREFIX'), false);
  running.signal('SIGTERM');
  assert.deepEqual(await running.exit, { code: 7, signal: null });
  assert.deepEqual(
    running.logs.map((line) => line.msg),
    ['ready', 'bye'],
  );
  await assert.rejects(
    running.waitForLog((line) => line.msg === 'never'),
    /No such log line.*not JSON/s,
  );
  rmSync(directory, { recursive: true, force: true });
});

function get(options: http.RequestOptions): Promise<{ statusCode: number | undefined; body: string }> {
  return new Promise((resolve, reject) => {
    const request = http.get(options, (response) => {
      text(response).then((body) => resolve({ statusCode: response.statusCode, body }), reject);
    });
    request.on('error', reject);
  });
}

/** A process that is dead but not yet collected by init counts as gone. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
