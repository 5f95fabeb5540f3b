/** Who may write for a host: the claim, the hand-over, the doubts and the end of a tenure. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Ref } from '../../src/actor/actor.ts';
import { FifoMailbox } from '../../src/actor/mailbox.ts';
import { Supervisor } from '../../src/actor/supervisor.ts';
import type { DiscoverError } from '../../src/errors.ts';
import { type CurrentOwnership, type LeaseId, noLease, type Ownership } from '../../src/etcd/registry.ts';
import { ours } from '../../src/layout/held.ts';
import { keysOf, layoutOf } from '../../src/layout/keys.ts';
import type { OwnerRecord } from '../../src/layout/owner.ts';
import { keyMatcher } from '../../src/layout/views.ts';
import { createMetrics } from '../../src/metrics.ts';
import { type Keys, Ledger } from '../../src/reconcile/ledger.ts';
import { LeaseKeeper, type LeaseKeeperMessage } from '../../src/registry/lease-keeper.ts';
import type { Liveness } from '../../src/registry/process-identity.ts';
import { recordingLog } from '../helpers/recording-log.ts';
import { BaseStage } from '../helpers/stage.ts';
import { startActor } from '../helpers/start-actor.ts';
import type { VirtualClock } from '../sim/clock.ts';
import { type Applied, MemoryRegistry, MemoryStore, type RegistryCall, type RegistryFault } from '../sim/registry.ts';

const layout = layoutOf('/p', 'r', 'h');
const shortOf = (n: number) => n.toString(16).padStart(12, '0');
const keyOf = (n: number, name = 'web') => layout.serviceKey(name, shortOf(n));
const hourMs = 3_600_000;

interface Wanted {
  readonly liveness?: Liveness;
  readonly ttlSeconds?: number;
  readonly onExit?: 'keep' | 'remove';
  readonly fault?: (call: RegistryCall) => RegistryFault | undefined;
}

/** A lease keeper, with the least of a writer: what is unsettled is written once a tenure is held. */
class Host {
  readonly registry: MemoryRegistry;
  readonly ledger = new Ledger();
  readonly current: CurrentOwnership = { ownership: undefined };
  readonly metrics = createMetrics();
  readonly fatal: DiscoverError[] = [];
  readonly log = recordingLog();
  readonly asked: RegistryCall[] = [];
  readonly supervisor: Supervisor;
  readonly keeper: Ref<LeaseKeeperMessage>;
  readonly #desired = new Map<string, Keys>();
  heldTimes = 0;
  crash: (error: Error) => void = () => {};

  constructor(clock: VirtualClock, store: MemoryStore, instance: string, wanted: Wanted = {}) {
    const { ledger, log, current, metrics } = this;
    const registry = new MemoryRegistry(clock, store);
    this.registry = registry;
    this.fault(wanted.fault ?? (() => undefined));
    this.supervisor = new Supervisor(clock, log, assert.fail);
    this.keeper = startActor<LeaseKeeperMessage>(this.supervisor, {
      name: 'lease keeper',
      mailbox: new FifoMailbox<LeaseKeeperMessage>(),
      concurrency: 4,
      batchMax: 1,
      stopTimeoutMs: 3_000,
      start: (self, signal) => {
        this.crash = (error) => self.crash(error);
        const process = { boot: 'boot', pidNamespace: 'namespace', pid: 42, startTicks: '1' };
        const parts = {
          ...{ clock, log, registry, ledger, current, metrics, layout },
          ttlSeconds: wanted.ttlSeconds ?? 10,
          onExit: () => wanted.onExit ?? ('keep' as const),
          owner: { instance, started: '2026-01-01T00:00:00Z', version: '1.0.0', ip: '10.0.0.1', process },
          keyMatcher: (templates: readonly string[]) => keyMatcher(templates, 'host-1'),
          livenessOf: () => wanted.liveness ?? 'unknown',
          onOwned: () => {
            this.heldTimes++;
            // As the reconciler does: a ledger that was read anew may have to hear again what is not wanted.
            for (const [shortId, keys] of this.#desired) ledger.desire(shortId, keys);
            void this.write();
          },
          onFatal: (error: DiscoverError) => void this.fatal.push(error),
        };
        return new LeaseKeeper(parts, self, signal);
      },
    });
  }

  fault(fault: (call: RegistryCall) => RegistryFault | undefined): void {
    this.registry.fault = (call) => {
      this.asked.push(call);
      return fault(call);
    };
  }

  /** Writes what the ledger has to do; a failure is a doubt. */
  async write(): Promise<void> {
    const { ownership } = this.current;
    for (const shortId of [...this.ledger.unsettled()]) {
      if (ownership === undefined) return;
      const changes = this.ledger.begin(shortId);
      try {
        if (!(await this.registry.commit(layout.ownerKey, ownership, changes))) throw new Error('refused');
        this.ledger.committed(shortId, changes);
      } catch {
        this.verifyOwnership(ownership);
      } finally {
        this.ledger.ended(shortId);
      }
    }
  }

  /** Wants nothing of a container, once the ledger has heard of it. */
  want(n: number): void {
    this.#desired.set(shortOf(n), new Map());
  }

  desire(n: number, ...names: string[]): void {
    const services = names.map((name, index) => {
      return { name, privatePort: 80, protocol: 'tcp' as const, address: '10.0.0.1', port: Number(`${n}${index}`) };
    });
    this.#desired.set(shortOf(n), keysOf(layout, shortOf(n), services));
    this.ledger.desire(shortOf(n), keysOf(layout, shortOf(n), services));
  }

  verifyOwnership(ownership: Ownership | undefined): void {
    assert.ok(ownership);
    this.current.ownership = undefined;
    this.keeper.tell({ kind: 'verify', ownership, reason: 'test' });
  }

  /** Dead without a word: whatever it still asks, nobody hears. */
  kill(): void {
    this.fault(() => ({ kind: 'unavailable' }));
  }

  stop(): Promise<void> {
    return this.supervisor.stop();
  }
}

class Stage extends BaseStage {
  readonly store = new MemoryStore(this.clock);

