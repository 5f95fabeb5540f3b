/**
 * The crashes of containers, by what outlives a container: the replica of a service, or else its short id. A container
 * that has gone is forgotten at once, its crashes are not, so the number of entries has a bound of its own.
 */

import { type Crashes, type FlapPolicy, isOver } from '../lifecycle/damping.ts';

const entriesMax = 10_000;

export class CrashBook {
  /** In the order of the newest crash. */
  readonly #entries = new Map<string, Crashes>();

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Crashes | undefined {
    return this.#entries.get(key);
  }

  note(key: string, crashes: Crashes, now: number, policy: FlapPolicy): void {
    this.#entries.delete(key);
    this.#entries.set(key, crashes);
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= entriesMax && !isOver(entry, now, policy)) break;
      this.#entries.delete(oldest);
    }
  }
}
