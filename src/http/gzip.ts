/**
 * Compression, for readers that accept gzip. What several readers have in common is compressed once for all of them.
 *
 * An event stream is one member of gzip without an end. Each event is compressed by itself and ends at a full flush, so its
 * compressed bytes fit into any stream at any place, and no stream needs a compressor of its own (some 260 kB).
 */
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { constants, createGzip, deflateRaw, deflateRawSync, type ZlibOptions } from 'node:zlib';
import { type Body, bytesOf } from './answers.ts';

/** Smaller answers fit into one packet as they are. */
export const gzipBytesMin = 1_400;
/** From here on a thread of the pool compresses, and time matters more than bytes. */
const largeBytes = 64 << 10;
const { Z_BEST_SPEED, Z_FULL_FLUSH } = constants;

export function acceptsGzip({ headers: { 'accept-encoding': accepted = '' } }: IncomingMessage): boolean {
  const found = /(?:^|,)\s*gzip\s*(?:;\s*q=([\d.]+)\s*)?(?:,|$)/i.exec(String(accepted));
  return found !== null && Number(found[1] ?? 1) > 0;
}

const bodies = new WeakMap<Body, Promise<Body>>();

/** The compressed body, made once for each body. */
export function gzipOf(body: Body): Promise<Body> {
  const known = bodies.get(body);
  if (known !== undefined) return known;
  const made = compress(body);
  bodies.set(body, made);
  return made;
}

async function compress(body: Body): Promise<Body> {
  const gzip = createGzip(bytesOf(body) > largeBytes ? { level: Z_BEST_SPEED } : {});
  const parts: Buffer[] = [];
  gzip.on('data', (part: Buffer) => parts.push(part));
  const ended = new Promise<void>((resolve, reject) => gzip.once('end', resolve).once('error', reject));
  for (const part of body) {
    if (!gzip.write(part)) await new Promise((resolve) => gzip.once('drain', resolve));
  }
  gzip.end();
  await ended;
  return parts;
}

/** The head of a compressed stream: no name, no time, an unknown system. */
export const streamHead = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);

const options: ZlibOptions = { level: Z_BEST_SPEED, finishFlush: Z_FULL_FLUSH };
const compressInPool = promisify<Buffer, ZlibOptions, Buffer>(deflateRaw);
const blocks = new WeakMap<Buffer, Buffer | Promise<Buffer>>();

/** The bytes as a part of a compressed stream, made once for each buffer. */
export function blockOf(bytes: Buffer): Buffer | Promise<Buffer> {
  const known = blocks.get(bytes);
  if (known !== undefined) return known;
  const block = bytes.length > largeBytes ? compressInPool(bytes, options) : deflateRawSync(bytes, options);
  blocks.set(bytes, block);
  return block;
}
