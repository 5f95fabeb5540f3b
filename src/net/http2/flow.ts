/**
 * Flow control of HTTP/2 (RFC 9113, 5.2 and 6.9), both ways. Pure.
 *
 * `Outbox` keeps the bytes that the peer's windows do not allow yet, and makes DATA frames of the others.
 * `ReceiveWindow` counts the bytes that the peer may still send, and says when to open the window again.
 */

import {
  ConnectionFault,
  defaultFrameBytes,
  defaultWindowBytes,
  encodeFrame,
  errorCode,
  flag,
  frameType,
  windowBytesLimit,
} from './frames.ts';

interface Outgoing {
  /** The unsent rest of the body; `undefined` once all is sent. */
  unsent: Buffer | undefined;
  window: number;
}

export class Outbox {
  readonly #streams = new Map<number, Outgoing>();
  /** The limits of the peer in bytes: on the connection, on a new stream, in a frame. */
  #window = defaultWindowBytes;
  #streamWindow = defaultWindowBytes;
  #frameBytes = defaultFrameBytes;

  /** Adds a stream and its body. Returns the frames that may go now. */
  open(id: number, body: Buffer): Buffer[] {
    this.#streams.set(id, { unsent: body, window: this.#streamWindow });
    return this.#framesOf(id);
  }

  /** Forgets a stream. Returns whether all of its body was sent. */
  close(id: number): boolean {
    const isSent = this.#streams.get(id)?.unsent === undefined;
    this.#streams.delete(id);
    return isSent;
  }

  /** The peer takes that many bytes more, of a stream or (`id` 0) in all. Returns the frames that may go now. */
  widen(id: number, increment: number): Buffer[] {
    if (id === 0) {
      this.#window = widened(this.#window, increment);
      return this.flush();
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) return [];
    stream.window = widened(stream.window, increment);
    return this.#framesOf(id);
  }

  /** The peer has changed the window of every stream, which may fall below zero (6.9.2). */
  setStreamWindow(bytes: number): void {
    if (bytes > windowBytesLimit) throw new ConnectionFault(errorCode.flowControlError, 'initial window is too large');
    for (const stream of this.#streams.values()) stream.window = widened(stream.window, bytes - this.#streamWindow);
    this.#streamWindow = bytes;
  }

  setFrameBytes(bytes: number): void {
    this.#frameBytes = bytes;
  }

  /** The frames of all streams that may go now. */
  flush(): Buffer[] {
    return [...this.#streams.keys()].flatMap((id) => this.#framesOf(id));
  }

  #framesOf(id: number): Buffer[] {
    const stream = this.#streams.get(id);
    const frames: Buffer[] = [];
    while (stream?.unsent !== undefined) {
      const { unsent, window } = stream;
      // A window can be below zero; an empty body needs none.
      const room = Math.max(0, Math.min(this.#frameBytes, this.#window, window));
      if (room === 0 && unsent.length > 0) break;
      const isLast = unsent.length <= room;
      const length = isLast ? unsent.length : room;
      frames.push(encodeFrame(frameType.data, isLast ? flag.end : 0, id, unsent.subarray(0, length)));
      stream.unsent = isLast ? undefined : unsent.subarray(length);
      stream.window -= length;
      this.#window -= length;
    }
    return frames;
  }
}

function widened(window: number, increment: number): number {
  if (window + increment > windowBytesLimit) {
    throw new ConnectionFault(errorCode.flowControlError, 'window grows above the limit');
  }
  return window + increment;
}

export class ReceiveWindow {
  readonly #bytes: number;
  #left: number;

  constructor(bytes: number) {
    this.#bytes = bytes;
    this.#left = bytes;
  }

  /** Takes bytes of the peer, padding included. Returns by how much to open the window, 0 for not yet. */
  take(bytes: number): number {
    if (bytes > this.#left)
      throw new ConnectionFault(errorCode.flowControlError, 'peer sends more than its window allows');
    this.#left -= bytes;
    if (this.#left > this.#bytes / 2) return 0;
    const increment = this.#bytes - this.#left;
    this.#left = this.#bytes;
    return increment;
  }
}