  start(instance: string, wanted?: Wanted): Host {
    return new Host(this.clock, this.store, instance, wanted);
  }

  /** A host that holds its tenure and has published these containers. */
  async publishing(wanted?: Wanted, ...numbers: number[]): Promise<Host> {
    const host = this.start('first', wanted);
    for (const n of numbers) host.desire(n, 'web');
    await this.clock.settle();
    assert.ok(host.current.ownership);
    return host;
  }

  owner(): OwnerRecord {
    return JSON.parse(this.store.keys.get(layout.ownerKey)?.value ?? '{}') as OwnerRecord;
  }

  since(length: number): Applied[] {
    return this.store.history.slice(length);
  }

  /** What happened to keys of containers since then. */
  touched(length: number): Applied[] {
    return this.since(length).filter(({ key }) => key !== layout.ownerKey);
  }
}

describe('LeaseKeeper begins and', () => {
  test('claims an owner key that nobody holds, on a new lease', async () => {
    const stage = new Stage();
    const host = stage.start('first');
    await stage.clock.settle();
    assert.equal(host.heldTimes, 1);
    const [claim, ...more] = stage.store.history;
    assert.deepEqual(more, []);
    assert.equal(claim?.key, '/p/owner/h');
    assert.deepEqual(host.current.ownership, { lease: claim?.lease, revision: String(claim?.revision) });
    assert.equal(stage.store.leases.get(claim?.lease ?? '')?.grantedSeconds, 10);
    assert.equal(host.metrics.claims, 1);
  });

  test('says in the owner key who it is', async () => {
    const stage = new Stage();
    await stage.publishing();
    const { lease, ...record } = stage.owner();
    assert.equal(lease, stage.store.keys.get(layout.ownerKey)?.lease);
    assert.deepEqual(record, {
      instance: 'first',
      started: '2026-01-01T00:00:00Z',
      version: '1.0.0',
      ip: '10.0.0.1',
      process: { boot: 'boot', pidNamespace: 'namespace', pid: 42, startTicks: '1' },
      ttlSeconds: 10,
      released: false,
    });
  });

  test('follows an owner that released itself at once, on the same lease, and rewrites nothing', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1, 2);
    const lease = first.current.ownership?.lease;
    await first.stop();
    const before = stage.store.history.length;
    const second = stage.start('second', { liveness: 'unknown' });
    for (const n of [1, 2]) second.desire(n, 'web');
    await stage.clock.settle();
    assert.equal(second.current.ownership?.lease, lease);
    assert.deepEqual(
      stage.since(before).map(({ key }) => key),
      [layout.ownerKey],
    );
    assert.equal(stage.owner().instance, 'second');
    assert.deepEqual([...second.ledger.published()].sort(), [shortOf(1), shortOf(2)]);
    assert.deepEqual([...second.ledger.unsettled()], []);
  });

