/**
 * Writer: takes changes from the ledger to etcd, one transaction at a time.
 *
 * While a transaction is under way, the containers that change gather in the mailbox, each once; the
 * next transaction takes them together. So nobody waits for a timer: on a calm host a change goes
 * out at once, and on a busy one the transactions grow. A container's changes are never split.
 *
 * Four outcomes. Committed: the ledger takes note. Tenure over, or no answer: whatever is known of
 * etcd is in doubt, so the lease keeper claims and reads anew, and then tells us what is left to do.
 * Refused: the batch is halved until the container that etcd will not take stands alone; it is
 * parked, and everybody else goes ahead. Removals are never held up by publications that fail.
 */

import type { Actor, Ref, Self } from '../actor/actor.ts';
import type { Clock } from '../actor/clock.ts';
import { codeOf, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Layout } from '../model/keys.ts';
import type { Change, Ledger } from '../model/ledger.ts';
import type { Remarks } from '../model/remarks.ts';
import type { Doubt } from './lease-keeper.ts';
import { bytesMax, type Hold, operationsMax, type Registry, type Tenure } from './registry.ts';

/** Two operations, a service and its record, are the most common container. */
export const writeBatchMax = 64;
const parkedRetryMs = 5_000;
const parkedTriedMax = 4;

/** The changes of one container, which go together. */
export interface Parcel {
  readonly short: string;
  readonly changes: readonly Change[];
}

export interface WriterParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly registry: Registry;
  readonly layout: Layout;
  readonly ledger: Ledger;
  readonly remarks: Remarks;
  readonly hold: Hold;
  readonly operationsMax?: number | undefined;
  readonly keeper: Ref<Doubt>;
  /** The changes of one container are in etcd. */
  readonly onCommitted: (parcel: Parcel) => void;
}

export class Writer implements Actor<string> {
  readonly #parts: WriterParts;
  readonly #self: Self<string>;
  readonly #parked = new Set<string>();
  #cancelRetry: (() => void) | undefined;

