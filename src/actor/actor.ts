/**
 * The actor contract: an actor owns state, a mailbox holds its messages, a specification says how to start it again.
 *
 * An actor receives its messages in batches. A batch is everything that gathered while the actor was busy, up to
 * `batchMax`. No actor awaits another; results come back as messages. Messages are keys wherever the world can be
 * read again. Repeating such a message is harmless, and losing one costs no more than the wait for the next resync.
 *
 * Only `agent.ts` knows which actor tells which.
 */

/** The reference by which other actors reach an actor. */
export interface Ref<Message> {
  readonly name: string;
  /** Puts the message in the mailbox. Never waits, never throws. */
  tell(message: Message): void;
}

/** An actor's reference to itself. */
export interface Self<Message> extends Ref<Message> {
  /** Ends the flight of a message that `receive` had handed back as not yet done. */
  done(message: Message): void;
  /** Reports a failure outside `receive` (a timer, a stream): as if `receive` had thrown. */
  crash(error: unknown): void;
}

export interface Actor<Message> {
  /**
   * Handles a batch. A throw is a crash: the supervisor discards the actor and starts it again. Messages that are
   * returned are still under way: they stay in flight until `self.done`, without delaying the next batch.
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

/** The specification of a child: its mailbox, its limits, and its start (also the start after a crash). */
export interface ChildSpec<Message> {
  readonly name: string;
  readonly mailbox: Mailbox<Message>;
  /** Batches handled at the same time. Above 1, only a keyed mailbox keeps the messages of one key in order. */
  readonly concurrency: number;
  readonly batchMax: number;
  /** No batch is taken while this many messages are in flight. */
  readonly inFlightMax?: number;
  readonly stopTimeoutMs: number;
  /** `signal` aborts when this incarnation is over, by a crash or by a stop. */
  start(self: Self<Message>, signal: AbortSignal): Actor<Message>;
}
