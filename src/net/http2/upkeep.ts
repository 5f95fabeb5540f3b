/**
 * Limits on the cost of a peer beside its answers (RFC 9113, 10.5): a budget of frames, and of replies that wait.
 *
 * Without these two limits a peer that sends PING or SETTINGS without end, and reads no reply, would
 * fill the memory.
 */

import { ConnectionFault, errorCode } from './frames.ts';

/** The limit of frames without progress between two answers, in `periodMs`. A server sends some for each answer. */
const framesMax = 10_000;
const periodMs = 10_000;
/** Replies that the peer has not read. */
const repliesMax = 1_000;
/** So many gathered replies are sent at once, before their delay has passed. */
const togetherMax = 100;
/** Far below the 20 s that etcd waits for the reply to a ping of its keep-alive. */
const replyDelayMs = 500;

export class FrameBudget {
  #spent = 0;
  #since = Number.NEGATIVE_INFINITY;

  /** Counts a frame without progress for an answer. Throws if there are too many. */
  spend(): void {
    if (++this.#spent <= framesMax) return;
    // The clock is read here only, so the limit is twice the number in the worst case.
    const now = performance.now();
    if (now - this.#since < periodMs) throw new ConnectionFault(errorCode.enhanceYourCalm, 'too many frames');
    this.#since = now;
    this.#spent = 0;
  }

  /** An answer is complete. */
  renew(): void {
    this.#spent = 0;
  }
}

export class Replies {
  readonly #write: (bytes: Buffer, onWritten: () => void) => void;
  #gathered: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Not yet written, or not yet read by the peer. */
  #pending = 0;

  constructor(write: (bytes: Buffer, onWritten: () => void) => void) {
    this.#write = write;
  }

  /**
   * For PING. A server of gRPC pings whenever it reads data and no ping is under way, to measure the bandwidth. So
   * each answer brings the next ping, in a packet of its own that wakes this side for nothing. Late replies make pings
   * rare.
   */
  later(reply: Buffer): void {
    this.#count();
    this.#gathered.push(reply);
    if (this.#gathered.length >= togetherMax) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), replyDelayMs);
  }

  now(reply: Buffer): void {
    this.#count();
    this.#write(reply, () => this.#pending--);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#gathered = [];
  }

  #count(): void {
    if (++this.#pending > repliesMax) throw new ConnectionFault(errorCode.enhanceYourCalm, 'peer reads no replies');
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const replies = this.#gathered;
    this.#gathered = [];
    this.#write(Buffer.concat(replies), () => {
      this.#pending -= replies.length;
    });
  }
}
