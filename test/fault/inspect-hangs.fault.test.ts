/** Containers whose inspection hangs or crawls: everybody else is published all the same. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { expected, fromEngine, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

describe('hanging inspections', { skip: needs('etcd', 'etcdctl'), concurrency: 3 }, () => {
  for (const workers of amount(['1'], ['0', '1', '4'])) {
    test(`containers whose inspection hangs hold up nobody, and are published when it answers, with ${workers} workers (simulated engine, real etcd)`, async () => {
      await using engine = await forkEngine({ containers: 10 });
      await using host = await startHost({ source: fromEngine(engine), args: ['--workers', workers], idle: true });
      const hanging = (await engine.snapshot()).slice(0, 3).map(({ id }) => id);
      await engine.setFaults({ hangIds: hanging });
      await host.launch([], { wait: false });

      const others = async () => {
        const running = await fromEngine(engine).running();
        assert.deepEqual(
          new Map([...(await host.held())].sort()),
          new Map([...expected(running.filter(({ id }) => !hanging.includes(id)))].sort()),
        );
      };
      await eventually(others);
      await engine.churn({ rate: 50, seconds: 3, lifetimeMs: 300, survivors: 0.2 });
      await eventually(others);
      // An end needs no inspection.
      await engine.apply('stop', hanging.slice(0, 1));
      await engine.setFaults({ hangIds: [] });
      await host.converged();
      assert.equal((await host.held()).size, 2 * (9 + 30));
    });
  }
});
