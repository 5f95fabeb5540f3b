/** discover told to stop in the middle of its work: what it has begun it ends, and it leaves nothing half. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { assertOnlyDeadDeleted, fromEngine, knownOf, knownOfLives, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

describe('discover told to stop', { skip: needs('etcd', 'etcdctl'), concurrency: 2 }, () => {
  test('discovers that are told to stop under load, each at another moment, end with 0, and nothing that runs is deleted (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 20 });
    await using host = await startHost({ source: fromEngine(engine), ttl: 60 });
    const { etcd, recorder } = host;
    const first = knownOf(await engine.snapshot());
    let isOver = false;
    const churned = engine.churn({ rate: 150, seconds: 6, lifetimeMs: 300, survivors: 0.05 }).finally(() => {
      isOver = true;
    });
    for (const after of amount([3, 50], [3, 50, 17, 120, 1])) {
      const count = recorder.changes.length + after;
      await eventually(() => assert.ok(recorder.changes.length > count || isOver, 'Not yet'), { everyMs: 2 });
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      // Left in order: it says so itself, and the next one need not wait.
      assert.match(await etcd.ctl('get', '/discover/owner/h1'), /"released":true/);
      await host.launch();
    }
    const { lifecycles } = await churned;
    await host.converged(new Map([...first, ...knownOfLives(lifecycles)]));
    assertOnlyDeadDeleted(recorder.changes, lifecycles);
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  testInFull(
    'one that is to remove its keys on exit leaves none behind under load, and takes them in one revision (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 20 });
      const args = ['--host:onExit', 'remove'];
      await using host = await startHost({ source: fromEngine(engine), ttl: 60, args });
      const { recorder } = host;
      for (let stops = 0; stops < 2; stops++) {
        const churned = engine.churn({ rate: 150, seconds: 2, lifetimeMs: 300, survivors: 0.2 });
        const count = recorder.changes.length;
        await eventually(() => assert.ok(recorder.changes.length > count + 60, 'Not yet'));
        assert.deepEqual(await host.terminate(), { code: 0, signal: null });
        await host.assertGone();
        await recorder.settled();
        const last = recorder.changes.at(-1)?.revision;
        const gone = recorder.changes.filter(({ revision }) => revision === last);
        // The twenty that ran from the start and the owner key, among others.
        assert.ok(gone.length >= 41 && gone.every(({ kind }) => kind === 'delete'), `${gone.length} at the end`);
        await churned;
        await host.launch();
        await host.converged();
      }
    },
  );
});
