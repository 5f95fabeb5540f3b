/**
 * The instances of all services, of one, or of one in one realm, read once and followed as long as at least one caller
 * wants them.
 *
 * A loop of two steps: read everything at a revision, then watch from the next one. Every end of the watch
 * (etcd restarted, compacted, cut off, silent, an expired token) leads back to the first step, and the new
 * reading finds the changes meanwhile. So there is one path for every kind of failure. Until the next
 * reading the last known instances stay: only an answer of etcd removes one.
 *
 * The service keys and the meta keys of all services are watched as one range of etcd, with the few owner keys between
 * them, and so each change comes as a whole. Those of one service are two ranges, which `pairs.ts` brings together; so are
 * all if the user's role does not reach the whole range. If it does not reach the meta keys, instances have no meta.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, DiscoverError, detailsOf } from '../errors.ts';
import { below, type EtcdReader, type KeyRange, type WatchListener } from '../etcd/reader.ts';
import type { Revision } from '../etcd/registry.ts';
import { type Change, metaPrefixOf, servicePrefixOf } from '../layout/keys.ts';
import { Catalogue } from './catalogue.ts';
import { Pairs } from './pairs.ts';

/** Between two tries: doubled each time, and drawn from the upper half so that readers do not return as one. */
const retryFirstMs = 100;
const retryCapMs = 2_000;
/** For queries while nothing is known yet: how long etcd may be silent. */
const firstAnswerMs = 10_000;

export interface Stale {
  /** Since etcd was last heard. */
  readonly ageMs: number;
  readonly cause: DiscoverError;
}

/** @internal */
export class Feed {
  readonly catalogue: Catalogue;
  /** Iterations under way. */
  watchers = 0;
  /** Sweeps of the client since the last query, while there was no watcher. */
  timesUnused = 0;
  readonly #reader: EtcdReader;
  readonly #prefix: string;
  readonly #metas: KeyRange;
  readonly #services: KeyRange;
  /** Both together, if that is a range without the keys of other services. */
  readonly #whole: KeyRange | undefined;
  readonly #closing = new AbortController();
  readonly #waiting = new Set<() => void>();
  #isKnown = false;
  #heardAt = 0;
  #failure: DiscoverError | undefined;

  /** `prefix` is that of etcd; `within` is empty, `<service>/` or `<service>/<realm>/`. */
  constructor(reader: EtcdReader, prefix: string, within = '') {
    this.catalogue = new Catalogue(prefix);
    this.#reader = reader;
    this.#prefix = prefix;
    this.#metas = below(metaPrefixOf(prefix) + within);
    this.#services = below(servicePrefixOf(prefix) + within);
    this.#whole = within === '' ? { begin: this.#metas.begin, end: this.#services.end } : undefined;
    void this.#follow(this.#closing.signal);
  }

  /** Whether there has been a first reading. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Age of the answers in ms, and the cause, while etcd cannot be followed; undefined before the first reading. */
  get stale(): Stale | undefined {
    if (!this.#isKnown || this.#failure === undefined) return undefined;
    return { ageMs: performance.now() - this.#heardAt, cause: this.#failure };
  }

  /** Resolves after the first reading; rejects if etcd refuses it, or is silent for too long, however much there is to read. */
  async known(signal: AbortSignal | undefined): Promise<void> {
    const askedAt = performance.now();
    const leftMs = (): number => Math.max(askedAt, this.#heardAt) + firstAnswerMs - performance.now();
    while (!this.#isKnown) {
      signal?.throwIfAborted();
      if (this.isClosed) throw new DiscoverError('CLIENT_CLOSED', 'The client is closed');
      if (leftMs() <= 0 || this.refusal)
        throw this.#failure ?? new DiscoverError('ETCD_UNAVAILABLE', 'No answer in time');
      const timer = setTimeout(() => this.#wake(), leftMs());
      await this.next(signal);
      clearTimeout(timer);
    }
  }

  /** The refusal of etcd, if etcd has refused the first reading. */
  get refusal(): DiscoverError | undefined {
    return !this.#isKnown && codeOf(this.#failure) === 'ETCD_REFUSED' ? this.#failure : undefined;
  }

  /** Resolves when something may have changed here, or the signal is aborted. */
  next(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.add(done);
      signal?.addEventListener('abort', done);
    });
  }

  close(): void {
    this.#closing.abort();
    this.#wake();
  }

  async #follow(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      try {
        const { revision, ranges } = await this.#read();
        if (signal.aborted) return;
        this.#heard();
        this.#isKnown = true;
        this.#failure = undefined;
        this.catalogue.adopt();
        this.#wake();
        const begun = (): void => {
          failures = 0;
        };
        await this.#watch(ranges, revision, begun, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#failure = error as DiscoverError;
        this.#wake();
        const ceilingMs = Math.min(retryCapMs, retryFirstMs * 2 ** failures++);
        // Cut short when closed.
        await sleep(ceilingMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
      }
    }
  }

  /** Reads everything into the catalogue, which does not show it yet; resolves with the ranges that were read. */
  async #read(): Promise<{ readonly revision: Revision; readonly ranges: readonly KeyRange[] }> {
    const read = async (...ranges: readonly KeyRange[]) => {
      this.catalogue.begin();
      return { ranges, revision: await this.#reader.read(ranges, (part) => this.#add(part)) };
    };
    try {
      return await read(this.#metas, this.#services);
    } catch (error) {
      if (!isDenied(error)) throw error;
      return await read(this.#services);
    }
  }

  /** Follows the ranges, as one if it can. */
  async #watch(ranges: readonly KeyRange[], revision: Revision, begun: () => void, signal: AbortSignal): Promise<void> {
    const apply: Catalogue['apply'] = (changes) => {
      this.catalogue.apply(changes);
      this.#wake();
    };
    const follow = (those: readonly KeyRange[], changed: WatchListener['changed']): Promise<void> =>
      this.#reader.watch(those, revision, { heard: () => this.#heard(), begun, changed }, signal);
    if (ranges.length === 1) return follow(ranges, apply);
    if (this.#whole !== undefined) {
      try {
        return await follow([this.#whole], apply);
      } catch (error) {
        if (!isDenied(error)) throw error;
      }
    }
    let isOver = false;
    const pairs = new Pairs({
      prefix: this.#prefix,
      revision: BigInt(revision),
      isInstance: (serviceKey) => this.catalogue.has(serviceKey),
      look: (points) => this.#reader.look(points),
      // A question may be answered after the watch has ended, and the next reading is newer.
      apply: (changes) => !isOver && apply(changes),
    });
    try {
      return await follow(ranges, (changes) => pairs.take(changes));
    } finally {
      isOver = true;
    }
  }

  #add(part: readonly Change[]): void {
    this.#heard();
    this.catalogue.add(part);
  }

  #heard(): void {
    this.#heardAt = performance.now();
  }

  #wake(): void {
    for (const done of [...this.#waiting]) done();
  }
}

const isDenied = (error: unknown): boolean => detailsOf(error).failure === 'permission-denied';
