/**
 * The write budget: how often the keys of one container may be written. A container that changes all the time would
 * otherwise fill the history of etcd, which keeps every revision until it is compacted.
 *
 * Five commits are free, and two come back each second. A publication takes two: the removal that ends it never waits, so
 * it is paid for in advance. All that is kept of a container is the time at which its budget is whole again. Memory is
 * bounded by the containers that changed in the last seconds.
 */

const commitMs = 500;
const burst = 5;

export class WriteBudget {
  /** When each budget is whole again, in milliseconds; of those that were spent from since `#turnedAt`, and before. */
  #young = new Map<string, number>();
  #old = new Map<string, number>();
  #turnedAt = 0;

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Takes commits, also where there are none. */
  spend(shortId: string, now: number, commits: number): void {
    this.#spendFrom(shortId, this.#wholeAt(shortId, now), now, commits);
  }

  /**
   * Takes commits if there is one, and else says for how many milliseconds the write has to wait; 0 if it need not. The
   * last of the five is enough for a publication, whose removal does not wait for its own.
   */
  take(shortId: string, now: number, commits: number): number {
    const wholeAt = this.#wholeAt(shortId, now);
    const waitMs = Math.max(0, wholeAt - now - (burst - 1) * commitMs);
    if (waitMs === 0) this.#spendFrom(shortId, wholeAt, now, commits);
    return waitMs;
  }

  #spendFrom(shortId: string, wholeAt: number, now: number, commits: number): void {
    this.#turn(now);
    this.#young.set(shortId, wholeAt + commits * commitMs);
  }

  #wholeAt(shortId: string, now: number): number {
    return Math.max(now, this.#young.get(shortId) ?? this.#old.get(shortId) ?? 0);
  }

  /** What was not spent from for the time of a whole budget is whole, unless more was taken than there is. */
  #turn(now: number): void {
    if (now - this.#turnedAt < burst * commitMs) return;
    for (const [shortId, wholeAt] of this.#old) {
      if (wholeAt > now && !this.#young.has(shortId)) this.#young.set(shortId, wholeAt);
    }
    this.#old = this.#young;
    this.#young = new Map();
    this.#turnedAt = now;
  }
}
