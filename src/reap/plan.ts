/**
 * The hosts whose keys are deleted: decided from the keys in etcd and, if there is one, a list of living hosts. Pure.
 *
 * Without a list, a host is alive while its owner key or any of its keys is on a lease: such a key disappears by itself
 * once the lease is not renewed. With a list, a host is alive if the list has it. A host that the list does not have, but
 * whose owner key is on a lease, is kept. Only `force` overrides both.
 *
 * All keys of a living host are on its lease. A key of it without a lease was written by hand, and is deleted.
 */
import { type LeaseId, noLease } from '../layout/owner.ts';
import type { HostKeys } from './fleet.ts';

export interface Wish {
  /** The living hosts by the list; undefined: decide by leases. */
  readonly living: ReadonlySet<string> | undefined;
  /** Hosts that are reaped even if they are alive. They do not count against the limit. */
  readonly force: ReadonlySet<string>;
  /** The percentage of all hosts that may be reaped; rounded up, so that one host may be reaped unless it is 0. */
  readonly maxPercent: number;
  /** Whether an empty set of living hosts is accepted. */
  readonly allowEmpty: boolean;
}

export interface Reaped {
  readonly host: string;
  readonly why: 'no lease' | 'not in the list' | 'forced' | 'key without lease';
  readonly found: HostKeys;
}

export interface Plan {
  readonly hosts: number;
  readonly reaped: readonly Reaped[];
  /** Hosts that the list does not have and whose owner is alive. */
  readonly kept: readonly string[];
  /** The reason why the plan may not be carried out. */
  readonly refusal?: string;
}

const isLeased = ({ lease }: { readonly lease: LeaseId }): boolean => lease !== noLease;

export function planReap(hosts: ReadonlyMap<string, HostKeys>, wish: Wish): Plan {
  const { living, force } = wish;
  const reaped: Reaped[] = [];
  const kept: string[] = [];
  let leased = 0;
  for (const [host, found] of hosts) {
    const isOwned = found.owner !== undefined && isLeased(found.owner);
    const isAnyLeased = isOwned || found.keys.some(isLeased);
    if (isAnyLeased) leased++;
    if (found.keys.length === 0) continue;
    if (force.has(host)) reaped.push({ host, why: 'forced', found });
    else if (living === undefined && !isAnyLeased) reaped.push({ host, why: 'no lease', found });
    else if (living !== undefined && !living.has(host) && !isOwned)
      reaped.push({ host, why: 'not in the list', found });
    else {
      if (living !== undefined && !living.has(host)) kept.push(host);
      const strays = isOwned ? found.keys.filter((key) => !isLeased(key)) : [];
      if (strays.length > 0) reaped.push({ host, why: 'key without lease', found: { ...found, keys: strays } });
    }
  }
  const refusal = refusalOf(reaped, hosts.size, living === undefined ? leased : living.size, wish);
  return { hosts: hosts.size, reaped, kept, ...(refusal !== undefined && { refusal }) };
}

function refusalOf(reaped: readonly Reaped[], hosts: number, alive: number, wish: Wish): string | undefined {
  if (reaped.length === 0) return undefined;
  if (alive === 0 && !wish.allowEmpty) {
    const who = wish.living === undefined ? 'no host holds a lease' : 'the list of living hosts is empty';
    return `${who}: pass --allow-empty to confirm`;
  }
  const count = reaped.filter(({ why }) => why !== 'forced' && why !== 'key without lease').length;
  const limit = Math.ceil((hosts * wish.maxPercent) / 100);
  if (count <= limit) return undefined;
  return `${count} of ${hosts} hosts would go and --max-percent ${wish.maxPercent} allows ${limit}: raise it to proceed`;
}
