/**
 * All hosts as etcd has them: for the page, for scripts and for Prometheus's discovery.
 *
 * One watch follows the services of every host for all queries: it begins with the first query and ends ten minutes
 * after the last one. Instances are counted and indexed by host as they change, so only the query for all instances
 * walks over all of them, and it does so in steps. After the first reading every query has an answer: while etcd cannot be read, the answer is
 * the last known one, and `stale` says since when and why.
 */

import type { Catalogue, Selector } from '../client/catalogue.ts';
import { Feed } from '../client/feed.ts';
import { DiscoverError, messageOf } from '../errors.ts';
import type { EtcdAccess } from '../etcd/access.ts';
import { EtcdReader } from '../etcd/reader.ts';
import type { FoundKey } from '../etcd/registry.ts';
import type { Instance } from '../layout/instance.ts';
import { noLease, parseOwner } from '../layout/owner.ts';
import type { HostRow, Stale } from './shapes.ts';

/** Results are shared for one second. */
const freshMs = 1_000;
/** The longest wait of a query for a new reading of the owners, if there is an older reading. */
const patienceMs = 500;
const unusedMs = 10 * 60_000;
/** A service with so many instances has at most one event in this time, because each event has all instances. */
const manyInstances = 1_000;
const manyInstancesEveryMs = 1_000;

interface Following {
  readonly reader: EtcdReader;
  readonly feed: Feed;
}

export class Fleet {
  readonly #access: EtcdAccess & { readonly prefix: string };
  readonly #readOwners: () => Promise<readonly FoundKey[]>;
  #following: Following | undefined;
  #askedAtMs = 0;
  #watchers = 0;
  readonly #sweeper: NodeJS.Timeout;
  #isClosed = false;
  /** The owners as read last. */
  #owners: { readonly atMs: number; readonly found: readonly FoundKey[] } | undefined;
  #reading: Promise<readonly FoundKey[]> | undefined;
  readonly #ownersStale = new StaleSince();
  readonly #feedStale = new StaleSince();

  /** `readOwners` reads all owner keys. */
  constructor(access: EtcdAccess & { readonly prefix: string }, readOwners: () => Promise<readonly FoundKey[]>) {
    this.#access = access;
    this.#readOwners = readOwners;
    this.#sweeper = setInterval(() => this.#sweep(), unusedMs / 10).unref();
  }

  /** While the services cannot be followed. */
  get stale(): Stale | undefined {
    const stale = this.#following?.feed.stale;
    return this.#feedStale.update(stale && { ageMs: stale.ageMs, cause: stale.cause.message });
  }

  get isStale(): boolean {
    return this.#following?.feed.stale !== undefined;
  }

  /** What is known at this moment; undefined before the first reading. */
  get catalogue(): Catalogue | undefined {
    const feed = this.#following?.feed;
    return feed?.isKnown ? feed.catalogue : undefined;
  }

  /** Follows the services from now on, until the returned function is called. */
  hold(): () => void {
    this.#following ??= this.#startFollowing();
    this.#watchers++;
    return () => {
      this.#watchers--;
      this.#askedAtMs = performance.now();
    };
  }

  /** Resolves after the first reading, and in any case after this time. */
  async ready(limitMs: number): Promise<void> {
    const signal = AbortSignal.timeout(limitMs);
    await this.#known(signal).catch(() => {});
  }