  test('writes only the difference to what its predecessor published', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1, 2, 3);
    await first.stop();
    const before = stage.store.history.length;
    const second = stage.start('second');
    second.desire(1, 'web');
    second.desire(2);
    second.desire(3, 'web', 'api');
    await stage.clock.settle();
    const touched = new Set(stage.touched(before).map(({ key }) => key));
    assert.deepEqual(
      touched,
      new Set([keyOf(2), layout.recordKey(shortOf(2)), keyOf(3, 'api'), layout.recordKey(shortOf(3))]),
    );
  });

  test('follows an owner whose process is gone at once, on the same lease', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1);
    const lease = first.current.ownership?.lease;
    first.kill();
    const before = stage.store.history.length;
    const second = stage.start('second', { liveness: 'gone' });
    second.desire(1, 'web');
    await stage.clock.settle();
    assert.equal(second.current.ownership?.lease, lease);
    assert.deepEqual(stage.touched(before), []);
  });

  test('stays out where the owner runs on this machine', async () => {
    const stage = new Stage();
    await stage.publishing({}, 1);
    const before = stage.store.history.length;
    const second = stage.start('second', { liveness: 'alive' });
    await stage.clock.settle();
    assert.deepEqual(
      second.fatal.map(({ code }) => code),
      ['HOST_ID_TAKEN'],
    );
    assert.match(second.fatal[0]?.message ?? '', /instance first at 10\.0\.0\.1.*process 42/);
    await stage.clock.advance(60_000);
    assert.deepEqual(stage.since(before), []);
    assert.equal(second.fatal.length, 1);
    assert.equal(second.current.ownership, undefined);
  });

  test('stays out where an owner it knows nothing of renews its lease', async () => {
    const stage = new Stage();
    await stage.publishing({}, 1);
    await stage.clock.advance(700);
    const before = stage.store.history.length;
    const second = stage.start('second', { liveness: 'unknown' });
    await stage.clock.until(() => second.fatal.length > 0, 5_000);
    assert.equal(second.fatal[0]?.code, 'HOST_ID_TAKEN');
    assert.deepEqual(stage.since(before), []);
  });

  test('stays out whenever in the life of the lease it comes', async () => {
    for (let offset = 0; offset < 2_000; offset += 130) {
      const stage = new Stage();
      await stage.publishing({}, 1);
      await stage.clock.advance(20_000 + offset);
      const second = stage.start('second', { liveness: 'unknown' });
      await stage.clock.advance(20_000);
      assert.deepEqual(
        second.fatal.map(({ code }) => code),
        ['HOST_ID_TAKEN'],
        `${offset} ms after a renewal`,
      );
    }
  });

  test('follows an owner it knows nothing of that does not renew its lease, before the keys are gone', async () => {
    for (let offset = 0; offset < 2_000; offset += 130) {
      const stage = new Stage();
      const first = await stage.publishing({}, 1);
      await stage.clock.advance(20_000 + offset);
      const lease = first.current.ownership?.lease;
      first.kill();
      const before = stage.store.history.length;
      const second = stage.start('second', { liveness: 'unknown' });
      second.desire(1, 'web');
      await stage.clock.until(() => second.current.ownership !== undefined, 6_000);
      assert.equal(second.current.ownership?.lease, lease, `killed ${offset} ms after a renewal`);
      await stage.clock.advance(20_000);
      assert.deepEqual(stage.touched(before), []);
    }
  });

  test('follows an owner whose last renewal was still under way when it died', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1);
    await stage.clock.advance(1_500);
    const lease = first.current.ownership?.lease ?? noLease;
    first.kill();
    const second = stage.start('second', { liveness: 'unknown' });
    await stage.clock.advance(300);
    stage.store.keepAlive(lease);
    await stage.clock.until(() => second.current.ownership !== undefined, 9_500);
    assert.deepEqual(second.fatal, []);
    assert.equal(second.current.ownership?.lease, lease);
  });

  test('follows an owner whose lease ends while it waits', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1);
    first.kill();
    await stage.clock.advance(7_500);
    const second = stage.start('second', { liveness: 'unknown' });
    await stage.clock.until(() => second.current.ownership !== undefined, 4_000);
    assert.deepEqual(second.fatal, []);
  });

  test('follows at once what says it is the owner but hangs on no lease', async () => {
    for (const value of ['', 'not JSON', 'null', '"text"', '{}']) {
      const stage = new Stage();
      stage.store.apply([{ key: layout.ownerKey, value }]);
      const host = stage.start('first');
      await stage.clock.settle();
      assert.ok(host.current.ownership, value);
      assert.ok(stage.store.leases.has(host.current.ownership.lease));
    }
  });

  test('lets only one of two that begin together hold the host', async () => {
    const stage = new Stage();
    const slow = (call: RegistryCall): RegistryFault | undefined =>
      call === 'claim' ? { kind: 'slow', requestMs: 20, replyMs: 20 } : undefined;
    const hosts = [stage.start('first', { fault: slow }), stage.start('second', { fault: slow })];
    await stage.clock.advance(20_000);
    assert.equal(hosts.filter(({ current }) => current.ownership !== undefined).length, 1);
    assert.equal(hosts.filter(({ fatal }) => fatal[0]?.code === 'HOST_ID_TAKEN').length, 1);
  });

  test('does not claim over somebody who was faster, whom it has not looked at', async () => {
    const stage = new Stage();
    const slow = (call: RegistryCall): RegistryFault | undefined =>
      call === 'grant' ? { kind: 'slow', requestMs: 50, replyMs: 50 } : undefined;
    const late = stage.start('late', { fault: slow });
    await stage.clock.advance(20);
    const first = await stage.publishing({}, 1);
    const { ownership } = first.current;
    await stage.clock.advance(20_000);
    assert.deepEqual(
      late.fatal.map(({ code }) => code),
      ['HOST_ID_TAKEN'],
    );
    assert.equal(first.current.ownership, ownership);
    assert.equal(stage.owner().instance, 'first');
  });

  test('claims again what it claimed without hearing the answer', async () => {
    const stage = new Stage();
    let claims = 0;
    const fault = (call: RegistryCall): RegistryFault | undefined =>
      call === 'claim' && claims++ === 0 ? { kind: 'ambiguous' } : undefined;
    const host = stage.start('first', { fault });
    await stage.clock.advance(1_000);
    assert.equal(host.current.ownership?.revision, String(stage.store.keys.get(layout.ownerKey)?.revision));
    assert.equal(stage.store.leases.size, 1, 'and does not leave a lease behind');
  });

  test('moves the keys to a new lease when the TTL is another, without a delete', async () => {
    const stage = new Stage();
    const first = await stage.publishing({ ttlSeconds: 10 }, 1, 2);
    const lease = first.current.ownership?.lease;
    await first.stop();
    const before = stage.store.history.length;
    const second = stage.start('second', { ttlSeconds: 30 });
    for (const n of [1, 2]) second.desire(n, 'web');
    await stage.clock.settle();
    assert.notEqual(second.current.ownership?.lease, lease);
    await stage.clock.advance(60_000);
    const touched = stage.touched(before);
    assert.equal(touched.length, 4);
    for (const change of touched) {
      assert.equal(change.lease, second.current.ownership?.lease);
      assert.notEqual(change.value, undefined);
    }
    assert.equal(stage.store.keys.size, 5);
    assert.equal(stage.store.leases.get(second.current.ownership?.lease ?? noLease)?.grantedSeconds, 30);
  });

  test('finds what its predecessor published in another realm', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1);
    const elsewhere = `/p/service/web/old-realm/h/${shortOf(1)}`;
    stage.store.apply([{ key: elsewhere, value: 'tcp://10.0.0.1:1' }], first.current.ownership?.lease);
    await first.stop();
    const second = stage.start('second');
    second.desire(1, 'web');
    await stage.clock.settle();
    assert.equal(stage.store.keys.has(elsewhere), false);
    assert.equal(stage.store.keys.has(keyOf(1)), true);
  });

  test('finds the further ports of a name', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1);
    stage.store.apply([{ key: `${keyOf(1)}:443`, value: 'tcp://10.0.0.1:2' }], first.current.ownership?.lease);
    await first.stop();
    const second = stage.start('second');
    await stage.clock.settle();
    assert.deepEqual(second.ledger.observed(shortOf(1)).get(`${keyOf(1)}:443`), ours('tcp://10.0.0.1:2'));
  });

  test('never follows a path that stands in a record', async () => {
    const stage = new Stage();
    const foreign = `/p/service/web/r/other/${shortOf(1)}`;
    stage.store.apply([
      { key: foreign, value: 'tcp://10.9.9.9:1' },
      {
        key: layout.recordKey(shortOf(1)),
        value: JSON.stringify({ 'web/r/other': foreign, web: foreign, '': foreign }),
      },
      { key: layout.recordKey(shortOf(2)), value: '"text"' },
      { key: layout.recordKey(shortOf(3)), value: 'not JSON' },
      { key: '/p/host/h/web', value: '{"web":"/"}' },
    ]);
    const before = stage.store.history.length;
    const host = stage.start('first');
    const asked: string[] = [];
    const { readKeys } = host.registry;
    host.registry.readKeys = (keys) => {
      asked.push(...keys);
      return readKeys(keys);
    };
    await stage.clock.settle();
    assert.deepEqual(asked, [keyOf(1)]);
    for (const n of [1, 2, 3]) host.desire(n);
    await host.write();
    assert.deepEqual(
      stage.touched(before).map(({ key }) => key),
      [1, 2, 3].map((n) => layout.recordKey(shortOf(n))),
    );
  });
});

