/** What a service manager is told, by the protocol of sd_notify(3): a socket of our own stands in for systemd. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, startHost } from '../helpers/host.ts';
import { startManager } from '../helpers/manager.ts';
import { needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

function childrenOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`)
    .flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' '))
    .filter((child) => child !== '');
}

describe('a service manager', {
  skip: needs('etcd', 'etcdctl', '/usr/bin/python3', 'systemd-notify'),
  concurrency: 3,
}, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-service-'));
  let engine: EngineHandle;
  before(async () => {
    engine = await forkEngine({ containers: 3 });
  });
  after(async () => {
    await engine.close();
    rmSync(directory, { recursive: true, force: true });
  });

  test('hears READY=1 once what runs is published and not before, and STOPPING=1 (stand-in for systemd, simulated engine, real etcd)', async () => {
    await using manager = await startManager();
    const env = { NOTIFY_SOCKET: manager.socketPath };
    await using host = await startHost({ source: fromEngine(engine), idle: true, run: { env } });
    await host.etcd.stop();
    const discover = await host.launch([], { wait: false });
    // It is alive and says so, which is all there is to say.
    await manager.message(/^EXTEND_TIMEOUT_USEC=\d{8}$/);
    await manager.message(/^STATUS=Waiting for .*etcd$/);
    await discover.waitForLog((line) => line.msg === 'etcd unavailable');
    assert.equal(manager.count('READY=1'), 0);
    await host.etcd.restart();
    const ready = await manager.message(/^READY=1$/);
    assert.deepEqual(ready.lines, ['READY=1', 'STATUS=3 containers published']);
    await host.converged();
    assert.equal(manager.count('WATCHDOG=1'), 0);
    const started = childrenOf(discover.pid);
    assert.notEqual(started.length, 0);
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    // The manager would wait for every process of the unit.
    assert.deepEqual(
      started.filter((pid) => existsSync(`/proc/${pid}`)),
      [],
    );
    await manager.message(/^STOPPING=1$/);
    assert.equal(manager.count('READY=1'), 1);
  });

  test('hears nothing of readiness while there is no engine (stand-in for systemd, no engine, real etcd)', async () => {
    await using manager = await startManager();
    const env = { NOTIFY_SOCKET: manager.socketPath };
    const socketPath = path.join(directory, 'not-yet.sock');
    await using host = await startHost({ source: fromEngine(engine), socketPath, idle: true, run: { env } });
    const discover = await host.launch([], { wait: false });
    await discover.waitForLog((line) => line.msg === 'writing for this host');
    await manager.message(/^STATUS=Waiting for Docker/);
    symlinkSync(engine.socketPath, socketPath);
    await manager.message(/^READY=1$/);
    const before = manager.messages.slice(0, -1).flatMap(({ lines }) => lines);
    assert.equal(before.includes('READY=1'), false);
  });

  testInFull(
    'is fed while the event loop turns, and not while the process is stopped (stand-in for systemd, simulated engine, real etcd)',
    async () => {
      await using manager = await startManager();
      const env = { NOTIFY_SOCKET: manager.socketPath, WATCHDOG_USEC: '600000' };
      await using host = await startHost({ source: fromEngine(engine), run: { env } });
      const fed = () => manager.count('WATCHDOG=1');
      const more = (than: number) => eventually(() => assert.ok(fed() > than, `Fed ${fed()} times`));
      await more(5);
      host.discover.signal('SIGSTOP');
      // What was under way arrives all the same. Then nothing does, in twice the time that it has to be fed in.
      await eventually(async () => {
        const before = fed();
        await sleep(1_200);
        assert.equal(fed(), before);
      });
      const before = fed();
      host.discover.signal('SIGCONT');
      await more(before);
      await host.converged();
      assert.equal(manager.count('READY=1'), 1);
    },
  );

  test('is told of each reload, that it has begun and that it is over, however it went (stand-in for systemd, simulated engine, real etcd)', async () => {
    await using manager = await startManager();
    // The watchdog of another process is none of ours.
    const env = { NOTIFY_SOCKET: manager.socketPath, WATCHDOG_USEC: '600000', WATCHDOG_PID: '1' };
    const file = path.join(directory, 'reload.json');
    const args = ['--config', file];
    writeFileSync(file, '{}');
    await using host = await startHost({ source: fromEngine(engine), args, run: { env } });
    await manager.message(/^READY=1$/);
    for (const [text, said] of [
      ['{"resync": "often"}', 'reload failed; keeping the previous configuration'],
      ['{"resync": 61}', 'configuration reloaded'],
      ['{"resync": 61}', 'configuration unchanged'],
    ] as const) {
      writeFileSync(file, text);
      const from = manager.messages.length;
      host.discover.signal('SIGHUP');
      await manager.message(/^READY=1$/, from);
      const told = manager.messages.slice(from).map(({ lines }) => lines);
      assert.deepEqual(
        told.map(([first]) => first),
        ['RELOADING=1', 'READY=1'],
      );
      // The manager compares it with its own clock: seconds since the boot of the machine.
      const monotonic = Number(/^MONOTONIC_USEC=(\d+)$/.exec(told[0]?.[1] ?? '')?.[1]) / 1e6;
      const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ', 1)[0]);
      assert.ok(Math.abs(uptime - monotonic) < 60, `${monotonic} s by the message, ${uptime} s by the machine`);
      await host.discover.waitForLog((line) => line.msg === said);
    }
    await host.converged();
    assert.equal(manager.count('WATCHDOG=1'), 0);
  });

  testInFull(
    'that cannot be told costs a line in the log (no service manager, simulated engine, real etcd)',
    async () => {
      const tries: Record<string, string>[] = [
        { NOTIFY_SOCKET: path.join(directory, 'nobody.sock'), WATCHDOG_USEC: '60000' },
        { NOTIFY_SOCKET: path.join(directory, 'nobody.sock'), WATCHDOG_USEC: '60000', PATH: directory },
      ];
      for (const env of tries) {
        await using host = await startHost({ source: fromEngine(engine), run: { env } });
        const count = () => host.discover.logs.filter(({ msg }) => msg === 'cannot notify the service manager').length;
        await host.discover.waitForLog((line) => line.msg === 'cannot notify the service manager');
        await host.converged();
        assert.equal(count(), 1);
        assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      }
    },
  );

  testInFull('that is not there has no process started for it (simulated engine, real etcd)', async () => {
    await using manager = await startManager();
    await using host = await startHost({ source: fromEngine(engine) });
    assert.deepEqual(childrenOf(host.discover.pid), []);
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    // With one there is: the check above sees children.
    const discover = await host.launch([], { env: { NOTIFY_SOCKET: manager.socketPath } });
    const [shell = ''] = childrenOf(discover.pid);
    assert.match(readFileSync(`/proc/${shell}/cmdline`, 'utf8'), /systemd-notify/);
    assert.doesNotMatch(readFileSync(`/proc/${shell}/environ`, 'utf8'), /HOME=/);
    // It ends with it, however that ends.
    discover.signal('SIGKILL');
    await discover.exit;
    await eventually(() => assert.equal(existsSync(`/proc/${shell}`), false));
  });
});

test('the unit says nothing that systemd does not know, and leaves it little (systemd-analyze is real)', {
  skip: needs('systemd-analyze'),
}, async () => {
  const unit = readFileSync(new URL('../../deploy/discover.service', import.meta.url), 'utf8');
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-unit-'));
  try {
    const file = path.join(directory, 'discover.service');
    // What it starts is not installed here.
    writeFileSync(file, unit.replace('ExecStart=discover', 'ExecStart=/bin/true'));
    const analyze = promisify(execFile);
    const verified = await analyze('systemd-analyze', ['verify', '--man=no', file]);
    assert.equal(verified.stdout + verified.stderr, '');
    // In tenths; its status tells whether that is kept.
    await analyze('systemd-analyze', ['security', '--offline=true', '--threshold=15', file]);
    await assert.rejects(analyze('systemd-analyze', ['security', '--offline=true', '--threshold=5', file]));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
