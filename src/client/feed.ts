/**
 * The instances of all services, of one, or of one in one realm, read once and followed as long as at least one caller
 * wants them.
 *
 * A loop of two steps: read everything at a revision, then watch from the next one. Every end of the watch
 * (etcd restarted, compacted, cut off, silent, an expired token) leads back to the first step, and the new
 * reading finds the changes meanwhile. So there is one path for every kind of failure. Until the next
 * reading the last known instances stay: only an answer of etcd removes one.
 *
 * The service keys and the meta keys of all services are one range of etcd, with the few owner keys between them, and so
 * each change comes as a whole. Those of one service are two ranges, which `pairs.ts` brings together. A user whose role
 * does not reach the meta keys gets instances without meta.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, DiscoverError, detailsOf } from '../errors.ts';
import { below, type EtcdReader, type KeyRange, type RevisedChange } from '../etcd/reader.ts';
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
  /** The ranges to follow; each choice is for users who may not read the one before. */
  readonly #choices: readonly (readonly KeyRange[])[];
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
    this.#choices = choicesOf(below(metaPrefixOf(prefix) + within), below(servicePrefixOf(prefix) + within), within);
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

  /** Reads everything into the catalogue, which does not show it yet. */
  async #read(): Promise<{ readonly revision: Revision; readonly ranges: readonly KeyRange[] }> {
    for (const [index, ranges] of this.#choices.entries()) {
      try {
        this.catalogue.begin();
        return { revision: await this.#reader.read(ranges, (part) => this.#add(part)), ranges };
      } catch (error) {
        const isRefused = detailsOf(error).failure === 'permission-denied';
        if (!isRefused || index === this.#choices.length - 1) throw error;
      }
    }
    throw new Error('There is always a choice');
  }

  async #watch(ranges: readonly KeyRange[], revision: Revision, begun: () => void, signal: AbortSignal): Promise<void> {
    let isOver = false;
    const apply: Catalogue['apply'] = (changes) => {
      // A question of this watch may be answered after the watch has ended, and the next reading is newer.
      if (isOver) return;
      this.catalogue.apply(changes);
      this.#wake();
    };
    const pairs = new Pairs({
      prefix: this.#prefix,
      revision: BigInt(revision),
      isInstance: (serviceKey) => this.catalogue.has(serviceKey),
      look: (points) => this.#reader.look(points),
      apply,
    });
    const changed = ranges.length === 1 ? apply : (changes: readonly RevisedChange[]) => pairs.take(changes);
    try {
      await this.#reader.watch(ranges, revision, { heard: () => this.#heard(), begun, changed }, signal);
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

function choicesOf(metas: KeyRange, services: KeyRange, within: string): readonly (readonly KeyRange[])[] {
  const apart = [[metas, services], [services]];
  return within === '' ? [[{ begin: metas.begin, end: services.end }], ...apart] : apart;
}
