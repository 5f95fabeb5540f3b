/** The command line as an operator meets it: mistakes, signals, log. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import type { Metrics } from '../../src/metrics.ts';
import { eventually } from '../helpers/eventually.ts';
import { ended, fromEngine, revisionsOf, startHost } from '../helpers/host.ts';
import { cleanEnvironment, exitOf, needs, runDiscover } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const builtCli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const here = { skip: needs('etcd', 'etcdctl') };

describe('mistakes', { concurrency: 3 }, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-cli-'));
  const socketPath = path.join(directory, 'docker.sock');
  let connections = 0;
  let port = 0;
  const [engine, etcd] = [net.createServer(), net.createServer()];
  before(async () => {
    for (const server of [engine, etcd]) server.on('connection', () => connections++);
    await new Promise<void>((resolve) => engine.listen(socketPath, resolve));
    await new Promise<void>((resolve) => etcd.listen(0, '127.0.0.1', resolve));
    port = (etcd.address() as net.AddressInfo).port;
    writeFileSync(path.join(directory, 'cut.json'), '{"etcd": {"ttl": 5');
    writeFileSync(path.join(directory, 'wrong.json'), '{"resync": "often", "host": {"realm": 7}}');
    writeFileSync(path.join(directory, 'not.pem'), 'nothing');
  });
  after(() => {
    for (const server of [engine, etcd]) server.close();
    rmSync(directory, { recursive: true, force: true });
  });

  // One mistake for each source of options, and for each place that checks them. unit/config has the mistakes of every option.
  const mistakes: readonly (readonly [args: readonly string[], said: RegExp, env?: Record<string, string>])[] = [
    [['--host:ip', 'ten'], /host\.ip .*must be an IPv4 or IPv6 address.*"ten"/],
    [['--etcd:password', 'hunter2'], /--etcd:password is refused/],
    [['--etcd:passwordFile', '/nonexistent'], /etcd\.passwordFile .*ENOENT/],
    [['--etcd:tls:ca', '$/not.pem'], /etcd\.tls\.ca .*PEM/],
    [[], /NODE_TLS_REJECT_UNAUTHORIZED .*must not be 0/, { NODE_TLS_REJECT_UNAUTHORIZED: '0' }],
    [['--etcd:endpoint', 'a:1'], /--etcd:endpoint is not an option, did you mean --etcd:endpoints\?/],
    [['strat'], /strat is not a command/],
    [['--config', '$/cut.json'], /cut\.json is not JSON/],
    [['--config', '$/wrong.json'], /resync .*must be an integer.*host\.realm .*must be/s],
    [[], /docker.*must be unix/i, { DOCKER_HOST: 'npipe://engine' }],
  ];
  for (const [args, said, env = {}] of amount(mistakes.slice(4), mistakes)) {
    const shown = [...args, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)].join(' ');
    test(`${shown} ends with 78, the reason and no connection (nothing but discover is real)`, async () => {
      const socket = env.DOCKER_HOST === undefined ? ['--docker:socketPath', socketPath] : [];
      const right = [...socket, '--etcd:endpoints', `127.0.0.1:${port}`, '--host:ip', '10.0.0.5', '--host:id', 'h1'];
      const given = args.map((word) => word.replace('$', directory));
      await using running = runDiscover([...right, ...given], { env });
      const exit = await ended(running);
      assert.deepEqual(exit, { code: 78, signal: null }, running.output);
      assert.match(running.output, said);
      assert.match(running.output, /^discover: /);
      assert.doesNotMatch(running.output, /hunter2|\n +at /);
      assert.equal(connections, 0);
    });
  }
});

describe('signals', here, () => {
  let engine: EngineHandle;
  before(async () => {
    engine = await forkEngine({ containers: 5 });
  });
  after(() => engine.close());

  test('SIGTERM ends it with 0; the keys stay and the owner key says released (simulated engine, real etcd)', async () => {
    await using host = await startHost({ source: fromEngine(engine), ttl: 5 });
    await host.converged();
    const before = await host.held();
    const count = await host.mark();
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    assert.deepEqual(await host.held(), before);
    assert.deepEqual(await host.changesSince(count), []);
    const owner = JSON.parse(await host.etcd.ctl('get', '--print-value-only', '/discover/owner/h1')) as object;
    assert.equal(Reflect.get(owner, 'released'), true);
    await eventually(() => host.assertGone()); // nobody has come to vouch for them
    await host.launch();
    await host.converged();
  });

  test('with host.onExit=remove SIGTERM takes all keys away, in one revision (simulated engine, real etcd)', async () => {
    const args = ['--host:onExit', 'remove'];
    await using host = await startHost({ source: fromEngine(engine), args, ttl: 600 });
    await host.converged();
    const count = await host.mark();
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    await host.assertGone();
    assert.equal(revisionsOf(await host.changesSince(count)).length, 1);
    await host.launch();
    await host.converged();
  });

  const codes = [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const;
  for (const [signal, code] of amount(codes.slice(0, 1), [...codes])) {
    test(`a second ${signal} ends it at once with ${code} while etcd is frozen (simulated engine, real etcd)`, async () => {
      await using host = await startHost({ source: fromEngine(engine), ttl: 60 });
      await host.converged();
      host.etcd.pause();
      host.discover.signal(signal);
      await host.discover.waitForLog((line) => line.msg === 'stopping');
      host.discover.signal(signal);
      assert.deepEqual(await ended(host.discover), { code, signal: null });
      host.etcd.resume();
      await host.launch();
      await host.converged();
    });
  }

  testInFull(
    'SIGTERM ends it with 0 also while etcd is frozen, and while neither side is there (simulated engine, real etcd)',
    async () => {
      await using host = await startHost({ source: fromEngine(engine), ttl: 60 });
      await host.converged();
      host.etcd.pause();
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      host.etcd.resume();
      await host.etcd.stop();
      await engine.leave('missing');
      const discover = await host.launch([], { wait: false });
      for (const msg of ['docker unavailable', 'etcd unavailable'])
        await discover.waitForLog((line) => line.msg === msg);
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      await engine.comeBack({});
      await host.etcd.restart();
      await host.launch();
      await host.converged();
    },
  );

  testInFull(
    'SIGTERM during a burst ends it with 0, and its successor makes all right (simulated engine, real etcd)',
    async () => {
      await using host = await startHost({ source: fromEngine(engine), ttl: 60 });
      // Lives that a slow machine can see: of those that are over before their inspection nothing is written.
      const churned = engine.churn({ rate: 100, seconds: 4, lifetimeMs: 2_000 });
      await eventually(() => assert.ok(host.recorder.changes.length > 50, 'Not yet'));
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      await churned;
      await host.launch();
      await host.converged();
    },
  );

  test('SIGUSR1 opens no debugger, and SIGUSR2 logs the state (simulated engine, real etcd)', async () => {
    await using host = await startHost({ source: fromEngine(engine) });
    host.discover.signal('SIGUSR1');
    host.discover.signal('SIGUSR2');
    const state = await host.discover.waitForLog((line) => line.msg === 'state');
    assert.ok((state.lists as Metrics['lists']).connect.ok >= 1 && Number(state.memory) > 0);
    assert.doesNotMatch(host.discover.output, /Debugger/);
    await host.converged();
  });
});

describe('log', here, () => {
  let engine: EngineHandle;
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-log-'));
  before(async () => {
    engine = await forkEngine({ containers: 2 });
  });
  after(async () => {
    await engine.close();
    rmSync(directory, { recursive: true, force: true });
  });

  test('every line is JSON with a level and an ISO time (simulated engine, real etcd)', async () => {
    await using host = await startHost({ source: fromEngine(engine), args: ['--silly'] });
    await engine.run([{ env: ['DISCOVER=web:8080,b\u001b[2Jd:1,x\ny:2'], ports: [] }]);
    await host.converged();
    await host.etcd.kill();
    await host.discover.waitForLog((line) => line.msg === 'etcd unavailable');
    await host.etcd.restart();
    await host.converged();
    await host.terminate();
    const lines = host.discover.output.trimEnd().split('\n');
    assert.equal(host.discover.logs.length, lines.length, host.discover.output);
    for (const { level, time, msg } of host.discover.logs) {
      assert.match(String(level), /^(trace|debug|info|warn|error)$/);
      assert.equal(new Date(String(time)).toISOString(), time);
      assert.equal(typeof msg, 'string');
    }
  });

  test('SIGHUP makes a new log file after the old one was moved away (simulated engine, real etcd)', async () => {
    const [file, moved] = [path.join(directory, 'log'), path.join(directory, 'log.1')];
    await using host = await startHost({ source: fromEngine(engine), args: ['--log', file], idle: true });
    await host.launch([], { wait: false });
    await eventually(() => assert.match(readFileSync(file, 'utf8'), /"msg":"started"/));
    await host.converged();
    renameSync(file, moved);
    host.discover.signal('SIGHUP');
    await eventually(() => assert.match(readFileSync(file, 'utf8'), /"msg":"log reopened"/));
    const before = readFileSync(moved, 'utf8');
    const [id = ''] = await engine.run([{ env: ['DISCOVER=later:8080'], ports: [{ container: '8080/tcp' }] }]);
    await host.converged();
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    assert.match(readFileSync(file, 'utf8'), new RegExp(`${id.slice(0, 12)}[\\s\\S]*"msg":"stopped"`));
    assert.equal(readFileSync(moved, 'utf8'), before);
    assert.equal(host.discover.output, '');
  });

  test('whoever reads what a command prints may go away (nothing but discover is real)', async () => {
    const child = spawn(process.execPath, [builtCli, 'config', '--schema'], { env: cleanEnvironment() });
    child.stdout.destroy();
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    assert.deepEqual([await exitOf(child), errors], [{ code: 0, signal: null }, '']);
  });

  testInFull('whoever reads stdout may go away (simulated engine, real etcd)', async () => {
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    const args = ['--docker:socketPath', engine.socketPath, '--etcd:endpoints', host.etcd.endpoint, '--silly'];
    const names = ['--host:ip', '10.0.0.5', '--host:id', 'h1', '--etcd:ttl', '5'];
    const child = spawn(process.execPath, [builtCli, ...args, ...names], {
      env: cleanEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    try {
      const exit = exitOf(child);
      // As `| head -1` does.
      child.stdout.once('data', () => child.stdout.destroy());
      child.stderr.resume();
      await eventually(() => host.assertExact());
      await engine.churn({ rate: 100, seconds: 2, lifetimeMs: 100, survivors: 0.1 });
      await eventually(() => host.assertExact());
      assert.equal(child.exitCode, null);
      child.kill('SIGTERM');
      assert.deepEqual(await exit, { code: 0, signal: null });
    } finally {
      child.kill('SIGKILL');
    }
  });

  test('a document that cannot be read is not quoted in the log (engine of a few lines, no etcd)', async () => {
    const socketPath = path.join(directory, 'docker.sock');
    const id = 'ab'.repeat(32);
    const answers: Readonly<Record<string, string>> = {
      '/_ping': 'OK',
      '/version': '{"ApiVersion":"1.41","MinAPIVersion":"1.12","Version":"20.10.24"}',
      '/containers/json': `[{"Id":"${id}","State":"running","Ports":[]}]`,
      // What an error of JSON.parse quotes is what stands before the mistake.
      [`/containers/${id}/json`]: '{"State":{"Running":true},"Config":{"Env":["P=canary",]}}',
    };
    const server = http.createServer((request, response) => {
      const route = (request.url ?? '').replace(/^\/v[\d.]+/, '');
      response.setHeader('Api-Version', '1.41');
      if (route.startsWith('/events')) response.flushHeaders();
      else response.end(answers[route.split('?', 1)[0] ?? ''] ?? '');
    });
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    try {
      const args = ['--docker:socketPath', socketPath, '--etcd:endpoints', '127.0.0.1:1', '--silly'];
      await using discover = runDiscover([...args, '--host:ip', '10.0.0.5', '--host:id', 'h1']);
      const warning = await discover.waitForLog((line) => line.container === id);
      assert.equal(JSON.stringify(warning).includes('canary'), false, JSON.stringify(warning));
      discover.signal('SIGTERM');
      assert.deepEqual(await ended(discover), { code: 0, signal: null });
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