describe('LeaseKeeper holds and', () => {
  test('renews its lease without a write, five times in a TTL', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    const { revision } = stage.store;
    host.asked.length = 0;
    await stage.clock.advance(hourMs);
    assert.equal(stage.store.revision, revision);
    assert.equal(host.asked.length, 1_800);
    assert.ok(host.asked.every((call) => call === 'keepAlive'));
  });

  test('keeps its lease through failures that are shorter than the TTL', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    const { ownership } = host.current;
    const { revision } = stage.store;
    host.fault(() => ({ kind: 'unavailable' }));
    await stage.clock.advance(7_500);
    host.fault(() => undefined);
    await stage.clock.advance(60_000);
    assert.equal(host.current.ownership, ownership);
    assert.equal(stage.store.revision, revision);
  });

  test('keeps its lease through calls that hang', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    const { revision } = stage.store;
    host.fault(() => ({ kind: 'hang' }));
    await stage.clock.advance(6_000);
    host.fault(() => undefined);
    await stage.clock.advance(60_000);
    assert.equal(stage.store.revision, revision);
  });

  test('takes a new lease when its own has ended, and has everything rewritten', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1, 2);
    const lease = host.current.ownership?.lease;
    host.fault(() => ({ kind: 'unavailable' }));
    await stage.clock.advance(15_000);
    assert.equal(stage.store.keys.size, 0);
    host.fault(() => undefined);
    await stage.clock.advance(2_000);
    assert.notEqual(host.current.ownership?.lease, lease);
    assert.equal(stage.store.keys.size, 5);
    for (const { lease: on } of stage.store.keys.values()) assert.equal(on, host.current.ownership?.lease);
  });

  test('notices with the next renewal that its lease was revoked', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    stage.store.revoke(host.current.ownership?.lease ?? noLease);
    assert.equal(stage.store.keys.size, 0);
    await stage.clock.advance(2_100);
    assert.equal(stage.store.keys.size, 3);
  });

  test('gives no tenure while it is in doubt', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    host.fault(() => ({ kind: 'unavailable' }));
    const { ownership } = host.current;
    assert.ok(ownership);
    host.keeper.tell({ kind: 'verify', ownership, reason: 'test' });
    await stage.clock.advance(1_000);
    assert.equal(host.current.ownership, undefined);
  });

  test('claims once for several doubts about one tenure', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    const { ownership } = host.current;
    for (let n = 0; n < 5; n++) host.verifyOwnership(ownership);
    await stage.clock.advance(1_000);
    assert.equal(host.metrics.claims, 2);
    assert.ok(host.current.ownership);
  });

  test('takes no notice of a doubt about a tenure long since replaced', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    const { ownership: old } = host.current;
    host.verifyOwnership(old);
    await stage.clock.advance(1_000);
    const { ownership } = host.current;
    assert.ok(old);
    host.keeper.tell({ kind: 'verify', ownership: old, reason: 'late' });
    await stage.clock.advance(1_000);
    assert.equal(host.current.ownership, ownership);
  });

  test('keeps its lease and rewrites nothing when a doubt was unfounded', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    const lease = host.current.ownership?.lease;
    const before = stage.store.history.length;
    host.verifyOwnership(host.current.ownership);
    await stage.clock.advance(1_000);
    assert.equal(host.current.ownership?.lease, lease);
    assert.deepEqual(
      stage.since(before).map(({ key }) => key),
      [layout.ownerKey],
    );
  });

  test('fences off what a transaction without an answer would still do', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    host.fault((call) => (call === 'commit' ? { kind: 'late', ms: 500 } : undefined));
    host.desire(2, 'web');
    await host.write();
    host.fault(() => undefined);
    // The container dies before the keeper has claimed anew, so there is nothing left to write.
    host.desire(2);
    const before = stage.store.history.length;
    await stage.clock.advance(10_000);
    assert.ok(host.current.ownership);
    assert.deepEqual(stage.touched(before), []);
    assert.equal(stage.store.keys.has(keyOf(2)), false);
  });

  test('finds what a transaction without an answer did before it was fenced off', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    host.fault((call) => {
      if (call === 'commit') return { kind: 'late', ms: 20 };
      return call === 'claim' ? { kind: 'slow', requestMs: 50, replyMs: 0 } : undefined;
    });
    host.desire(2, 'web');
    await host.write();
    host.fault((call) => (call === 'claim' ? { kind: 'slow', requestMs: 50, replyMs: 0 } : undefined));
    host.desire(2);
    await stage.clock.advance(10_000);
    assert.deepEqual(stage.store.history.filter(({ key }) => key === keyOf(2)).length, 2, 'put late, then deleted');
    assert.equal(stage.store.keys.has(keyOf(2)), false);
  });

  test('goes when somebody else has taken the host over and lives', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1);
    first.fault(() => ({ kind: 'unavailable' }));
    const second = stage.start('second', { liveness: 'gone' });
    await stage.clock.settle();
    assert.ok(second.current.ownership);
    first.fault(() => undefined);
    first.verifyOwnership(first.current.ownership);
    await stage.clock.advance(20_000);
    assert.deepEqual(
      first.fatal.map(({ code }) => code),
      ['HOST_ID_TAKEN'],
    );
    assert.equal(first.current.ownership, undefined);
  });

  test('begins again after a crash, as its own successor', async () => {
    const stage = new Stage();
    const host = await stage.publishing({ liveness: 'alive' }, 1);
    const lease = host.current.ownership?.lease;
    const before = stage.store.history.length;
    host.crash(new Error('test'));
    await stage.clock.advance(1_000);
    assert.equal(host.current.ownership?.lease, lease);
    assert.deepEqual(stage.touched(before), []);
    host.asked.length = 0;
    await stage.clock.advance(20_000);
    assert.equal(host.asked.length, 10, 'and only one of them renews');
  });
});

