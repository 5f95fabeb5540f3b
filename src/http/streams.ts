/**
 * Server-sent events: answers that go on. Who reads too slowly is let go and starts anew, so that a stalled browser
 * costs a bounded amount of memory.
 */

import type { ServerResponse } from 'node:http';

/** What may wait for one reader. A first event with 10,000 containers takes about 4 MB. */
const waitingBytesMax = 16 << 20;
/** Proxies end what is silent. */
const heartbeatMs = 15_000;

export class Stream {
  readonly #response: ServerResponse;
  readonly #closing = new AbortController();

  constructor(response: ServerResponse) {
    this.#response = response;
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' });
    // Who is sent away now comes back in a moment, not at once.
    response.write('retry: 1000\n\n');
    const heartbeat = setInterval(() => this.#write(':\n\n'), heartbeatMs);
    response.on('close', () => {
      clearInterval(heartbeat);
      this.#closing.abort();
    });
  }

  /** Aborted when the reader has gone. */
  get signal(): AbortSignal {
    return this.#closing.signal;
  }

  /** `json` has no line breaks, as JSON.stringify makes it. */
  send(event: string, json: string): void {
    this.#write(`event: ${event}\ndata: ${json}\n\n`);
  }

  end(): void {
    this.#response.end();
  }

  #write(text: string): void {
    if (this.#response.writableLength > waitingBytesMax) this.#response.destroy();
    else this.#response.write(text);
  }
}

/** One thing that several may follow: made ready once for all of them, and only while anybody does. */
export class Broadcast {
  readonly #streams = new Set<Stream>();
  readonly #begin: () => () => void;
  #end: () => void = () => {};

  /** `begin` is called for the first who follows, what it returns when the last has gone. */
  constructor(begin: () => () => void) {
    this.#begin = begin;
  }

  add(stream: Stream): void {
    if (this.#streams.size === 0) this.#end = this.#begin();
    this.#streams.add(stream);
    stream.signal.addEventListener('abort', () => {
      this.#streams.delete(stream);
      if (this.#streams.size === 0) this.#end();
    });
  }

  send(event: string, value: unknown): void {
    const json = JSON.stringify(value);
    for (const stream of this.#streams) stream.send(event, json);
  }
}
