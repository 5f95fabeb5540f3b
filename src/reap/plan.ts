/**
 * Whose keys go: decided from what etcd holds and who is said to live. Pure.
 *
 * By leases a host lives while its owner key or any of its keys hangs on one: a key on a lease goes by itself once
 * nobody renews it, so there is nothing to do about it. By a list a host lives that is on it; and where the
 * list is wrong about one whose owner key hangs on a lease, the owner counts. Only `force` goes before both.
 */
import type { HostKeys } from './fleet.ts';

export interface Wish {
  /** Those that live, by the list; undefined to go by leases. */
  readonly living: ReadonlySet<string> | undefined;
  /** Taken away whoever lives there. They do not count against the limit. */
  readonly force: ReadonlySet<string>;
  /** Of all hosts, how many per cent may go; rounded up, so that one always may unless it is 0. */
  readonly maxPercent: number;
  /** Whether to believe that no host lives. */
  readonly allowEmpty: boolean;
}

export interface Reaped {
  readonly host: string;
  readonly why: 'no lease' | 'not in the list' | 'forced';
  readonly found: HostKeys;
}

export interface Plan {
  readonly hosts: number;
  readonly reaped: readonly Reaped[];
  /** Those that the list leaves out and an owner speaks for. */
  readonly kept: readonly string[];
  /** Why nothing of it may be done. */
  readonly refusal?: string;
}

const isLeased = ({ lease }: { readonly lease: string }): boolean => lease !== '0';

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
    else if (living === undefined) {
      if (!isAnyLeased) reaped.push({ host, why: 'no lease', found });
    } else if (!living.has(host)) {
      if (isOwned) kept.push(host);
      else reaped.push({ host, why: 'not in the list', found });
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
  const count = reaped.filter(({ why }) => why !== 'forced').length;
  const limit = Math.ceil((hosts * wish.maxPercent) / 100);
  if (count <= limit) return undefined;
  return `${count} of ${hosts} hosts would go, the limit of --max-percent ${wish.maxPercent} is ${limit}: raise it to proceed`;
}
