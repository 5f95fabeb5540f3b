/**
 * Finds an event stream that is open and silently dead: a list shows a start or an end, and no event tells of it.
 *
 * A list and an event race, so a suspicion has to last. It ends with the first event about its container. After
 * `graceMs` without such an event the stream counts as dead. Suspicions come only from the periodic lists, one a minute,
 * so there are few.
 */

import type { Clock } from '../actor/clock.ts';
import type { ContainerId } from '../container/container.ts';

/** Above the time limit of an inspection: an event is reported together with the inspection that it asked for. */
const graceMs = 10_000;

export class MissedEvents {
  readonly #clock: Clock;
  readonly #onMissed: (id: ContainerId) => void;
  /** By container: ends the wait for its event. */
  readonly #suspected = new Map<ContainerId, () => void>();

  constructor(clock: Clock, onMissed: (id: ContainerId) => void) {
    this.#clock = clock;
    this.#onMissed = onMissed;
  }

  /** A list showed that the container started or ended, and no event has said so yet. */
  suspect(id: ContainerId): void {
    if (this.#suspected.has(id)) return;
    const cancel = this.#clock.after(graceMs, () => {
      this.clear();
      this.#onMissed(id);
    });
    this.#suspected.set(id, cancel);
  }

  /** An event about the container came after all. */
  heard(id: ContainerId): void {
    // The usual way: each event comes here.
    if (this.#suspected.size === 0) return;
    this.#suspected.get(id)?.();
    this.#suspected.delete(id);
  }

  /** A new stream begins, or this one is given up: suspicions of the old one say nothing. */
  clear(): void {
    for (const cancel of this.#suspected.values()) cancel();
    this.#suspected.clear();
  }
}
