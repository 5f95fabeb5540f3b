/**
 * What etcd must hold by the engine's own word, how far off it is, and how late it was. Pure; nothing
 * of `src`. The containers here offer TCP ports published on all addresses, so the rule is short.
 */
import type { Lifecycle } from '../engine/churn.ts';
import type { ContainerTruth } from '../engine/containers.ts';

/** `at` is by the machine's monotonic clock; `value` is undefined for a delete. */
export interface Event {
  readonly at: number;
  readonly key: string;
  readonly value: string | undefined;
}

/** Where containers are reached, as `address.from` has it. */
export type AddressFrom = 'published' | 'container';

/** Keys that should be there and are not, that are there and should not be, that hold another value. */
export interface Deviation {
  readonly missing: number;
  readonly stale: number;
  readonly wrong: number;
}

export function expectedKeys(
  containers: readonly ContainerTruth[],
  host: { readonly id: string; readonly ip: string },
  from: AddressFrom = 'published',
): Map<string, string> {
  const keys = new Map<string, string>();
  for (const { address, env, id, ports, state } of containers) {
    const declared = state === 'running' && env.find((entry) => entry.startsWith('DISCOVER='));
    const record: Record<string, string> = {};
    for (const entry of declared ? declared.slice('DISCOVER='.length).split(',') : []) {
      const [name = '', port = ''] = entry.trim().split(':');
      const bound = ports[`${port}/tcp`]?.[0];
      if (!bound) continue;
      record[name] = `/discover/service/${name}/default/${host.id}/${id.slice(0, 12)}`;
      keys.set(record[name], from === 'container' ? `tcp://${address}:${port}` : `tcp://${host.ip}:${bound.HostPort}`);
    }
    const recordKey = `/discover/host/${host.id}/${id.slice(0, 12)}`;
    if (Object.keys(record).length > 0) keys.set(recordKey, JSON.stringify(record));
  }
  return keys;
}

/** Whether the key tells of a container, as the owner key does not. */
export function isOfContainer(key: string): boolean {
  return key.startsWith('/discover/service/') || key.startsWith('/discover/host/');
}

export function deviationOf(expected: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): Deviation {
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
  #off: number;
  /** When the two last became equal; undefined where they never were, or were from the start. */
  exactAtMs: number | undefined;

  constructor(expected: ReadonlyMap<string, string>, state: Map<string, string>) {
    this.#expected = expected;
    this.#state = state;
    this.#off = Object.values(deviationOf(expected, state)).reduce((sum, count) => sum + count, 0);
  }

  get isExact(): boolean {
    return this.#off === 0;
  }

  apply({ at, key, value }: Event): void {
    if (!isOfContainer(key)) return;
    const wanted = this.#expected.get(key);
    const wasOff = this.#state.get(key) !== wanted;
    if (value === undefined) this.#state.delete(key);
    else this.#state.set(key, value);
    this.#off += Number(value !== wanted) - Number(wasOff);
    if (this.#off === 0 && wasOff) this.exactAtMs = at;
  }
}

/** From the engine's events to the appearance of the key and to its end; who was never put at all is counted. */
export function latenciesOf(lives: readonly Lifecycle[], events: readonly Event[]) {
  const [put, deleted] = [new Map<string, number>(), new Map<string, number>()];
  for (const { at, key, value } of events) {
    if (!key.startsWith('/discover/service/')) continue;
    const shortId = key.slice(-12);
    if (value === undefined) deleted.set(shortId, at);
    else if (!put.has(shortId)) put.set(shortId, at);
  }
  const publishMs: number[] = [];
  const unpublishMs: number[] = [];
  for (const { endedMs, id, startedMs } of lives) {
    const [upMs, downMs] = [put.get(id.slice(0, 12)), deleted.get(id.slice(0, 12))];
    if (upMs !== undefined) publishMs.push(upMs - startedMs);
    if (downMs !== undefined && endedMs !== undefined) unpublishMs.push(downMs - endedMs);
  }
  return { publishMs, unpublishMs, neverSeen: lives.length - publishMs.length };
}
