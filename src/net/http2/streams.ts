/**
 * The streams of one connection: the calls under way, those that wait for a place, and the streams
 * that are over (RFC 9113, 5.1).
 *
 * Each call is settled once, by the first event that ends it. The peer says how many streams it takes at
 * a time; the calls above that number wait here and keep their time limit.
 */

import { AnswerReader, bodyBytesMax } from './answer.ts';
import { Outbox, ReceiveWindow } from './flow.ts';
import { ConnectionFault, type ErrorCode, encodeBlock, encodeReset, errorCode, streamIdMax } from './frames.ts';
import { emptyTable } from './hpack.ts';
import { type Answer, CallError } from './port.ts';

export type Settle = (error: CallError | undefined, answer?: Answer) => void;

export interface Call {
  readonly block: Buffer;
  readonly body: Buffer;
  readonly settle: Settle;
  readonly reader: AnswerReader;
  readonly window: ReceiveWindow;
}

/** Until the peer has said how many calls it takes. RFC 9113 recommends that servers take at least 100. */
const callsMaxAtFirst = 100;
/** Streams ended by this side on which frames may still arrive. */
const ignoredMax = 1_000;

export class Streams {
  /** The bodies, sent as far as the peer's windows allow. */
  readonly outbox = new Outbox();
  readonly #write: (frames: readonly Buffer[]) => void;
  readonly #calls = new Map<number, Call>();
  readonly #waiting: Call[] = [];
  /** The latest streams that this side has ended before the peer did. */
  readonly #ignored = new Set<number>();
  #callsMax = callsMaxAtFirst;
  #nextId = 1;
  #isTaking = true;
  #mustShrinkTable = false;

  constructor(write: (frames: readonly Buffer[]) => void) {
    this.#write = write;
  }

  /** Whether a call would be sent. */
  get isTaking(): boolean {
    return this.#isTaking && this.#nextId <= streamIdMax;
  }

  get isEmpty(): boolean {
    return this.#calls.size === 0;
  }

  open(block: Buffer, body: Buffer, settle: Settle): void {
    this.#waiting.push({ block, body, settle, reader: new AnswerReader(), window: new ReceiveWindow(bodyBytesMax) });
    this.proceed();
  }

  setCallsMax(callsMax: number): void {
    this.#callsMax = callsMax;
  }

  /** The peer's table got smaller: the next block has to say that it stays empty. */
  shrinkTable(): void {
    this.#mustShrinkTable = true;
  }

  /** Sends the calls for which there is a place. */
  proceed(): void {
    while (this.isTaking && this.#calls.size < this.#callsMax) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#send(next);
    }
    if (!this.isTaking) this.#failWaiting('connection takes no more calls');
  }

  /** The call on a stream; undefined if it is over. Throws for a stream that was never opened. */
  find(id: number): Call | undefined {
    if (id === 0 || id % 2 === 0 || id >= this.#nextId) {
      throw new ConnectionFault(errorCode.protocolError, `stream ${id} was never opened`);
    }
    return this.#calls.get(id);
  }

  /** The same, for a frame of an answer: it must not come on a stream that the peer itself has ended. */
  findForAnswer(id: number): Call | undefined {
    const call = this.find(id);
    if (call === undefined && !this.#ignored.has(id)) {
      throw new ConnectionFault(errorCode.streamClosed, `stream ${id} goes on after its end`);
    }
    return call;
  }

  /** The peer has ended the stream, in any way. */
  settle(id: number, error: CallError | undefined, answer?: Answer): void {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    const isSent = this.outbox.close(id);
    // An early answer: the rest of the request is not wanted, and the stream is still open on this side.
    if (answer !== undefined && !isSent) this.#reset(id, errorCode.cancel);
    call?.settle(error, answer);
    this.proceed();
  }

  /** This side ends the stream. */
  abandon(id: number, code: ErrorCode, error: CallError): void {
    this.#reset(id, code);
    this.settle(id, error);
  }

  /** The peer takes no more calls, and has ignored all calls above `lastId`. */
  stopTaking(lastId: number, reason: string): void {
    this.#isTaking = false;
    for (const id of [...this.#calls.keys()]) {
      if (id > lastId) this.settle(id, new CallError('connection', reason, true));
    }
    this.#failWaiting(reason);
  }

  fail(error: CallError): void {
    this.#isTaking = false;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.settle(error);
    this.#failWaiting(error.message);
  }

  #failWaiting(reason: string): void {
    for (const call of this.#waiting.splice(0)) call.settle(new CallError('connection', reason, true));
  }

  #send(call: Call): void {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#calls.set(id, call);
    const block = this.#mustShrinkTable ? Buffer.concat([emptyTable, call.block]) : call.block;
    this.#mustShrinkTable = false;
    this.#write([encodeBlock(id, block), ...this.outbox.open(id, call.body)]);
  }

  /** Tells the peer that nothing on this stream is wanted any more. Late frames on it are ignored. */
  #reset(id: number, code: ErrorCode): void {
    this.#write([encodeReset(id, code)]);
    this.#ignored.add(id);
    const [oldest] = this.#ignored;
    if (this.#ignored.size > ignoredMax && oldest !== undefined) this.#ignored.delete(oldest);
  }
}
