/** From the ledger to transactions, and what becomes of a transaction that fails. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KeyedMailbox } from '../../src/actor/mailbox.ts';
import { Supervisor } from '../../src/actor/supervisor.ts';
import {
  absent,
  bytesMax,
  type CurrentOwnership,
  noLease,
  type Ownership,
  operationsMax,
} from '../../src/etcd/registry.ts';
import { layoutOf } from '../../src/layout/keys.ts';
import { total } from '../../src/metrics.ts';
import { Conditions } from '../../src/reconcile/conditions.ts';
import { Ledger } from '../../src/reconcile/ledger.ts';
import type { LeaseKeeperMessage } from '../../src/registry/lease-keeper.ts';
import { type ChangeSet, pack, Writer, writeBatchMax } from '../../src/registry/writer.ts';
import { BaseStage } from '../helpers/stage.ts';
import { startActor } from '../helpers/start-actor.ts';
import { MemoryRegistry, type RegistryFault } from '../sim/registry.ts';

const layout = layoutOf('/p', 'r', 'h');
const shortOf = (n: number) => n.toString(16).padStart(12, '0');
const keyOf = (n: number, name = 'web') => layout.serviceKey(name, shortOf(n));

function changeSet(n: number, operations: number, bytesEach = 0): ChangeSet {
  const changes = Array.from({ length: operations }, (_, index) => ({
    key: `${n}/${index}`,
    value: 'x'.repeat(bytesEach),
  }));
  return { shortId: shortOf(n), changes };
}

describe('pack', () => {
  const sizes = (changeSets: readonly ChangeSet[], operations?: number) =>
    [...pack(changeSets, operations)].map((batch) => batch.length);

  test('puts what fits into one transaction', () => {
    assert.deepEqual(sizes([changeSet(1, 2), changeSet(2, 2), changeSet(3, 2)]), [3]);
    assert.deepEqual(sizes([]), []);
  });

  test('begins a new transaction where the operations would be too many', () => {
    const changeSets = Array.from({ length: 10 }, (_, n) => changeSet(n, 3));
    assert.deepEqual(sizes(changeSets, 9), [3, 3, 3, 1]);
    assert.deepEqual(sizes(changeSets, 10), [3, 3, 3, 1]);
    assert.deepEqual(sizes(changeSets, 12), [4, 4, 2]);
  });

  test('fills a transaction to exactly the operations that are allowed', () => {
    const changeSets = Array.from({ length: 2 * operationsMax }, (_, n) => changeSet(n, 1));
    assert.deepEqual(sizes(changeSets), [operationsMax, operationsMax]);
  });

  test('begins a new transaction where the bytes would be too many, counting the widest UTF-8', () => {
    const wide = (n: number): ChangeSet => ({
      shortId: shortOf(n),
      changes: [{ key: `${n}`, value: '\u20ac'.repeat(100_000) }],
    });
    const batches = [...pack(Array.from({ length: 10 }, (_, n) => wide(n)))];
    for (const batch of batches) {
      const bytes = batch
        .flatMap(({ changes }) => changes)
        .reduce((sum, { value = '' }) => sum + Buffer.byteLength(value), 0);
      assert.ok(bytes <= bytesMax, `${bytes}`);
    }
    assert.deepEqual(
      batches.map((batch) => batch.length),
      [4, 4, 2],
    );
  });

  test('never splits a parcel, and keeps their order', () => {
    const changeSets = [changeSet(1, 100), changeSet(2, 100), changeSet(3, 20), changeSet(4, 7)];
    const batches = [...pack(changeSets)];
    assert.deepEqual(batches, [[changeSets[0]], [changeSets[1], changeSets[2], changeSets[3]]]);
  });

  test('sends a parcel alone that is too large by itself', () => {
    assert.deepEqual(sizes([changeSet(1, 1), changeSet(2, 500), changeSet(3, 1)]), [1, 1, 1]);
    assert.deepEqual(sizes([changeSet(1, 1), changeSet(2, 1, bytesMax), changeSet(3, 1)]), [1, 1, 1]);
  });
});

class Stage extends BaseStage {
  readonly registry = new MemoryRegistry(this.clock);
  readonly ledger = new Ledger();
  readonly current: CurrentOwnership = { ownership: undefined };
  readonly messages: LeaseKeeperMessage[] = [];
  readonly committed: string[] = [];
  readonly conditions = new Conditions();
  readonly supervisor = new Supervisor(this.clock, this.log, assert.fail);
  /** The containers of each call of commit, in their order, refused ones too. */
  readonly tried: string[] = [];
  readonly writer = startActor<string>(this.supervisor, {
    name: 'writer',
    mailbox: new KeyedMailbox<string>((shortId) => shortId),
    concurrency: 1,
    batchMax: writeBatchMax,
    stopTimeoutMs: 3_000,
    start: (self, signal) => {
      const { clock, log, registry, ledger, current, messages, committed, metrics, conditions } = this;
      const keeper = {
        name: 'lease keeper',
        tell: (verifyOwnership: LeaseKeeperMessage) => void messages.push(verifyOwnership),
      };
      const onCommitted = ({ shortId }: ChangeSet) => void committed.push(shortId);
      const parts = {
        clock,
        registry,
        ledger,
        conditions,
        current,
        metrics,
        layout,
        keeper,
        onCommitted,
        log,
      };
      return new Writer(parts, self, signal);
    },
  });

  /** With a tenure to write under. */
  static async held(): Promise<Stage> {
    const stage = new Stage();
    stage.current.ownership = await stage.claim();
    const { commit } = stage.registry;
    stage.registry.commit = (ownerKey, ownership, changes) => {
      stage.tried.push(
        [...new Set(changes.map(({ key }) => Number.parseInt(layout.containerOf(key) ?? '', 16)))].join(' '),
      );
      return commit(ownerKey, ownership, changes);
    };
    return stage;
  }

  async claim(): Promise<Ownership> {
    const { registry } = this;
    const lease = await registry.grant(3_600);
    const before = await registry.owner(layout.ownerKey);
    const ownership = await registry.claim(layout.ownerKey, 'me', lease, before?.revision ?? absent);
    assert.ok(ownership);
    return ownership;
  }

  desire(n: number, ...names: string[]): void {
    this.ledger.desire(shortOf(n), new Map(names.map((name) => [keyOf(n, name), `tcp://10.0.0.1:${n}`])));
    this.writer.tell(shortOf(n));
  }

  /** Desires and lets it be written. */
  async publish(...numbers: number[]): Promise<void> {
    for (const n of numbers) this.desire(n, 'web');
    await this.clock.settle();
    this.tried.length = 0;
    this.committed.length = 0;
  }

  /** The containers in etcd. */
  held(): number[] {
    const shortIds = [...this.registry.store.keys.keys()].map((key) => layout.containerOf(key));
    return [
      ...new Set(shortIds.filter((shortId) => shortId !== undefined).map((shortId) => Number.parseInt(shortId, 16))),
    ].sort((a, b) => a - b);
  }

  faultNext(fault: RegistryFault): void {
    this.registry.fault = () => {
      this.registry.fault = () => undefined;
      return fault;
    };
  }
}

