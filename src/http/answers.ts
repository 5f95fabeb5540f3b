/**
 * Bodies of answers: made in steps, shared for a second, written at the reader's pace, and limited in all.
 *
 * An answer over a fleet may have a hundred megabytes. It is encoded a few hundred items at a time, so that the event
 * loop turns in between. All clients that ask for the same within a second get the same bytes. Each connection has one
 * slice of the answer in its buffers. The bytes that wait for all readers together have one limit: above it a large
 * answer is refused with 503, but a small answer, such as a health check, is not.
 */

import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** The parts of a body, in order. */
export type Body = readonly Buffer[];

const itemsAtOnce = 250;
const sliceBytes = 64 << 10;
/** Smaller answers are made again for each request: they cost little, and so they are always fresh. */
const sharedBytesMin = 64 << 10;
const sharedMs = 1_000;
const sharedMax = 8;
/** A reader that takes nothing for this time is disconnected. */
const stalledMs = 10_000;
/** The limit of bytes that wait for all readers together. */
export const waitingBytesMax = 64 << 20;

export const bytesOf = (body: Body): number => body.reduce((sum, { length }) => sum + length, 0);

export const jsonBody = (value: unknown): Body => [Buffer.from(`${JSON.stringify(value)}\n`)];

/**
 * `before`, then the list in brackets, then `after`. `encode` returns undefined to leave an item out. Yields to the
 * event loop between steps.
 */
export async function listBody<Item>(
  before: string,
  items: Iterable<Item>,
  encode: (item: Item) => object | undefined,
  after: string,
): Promise<Body> {
  const parts: Buffer[] = [Buffer.from(`${before}[`)];
  let texts: string[] = [];
  let isFirst = true;
  let seen = 0;
  const flush = (): void => {
    if (texts.length === 0) return;
    parts.push(Buffer.from(`${isFirst ? '' : ','}${texts.join(',')}`));
    isFirst = false;
    texts = [];
  };
  for (const item of items) {
    const value = encode(item);
    if (value !== undefined) texts.push(JSON.stringify(value));
    if (++seen % itemsAtOnce > 0) continue;
    flush();
    await nextTurn();
  }
  flush();
  parts.push(Buffer.from(`]${after}\n`));
  return parts;
}

/** Answers by request: an answer that is being made, or was made less than a second ago, serves all clients. */
export class SharedAnswers {
  readonly #shared = new Map<string, Promise<Body>>();

  get(key: string, make: () => Promise<Body>): Promise<Body> {
    const shared = this.#shared.get(key);
    if (shared !== undefined) return shared;
    const made = make();
    this.#shared.set(key, made);
    const forget = (): void => {
      if (this.#shared.get(key) === made) this.#shared.delete(key);
    };
    made.then((body) => {
      if (bytesOf(body) < sharedBytesMin) return forget();
      setTimeout(forget, sharedMs).unref();
      // The oldest answer goes: clients that have it still get it, and for others it is made again.
      if (this.#shared.size > sharedMax) this.#shared.delete([...this.#shared.keys()][0] as string);
    }, forget);
    return made;
  }
}

/** Bytes that wait for readers, those of a shared body once. */
export class WaitingBytes {
  readonly #readers = new Map<Body, number>();
  readonly #streams = new Set<{ readonly waitingBytes: number }>();
  #bytes = 0;

  get total(): number {
    let total = this.#bytes;
    for (const { waitingBytes } of this.#streams) total += waitingBytes;
    return total;
  }

  /** False: there is no room for it. Otherwise `release` has to follow. */
  hold(body: Body): boolean {
    const readers = this.#readers.get(body) ?? 0;
    if (readers === 0) {
      const bytes = bytesOf(body);
      if (bytes > sliceBytes && this.#bytes > 0 && this.total + bytes > waitingBytesMax) return false;
      this.#bytes += bytes;
    }
    this.#readers.set(body, readers + 1);
    return true;
  }

  release(body: Body): void {
    const readers = this.#readers.get(body) ?? 0;
    if (readers > 1) {
      this.#readers.set(body, readers - 1);
      return;
    }
    if (this.#readers.delete(body)) this.#bytes -= bytesOf(body);
  }

  /** Counts the bytes that wait for an event stream, until the returned function is called. */
  follow(stream: { readonly waitingBytes: number }): () => void {
    this.#streams.add(stream);
    return () => void this.#streams.delete(stream);
  }
}

/** Writes the body a slice at a time. Resolves when it is sent, or the connection has ended. */
export async function writeBody(response: ServerResponse, body: Body): Promise<void> {
  const timer = setTimeout(() => response.destroy(), stalledMs);
  const gone = new AbortController();
  response.once('close', () => {
    clearTimeout(timer);
    gone.abort();
  });
  try {
    for (const part of body) {
      for (let at = 0; at < part.length; at += sliceBytes) {
        if (response.write(part.subarray(at, at + sliceBytes))) continue;
        await once(response, 'drain', { signal: gone.signal });
        timer.refresh();
      }
    }
    response.end();
    if (!gone.signal.aborted) await once(response, 'close', { signal: gone.signal });
  } catch {
    // The reader has gone.
  }
}
