/**
 * Header blocks of HTTP/2 (RFC 7541), without a dynamic table on either side: the peer is told that
 * ours has no room, and we put nothing into its own. Pure.
 *
 * Names and values that gRPC gives a meaning are printable ASCII, so of the Huffman code only the
 * symbols up to 19 bits are known; a text that has others ends where the first of them stands.
 */

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
  .map((entry): [name: string, value: string] => {
    const [, name = '', value = ''] = /^(\S+) ?(.*)$/.exec(entry) ?? [];
    return [name, value];
  });

/**
 * The Huffman code (appendix B) is canonical: among symbols of one length, and from one length to the
 * next, codes count up. So the symbols by length say it all.
 */
const symbolsByLength = new Map([
  [5, '012aceiost'],
  [6, ' %-./3456789=A_bdfghlmnpru'],
  [7, ':BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz'],
  [8, '&*,;XZ'],
  [10, '!"()?'],
  [11, "'+|"],
  [12, '#>'],
  [13, '\0$@[]~'],
  [14, '^}'],
  [15, '<`{'],
  [19, '\\\u00c3\u00d0'],
]);
const longestCode = 19;

const huffmanFlag = 0x80;
/** Far above any index or length in a block of a frame. */
const numberMax = 1 << 20;

/** A block of literals that are not to be put into a table. */
export function encodeHeaders(headers: Iterable<readonly [name: string, value: string]>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of headers) {
    // "Never indexed", so that no proxy on the way puts a token into a table either.
    parts.push(Buffer.from([0x10]), literal(name), literal(value));
  }
  return Buffer.concat(parts);
}

/** Adds what a block says to `headers`; of a name that is repeated the last value stays. Throws at what is no block. */
export function decodeHeaders(block: Buffer, headers: Map<string, string>): void {
  const reader = new BlockReader(block);
  while (!reader.isAtEnd) {
    const first = reader.peek();
    if (first >= 0x80) {
      const [name, value] = entryOf(reader.integer(7));
      headers.set(name, value);
    } else if (first >= 0x20 && first < 0x40) {
      // The size of a table in which there never is anything.
      reader.integer(5);
    } else {
      const index = reader.integer(first >= 0x40 ? 6 : 4);
      const name = index === 0 ? reader.text() : entryOf(index)[0];
      headers.set(name, reader.text());
    }
  }
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
      if (value > numberMax) throw new Error('header block has a number that is too large');
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

function decodeHuffman(bytes: Buffer): string {
  let text = '';
  let code = 0;
  let length = 0;
  /** The smallest code of this length. */
  let first = 0;
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    code = (code << 1) | (((bytes[bit >> 3] as number) >> (7 - (bit & 7))) & 1);
    length++;
    first <<= 1;
    const symbols = symbolsByLength.get(length) ?? '';
    if (code - first < symbols.length) {
      text += symbols[code - first];
      [code, length, first] = [0, 0, 0];
    } else {
      first += symbols.length;
      if (length > longestCode) return text;
    }
  }
  // What is left are the ones that fill the last byte.
  return text;
}

function entryOf(index: number): [name: string, value: string] {
  const entry = staticTable[index - 1];
  if (entry === undefined) throw new Error(`header block names entry ${index} of a table that has none`);
  return entry;
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([integer(bytes.length), bytes]);
}

/** With a prefix of 7 bits, and the bit for a Huffman code clear. */
function integer(value: number): Buffer {
  if (value < 0x7f) return Buffer.from([value]);
  const bytes = [0x7f];
  let rest = value - 0x7f;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}