  constructor(parts: WriterParts, self: Self<string>, signal: AbortSignal) {
    this.#parts = parts;
    this.#self = self;
    signal.addEventListener('abort', () => this.#cancelRetry?.());
  }

  async receive(shorts: readonly string[]): Promise<void> {
    const { hold, ledger } = this.#parts;
    // Without a tenure nothing is written; once there is one, the keeper tells us all that is unsettled.
    const tenure = hold.tenure;
    if (tenure === undefined) return;
    const parcels: Parcel[] = [];
    for (const short of shorts) {
      const changes = this.#whatFits(short, ledger.begin(short));
      if (changes.length > 0) parcels.push({ short, changes });
      else this.#unpark(short);
    }
    try {
      for (const batch of pack(parcels, this.#parts.operationsMax)) await this.#commit(tenure, batch);
    } finally {
      for (const { short } of parcels) {
        ledger.ended(short);
        // Desired moved on while its changes were under way.
        if (!this.#parked.has(short) && hold.tenure === tenure && ledger.changes(short).length > 0)
          this.#self.tell(short);
      }
    }
  }

  /**
   * What a container should have fits into one transaction, and so does what it has; both together may not, where
   * other views are on than before. Then what is to go goes first: views alone, or all of it.
   */
  #whatFits(short: string, changes: readonly Change[]): readonly Change[] {
    const { layout, ledger } = this.#parts;
    const removed = changes.filter(({ value }) => value === undefined);
    if (changes.length <= operationsMax || removed.length === 0) return changes;
    const isNative = ({ key }: Change) => layout.nameOf(key) !== undefined || key === layout.recordKey(short);
    if (!removed.some(isNative)) return removed;
    return [...ledger.observed(short).keys()].map((key) => ({ key, value: undefined }));
  }

  async #commit(tenure: Tenure, batch: readonly Parcel[]): Promise<void> {
    const { clock, hold, layout, ledger, metrics, onCommitted, registry } = this.#parts;
    if (hold.tenure !== tenure) return;
    const changes = batch.flatMap((parcel) => parcel.changes);
    try {
      const isCommitted = await registry.commit(layout.ownerKey, tenure, changes);
      // Etcd was read anew, or will be: that reading knows what became of this.
      if (hold.tenure !== tenure) return;
      if (!isCommitted) return this.#doubt(tenure, 'the owner key is not as we wrote it');
    } catch (error) {
      if (hold.tenure !== tenure) return;
      if (codeOf(error) === 'ETCD_REFUSED') return this.#refused(tenure, batch, error);
      return this.#doubt(tenure, messageOf(error));
    }
    metrics.transactions++;
    for (const { value } of changes) metrics.operations[value === undefined ? 'delete' : 'put']++;
    for (const parcel of batch) {
      ledger.committed(parcel.short, parcel.changes);
      const askedAt = ledger.answered(parcel.short);
      if (askedAt > 0) metrics.publishSeconds.observe(clock.wall() / 1000 - askedAt / 1e9);
      if (this.#unpark(parcel.short) && !isRemoval(parcel)) for (const parked of this.#parked) this.#self.tell(parked);
      onCommitted(parcel);
    }
  }

  #doubt(tenure: Tenure, reason: string): void {
    this.#parts.hold.tenure = undefined;
    this.#parts.keeper.tell({ kind: 'doubt', tenure, reason });
  }

  async #refused(tenure: Tenure, batch: readonly Parcel[], error: unknown): Promise<void> {
    const removals = batch.filter(isRemoval);
    const publications = batch.filter((parcel) => !isRemoval(parcel));
    if (removals.length > 0 && publications.length > 0) {
      // Out of space, etcd still deletes.
      await this.#commit(tenure, removals);
      await this.#commit(tenure, publications);
    } else if (batch.length > 1) {
      const middle = batch.length >> 1;
      await this.#commit(tenure, batch.slice(0, middle));
      await this.#commit(tenure, batch.slice(middle));
    } else {
      for (const parcel of batch) await this.#park(tenure, parcel, error);
    }
  }

  /** What etcd will not take is tried again now and then: space is freed and roles are mended. */
  async #park(tenure: Tenure, parcel: Parcel, error: unknown): Promise<void> {
    const { clock, ledger, log } = this.#parts;
    const { short, changes } = parcel;
    const isNew = !this.#parked.has(short);
    this.#setParked(short, messageOf(error));
    if (isNew)
      log.error({ container: short, keys: changes.length, error: messageOf(error) }, 'etcd refuses this container');
    this.#cancelRetry ??= clock.after(parkedRetryMs, () => this.#retryParked());
    // What is published of it may be wrong by now, and wrong is worse than absent.
    const published = [...ledger.observed(short).keys()];
    if (published.length > 0 && !isRemoval(parcel)) {
      await this.#commit(tenure, [{ short, changes: published.map((key) => ({ key, value: undefined })) }]);
      this.#setParked(short, messageOf(error));
    }
  }

  #setParked(short: string, word: string): void {
    this.#parked.add(short);
    this.#parts.metrics.parked = this.#parked.size;
    this.#parts.remarks.note(short, { parked: word });
  }

  /**
   * A few in turn: a password or a role that is refused concerns all of them, and each try costs etcd a login. Where
   * one is taken after all, so may the others be, and `#commit` tells them.
   */
  #retryParked(): void {
    const waiting = [...this.#parked];
    for (const short of waiting.slice(0, parkedTriedMax)) {
      this.#parked.delete(short);
      this.#parked.add(short);
      this.#self.tell(short);
    }
    this.#cancelRetry =
      waiting.length > 0 ? this.#parts.clock.after(parkedRetryMs, () => this.#retryParked()) : undefined;
  }

  /** Whether it was parked. */
  #unpark(short: string): boolean {
    const wasParked = this.#parked.delete(short);
    if (wasParked) {
      this.#parts.metrics.parked = this.#parked.size;
      this.#parts.remarks.note(short, { parked: undefined });
    }
    return wasParked;
  }
}

function isRemoval(parcel: Parcel): boolean {
  return parcel.changes.every((change) => change.value === undefined);
}

/** Transactions within etcd's limits, no parcel split. A single parcel above a limit goes alone, to be refused. */
export function* pack(parcels: readonly Parcel[], operations = operationsMax): Generator<Parcel[]> {
  let batch: Parcel[] = [];
  let count = 0;
  let bytes = 0;
  for (const parcel of parcels) {
    const size = parcel.changes.reduce((sum, { key, value }) => sum + 64 + 3 * (key.length + (value?.length ?? 0)), 0);
    if (batch.length > 0 && (count + parcel.changes.length > operations || bytes + size > bytesMax)) {
      yield batch;
      batch = [];
      count = 0;
      bytes = 0;
    }
    batch.push(parcel);
    count += parcel.changes.length;
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}
