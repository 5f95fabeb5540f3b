/**
 * Alarms: one time for each container, and one timer for all of them.
 *
 * Most alarms never ring: each orderly stop sets one and takes it back a moment later. Here that costs an entry of a
 * map instead of a timer of Node.
 */

import type { Clock } from '../actor/clock.ts';

export class Alarms {
  readonly #clock: Clock;
  readonly #ring: (shortId: string) => void;
  /** In milliseconds of the agent's clock. */
  readonly #times = new Map<string, number>();
  /** When the timer fires: not after the earliest alarm. */
  #armedFor = Number.POSITIVE_INFINITY;
  #cancel = (): void => {};

  constructor(clock: Clock, ring: (shortId: string) => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Undefined takes the alarm back. */
  set(shortId: string, at: number | undefined): void {
    if (at === undefined) {
      // The timer stays, and finds nothing: to cancel it is what would cost.
      this.#times.delete(shortId);
      return;
    }
    this.#times.set(shortId, at);
    if (at < this.#armedFor) this.#arm(at);
  }

  clear(): void {
    this.#cancel();
    this.#times.clear();
    this.#armedFor = Number.POSITIVE_INFINITY;
  }

  #arm(at: number): void {
    this.#cancel();
    this.#armedFor = at;
    this.#cancel = this.#clock.after(at - this.#clock.now(), () => this.#fire());
  }

  #fire(): void {
    this.#armedFor = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (const [shortId, at] of this.#times) {
      // A timer of Node may be a moment early, and what is judged too early is never judged again.
      if (at <= now) {
        this.#times.delete(shortId);
        this.#ring(shortId);
      } else if (at < next) next = at;
    }
    if (next < Number.POSITIVE_INFINITY) this.#arm(next);
  }
}
