/** etcd out of space: it refuses what is new and takes removals, and so does discover. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { expected, fromEngine, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

test('while etcd is full removals go through and nothing else, and when there is space again all is right (simulated engine, real etcd)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  await using engine = await forkEngine({ containers: 5 });
  const source = fromEngine(engine);
  await using host = await startHost({ source, ttl: 60, etcdOptions: { quotaBytes: 2_000_000 } });
  const { etcd } = host;
  await host.converged();
  const full = async (): Promise<void> => {
    await etcd.ctl('put', '/fill', 'x'.repeat(120_000));
    throw new Error('There is space');
  };
  await eventually(() => assert.rejects(full(), /database space exceeded/), { everyMs: 1 });

  const before = await source.running();
  await engine.run([{ env: ['DISCOVER=late:8080'], ports: [{ container: '8080/tcp' }] }]);
  await host.discover.waitForLog(({ msg }) => msg === 'etcd refuses this container');
  await engine.apply('stop', [before[0]?.id ?? '', before[1]?.id ?? '']);
  const left = new Map([...expected(before.slice(2))].sort());
  const held = async () => [...(await host.held())].filter(([key]) => key !== '/fill');
  await eventually(async () => assert.deepEqual(new Map((await held()).sort()), left));

  await etcd.ctl('del', '/fill');
  await etcd.ctl('compact', String(await etcd.revision()));
  await etcd.ctl('defrag');
  await etcd.ctl('alarm', 'disarm');
  await host.converged();
  assert.deepEqual(await host.terminate(), { code: 0, signal: null });
});
