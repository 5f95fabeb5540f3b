/** Readers that are cut off from etcd for a minute, by a connection that swallows everything, while containers live and die. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { forkEngine } from '../../bench/engine/client.ts';
import { DiscoverClient } from '../../src/client/index.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, startHost } from '../helpers/host.ts';
import { startProxy } from '../helpers/proxy.ts';
import { assertExact, observe } from '../helpers/reader.ts';
import { needs } from '../helpers/run.ts';

const cutMs = 60_000;

test('readers that were partitioned for a minute, with 500 lifecycles and a compaction meanwhile, answered with what they knew and are exact in the end (simulated engine, real etcd behind a proxy)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  await using engine = await forkEngine();
  const shop = { env: ['DISCOVER=shop:8080,dns:53/udp'], ports: [{ container: '8080/tcp' }, { container: '53/udp' }] };
  await engine.run([shop, shop, shop]);
  await using host = await startHost({ source: fromEngine(engine), ttl: 20 });
  // A reader that comes before the first instance is rightly told that there is none.
  await host.converged();
  await using proxy = await startProxy({ to: `127.0.0.1:${host.etcd.ports[0]}` });
  await using client = new DiscoverClient({ endpoints: [proxy.address] });
  const observers = ['shop', 'dns'].map((name) => observe(client, name));
  await eventually(() =>
    assert.ok(
      observers.every(({ seen }) => seen.at(-1)?.size === 3),
      'Not yet',
    ),
  );

  proxy.pause();
  const cut = sleep(cutMs);
  const begunMs = performance.now();
  await engine.churn({
    rate: 20,
    seconds: 25,
    lifetimeMs: 1_000,
    survivors: 0.1,
    container: { ...shop, autoRemove: true },
  });
  await host.converged();
  await host.etcd.ctl('compact', String(await host.etcd.revision()));
  await eventually(() => assert.ok(client.stale, 'Not yet'));
  assert.equal((await client.resolve('shop')).length, 3);
  await cut;
  // It was heard for the last time before it was cut off, and at most one quiet while before that.
  assert.ok((client.stale?.ageMs ?? 0) >= performance.now() - begunMs, `Said to be ${client.stale?.ageMs} ms old`);
  assert.equal((await client.resolve('dns')).length, 3);

  proxy.resume();
  await assertExact(host.etcd, host.recorder, observers);
  assert.ok(
    observers.every(({ seen }) => seen.every(({ size }) => size > 0)),
    'A set was empty',
  );
  assert.equal((await client.resolve('shop')).length, 53);
  assert.equal(client.stale, undefined);
});
