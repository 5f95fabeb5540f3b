/**
 * Runs actors: pumps each mailbox into its actor, and starts a crashed actor again.
 *
 * When a batch crashed its actor, the next incarnation gets its messages one at a time. A message that crashes the actor
 * alone is dropped with an error line. So a bad message costs only itself; messages are keys, and the next event or
 * resync asks again. More crashes than `restartsMax` within `restartPeriodMs`, over all actors, are a bug that
 * restarting cannot fix: `onFatal` is called once.
 *
 * Children are declared first, so that they can tell each other, and started in that order. They are stopped in
 * reverse order: each finishes its messages before the child that it tells is stopped.
 */

import { DiscoverError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Actor, ChildSpec, Ref, Self } from './actor.ts';
import { Backoff } from './backoff.ts';
import { type Clock, deadline } from './clock.ts';
import { deferred } from './deferred.ts';

const restartsMax = 10;
const restartPeriodMs = 60_000;

export class Supervisor {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #onFatal: (error: DiscoverError) => void;
  readonly #children: Child[] = [];
  #crashes: number[] = [];
  #gaveUp = false;

  constructor(clock: Clock, log: Log, onFatal: (error: DiscoverError) => void) {
    this.#clock = clock;
    this.#log = log;
    this.#onFatal = onFatal;
  }

  /** Makes a child. Its mailbox keeps the messages until `start`. */
  declare<Message>(spec: ChildSpec<Message>): Ref<Message> {
    const child = new Pump(spec, this.#clock, this.#log, (error) => this.#crashed(spec.name, error));
    this.#children.push(child);
    return child;
  }

  /** Starts the children in the order in which they were declared. */
  start(): void {
    for (const child of this.#children) child.start();
  }

  /** Where messages wait, in the order of the declarations. */
  get mailboxes(): readonly { readonly name: string; readonly waiting: number; readonly inFlight: number }[] {
    return this.#children.map(({ name, waiting, inFlight }) => ({ name, waiting, inFlight }));
  }

  /** Whether the children are kept alive. */
  get isAlive(): boolean {
    return !this.#gaveUp && this.#children.length > 0;
  }

  /** Stops all children, last started first. Never rejects: a child that does not stop in time is logged and left. */
  async stop(): Promise<void> {
    for (const child of this.#children.splice(0).reverse()) {
      await child.stop().catch((error: unknown) => {
        this.#log.warn({ actor: child.name, error: messageOf(error) }, 'actor did not stop in time');
      });
    }
  }

  #crashed(name: string, error: unknown): void {
    const now = this.#clock.now();
    this.#crashes = this.#crashes.filter((at) => at > now - restartPeriodMs);
    this.#crashes.push(now);
    this.#log.error(
      { actor: name, error: messageOf(error), stack: error instanceof Error ? error.stack : undefined },
      'actor crashed',
    );
    if (this.#crashes.length > restartsMax && !this.#gaveUp) {
      this.#gaveUp = true;
      const message = `Actor ${name} crashed ${restartsMax + 1} times within ${restartPeriodMs / 1000} s`;
      this.#onFatal(new DiscoverError('RESTARTS_EXCEEDED', message, { cause: error }));
    }
  }
}

interface Child {
  readonly name: string;
  readonly waiting: number;
  readonly inFlight: number;
  start(): void;
  stop(): Promise<void>;
}

class Pump<Message> implements Self<Message>, Child {
  readonly name: string;
  readonly #spec: ChildSpec<Message>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #onCrash: (error: unknown) => void;
  readonly #backoff: Backoff;
  #actor: Actor<Message> | undefined;
  #incarnation = new AbortController();
  #active = 0;
  #scheduled = false;
  #stopping = false;
  /** Messages of a batch that crashed its actor, to be handed over one by one. */
  #suspects: Message[] = [];
  #onIdle: (() => void) | undefined;

  constructor(spec: ChildSpec<Message>, clock: Clock, log: Log, onCrash: (error: unknown) => void) {
    this.name = spec.name;
    this.#spec = spec;
    this.#clock = clock;
    this.#log = log;
    this.#onCrash = onCrash;
    this.#backoff = new Backoff(clock, 100, 5_000);
  }

  get waiting(): number {
    return this.#spec.mailbox.size;
  }

  get inFlight(): number {
    return this.#spec.mailbox.inFlight;
  }

  tell(message: Message): void {
    this.#spec.mailbox.put(message);
    this.#schedule();
  }

  done(message: Message): void {
    this.#spec.mailbox.done(message);
    this.#schedule();
  }

  crash(error: unknown): void {
    if (this.#actor !== undefined) this.#discard(error);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    try {
      const drained = deferred();
      this.#onIdle = drained.resolve;
      this.#run();
      await deadline(
        this.#clock,
        this.#spec.stopTimeoutMs,
        drained.promise.then(() => this.#actor?.stop?.()),
        () => 'timeout',
      );
    } finally {
      this.#incarnation.abort();
      this.#actor = undefined;
    }
  }

  start(): void {
    if (this.#actor !== undefined) return;
    this.#incarnation = new AbortController();
    try {
      this.#actor = this.#spec.start(this, this.#incarnation.signal);
      this.#schedule();
    } catch (error) {
      this.#discard(error);
    }
  }

  /** One turn of the event loop's microtasks gathers what arrives together into one batch. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#run();
    });
  }

  #run(): void {
    const { mailbox, concurrency, batchMax, inFlightMax = Number.POSITIVE_INFINITY } = this.#spec;
    while (this.#actor !== undefined && this.#active < concurrency) {
      const suspect = this.#suspects.shift();
      if (suspect === undefined && mailbox.inFlight >= inFlightMax) break;
      const batch = suspect === undefined ? mailbox.take(batchMax) : [suspect];
      if (batch.length === 0) break;
      this.#handle(this.#actor, batch);
    }
    if (this.#active === 0 && mailbox.size === 0 && this.#suspects.length === 0) this.#onIdle?.();
  }

  #handle(actor: Actor<Message>, batch: Message[]): void {
    let outcome: ReturnType<Actor<Message>['receive']>;
    try {
      outcome = actor.receive(batch);
    } catch (error) {
      this.#failed(actor, batch, error);
      return;
    }
    if (!(outcome instanceof Promise)) {
      this.#settle(batch);
      return;
    }
    this.#active++;
    outcome.then(
      (underWay) => {
        this.#active--;
        this.#settle(batch, underWay ?? []);
        this.#run();
      },
      (error: unknown) => {
        this.#active--;
        this.#failed(actor, batch, error);
      },
    );
  }

  #settle(batch: readonly Message[], underWay: readonly Message[] = []): void {
    this.#backoff.reset();
    const out = new Set(underWay);
    for (const message of batch) if (!out.has(message)) this.#spec.mailbox.done(message);
  }

  #failed(actor: Actor<Message>, batch: Message[], error: unknown): void {
    if (actor !== this.#actor) {
      // The incarnation of this batch was over already. The present one handles the messages again.
      this.#suspects.push(...batch);
      this.#run();
      return;
    }
    this.#discard(error);
    if (batch.length > 1) {
      this.#suspects.push(...batch);
      return;
    }
    this.#log.error({ actor: this.name, message: batch[0] }, 'message dropped: it crashed its actor');
    this.#settle(batch);
  }

  #discard(error: unknown): void {
    this.#actor = undefined;
    this.#incarnation.abort();
    this.#onCrash(error);
    this.#clock.after(this.#backoff.next(), () => {
      if (!this.#stopping) this.start();
    });
  }
}
