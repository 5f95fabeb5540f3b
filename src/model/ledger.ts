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

/** One put or, where `value` is undefined, one delete. */
export interface Change {
  readonly key: string;
  readonly value: string | undefined;
}

interface Entry {
  desired: ReadonlyMap<string, string> | undefined;
  /** A key with value undefined is there, but with another lease or a value not worth keeping. */
  observed: Map<string, string | undefined>;
  /** The ledger's version at the last touch of `observed`. */
  version: number;
  /** Its changes are on their way to etcd. */
  underWay: boolean;
  /** The time of the first event that asked for what is not settled yet; 0 if none did. */
  askedAt: number;
}

export type Keys = ReadonlyMap<string, string>;
const noKeys: Keys = new Map();

export class Ledger {
  readonly #entries = new Map<string, Entry>();
  #version = 0;
  /** Called for each container of which anything here may have changed. */
  onTouched: (short: string) => void = () => {};

  /** Grows with every touch of an `observed`. */
  get version(): number {
    return this.#version;
  }

  /** Containers that are, or should be, published. */
  get size(): number {
    return this.#entries.size;
  }

  /** `at`: of the event that asked for it, in nanoseconds since the epoch, 0 if none did. */
  desire(short: string, keys: Keys, at = 0): void {
    const entry = this.#entry(short);
    entry.desired = keys;
    entry.askedAt ||= at;
    this.#tidy(short, entry);
    this.onTouched(short);
  }

  /** The time of the event that what is settled now answers, once; 0 if there was none. */
  answered(short: string): number {
    const entry = this.#entries.get(short);
    const at = entry?.askedAt ?? 0;
    if (entry !== undefined) entry.askedAt = 0;
    return at;
  }

  desired(short: string): Keys | undefined {
    return this.#entries.get(short)?.desired;
  }

  observed(short: string): ReadonlyMap<string, string | undefined> {
    return this.#entries.get(short)?.observed ?? noKeys;
  }

  /** The containers of which etcd holds anything. */
  *published(): Generator<string> {
    for (const [short, entry] of this.#entries) if (entry.observed.size > 0) yield short;
  }

  /** The containers that are, or should be, published. */
  containers(): IterableIterator<string> {
    return this.#entries.keys();
  }

  /** The containers with anything to put or delete. */
  *unsettled(): Generator<string> {
    for (const short of this.#entries.keys()) if (this.changes(short).length > 0) yield short;
  }

  /** What takes observed to desired, deletes first; applying it makes the two equal. */
  changes(short: string): Change[] {
    const entry = this.#entries.get(short);
    if (entry?.desired === undefined) return [];
    const changes: Change[] = [];
    for (const key of entry.observed.keys()) {
      if (!entry.desired.has(key)) changes.push({ key, value: undefined });
    }
    for (const [key, value] of entry.desired) {
      if (entry.observed.get(key) !== value) changes.push({ key, value });
    }
    return changes;
  }

  /** The same, on the way to etcd: the entry stays until `ended`, whatever is desired meanwhile. */
  begin(short: string): Change[] {
    const changes = this.changes(short);
    if (changes.length > 0) this.#entry(short).underWay = true;
    return changes;
  }

  /** The changes are in etcd. */
  committed(short: string, changes: readonly Change[]): void {
    const entry = this.#entry(short);
    entry.version = ++this.#version;
    for (const { key, value } of changes) {
      if (value === undefined) entry.observed.delete(key);
      else entry.observed.set(key, value);
    }
    this.onTouched(short);
  }

  /** Whatever became of the changes, they are not under way any more. */
  ended(short: string): void {
    const entry = this.#entry(short);
    entry.underWay = false;
    this.#tidy(short, entry);
  }

  /**
   * Replaces all that is known of etcd by what a reading found. `fromAnother`: another process has written it, and may
   * have seen more of a container than we had: what differs from what we want of it is not wanted any more, but
   * unknown. Returns the containers that this concerns.
   */
  load(reading: ReadonlyMap<string, Map<string, string | undefined>>, fromAnother = false): string[] {
    this.#version++;
    for (const [short, entry] of this.#entries) {
      entry.observed = new Map();
      entry.version = this.#version;
      if (!reading.has(short)) this.#tidy(short, entry);
    }
    for (const [short, keys] of reading) {
      const entry = this.#entry(short);
      entry.observed = keys;
      entry.version = this.#version;
    }
    const unknown = fromAnother ? [...this.#entries.keys()].filter((short) => !this.#isSettled(short)) : [];
    for (const short of unknown) this.#forget(short);
    for (const short of this.#entries.keys()) this.onTouched(short);
    return unknown;
  }

  /**
   * Whether etcd holds anything else than observed, for containers not touched since `version`: one that
   * was, or is being, written may rightly differ from an answer that began before. A key that is held
   * with value undefined is compared by its name alone.
   */
  differs(held: ReadonlyMap<string, ReadonlyMap<string, string | undefined>>, version: number): boolean {
    for (const [short, entry] of this.#entries) {
      if (entry.version > version || entry.underWay) continue;
      const keys = held.get(short);
      if ((keys?.size ?? 0) !== entry.observed.size) return true;
      for (const [key, value] of entry.observed) {
        if (!keys?.has(key) || (keys.get(key) ?? value) !== value) return true;
      }
    }
    // Tidied away means deleted: only entries of a later version can have gone, so a stranger counts
    // as a difference only if nothing at all was written since.
    if (this.#version > version) return false;
    for (const short of held.keys()) if (!this.#entries.has(short)) return true;
    return false;
  }

  #isSettled(short: string): boolean {
    return this.desired(short) !== undefined && this.changes(short).length === 0;
  }

  /** It is not known what is to be of a container. */
  #forget(short: string): void {
    const entry = this.#entry(short);
    entry.desired = undefined;
    entry.askedAt = 0;
    this.#tidy(short, entry);
  }

  #entry(short: string): Entry {
    let entry = this.#entries.get(short);
    if (entry === undefined) {
      entry = { desired: undefined, observed: new Map(), version: this.#version, underWay: false, askedAt: 0 };
      this.#entries.set(short, entry);
    }
    return entry;
  }

  /** Nothing desired and nothing observed is nothing to remember. */
  #tidy(short: string, entry: Entry): void {
    if (!entry.underWay && entry.observed.size === 0 && (entry.desired?.size ?? 0) === 0) this.#entries.delete(short);
  }
}
