/**
 * The keys of all hosts: reading them, and deleting those of one host.
 *
 * The owner keys are read before all others. If a host returns meanwhile, its owner key is another one than the one that
 * was read, and every deletion compares the owner key. Keys that do not have the form of the layout, and other keys
 * below the prefix, are not read here and so never deleted.
 */

import { absent, type Fleet, type KeyRevision, operationsMax } from '../etcd/registry.ts';
import { hostOf } from '../layout/keys.ts';

export interface HostKeys {
  readonly owner?: KeyRevision;
  /** Records, service keys and meta keys. */
  readonly keys: readonly KeyRevision[];
}

export async function readFleet(fleet: Fleet, prefix: string): Promise<Map<string, HostKeys>> {
  const hosts = new Map<string, { owner?: KeyRevision; keys: KeyRevision[] }>();
  for (const tree of ['owner', 'host', 'service', 'meta']) {
    for (const keyRevision of await fleet.keyRevisions(`${prefix}/${tree}/`)) {
      const host = hostOf(prefix, keyRevision.key);
      if (host === undefined) continue;
      const found = hosts.get(host) ?? { keys: [] };
      hosts.set(host, found);
      if (tree === 'owner') found.owner = keyRevision;
      else found.keys.push(keyRevision);
    }
  }
  return hosts;
}

/**
 * Deletes the keys while they and the owner key (unless `isForced`) are unchanged since they were read. A changed key
 * means that a process writes for this host; then the rest stays. Yields the keys of each transaction.
 */
export async function* removeHost(
  fleet: Fleet,
  ownerKey: string,
  { owner, keys }: HostKeys,
  isForced: boolean,
): AsyncGenerator<readonly string[]> {
  const guard = isForced ? [] : [{ key: ownerKey, revision: owner?.revision ?? absent }];
  for (let start = 0; start < keys.length; start += operationsMax) {
    const chunk = keys.slice(start, start + operationsMax);
    const names = chunk.map(({ key }) => key);
    if (!(await fleet.removeIf([...guard, ...chunk], names))) return;
    yield names;
  }
}
