/**
 * A real engine behind something that gets in the way: connections that end, bytes that dribble in, and an
 * engine that is there and does not move. What takes longer is in `docker-proxied.slow.ts`.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromDockerd, type Host, removeAll, startHost } from '../helpers/host.ts';
import { type Proxy as FaultProxy, startProxy } from '../helpers/proxy.ts';
import { needs } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const noResync = ['--resync', '86400'];
const web = (port: number) => ({ env: { DISCOVER: `web:${port},all:80` }, ports: [port, 80].map(String) });
const shortOf = (id: string): string => id.slice(0, 12);
const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
const countOf = (proxy: FaultProxy, pattern: RegExp): number =>
  proxy.log.filter((seen) => pattern.test(seen.path)).length;
const isStream = /\/events\?/;
const isList = /\/containers\/json\?/;

/** Cuts every connection, and waits until there is a stream and a list again. */
async function cutAndFollow(proxy: FaultProxy): Promise<void> {
  const [streams, lists] = [countOf(proxy, isStream), countOf(proxy, isList)];
  proxy.cut();
  await eventually(() => {
    assert.ok(countOf(proxy, isStream) > streams, 'No new stream');
    assert.ok(countOf(proxy, isList) > lists, 'No new list');
  });
}

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

  testInFull(
    'connections that are closed again and again on a quiet host cost no write and no file descriptor (real dockerd behind a proxy, real etcd)',
    async () => {
      await using proxy = await startProxy({ to: dockerd.socketPath, listen: socketPath });
      await using host = await hostBehind(noResync);
      await dockerd.run(web(80));
      await host.converged();
      await cutAndFollow(proxy);
      const [revision, descriptors] = [await host.etcd.revision(), openFiles(host.discover.pid)];
      for (let cuts = 0; cuts < 5; cuts++) await cutAndFollow(proxy);
      assert.equal(await host.etcd.revision(), revision);
      // Which connections wait to be used again differs from moment to moment; one lost per cut would be five.
      await eventually(() => assert.ok(openFiles(host.discover.pid) <= descriptors + 2, 'Descriptors leak'));
      await dockerd.run(web(81));
      await host.converged();
    },
  );

  testInFull(
    'answers that come in pieces of 1 to 7 bytes and end anywhere are read as whole ones or not at all (real dockerd behind a proxy, real etcd)',
    async () => {
      await using proxy = await startProxy({ to: dockerd.socketPath, listen: socketPath, seed: 7 });
      await using host = await hostBehind(noResync);
      proxy.toClient.sliceBytes = 7;
      await cutAndFollow(proxy);
      let last = await dockerd.run(web(80));
      await host.converged();
      for (const bytes of amount([640], [130, 640, 2000])) {
        const accepted = proxy.accepted;
        proxy.toClient.cutAfter(bytes); // in the middle of an event, of a list, of an inspection
        await dockerd.docker('rm', '--force', last);
        last = await dockerd.run(web(80));
        await eventually(() => assert.ok(proxy.accepted > accepted, 'Not cut yet'));
      }
      await host.converged();
      assert.deepEqual(
        host.discover.logs.filter((line) => line.level === 'error'),
        [],
      );
    },
  );

  test('while a dockerd stands still what has died is deleted, because its process is gone, and nothing else (real dockerd behind a proxy, real etcd)', async () => {
    await using proxy = await startProxy({ to: dockerd.socketPath, listen: socketPath });
    await using host = await hostBehind(['--resync', '1']);
    const [dies] = [await dockerd.run(web(80)), await dockerd.run(web(81))];
    await host.converged();
    const { Pid } = (await dockerd.inspect(dies)).State;
    assert.ok(Pid > 1);
    const count = host.recorder.changes.length;
    dockerd.pause();
    try {
      process.kill(Pid, 'SIGKILL');
      proxy.cut(); // or the stream that is open would look well for as long as the list is waited for
      const warning = await host.discover.waitForLog((line) => line.msg === 'docker unavailable');
      assert.match(String(warning.error), /no answer to \/_ping within \d+ ms/);
      await eventually(async () => assert.equal((await host.changesSince(count)).length, 3, 'Not deleted yet'));
    } finally {
      dockerd.resume();
    }
    await host.converged();
    const changes = await host.changesSince(count);
    assert.ok(changes.every(({ kind, key }) => kind === 'delete' && key.endsWith(shortOf(dies))));
    assert.equal(changes.length, 3);
  });
});