describe('LeaseKeeper may not read all that its predecessor wrote and', () => {
  const viewKey = '/skydns/web/000000000001';
  const unreadable = (key: string) => key.startsWith('/skydns/');

  test('takes a new lease, writes everything, and lets the old lease end', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1, 2);
    const old = first.current.ownership?.lease ?? noLease;
    stage.store.apply([{ key: viewKey, value: '{}' }], old);
    // Of a container that is gone: nothing keeps it.
    stage.store.apply([{ key: keyOf(3), value: 'tcp://10.0.0.1:1' }], old);
    await first.stop();
    stage.store.unreadable = unreadable;
    const ends = stage.store.leases.get(old)?.endsAt;
    const second = stage.start('second', { liveness: 'unknown' });
    for (const n of [1, 2]) second.desire(n, 'web');
    await stage.clock.settle();
    const lease = second.current.ownership?.lease ?? noLease;
    assert.notEqual(lease, old);
    assert.deepEqual([...second.ledger.unsettled()], []);
    for (const n of [1, 2]) assert.equal(stage.store.keys.get(keyOf(n))?.lease, lease);
    assert.equal(stage.store.leases.get(old)?.endsAt, ends, 'the old lease was renewed');
    assert.equal(second.metrics.claims, 1);
    assert.match(second.log.loud.map(({ message }) => message).join(), /may not read all keys on it/);
    await stage.clock.advance(11_000);
    assert.deepEqual(
      [stage.store.leases.has(old), stage.store.keys.has(keyOf(3)), stage.store.keys.has(viewKey)],
      [false, false, false],
    );
    assert.ok(stage.store.keys.has(keyOf(1)));
  });

  test('does so as well where it hears of it only when it reads the keys (etcd before 3.4.26)', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1);
    const old = first.current.ownership?.lease ?? noLease;
    await first.stop();
    const second = stage.start('second', {
      liveness: 'unknown',
      fault: (call) => (call === 'readKeys' && stage.owner().lease === old ? { kind: 'refused' } : undefined),
    });
    second.desire(1, 'web');
    await stage.clock.advance(1_000);
    assert.notEqual(second.current.ownership?.lease, old);
    assert.equal(stage.store.keys.get(keyOf(1))?.lease, second.current.ownership?.lease);
    assert.equal(second.metrics.claims, 2);
  });

  test('does not write the owner key again and again where nothing can be read at all', async () => {
    const stage = new Stage();
    let isDenied = true;
    const host = stage.start('first', {
      fault: (call) => (isDenied && call === 'readPrefix' ? { kind: 'refused' } : undefined),
    });
    host.desire(1, 'web');
    await stage.clock.advance(60_000);
    const { revision } = stage.store;
    await stage.clock.advance(120_000);
    assert.equal(stage.store.revision, revision);
    assert.equal(stage.store.leases.size <= 1, true, 'leases are left behind');
    isDenied = false;
    await stage.clock.advance(20_000);
    assert.ok(stage.store.keys.has(keyOf(1)));
  });
});

