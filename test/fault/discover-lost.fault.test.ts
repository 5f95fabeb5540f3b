/** discover gone for good, or asleep for longer than its lease: what nobody vouches for goes, all at once. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { ended, fromEngine, revisionsOf, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

describe('discover lost', { skip: needs('etcd', 'etcdctl'), concurrency: 3 }, () => {
  test('keys of a discover that is killed go with its lease, in one revision, and that is granted for the TTL (simulated engine, real etcd)', async () => {
    const ttl = 3;
    await using engine = await forkEngine({ containers: 30 });
    await using host = await startHost({ source: fromEngine(engine), ttl });
    await host.converged();
    const count = host.recorder.changes.length;
    // The promise made to consumers. That it is kept is etcd's part, and when it is seen to be, the machine's.
    const [owner] = await host.etcd.entries('/discover/owner/h1');
    const lease = await host.etcd.ctl('lease', 'timetolive', BigInt(owner?.lease ?? 0).toString(16));
    assert.match(lease, new RegExp(`granted with TTL\\(${ttl}s\\)`));
    host.discover.signal('SIGKILL');
    await ended(host.discover);
    await eventually(() => host.assertGone());
    const changes = await host.changesSince(count);
    assert.equal(changes.length, 60);
    assert.ok(changes.every(({ kind }) => kind === 'delete'));
    assert.equal(revisionsOf(changes).length, 1);

    await host.launch();
    await host.converged();
  });

  test('a discover that slept for two TTLs publishes all again when it wakes, and only what runs by then (simulated engine, real etcd)', async () => {
    const ttl = 2;
    await using engine = await forkEngine({ containers: 10 });
    await using host = await startHost({ source: fromEngine(engine), ttl });
    await host.converged();
    host.discover.signal('SIGSTOP');
    // It reads nothing meanwhile, so nothing waits for it.
    await engine.churn({ rate: 50, seconds: 2 * ttl, lifetimeMs: 300, survivors: 0.1, unread: 'lose' });
    await eventually(() => host.assertGone());
    const before = await host.mark();
    host.discover.signal('SIGCONT');
    await host.converged();
    const held = await host.held();
    assert.equal(held.size, 2 * (10 + 5 * 2 * ttl));
    // What it had meant to write when it fell asleep must not have been written.
    const strays = (await host.changesSince(before)).filter(({ kind, key }) => kind === 'put' && !held.has(key));
    assert.deepEqual(strays, []);
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  testInFull(
    'one that slept on a quiet host finds its lease gone by itself when it wakes (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 10 });
      // Neither a change nor a resync tells it: only the renewal of the lease does.
      await using host = await startHost({ source: fromEngine(engine), ttl: 2, args: ['--resync', '86400'] });
      await host.converged();
      host.discover.signal('SIGSTOP');
      await eventually(() => host.assertGone());
      host.discover.signal('SIGCONT');
      await host.converged();
    },
  );
});
