/**
 * One prefix of etcd, read once and followed as long as at least one caller wants it.
 *
 * A loop of two steps: read everything at a revision, then watch from the next one. Every end of the watch
 * (etcd restarted, compacted, cut off, silent, an expired token) leads back to the first step, and the new
 * reading finds the changes meanwhile. So there is one path for every kind of failure. Until the next
 * reading the last known instances stay: only an answer of etcd removes one.
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

  /** The keys of all services begin with `below`; `prefix` is the same or longer. */
  constructor(reader: EtcdReader, below: string, prefix: string, onChange?: InstanceListener) {
    this.catalogue = new Catalogue(below, onChange);
    this.#reader = reader;
    this.#prefix = prefix;
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

  /** Resolves after the first reading; rejects if etcd refuses it, or does not answer in time. */
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
