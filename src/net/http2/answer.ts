/**
 * The answer on one stream: the order of its parts, and the rules for its fields (RFC 9113, 8.1 to 8.3).
 *
 * Headers come in blocks: any number of interim ones, the final one, and trailers behind the body.
 * A broken rule makes the answer malformed, and concerns this stream alone.
 */

import type { Answer, Field } from './port.ts';

/** Far above the answer to a commit, which has some bytes for each of at most 128 operations. */
export const bodyBytesMax = 1 << 20;

/** Fields of HTTP/1 that speak about the connection. */
const connectionFields = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);
const nameForm = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
/** No line break, no NUL, no white space at either end. */
const valueForm = /^(?![ \t])[^\0\r\n]*(?<![ \t])$/;

export class MalformedAnswer extends Error {}

export class AnswerReader {
  #status: number | undefined;
  #headers: ReadonlyMap<string, string> = new Map();
  #trailers: ReadonlyMap<string, string> = new Map();
  /** Room that grows by doubling, because a list of pieces would let frames of one byte cost a hundred each. */
  #body: Buffer = Buffer.alloc(0);
  #bodyBytes = 0;
  #isComplete = false;

  /** The next block of fields. Throws `MalformedAnswer`. */
  fields(fields: readonly Field[], isLast: boolean): void {
    if (this.#status !== undefined) {
      if (!isLast) throw new MalformedAnswer('trailers do not end the stream');
      this.#trailers = mapOf(fields, 0);
    } else {
      const status = statusOf(fields);
      const headers = mapOf(fields, 1);
      if (status < 200) {
        if (isLast) throw new MalformedAnswer('stream ends with an interim answer');
        return;
      }
      this.#status = status;
      this.#headers = headers;
    }
    if (isLast) this.#end();
  }

  /** The next bytes of the body, copied: they may be overwritten afterwards. Throws `MalformedAnswer`. */
  data(bytes: Buffer, isLast: boolean): void {
    if (this.#status === undefined) throw new MalformedAnswer('body comes before the headers');
    const start = this.#bodyBytes;
    this.#bodyBytes += bytes.length;
    if (this.#bodyBytes > bodyBytesMax) throw new MalformedAnswer(`answer is larger than ${bodyBytesMax} bytes`);
    if (start === 0) this.#body = Buffer.from(bytes);
    else {
      if (this.#bodyBytes > this.#body.length) this.#grow();
      bytes.copy(this.#body, start);
    }
    if (isLast) this.#end();
  }

  /** The answer, once it is complete. */
  get answer(): Answer | undefined {
    if (!this.#isComplete || this.#status === undefined) return undefined;
    const body = this.#body.subarray(0, this.#bodyBytes);
    return { status: this.#status, headers: this.#headers, trailers: this.#trailers, body };
  }

  #grow(): void {
    const larger = Buffer.allocUnsafe(Math.max(this.#bodyBytes, 2 * this.#body.length));
    this.#body.copy(larger);
    this.#body = larger;
  }

  #end(): void {
    const length = this.#headers.get('content-length');
    if (length !== undefined && !(/^\d+$/.test(length) && Number(length) === this.#bodyBytes)) {
      throw new MalformedAnswer(`content-length is ${length}, and the body has ${this.#bodyBytes} bytes`);
    }
    this.#isComplete = true;
  }
}

function statusOf([first]: readonly Field[]): number {
  if (first?.[0] !== ':status') throw new MalformedAnswer('headers do not begin with :status');
  // 101 belongs to upgrades, which HTTP/2 does not have (8.6).
  if (!/^[1-9]\d\d$/.test(first[1]) || first[1] === '101') throw new MalformedAnswer(`:status is ${first[1]}`);
  return Number(first[1]);
}

/** The fields from `start` on; of a name that is repeated the last value stays. */
function mapOf(fields: readonly Field[], start: number): Map<string, string> {
  const map = new Map<string, string>();
  for (let index = start; index < fields.length; index++) {
    const [name, value] = fields[index] as Field;
    if (!nameForm.test(name)) throw new MalformedAnswer(`field name is not allowed: ${JSON.stringify(name)}`);
    if (!valueForm.test(value)) throw new MalformedAnswer(`value of ${name} is not allowed`);
    if (connectionFields.has(name)) throw new MalformedAnswer(`${name} has no place in HTTP/2`);
    map.set(name, value);
  }
  return map;
}
