/** How far etcd is off what it must hold, and how late it was. Pure; nothing of `src`. */
import type { Lifecycle } from '../engine/churn.ts';
import type { Layout } from './layout.ts';

/** `at` is by the machine's monotonic clock; `value` is undefined for a delete. */
export interface Event {
  readonly at: number;
  readonly key: string;
  readonly value: string | undefined;
}

/** Keys that should be there and are not, that are there and should not be, that hold another value. */
export interface Deviation {
  readonly missing: number;
  readonly stale: number;
  readonly wrong: number;
}

export function deviationOf(
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
  { isOfContainer }: Layout,
): Deviation {
  let [missing, stale, wrong] = [0, 0, 0];
  for (const [key, value] of expected) {
    if (!found.has(key)) missing++;
    else if (found.get(key) !== value) wrong++;
  }
  for (const key of found.keys()) if (isOfContainer(key) && !expected.has(key)) stale++;
  return { missing, stale, wrong };
}

/** Follows what etcd holds, in `state`, towards what it must hold. */
export class Pursuit {
  readonly #expected: ReadonlyMap<string, string>;
  readonly #state: Map<string, string>;
  readonly #layout: Layout;
  #off: number;
  /** When the two last became equal; undefined where they never were, or were from the start. */
  exactAtMs: number | undefined;

  constructor(expected: ReadonlyMap<string, string>, state: Map<string, string>, layout: Layout) {
    this.#expected = expected;
    this.#state = state;
    this.#layout = layout;
    this.#off = Object.values(deviationOf(expected, state, layout)).reduce((sum, count) => sum + count, 0);
  }

  get isExact(): boolean {
    return this.#off === 0;
  }

  apply({ at, key, value }: Event): void {
    if (!this.#layout.isOfContainer(key)) return;
    const wanted = this.#expected.get(key);
    const wasOff = this.#state.get(key) !== wanted;
    if (value === undefined) this.#state.delete(key);
    else this.#state.set(key, value);
    this.#off += Number(value !== wanted) - Number(wasOff);
    if (this.#off === 0 && wasOff) this.exactAtMs = at;
  }
}

/**
 * The time from a container's start to the key of its last service, and from its end to the last deletion. A container with a service
 * that was never put is counted as never seen.
 */
export function latenciesOf(lives: readonly Lifecycle[], events: readonly Event[], layout: Layout) {
  const [put, deleted] = [new Map<string, number>(), new Map<string, number>()];
  for (const { at, key, value } of events) {
    if (value === undefined) deleted.set(key, at);
    else if (!put.has(key)) put.set(key, at);
  }
  const publishMs: number[] = [];
  const unpublishMs: number[] = [];
  let neverSeen = 0;
  for (const { endedMs, startedMs, truth } of lives) {
    const keys = [...layout.servicesOf(truth).keys()];
    if (keys.length === 0) continue;
    // NaN as soon as one is missing.
    const lastOf = (times: ReadonlyMap<string, number>): number =>
      Math.max(...keys.map((key) => times.get(key) ?? Number.NaN));
    const [upMs, downMs] = [lastOf(put), lastOf(deleted)];
    if (Number.isNaN(upMs)) neverSeen++;
    else publishMs.push(upMs - startedMs);
    if (!Number.isNaN(downMs) && endedMs !== undefined) unpublishMs.push(downMs - endedMs);
  }
  return { publishMs, unpublishMs, neverSeen };
}
