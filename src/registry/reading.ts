/**
 * What a host has in etcd, found without reading anybody else's: the keys on its lease, the records below
 * its own prefix, and the service keys that these two name.
 */

import type { Layout } from '../model/keys.ts';
import type { Registry, Tenure } from './registry.ts';

/** By the 12 digits of a container: its keys, each with its value, or undefined where it is not on our lease. */
export async function readHost(
  registry: Registry,
  layout: Layout,
  tenure: Tenure,
): Promise<Map<string, Map<string, string | undefined>>> {
  const { keys } = await registry.lease(tenure.lease, true);
  const records = await registry.readPrefix(layout.recordPrefix);
  const wanted = new Set<string>();
  for (const key of keys) if (layout.containerOf(key) && layout.nameOf(key)) wanted.add(plainOf(key));
  for (const { key, value } of records) {
    const short = layout.containerOf(key);
    // A path that stands in etcd is never followed: only names are taken from a record.
    if (short !== undefined) for (const name of namesIn(value)) wanted.add(layout.serviceKey(name, short));
  }
  const reading = new Map<string, Map<string, string | undefined>>();
  for (const { key, value, lease } of [...records, ...(await registry.readKeys([...wanted]))]) {
    const short = layout.containerOf(key);
    if (short === undefined) continue;
    const observed = reading.get(short) ?? new Map<string, string | undefined>();
    reading.set(short, observed.set(key, lease === tenure.lease ? value : undefined));
  }
  return reading;
}

function namesIn(record: string): string[] {
  try {
    const names: unknown = JSON.parse(record);
    if (typeof names !== 'object' || names === null) return [];
    return Object.keys(names).filter((name) => name !== '' && !name.includes('/'));
  } catch {
    return [];
  }
}

/** A service key without the port that further ports of a name carry. */
function plainOf(key: string): string {
  const end = key.indexOf(':', key.lastIndexOf('/'));
  return end < 0 ? key : key.slice(0, end);
}
