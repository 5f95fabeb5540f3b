/**
 * One answer that any number of readers follow, as a stream or by asking for the next version: made once for all of them.
 *
 * A version is told by its id, a hash of what it says. So a reader that comes back with an id, to this agent or to
 * another one, is sent nothing it knows. A version with the same id may still be an event: it says that the answer is
 * stale, or no longer so.
 */
import { createHash } from 'node:crypto';
import type { Body } from './answers.ts';
import type { Stream } from './streams.ts';

export interface Version {
  readonly id: string;
  readonly body: Body;
  readonly isStale: boolean;
}

/** Blocking readers come again at once; what they follow is kept that long. */
const lingerMs = 5_000;
const idLength = 16;

/** The id of what these parts say. */
export function idOf(parts: Body): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('base64url').slice(0, idLength);
}

export class Topic {
  readonly #event: string;
  readonly #closing = new AbortController();
  /** Those that have had no event yet with the id that they know. */
  readonly #streams = new Map<Stream, string | undefined>();
  readonly #waiting = new Set<() => void>();
  readonly #onEnd: () => void;
  #current: Version | undefined;
  #linger: NodeJS.Timeout | undefined;

  /** `produce` gives every version until its signal is aborted; `onEnd` is called once there are no more. */
  constructor(event: string, produce: (signal: AbortSignal) => AsyncIterable<Version>, onEnd: () => void) {
    this.#event = event;
    this.#onEnd = onEnd;
    void this.#run(produce(this.#closing.signal));
  }

  /** Sends the current version, unless its id is `known`, and every later one. */
  follow(stream: Stream, known: string | undefined): void {
    if (stream.signal.aborted) return;
    this.#streams.set(stream, known);
    stream.signal.addEventListener('abort', () => {
      this.#streams.delete(stream);
      this.#rest();
    });
    if (this.#current !== undefined) this.#send(stream, this.#current);
  }

  /** The first version with another id than `known`; once the signal is aborted, the current one. */
  async other(known: string, signal: AbortSignal): Promise<Version | undefined> {
    while (!this.#closing.signal.aborted && !signal.aborted && (this.#current?.id ?? known) === known) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#waiting.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        this.#waiting.add(done);
        signal.addEventListener('abort', done);
      });
    }
    this.#rest();
    return this.#current;
  }

  close(): void {
    this.#closing.abort();
  }

  async #run(versions: AsyncIterable<Version>): Promise<void> {
    try {
      for await (const version of versions) {
        this.#current = version;
        for (const stream of this.#streams.keys()) this.#send(stream, version);
        for (const done of [...this.#waiting]) done();
      }
    } catch {
      // Only the first reading can fail, and it has succeeded before. Readers come back.
    }
    this.#closing.abort();
    clearTimeout(this.#linger);
    for (const stream of this.#streams.keys()) stream.end();
    for (const done of [...this.#waiting]) done();
    this.#onEnd();
  }

  #send(stream: Stream, { id, body, isStale }: Version): void {
    const isKnown = this.#streams.get(stream) === id && !isStale;
    this.#streams.set(stream, undefined);
    if (!isKnown) stream.sendBody(this.#event, body, id);
  }

  #rest(): void {
    clearTimeout(this.#linger);
    if (this.#streams.size + this.#waiting.size > 0) return;
    this.#linger = setTimeout(() => {
      if (this.#streams.size + this.#waiting.size === 0) this.close();
    }, lingerMs).unref();
  }
}
