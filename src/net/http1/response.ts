/**
 * Bytes of a kept-alive connection to HTTP/1.1 responses (RFC 9112). Pure.
 *
 * Only what an answer to GET can be: a body of a given length, in chunks, or up to the end of the
 * connection; interim answers before it are passed over. A response that arrives in one piece is
 * read where it lies; only what is still incomplete is copied, because the caller's buffer is
 * filled anew with the next piece.
 */

export interface Response {
  readonly status: number;
  readonly body: string;
  /** Whether the connection takes another request. */
  readonly isKept: boolean;
}

const headBytesMax = 64 << 10;
const lineBytesMax = 4 << 10;
const headEnd = Buffer.from('\r\n\r\n');
const newline = 0x0a;

/**
 * What the next byte belongs to: the head, the body (as much of it as is known to come), the line
 * break behind a chunk, the line with the size of the next, or the trailers.
 */
type Part = 'head' | 'body' | 'break' | 'size' | 'trailers';

export class ResponseReader {
  readonly #onResponse: (response: Response) => void;
  readonly #bodyBytesMax: number;
  #part: Part = 'head';
  /** Of a head or a line that is not complete yet. */
  #text = '';
  #status = 0;
  #isKept = true;
  #isChunked = false;
  /** Of the body or the chunk, bytes to come; infinite where only the end of the connection ends it. */
  #left = 0;
  #body: Buffer[] = [];
  #bodyBytes = 0;

  constructor(onResponse: (response: Response) => void, bodyBytesMax: number) {
    this.#onResponse = onResponse;
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** Whether a response has begun. */
  get isReading(): boolean {
    return this.#part !== 'head' || this.#text !== '';
  }

  /** Takes the next bytes; they may be overwritten afterwards. Throws at what is no response. */
  push(bytes: Buffer): void {
    const kept = this.#body.length;
    for (let at = 0; at < bytes.length; ) {
      if (this.#part === 'head') at = this.#readHead(bytes, at);
      else if (this.#part === 'body') at = this.#readBody(bytes, at);
      else at = this.#readLine(bytes, at);
    }
    for (let index = kept; index < this.#body.length; index++) {
      this.#body[index] = Buffer.from(this.#body[index] as Buffer);
    }
  }

  /** The connection is over: ends the response that nothing else would. */
  end(): void {
    if (this.#part === 'body' && this.#left === Number.POSITIVE_INFINITY) this.#finish();
  }

  #readHead(bytes: Buffer, start: number): number {
    let end = bytes.indexOf(headEnd, start);
    if (this.#text !== '' || end < 0) {
      // Rare: the head came in pieces. Its end may lie across two of them.
      const before = this.#text.length;
      const text = this.#text + bytes.toString('latin1', start);
      const found = text.indexOf('\r\n\r\n', Math.max(0, before - 3));
      if (found < 0) {
        if (text.length > headBytesMax) throw new Error(`head of the answer is larger than ${headBytesMax} bytes`);
        this.#text = text;
        return bytes.length;
      }
      this.#text = '';
      this.#begin(text.slice(0, found + 2));
      return start + found + headEnd.length - before;
    }
    end += headEnd.length;
    this.#begin(bytes.toString('latin1', start, end - 2));
    return end;
  }

  /** `head` ends with the line break of its last line. */
  #begin(head: string): void {
    const [, minor, status] = /^HTTP\/1\.([01]) (\d{3})[ \r]/.exec(head) ?? [];
    if (status === undefined) throw new Error('answer is not HTTP/1.1');
    this.#status = Number(status);
    if (this.#status < 200) return;
    const connection = /\r\nconnection:([^\r]*)/i.exec(head)?.[1] ?? (minor === '0' ? 'close' : '');
    this.#isKept = !/close/i.test(connection);
    const coding = /\r\ntransfer-encoding:[ \t]*([^\r]*?)[ \t]*\r/i.exec(head)?.[1];
    const length = /\r\ncontent-length:[ \t]*([^\r]*?)[ \t]*\r/i.exec(head)?.[1];
    if (coding !== undefined) {
      if (coding.toLowerCase() !== 'chunked') throw new Error('answer has a transfer coding that was not asked for');
      this.#isChunked = true;
      this.#part = 'size';
      return;
    }
    this.#part = 'body';
    this.#isChunked = false;
    if (this.#status === 204 || this.#status === 304) {
      this.#left = 0;
    } else if (length === undefined) {
      this.#left = Number.POSITIVE_INFINITY;
      this.#isKept = false;
    } else {
      if (!/^\d{1,15}$/.test(length)) throw new Error('answer has a length that is not a number');
      this.#left = Number(length);
    }
    if (this.#left === 0) this.#finish();
  }

  #readBody(bytes: Buffer, start: number): number {
    const end = Math.min(bytes.length, start + this.#left);
    this.#bodyBytes += end - start;
    if (this.#bodyBytes > this.#bodyBytesMax) throw new Error(`answer is larger than ${this.#bodyBytesMax} bytes`);
    this.#body.push(bytes.subarray(start, end));
    this.#left -= end - start;
    if (this.#left === 0) {
      if (this.#isChunked) this.#part = 'break';
      else this.#finish();
    }
    return end;
  }

  #readLine(bytes: Buffer, start: number): number {
    const end = bytes.indexOf(newline, start);
    const stop = end < 0 ? bytes.length : end;
    this.#text += bytes.toString('latin1', start, stop);
    if (this.#text.length > lineBytesMax) throw new Error('answer has a line that does not end');
    if (end < 0) return stop;
    const line = this.#text.replace(/\r$/, '');
    this.#text = '';
    this.#lineRead(line);
    return stop + 1;
  }

  #lineRead(line: string): void {
    if (this.#part === 'trailers') {
      if (line === '') this.#finish();
    } else if (this.#part === 'break') {
      if (line !== '') throw new Error('answer has a chunk that is longer than its size');
      this.#part = 'size';
    } else {
      const [, size] = /^([0-9a-f]{1,12})[ \t]*(?:;.*)?$/i.exec(line) ?? [];
      if (size === undefined) throw new Error('answer has a chunk without a size');
      this.#left = Number.parseInt(size, 16);
      this.#part = this.#left === 0 ? 'trailers' : 'body';
    }
  }

  #finish(): void {
    const [only] = this.#body;
    const body = this.#body.length === 1 && only ? only : Buffer.concat(this.#body);
    this.#body = [];
    this.#bodyBytes = 0;
    this.#part = 'head';
    this.#onResponse({ status: this.#status, body: body.toString('utf8'), isKept: this.#isKept });
  }
}
