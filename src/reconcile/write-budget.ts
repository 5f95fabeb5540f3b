/**
 * The write budget: how often the keys of one container may be written. A container that changes all the time would
 * otherwise fill the history of etcd, which keeps every revision until it is compacted.
 *
 * A bucket of tokens for each container: a commit takes one, two come back each second. A removal takes one as well and
 * never waits. Memory is bounded by the containers that changed in the last seconds.
 */

const perSecond = 2;
const burst = 5;

interface Bucket {
  /** At `at`, in milliseconds. */
  readonly tokens: number;
  readonly at: number;
}

export class WriteBudget {
  /** Full ones are left out. */
  readonly #buckets = new Map<string, Bucket>();
  #tidyAt = 0;

  get size(): number {
    return this.#buckets.size;
  }

  /** Takes a token, also where there is none. */
  spend(shortId: string, now: number): void {
    this.#buckets.set(shortId, { tokens: this.#tokens(shortId, now) - 1, at: now });
    this.#tidy(now);
  }

  /** For how many milliseconds a write has to wait; 0 if it need not. */
  waitMs(shortId: string, now: number): number {
    return Math.max(0, ((1 - this.#tokens(shortId, now)) / perSecond) * 1000);
  }

  #tokens(shortId: string, now: number): number {
    const bucket = this.#buckets.get(shortId);
    return bucket === undefined ? burst : Math.min(burst, bucket.tokens + ((now - bucket.at) / 1000) * perSecond);
  }

  #tidy(now: number): void {
    if (now < this.#tidyAt) return;
    this.#tidyAt = now + 10_000;
    for (const shortId of this.#buckets.keys()) if (this.#tokens(shortId, now) >= burst) this.#buckets.delete(shortId);
  }
}
