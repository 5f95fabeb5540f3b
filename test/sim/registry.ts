/**
 * An etcd in memory, as far as discover uses one: for the simulation, and for the demo where no etcd
 * can be installed.
 *
 * `MemoryStore` is the server, as etcd 3.4 was seen to behave: a transaction is applied as a whole in
 * one revision or not at all, a lease that ends takes its keys with it in one revision, and what
 * changes nothing leaves the revision where it is. `MemoryRegistry` is one client's connection to it,
 * and the place where calls go wrong; several may share a store.
 *
 * A watch tells what has changed since its revision, until it is cut or the revision was compacted.
 *
 * Not here: users, and any delay that no fault asked for.
 */

import { type Clock, sleep } from '../../src/actor/clock.ts';
import { DiscoverError } from '../../src/errors.ts';
import {
  absent,
  type FoundKey,
  type KeyReader,
  type LeaseId,
  type LeaseState,
  leaseIdOf,
  noLease,
  type OwnerKey,
  type Ownership,
  type Registry,
  type Revision,
  revisionOf,
} from '../../src/etcd/registry.ts';
import type { Change } from '../../src/layout/keys.ts';

/** One put or, where `value` is undefined, delete as it took effect; `lease` is what the key hangs, or hung, on. */
export interface Applied extends Change {
  readonly revision: number;
  readonly lease: LeaseId;
}

interface Lease {
  readonly grantedSeconds: number;
  readonly keys: Set<string>;
  endsAt: number;
  cancel: () => void;
}

const operationsMax = 128;
const bytesMax = 1.5 * 1024 * 1024;
const callTimeoutMs = 2_000;
const pageKeys = 100;
const refused = (detail: string) => new DiscoverError('ETCD_REFUSED', `etcd: ${detail}`);

