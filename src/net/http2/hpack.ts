/**
 * Header blocks of HTTP/2 (RFC 7541). Pure.
 *
 * The decoder has a dynamic table of 4,096 bytes, the size before any setting, so it does not depend on
 * the peer's obedience. The table is part of the connection: each block changes it, also the block of a
 * stream that no call waits for. The encoder uses no dynamic table.
 */

import { decodeHuffman } from './huffman.ts';
import type { Field } from './port.ts';

/** The static table (appendix A), from index 1. Where an entry has a value, it follows a space. */
const staticTable = [
  ':authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https',
  ':status 200|:status 204|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset',
  'accept-encoding gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow',
  'authorization|cache-control|content-disposition|content-encoding|content-language|content-length',
  'content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match',
  'if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards',
  'proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie',
  'strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate',
]
  .join('|')
  .split('|')
  .map((entry): Field => {
    const [, name = '', value = ''] = /^(\S+) ?(.*)$/.exec(entry) ?? [];
    return [name, value];
  });

/** The bytes that the RFC adds to the length of name and value for each entry. */
const entryOverheadBytes = 32;
export const tableBytesMax = 4_096;
/** The limit for the fields of one block, by `sizeOf`: an index of one byte can mean 4 KiB. */
export const listBytesMax = 64 << 10;
const huffmanFlag = 0x80;
/** Far above any index or length in a block of allowed size. */
const numberMax = 1 << 20;

export class HeaderDecoder {
  /** The newest first: an index counts from the newest. */
  readonly #table: Field[] = [];
  #tableBytes = 0;
  #tableBytesMax = tableBytesMax;

  /** The fields of a block, in order. Throws at a malformed block; the connection must end then. */
  decode(block: Buffer): Field[] {
    const fields: Field[] = [];
    const reader = new BlockReader(block);
    let listBytes = 0;
    while (!reader.isAtEnd) {
      const first = reader.peek();
      if (first >= 0x20 && first < 0x40) {
        if (fields.length > 0) throw new Error('change of the table size is not at the beginning of the block');
        this.#resize(reader.integer(5));
        continue;
      }
      const field = this.#field(reader, first);
      listBytes += sizeOf(field);
      if (listBytes > listBytesMax) throw new Error(`list of headers is above ${listBytesMax} bytes`);
      fields.push(field);
    }
    return fields;
  }

  /** The dynamic table, for tests: the newest first. */
  get table(): readonly Field[] {
    return this.#table;
  }

  #field(reader: BlockReader, first: number): Field {
    if (first >= 0x80) return this.#entry(reader.integer(7));
    if (first < 0x20) return this.#literal(reader, 4);
    const field = this.#literal(reader, 6);
    this.#add(field);
    return field;
  }

  #entry(index: number): Field {
    const entry = index <= staticTable.length ? staticTable[index - 1] : this.#table[index - staticTable.length - 1];
    if (entry === undefined) throw new Error(`header block names entry ${index}, which no table has`);
    return entry;
  }

  #literal(reader: BlockReader, indexBits: number): Field {
    const index = reader.integer(indexBits);
    const name = index === 0 ? reader.text() : this.#entry(index)[0];
    return [name, reader.text()];
  }

  /** An entry larger than the table empties it, which is no error (4.4). */
  #add(field: Field): void {
    this.#tableBytes += sizeOf(field);
    this.#table.unshift(field);
    this.#evict();
  }

  #resize(bytes: number): void {
    if (bytes > tableBytesMax) throw new Error(`table of ${bytes} bytes is above the limit`);
    this.#tableBytesMax = bytes;
    this.#evict();
  }

  #evict(): void {
    while (this.#tableBytes > this.#tableBytesMax) {
      const oldest = this.#table.pop();
      if (oldest !== undefined) this.#tableBytes -= sizeOf(oldest);
    }
  }
}

/** The size of a field as the RFCs count it, in a table and in a list of headers. */
export function sizeOf([name, value]: Field): number {
  return name.length + value.length + entryOverheadBytes;
}

/** Announces that the peer's table stays empty. It must begin the block after a setting that makes the table smaller. */
export const emptyTable = Buffer.from([0x20]);

/** A block of indexed fields and of literals that stay out of every table. */
export function encodeHeaders(fields: Iterable<Field>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of fields) {
    const whole = staticTable.findIndex((entry) => entry[0] === name && entry[1] === value);
    if (whole >= 0) {
      parts.push(integer(0x80, 7, whole + 1));
      continue;
    }
    // "Never indexed", so that no proxy on the way puts a token into a table either.
    const index = staticTable.findIndex((entry) => entry[0] === name) + 1;
    parts.push(integer(0x10, 4, index));
    if (index === 0) parts.push(literal(name));
    parts.push(literal(value));
  }
  return Buffer.concat(parts);
}

class BlockReader {
  readonly #block: Buffer;
  #at = 0;

  constructor(block: Buffer) {
    this.#block = block;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#block.length;
  }

  peek(): number {
    const byte = this.#block[this.#at];
    if (byte === undefined) throw new Error('header block is cut short');
    return byte;
  }

  /** An integer that begins in the last `bits` bits of the next byte. */
  integer(bits: number): number {
    const full = 2 ** bits - 1;
    let value = this.peek() & full;
    this.#at++;
    if (value < full) return value;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.peek();
      this.#at++;
      value += (byte & 0x7f) * scale;
      // Zeros could go on without end, and the value would not show it.
      if (value > numberMax || scale > numberMax) throw new Error('header block has a number that is too large');
      if (byte < 0x80) return value;
    }
  }

  text(): string {
    const isCoded = (this.peek() & huffmanFlag) !== 0;
    const length = this.integer(7);
    const end = this.#at + length;
    if (end > this.#block.length) throw new Error('header block is cut short');
    const bytes = this.#block.subarray(this.#at, end);
    this.#at = end;
    return isCoded ? decodeHuffman(bytes) : bytes.toString('latin1');
  }
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([integer(0, 7, bytes.length), bytes]);
}

/** An integer whose first byte has `pattern` before its last `bits` bits (5.1). */
function integer(pattern: number, bits: number, value: number): Buffer {
  const full = 2 ** bits - 1;
  if (value < full) return Buffer.from([pattern | value]);
  const bytes = [pattern | full];
  let rest = value - full;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}
