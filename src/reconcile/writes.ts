/**
 * From what a container should offer to the keys that it should have, and to the writer, within its budget of writes.
 *
 * A write that has to wait is replaced by the next one. A removal never waits: what is no longer true goes at once.
 */

import type { Ref } from '../actor/actor.ts';
import type { Clock } from '../actor/clock.ts';
import type { Names, Service } from '../container/container.ts';
import { keysOf, type Layout, stateKeysOf } from '../layout/keys.ts';
import { type Running, trafficStateOf } from '../lifecycle/state.ts';
import type { Keys, Ledger } from './ledger.ts';
import { WriteBudget } from './write-budget.ts';

export interface WritesParts {
  readonly clock: Clock;
  readonly layout: Layout;
  readonly ledger: Ledger;
  readonly writer: Ref<string>;
  /** The meta of each instance tells its state, also of those that deserve no traffic. */
  readonly tellsStates?: boolean;
}

const noKeys: Keys = new Map();

export class Writes {
  readonly #parts: WritesParts;
  readonly #budget = new WriteBudget();
  /** Writes that wait for their budget, by container; the function cancels the wait. */
  readonly #deferred = new Map<string, () => void>();

  constructor(parts: WritesParts) {
    this.#parts = parts;
  }

  /** `at`: the time of the event that led to this, 0 if no event did. `state`: of a container that runs. */
  desire(shortId: string, services: readonly Service[], at: number, state: Running | undefined): void {
    const { clock } = this.#parts;
    const keys = this.#keysOf(shortId, services, state);
    const names = state?.names;
    this.cancel(shortId);
    // The usual way of an end: a stop has withdrawn it before. And of what offers nothing.
    if (keys.size === 0 && !this.#parts.ledger.has(shortId)) return;
    const waitMs = keys.size > 0 && this.#isNews(shortId, keys) ? this.#waitMs(shortId) : 0;
    if (waitMs === 0) {
      this.#settle(shortId, keys, at, names);
      return;
    }
    const cancel = clock.after(waitMs, () => {
      this.#deferred.delete(shortId);
      this.#budget.spend(shortId, clock.now(), this.#commits(shortId));
      this.#settle(shortId, keys, 0, names);
    });
    this.#deferred.set(shortId, cancel);
    if (!this.#isStillTrue(shortId, keys)) this.#settle(shortId, noKeys, at, names);
  }

  /** Forgets the write of a container that waits. */
  cancel(shortId: string): void {
    if (this.#deferred.size === 0) return;
    this.#deferred.get(shortId)?.();
    this.#deferred.delete(shortId);
  }

  clear(): void {
    for (const cancel of this.#deferred.values()) cancel();
    this.#deferred.clear();
  }

  #waitMs(shortId: string): number {
    return this.#budget.take(shortId, this.#parts.clock.now(), this.#commits(shortId));
  }

  /** Of a write and of the removal that will end what it begins. */
  #commits(shortId: string): number {
    return (this.#parts.ledger.desired(shortId)?.size ?? 0) > 0 ? 1 : 2;
  }

  #keysOf(shortId: string, services: readonly Service[], state: Running | undefined): Keys {
    const { layout, tellsStates } = this.#parts;
    if (services.length > 0) return keysOf(layout, shortId, services, state?.names, tellsStates ? 'ready' : undefined);
    // mutant: tell no state of what is in maintenance
    if (!tellsStates || state === undefined || state.offers.length === 0) return noKeys;
    return stateKeysOf(layout, shortId, state.offers, trafficStateOf(state.verdict));
  }

  /** Whether etcd would have to be written. */
  #isNews(shortId: string, keys: Keys): boolean {
    const { ledger } = this.#parts;
    const desired = ledger.desired(shortId);
    if (desired === undefined) return true;
    if (desired.size !== keys.size) return true;
    for (const [key, value] of keys) if (desired.get(key) !== value) return true;
    return false;
  }

  /** Whether the addresses in etcd are those of `keys`, whatever is beside them. */
  #isStillTrue(shortId: string, keys: Keys): boolean {
    const { layout, ledger } = this.#parts;
    for (const key of new Set([...(ledger.desired(shortId)?.keys() ?? []), ...keys.keys()])) {
      if (layout.nameOf(key) !== undefined && ledger.desired(shortId)?.get(key) !== keys.get(key)) return false;
    }
    return true;
  }

  #settle(shortId: string, keys: Keys, at: number, names: Names | undefined): void {
    const { ledger, writer } = this.#parts;
    ledger.desire(shortId, keys, at, names);
    const isUnsettled = ledger.isUnsettled(shortId);
    if (!isUnsettled) ledger.answered(shortId);
    // mutant: tell the writer nothing
    if (isUnsettled) writer.tell(shortId);
  }
}
