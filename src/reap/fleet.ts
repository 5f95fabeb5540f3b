/**
 * The keys of all hosts, as found, and how those of one go.
 *
 * The owner keys are read before all others, so that a host which comes to life meanwhile has another owner key
 * than the one seen, and every deletion compares that too. Keys of another shape than the layout's, and
 * whatever lies elsewhere below the prefix, are never seen here and so never deleted.
 */

import { absent, type Fleet, type KeyRevision, operationsMax } from '../etcd/registry.ts';
import { hostOf } from '../layout/keys.ts';

export interface HostKeys {
  readonly owner?: KeyRevision;
  /** Records and service keys. */
  readonly keys: readonly KeyRevision[];
}

export async function readFleet(fleet: Fleet, prefix: string): Promise<Map<string, HostKeys>> {
  const hosts = new Map<string, { owner?: KeyRevision; keys: KeyRevision[] }>();
  for (const tree of ['owner', 'host', 'service']) {
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
 * Deletes the keys as long as they, and the owner key with them (unless `isForced`), are as they were seen.
 * Once one of them is not, somebody writes for this host: the rest stays. Yields the keys of each transaction.
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
