/**
 * The Docker Engine goes away and comes back: stopped, killed, with live-restore. While it cannot be
 * asked nothing is deleted; what it says when it is back decides.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  assertOnlyDeadDeleted,
  fromDockerd,
  fromEngine,
  type Host,
  knownOf,
  knownOfLives,
  removeAll,
  startHost,
} from '../helpers/host.ts';
import { atExit, listsOf, needs, type Running, requireCommand } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const etcdHere = { skip: needs('etcd', 'etcdctl') };
const dockerHere = { skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root') };
const web = (port: number) => ({ env: { DISCOVER: `web:${port},all:80` }, ports: [port, 80].map(String) });
const warned = (running: Running) => running.waitForLog((line) => line.msg === 'docker unavailable');

/** That the outage did not end it, and that it was not told at length. */
function assertSteady(host: Host): void {
  const warnings = host.discover.logs.filter((line) => line.msg === 'docker unavailable');
  assert.ok(warnings.length > 0 && warnings.length <= 4, `${warnings.length} warnings`);
  assert.deepEqual(
    host.discover.logs.filter((line) => line.level === 'error'),
    [],
  );
}

/** The file or directory once more, elsewhere, as a container of discover would have it. */
function bindMount(
  source: string,
  kind: 'file' | 'directory',
): AsyncDisposable & { readonly at: string; readonly again: () => void } {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-mount-'));
  const at = path.join(directory, 'm');
  if (kind === 'file') writeFileSync(at, '');
  else mkdirSync(at);
  const mount = (): void => void execFileSync(requireCommand('mount'), ['--bind', source, at]);
  const unmount = (): void => void execFileSync(requireCommand('umount'), ['--lazy', at]);
  const erase = (): void => {
    unmount();
    rmSync(directory, { recursive: true });
  };
  mount();
  const forget = atExit(erase);
  return {
    at,
    again: () => {
      unmount();
      mount();
    },
    [Symbol.asyncDispose]: async () => {
      erase();
      forget();
    },
  };
}