  /** What is known, which is kept up to date while it is held; after the first reading. */
  async known(): Promise<Catalogue> {
    return (await this.#known()).feed.catalogue;
  }

  /** Names with the number of instances. */
  async services(selector: Selector): Promise<ReadonlyMap<string, number>> {
    return (await this.#known()).feed.catalogue.counts(selector);
  }

  /** The instances of a service; empty if there are none. */
  async instancesOf(name: string, selector: Selector): Promise<readonly Instance[]> {
    return (await this.#known()).feed.catalogue.select(name, selector);
  }

  /** Every instance of every service, in no order. May be walked in steps. */
  async all(): Promise<Iterable<Instance>> {
    const { feed } = await this.#known();
    const names = [...feed.catalogue.counts({}).keys()];
    return (function* () {
      for (const name of names) yield* feed.catalogue.select(name, {});
    })();
  }

  /** Also those that are withheld, where their host tells of them. */
  async instancesOn(host: string): Promise<Iterable<Instance>> {
    const { catalogue } = (await this.#known()).feed;
    return [...catalogue.instancesOn(host), ...[...catalogue.withheld()].filter((one) => one.host === host)];
  }

  /** The set, and again whenever the set or `stale` has changed, until the signal is aborted. */
  async *follow(name: string, selector: Selector, signal: AbortSignal): AsyncGenerator<readonly Instance[]> {
    const { feed } = await this.#known(signal);
    let last: readonly Instance[] | undefined;
    let lastSince: string | undefined;
    this.#watchers++;
    try {
      while (!feed.isClosed && !signal.aborted) {
        const instances = feed.catalogue.select(name, selector);
        const since = this.stale?.since;
        if (instances !== last || since !== lastSince) {
          last = instances;
          lastSince = since;
          yield instances;
          if (instances.length > manyInstances) await pause(manyInstancesEveryMs, signal);
        } else {
          await feed.next(signal);
        }
      }
    } finally {
      this.#watchers--;
      this.#askedAtMs = performance.now();
    }
  }

  /** Every host with an owner key or an instance, by name. */
  async hosts(): Promise<{ readonly hosts: HostRow[]; readonly stale: Stale | undefined }> {
    const [{ feed }, owners] = await Promise.all([this.#known(), this.#readFresh()]);
    const instances = new Map(feed.catalogue.hosts());
    const rows = new Map<string, HostRow>();
    for (const { key, value, lease } of owners) {
      const host = key.slice(key.lastIndexOf('/') + 1);
      rows.set(host, rowOf(host, value, lease, instances.get(host) ?? 0));
    }
    // Keys that were written by hand, or by another program.
    const ownerless = { alive: false, version: null, ip: null, startedAt: null, released: false };
    for (const [host, count] of instances)
      if (!rows.has(host)) rows.set(host, { host, ...ownerless, instances: count });
    const sorted = [...rows.values()].sort((one, other) => (one.host < other.host ? -1 : 1));
    return { hosts: sorted, stale: earliest(this.stale, this.#ownersStale.now) };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#sweeper);
    this.#stopFollowing();
  }

  /** Resolves after the first reading; rejects if etcd refuses it, or does not answer in time. */
  async #known(signal?: AbortSignal): Promise<Following> {
    if (this.#isClosed) throw new DiscoverError('CLIENT_CLOSED', 'The endpoint is closed');
    this.#askedAtMs = performance.now();
    this.#following ??= this.#startFollowing();
    const following = this.#following;
    await following.feed.known(signal);
    return following;
  }

  #startFollowing(): Following {
    const reader = new EtcdReader(this.#access);
    return { reader, feed: new Feed(reader, this.#access.prefix) };
  }

  #stopFollowing(): void {
    this.#following?.feed.close();
    this.#following?.reader.close();
    this.#following = undefined;
  }

  #sweep(): void {
    if (this.#watchers === 0 && performance.now() - this.#askedAtMs > unusedMs) this.#stopFollowing();
  }

  /** Owners that were read at most a second ago. If etcd is slow or away: the owners that were read last. */
  async #readFresh(): Promise<readonly FoundKey[]> {
    const last = this.#owners;
    if (last !== undefined && performance.now() - last.atMs < freshMs) return last.found;
    this.#reading ??= this.#readOwnersAnew().finally(() => {
      this.#reading = undefined;
    });
    if (last === undefined) return this.#reading;
    const reading = this.#reading.catch(() => last.found);
    return Promise.race([reading, pause(patienceMs).then(() => this.#owners?.found ?? last.found)]);
  }

  async #readOwnersAnew(): Promise<readonly FoundKey[]> {
    try {
      const found = await this.#readOwners();
      this.#owners = { atMs: performance.now(), found };
      this.#ownersStale.update(undefined);
      return found;
    } catch (error) {
      const last = this.#owners;
      if (last !== undefined) {
        this.#ownersStale.update({ ageMs: performance.now() - last.atMs, cause: messageOf(error) });
      }
      throw error;
    }
  }
}

/** The moment from which something is stale. The moment stays the same until the staleness is over. */
class StaleSince {
  #now: Stale | undefined;

  get now(): Stale | undefined {
    return this.#now && { ...this.#now, ageMs: Date.now() - Date.parse(this.#now.since) };
  }

  update(stale: { readonly ageMs: number; readonly cause: string } | undefined): Stale | undefined {
    if (stale === undefined) this.#now = undefined;
    else {
      const since = this.#now?.since ?? new Date(Date.now() - stale.ageMs).toISOString();
      this.#now = { since, ageMs: Math.round(stale.ageMs), cause: stale.cause };
    }
    return this.#now;
  }
}

function earliest(one: Stale | undefined, other: Stale | undefined): Stale | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return one.since < other.since ? one : other;
}

function rowOf(host: string, value: string, lease: string, instances: number): HostRow {
  const record = parseOwner(value);
  const text = (word: unknown) => (typeof word === 'string' ? word : null);
  return {
    host,
    alive: lease !== noLease,
    version: text(record?.version),
    ip: text(record?.ip),
    startedAt: text(record?.started),
    released: record?.released === true,
    instances,
  };
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
    if (signal?.aborted) done();
  });
}
