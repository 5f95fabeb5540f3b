/** etcd out of space: it refuses what is new and takes removals, and so does discover. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { expected, fromEngine, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

test('while etcd is full removals go through and nothing else, the lease is kept, and when there is space again all is right (simulated engine, real etcd)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  await using engine = await forkEngine({ containers: 5 });
  const source = fromEngine(engine);
  const ttl = 4;
  await using host = await startHost({ source, ttl, etcdOptions: { quotaBytes: 2_000_000 } });
  const { etcd } = host;
  await host.converged();
  const owner = await etcd.entries('/discover/owner/h1');
  const full = async (): Promise<void> => {
    await etcd.ctl('put', '/fill', 'x'.repeat(120_000));
    throw new Error('There is space');
  };
  await eventually(() => assert.rejects(full(), /database space exceeded/), { everyMs: 1 });
  const fullAt = performance.now();

  const before = await source.running();
  await engine.run([{ env: ['DISCOVER=late:8080'], ports: [{ container: '8080/tcp' }] }]);
  await host.discover.waitForLog(({ msg }) => msg === 'etcd refuses this container');
  await engine.apply('stop', [before[0]?.id ?? '', before[1]?.id ?? '']);
  const left = new Map([...expected(before.slice(2))].sort());
  const held = async () => [...(await host.held())].filter(([key]) => key !== '/fill');
  await eventually(async () => assert.deepEqual(new Map((await held()).sort()), left));

  // Full for longer than the lease would last by itself.
  await eventually(() => assert.ok(performance.now() - fullAt > ttl * 1500, 'Not yet'));
  await eventually(async () => assert.deepEqual(new Map((await held()).sort()), left));
  assert.deepEqual(await etcd.entries('/discover/owner/h1'), owner);

  await etcd.ctl('del', '/fill');
  await etcd.ctl('compact', String(await etcd.revision()));
  await etcd.ctl('defrag');
  await etcd.ctl('alarm', 'disarm');
  await host.converged();
  const errors = host.discover.logs.filter(({ level }) => level === 'error');
  assert.equal(errors.length, 1, 'A container that waits is told of once');
  assert.deepEqual(await host.terminate(), { code: 0, signal: null });
});
