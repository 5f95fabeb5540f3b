/**
 * What etcd must hold, by the engine's own word, and how far off it is. Pure; nothing of `src`.
 *
 * The containers of the benchmark offer TCP ports published on all addresses, so the rule is short.
 */

import type { Lifecycle } from '../engine/churn.ts';
import type { ContainerTruth } from '../engine/containers.ts';

/** The part of a change that says what etcd holds; `value` is undefined for a delete. */
export interface Event {
  readonly at: number;
  readonly key: string;
  readonly value: string | undefined;
}

/** Keys that should be there and are not; that are there and should not be; that hold another value. */
export interface Deviation {
  readonly missing: number;
  readonly stale: number;
  readonly wrong: number;
}

export function expectedKeys(
  containers: readonly ContainerTruth[],
  host: { readonly id: string; readonly ip: string },
): Map<string, string> {
  const keys = new Map<string, string>();
  for (const { env, id, ports, state } of containers) {
    if (state !== 'running') continue;
    const record: Record<string, string> = {};
    const declared = env.find((entry) => entry.startsWith('DISCOVER='))?.slice('DISCOVER='.length);
    for (const entry of declared?.split(',') ?? []) {
      const [name = '', port = ''] = entry.trim().split(':');
      const bound = ports[`${port}/tcp`]?.[0];
      if (!bound) continue;
      const key = `/discover/service/${name}/default/${host.id}/${id.slice(0, 12)}`;
      keys.set(key, `tcp://${host.ip}:${bound.HostPort}`);
      record[name] = key;
    }
    if (Object.keys(record).length > 0)
      keys.set(`/discover/host/${host.id}/${id.slice(0, 12)}`, JSON.stringify(record));
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
    const held = found.get(key);
    if (held === undefined) missing++;
    else if (held !== value) wrong++;
  }
  for (const key of found.keys()) if (isOfContainer(key) && !expected.has(key)) stale++;
  return { missing, stale, wrong };
}

/** Follows what etcd holds towards what it must hold, and notes when the two last became equal. */
export class Pursuit {
  readonly #expected: ReadonlyMap<string, string>;
  readonly #state: Map<string, string>;
  #off: number;
  /** Undefined where they never were equal, or were from the start. */
  exactAtMs: number | undefined;

  /** Changes `state`. */
  constructor(expected: ReadonlyMap<string, string>, state: Map<string, string>) {
    this.#expected = expected;
    this.#state = state;
    const { missing, stale, wrong } = deviationOf(expected, state);
    this.#off = missing + stale + wrong;
  }

  get isExact(): boolean {
    return this.#off === 0;
  }

  apply({ at, key, value }: Event): void {
    if (!isOfContainer(key)) return;
    const wanted = this.#expected.get(key);
    const [before, after] = [this.#state.get(key) !== wanted, value !== wanted];
    if (value === undefined) this.#state.delete(key);
    else this.#state.set(key, value);
    this.#off += Number(after) - Number(before);
    if (this.#off === 0 && before) this.exactAtMs = at;
  }
}

export interface Latencies {
  readonly publishMs: readonly number[];
  readonly unpublishMs: readonly number[];
  /** Whose service was never put at all. */
  readonly neverSeen: number;
}

/** From the engine's event to the key's appearance, and from its end to the key's. */
export function latenciesOf(lives: readonly Lifecycle[], events: readonly Event[]): Latencies {
  const [put, deleted] = [new Map<string, number>(), new Map<string, number>()];
  for (const { at, key, value } of events) {
    if (!key.startsWith('/discover/service/')) continue;
    const short = key.slice(-12);
    if (value === undefined) deleted.set(short, at);
    else if (!put.has(short)) put.set(short, at);
  }
  const [publishMs, unpublishMs]: number[][] = [[], []];
  for (const { endedMs, id, startedMs } of lives) {
    const short = id.slice(0, 12);
    const [upMs, downMs] = [put.get(short), deleted.get(short)];
    if (upMs !== undefined) publishMs?.push(upMs - startedMs);
    if (downMs !== undefined && endedMs !== undefined) unpublishMs?.push(downMs - endedMs);
  }
  return {
    publishMs: publishMs ?? [],
    unpublishMs: unpublishMs ?? [],
    neverSeen: lives.length - (publishMs?.length ?? 0),
  };
}