describe('LeaseKeeper audits and', () => {
  async function audit(stage: Stage, host: Host): Promise<void> {
    host.keeper.tell({ kind: 'audit' });
    await stage.clock.advance(1_000);
  }

  test('writes nothing, and asks three times, where etcd holds what it should; each tenth time for a page of all', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1, 2);
    const { revision } = stage.store;
    for (let audits = 0; audits < 11; audits++) {
      host.asked.length = 0;
      await audit(stage, host);
      const asked = host.asked.filter((call) => call !== 'keepAlive');
      const page = audits % 10 === 0 ? ['readPage', 'readPage'] : [];
      assert.deepEqual(asked, ['lease', 'readPrefix', 'readKeys', ...page], `audit ${audits}`);
    }
    assert.equal(stage.store.revision, revision);
  });

  test('reads its keys also where another user of etcd has put any number of keys on its lease', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    const { ownership } = host.current;
    const others = Array.from({ length: 200_000 }, (_, number) => ({ key: `/other/${number}`, value: '' }));
    for (let at = 0; at < others.length; at += 10_000) {
      stage.store.apply(others.slice(at, at + 10_000), ownership?.lease);
    }
    host.verifyOwnership(ownership);
    await stage.clock.advance(2_000);
    assert.equal(host.heldTimes, 2);
  });

  test('finds a key of this host that is on no lease and in no record, and leaves those of others', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    const stray = keyOf(9);
    const others = [
      '/p/service/web/r/other/00000000000a',
      '/p/service/web/r/h/not-an-id',
      '/p/service/web/r/hh/00000000000b',
    ];
    const meta = layout.metaKey(stray);
    for (const key of [stray, meta, ...others]) stage.store.apply([{ key, value: 'tcp://1.2.3.4:5' }]);
    // As the reconciler: no container of these digits runs.
    host.want(9);
    await audit(stage, host);
    assert.deepEqual([stage.store.keys.has(stray), stage.store.keys.has(meta)], [false, false]);
    for (const key of others) assert.ok(stage.store.keys.has(key), key);
    assert.deepEqual(
      host.log.loud.map(({ message }) => message),
      ['etcd has keys of this host that this host did not write; repairing'],
    );
    assert.equal(host.metrics.drift.keys, 1);
    assert.equal(host.metrics.claims, 1);
  });

  test('goes on where the user of etcd may not read the keys of all hosts', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    host.fault((call) => (call === 'readPage' ? { kind: 'refused' } : undefined));
    await audit(stage, host);
    assert.deepEqual(
      host.log.loud.map(({ message }) => message),
      [],
    );
  });

  test('finds such a key behind the first page as well', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    for (let n = 0; n < 250; n++) {
      const key = `/p/service/${String(n).padStart(3, '0')}/r/other/${shortOf(n)}`;
      stage.store.apply([{ key, value: 'tcp://1.2.3.4:5' }]);
    }
    const stray = keyOf(9, 'zzz');
    stage.store.apply([{ key: stray, value: 'tcp://1.2.3.4:5' }]);
    host.want(9);
    for (let audits = 0; audits < 10 + 60 + 60; audits++) await audit(stage, host);
    assert.equal(stage.store.keys.has(stray), false);
  });

  const drifts: [string, (lease: LeaseId) => [{ key: string; value: string | undefined }[], LeaseId?]][] = [
    ['a service key that was deleted', () => [[{ key: keyOf(1), value: undefined }]]],
    ['a record that was deleted', () => [[{ key: layout.recordKey(shortOf(1)), value: undefined }]]],
    ['a key that was written without a lease', () => [[{ key: keyOf(1), value: 'tcp://10.9.9.9:1' }]]],
    ['a key that is too many', (lease) => [[{ key: keyOf(1, 'api'), value: 'tcp://10.9.9.9:1' }], lease]],
    ['an owner key that was deleted', () => [[{ key: layout.ownerKey, value: undefined }]]],
    ['an owner key that was written without a lease', () => [[{ key: layout.ownerKey, value: '{}' }]]],
  ];
  for (const [name, drift] of drifts) {
    test(`repairs ${name}`, async () => {
      const stage = new Stage();
      const host = await stage.publishing({}, 1, 2);
      const values = () => new Map([...stage.store.keys].map(([key, { value }]) => [key, value]));
      const right = values();
      const { lease } = stage.owner();
      stage.store.apply(...drift(lease));
      await audit(stage, host);
      right.set(layout.ownerKey, stage.store.keys.get(layout.ownerKey)?.value ?? '');
      assert.deepEqual(values(), right);
      for (const { lease: on } of stage.store.keys.values()) assert.equal(on, host.current.ownership?.lease);
      const { revision } = stage.store;
      await audit(stage, host);
      assert.equal(stage.store.revision, revision, 'and once is enough');
    });
  }

  test('notices that its lease is gone', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    stage.store.revoke(host.current.ownership?.lease ?? noLease);
    await audit(stage, host);
    assert.equal(stage.store.keys.size, 3);
  });

  test('takes no transaction that is under way for a change by somebody else', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    host.fault((call) => (call === 'commit' ? { kind: 'slow', requestMs: 10, replyMs: 100 } : undefined));
    host.desire(2, 'web');
    const write = host.write();
    await stage.clock.advance(50);
    await audit(stage, host);
    await write;
    assert.equal(host.metrics.claims, 1);
    assert.deepEqual(host.log.loud, []);
  });

  test('blames nobody for a transaction without an answer, which is in doubt already', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    host.fault((call) => {
      if (call === 'lease') return { kind: 'slow', requestMs: 50, replyMs: 50 };
      return call === 'commit' ? { kind: 'ambiguous' } : undefined;
    });
    host.keeper.tell({ kind: 'audit' });
    await stage.clock.advance(20);
    host.desire(2, 'web');
    await host.write();
    host.fault((call) => (call === 'owner' ? { kind: 'slow', requestMs: 200, replyMs: 0 } : undefined));
    await stage.clock.advance(5_000);
    assert.ok(host.current.ownership);
    assert.deepEqual(host.log.loud, []);
  });

  test('asks nothing while it seeks a tenure', async () => {
    const stage = new Stage();
    const host = stage.start('first', { fault: () => ({ kind: 'unavailable' }) });
    await audit(stage, host);
    assert.ok(host.asked.every((call) => call === 'owner'));
  });

  test('takes a question without an answer for no difference', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    const { ownership } = host.current;
    host.fault((call) => (call === 'lease' ? { kind: 'unavailable' } : undefined));
    await audit(stage, host);
    assert.equal(host.current.ownership, ownership);
  });
});

