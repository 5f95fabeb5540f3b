/** What the agent asks of etcd ends, whatever the registry does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metered } from '../../src/etcd/metered.ts';
import { absent, noLease, type Registry } from '../../src/etcd/registry.ts';
import { createMetrics } from '../../src/metrics.ts';
import { VirtualClock } from '../sim/clock.ts';

const never = () => new Promise<never>(() => {});
const silent: Registry = {
  ...{ owner: never, grant: never, keepAlive: never, lease: never, claim: never, readPrefix: never },
  ...{ readPage: never, readKeys: never, commit: never, revoke: never },
  close() {},
};

test('a registry that never answers is unavailable after a while, at every call', async () => {
  const clock = new VirtualClock();
  const metrics = createMetrics();
  const registry = metered(silent, metrics, clock);
  const calls: (() => Promise<unknown>)[] = [
    () => registry.owner('/o'),
    () => registry.grant(10),
    () => registry.keepAlive(noLease),
    () => registry.lease(noLease, true),
    () => registry.claim('/o', '', noLease, absent),
    () => registry.readPrefix('/p/'),
    () => registry.readPage('/p/', ''),
    () => registry.readKeys(['/k']),
    () => registry.commit('/o', { lease: noLease, revision: absent }, []),
    () => registry.revoke(noLease),
  ];
  for (const call of calls) {
    const outcome = assert.rejects(call(), { code: 'ETCD_UNAVAILABLE' }, String(call));
    await clock.advance(150_000);
    await outcome;
  }
  assert.equal(metrics.etcd.isUp, false);
  assert.equal(
    Object.values(metrics.etcdCalls).reduce((sum, { unavailable }) => sum + unavailable, 0),
    calls.length,
  );
});
