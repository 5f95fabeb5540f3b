/**
 * A migration against what etcd holds, and its writing.
 *
 * Only keys that are not there are written, and only for hosts without an owner key: every transaction compares both. So
 * no key of another program and no key of an agent is ever changed.
 */
import { absent, type Fleet, type LeaseId, operationsMax, type Registry } from '../etcd/registry.ts';
import type { Change } from '../layout/keys.ts';
import type { Copied, Left, Migration } from './plan.ts';

export interface Checked {
  /** The keys to write, by container: only those that are not there. */
  readonly puts: readonly Copied[];
  /** The keys that etcd has with the same value. */
  readonly there: readonly string[];
  readonly left: readonly Left[];
}

export async function check(
  { copied, left: before }: Migration,
  registry: Pick<Registry & Fleet, 'keyRevisions' | 'readKeys'>,
  prefix: string,
): Promise<Checked> {
  const owned = new Set((await registry.keyRevisions(`${prefix}/owner/`)).map(({ key }) => key));
  const wanted = copied.flatMap(({ keys }) => [...keys.keys()]);
  const found = new Map((await registry.readKeys(wanted)).map(({ key, value }) => [key, value]));
  const left = [...before];
  const there: string[] = [];
  const puts: Copied[] = [];
  for (const one of copied) {
    const leave = (reason: string): void => void left.push(...one.from.map((key) => ({ key, reason })));
    const other = [...one.keys].find(([key, value]) => found.has(key) && found.get(key) !== value);
    const missing = new Map([...one.keys].filter(([key]) => !found.has(key)));
    if (owned.has(`${prefix}/owner/${one.host}`)) leave(`an agent writes for ${one.host}, and writes its keys itself`);
    else if (other !== undefined) leave(`${other[0]} is there with another value, which is not touched`);
    else {
      there.push(...[...one.keys.keys()].filter((key) => found.has(key)));
      if (missing.size > 0) puts.push({ ...one, keys: missing });
    }
  }
  return { puts, there, left };
}

/** Yields the keys of each transaction. A container whose host or keys have changed since the check is left out. */
export async function* write(
  puts: readonly Copied[],
  registry: Pick<Fleet, 'putIf'>,
  prefix: string,
  lease: LeaseId,
): AsyncGenerator<readonly string[]> {
  // Each key and the owner key are compared, and etcd counts comparisons as it counts operations.
  const most = operationsMax - 1;
  for (const { host, keys } of puts) {
    const changes: Change[] = [...keys].map(([key, value]) => ({ key, value }));
    for (let start = 0; start < changes.length; start += most) {
      const chunk = changes.slice(start, start + most);
      const unchanged = [`${prefix}/owner/${host}`, ...chunk.map(({ key }) => key)];
      const guard = unchanged.map((key) => ({ key, revision: absent }));
      if (!(await registry.putIf(guard, chunk, lease))) break;
      yield chunk.map(({ key }) => key);
    }
  }
}