describe('LeaseKeeper is refused or hears nothing and', () => {
  test('tries for ever, about every second, and holds soon after etcd is back', async () => {
    const stage = new Stage();
    const host = stage.start('first', { fault: () => ({ kind: 'unavailable' }) });
    await stage.clock.advance(hourMs);
    assert.ok(host.asked.length > 3_000 && host.asked.length < 8_000, `${host.asked.length} tries`);
    assert.deepEqual(host.fatal, []);
    host.fault(() => undefined);
    await stage.clock.advance(1_000);
    assert.ok(host.current.ownership);
  });

  test('says so about once a minute', async () => {
    const stage = new Stage();
    const host = stage.start('first', { fault: () => ({ kind: 'unavailable' }) });
    await stage.clock.advance(hourMs);
    assert.ok(host.log.loud.length >= 55 && host.log.loud.length <= 61, `${host.log.loud.length} lines`);
  });

  test('does not claim at full speed while claims succeed and every transaction fails', async () => {
    const stage = new Stage();
    const host = stage.start('first');
    let commits = 0;
    // Beyond any reason, it hangs: so a loop without a wait shows as a number and not as a test that never ends.
    host.fault((call) => (call === 'commit' ? { kind: ++commits > 1_000 ? 'hang' : 'unavailable' } : undefined));
    host.desire(1, 'web');
    await stage.clock.advance(60_000);
    assert.ok(host.metrics.claims < 200, `${host.metrics.claims} claims in a minute`);
    host.fault(() => undefined);
    await stage.clock.advance(5_000);
    assert.ok(stage.store.keys.has(keyOf(1)));
  });

  test('tries for ever, ever so often, while etcd refuses', async () => {
    const stage = new Stage();
    const host = stage.start('first', { fault: () => ({ kind: 'refused' }) });
    await stage.clock.advance(hourMs);
    assert.ok(host.asked.length > 400 && host.asked.length < 1_500, `${host.asked.length} tries`);
    host.fault(() => undefined);
    await stage.clock.advance(11_000);
    assert.ok(host.current.ownership);
  });

  test('holds soon after calls hung at every step', async () => {
    for (const step of ['owner', 'grant', 'claim', 'lease', 'readPrefix', 'readKeys'] as const) {
      const stage = new Stage();
      stage.store.apply([{ key: layout.recordKey(shortOf(1)), value: '{"web":"/"}' }]);
      let hung = 0;
      const fault = (call: RegistryCall): RegistryFault | undefined =>
        call === step && hung++ < 3 ? { kind: 'hang' } : undefined;
      const host = stage.start('first', { fault });
      await stage.clock.advance(8_000);
      assert.ok(host.current.ownership, step);
      assert.ok(hung >= 4, step);
    }
  });
});

