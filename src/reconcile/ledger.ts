/**
 * The ledger: for each container, the keys that etcd should hold and the keys that it is known to hold.
 *
 * The reconciler sets the column `desired`. The column `observed` follows the writer's commits and the lease keeper's
 * readings. Everything else is derived: a container has changes while the two columns differ. So work that was lost,
 * refused or cut off is found again by going over the ledger. Containers are named by their short ids.
 *
 * A container whose desired keys are unknown has no changes, as long as no complete list and no inspection has decided
 * about it. The keys of a predecessor stay until they are known to be wrong.
 */

import { Listeners } from '../actor/listeners.ts';
import type { Names } from '../container/container.ts';
import { type Audited, foreign, type Held, ours, ourValue } from '../layout/held.ts';
import type { Change } from '../layout/keys.ts';

interface Entry {
  desired: ReadonlyMap<string, string> | undefined;
  observed: Map<string, Held>;
  /** The ledger's version at the last touch of `observed`. */
  version: number;
  /** A transaction with its changes is under way. */
  underWay: boolean;
  /** The time of the first event that led to the present changes; 0 if no event did. */
  askedAt: number;
  /** Of the container that the desired keys came from last. */
  names: Names | undefined;
  /** The time, by the ledger's clock, since which it has had changes; undefined without changes. */
  unsettledAt: number | undefined;
}

export type Keys = ReadonlyMap<string, string>;
const nothing: ReadonlyMap<string, Held> = new Map();

export class Ledger {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  #version = 0;
  /** Called with each container whose entry may have changed. */
  readonly touched = new Listeners<[shortId: string]>();

  /** `now`: a clock in milliseconds that never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Grows with every touch of an `observed`. */
  get version(): number {
    return this.#version;
  }

  /** Containers that are, or should be, published. */
  get size(): number {
    return this.#entries.size;
  }

  /** `at`: the time of the event that led to this, in nanoseconds since the epoch; 0 if no event did. */
  desire(shortId: string, keys: Keys, at = 0, names?: Names): void {
    const entry = this.#entry(shortId);
    entry.names = names ?? entry.names;
    entry.desired = keys;
    entry.askedAt ||= at;
    this.#touched(shortId, entry);
  }

  /** Returns the time of the event that led to the settled changes, once; 0 if there was none. */
  answered(shortId: string): number {
    const entry = this.#entries.get(shortId);
    const at = entry?.askedAt ?? 0;
    if (entry !== undefined) entry.askedAt = 0;
    return at;
  }

  /** Whether the container is, or should be, published. */
  has(shortId: string): boolean {
    return this.#entries.has(shortId);
  }

  desired(shortId: string): Keys | undefined {
    return this.#entries.get(shortId)?.desired;
  }

  /** The names of a container that has, or had, desired keys, as long as etcd has any of its keys. */
  namesOf(shortId: string): Names | undefined {
    return this.#entries.get(shortId)?.names;
  }

  observed(shortId: string): ReadonlyMap<string, Held> {
    return this.#entries.get(shortId)?.observed ?? nothing;
  }

