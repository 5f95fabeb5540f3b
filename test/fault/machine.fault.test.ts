/**
 * The machine fails around a sound engine and a sound etcd: a full disk, no descriptors, little memory, a
 * wall clock that is set, a thread that is held up. A script that is loaded before discover does what only a
 * machine could do otherwise; the test's name says so.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { forkEngine } from '../../bench/engine/client.ts';
import { startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromDockerd, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { atExit, needs, requireCommand } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const noResync = ['--resync', '86400'];
const etcdHere = { skip: needs('etcd', 'etcdctl') };
const rootHere = { skip: needs('etcd', 'etcdctl', 'mount', 'umount', 'prlimit', 'root') };
const dockerHere = { skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root') };
const web = { env: { DISCOVER: 'web:80' }, ports: [80] };
const published = { env: ['DISCOVER=web:8080'], ports: [{ container: '8080/tcp' }] };

async function leaseOf(host: Host): Promise<string | undefined> {
  return (await host.etcd.entries('/discover/owner/h1'))[0]?.lease;
}

describe('machine', { concurrency: 3 }, () => {
  testInFull(
    'with its disk full dockerd starts nothing and stops what it is told to, and etcd follows (real dockerd, real etcd)',
    dockerHere,
    async () => {
      await using dockerd = await startDockerd({ dataBytes: 48 << 20 });
      await using host = await startHost({ source: fromDockerd(dockerd), args: noResync });
      const [stays, dies, goes] = [await dockerd.run(web), await dockerd.run(web), await dockerd.run(web)];
      await host.converged();
      const filler = path.join(dockerd.dataDir, 'filler');
      assert.throws(() => writeFileSync(filler, Buffer.alloc(64 << 20)), { code: 'ENOSPC' });
      await assert.rejects(
        dockerd.docker('run', '--detach', '--env=DISCOVER=web:80', '--publish=80', await dockerd.image()),
      );
      // What it can still do, and what it says of it, is dockerd's affair; etcd has to agree with what it says.
      process.kill((await dockerd.inspect(dies)).State.Pid, 'SIGKILL');
      await dockerd.docker('rm', '--force', goes).catch(() => {});
      await eventually(async () => {
        const ids = (await fromDockerd(dockerd).running()).map(({ id }) => id);
        assert.deepEqual(ids, [stays]);
      });
      await host.converged();
      assert.equal((await host.held()).size, 2);
      rmSync(filler);
      await dockerd.run(web);
      await host.converged();
      assert.equal((await host.held()).size, 4);
    },
  );

  testInFull(
    'a wall clock of discover that is set an hour on and an hour back costs no lease and no event (real dockerd, real etcd, simulated clock of discover)',
    dockerHere,
    async () => {
      const ttl = 5;
      // Each signal sets it once: on, then back behind the true time.
      const preload = `
      const truth = Date.now;
      const offsets = [3_600_000, -3_600_000];
      let offset = 0;
      const Real = Date;
      globalThis.Date = class extends Real {
        constructor(...args) { super(...(args.length === 0 ? [truth() + offset] : args)); }
        static now() { return truth() + offset; }
      };
      if (require('node:worker_threads').isMainThread) process.on('SIGWINCH', () => { offset = offsets.shift(); });`;
      await using dockerd = await startDockerd();
      await using host = await startHost({ source: fromDockerd(dockerd), ttl, args: noResync, run: { preload } });
      await dockerd.run(web);
      await host.converged();
      const lease = await leaseOf(host);
      for (const hours of amount([1], [1, -1])) {
        const revision = await host.etcd.revision();
        host.discover.signal('SIGWINCH');
        await sleep((ttl + 1) * 1000); // longer than its keys would live without it
        assert.equal(await host.etcd.revision(), revision);
        const id = await dockerd.run(web);
        await host.converged();
        await dockerd.docker('rm', '--force', id);
        await host.converged();
        const last = host.discover.logs.at(-1);
        const ahead = Math.round((Date.parse(String(last?.time)) - Date.now()) / 3_600_000);
        assert.ok(ahead === hours, 'The clock was not set');
      }
      assert.equal(await leaseOf(host), lease);
      assert.deepEqual(
        host.discover.logs.filter(({ level }) => level === 'warn' || level === 'error'),
        [],
      );
    },
  );

  test(
    'a clock of the engine that is set an hour back and on again hides nothing that happens, also over a cut (simulated engine, real etcd)',
    etcdHere,
    async () => {
      await using engine = await forkEngine({ containers: 5 });
      await using host = await startHost({ source: fromEngine(engine), args: noResync });
      await host.converged();
      for (const hours of amount([-1, 0], [-1, 1, 0])) {
        const before = (await fromEngine(engine).running()).map(({ id }) => id);
        await engine.setClock(hours * 3_600_000);
        await engine.apply('restart', before.slice(0, 2)); // a start that is older than the one it follows, or much younger
        await engine.apply('stop', before.slice(2, 3));
        await engine.run([published, published]);
        await host.converged();
        await engine.cutEvents(0);
        await engine.apply('restart', before.slice(0, 1));
        await engine.apply('stop', before.slice(3, 4));
        await engine.run([published, published]);
        await host.converged();
      }
    },
  );

  test(
    'a main thread that is held up for five seconds keeps its lease and learns what it has missed (simulated engine, real etcd, stall by a script)',
    etcdHere,
    async () => {
      const preload = `
      if (require('node:worker_threads').isMainThread) process.on('SIGWINCH', () => {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5_000);
      });`;
      await using engine = await forkEngine({ containers: 5 });
      await using host = await startHost({ source: fromEngine(engine), ttl: 20, args: noResync, run: { preload } });
      await host.converged();
      const lease = await leaseOf(host);
      host.discover.signal('SIGWINCH');
      // More than the engine keeps for who does not read.
      while ((await engine.counts()).eventsLost === 0) {
        const ids = await engine.run(Array.from({ length: 100 }, () => published));
        await engine.apply('remove', ids.slice(5));
      }
      await host.discover.waitForLog((line) => line.msg === 'event loop stalled; events may be lost');
      await host.converged();
      assert.equal(await leaseOf(host), lease);
    },
  );

  test(
    'a log on a full disk costs lines and nothing else, and goes on when there is room (simulated engine, real etcd)',
    rootHere,
    async () => {
      const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-full-'));
      execFileSync(requireCommand('mount'), ['-t', 'tmpfs', '-o', 'size=65536', 'tmpfs', directory]);
      const erase = (): void => {
        execFileSync(requireCommand('umount'), ['--lazy', directory]);
        rmSync(directory, { recursive: true });
      };
      const forget = atExit(erase);
      try {
        const file = path.join(directory, 'log');
        await using engine = await forkEngine({ containers: 5 });
        const args = ['--log', file];
        await using host = await startHost({ source: fromEngine(engine), args, idle: true });
        await host.launch([], { wait: false });
        await eventually(() => assert.match(readFileSync(file, 'utf8'), /"msg":"started"/));
        const filler = path.join(directory, 'filler');
        assert.throws(() => writeFileSync(filler, Buffer.alloc(128 << 10)), { code: 'ENOSPC' });
        await engine.churn({ rate: 100, seconds: 2, lifetimeMs: 100, survivors: 0.1 });
        await host.converged();
        const isFull = (): void => writeFileSync(path.join(directory, 'more'), Buffer.alloc(8 << 10));
        assert.throws(isFull, { code: 'ENOSPC' });
        rmSync(path.join(directory, 'more'));
        truncateSync(filler, 0);
        const [id = ''] = await engine.run([published]);
        await host.converged();
        await eventually(() =>
          assert.ok(readFileSync(file, 'utf8').includes(`"container":"${id.slice(0, 12)}"`), 'No line'),
        );
        assert.deepEqual(await host.terminate(), { code: 0, signal: null });
        assert.match(readFileSync(file, 'utf8'), /"msg":"stopped"/);
      } finally {
        erase();
        forget();
      }
    },
  );

  testInFull(
    'without a descriptor to spare it says so, keeps all keys, and is exact once there are some (simulated engine, real etcd)',
    rootHere,
    async () => {
      await using engine = await forkEngine({ containers: 5 });
      await using host = await startHost({ source: fromEngine(engine), args: noResync });
      await host.converged();
      const { pid } = host.discover;
      const limit = (files: number | string): void =>
        void execFileSync(requireCommand('prlimit'), [`--pid=${pid}`, `--nofile=${files}:`]);
      const allowed = /Max open files\s+(\d+)/.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1] ?? '';
      const count = host.recorder.changes.length;
      limit(3); // those of the standard streams, which it has
      await engine.leave('refusing');
      await engine.comeBack({ remembering: true });
      const warning = await host.discover.waitForLog((line) => line.msg === 'docker unavailable');
      assert.match(String(warning.error), /EMFILE/);
      const ids = (await engine.snapshot()).map(({ id }) => id);
      await engine.apply('stop', ids.slice(0, 1));
      await engine.run([published]);
      assert.deepEqual(await host.changesSince(count), []);
      limit(allowed);
      await host.converged();
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    },
  );

  testInFull(
    'in 96 MiB of memory a thousand containers are published and followed (simulated engine, real etcd)',
    {
      skip: rootHere.skip || memoryGroupsAt() === undefined ? 'needs root and a memory controller' : false,
    },
    async (t) => {
      const group = path.join(memoryGroupsAt() ?? '', `dsc-memory-${process.pid}`);
      const file = (one: string, two: string): string =>
        [one, two].map((name) => path.join(group, name)).find((name) => existsSync(name)) ?? '';
      mkdirSync(group);
      try {
        writeFileSync(file('memory.limit_in_bytes', 'memory.max'), String(96 << 20));
        await using engine = await forkEngine({ containers: 1000 });
        // What it takes before it is moved, in its first milliseconds, is not counted.
        await using host = await startHost({ source: fromEngine(engine), idle: true, ttl: 30 });
        const discover = await host.launch([], { wait: false });
        writeFileSync(path.join(group, 'cgroup.procs'), String(discover.pid));
        await host.converged();
        await engine.churn({ rate: 100, seconds: 3, lifetimeMs: 300, survivors: 0.1 });
        await host.converged();
        const most = Number(readFileSync(file('memory.max_usage_in_bytes', 'memory.peak'), 'utf8')) >> 20;
        t.diagnostic(`${most} MiB at the most`);
        assert.ok(most > 32, 'It was not in the group');
        assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      } finally {
        await eventually(() => rmdirSync(group));
      }
    },
  );
});

/** Where memory is limited: version 1 has a tree of its own for it. */
function memoryGroupsAt(): string | undefined {
  return ['/sys/fs/cgroup/memory', '/sys/fs/cgroup'].find(
    (root) => existsSync(path.join(root, 'memory.limit_in_bytes')) || existsSync(path.join(root, 'cgroup.controllers')),
  );
}