describe('LeaseKeeper stops and', () => {
  test('leaves the keys for a successor and says that it has gone', async () => {
    const stage = new Stage();
    const host = await stage.publishing({ onExit: 'keep' }, 1);
    await stage.clock.advance(1_500);
    const before = stage.store.history.length;
    await host.stop();
    assert.deepEqual(stage.touched(before), []);
    assert.equal(stage.owner().released, true);
    assert.equal(stage.owner().instance, 'first');
    assert.equal(host.current.ownership, undefined);
    await stage.clock.advance(9_999);
    assert.equal(stage.store.keys.size, 3, 'the successor has a whole TTL to come');
    const { revision } = stage.store;
    await stage.clock.advance(1);
    assert.equal(stage.store.keys.size, 0);
    assert.equal(stage.store.revision, revision + 1);
  });

  test('takes all keys away at once where it is to remove them', async () => {
    const stage = new Stage();
    const host = await stage.publishing({ onExit: 'remove' }, 1, 2);
    const { revision } = stage.store;
    await host.stop();
    assert.equal(stage.store.keys.size, 0);
    assert.equal(stage.store.revision, revision + 1);
  });

  test('asks nothing more afterwards', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    await host.stop();
    host.asked.length = 0;
    await stage.clock.advance(60_000);
    assert.deepEqual(host.asked, []);
  });

  test('does not take back the host from one that has taken it over', async () => {
    const stage = new Stage();
    const first = await stage.publishing({}, 1);
    const second = stage.start('second', { liveness: 'gone' });
    await stage.clock.settle();
    await first.stop();
    assert.equal(stage.owner().instance, 'second');
    assert.equal(stage.owner().released, false);
    assert.ok(second.current.ownership);
  });

  test('ends in time while etcd says nothing', async () => {
    const stage = new Stage();
    const host = await stage.publishing({}, 1);
    host.fault(() => ({ kind: 'hang' }));
    const began = stage.clock.now();
    const stop = host.stop();
    await stage.clock.advance(3_000);
    await stop;
    assert.ok(stage.clock.now() - began <= 3_000);
  });

  test('ends at once while it seeks a tenure', async () => {
    const stage = new Stage();
    const host = stage.start('first', { fault: () => ({ kind: 'unavailable' }) });
    await stage.clock.advance(10_000);
    await host.stop();
    assert.equal(stage.store.revision, 1);
  });
});
