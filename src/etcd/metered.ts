/**
 * A registry that counts and times the calls to another registry, and bounds the wait for each call.
 *
 * The other registry has deadlines of its own. The bound here does not depend on any connection, client or login:
 * no actor waits for ever, even if a deadline below fails.
 */

import { type Clock, deadline } from '../actor/clock.ts';
import { codeOf, DiscoverError, messageOf } from '../errors.ts';
import type { EtcdOperation, Metrics } from '../metrics.ts';
import type { Registry } from './registry.ts';

/** For a call with its logins, also if it is asked of several members. */
const callMaxMs = 30_000;
/** For a reading of several pages. */
const readingMaxMs = 120_000;

/** Calls that concern the lease or the ownership; a failed one explains why the lease runs down. */
const leaseCalls: ReadonlySet<EtcdOperation> = new Set(['owner', 'grant', 'keep_alive', 'lease', 'claim', 'read']);

export function metered(registry: Registry, metrics: Metrics, clock: Clock): Registry {
  const timed = async <Result>(operation: EtcdOperation, call: () => Promise<Result>): Promise<Result> => {
    const calls = metrics.etcdCalls[operation];
    const began = clock.now();
    try {
      const maxMs = operation === 'read' ? readingMaxMs : callMaxMs;
      const result = await deadline(clock, maxMs, call(), () => {
        return new DiscoverError('ETCD_UNAVAILABLE', `etcd: no answer in ${maxMs / 1000} s (${operation})`);
      });
      calls.ok++;
      metrics.etcd.up(clock.wall());
      if (operation === 'keep_alive' || operation === 'claim') metrics.leaseFailure = undefined;
      return result;
    } catch (error) {
      const code = codeOf(error);
      calls[code === 'ETCD_REFUSED' || code === 'LEASE_LOST' ? 'refused' : 'unavailable']++;
      if (leaseCalls.has(operation)) metrics.leaseFailure = messageOf(error);
      // A refusal proves that the server can be reached.
      if (code === 'ETCD_REFUSED' || code === 'LEASE_LOST') metrics.etcd.up(clock.wall());
      else metrics.etcd.down(clock.wall(), messageOf(error));
      throw error;
    } finally {
      calls.seconds.observe((clock.now() - began) / 1000);
    }
  };
  return {
    owner: (ownerKey) => timed('owner', () => registry.owner(ownerKey)),
    grant: (ttlSeconds) =>
      timed('grant', async () => {
        const began = clock.now();
        const lease = await registry.grant(ttlSeconds);
        metrics.leaseRenewed = lease;
        metrics.leaseEndsAt = began + ttlSeconds * 1000;
        return lease;
      }),
    keepAlive: (lease) =>
      timed('keep_alive', async () => {
        const began = clock.now();
        const ttlSeconds = await registry.keepAlive(lease);
        metrics.leaseRenewed = lease;
        metrics.leaseEndsAt = began + ttlSeconds * 1000;
        return ttlSeconds;
      }),
    lease: (lease, withKeys) => timed('lease', () => registry.lease(lease, withKeys)),
    claim: (...claim) => timed('claim', () => registry.claim(...claim)),
    readPrefix: (prefix) => timed('read', () => registry.readPrefix(prefix)),
    readPage: (prefix, after) => timed('read', () => registry.readPage(prefix, after)),
    readKeys: (keys) => timed('read', () => registry.readKeys(keys)),
    commit: (...commit) => timed('commit', () => registry.commit(...commit)),
    revoke: (lease) => timed('revoke', () => registry.revoke(lease)),
    close: () => registry.close(),
  };
}
