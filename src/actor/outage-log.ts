/**
 * The log of one kind of outage, which may last for hours: a warning when it begins, one a minute while it lasts, with
 * the count of failures, and a line when it is over.
 */

import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Clock } from './clock.ts';

const warnEveryMs = 60_000;

export class OutageLog {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #what: string;
  #failures = 0;
  #beganAt = 0;
  #warnedAt = 0;

  /** `what` completes the log messages: "docker unavailable". */
  constructor(clock: Clock, log: Log, what: string) {
    this.#clock = clock;
    this.#log = log;
    this.#what = what;
  }

  get lasts(): boolean {
    return this.#failures > 0;
  }

  failed(error: unknown, fields: Record<string, unknown> = {}): void {
    const now = this.#clock.now();
    if (this.#failures++ === 0) this.#beganAt = now;
    else if (now - this.#warnedAt < warnEveryMs) return;
    this.#warnedAt = now;
    this.#log.warn({ ...fields, error: messageOf(error), failures: this.#failures }, this.#what);
  }

  over(): void {
    if (this.#failures === 0) return;
    const seconds = Math.round((this.#clock.now() - this.#beganAt) / 100) / 10;
    this.#log.info({ failures: this.#failures, seconds }, `${this.#what}: over`);
    this.#failures = 0;
  }
}
