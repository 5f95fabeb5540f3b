/**
 * The hand-over from one agent to the next in one process, when a new configuration takes effect.
 *
 * Both agents run side by side until the new one has listed Docker and read from its etcd who owns the host id. Then
 * the old one finishes the work that it has accepted and leaves, the new one takes over its lease, and keys that stay
 * the same are not written again. So a new configuration changes nothing if its Docker or etcd does not answer, or if
 * its host id has another owner.
 *
 * The names of the host may change too. With another realm the keys of a container move in one transaction, as with any
 * change of what it offers. With another host id, prefix or etcd the old keys are on a lease that the new agent does not
 * take over: they are removed once all new ones are there. A reader finds an instance twice for a moment, and never
 * misses it.
 */

import { type Clock, deadline } from '../actor/clock.ts';
import type { Agent } from '../agent.ts';
import { DiscoverError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Predecessor } from '../registry/lease-keeper.ts';

/** For the new agent to start. To see whether the owner of another host id is alive takes two thirds of it, at the default TTL. */
const trialMs = 30_000;
const withdrawTimeoutMs = 2_500;

export class Replacement implements Predecessor {
  readonly instance: string;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Removed at the end: otherwise each agent would keep all agents before it in memory. */
  #old: Agent | undefined;
  #state: 'before' | 'trial' | 'taken' | 'off' = 'before';
  #signal: AbortSignal | undefined;
  #onTaken: () => void = () => {};

  constructor(old: Agent, clock: Clock, log: Log) {
    this.instance = old.instance;
    this.#old = old;
    this.#clock = clock;
    this.#log = log;
  }

  async leave(): Promise<boolean> {
    if (this.#state === 'trial' && !this.#signal?.aborted) {
      this.#state = 'taken';
      this.#onTaken();
    }
    if (this.#state !== 'taken') return false;
    await this.#old?.leave();
    return true;
  }

  /**
   * Puts `next`, which was built with this object as its predecessor, in the place of the old agent. Calls `onTaken`
   * when there is no way back. Rejects when the new agent does not start. Resolves when `signal` is aborted first: then
   * the new agent is stopped, and the old one has never been touched.
   */
  async by(next: Agent, signal: AbortSignal, onTaken: () => void): Promise<void> {
    const old = this.#old;
    if (old === undefined) return;
    this.#signal = signal;
    this.#onTaken = onTaken;
    this.#state = 'trial';
    const outcome = await outcomeOf(next, this.#clock, signal);
    if (outcome !== 'started' && this.#state === 'trial') {
      // If neither works, keep the new one.
      if (outcome !== 'late' || isWorking(old)) {
        this.callOff(next);
        if (outcome === 'aborted') return;
        throw outcome === 'late' ? lateError(next) : await next.ended;
      }
      this.#log.warn({}, 'neither the old configuration nor the new one works; going on with the new one');
      await this.leave();
    }
    await this.#dismiss(old, next);
  }

  /** Stops a new agent that will not take over any more. */
  callOff(next: Agent): void {
    this.#state = 'off';
    this.#old = undefined;
    void next.stop();
  }

  async #dismiss(old: Agent, next: Agent): Promise<void> {
    await old.leave();
    if (next.lease !== old.lease) {
      await next.settled();
      await this.#withdraw(old, next);
    }
    await old.stop();
    this.#old = undefined;
    this.#onTaken = () => {};
  }

  async #withdraw(old: Agent, next: Agent): Promise<void> {
    // The new agent may still adopt the old lease.
    if (next.lease === undefined || next.lease === old.lease) return;
    const late = () => 'etcd did not answer in time';
    await deadline(this.#clock, withdrawTimeoutMs, old.withdraw(), late).catch((error: unknown) => {
      this.#log.warn({ error: messageOf(error) }, 'old keys not removed; they expire with their lease');
    });
  }
}

function lateError({ state }: Agent): DiscoverError {
  const [code, what] = state.isListed
    ? (['ETCD_UNAVAILABLE', 'could not become owner of this host in etcd'] as const)
    : (['DOCKER_UNAVAILABLE', 'could not list the containers of Docker'] as const);
  return new DiscoverError(code, `Gave up after ${trialMs / 1000} s: ${what}`);
}

function isWorking({ metrics, state }: Agent): boolean {
  return metrics.docker.isUp && (state.leaseRemainingSeconds ?? 0) > 0;
}

type Outcome = 'started' | 'ended' | 'late' | 'aborted';

function outcomeOf(agent: Agent, clock: Clock, signal: AbortSignal): Promise<Outcome> {
  return new Promise((resolve) => {
    const finish = (outcome: Outcome) => {
      cancel();
      signal.removeEventListener('abort', onAbort);
      resolve(outcome);
    };
    const onAbort = () => finish('aborted');
    const cancel = clock.after(trialMs, () => finish('late'));
    agent.once('start', () => finish('started'));
    void agent.ended.then(() => finish('ended'));
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
  });
}