describe('Writer', () => {
  test('writes what is told together in one transaction', async () => {
    const stage = await Stage.held();
    const { revision } = stage.registry.store;
    stage.desire(1, 'web', 'api');
    stage.desire(2, 'web');
    await stage.clock.settle();
    assert.equal(stage.registry.store.revision, revision + 1);
    assert.deepEqual(stage.held(), [1, 2]);
    assert.deepEqual(stage.committed, [shortOf(1), shortOf(2)]);
    assert.deepEqual([stage.metrics.transactions, total(stage.metrics.operations)], [1, 3]);
    assert.deepEqual([...stage.ledger.unsettled()], []);
  });

  test('puts all keys on the lease of its tenure', async () => {
    const stage = await Stage.held();
    await stage.publish(1);
    assert.equal(stage.registry.store.keys.get(keyOf(1))?.lease, stage.current.ownership?.lease);
  });

  test('makes no call for a container with nothing to write', async () => {
    const stage = await Stage.held();
    stage.writer.tell(shortOf(1));
    stage.desire(2, 'web');
    stage.desire(2);
    await stage.clock.settle();
    assert.deepEqual(stage.tried, []);
  });

  test('lets changes gather while a transaction is under way, the last of each container', async () => {
    const stage = await Stage.held();
    stage.faultNext({ kind: 'slow', requestMs: 10, replyMs: 10 });
    stage.desire(1, 'web');
    await stage.clock.advance(5);
    for (const names of [['a'], [], ['b']]) stage.desire(2, ...names);
    stage.desire(3, 'web');
    stage.desire(3);
    stage.desire(4, 'web');
    await stage.clock.advance(5);
    assert.deepEqual(stage.tried, ['1']);
    await stage.clock.advance(10);
    assert.deepEqual(stage.tried, ['1', '2 4']);
    assert.equal(stage.registry.store.keys.has(keyOf(2, 'b')), true);
    assert.equal(stage.registry.store.keys.has(keyOf(2, 'a')), false);
  });

  test('deletes what died while its put was under way', async () => {
    const stage = await Stage.held();
    stage.faultNext({ kind: 'slow', requestMs: 10, replyMs: 10 });
    stage.desire(1, 'web');
    await stage.clock.advance(5);
    stage.desire(1);
    await stage.clock.advance(15);
    assert.deepEqual(stage.tried, ['1', '1']);
    assert.deepEqual(stage.held(), []);
    assert.equal(stage.ledger.size, 0);
  });

  test('writes what changed under way although nobody told it', async () => {
    const stage = await Stage.held();
    stage.faultNext({ kind: 'slow', requestMs: 10, replyMs: 10 });
    stage.desire(1, 'web');
    await stage.clock.advance(5);
    stage.ledger.desire(shortOf(1), new Map());
    await stage.clock.advance(15);
    assert.deepEqual(stage.held(), []);
  });

  test('writes nothing without a tenure', async () => {
    const stage = new Stage();
    stage.desire(1, 'web');
    await stage.clock.settle();
    assert.deepEqual(stage.held(), []);
    assert.deepEqual(stage.messages, []);
    assert.deepEqual([...stage.ledger.unsettled()], [shortOf(1)]);
  });

  test('makes a transaction of its own of what does not fit into one', async () => {
    const stage = await Stage.held();
    const names = Array.from({ length: 50 }, (_, index) => `s${index}`);
    for (const n of [1, 2, 3]) stage.desire(n, ...names);
    await stage.clock.settle();
    assert.deepEqual(stage.tried, ['1 2', '3']);
  });
});

