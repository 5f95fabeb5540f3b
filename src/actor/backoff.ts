/**
 * Exponential back-off with jitter over the upper half: the n-th wait is between half and all of
 * `min(capMs, firstMs * 2^n)`. So many hosts that lost the same server do not return at the same moment.
 */

import type { Clock } from './clock.ts';

export class Backoff {
  readonly #clock: Clock;
  readonly #firstMs: number;
  readonly #capMs: number;
  #failures = 0;

  constructor(clock: Clock, firstMs: number, capMs: number) {
    this.#clock = clock;
    this.#firstMs = firstMs;
    this.#capMs = capMs;
  }

  /** Failures since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /** Counts one failure and returns the wait before the next try, in milliseconds. */
  next(): number {
    const ceiling = Math.min(this.#capMs, this.#firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures++;
    return ceiling * (0.5 + this.#clock.random() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}
