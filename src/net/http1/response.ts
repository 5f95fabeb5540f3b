/**
 * Bytes of a connection to HTTP/1.1 responses to GET (RFC 9112). Pure.
 *
 * A body has a given length, comes in chunks, or goes on to the end of the connection. Mistakes that the
 * RFC lets a client repair are refused here: two lengths, a length beside chunks, a line that ends with LF
 * alone, space before a colon. Bytes behind a response belong to no request; they end the connection.
 *
 * A response in one piece is read in the caller's buffer. Other responses are copied, because the next piece
 * overwrites that buffer.
 */

import { type Framing, framingOf } from './head.ts';

export interface Response {
  readonly status: number;
  readonly body: string;
  /** Whether the connection takes another request. */
  readonly isKept: boolean;
}

const headBytesMax = 64 << 10;
const lineBytesMax = 4 << 10;
const trailersBytesMax = 64 << 10;
const headEnd = Buffer.from('\r\n\r\n');
const newline = 0x0a;

/** The part that the next byte belongs to. `break` is the line end behind a chunk, `size` the line before the next. */
type Part = 'head' | 'body' | 'break' | 'size' | 'trailers';

export class ResponseReader {
  readonly #bodyBytesMax: number;
  readonly #onBody: ((bytes: Buffer) => void) | undefined;
  #part: Part = 'head';
  /** The beginning of a head or a line that is not complete yet. */
  #text = '';
  #framing: Framing | undefined;
  /** Bytes of the body or the chunk that are still to come; infinite if only the end of the connection ends it. */
  #left = 0;
  /** The whole body in the caller's buffer, or room that grows by doubling: chunks may be of one byte. */
  #body: Buffer = Buffer.alloc(0);
  #bodyBytes = 0;
  #trailersBytes = 0;
  #response: Response | undefined;

  /** `onBody` takes the bytes of the body as they come, of whatever status; the response then has none. */
  constructor(bodyBytesMax: number, onBody?: (bytes: Buffer) => void) {
    this.#bodyBytesMax = bodyBytesMax;
    this.#onBody = onBody;
  }

  /** Whether a response has begun. */
  get isReading(): boolean {
    return this.#part !== 'head' || this.#text !== '';
  }

  /** Takes the next bytes; they may be overwritten later. Returns the response that they end. Throws if malformed. */
  push(bytes: Buffer): Response | undefined {
    let at = 0;
    while (at < bytes.length && this.#response === undefined) {
      if (this.#part === 'head') at = this.#readHead(bytes, at);
      else if (this.#part === 'body') at = this.#readBody(bytes, at);
      else at = this.#readLine(bytes, at);
    }
    const response = this.#response;
    this.#response = undefined;
    if (response !== undefined && at < bytes.length) return { ...response, isKept: false };
    return response;
  }

  /** The connection is over. Returns the response that ends with the connection. */
  end(): Response | undefined {
    if (this.#part === 'body' && this.#left === Number.POSITIVE_INFINITY) this.#finish();
    return this.#response;
  }

  #readHead(bytes: Buffer, start: number): number {
    const end = bytes.indexOf(headEnd, start);
    if (this.#text === '' && end >= 0) {
      if (end - start > headBytesMax) this.#headTooLarge();
      this.#begin(bytes.toString('latin1', start, end + 2));
      return end + headEnd.length;
    }
    // Rare: the head comes in pieces. Its end may lie across two of them.
    const before = this.#text.length;
    const text = this.#text + bytes.toString('latin1', start);
    const found = text.indexOf('\r\n\r\n', Math.max(0, before - 3));
    if (found > headBytesMax || (found < 0 && text.length > headBytesMax + 3)) this.#headTooLarge();
    if (found < 0) {
      this.#text = text;
      return bytes.length;
    }
    this.#text = '';
    this.#begin(text.slice(0, found + 2));
    return start + found + headEnd.length - before;
  }

  #begin(head: string): void {
    const framing = framingOf(head);
    // An interim response; another follows.
    if (framing.status < 200) return;
    this.#framing = framing;
    this.#part = framing.length === 'chunked' ? 'size' : 'body';
    if (framing.length === 'chunked') return;
    this.#left = framing.length;
    if (this.#left > this.#bodyBytesMax && this.#left !== Number.POSITIVE_INFINITY) this.#tooLarge();
    if (this.#left === 0) this.#finish();
  }

  #readBody(bytes: Buffer, start: number): number {
    const end = Math.min(bytes.length, start + this.#left);
    const isWhole = this.#bodyBytes === 0 && this.#framing?.length === end - start;
    if (this.#onBody !== undefined) this.#onBody(bytes.subarray(start, end));
    else if (isWhole) this.#body = bytes.subarray(start, end);
    else this.#keep(bytes.subarray(start, end));
    if (isWhole && this.#onBody === undefined) this.#bodyBytes = end - start;
    this.#left -= end - start;
    if (this.#left === 0) {
      if (this.#framing?.length === 'chunked') this.#part = 'break';
      else this.#finish();
    }
    return end;
  }

  #keep(piece: Buffer): void {
    const bytes = this.#bodyBytes + piece.length;
    if (bytes > this.#bodyBytesMax) this.#tooLarge();
    if (bytes > this.#body.length) {
      const room = Buffer.allocUnsafe(Math.max(bytes, 2 * this.#body.length));
      this.#body.copy(room, 0, 0, this.#bodyBytes);
      this.#body = room;
    }
    piece.copy(this.#body, this.#bodyBytes);
    this.#bodyBytes = bytes;
  }

  #headTooLarge(): never {
    throw new Error(`head of the answer is larger than ${headBytesMax} bytes`);
  }

  #tooLarge(): never {
    throw new Error(`answer is larger than ${this.#bodyBytesMax} bytes`);
  }

  #readLine(bytes: Buffer, start: number): number {
    const end = bytes.indexOf(newline, start);
    const stop = end < 0 ? bytes.length : end;
    this.#text += bytes.toString('latin1', start, stop);
    if (this.#text.length > lineBytesMax) throw new Error('answer has a line that does not end');
    if (end < 0) return stop;
    if (!this.#text.endsWith('\r')) throw new Error('answer has a line that ends with LF alone');
    const line = this.#text.slice(0, -1);
    this.#text = '';
    this.#lineRead(line);
    return stop + 1;
  }

  #lineRead(line: string): void {
    if (this.#part === 'trailers') {
      this.#trailersBytes += line.length + 2;
      if (this.#trailersBytes > trailersBytesMax) throw new Error('answer has trailers that do not end');
      if (line === '') this.#finish();
    } else if (this.#part === 'break') {
      if (line !== '') throw new Error('answer has a chunk that is longer than its size');
      this.#part = 'size';
    } else {
      const [, size] = /^([0-9a-f]{1,12})[ \t]*(?:;[^\r]*)?$/i.exec(line) ?? [];
      if (size === undefined) throw new Error('answer has a chunk without a size');
      this.#left = Number.parseInt(size, 16);
      this.#part = this.#left === 0 ? 'trailers' : 'body';
    }
  }

  #finish(): void {
    const { isKept = false, status = 0 } = this.#framing ?? {};
    this.#response = { status, body: this.#body.toString('utf8', 0, this.#bodyBytes), isKept };
    this.#body = Buffer.alloc(0);
    this.#bodyBytes = 0;
    this.#trailersBytes = 0;
    this.#part = 'head';
  }
}
