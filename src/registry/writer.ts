/**
 * Writer: takes changes from the ledger to etcd, one transaction at a time.
 *
 * While a transaction is under way, the containers that change gather in the mailbox, each once; the
 * next transaction takes them together. So no change waits for a timer: on a calm host a change goes
 * out at once, and on a busy one the transactions grow. A container's changes are never split.
 *
 * Four outcomes. Committed: the ledger takes note. Ownership over, or no answer: the knowledge of etcd
 * may be wrong, so the lease keeper claims and reads again, and then tells the writer the changes that
 * are left. Refused: the batch is halved until the container that etcd refuses is alone; it is
 * quarantined, and all others go ahead. Publications that fail never delay removals.
 */

import type { Actor, Ref, Self } from '../actor/actor.ts';
import type { Clock } from '../actor/clock.ts';
import { codeOf, messageOf } from '../errors.ts';
import { bytesMax, type CurrentOwnership, type Ownership, operationsMax, type Registry } from '../etcd/registry.ts';
import type { Change, Layout } from '../layout/keys.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Conditions } from '../reconcile/conditions.ts';
import type { Ledger } from '../reconcile/ledger.ts';
import type { LeaseKeeperMessage } from './lease-keeper.ts';

/** Two operations, a service and its record, are the most common container. */
export const writeBatchMax = 64;
const quarantineRetryMs = 5_000;
const quarantineTriedMax = 4;

/** The changes of one container, which go together. */
export interface ChangeSet {
  readonly shortId: string;
  readonly changes: readonly Change[];
}

export interface WriterParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly registry: Registry;
  readonly layout: Layout;
  readonly ledger: Ledger;
  readonly conditions: Conditions;
  readonly current: CurrentOwnership;
  readonly operationsMax?: number | undefined;
  readonly keeper: Ref<LeaseKeeperMessage>;
  /** The changes of one container are in etcd. */
  readonly onCommitted: (changeSet: ChangeSet) => void;
}

export class Writer implements Actor<string> {
  readonly #parts: WriterParts;
  readonly #self: Self<string>;
  readonly #quarantined = new Set<string>();
  #cancelRetry: (() => void) | undefined;

