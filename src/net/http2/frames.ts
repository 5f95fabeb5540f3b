/**
 * Frames of HTTP/2 (RFC 9113, sections 4 and 6): bytes to frames, and the frames that a client sends. Pure.
 *
 * The reader knows the size limit and nothing else; the connection knows what a frame means. A payload
 * that the reader hands on lies in the caller's buffer and may be overwritten afterwards.
 */

export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** `end` on DATA and HEADERS: the last of the stream. On SETTINGS and PING the same bit acknowledges. */
export const flag = { end: 0x1, acknowledge: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

export const setting = {
  headerTableSize: 1,
  enablePush: 2,
  concurrentStreamsMax: 3,
  initialWindowSize: 4,
  frameSizeMax: 5,
  headerListSizeMax: 6,
} as const;

export const errorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  connectError: 10,
  enhanceYourCalm: 11,
} as const;
export type ErrorCode = (typeof errorCode)[keyof typeof errorCode];

const codeNames = new Map<number, string>(Object.entries(errorCode).map(([name, code]) => [code, name]));

/** The code in words, as messages show it. */
export function nameOfCode(code: number): string {
  const name = codeNames.get(code)?.replaceAll(/[A-Z]/g, ' $&').toLowerCase();
  return name === undefined ? `code ${code}` : `${name}, code ${code}`;
}

/** A fault of the peer that ends the connection (5.4.1). Every malformed frame is one: the RFC lets a client choose so. */
export class ConnectionFault extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = 'ConnectionFault';
    this.code = code;
  }
}

export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
export const frameHeadBytes = 9;
/** Of both sides at first. This side never asks for larger frames. */
export const defaultFrameBytes = 16_384;
export const frameBytesLimit = 0xff_ffff;
export const defaultWindowBytes = 65_535;
export const windowBytesLimit = 0x7fff_ffff;
export const streamIdMax = 0x7fff_ffff;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

/** Cuts bytes into frames. Memory is bounded by one frame and one piece. */
export class FrameReader {
  /** The beginning of a frame that is not complete yet. */
  #held: Buffer | undefined;

  /** Calls `onFrame` for each whole frame until it answers false. Throws what `onFrame` throws, and at a frame over the limit. */
  push(bytes: Buffer, onFrame: (frame: Frame) => boolean): void {
    const all = this.#held === undefined ? bytes : Buffer.concat([this.#held, bytes]);
    this.#held = undefined;
    let at = 0;
    while (all.length - at >= frameHeadBytes) {
      const length = all.readUIntBE(at, 3);
      if (length > defaultFrameBytes) {
        throw new ConnectionFault(errorCode.frameSizeError, `frame of ${length} bytes is above the limit`);
      }
      const end = at + frameHeadBytes + length;
      if (end > all.length) break;
      const id = all.readUInt32BE(at + 5) & streamIdMax;
      const payload = all.subarray(at + frameHeadBytes, end);
      if (!onFrame({ type: all[at + 3] as number, flags: all[at + 4] as number, id, payload })) return;
      at = end;
    }
    if (at < all.length) this.#held = Buffer.from(all.subarray(at));
  }
}

/** The payload of DATA or HEADERS without its padding. */
export function withoutPadding({ flags, payload }: Frame): Buffer {
  if ((flags & flag.padded) === 0) return payload;
  const padding = payload[0];
  if (padding === undefined)
    throw new ConnectionFault(errorCode.frameSizeError, 'padded frame has no length of padding');
  if (padding >= payload.length) {
    throw new ConnectionFault(errorCode.protocolError, 'frame has more padding than payload');
  }
  return payload.subarray(1, payload.length - padding);
}

/** The payload of HEADERS without its padding and its priority. */
export function fieldsOf(frame: Frame): Buffer {
  const payload = withoutPadding(frame);
  if ((frame.flags & flag.priority) === 0) return payload;
  if (payload.length < 5) throw new ConnectionFault(errorCode.frameSizeError, 'HEADERS has no room for its priority');
  return payload.subarray(5);
}

export function encodeFrame(type: number, flags: number, id: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(frameHeadBytes + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(id, 5);
  payload.copy(bytes, frameHeadBytes);
  return bytes;
}

/** A header block as HEADERS, with CONTINUATION if it is long; the stream goes on behind it. */
export function encodeBlock(id: number, block: Buffer): Buffer {
  if (block.length <= defaultFrameBytes) return encodeFrame(frameType.headers, flag.endHeaders, id, block);
  const frames: Buffer[] = [];
  for (let at = 0; at < block.length; at += defaultFrameBytes) {
    const end = at + defaultFrameBytes;
    const type = at === 0 ? frameType.headers : frameType.continuation;
    frames.push(encodeFrame(type, end >= block.length ? flag.endHeaders : 0, id, block.subarray(at, end)));
  }
  return Buffer.concat(frames);
}

export function encodeSettings(values: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(6 * values.length);
  for (const [index, [id, value]] of values.entries()) {
    payload.writeUInt16BE(id, 6 * index);
    payload.writeUInt32BE(value, 6 * index + 2);
  }
  return encodeFrame(frameType.settings, 0, 0, payload);
}

export const settingsAcknowledged = encodeFrame(frameType.settings, flag.acknowledge, 0, Buffer.alloc(0));

export function encodeWindowUpdate(id: number, increment: number): Buffer {
  return encodeFrame(frameType.windowUpdate, 0, id, uint32(increment));
}

export function encodeReset(id: number, code: ErrorCode): Buffer {
  return encodeFrame(frameType.reset, 0, id, uint32(code));
}

export function encodeGoAway(code: ErrorCode): Buffer {
  return encodeFrame(frameType.goAway, 0, 0, Buffer.concat([uint32(0), uint32(code)]));
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
