/**
 * Tells whether events come through a queue. An engine that drops events for a slow reader does not report that: the
 * only sign is that events are late. The two clocks may differ, so an event is compared with the promptest one so far.
 */

import type { Clock } from '../actor/clock.ts';

/** Later than the promptest event by this much, an event came through a queue, and engines drop what a queue cannot hold. */
const behindMs = 100;

export class Lateness {
  readonly #clock: Clock;
  /** The smallest difference so far between our clock and the time of an event, in milliseconds. */
  #promptest = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Begins anew: the first events of a stream may be old ones, and either clock may have been set. */
  reset(): void {
    this.#promptest = Number.POSITIVE_INFINITY;
  }

  /** `at`: of the newest event, in nanoseconds by the engine's clock. */
  isBehind(at: number): boolean {
    const delay = this.#clock.wall() - at / 1e6;
    this.#promptest = Math.min(this.#promptest, delay);
    return delay - this.#promptest >= behindMs;
  }
}
