/**
 * The crashes of containers, by what outlives a container: the replica of a service, or else its short id. A container
 * that has gone is forgotten at once, its crashes are not, so the number of entries has a bound of its own.
 */

import { type Crashes, type FlapPolicy, isOver } from '../lifecycle/damping.ts';

const entriesMax = 10_000;
/** So long after a death the engine may tell that it was a stop. */
const stopToldMs = 5_000;

/** What a crash has changed. */
interface Newest {
  readonly key: string;
  readonly before: Crashes | undefined;
  readonly crashes: Crashes;
  readonly at: number;
}

export class CrashBook {
  /** In the order of the newest crash. */
  readonly #entries = new Map<string, Crashes>();
  /** By container, in the order of time. */
  readonly #newest = new Map<string, Newest>();

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Crashes | undefined {
    return this.#entries.get(key);
  }

  /** `shortId`: the container that has crashed. */
  note(key: string, crashes: Crashes, now: number, policy: FlapPolicy, shortId: string): void {
    this.#newest.delete(shortId);
    this.#newest.set(shortId, { key, before: this.#entries.get(key), crashes, at: now });
    for (const [oldest, { at }] of this.#newest) {
      if (this.#newest.size <= entriesMax && now - at < stopToldMs) break;
      this.#newest.delete(oldest);
    }
    this.#entries.delete(key);
    this.#entries.set(key, crashes);
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= entriesMax && !isOver(entry, now, policy)) break;
      this.#entries.delete(oldest);
    }
  }

  /** The container was stopped: Podman may tell so when its death is known, and that was no crash. */
  takeBack(shortId: string, now: number): void {
    const newest = this.#newest.get(shortId);
    this.#newest.delete(shortId);
    // mutant: count a stop that is told late
    if (newest === undefined || now - newest.at >= stopToldMs) return;
    // Another replica may have crashed since.
    if (this.#entries.get(newest.key) !== newest.crashes) return;
    if (newest.before === undefined) this.#entries.delete(newest.key);
    else this.#entries.set(newest.key, newest.before);
  }
}
