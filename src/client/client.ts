/**
 * The client: the services in etcd, for programs that call them.
 *
 * The first query about a service reads it and follows it from then on; every later query is answered
 * from memory. While etcd is away the client gives the last known answers, and `stale` tells how old they
 * are. A service without a query for ten minutes is no longer followed. Until then each name, even a
 * name without an instance, costs a watch; after `services()` one watch follows everything.
 *
 *     const client = new DiscoverClient({ endpoints: ['etcd-1:2379'] });
 *     const instance = await client.pick('web', { realm: 'production' });
 */

import { DiscoverError } from '../errors.ts';
import { EtcdReader } from '../etcd/reader.ts';
import type { Instance } from '../layout/instance.ts';
import { type Difference, differenceOf, type Selector } from './catalogue.ts';
import { Feed, type Stale } from './feed.ts';
import { accessOf, type ClientOptions, type Place, type Preference } from './options.ts';
import { nearestOf, Turns, weightOf } from './pick.ts';

/** The time in which `pick` passes over a reported instance. */
const passedOverMs = 10_000;
const sweepMs = 60_000;
const timesUnusedMax = 10;

export interface Query extends Selector {
  readonly signal?: AbortSignal | undefined;
}

export interface PickQuery extends Omit<Query, 'states'> {
  /**
   * `host`: an instance of the host in the option `here`, else one of its zone, else any. `zone`: one of the zone, else any.
   */
  readonly prefer?: Preference | undefined;
}

/** Turns, as long as there is no other report and none has run out. */
interface TurnsUntil {
  readonly turns: Turns<Instance>;
  readonly untilMs: number;
  readonly reports: number;
}

/** A set, and how it differs from the one the same iteration gave before. */
export interface Update extends Difference {
  readonly instances: readonly Instance[];
}

export class DiscoverClient implements AsyncDisposable {
  readonly #prefix: string;
  readonly #here: Place;
  readonly #reader: EtcdReader;
  readonly #feeds = new Map<string, Feed>();
  readonly #sweeper: NodeJS.Timeout;
  /** The turns of a set, by what the caller prefers. */
  readonly #turns = new WeakMap<readonly Instance[], Map<Preference | undefined, TurnsUntil>>();
  /** URLs that were reported, and until when they are passed over. */
  readonly #failed = new Map<string, number>();
  /** The number of reports. */
  #reports = 0;
  #isClosed = false;

