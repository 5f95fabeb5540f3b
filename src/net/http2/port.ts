/**
 * The port of this folder: one request, one answer, by HTTP/2.
 *
 * The client of commits knows these types only, so that another implementation (the tests have one on
 * node:http2) can take the place of ours. Every call settles within its `timeoutMs`. A call that failed
 * may have been processed by the server, unless its error says `isUnprocessed`.
 */

export type Field = readonly [name: string, value: string];

/** The head of a request. A caller that sends the same head again passes the same object: it is encoded once. */
export interface RequestHead {
  readonly method: string;
  readonly path: string;
  /** Names are in lower case. */
  readonly fields: readonly Field[];
}

export interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** Empty if the server sent none. */
  readonly trailers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

export interface UnaryClient {
  /** Rejects with a `CallError` only. */
  call(head: RequestHead, body: Buffer, timeoutMs: number): Promise<Answer>;
  /** Fails the calls under way. A call after it opens a new connection. */
  close(): void;
}

/**
 * The reason why a call has no answer: its time was over; the server reset the stream; the answer breaks the rules or
 * is too large; the connection could not be opened, was closed, or broke the rules.
 */
export type CallFailure = 'timeout' | 'reset' | 'malformed' | 'connection';

export class CallError extends Error {
  readonly failure: CallFailure;
  /** The server has said that it did nothing, or the request was never sent. */
  readonly isUnprocessed: boolean;

  constructor(failure: CallFailure, message: string, isUnprocessed = false) {
    super(message);
    this.name = 'CallError';
    this.failure = failure;
    this.isUnprocessed = isUnprocessed;
  }
}
