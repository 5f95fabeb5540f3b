/**
 * The keys of a host in etcd, found without reading those of other hosts: the keys on its lease and on that
 * of its predecessor, the records below its own prefix, and the service keys that these name.
 */

import type { LeaseId, Ownership, Registry } from '../etcd/registry.ts';
import { foreign, type Held, ours } from '../layout/held.ts';
import type { Layout } from '../layout/keys.ts';

export interface PredecessorKeys {
  readonly leases: readonly LeaseId[];
  /** As `Layout.containerOf`, and for keys of views that are no longer on. */
  readonly containerOf: (key: string) => string | undefined;
}

/** By the short id of a container: its keys, each `foreign` if it is not on our lease. */
export async function readHost(
  registry: Registry,
  layout: Layout,
  ownership: Ownership,
  /** The possible keys of a predecessor: the leases to read beside ours, and the container of each key. */
  predecessorKeys: PredecessorKeys,
): Promise<Map<string, Map<string, Held>>> {
  const keys: string[] = [];
  for (const lease of new Set([ownership.lease, ...predecessorKeys.leases])) {
    // Not as arguments of one call: any user of etcd can put any number of keys on a lease.
    for (const key of (await registry.lease(lease, true)).keys) keys.push(key);
  }
  const records = await registry.readPrefix(layout.recordPrefix);
  const wanted = new Set<string>();
  for (const key of keys) {
    if (predecessorKeys.containerOf(key) === undefined || key.startsWith(layout.recordPrefix)) continue;
    // mutant: read no keys of views
    wanted.add(layout.plainKeyOf(key) ?? key);
  }
  for (const { key, value } of records) {
    const shortId = layout.containerOf(key);
    if (shortId === undefined) continue;
    for (const [name, said] of entriesIn(value)) {
      wanted.add(layout.serviceKey(name, shortId));
      // A record is not trusted: it says in which realm the key of this container is, and no more.
      const isItsOwn = layout.containerOf(said) === shortId && layout.nameOf(said) === name;
      if (isItsOwn && layout.plainKeyOf(said) === said) wanted.add(said);
    }
  }
  const reading = new Map<string, Map<string, Held>>();
  for (const { key, value, lease } of [...records, ...(await registry.readKeys([...wanted]))]) {
    const shortId = predecessorKeys.containerOf(key);
    if (shortId === undefined) continue;
    const observed = reading.get(shortId) ?? new Map<string, Held>();
    reading.set(shortId, observed.set(key, lease === ownership.lease ? ours(value) : foreign));
  }
  return reading;
}

/** The names of a record and what it says of each. */
function entriesIn(record: string): [name: string, said: string][] {
  try {
    const names: unknown = JSON.parse(record);
    if (typeof names !== 'object' || names === null) return [];
    return Object.entries(names)
      .filter(([name]) => name !== '' && !name.includes('/'))
      .map(([name, said]) => [name, String(said)]);
  } catch {
    return [];
  }
}
