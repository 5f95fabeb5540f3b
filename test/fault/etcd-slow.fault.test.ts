/** etcd stands still again and again, as on a disk that does not keep up, and forgets all history it can. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  assertOnlyDeadDeleted,
  ended,
  fromEngine,
  knownOf,
  knownOfLives,
  revisionsOf,
  startHost,
} from '../helpers/host.ts';
import { type LogLine, needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const load = { rate: 150, seconds: 5, lifetimeMs: 400, survivors: 0.1 };

describe('etcd that keeps up badly', { skip: needs('etcd', 'etcdctl'), concurrency: 2 }, () => {
  test('while etcd stands still for most of each second containers go together, and the lease is not lost (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 10 });
    await using host = await startHost({ source: fromEngine(engine), ttl: 10 });
    const { etcd, recorder } = host;
    await host.converged();
    const first = knownOf(await engine.snapshot());
    const leaseOf = async (): Promise<string | undefined> => (await etcd.entries('/discover/owner/h1'))[0]?.lease;
    const lease = await leaseOf();
    const count = recorder.changes.length;
    let isOver = false;
    const churned = engine.churn(load).finally(() => {
      isOver = true;
    });
    while (!isOver) {
      etcd.pause();
      await sleep(600);
      etcd.resume();
      await sleep(200);
    }
    const { lifecycles } = await churned;
    await host.converged(new Map([...first, ...knownOfLives(lifecycles)]));
    assertOnlyDeadDeleted(recorder.changes, lifecycles);
    assert.equal(await leaseOf(), lease);
    const changes = recorder.changes.slice(count);
    const [containers, revisions] = [
      new Set(changes.map(({ key }) => key.slice(-12))).size,
      revisionsOf(changes).length,
    ];
    assert.ok(revisions < containers, `${revisions} revisions for ${containers} containers`);
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  testInFull(
    'compaction of everything, again and again, also while discover is away, is no trouble: it follows no history (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 10 });
      await using host = await startHost({ source: fromEngine(engine), ttl: 60 });
      const { etcd, recorder } = host;
      await host.converged();
      const first = knownOf(await engine.snapshot());
      let isOver = false;
      const churned = engine.churn(load).finally(() => {
        isOver = true;
      });
      // As far as the recorder has come, or the test would lose what it checks.
      const compact = async (): Promise<void> => {
        const revision = recorder.changes.at(-1)?.revision ?? 0;
        await eventually(() => assert.ok(isOver || (recorder.changes.at(-1)?.revision ?? 0) > revision, 'Not yet'));
        await etcd.ctl('compact', String(recorder.changes.at(-1)?.revision)).catch((error: unknown) => {
          if (!/has been compacted/.test(String(error))) throw error;
        });
        await etcd.ctl('defrag');
      };
      for (let times = 0; !isOver; times++) {
        if (times % 3 === 1) {
          host.discover.signal('SIGKILL');
          await ended(host.discover);
          await etcd.ctl('compact', String(recorder.changes.at(-1)?.revision)).catch(() => {});
          await host.launch();
        } else await compact();
      }
      const { lifecycles } = await churned;
      await host.converged(new Map([...first, ...knownOfLives(lifecycles)]));
      assertOnlyDeadDeleted(recorder.changes, lifecycles);
      // A busy machine may have it say that etcd took too long.
      const isTrouble = ({ level, msg }: LogLine): boolean =>
        level === 'error' || (level === 'warn' && msg !== 'etcd unavailable');
      assert.deepEqual(host.discover.logs.filter(isTrouble), []);
      assert.ok(!host.discover.output.includes('compacted'), host.discover.output);
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    },
  );
});
