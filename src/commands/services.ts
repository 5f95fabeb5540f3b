/** The common parts of `ls`, `get` and `watch`: the client, the choice of instances and the ways to print them. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DiscoverClient, Instance, Query } from '../client/index.ts';
import { resolveEtcd } from '../config/resolve.ts';
import { readSources, type Sources } from '../config/sources.ts';
import { codeOf, detailsOf } from '../errors.ts';
import type { EtcdAccess } from '../etcd/access.ts';
import { type Io, tellingOfWait, warnOf } from './command.ts';
import { assignments, json, table, variable } from './print.ts';

export const choice = {
  realm: { type: 'string', description: 'Only instances of this realm (all realms)' },
  protocol: { type: 'string', choices: ['tcp', 'udp', 'sctp'], description: 'Only instances of this protocol (all)' },
} as const;

export async function connect(sources: Sources, io: Io): Promise<DiscoverClient> {
  const { etcd, warnings } = resolveEtcd(readSources(sources));
  warnOf(warnings, io);
  const what = `etcd at ${etcd.endpoints.join(', ')}`;
  await tellingOfWait(what, io, refuseDeadEndpoints(etcd));
  const { DiscoverClient } = await import('../client/index.ts');
  return new DiscoverClient(etcd);
}

/**
 * The client waits ten seconds for etcd to answer. If no endpoint is one of etcd (it refuses, closes the connection, speaks
 * no TLS or another protocol), a person should know at once. A server that is slow or has no leader may answer yet.
 */
async function refuseDeadEndpoints(etcd: EtcdAccess): Promise<void> {
  const { Member } = await import('../etcd/member.ts');
  const failures = await Promise.all(
    etcd.endpoints.map(async (endpoint) => {
      const member = new Member(endpoint, etcd);
      try {
        await member.call('status', ({ maintenance }) => maintenance.status(), { isOpen: true });
        return undefined;
      } catch (error) {
        return error;
      } finally {
        member.close();
      }
    }),
  );
  const [first] = failures;
  const isLasting = (error: unknown): boolean =>
    codeOf(error) === 'ETCD_UNAVAILABLE' && detailsOf(error).failure !== 'timeout';
  if (failures.every(isLasting)) throw first;
}

export const queryOf = ({ realm, protocol, all }: { realm?: string; protocol?: string; all?: boolean }): Query => ({
  realm,
  protocol,
  ...(all && { states: true }),
});

const completionTimeoutMs = 300;

/** The names that completion offers: none where etcd does not answer at once. */
export async function serviceNames(sources: Sources): Promise<readonly string[]> {
  try {
    const { etcd } = resolveEtcd(readSources(sources));
    const { DiscoverClient } = await import('../client/index.ts');
    await using client = new DiscoverClient(etcd);
    const found = await Promise.race([client.services(), sleep(completionTimeoutMs, undefined, { ref: false })]);
    return [...(found?.keys() ?? [])].sort();
  } catch {
    return []; // Completion reports no mistake while a person is typing.
  }
}

/** `10.0.0.5:49153`, IPv6 in brackets. */
export const addressOf = ({ url }: Instance): string => url.slice(url.indexOf('://') + 3);

export const sorted = (instances: readonly Instance[]): Instance[] =>
  [...instances].sort((one, other) => (one.key < other.key ? -1 : 1));

/** The fields of an instance in JSON output: all but its name, which is said once for its service. */
export function describe({ name: _name, ...fields }: Instance): Omit<Instance, 'name'> {
  return fields;
}

/** The name has a prefix, because a service called `path` must not set PATH. */
export const shellName = (service: string): string => `discovered_${service}`;

/** Groups of services with the same variable in a shell, such as `web.api` and `web-api`. */
export function clashes(names: readonly string[]): [string, ...string[]][] {
  const byVariable = new Map<string, [string, ...string[]]>();
  for (const name of names) {
    const others = byVariable.get(variable(shellName(name)));
    if (others === undefined) byVariable.set(variable(shellName(name)), [name]);
    else others.push(name);
  }
  return [...byVariable.values()].filter((group) => group.length > 1);
}

export type Services = readonly (readonly [name: string, instances: readonly Instance[]])[];

/** `columns` is the width of the terminal, if it is one: a wide table is cut to fit it. */
export function print(
  services: Services,
  as: 'table' | 'wide' | 'json' | 'env',
  { columns, withStates = false }: { readonly columns?: number | undefined; readonly withStates?: boolean } = {},
): string {
  if (as === 'json') {
    return json(services.map(([name, instances]) => ({ name, instances: sorted(instances).map(describe) })));
  }
  if (as === 'env') {
    return assignments(
      services.map(([name, instances]) => [shellName(name), sorted(instances).map(addressOf).join(' ')]),
    );
  }
  const all = services.flatMap(([, instances]) => sorted(instances));
  // The column is there only where it is asked for: without it every instance has a key, and so is ready.
  const head = withStates ? ['STATE'] : [];
  const stateOf = ({ state = 'ready' }: Instance) => (withStates ? [state] : []);
  if (as === 'wide') {
    const rows = all.map((one) => [...stateOf(one), ...wideRow(one)]);
    return table([...head, ...wideHeads], rows, columns);
  }
  const rows = all.map((one) => [...stateOf(one), one.name, one.realm, one.host, one.containerId, one.url]);
  return table([...head, 'SERVICE', 'REALM', 'HOST', 'CONTAINER', 'ADDRESS'], rows);
}

const wideHeads = ['SERVICE', 'REALM', 'HOST', 'ZONE', 'CONTAINER', 'IMAGE', 'WEIGHT', 'TAGS', 'ADDRESS'];

function wideRow(one: Instance): string[] {
  const { name, realm, host, zone, container, containerId, image, weight, tags, url } = one;
  const cells = [name, realm, host, zone, container ?? containerId, image, weight?.toString(), tags?.join(','), url];
  // A dash, so that a program finds each column at its place.
  return cells.map((cell) => (cell === undefined || cell === '' ? '-' : cell));
}

/** What an instance says beside its address, in words: ` weight=3 tags=a,b version=2`; empty if it says nothing. */
export function attributesText({ weight, priority, tags, zone, attributes }: Instance): string {
  const all = { weight, priority, tags: tags?.join(','), zone, ...attributes };
  const said = Object.entries(all).filter(([, value]) => value !== undefined);
  return said.map(([name, value]) => ` ${name}=${value}`).join('');
}