  constructor(parts: WriterParts, self: Self<string>, signal: AbortSignal) {
    this.#parts = parts;
    this.#self = self;
    signal.addEventListener('abort', () => this.#cancelRetry?.());
  }

  async receive(shortIds: readonly string[]): Promise<void> {
    const { current, ledger } = this.#parts;
    // Without the ownership nothing is written; after a claim, the lease keeper tells all unsettled containers.
    const ownership = current.ownership;
    if (ownership === undefined) return;
    const changeSets: ChangeSet[] = [];
    for (const shortId of shortIds) {
      const changes = this.#whatFits(shortId, ledger.begin(shortId));
      if (changes.length > 0) changeSets.push({ shortId, changes });
      else this.#release(shortId);
    }
    try {
      for (const batch of pack(changeSets, this.#parts.operationsMax)) await this.#commit(ownership, batch);
    } finally {
      for (const { shortId } of changeSets) {
        ledger.ended(shortId);
        // The desired keys have changed again while the changes were under way.
        if (!this.#quarantined.has(shortId) && current.ownership === ownership && ledger.changes(shortId).length > 0)
          // mutant (4 lines): never return to what moved on
          this.#self.tell(shortId);
      }
    }
  }

  /**
   * The desired keys of a container fit into one transaction, and so do its observed keys. Both together may not, if
   * other views are on than before. Then the deletes go first: those of views alone, or those of all observed keys.
   */
  #whatFits(shortId: string, changes: readonly Change[]): readonly Change[] {
    const { layout, ledger } = this.#parts;
    const removed = changes.filter(({ value }) => value === undefined);
    if (changes.length <= operationsMax || removed.length === 0) return changes;
    const isNative = ({ key }: Change) => layout.nameOf(key) !== undefined || key === layout.recordKey(shortId);
    if (!removed.some(isNative)) return removed;
    return [...ledger.observed(shortId).keys()].map((key) => ({ key, value: undefined }));
  }

  async #commit(ownership: Ownership, batch: readonly ChangeSet[]): Promise<void> {
    const { clock, current, layout, ledger, metrics, onCommitted, registry } = this.#parts;
    if (current.ownership !== ownership) return;
    const changes = batch.flatMap((changeSet) => changeSet.changes);
    try {
      // mutant: write views in a transaction of their own
      // mutant: write twice
      // mutant: split a container over two transactions
      // mutant: write without a lease
      // mutant: write without the guard
      const isCommitted = await registry.commit(layout.ownerKey, ownership, changes);
      // Another reading of etcd was made, or will be: it shows the outcome of this commit.
      if (current.ownership !== ownership) return;
      // mutant: take a failed guard for success
      // mutant: pass over a failed guard
      if (!isCommitted) return this.#verifyOwnership(ownership, 'the owner key is not as we wrote it');
    } catch (error) {
      if (current.ownership !== ownership) return;
      // mutant: take a refusal for a lost ownership
      if (codeOf(error) === 'ETCD_REFUSED') return this.#refused(ownership, batch, error);
      // mutant: take no answer for success
      // mutant: take no answer for a refusal that is over
      return this.#verifyOwnership(ownership, messageOf(error));
    }
    metrics.transactions++;
    for (const { value } of changes) metrics.operations[value === undefined ? 'delete' : 'put']++;
    for (const changeSet of batch) {
      ledger.committed(changeSet.shortId, changeSet.changes);
      const askedAt = ledger.answered(changeSet.shortId);
      if (askedAt > 0) metrics.publishSeconds.observe(clock.wall() / 1000 - askedAt / 1e9);
      if (this.#release(changeSet.shortId) && !isRemoval(changeSet))
        for (const quarantined of this.#quarantined) this.#self.tell(quarantined);
      onCommitted(changeSet);
    }
  }

  #verifyOwnership(ownership: Ownership, reason: string): void {
    this.#parts.current.ownership = undefined;
    // mutant: lose the ownership in silence
    this.#parts.keeper.tell({ kind: 'verify', ownership, reason });
  }

  async #refused(ownership: Ownership, batch: readonly ChangeSet[], error: unknown): Promise<void> {
    const removals = batch.filter(isRemoval);
    const publications = batch.filter((changeSet) => !isRemoval(changeSet));
    if (removals.length > 0 && publications.length > 0) {
      // etcd still accepts deletes when it is out of space.
      await this.#commit(ownership, removals);
      await this.#commit(ownership, publications);
    } else if (batch.length > 1) {
      const middle = batch.length >> 1;
      await this.#commit(ownership, batch.slice(0, middle));
      await this.#commit(ownership, batch.slice(middle));
    } else {
      for (const changeSet of batch) await this.#quarantine(ownership, changeSet, error);
    }
  }

  /** A refused container is tried again every few seconds: space is freed and roles are corrected. */
  async #quarantine(ownership: Ownership, changeSet: ChangeSet, error: unknown): Promise<void> {
    const { clock, ledger, log } = this.#parts;
    const { shortId, changes } = changeSet;
    const isNew = !this.#quarantined.has(shortId);
    this.#setQuarantined(shortId, messageOf(error));
    if (isNew)
      log.error(
        { container: shortId, ...ledger.namesOf(shortId), keys: changes.length, error: messageOf(error) },
        'etcd refuses this container',
      );
    this.#cancelRetry ??= clock.after(quarantineRetryMs, () => this.#retryQuarantined());
    // The published keys of the container may be wrong by now, and wrong is worse than absent.
    const published = [...ledger.observed(shortId).keys()];
    if (published.length > 0 && !isRemoval(changeSet)) {
      await this.#commit(ownership, [{ shortId, changes: published.map((key) => ({ key, value: undefined })) }]);
      this.#setQuarantined(shortId, messageOf(error));
    }
  }

  #setQuarantined(shortId: string, word: string): void {
    this.#quarantined.add(shortId);
    this.#parts.metrics.quarantined = this.#quarantined.size;
    this.#parts.conditions.note(shortId, { quarantined: word });
  }

  /**
   * A few in turn: a refused password or role concerns all of them, and each try costs etcd a login. If etcd accepts
   * one of them after all, it may accept the others too, and `#commit` tells them.
   */
  #retryQuarantined(): void {
    const waiting = [...this.#quarantined];
    for (const shortId of waiting.slice(0, quarantineTriedMax)) {
      this.#quarantined.delete(shortId);
      // mutant (2 lines): never try a quarantined container again
      this.#quarantined.add(shortId);
      this.#self.tell(shortId);
    }
    this.#cancelRetry =
      waiting.length > 0 ? this.#parts.clock.after(quarantineRetryMs, () => this.#retryQuarantined()) : undefined;
  }

  /** Whether the container was in quarantine. */
  #release(shortId: string): boolean {
    const wasQuarantined = this.#quarantined.delete(shortId);
    if (wasQuarantined) {
      this.#parts.metrics.quarantined = this.#quarantined.size;
      this.#parts.conditions.note(shortId, { quarantined: undefined });
    }
    return wasQuarantined;
  }
}

function isRemoval(changeSet: ChangeSet): boolean {
  return changeSet.changes.every((change) => change.value === undefined);
}

/** Transactions within etcd's limits, no change set split. A single change set above a limit goes alone, to be refused. */
export function* pack(changeSets: readonly ChangeSet[], operations = operationsMax): Generator<ChangeSet[]> {
  let batch: ChangeSet[] = [];
  let count = 0;
  let bytes = 0;
  for (const changeSet of changeSets) {
    const size = changeSet.changes.reduce(
      (sum, { key, value }) => sum + 64 + 3 * (key.length + (value?.length ?? 0)),
      0,
    );
    if (batch.length > 0 && (count + changeSet.changes.length > operations || bytes + size > bytesMax)) {
      yield batch;
      batch = [];
      count = 0;
      bytes = 0;
    }
    batch.push(changeSet);
    count += changeSet.changes.length;
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}
