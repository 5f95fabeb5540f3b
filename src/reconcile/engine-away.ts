/**
 * While the engine is away nothing is heard of the containers. What can be known without it is looked for: whether their
 * main processes still run, and for how long the engine has been away.
 */

import type { Clock } from '../actor/clock.ts';

/** A look at a process takes some ten microseconds. */
const lookMs = 500;

export interface EngineAwayParts {
  readonly clock: Clock;
  /** After how long an engine that is away is given up; 0 for never. */
  readonly limitMs: number;
  /** Called again and again while the engine is away. */
  readonly look: () => void;
  /** The engine is given up; called once for each time that it is away. */
  readonly giveUp: () => void;
}

export class EngineAway {
  readonly #parts: EngineAwayParts;
  #since: number | undefined;
  #hasGivenUp = false;
  #cancel = (): void => {};

  constructor(parts: EngineAwayParts) {
    this.#parts = parts;
  }

  /** The engine was given up, and is not back. */
  get hasGivenUp(): boolean {
    return this.#hasGivenUp;
  }

  away(): void {
    if (this.#since !== undefined) return;
    this.#since = this.#parts.clock.now();
    this.#wait();
  }

  back(): void {
    this.#cancel();
    this.#since = undefined;
    this.#hasGivenUp = false;
  }

  #wait(): void {
    const { clock, limitMs, look, giveUp } = this.#parts;
    this.#cancel = clock.after(lookMs, () => {
      look();
      if (limitMs > 0 && !this.#hasGivenUp && clock.now() - (this.#since ?? 0) >= limitMs) {
        this.#hasGivenUp = true;
        giveUp();
      }
      this.#wait();
    });
  }
}
