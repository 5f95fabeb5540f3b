/**
 * The ledger: per container, what etcd should hold and what it is known to hold.
 *
 * The `desired` column is the reconciler's, the `observed` column follows the writer's commits and
 * the lease keeper's readings. Everything else is derived: a container has changes while the two
 * differ, so whatever was lost, refused or cut off, going over the ledger again finds what is left
 * to do. Containers are named by the 12 digits that stand in their keys.
 *
 * A container whose desired state is unknown (no complete list and no look has spoken of it yet) has
 * no changes: what a predecessor published stays until something is known to be wrong with it.
 */

import { Listeners } from '../actor/listeners.ts';
import { type Audited, type Held, ours, ourValue } from '../layout/held.ts';
import type { Change } from '../layout/keys.ts';

interface Entry {
  desired: ReadonlyMap<string, string> | undefined;
  observed: Map<string, Held>;
  /** The ledger's version at the last touch of `observed`. */
  version: number;
  /** Its changes are on their way to etcd. */
  underWay: boolean;
  /** The time of the first event that asked for what is not settled yet; 0 if none did. */
  askedAt: number;
  /** By the ledger's clock, since when it has had changes; undefined while it has none. */
  unsettledAt: number | undefined;
}

export type Keys = ReadonlyMap<string, string>;
const nothing: ReadonlyMap<string, Held> = new Map();

export class Ledger {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  #version = 0;
  /** Told of each container of which anything here may have changed. */
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

  /** `at`: of the event that asked for it, in nanoseconds since the epoch, 0 if none did. */
  desire(shortId: string, keys: Keys, at = 0): void {
    const entry = this.#entry(shortId);
    entry.desired = keys;
    entry.askedAt ||= at;
    this.#touched(shortId, entry);
  }

  /** The time of the event that what is settled now answers, once; 0 if there was none. */
  answered(shortId: string): number {
    const entry = this.#entries.get(shortId);
    const at = entry?.askedAt ?? 0;
    if (entry !== undefined) entry.askedAt = 0;
    return at;
  }

  desired(shortId: string): Keys | undefined {
    return this.#entries.get(shortId)?.desired;
  }

  observed(shortId: string): ReadonlyMap<string, Held> {
    return this.#entries.get(shortId)?.observed ?? nothing;
  }

  /** The containers of which etcd holds anything. */
  *published(): Generator<string> {
    for (const [shortId, entry] of this.#entries) if (entry.observed.size > 0) yield shortId;
  }

  /** The containers that are, or should be, published. */
  containers(): IterableIterator<string> {
    return this.#entries.keys();
  }

  /** The containers with anything to put or delete. */
  *unsettled(): Generator<string> {
    for (const shortId of this.#entries.keys()) if (this.changes(shortId).length > 0) yield shortId;
  }

  /**
   * For how long the container that has waited longest has been unsettled, in seconds; 0 where all are settled. A
   * container that changes all the time counts from the last moment at which etcd held what was desired of it.
   */
  oldestUnsettledSeconds(now = this.#now()): number {
    let oldest = now;
    for (const { unsettledAt } of this.#entries.values()) oldest = Math.min(oldest, unsettledAt ?? now);
    return (now - oldest) / 1000;
  }

  /** What takes observed to desired, deletes first; applying it makes the two equal. */
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

  /** The same, on the way to etcd: the entry stays until `ended`, whatever is desired meanwhile. */
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

  /** Whatever became of the changes, they are not under way any more. */
  ended(shortId: string): void {
    const entry = this.#entry(shortId);
    entry.underWay = false;
    this.#tidy(shortId, entry);
  }

  /**
   * Replaces all that is known of etcd by what a reading found. `fromAnother`: another process has written it, and may
   * have seen more of a container than we had: what differs from what we want of it is not wanted any more, but
   * unknown. Returns the containers that this concerns.
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
   * Whether etcd holds anything else than observed, for containers not touched since `version`: one that
   * was, or is being, written may rightly differ from an answer that began before. An unread key is
   * compared by its name alone.
   */
  differs(held: ReadonlyMap<string, ReadonlyMap<string, Audited>>, version: number): boolean {
    for (const [shortId, entry] of this.#entries) {
      // mutant: compare what is being written
      if (entry.version > version || entry.underWay) continue;
      const keys = held.get(shortId);
      if ((keys?.size ?? 0) !== entry.observed.size) return true;
      for (const [key, known] of entry.observed) if (!agrees(keys?.get(key), known)) return true;
    }
    // Tidied away means deleted: only entries of a later version can have gone, so a stranger counts
    // as a difference only if nothing at all was written since.
    // mutant: compare what was written since
    if (this.#version > version) return false;
    for (const shortId of held.keys()) if (!this.#entries.has(shortId)) return true;
    return false;
  }

  #isSettled(shortId: string): boolean {
    return this.desired(shortId) !== undefined && this.changes(shortId).length === 0;
  }

  /** It is not known what is to be of a container. */
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
        unsettledAt: undefined,
      };
      this.#entries.set(shortId, entry);
    }
    return entry;
  }

  /** Nothing desired and nothing observed is nothing to remember. */
  #tidy(shortId: string, entry: Entry): void {
    if (!entry.underWay && entry.observed.size === 0 && (entry.desired?.size ?? 0) === 0) this.#entries.delete(shortId);
  }
}

/** Whether etcd holds exactly what is desired. */
function isSame(desired: Keys, observed: ReadonlyMap<string, Held>): boolean {
  if (desired.size !== observed.size) return false;
  for (const [key, value] of desired) if (ourValue(observed.get(key)) !== value) return false;
  return true;
}

function agrees(found: Audited | undefined, known: Held): boolean {
  if (found === undefined || found.kind === 'unread') return found !== undefined;
  return found.kind === known.kind && ourValue(found) === ourValue(known);
}
