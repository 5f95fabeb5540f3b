/**
 * For how long the oldest change of a container has been waiting to be in etcd: the one figure that grows whatever it is
 * that holds a change up.
 *
 * Followed by way of the ledger's touches from the first question on. Containers that etcd refuses count too: they are
 * published no more than others that wait.
 */

import type { Agent } from '../agent.ts';
import type { Ledger } from '../reconcile/ledger.ts';

/** Above this age, in seconds, the agent is not ready: twice the default `etcd.ttl`, and the default `resync`. */
export const unsettledMaxSeconds = 60;

class UnsettledAges {
  /** When each was first seen waiting, the oldest first. */
  readonly #sinceMs = new Map<string, number>();

  constructor(ledger: Ledger) {
    for (const shortId of ledger.unsettled()) this.#sinceMs.set(shortId, performance.now());
    ledger.touched.add((shortId) => {
      if (ledger.changes(shortId).length === 0) this.#sinceMs.delete(shortId);
      else if (!this.#sinceMs.has(shortId)) this.#sinceMs.set(shortId, performance.now());
    });
  }

  get oldestSeconds(): number {
    const [sinceMs] = this.#sinceMs.values();
    return sinceMs === undefined ? 0 : (performance.now() - sinceMs) / 1000;
  }
}

const agesOf = new WeakMap<Ledger, UnsettledAges>();

/** 0 where nothing waits. */
export function oldestUnsettledSeconds({ ledger }: Pick<Agent, 'ledger'>): number {
  let ages = agesOf.get(ledger);
  if (ages === undefined) {
    ages = new UnsettledAges(ledger);
    agesOf.set(ledger, ages);
  }
  return ages.oldestSeconds;
}
