/**
 * The lease under which the ledger was read. While it runs by our own clock, the ledger is right about etcd. Once it has
 * run out, the keys are gone, and etcd does not report that.
 */

import type { Clock } from '../actor/clock.ts';
import type { CurrentOwnership, LeaseId } from '../etcd/registry.ts';
import type { Metrics } from '../metrics.ts';

export interface ObservedLeaseParts {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly current: CurrentOwnership;
}

export class ObservedLease {
  readonly #parts: ObservedLeaseParts;
  /** The lease, since when, and when another one took its place. */
  #observed: { readonly lease: LeaseId; readonly sinceMs: number; endedAt: number | undefined } | undefined;

  constructor(parts: ObservedLeaseParts) {
    this.#parts = parts;
  }

  /** The ledger has been read under the present lease. */
  read(): void {
    const { clock, current } = this.#parts;
    const lease = current.ownership?.lease;
    if (lease === undefined || (lease === this.#observed?.lease && this.isValid)) return;
    this.#observed = { lease, sinceMs: clock.wall(), endedAt: undefined };
  }

  get isValid(): boolean {
    return (this.remainingSeconds ?? 0) > 0;
  }

  /** In milliseconds since the epoch. */
  get sinceMs(): number | undefined {
    return this.#observed?.sinceMs;
  }

  /** Negative once it has run out. */
  get remainingSeconds(): number | undefined {
    if (this.#observed === undefined) return undefined;
    const { clock, metrics } = this.#parts;
    const now = clock.now();
    // If another lease was granted and nothing has been read under it, the lease before has ended: now at the latest.
    if (metrics.leaseRenewed === this.#observed.lease) this.#observed.endedAt = undefined;
    else this.#observed.endedAt ??= now;
    return ((this.#observed.endedAt ?? metrics.leaseEndsAt) - now) / 1000;
  }
}
