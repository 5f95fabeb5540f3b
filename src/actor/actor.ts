/**
 * The actor contract: who owns state, where messages wait, how a part is started again.
 *
 * An actor owns some state and is handed batches of messages, the whole of what gathered while it
 * was busy, up to `batchMax`. No actor awaits another: results come back as messages. Messages are
 * keys wherever the world can be read again, so repeating one is harmless and losing one costs no
 * more than the wait for the next resync.
 *
 * Only `agent.ts` knows who tells whom.
 */

/** All that others hold of an actor. */
export interface Ref<Message> {
  readonly name: string;
  /** Puts the message in the mailbox. Never waits, never throws. */
  tell(message: Message): void;
}

/** What an actor holds of itself. */
export interface Self<Message> extends Ref<Message> {
  /** Ends the flight of a message that `receive` had handed back as not yet done. */
  done(message: Message): void;
  /** Reports a failure outside `receive` (a timer, a stream): as if `receive` had thrown. */
  crash(error: unknown): void;
}

export interface Actor<Message> {
  /**
   * Handles a batch. A throw is a crash: the actor is discarded and started again. What is returned
   * is still under way: it stays in flight, without holding up the next batch, until `self.done`.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: most actors return nothing at all
  receive(batch: readonly Message[]): void | Promise<readonly Message[] | void>;
  /** Called once, after the last batch; settles within the child's `stopTimeoutMs`. */
  stop?(): void | Promise<void>;
}

/** Where messages wait. A message taken is in flight until it is done. */
export interface Mailbox<Message> {
  put(message: Message): void;
  /** At most `max` messages, in the order of their turns. */
  take(max: number): Message[];
  done(message: Message): void;
  /** Takes back the message of this key that still waits, if it is unwanted. A message in flight is not touched. */
  withdraw?(key: string, isUnwanted: (message: Message) => boolean): void;
  /** Messages that wait. */
  readonly size: number;
  /** Messages taken and not done. */
  readonly inFlight: number;
}

/** How to start a child, and how to start it again. */
export interface ChildSpec<Message> {
  readonly name: string;
  readonly mailbox: Mailbox<Message>;
  /** Batches handled at the same time; above 1 only over a keyed mailbox. */
  readonly concurrency: number;
  readonly batchMax: number;
  /** No batch is taken while this many messages are in flight. */
  readonly inFlightMax?: number;
  readonly stopTimeoutMs: number;
  /** `signal` aborts when this incarnation is over, by a crash or by a stop. */
  start(self: Self<Message>, signal: AbortSignal): Actor<Message>;
}
