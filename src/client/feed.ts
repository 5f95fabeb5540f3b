/**
 * One prefix of etcd, read once and followed for as long as it is wanted, however many want it.
 *
 * A loop of two steps: read everything at a revision, then watch from the next. Whatever ends the watch
 * (etcd restarted, compacted, cut off, silent, a token that has expired) leads back to the first step,
 * and reading anew finds what happened meanwhile. So there is one path for every kind of trouble, and
 * until it leads to a reading, what was known last stays as it is: only etcd's own word takes anything away.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, DiscoverError } from '../errors.ts';
import type { EtcdReader } from '../etcd/reader.ts';
import type { Change } from '../layout/keys.ts';
import { Catalogue, type InstanceListener } from './catalogue.ts';

/** Between two tries: doubled each time, and drawn from the upper half so that readers do not return as one. */
const retryFirstMs = 100;
const retryCapMs = 2_000;
/** For queries while nothing is known yet. */
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
  readonly #closing = new AbortController();
  readonly #waiting = new Set<() => void>();
  #isKnown = false;
  #heardAt = 0;
  #failure: DiscoverError | undefined;

  /** `below` is what the keys of all services begin with; `prefix` is that or longer. */
  constructor(reader: EtcdReader, below: string, prefix: string, onChange?: InstanceListener) {
    this.catalogue = new Catalogue(below, onChange);
    this.#reader = reader;
    this.#prefix = prefix;
    void this.#follow(this.#closing.signal);
  }

  /** Whether etcd has ever said what there is. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** How old the answers are, once known, while etcd cannot be followed. */
  get stale(): Stale | undefined {
    if (!this.#isKnown || this.#failure === undefined) return undefined;
    return { ageMs: performance.now() - this.#heardAt, cause: this.#failure };
  }

  /** Resolves when it is known what there is; rejects when etcd will not say, or has not in time. */
  async known(signal: AbortSignal | undefined): Promise<void> {
    if (this.#isKnown) return;
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#wake();
    }, firstAnswerMs);
    try {
      while (!this.#isKnown) {
        signal?.throwIfAborted();
        if (this.isClosed) throw new DiscoverError('CLIENT_CLOSED', 'The client is closed');
        if (isLate || this.refusal) throw this.#failure ?? new DiscoverError('ETCD_UNAVAILABLE', 'No answer in time');
        await this.next(signal);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** What etcd has said where it will not tell. */
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
    const listener = {
      heard: () => {
        this.#heardAt = performance.now();
      },
      begun: () => {
        failures = 0;
      },
      changed: (changes: readonly Change[]) => {
        this.catalogue.apply(changes);
        this.#wake();
      },
    };
    while (!signal.aborted) {
      try {
        const { revision, found } = await this.#reader.read(this.#prefix);
        if (signal.aborted) return;
        listener.heard();
        this.#isKnown = true;
        this.#failure = undefined;
        this.catalogue.replace(found);
        this.#wake();
        await this.#reader.watch(this.#prefix, revision, listener, signal);
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

  #wake(): void {
    for (const done of [...this.#waiting]) done();
  }
}
