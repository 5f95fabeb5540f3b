/**
 * The two mailboxes.
 *
 * `KeyedMailbox` decides when each container gets its next turn. A key waits at most once, however often it is put.
 * A key is never in flight twice. A put during its flight earns exactly one more turn, at the back of the order. So
 * work is bounded by containers and not by events, and a turn begins after the event that asked for it.
 *
 * Not here: retries. The caller puts a failed key back, after its back-off.
 */

import { Queue } from 'mnemonist';
import type { Mailbox } from './actor.ts';

/** First in, first out; every message is kept. For messages that are few, or that all differ. */
export class FifoMailbox<Message> implements Mailbox<Message> {
  readonly #queue = new Queue<Message>();
  #inFlight = 0;

  get size(): number {
    return this.#queue.size;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  put(message: Message): void {
    this.#queue.enqueue(message);
  }

  take(max: number): Message[] {
    const batch: Message[] = [];
    while (batch.length < max && this.#queue.size > 0) batch.push(this.#queue.dequeue() as Message);
    this.#inFlight += batch.length;
    return batch;
  }

  done(): void {
    this.#inFlight--;
  }
}

interface Turn<Message> {
  /** The message of its next turn, if it has one. */
  waiting: Message | undefined;
  /** The message that was taken, until it is done. */
  inFlight: Message | undefined;
  /** The key has a place in the order. It keeps the place when its message is withdrawn. */
  queued: boolean;
}

export class KeyedMailbox<Message> implements Mailbox<Message> {
  readonly #keyOf: (message: Message) => string;
  readonly #merge: (older: Message, newer: Message) => Message;
  readonly #order = new Queue<string>();
  readonly #turns = new Map<string, Turn<Message>>();
  #size = 0;
  #inFlight = 0;

  /** `merge` makes one message of two that ask for the same turn; the default is the newer message. */
  constructor(
    keyOf: (message: Message) => string,
    merge: (older: Message, newer: Message) => Message = (_, newer) => newer,
  ) {
    this.#keyOf = keyOf;
    this.#merge = merge;
  }

  get size(): number {
    return this.#size;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  put(message: Message): void {
    const key = this.#keyOf(message);
    let turn = this.#turns.get(key);
    if (turn === undefined) {
      turn = { waiting: undefined, inFlight: undefined, queued: false };
      this.#turns.set(key, turn);
    }
    if (turn.waiting !== undefined) {
      turn.waiting = this.#merge(turn.waiting, message);
      return;
    }
    turn.waiting = message;
    this.#size++;
    // mutant: hand out what is in flight already
    if (turn.inFlight === undefined) this.#enqueue(key, turn);
  }

  take(max: number): Message[] {
    const batch: Message[] = [];
    while (batch.length < max && this.#order.size > 0) {
      const key = this.#order.dequeue() as string;
      const turn = this.#turns.get(key) as Turn<Message>;
      turn.queued = false;
      if (turn.waiting === undefined) {
        this.#turns.delete(key);
        continue;
      }
      // mutant: lose a turn that waits
      batch.push(turn.waiting);
      turn.inFlight = turn.waiting;
      turn.waiting = undefined;
      this.#size--;
      this.#inFlight++;
    }
    return batch;
  }

  done(message: Message): void {
    const key = this.#keyOf(message);
    const turn = this.#turns.get(key);
    if (turn?.inFlight === undefined) return;
    turn.inFlight = undefined;
    this.#inFlight--;
    // mutant (2 lines): forget what was put during a flight
    if (turn.waiting !== undefined) this.#enqueue(key, turn);
    else this.#turns.delete(key);
  }

  withdraw(key: string, isUnwanted: (message: Message) => boolean): void {
    const turn = this.#turns.get(key);
    // mutant: withdraw every message that waits
    if (turn?.waiting === undefined || !isUnwanted(turn.waiting)) return;
    turn.waiting = undefined;
    this.#size--;
  }

  #enqueue(key: string, turn: Turn<Message>): void {
    if (turn.queued) return;
    turn.queued = true;
    this.#order.enqueue(key);
  }
}
