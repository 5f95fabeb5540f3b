/** A cluster of etcd loses its leader, hard and by falling silent, under load. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { assertOnlyDeadDeleted, fromEngine, knownOf, knownOfLives, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

test('three members of etcd lose their leader by SIGKILL and by SIGSTOP under load, and nothing that runs loses a key (simulated engine, real etcd)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  await using engine = await forkEngine({ containers: 10 });
  await using host = await startHost({ source: fromEngine(engine), ttl: 20, etcdOptions: { nodes: 3 } });
  const { etcd, recorder } = host;
  const first = knownOf(await engine.snapshot());
  const load = { rate: 50, seconds: 4, lifetimeMs: 300, survivors: 0.1 };
  const lives = [];
  for (const fault of ['kill', 'pause'] as const) {
    const churned = engine.churn(load);
    const count = recorder.changes.length;
    await eventually(() => assert.ok(recorder.changes.length > count + 20, 'Not yet'));
    const leader = await etcd.leader();
    await etcd[fault](leader);
    lives.push(...(await churned).lifecycles);
    if (fault === 'pause') etcd.resume(leader);
    else await etcd.restart(leader);
    await host.converged(new Map([...first, ...knownOfLives(lives)]));
  }
  assertOnlyDeadDeleted(recorder.changes, lives);
  assert.deepEqual(await host.terminate(), { code: 0, signal: null });
});
