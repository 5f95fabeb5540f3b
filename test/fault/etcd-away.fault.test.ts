/**
 * etcd goes away under load: stopped, killed, frozen for longer than the lease, cut off in the middle
 * of a commit; and neither side there when discover starts.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { assertOnlyDeadDeleted, fromEngine, type Host, knownOf, knownOfLives, startHost } from '../helpers/host.ts';
import { startProxy } from '../helpers/proxy.ts';
import { needs } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const churn = { rate: 100, lifetimeMs: 500, survivors: 0.2 };

/** It has told of the trouble, but not for each call. */
async function assertSteady(host: Host, warnings = { min: 1, max: 4 }): Promise<void> {
  const told = host.discover.logs.filter(({ msg }) => msg === 'etcd unavailable').length;
  assert.ok(told >= warnings.min && told <= warnings.max, `${told} warnings`);
  assert.deepEqual(
    host.discover.logs.filter((line) => line.level === 'error'),
    [],
  );
  assert.deepEqual(await host.terminate(), { code: 0, signal: null });
}

describe('etcd away', { skip: needs('etcd', 'etcdctl'), concurrency: 3 }, () => {
  for (const end of amount(['kill'] as const, ['kill', 'stop'] as const)) {
    test(`after 10 s without etcd (${end}) under load all is right, and nothing that runs was deleted (simulated engine, real etcd)`, async () => {
      await using engine = await forkEngine({ containers: 10 });
      await using host = await startHost({ source: fromEngine(engine), ttl: 5 });
      const first = knownOf(await engine.snapshot());
      const before = engine.churn({ ...churn, seconds: 2 });
      await eventually(() => assert.ok(host.recorder.changes.length > 100, 'Not yet'));
      await host.etcd[end]();
      const away = engine.churn({ ...churn, seconds: 10 });
      await eventually(() =>
        assert.ok(
          host.discover.logs.some(({ msg }) => msg === 'etcd unavailable'),
          'Not yet',
        ),
      );
      const lives = [...(await before).lifecycles, ...(await away).lifecycles];
      const after = engine.churn({ ...churn, seconds: 2 });
      await host.etcd.restart();
      lives.push(...(await after).lifecycles);
      await host.converged(new Map([...first, ...knownOfLives(lives)]));
      assertOnlyDeadDeleted(host.recorder.changes, lives);
      await assertSteady(host);
    });
  }

  testInFull(
    'after etcd was frozen for longer than the TTL under load all is right (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 10 });
      await using host = await startHost({ source: fromEngine(engine), ttl: 2 });
      const first = knownOf(await engine.snapshot());
      const before = engine.churn({ ...churn, seconds: 2 });
      await eventually(() => assert.ok(host.recorder.changes.length > 100, 'Not yet'));
      host.etcd.pause();
      const frozen = engine.churn({ ...churn, seconds: 6 });
      const lives = [...(await before).lifecycles, ...(await frozen).lifecycles];
      const after = engine.churn({ ...churn, seconds: 2 });
      host.etcd.resume();
      lives.push(...(await after).lifecycles);
      await host.converged(new Map([...first, ...knownOfLives(lives)]));
      await assertSteady(host);
    },
  );

  testInFull(
    'answers of etcd that are lost in the middle of commits leave nothing wrong (simulated engine, real etcd behind a proxy)',
    async () => {
      await using engine = await forkEngine({ containers: 10 });
      await using host = await startHost({ source: fromEngine(engine), idle: true });
      const { etcd, recorder } = host;
      await using proxy = await startProxy({ to: `127.0.0.1:${etcd.ports[0]}` });
      const endpoints = `http://${proxy.address}`;
      await host.launch(['--etcd:endpoints', endpoints, '--etcd:ttl', '30']);
      const first = knownOf(await engine.snapshot());
      let [cuts, isOver] = [0, false];
      const churned = engine.churn({ ...churn, seconds: 6 }).finally(() => {
        isOver = true;
      });
      for (; !isOver; cuts++) {
        const count = recorder.changes.length;
        await eventually(() => assert.ok(recorder.changes.length > count + 20 || isOver, 'Not yet'));
        // In turn: the question gets through and its answer does not, and the other way round.
        const way = cuts % 2 === 0 ? proxy.toClient : proxy.toServer;
        way.cutAfter(1 + ((cuts * 37) % 200));
      }
      const { lifecycles } = await churned;
      await host.converged(new Map([...first, ...knownOfLives(lifecycles)]));
      assertOnlyDeadDeleted(recorder.changes, lifecycles);
      const claims = recorder.changes.filter(({ key }) => key === '/discover/owner/h1').length;
      assert.ok(claims > 3, `Commits were in doubt only ${claims - 1} times`);
      await assertSteady(host, { min: 0, max: cuts });
    },
  );

  for (const last of amount(['etcd'] as const, ['etcd', 'engine'] as const)) {
    test(`a discover that finds neither engine nor etcd starts when they are there, ${last} last (simulated engine, real etcd)`, async () => {
      await using engine = await forkEngine({ containers: 10 });
      await using host = await startHost({ source: fromEngine(engine), idle: true });
      await engine.leave(last === 'etcd' ? 'missing' : 'refusing');
      await host.etcd.stop();
      const discover = await host.launch([], { wait: false });
      for (const msg of ['docker unavailable', 'etcd unavailable'])
        await discover.waitForLog((line) => line.msg === msg);
      const arrivals = [() => host.etcd.restart(), () => engine.comeBack({})];
      if (last === 'etcd') arrivals.reverse();
      await arrivals[0]?.();
      await discover.waitForLog(
        ({ msg }) => msg === (last === 'etcd' ? 'connected to docker' : 'writing for this host'),
      );
      await arrivals[1]?.();
      await host.converged(knownOf(await engine.snapshot()));
      await assertSteady(host);
    });
  }
});