describe('Writer meets a refusal and', () => {
  test('halves the batch until the container that is refused stands alone', async () => {
    const stage = await Stage.held();
    stage.registry.store.denied = (key) => key === keyOf(6);
    for (let n = 1; n <= 8; n++) stage.desire(n, 'web');
    await stage.clock.settle();
    assert.deepEqual(stage.tried, ['1 2 3 4 5 6 7 8', '1 2 3 4', '5 6 7 8', '5 6', '5', '6', '7 8']);
    assert.deepEqual(stage.held(), [1, 2, 3, 4, 5, 7, 8]);
    assert.equal(stage.metrics.quarantined, 1);
    assert.deepEqual(stage.messages, []);
  });

  test('lets removals pass when publications are refused', async () => {
    const stage = await Stage.held();
    await stage.publish(1, 2);
    stage.registry.store.outOfSpace = true;
    stage.desire(1);
    stage.desire(3, 'web');
    stage.desire(2);
    stage.desire(4, 'web');
    await stage.clock.settle();
    assert.deepEqual(stage.tried.slice(0, 3), ['1 3 2 4', '1 2', '3 4']);
    assert.deepEqual(stage.held(), []);
    assert.deepEqual([...stage.ledger.unsettled()], [shortOf(3), shortOf(4)]);
  });

  test('takes away what is published of a container whose new keys are refused', async () => {
    const stage = await Stage.held();
    await stage.publish(1);
    stage.registry.store.outOfSpace = true;
    stage.desire(1, 'web', 'api');
    await stage.clock.settle();
    assert.deepEqual(stage.held(), []);
    assert.deepEqual([...stage.ledger.unsettled()], [shortOf(1)]);
  });

  test('counts a container as parked also after it took away what was published of it', async () => {
    const stage = await Stage.held();
    await stage.publish(1);
    stage.registry.store.outOfSpace = true;
    stage.desire(1, 'web', 'api');
    await stage.clock.settle();
    assert.equal(stage.metrics.quarantined, 1);
  });

  test('tries a parked container again every five seconds until it is taken', async () => {
    const stage = await Stage.held();
    stage.registry.store.denied = (key) => key === keyOf(1);
    stage.desire(1, 'web');
    await stage.clock.advance(4_999);
    assert.deepEqual(stage.tried, ['1']);
    await stage.clock.advance(10_001);
    assert.deepEqual(stage.tried, ['1', '1', '1', '1']);
    stage.registry.store.denied = () => false;
    await stage.clock.advance(5_000);
    assert.deepEqual(stage.held(), [1]);
    assert.equal(stage.metrics.quarantined, 0);
    await stage.clock.advance(60_000);
    assert.equal(stage.tried.length, 5, 'and not again');
  });

  test('tries few of many parked containers, each in its turn, and all once one of them is taken', async () => {
    const stage = await Stage.held();
    stage.registry.store.denied = () => true;
    for (let n = 1; n <= 6; n++) stage.desire(n, 'web');
    await stage.clock.settle();
    assert.equal(stage.metrics.quarantined, 6);
    const tried = stage.tried.length;
    await stage.clock.advance(5_000);
    assert.equal(stage.tried[tried], '1 2 3 4');
    const triedThen = stage.tried.length;
    stage.registry.store.denied = (key) => key === keyOf(1);
    await stage.clock.advance(5_000);
    assert.equal(stage.tried[triedThen], '5 6 1 2');
    assert.deepEqual(stage.held(), [2, 3, 4, 5, 6]);
    assert.equal(stage.metrics.quarantined, 1);
  });

  test('goes on trying others when those whose turn it was are not wanted any more', async () => {
    const stage = await Stage.held();
    stage.registry.store.denied = () => true;
    for (let n = 1; n <= 6; n++) stage.desire(n, 'web');
    await stage.clock.settle();
    for (let n = 1; n <= 4; n++) stage.desire(n);
    stage.registry.store.denied = () => false;
    await stage.clock.advance(10_000);
    assert.deepEqual(stage.held(), [5, 6]);
  });

  test('tries a parked container again at once when something new is desired of it', async () => {
    const stage = await Stage.held();
    stage.registry.store.denied = (key) => key === keyOf(1, 'bad');
    stage.desire(1, 'bad');
    await stage.clock.settle();
    stage.desire(1, 'good');
    await stage.clock.settle();
    assert.deepEqual(stage.held(), [1]);
    assert.equal(stage.metrics.quarantined, 0);
  });

  test('forgets a parked container of which nothing is desired any more', async () => {
    const stage = await Stage.held();
    stage.registry.store.denied = (key) => key === keyOf(1);
    stage.desire(1, 'web');
    await stage.clock.settle();
    stage.desire(1);
    await stage.clock.settle();
    assert.equal(stage.metrics.quarantined, 0);
    assert.equal(stage.ledger.size, 0);
    await stage.clock.advance(60_000);
    assert.deepEqual(stage.tried, ['1']);
  });

  test('parks a container that has more operations than etcd takes, and holds up nobody', async () => {
    const stage = await Stage.held();
    stage.desire(1, ...Array.from({ length: 129 }, (_, index) => `s${index}`));
    stage.desire(2, 'web');
    await stage.clock.settle();
    assert.deepEqual(stage.held(), [2]);
    assert.equal(stage.metrics.quarantined, 1);
  });

  test('replaces in two steps what is too much for one', async () => {
    const stage = await Stage.held();
    const names = (letter: string) => Array.from({ length: 100 }, (_, index) => letter + index);
    stage.desire(1, ...names('a'));
    await stage.clock.settle();
    stage.desire(1, ...names('b'));
    await stage.clock.advance(5_000);
    assert.deepEqual([...stage.ledger.unsettled()], []);
    assert.equal([...stage.registry.store.keys.keys()].filter((key) => key.includes('/b')).length, 100);
  });

  test('leaves no timer when it is stopped', async () => {
    const stage = await Stage.held();
    stage.registry.store.denied = () => true;
    stage.desire(1, 'web');
    await stage.clock.settle();
    const { pending } = stage.clock;
    await stage.supervisor.stop();
    assert.equal(stage.clock.pending, pending - 1);
  });
});

