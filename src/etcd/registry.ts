/**
 * etcd as discover uses it: owner key, lease, readings, guarded commits.
 *
 * Only reads are repeated, at the next member (`members.ts` gives the reason). Each call has a deadline. The effect of
 * a failed call is unknown: etcd may apply it long after the deadline. So every write is guarded by the owner key's
 * modification revision. A new claim raises the revision, and etcd then refuses every write from before the claim.
 */

import type { Change } from '../layout/keys.ts';
import type { LeaseId } from '../layout/owner.ts';

export { type LeaseId, leaseIdOf, noLease } from '../layout/owner.ts';

declare const brand: unique symbol;

/** A revision of etcd's store: a 64-bit number in decimal. */
export type Revision = string & { readonly [brand]: 'Revision' };

/** A revision as etcd writes it. */
export const revisionOf = (decimal: string): Revision => decimal as Revision;

/** The modification revision of a key that is not there. */
export const absent = revisionOf('0');

/** The owner key as found. */
export interface OwnerKey {
  readonly value: string;
  readonly lease: LeaseId;
  readonly revision: Revision;
}

export interface LeaseState {
  /** Whole seconds left, rounded down; below 0 when the lease is gone. */
  readonly ttlSeconds: number;
  readonly grantedTtlSeconds: number;
  readonly keys: readonly string[];
}

export interface FoundKey {
  readonly key: string;
  readonly value: string;
  readonly lease: LeaseId;
}

export interface KeyPage {
  readonly keys: readonly string[];
  readonly hasMore: boolean;
}

/** The right to write for a host. Every transaction compares its proof, the revision of the owner key. */
export interface Ownership {
  readonly lease: LeaseId;
  /** Modification revision of the owner key as we wrote it. */
  readonly revision: Revision;
}

/** The ownership at this moment, if there is one: the lease keeper gives it, and any part may ask to verify it. */
export interface CurrentOwnership {
  ownership: Ownership | undefined;
}

export interface Registry {
  owner(ownerKey: string): Promise<OwnerKey | undefined>;
  grant(ttlSeconds: number): Promise<LeaseId>;
  /** Seconds the lease has now; 0 or below when it is gone. */
  keepAlive(lease: LeaseId): Promise<number>;
  lease(lease: LeaseId, withKeys: boolean): Promise<LeaseState>;
  /** Writes the owner key if its revision is still `expected` (`absent`: if there is none). Undefined: it was not. */
  claim(ownerKey: string, value: string, lease: LeaseId, expected: Revision): Promise<Ownership | undefined>;
  /** All keys below a prefix. */
  readPrefix(prefix: string): Promise<FoundKey[]>;
  /** Some keys below a prefix, in order, those behind `after` first: a page, and whether more follow. */
  readPage(prefix: string, after: string): Promise<KeyPage>;
  /** For each key: the key itself, and the keys that continue it after a colon. */
  readKeys(keys: readonly string[]): Promise<FoundKey[]>;
  /** All changes in one transaction, or none. False: the ownership is over. */
  commit(ownerKey: string, ownership: Ownership, changes: readonly Change[]): Promise<boolean>;
  revoke(lease: LeaseId): Promise<void>;
  close(): void;
}

/** Follows one key and all keys below it, as in a folder: `a` and `a/…`, and not `ab`. */
export interface KeyReader {
  /** All of them as they are at one revision, which it resolves with. */
  readBoth(key: string, take: (found: Change) => void): Promise<Revision>;
  /** Tells of every change after the revision. Rejects when the watch is over; resolves once aborted. */
  watchBoth(
    key: string,
    revision: Revision,
    changed: (changes: readonly Change[]) => void,
    signal: AbortSignal,
  ): Promise<void>;
}

/** A key at the time of a reading. A later write or delete gives the key another revision. */
export interface KeyRevision {
  readonly key: string;
  readonly lease: LeaseId;
  readonly revision: Revision;
}

/** Calls about the keys of all hosts. This process does not own them, so every deletion compares their revisions. */
export interface Fleet {
  /** All keys below a prefix, without their values, in pages. A change meanwhile may be seen or not. */
  keyRevisions(prefix: string): Promise<KeyRevision[]>;
  /** Deletes the keys if all of `unchanged` are as they were (`absent`: not there). False: nothing was done. */
  removeIf(unchanged: readonly Pick<KeyRevision, 'key' | 'revision'>[], keys: readonly string[]): Promise<boolean>;
  /** Writes the keys under the same condition. */
  putIf(
    unchanged: readonly Pick<KeyRevision, 'key' | 'revision'>[],
    changes: readonly Change[],
    lease: LeaseId,
  ): Promise<boolean>;
}

/** etcd takes 128 operations a request unless told otherwise; one is left for programs that add to a transaction. */
export const operationsMax = 127;
/** etcd takes 1.5 MiB a request unless told otherwise. */
export const bytesMax = 1_400_000;
