/**
 * The clock of a simulation: time moves only by `advance`, and chance repeats with its seed.
 *
 * Timers run in the order in which they are due, those due together in the order in which they were
 * set. After each one everything that promises can do is done before the next, so what runs on this
 * clock alone (no sockets, no threads, no real timers) does the same in every run.
 */

import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../src/actor/clock.ts';

interface Timer {
  readonly at: number;
  action: (() => void) | undefined;
}

export class VirtualClock implements Clock {
  /** By due time, the next one last. */
  readonly #timers: Timer[] = [];
  readonly #epochMs: number;
  #now = 0;
  #seed: number;
  #pending = 0;
  #advancing = false;

  constructor(seed = 1, epochMs = Date.UTC(2026, 0, 1)) {
    this.#seed = seed >>> 0;
    this.#epochMs = epochMs;
  }

  /** Timers that are set and have neither run nor been cancelled. */
  get pending(): number {
    return this.#pending;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#epochMs + this.#now;
  }

  /** Mulberry32: small, and good enough to shuffle with. */
  random(): number {
    this.#seed = (this.#seed + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#seed ^ (this.#seed >>> 15), this.#seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  after(ms: number, action: () => void): () => void {
    const timer: Timer = { at: this.#now + Math.max(0, ms), action };
    let low = 0;
    let high = this.#timers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#timers[middle] as Timer).at > timer.at) low = middle + 1;
      else high = middle;
    }
    this.#timers.splice(low, 0, timer);
    this.#pending++;
    return () => {
      if (timer.action === undefined) return;
      timer.action = undefined;
      this.#pending--;
    };
  }

  /** Lets everything happen that needs no time to pass. */
  async settle(): Promise<void> {
    await turn();
  }

  /** Lets `ms` pass. */
  async advance(ms: number): Promise<void> {
    await this.#run(this.#now + ms, () => false);
  }

  /** Lets time pass until `condition` holds; throws where it does not within `ms`. */
  async until(condition: () => boolean, ms: number): Promise<void> {
    await this.#run(this.#now + ms, condition);
    if (!condition()) throw new Error(`Not so within ${ms} ms: ${condition}`);
  }

  /** Lets `ms` pass with nobody awake to notice: what came due meanwhile runs late, with the next `advance`. */
  stall(ms: number): void {
    this.#now += ms;
  }

  async #run(until: number, isEnough: () => boolean): Promise<void> {
    if (this.#advancing) throw new Error('The clock is being advanced already');
    this.#advancing = true;
    try {
      await turn();
      while (!isEnough()) {
        const timer = this.#timers.at(-1);
        if (timer === undefined || timer.at > until) {
          this.#now = Math.max(this.#now, until);
          return;
        }
        this.#timers.pop();
        const { action } = timer;
        if (action === undefined) continue;
        timer.action = undefined;
        this.#pending--;
        this.#now = Math.max(this.#now, timer.at);
        action();
        await turn();
      }
    } finally {
      this.#advancing = false;
    }
  }
}