export class MemoryStore {
  revision = 1;
  /** All that ever changed, oldest first. */
  readonly history: Applied[] = [];
  readonly keys = new Map<string, { value: string; lease: LeaseId; revision: number }>();
  readonly leases = new Map<LeaseId, Lease>();
  /** Called after each revision, with what changed in it. */
  onChange: (changes: readonly Applied[]) => void = () => {};
  /** Keys that the user's role may not write. */
  denied: (key: string) => boolean = () => false;
  /** Keys that the user's role may not read. As etcd since 3.4.26, a lease that holds one does not tell its keys. */
  unreadable: (key: string) => boolean = () => false;
  /** Puts and grants are refused; deletes, renewals and revocations are not. */
  outOfSpace = false;
  /** Whose transaction was applied last, by the name of its connection. */
  writer = '';
  /** What was before is not to be had. */
  compactedAt = 0;
  /** The watches, and how each is cut. */
  readonly watches = new Map<(changes: readonly Applied[]) => void, (error: Error) => void>();
  /** A lease is ending: what goes now goes with it. */
  isRevoking = false;
  readonly #clock: Clock;
  #granted = 7_587_000_000_000_000;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  grant(ttlSeconds: number): LeaseId {
    if (this.outOfSpace) throw refused('database space exceeded');
    const id = leaseIdOf(String(++this.#granted));
    // etcd grants no less than two seconds.
    this.leases.set(id, { grantedSeconds: Math.max(2, ttlSeconds), keys: new Set(), endsAt: 0, cancel: () => {} });
    this.keepAlive(id);
    return id;
  }

  keepAlive(id: LeaseId): number {
    const lease = this.leases.get(id);
    if (lease === undefined) return 0;
    lease.cancel();
    lease.endsAt = this.#clock.now() + lease.grantedSeconds * 1000;
    lease.cancel = this.#clock.after(lease.grantedSeconds * 1000, () => this.revoke(id));
    return lease.grantedSeconds;
  }

  lease(id: LeaseId): LeaseState {
    const lease = this.leases.get(id);
    if (lease === undefined) return { ttlSeconds: -1, grantedTtlSeconds: 0, keys: [] };
    const ttlSeconds = Math.floor((lease.endsAt - this.#clock.now()) / 1000);
    return { ttlSeconds, grantedTtlSeconds: lease.grantedSeconds, keys: [...lease.keys] };
  }

  /** Ends a lease, in time or before it, and with it the keys that hang on it. */
  revoke(id: LeaseId): void {
    const lease = this.leases.get(id);
    if (lease === undefined) return;
    lease.cancel();
    this.isRevoking = true;
    this.apply([...lease.keys].map((key) => ({ key, value: undefined })));
    this.isRevoking = false;
    this.leases.delete(id);
  }

  /** Without a leader no lease ends. */
  stopLeases(): void {
    for (const lease of this.leases.values()) lease.cancel();
  }

  /** A new leader gives every lease its whole time again. */
  renewLeases(): void {
    for (const id of this.leases.keys()) this.keepAlive(id);
  }

  /** Applies all changes if `guard` was last modified at `revision` (`absent`: if it is not there). */
  transact(guard: string, revision: Revision, changes: readonly Change[], lease: LeaseId): boolean {
    const hasPuts = changes.some(({ value }) => value !== undefined);
    const bytes = changes.reduce((sum, { key, value = '' }) => sum + Buffer.byteLength(key + value) + 32, 0);
    if (changes.length > operationsMax) throw refused('too many operations in txn request');
    if (new Set(changes.map(({ key }) => key)).size < changes.length) throw refused('duplicate key in txn request');
    if (bytes > bytesMax) throw refused('request is too large');
    if (changes.some(({ key }) => this.denied(key))) throw refused('permission denied');
    if (hasPuts && this.outOfSpace) throw refused('database space exceeded');
    const found = this.keys.get(guard);
    if ((found === undefined ? absent : revisionOf(String(found.revision))) !== revision) return false;
    if (hasPuts && !this.leases.has(lease)) throw new DiscoverError('LEASE_LOST', 'etcd: requested lease not found');
    this.apply(changes, lease);
    return true;
  }

  /** Applies changes in one revision, guarded by nothing: also what an operator does by hand. */
  apply(changes: readonly Change[], lease: LeaseId = noLease): void {
    const effective = changes.filter(({ key, value }) => value !== undefined || this.keys.has(key));
    if (effective.length === 0) return;
    const revision = ++this.revision;
    const applied = effective.map(({ key, value }): Applied => {
      const before = this.keys.get(key)?.lease ?? noLease;
      this.leases.get(before)?.keys.delete(key);
      if (value === undefined) {
        this.keys.delete(key);
        return { revision, key, value, lease: before };
      }
      this.keys.set(key, { value, lease, revision });
      this.leases.get(lease)?.keys.add(key);
      return { revision, key, value, lease };
    });
    this.history.push(...applied);
    this.onChange(applied);
    for (const tell of [...this.watches.keys()]) tell(applied);
  }

  /** Every watch ends. */
  cutWatches(): void {
    for (const cut of [...this.watches.values()])
      cut(new DiscoverError('ETCD_UNAVAILABLE', 'etcd watch: stream ended'));
  }

  compact(): void {
    this.compactedAt = this.revision;
  }

  /** What stands from one key up to another, in order. */
  range(from: string, to: string): FoundKey[] {
    const found = [...this.keys].filter(([key]) => key >= from && key < to);
    if (this.unreadable(from) || found.some(([key]) => this.unreadable(key))) throw refused('permission denied');
    return found.map(([key, { value, lease }]) => ({ key, value, lease })).sort((a, b) => (a.key < b.key ? -1 : 1));
  }
}

export type RegistryCall = Exclude<keyof Registry | keyof KeyReader, 'close'>;

/**
 * What goes wrong with a call. Its caller gets an error: at once where it is `unavailable`, `refused`,
 * `ambiguous` (it took effect) or `late` (it takes effect after `ms`), at its deadline where it `hang`s.
 * But `slow`, it takes effect after `requestMs`, and the answer arrives `replyMs` later.
 */
export type RegistryFault =
  | { readonly kind: 'unavailable' | 'refused' | 'hang' | 'ambiguous' }
  | { readonly kind: 'late'; readonly ms: number }
  | { readonly kind: 'slow'; readonly requestMs: number; readonly replyMs: number };

export class MemoryRegistry implements Registry, KeyReader {
  readonly store: MemoryStore;
  /** Asked at each call. */
  fault: (call: RegistryCall) => RegistryFault | undefined = () => undefined;
  readonly #clock: Clock;
  readonly #name: string;

  constructor(clock: Clock, store = new MemoryStore(clock), name = '') {
    this.#clock = clock;
    this.store = store;
    this.#name = name;
  }

  owner = (ownerKey: string): Promise<OwnerKey | undefined> =>
    this.#call('owner', ({ keys }) => {
      const found = keys.get(ownerKey);
      return found && { ...found, revision: revisionOf(String(found.revision)) };
    });

  grant = (ttlSeconds: number) => this.#call('grant', (store) => store.grant(ttlSeconds));
  keepAlive = (lease: LeaseId) => this.#call('keepAlive', (store) => store.keepAlive(lease));
  lease = (lease: LeaseId, withKeys: boolean): Promise<LeaseState> =>
    this.#call('lease', (store) => {
      const state = store.lease(lease);
      if (withKeys && state.keys.some(store.unreadable)) throw refused('permission denied');
      return { ...state, ...(!withKeys && { keys: [] }) };
    });
  claim = (ownerKey: string, value: string, lease: LeaseId, expected: Revision): Promise<Ownership | undefined> =>
    this.#call('claim', (store) => {
      const isOurs = store.transact(ownerKey, expected, [{ key: ownerKey, value }], lease);
      return isOurs ? { lease, revision: revisionOf(String(store.revision)) } : undefined;
    });
  // '0' follows the slash that ends a prefix.
  readPrefix = (prefix: string) => this.#call('readPrefix', (store) => store.range(prefix, prefix.replace(/\/$/, '0')));
  readPage = (prefix: string, after: string) =>
    this.#call('readPage', (store) => {
      const all = store.range(prefix, prefix.replace(/\/$/, '0')).map(({ key }) => key);
      const keys = all.filter((key) => key > after).slice(0, pageKeys);
      return { keys, hasMore: keys.at(-1) !== all.at(-1) };
    });
  readKeys = (keys: readonly string[]) =>
    this.#call('readKeys', (store) => keys.flatMap((key) => store.range(key, `${key};`)));
  commit = (ownerKey: string, ownership: Ownership, changes: readonly Change[]) =>
    this.#call('commit', (store) => store.transact(ownerKey, ownership.revision, changes, ownership.lease));
  revoke = (lease: LeaseId) => this.#call('revoke', (store) => store.revoke(lease));
  readBoth = (key: string, take: (found: Change) => void) =>
    this.#call('readBoth', (store) => {
      for (const found of [...store.range(key, `${key}\0`), ...store.range(`${key}/`, `${key}0`)]) take(found);
      return revisionOf(String(store.revision));
    });
  async watchBoth(
    key: string,
    revision: Revision,
    changed: (changes: readonly Change[]) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { store } = this;
    const fault = this.fault('watchBoth');
    if (fault !== undefined && fault.kind !== 'slow')
      throw new DiscoverError('ETCD_UNAVAILABLE', 'etcd watch: no answer');
    if (fault?.kind === 'slow') await sleep(this.#clock, fault.requestMs);
    if (Number(revision) < store.compactedAt) throw new DiscoverError('ETCD_UNAVAILABLE', 'etcd watch: compacted');
    const isOwn = (change: Change) => change.key === key || change.key.startsWith(`${key}/`);
    await new Promise<void>((resolve, reject) => {
      const end = (error?: Error): void => {
        store.watches.delete(tell);
        if (error === undefined) resolve();
        else reject(error);
      };
      const tell = (applied: readonly Applied[]): void => {
        const own = applied.filter(isOwn);
        if (own.length === 0) return;
        const hand = () => store.watches.has(tell) && changed(own);
        if (fault?.kind === 'slow') this.#clock.after(fault.replyMs, hand);
        else hand();
      };
      store.watches.set(tell, end);
      signal.addEventListener('abort', () => end());
      const missed = store.history.filter((one) => one.revision > Number(revision));
      if (missed.length > 0) tell(missed);
    });
  }
  close(): void {}

  async #call<Result>(call: RegistryCall, apply: (store: MemoryStore) => Result): Promise<Result> {
    const fault = this.fault(call);
    const take = (): Result => {
      this.store.writer = this.#name;
      return apply(this.store);
    };
    if (fault === undefined) return take();
    if (fault.kind === 'refused') throw refused(call);
    if (fault.kind === 'slow') {
      await sleep(this.#clock, fault.requestMs);
      const result = take();
      await sleep(this.#clock, fault.replyMs);
      return result;
    }
    const attempt = () => {
      try {
        take();
      } catch {
        // Refused, but nobody listens any more.
      }
    };
    if (fault.kind === 'ambiguous') attempt();
    if (fault.kind === 'late') this.#clock.after(fault.ms, attempt);
    if (fault.kind === 'hang') await sleep(this.#clock, callTimeoutMs);
    throw new DiscoverError('ETCD_UNAVAILABLE', `etcd ${call}: no answer`);
  }
}
