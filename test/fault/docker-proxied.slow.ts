/**
 * A real engine behind something that gets in the way: connections that are dead and do not say
 * so, answers that are slow, made up on the way or without an end. Not run by `npm test`, but by
 * `npm run test:full`.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { forkEngine } from '../../bench/engine/client.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { type Answer, startFront, status } from '../helpers/front.ts';
import { fromDockerd, fromEngine, type Host, removeAll, startHost } from '../helpers/host.ts';
import { type Proxy as FaultProxy, startProxy } from '../helpers/proxy.ts';
import { needs } from '../helpers/run.ts';

const noResync = ['--resync', '86400'];
const web = (port: number) => ({ env: { DISCOVER: `web:${port},all:80` }, ports: [port, 80].map(String) });
const shortOf = (id: string): string => id.slice(0, 12);
const countOf = (proxy: FaultProxy, pattern: RegExp): number =>
  proxy.log.filter((seen) => pattern.test(seen.path)).length;
const isStream = /\/events\?/;
const isList = /\/containers\/json(?:\?|$)/;

describe('docker behind a proxy', {
  skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root'),
}, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-proxied-'));
  const socketPath = path.join(directory, 's');
  let dockerd: Dockerd;
  before(async () => {
    dockerd = await startDockerd();
  });
  beforeEach(() => removeAll(dockerd));
  after(async () => {
    await dockerd.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const hostBehind = (args: readonly string[]): Promise<Host> =>
    startHost({ source: fromDockerd(dockerd), socketPath, args });

  test('connections that are dead and say nothing are found out by the next list, and left (real dockerd behind two proxies, real etcd)', async () => {
    await using first = await startProxy({ to: dockerd.socketPath, listen: `${socketPath}1` });
    await using second = await startProxy({ to: dockerd.socketPath, listen: `${socketPath}2` });
    rmSync(socketPath, { force: true });
    symlinkSync(`${socketPath}1`, socketPath);
    // Longer than HTTP keeps an unused connection, so that the list comes by one of its own.
    await using host = await hostBehind(['--resync', '7']);
    const stays = await dockerd.run(web(80));
    const ends = await dockerd.run(web(81));
    await host.converged();
    first.pause(); // with the stream in it, for ever
    symlinkSync(`${socketPath}2`, `${socketPath}new`);
    renameSync(`${socketPath}new`, socketPath);
    await dockerd.docker('rm', '--force', ends);
    await dockerd.run(web(82));
    await host.converged();
    assert.ok([...(await host.held()).keys()].some((key) => key.endsWith(shortOf(stays))));
    assert.ok(countOf(second, isList) > 0);
    rmSync(socketPath);
  });

  test('a dockerd that stands still for a minute costs no key, and what died meanwhile goes once it moves (real dockerd, real etcd)', async () => {
    await using host = await startHost({ source: fromDockerd(dockerd), args: ['--resync', '1'] });
    const [dies] = [await dockerd.run(web(80)), await dockerd.run(web(81))];
    await host.converged();
    const { Pid } = (await dockerd.inspect(dies)).State;
    assert.ok(Pid > 1);
    const count = host.recorder.changes.length;
    dockerd.pause();
    try {
      process.kill(Pid, 'SIGKILL');
      await sleep(60_000);
      assert.deepEqual(await host.changesSince(count), []);
      const warnings = host.discover.logs.filter((line) => line.msg === 'docker unavailable');
      assert.equal(warnings.length, 1);
    } finally {
      dockerd.resume();
    }
    await host.converged();
    const changes = await host.changesSince(count);
    assert.ok(changes.every(({ kind, key }) => kind === 'delete' && key.endsWith(shortOf(dies))));
    assert.equal(changes.length, 3);
  });

  test('a stream cut at every 16th byte of what is told of a restart is followed by a whole one, and no descriptor is lost (real dockerd behind a proxy, real etcd)', async () => {
    await using proxy = await startProxy({ to: dockerd.socketPath, listen: socketPath });
    await using host = await hostBehind(['--resync', '86400']);
    const id = await dockerd.run(web(80));
    await host.converged();
    const openFiles = (): number => readdirSync(`/proc/${host.discover.pid}/fd`).length;
    let descriptors = Number.POSITIVE_INFINITY;
    for (let bytes = 1; bytes < 70 * 16; bytes += 16) {
      const streams = countOf(proxy, isStream);
      proxy.toClient.cutAfter(bytes);
      await dockerd.docker('restart', '--time=0', id);
      await eventually(() => assert.ok(countOf(proxy, isStream) > streams, 'Not cut yet'));
      await host.converged();
      if (bytes === 16 * 4 + 1) descriptors = openFiles();
    }
    await eventually(() =>
      assert.ok(openFiles() <= descriptors + 3, `${openFiles()} descriptors, once ${descriptors}`),
    );
  });

  test('an engine that answers 409, 500 or 503 to lists or inspections is no reason to delete (real dockerd behind a front, real etcd)', async () => {
    await using front = await startFront(dockerd.socketPath, socketPath);
    await using host = await hostBehind(['--resync', '1']);
    const stays = await dockerd.run(web(80));
    await host.converged();
    for (const [code, pattern] of [
      [409, /\/[0-9a-f]{64}\/json$/],
      [500, /\/[0-9a-f]{64}\/json$/],
      [500, isList],
      [503, isList],
    ] as const) {
      let answered = 0;
      const refuse: Answer = (response) => {
        answered++;
        status(code)(response);
      };
      const dies = await dockerd.run(web(81));
      await host.converged();
      const count = host.recorder.changes.length;
      front.answer = (asked) => (pattern.test(asked) ? refuse : undefined);
      const starts = await dockerd.run(web(82));
      await eventually(() => assert.ok(answered > 1, `Only ${answered} requests were refused`));
      await dockerd.docker('rm', '--force', dies);
      front.answer = () => undefined;
      await host.converged();
      const deleted = (await host.changesSince(count)).filter(({ kind }) => kind === 'delete');
      assert.ok(
        deleted.every(({ key }) => key.endsWith(shortOf(dies))),
        `${code}`,
      );
      await dockerd.docker('rm', '--force', starts);
    }
    await host.converged();
    assert.ok([...(await host.held()).keys()].some((key) => key.endsWith(shortOf(stays))));
  });

  test('answers of a gigabyte are not read to their end, hold up nobody and do not fill the memory (real dockerd behind a front, real etcd)', async (t) => {
    await using front = await startFront(dockerd.socketPath, socketPath);
    await using host = await hostBehind(['--resync', '1', '--workers', '1']);
    const stays = await dockerd.run(web(80));
    await host.converged();
    let [begun, finished] = [0, 0];
    const endless: Answer = (response) => {
      begun++;
      const piece = Buffer.alloc(1 << 20, ' ');
      let pieces = 0;
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = (): void => {
        for (let isTaken = true; isTaken && pieces < 1024 && !response.destroyed; pieces++) {
          isTaken = response.write(piece);
        }
        if (pieces === 1024 && !response.destroyed) {
          finished++;
          response.end();
        }
      };
      response.on('drain', more);
      more();
    };
    const monster = await dockerd.docker(
      'create',
      '--env=DISCOVER=monster:80',
      '--publish=80',
      await dockerd.image(),
      'sleep',
      '1000',
    );
    front.answer = (asked) => (asked.includes(monster) ? endless : undefined);
    await dockerd.docker('start', monster);
    await eventually(() => assert.ok(begun > 1, 'Not inspected twice yet'));
    const other = await dockerd.run(web(81));
    await eventually(async () => {
      const held = [...(await host.held()).keys()];
      for (const id of [stays, other]) assert.ok(held.some((key) => key.endsWith(shortOf(id))));
      assert.ok(!held.some((key) => key.endsWith(shortOf(monster))));
    });
    begun = 0;
    const count = await host.mark();
    front.answer = (asked) => (isList.test(asked) ? endless : undefined);
    await host.discover.waitForLog((line) => line.msg === 'docker unavailable');
    const deleted = (await host.changesSince(count)).filter(({ kind }) => kind === 'delete');
    assert.deepEqual(deleted, []);
    assert.equal(finished, 0);
    front.answer = () => undefined;
    await host.converged();
    const peakKb = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${host.discover.pid}/status`, 'utf8'))?.[1]);
    t.diagnostic(`${peakKb} kB resident at the most`);
    // 32 MiB of an inspection and 256 MiB of a list are read; several gigabytes were offered.
    assert.ok(peakKb < 1 << 20, `${peakKb} kB resident at the most`);
  });
});

test('an engine that answers each request 1 to 3 s late is asked no more at once than there are connections, and all is published (simulated engine behind a proxy, real etcd)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-slow-'));
  try {
    const socketPath = path.join(directory, 's');
    await using engine = await forkEngine({ containers: 100 });
    await using proxy = await startProxy({ to: engine.socketPath, listen: socketPath });
    proxy.toClient.delayMs = 1000;
    proxy.toClient.jitterMs = 2000;
    const args = [...noResync, '--workers', '1'];
    await using host = await startHost({ source: fromEngine(engine), socketPath, args, idle: true });
    await host.launch([], { wait: false });
    let most = 0;
    await eventually(
      async () => {
        most = Math.max(most, proxy.connections);
        assert.equal((await host.held()).size, 200);
      },
      { everyMs: 10, timeoutMs: 60_000 },
    );
    // 32 of the thread; the stream, the list, and what asked for ping and version.
    assert.ok(most > 8 && most <= 36, `${most} connections`);
    await host.converged();
    // Only the first list may be awaited for so long that it is told.
    const warnings = host.discover.logs.filter((line) => line.level === 'warn' && line.state !== 'unknown');
    assert.deepEqual(warnings, [], host.discover.output);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