// Two daemons and two simulated ones at a time: most of it is waiting for them.
describe('docker away', { concurrency: 4 }, () => {
  describe('real dockerd', { ...dockerHere, concurrency: 1 }, () => {
    let dockerd: Dockerd;
    before(async () => {
      dockerd = await startDockerd();
    });
    beforeEach(() => removeAll(dockerd));
    after(() => dockerd.close());

    test('keys go with the containers of a dockerd that is stopped, and come back with those it starts again (real dockerd, real etcd)', async () => {
      await using host = await startHost({ source: fromDockerd(dockerd) });
      const ids = [await dockerd.run(web(80)), await dockerd.run({ ...web(81), args: ['--restart=always'] })];
      await host.converged();
      await dockerd.stop();
      await eventually(async () => assert.equal((await host.held()).size, 0));
      await warned(host.discover);
      await dockerd.restart();
      await eventually(async () => {
        const id = ids[1] ?? '';
        const error = await dockerd.docker('inspect', '--format={{.State.Error}}', id);
        // Another daemon of the machine may have taken the port meanwhile; dockerd does not try twice.
        if (/address already in use|port is already allocated/.test(error)) await dockerd.docker('start', id);
        assert.equal((await dockerd.inspect(id)).State.Running, true);
      });
      await host.converged();
      assert.equal((await host.held()).size, 3);
      await dockerd.docker('start', ids[0] ?? '');
      await host.converged();
      assertSteady(host);
    });

    test('keys stay while a killed dockerd is away, and are right when it is back (real dockerd, real etcd)', async () => {
      await using host = await startHost({ source: fromDockerd(dockerd) });
      await dockerd.run(web(80));
      await dockerd.run({ ...web(81), args: ['--restart=always'] });
      const stopped = await dockerd.run(web(82));
      await dockerd.docker('stop', stopped);
      await host.converged();
      const count = host.recorder.changes.length;
      await dockerd.kill();
      await warned(host.discover);
      assert.deepEqual(await host.changesSince(count), []);
      await dockerd.restart();
      await host.converged();
      await dockerd.docker('start', stopped);
      await host.converged();
      assertSteady(host);
    });
  });

  describe('real dockerd with live-restore', { ...dockerHere, concurrency: 1 }, () => {
    let dockerd: Dockerd;
    before(async () => {
      dockerd = await startDockerd({ liveRestore: true });
    });
    beforeEach(() => removeAll(dockerd));
    after(() => dockerd.close());

    for (const end of amount(['kill'] as const, ['kill', 'stop'] as const)) {
      test(`only the container that died while dockerd was away (${end}) is deleted, without an event (real dockerd, real etcd)`, async () => {
        await using host = await startHost({ source: fromDockerd(dockerd) });
        const [lives, dies] = [await dockerd.run(web(80)), await dockerd.run(web(81))];
        await host.converged();
        const { Pid } = (await dockerd.inspect(dies)).State;
        assert.ok(Pid > 1); // to 0 the signal would be for ourselves
        const count = host.recorder.changes.length;
        await dockerd[end]();
        await warned(host.discover);
        process.kill(Pid, 'SIGKILL');
        assert.deepEqual(await host.changesSince(count), []);
        await dockerd.restart();
        await host.converged();
        const changes = await host.changesSince(count);
        assert.ok(changes.every(({ kind, key }) => kind === 'delete' && key.endsWith(dies.slice(0, 12))));
        assert.equal(changes.length, 3);
        assert.ok([...(await host.held()).keys()].some((key) => key.endsWith(lives.slice(0, 12))));
        assertSteady(host);
      });
    }

    testInFull(
      'a restart of dockerd that no container notices moves no revision, with the directory of its socket mounted elsewhere (real dockerd, real etcd)',
      async () => {
        await using mounted = bindMount(path.dirname(dockerd.socketPath), 'directory');
        const socketPath = path.join(mounted.at, path.basename(dockerd.socketPath));
        await using host = await startHost({ source: fromDockerd(dockerd), socketPath });
        await dockerd.run(web(80));
        await host.converged();
        const revision = await host.etcd.revision();
        for (const end of amount(['stop'] as const, ['stop', 'kill'] as const)) {
          const lists = await listsOf(host.discover);
          await dockerd[end]();
          await dockerd.restart();
          await eventually(async () => assert.ok((await listsOf(host.discover)) > lists, 'No list yet'));
        }
        await host.converged();
        assert.equal(await host.etcd.revision(), revision);
        assertSteady(host);
      },
    );

    testInFull(
      'a socket that is mounted by itself is dead after a restart of dockerd: said with its path, and no key goes (real dockerd, real etcd)',
      async () => {
        await using mounted = bindMount(dockerd.socketPath, 'file');
        await using host = await startHost({ source: fromDockerd(dockerd), socketPath: mounted.at });
        await dockerd.run(web(80));
        await host.converged();
        const revision = await host.etcd.revision();
        await dockerd.stop();
        await dockerd.restart();
        const warning = await warned(host.discover);
        assert.ok(String(warning.error).includes(`ECONNREFUSED ${mounted.at}`), String(warning.error));
        mounted.again();
        await host.discover.waitForLog((line) => line.msg === 'docker unavailable: over');
        await host.converged();
        assert.equal(await host.etcd.revision(), revision);
        assertSteady(host);
      },
    );
  });

  for (const as of amount(['missing'] as const, ['missing', 'refusing'] as const)) {
    test(
      `an engine that is away (${as}) again and again under load costs no key of what runs (simulated engine, real etcd)`,
      etcdHere,
      async () => {
        await using engine = await forkEngine({ containers: 10 });
        await using host = await startHost({ source: fromEngine(engine) });
        await host.converged();
        const first = knownOf(await engine.snapshot());
        const [unseen = ''] = (await engine.snapshot()).map(({ id }) => id);
        const lives = [];
        for (let outage = 0; outage < amount(2, 3); outage++) {
          await engine.leave(as);
          // What an engine that is being restarted does to containers nobody hears of.
          const { lifecycles } = await engine.churn({ rate: 100, seconds: 1, lifetimeMs: 300, survivors: 0.1 });
          lives.push(...lifecycles);
          if (outage === 0) await engine.apply('dieUnseen', [unseen]);
          await engine.comeBack({ remembering: outage === 1 });
          lives.push(...(await engine.churn({ rate: 100, seconds: 1, lifetimeMs: 300, survivors: 0.1 })).lifecycles);
        }
        await host.converged(new Map([...first, ...knownOfLives(lives)]));
        // Who is not among the lives has run all the time.
        const dead = { id: unseen, endedMs: 0 };
        assertOnlyDeadDeleted(host.recorder.changes, [...lives, dead]);
      },
    );
  }
});