describe('Writer is in doubt and', () => {
  test('says so and writes no more when the owner key is not as it was written', async () => {
    const stage = await Stage.held();
    const { ownership } = stage.current;
    stage.registry.store.apply([{ key: layout.ownerKey, value: 'somebody else' }]);
    stage.desire(1, 'web');
    await stage.clock.settle();
    assert.equal(stage.current.ownership, undefined);
    assert.deepEqual(
      stage.messages.map((verifyOwnership) => verifyOwnership.kind === 'verify' && verifyOwnership.ownership),
      [ownership],
    );
    stage.desire(2, 'web');
    await stage.clock.settle();
    assert.deepEqual(stage.tried, ['1']);
    assert.deepEqual(stage.held(), []);
  });

  test('says so when the lease is gone', async () => {
    const stage = await Stage.held();
    const { ownership } = stage.current;
    stage.registry.store.leases.delete(ownership?.lease ?? noLease);
    stage.desire(1, 'web');
    await stage.clock.settle();
    assert.equal(stage.current.ownership, undefined);
    assert.equal(stage.messages.length, 1);
  });

  for (const fault of [{ kind: 'ambiguous' }, { kind: 'unavailable' }, { kind: 'late', ms: 50 }] as const) {
    test(`assumes nothing of a transaction that was ${fault.kind}`, async () => {
      const stage = await Stage.held();
      stage.faultNext(fault);
      stage.desire(1, 'web');
      await stage.clock.settle();
      assert.equal(stage.current.ownership, undefined);
      assert.equal(stage.messages.length, 1);
      assert.deepEqual(stage.committed, []);
      assert.deepEqual([...stage.ledger.unsettled()], [shortOf(1)]);
      assert.equal(stage.metrics.transactions, 0);
    });
  }

  test('does not try the rest of what it was about to write', async () => {
    const stage = await Stage.held();
    const names = Array.from({ length: 100 }, (_, index) => `s${index}`);
    stage.faultNext({ kind: 'unavailable' });
    stage.desire(1, ...names);
    stage.desire(2, ...names);
    await stage.clock.settle();
    assert.deepEqual(stage.tried, ['1']);
    assert.equal(stage.messages.length, 1);
  });

  test('writes what is left once there is a new tenure and it is told', async () => {
    const stage = await Stage.held();
    stage.faultNext({ kind: 'unavailable' });
    stage.desire(1, 'web');
    await stage.clock.settle();
    stage.current.ownership = await stage.claim();
    for (const shortId of stage.ledger.unsettled()) stage.writer.tell(shortId);
    await stage.clock.settle();
    assert.deepEqual(stage.held(), [1]);
  });

  test('leaves a newer tenure alone when a transaction of an older one fails', async () => {
    const stage = await Stage.held();
    stage.faultNext({ kind: 'slow', requestMs: 100, replyMs: 0 });
    stage.desire(1, 'web');
    await stage.clock.advance(50);
    const newer = await stage.claim();
    stage.current.ownership = newer;
    await stage.clock.advance(50);
    assert.deepEqual(stage.held(), [], 'the claim has fenced it off');
    assert.equal(stage.current.ownership, newer);
  });

  test('takes no note of a transaction that is answered when its tenure is over and etcd was read anew', async () => {
    const stage = await Stage.held();
    stage.faultNext({ kind: 'slow', requestMs: 0, replyMs: 100 });
    stage.desire(1, 'web');
    await stage.clock.advance(50);
    stage.registry.store.revoke(stage.current.ownership?.lease ?? noLease);
    stage.current.ownership = await stage.claim();
    stage.ledger.load(new Map());
    for (const shortId of stage.ledger.unsettled()) stage.writer.tell(shortId);
    await stage.clock.advance(50);
    assert.deepEqual(stage.held(), [1], 'what is not there is written');
  });
});