  /** Throws a `DiscoverError` of code `CONFIG_INVALID`. No connection is made before the first query. */
  constructor(options: ClientOptions = {}) {
    const { prefix, ...access } = accessOf(options);
    this.#prefix = prefix;
    this.#here = options.here ?? {};
    this.#reader = new EtcdReader(access);
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs).unref();
  }

  /** Keys among those followed that are no instances. */
  get skipped(): number {
    return [...this.#feeds.values()].reduce((sum, { catalogue }) => sum + catalogue.skipped, 0);
  }

  /** While etcd cannot be followed: how old the oldest answers are, and why. */
  get stale(): Stale | undefined {
    const all = [...this.#feeds.values()].flatMap(({ stale }) => stale ?? []);
    return all.sort((one, other) => other.ageMs - one.ageMs)[0];
  }

  /**
   * The instances of a service, in no order; empty if there are none. Rejects if nothing is known yet
   * and etcd refuses (`ETCD_REFUSED`) or has not answered for ten seconds (`ETCD_UNAVAILABLE`).
   */
  async resolve(name: string, { signal, ...selector }: Query = {}): Promise<readonly Instance[]> {
    signal?.throwIfAborted();
    const feed = this.#feedOf(name, selector.realm);
    await feed.known(signal);
    return feed.catalogue.select(name, selector);
  }

  /**
   * The set, once it is known, and again whenever it has changed. A slow consumer gets the latest set, with all
   * changes since the set before. Ends when the signal is aborted or the client closed; throws only if nothing
   * is known yet and etcd refuses.
   */
  watch(name: string, { signal, ...selector }: Query = {}): AsyncGenerator<Update, void, undefined> {
    this.#feedOf(name, selector.realm);
    return this.#updates(name, selector, signal);
  }

  /**
   * One instance; undefined if there is none. Each has turns in proportion to its weight (1 unless given), beginning with
   * the lowest priority. An instance of weight 0 has a turn only where all are of weight 0, or were reported. Rejects with
   * `CONFIG_INVALID` if the option `here` does not have what is preferred.
   */
  async pick(name: string, { prefer, ...query }: PickQuery = {}): Promise<Instance | undefined> {
    if (prefer !== undefined && typeof this.#here[prefer] !== 'string') {
      throw new DiscoverError('CONFIG_INVALID', `To prefer its own ${prefer} a client needs the option here.${prefer}`);
    }
    const instances = await this.resolve(name, query);
    return instances.length === 0 ? undefined : this.#turnsOf(instances, prefer).next();
  }

  /** Has `pick` pass over an instance for ten seconds: it did not answer, or not as it should. */
  reportFailed({ url }: Instance): void {
    this.#failed.set(url, performance.now() + passedOverMs);
    this.#reports++;
  }

  #turnsOf(instances: readonly Instance[], prefer: Preference | undefined): Turns<Instance> {
    const all = this.#turns.get(instances) ?? new Map<Preference | undefined, TurnsUntil>();
    const known = all.get(prefer);
    const nowMs = performance.now();
    if (known !== undefined && known.reports === this.#reports && nowMs < known.untilMs) return known.turns;
    let untilMs = Number.POSITIVE_INFINITY;
    const isReported = ({ url }: Instance): boolean => {
      const atMs = this.#failed.get(url) ?? 0;
      if (atMs > nowMs) untilMs = Math.min(untilMs, atMs);
      return atMs > nowMs;
    };
    const turns = new Turns(nearestOf(instances, isReported, prefer, this.#here), weightOf);
    this.#turns.set(instances, all.set(prefer, { turns, untilMs, reports: this.#reports }));
    return turns;
  }

  /** The names of all services, with the number of instances. Once asked, it follows everything there is. */
  async services({ signal, ...selector }: Query = {}): Promise<ReadonlyMap<string, number>> {
    signal?.throwIfAborted();
    const feed = this.#feedOf();
    await feed.known(signal);
    return feed.catalogue.counts(selector);
  }

  /** Ends all iterations and connections. Queries under way reject with `CLIENT_CLOSED`. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#sweeper);
    for (const feed of this.#feeds.values()) feed.close();
    this.#reader.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async *#updates(name: string, selector: Selector, signal: AbortSignal | undefined) {
    // Once more: the feed may have been closed before the first turn.
    const feed = this.#feedOf(name, selector.realm);
    let last: readonly Instance[] | undefined;
    feed.watchers++;
    try {
      while (!feed.isClosed && !signal?.aborted) {
        const instances = feed.isKnown ? feed.catalogue.select(name, selector) : undefined;
        if (instances !== undefined && instances !== last) {
          const difference = differenceOf(last ?? [], instances);
          const isNews = last === undefined || Object.values(difference).some((part) => part.length > 0);
          last = instances;
          if (isNews) yield { instances, ...difference };
        } else {
          if (feed.refusal) throw feed.refusal;
          await feed.next(signal);
        }
      }
    } finally {
      feed.watchers--;
      feed.timesUnused = 0;
    }
  }

  /** A wider feed that is known already, else the narrowest feed for the query. */
  #feedOf(name?: string, realm?: string): Feed {
    if (this.#isClosed) throw new DiscoverError('CLIENT_CLOSED', 'The client is closed');
    const prefixes = [''];
    for (const segment of [name, realm]) {
      if (segment === undefined) break;
      if (segment === '' || segment.includes('/')) {
        throw new DiscoverError('NAME_INVALID', `A service or realm has a name without slash, got "${segment}"`);
      }
      prefixes.push(`${prefixes.at(-1)}${segment}/`);
    }
    const narrowest = prefixes.at(-1) as string;
    const wider = prefixes.map((prefix) => this.#feeds.get(prefix)).find((feed) => feed?.isKnown);
    const feed = wider ?? this.#feeds.get(narrowest) ?? new Feed(this.#reader, this.#prefix, narrowest);
    if (wider === undefined) this.#feeds.set(narrowest, feed);
    feed.timesUnused = 0;
    return feed;
  }

  /** Closes feeds that were not used lately, and forgets reports that are over. */
  #sweep(): void {
    for (const [prefix, feed] of this.#feeds) {
      if (feed.watchers > 0 || ++feed.timesUnused <= timesUnusedMax) continue;
      feed.close();
      this.#feeds.delete(prefix);
    }
    const nowMs = performance.now();
    for (const [url, untilMs] of this.#failed) if (untilMs <= nowMs) this.#failed.delete(url);
  }
}
