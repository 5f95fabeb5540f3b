/**
 * Server-sent events: answers that go on. A reader that is too slow is disconnected and starts anew, so that a stalled
 * browser costs a bounded amount of memory; when all readers together are too slow, those with much to read go first.
 */

import type { ServerResponse } from 'node:http';
import { type Body, type WaitingBytes, waitingBytesMax } from './answers.ts';
import { blockOf, streamHead } from './gzip.ts';

/** Bytes that may wait for one reader. A first event with 10,000 containers takes about 4 MB. */
const readerBytesMax = 16 << 20;
/** Bytes that may wait for one reader while the limit for all readers together is reached. */
const readerShareBytes = 1 << 20;
/** Proxies end silent connections. */
const heartbeatMs = 15_000;
/** A disconnected reader comes back after a second, not at once. */
const begin = Buffer.from('retry: 1000\n\n');
const heartbeat = Buffer.from(':\n\n');

export class Stream {
  readonly #response: ServerResponse;
  readonly #waiting: WaitingBytes;
  readonly #closing = new AbortController();
  readonly #isGzip: boolean;
  /** What a thread still compresses, and all that comes after it. */
  readonly #queue: { readonly bytes: number; readonly block: Buffer | Promise<Buffer> }[] = [];
  #queuedBytes = 0;

  constructor(response: ServerResponse, waiting: WaitingBytes, { isGzip = false } = {}) {
    this.#response = response;
    this.#waiting = waiting;
    this.#isGzip = isGzip;
    // The reader may have left while its first event was made; then `close` has been emitted already.
    if (response.closed || response.destroyed) {
      this.#closing.abort();
      return;
    }
    const forget = waiting.follow(this);
    if (isGzip) response.setHeader('Content-Encoding', 'gzip');
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' });
    if (isGzip) response.write(streamHead);
    this.write(begin);
    let isStalled = false;
    const timer = setInterval(() => {
      // The reader has taken nothing since the last heartbeat.
      if (isStalled && response.writableNeedDrain) response.destroy();
      isStalled = response.writableNeedDrain;
      this.write(heartbeat);
    }, heartbeatMs);
    response.on('drain', () => {
      isStalled = false;
    });
    response.on('close', () => {
      clearInterval(timer);
      forget();
      this.#closing.abort();
    });
  }

  /** Aborted when the reader has gone. */
  get signal(): AbortSignal {
    return this.#closing.signal;
  }

  get waitingBytes(): number {
    return this.#response.writableLength + this.#queuedBytes;
  }

  send(event: string, json: string): void {
    this.write(eventOf(event, json));
  }

  /** Takes a body of JSON without line breaks but the last. */
  sendBody(event: string, body: Body, id?: string): void {
    const head = `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: `;
    this.#write([Buffer.from(head), ...body, Buffer.from('\n')]);
  }

  /** Takes bytes that several streams may share. */
  write(bytes: Buffer): void {
    this.#write([bytes]);
  }

  #write(parts: Body): void {
    if (this.#closing.signal.aborted) return;
    const isTooSlow =
      this.waitingBytes > readerBytesMax ||
      (this.waitingBytes > readerShareBytes && this.#waiting.total > waitingBytesMax);
    if (isTooSlow) this.#response.destroy();
    else if (!this.#isGzip) for (const bytes of parts) this.#response.write(bytes);
    else for (const bytes of parts) this.#writeBlock(bytes.length, blockOf(bytes));
  }

  /** In the order of the calls. */
  #writeBlock(bytes: number, block: Buffer | Promise<Buffer>): void {
    if (this.#queue.length === 0 && Buffer.isBuffer(block)) {
      this.#response.write(block);
      return;
    }
    this.#queue.push({ bytes, block });
    this.#queuedBytes += bytes;
    if (this.#queue.length === 1) void this.#drain();
  }

  async #drain(): Promise<void> {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const block = await next.block;
      if (!this.#closing.signal.aborted && !this.#response.writableEnded) this.#response.write(block);
      this.#queue.shift();
      this.#queuedBytes -= next.bytes;
    }
  }

  end(): void {
    this.#response.end();
  }
}

/** `json` has no line breaks, as JSON.stringify makes it. */
export function eventOf(event: string, json: string): Buffer {
  return Buffer.from(`event: ${event}\ndata: ${json}\n\n`);
}

/** One source that several streams follow: its events are made once for all, and only while there are streams. */
export class Broadcast {
  readonly #streams = new Set<Stream>();
  readonly #begin: () => () => void;
  #end: () => void = () => {};

  /** `begin` is called for the first stream. The function that it returns is called after the last one. */
  constructor(begin: () => () => void) {
    this.#begin = begin;
  }

  add(stream: Stream): void {
    if (stream.signal.aborted) return;
    if (this.#streams.size === 0) this.#end = this.#begin();
    this.#streams.add(stream);
    stream.signal.addEventListener('abort', () => {
      this.#streams.delete(stream);
      if (this.#streams.size === 0) this.#end();
    });
  }

  send(event: string, value: object): void {
    this.sendText(event, JSON.stringify(value));
  }

  sendText(event: string, json: string): void {
    const bytes = eventOf(event, json);
    for (const stream of this.#streams) stream.write(bytes);
  }
}
