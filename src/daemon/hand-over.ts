/**
 * One agent after the other in one process: what a new configuration is to those who read etcd.
 *
 * Both run side by side until the new one has listed what runs and its etcd has told it who owns the host id.
 * Then the old one finishes what it has accepted and lets go, the new one takes over where that has left, and
 * what is the same for both is not written again. So a configuration that does not work changes nothing: not
 * one whose Docker or etcd gives no answer, not one whose host id somebody else has.
 *
 * Who the host is may have changed too. With another realm the keys of a container move in one transaction, as
 * with any change of what it offers. With another host id, prefix or etcd the old keys hang on a lease that
 * nobody takes over: they are taken away once the new ones are all there, for nobody would come back to them. A
 * reader finds an instance twice for a moment and never not at all.
 */

import { type Clock, deadline } from '../actor/clock.ts';
import type { Agent } from '../agent.ts';
import { DiscoverError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Predecessor } from '../registry/lease-keeper.ts';

/** For getting to work. Waiting whether the owner of another host id is alive takes two thirds of it, at the default TTL. */
const trialMs = 30_000;
const withdrawTimeoutMs = 2_500;

export class Replacement implements Predecessor {
  readonly instance: string;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Let go of in the end, or each agent would keep all those before it. */
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
   * Puts `next`, which was built with this as its predecessor, in the old one's place; `onTaken` is called when there
   * is no way back. Rejects when the new one does not get to work and resolves when `signal` is aborted first: then
   * the new one is stopped, and the old one has never been touched.
   */
  async by(next: Agent, signal: AbortSignal, onTaken: () => void): Promise<void> {
    const old = this.#old;
    if (old === undefined) return;
    this.#signal = signal;
    this.#onTaken = onTaken;
    this.#state = 'trial';
    const outcome = await outcomeOf(next, this.#clock, signal);
    if (outcome !== 'started' && this.#state === 'trial') {
      // Of two that cannot work, the one that is wanted waits on.
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

  /** For a new agent that is not wanted any more. */
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
    // Without a lease it may be about to take over the old one's.
    if (next.lease === undefined || next.lease === old.lease) return;
    const late = () => 'etcd did not answer in time';
    await deadline(this.#clock, withdrawTimeoutMs, old.withdraw(), late).catch((error: unknown) => {
      this.#log.warn({ error: messageOf(error) }, 'old keys not removed; they go with their lease');
    });
  }
}

function lateError({ state }: Agent): DiscoverError {
  const [code, what] = state.isListed
    ? (['ETCD_UNAVAILABLE', 'etcd has not let it write for this host'] as const)
    : (['DOCKER_UNAVAILABLE', 'Docker has not told what runs'] as const);
  return new DiscoverError(code, `It does not work: after ${trialMs / 1000} s ${what}`);
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