  /** The containers that have keys in etcd. */
  *published(): Generator<string> {
    for (const [shortId, entry] of this.#entries) if (entry.observed.size > 0) yield shortId;
  }

  /** The containers that are, or should be, published. */
  containers(): IterableIterator<string> {
    return this.#entries.keys();
  }

  isUnsettled(shortId: string): boolean {
    return this.#entries.get(shortId)?.unsettledAt !== undefined;
  }

  /** The containers with anything to put or delete. */
  *unsettled(): Generator<string> {
    for (const shortId of this.#entries.keys()) if (this.changes(shortId).length > 0) yield shortId;
  }

  /**
   * The age of the oldest unsettled container, in seconds; 0 if all are settled. A container that changes all the time
   * counts from the last moment at which etcd held its desired keys.
   */
  oldestUnsettledSeconds(now = this.#now()): number {
    let oldest = now;
    for (const { unsettledAt } of this.#entries.values()) oldest = Math.min(oldest, unsettledAt ?? now);
    return (now - oldest) / 1000;
  }

  /** The changes that make observed equal to desired, deletes first. */
  changes(shortId: string): Change[] {
    const entry = this.#entries.get(shortId);
    // mutant: take unknown for unwanted
    if (entry?.desired === undefined) return [];
    const changes: Change[] = [];
    for (const key of entry.observed.keys()) {
      // mutant: delete nothing
      if (!entry.desired.has(key)) changes.push({ key, value: undefined });
    }
    for (const [key, value] of entry.desired) {
      // mutant: write what is there already
      if (ourValue(entry.observed.get(key)) !== value) changes.push({ key, value });
    }
    return changes;
  }

  /** The same changes, now under way: the entry stays until `ended`, even if other keys are desired meanwhile. */
  begin(shortId: string): Change[] {
    const changes = this.changes(shortId);
    // mutant: forget what is under way
    if (changes.length > 0) this.#entry(shortId).underWay = true;
    return changes;
  }

  /** The changes are in etcd. */
  committed(shortId: string, changes: readonly Change[]): void {
    const entry = this.#entry(shortId);
    entry.version = ++this.#version;
    for (const { key, value } of changes) {
      // mutant (3 lines): take note of no delete
      if (value === undefined) entry.observed.delete(key);
      // mutant: take note of no commit
      else entry.observed.set(key, ours(value));
    }
    this.#touched(shortId, entry);
  }

  /** The changes are no longer under way, with any outcome. */
  ended(shortId: string): void {
    const entry = this.#entry(shortId);
    entry.underWay = false;
    this.#tidy(shortId, entry);
  }

  /**
   * Replaces the column `observed` by a reading of etcd. `fromAnother`: another process has written since, and may know
   * more about a container than this one. Where its keys differ from our desired keys, the desired keys become unknown.
   * Returns these containers.
   */
  load(reading: ReadonlyMap<string, Map<string, Held>>, fromAnother = false): string[] {
    this.#version++;
    for (const [shortId, entry] of this.#entries) {
      // mutant (2 lines): remember what a reading does not show
      entry.observed = new Map();
      entry.version = this.#version;
      if (!reading.has(shortId)) this.#tidy(shortId, entry);
    }
    for (const [shortId, keys] of reading) {
      const entry = this.#entry(shortId);
      entry.observed = keys;
      entry.version = this.#version;
    }
    const unknown = fromAnother ? [...this.#entries.keys()].filter((shortId) => !this.#isSettled(shortId)) : [];
    for (const shortId of unknown) this.#forget(shortId);
    for (const [shortId, entry] of this.#entries) this.#touched(shortId, entry);
    return unknown;
  }

  /**
   * Whether etcd holds other keys than observed, for containers that were not touched since `version`. A container that
   * was written since, or is being written, may rightly differ from an answer that began before. An unread key is
   * compared only by its name.
   */
  differs(held: ReadonlyMap<string, ReadonlyMap<string, Audited>>, version: number): boolean {
    for (const [shortId, entry] of this.#entries) {
      // mutant: compare what is being written
      if (entry.version > version || entry.underWay) continue;
      const keys = held.get(shortId);
      if ((keys?.size ?? 0) !== entry.observed.size) return true;
      for (const [key, known] of entry.observed) if (!agrees(keys?.get(key), known)) return true;
    }
    // An entry that is missing here was deleted, and only in a later version. So an unknown container counts as a
    // difference only if nothing was written since.
    // mutant: compare what was written since
    if (this.#version > version) return false;
    for (const shortId of held.keys()) if (!this.#entries.has(shortId)) return true;
    return false;
  }

  /**
   * Takes note of a key that is on no lease of ours and that no reading has shown. False: the key is known, or may have
   * been written or deleted since `version`, and it was read before that.
   */
  foundStray(shortId: string, key: string, version: number): boolean {
    const known = this.#entries.get(shortId);
    if (known === undefined ? this.#version > version : known.version > version || known.underWay) return false;
    if (known?.observed.has(key)) return false;
    const entry = this.#entry(shortId);
    entry.observed.set(key, foreign);
    this.#touched(shortId, entry);
    return true;
  }

  #isSettled(shortId: string): boolean {
    return this.desired(shortId) !== undefined && this.changes(shortId).length === 0;
  }

  /** The desired keys of a container are unknown. */
  #forget(shortId: string): void {
    const entry = this.#entry(shortId);
    entry.desired = undefined;
    entry.askedAt = 0;
    this.#tidy(shortId, entry);
  }

  #touched(shortId: string, entry: Entry): void {
    const hasChanges = entry.desired !== undefined && !isSame(entry.desired, entry.observed);
    entry.unsettledAt = hasChanges ? (entry.unsettledAt ?? this.#now()) : undefined;
    this.#tidy(shortId, entry);
    this.touched.tell(shortId);
  }

  #entry(shortId: string): Entry {
    let entry = this.#entries.get(shortId);
    if (entry === undefined) {
      entry = {
        desired: undefined,
        observed: new Map(),
        version: this.#version,
        underWay: false,
        askedAt: 0,
        names: undefined,
        unsettledAt: undefined,
      };
      this.#entries.set(shortId, entry);
    }
    return entry;
  }

  /** Removes an entry without desired and observed keys. */
  #tidy(shortId: string, entry: Entry): void {
    if (!entry.underWay && entry.observed.size === 0 && (entry.desired?.size ?? 0) === 0) this.#entries.delete(shortId);
  }
}

/** Whether etcd holds exactly the desired keys. */
function isSame(desired: Keys, observed: ReadonlyMap<string, Held>): boolean {
  if (desired.size !== observed.size) return false;
  for (const [key, value] of desired) if (ourValue(observed.get(key)) !== value) return false;
  return true;
}

function agrees(found: Audited | undefined, known: Held): boolean {
  if (found === undefined || found.kind === 'unread') return found !== undefined;
  return found.kind === known.kind && ourValue(found) === ourValue(known);
}
