/**
 * The address at which other machines reach this host: found out, where the configuration does not set it.
 *
 * It is the one from which the kernel sends along the default route, per family. `host.interface` and `host.cidr` limit
 * the choice. Without such facts the result is a problem that lists the choices, and never a loopback or link-local
 * address. Nothing is sent to find out.
 */
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { availableParallelism, hostname, type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { isIn, urlHost } from './container/address/ip.ts';
import type { Problem } from './errors.ts';

/** The source of the facts; tests bring their own. */
export interface Machine {
  readonly cores: number;
  readonly hostname: string;
  /** The URL of EC2's metadata service. */
  readonly metadataUrl: string;
  interfaces(): NodeJS.Dict<NetworkInterfaceInfo[]>;
  /** The address from which the kernel would send by the default route; undefined if there is none. Sends nothing. */
  sourceAddress(family: Family): Promise<string | undefined>;
  /** The text of a small file; undefined if it cannot be read. */
  read(path: string): string | undefined;
}

export type Family = 'IPv4' | 'IPv6';

/** Addresses for documentation, which no machine has: only the default route leads there. */
const elsewhere = { IPv4: '192.0.2.1', IPv6: '2001:db8::1' } as const;

/** Connecting a UDP socket looks up the route and sends nothing. */
function sourceAddress(family: Family): Promise<string | undefined> {
  const socket = createSocket(family === 'IPv4' ? 'udp4' : 'udp6');
  return new Promise((resolve) => {
    const finish = (address: string | undefined) => {
      socket.close();
      resolve(address);
    };
    socket.once('error', () => finish(undefined));
    socket.connect(9, elsewhere[family], () => finish(socket.address().address));
  });
}

export const realMachine: Machine = {
  cores: availableParallelism(),
  hostname: hostname(),
  metadataUrl: 'http://169.254.169.254',
  interfaces: networkInterfaces,
  sourceAddress,
  read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined; // A missing file is a fact about the machine too.
    }
  },
};

/** What the configuration says of the address. */
export interface WantedAddress {
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
  readonly interface?: string | undefined;
  /** Networks in order of preference. */
  readonly cidr?: readonly string[] | undefined;
  /** Find out a second address, IPv6, where the first is IPv4. */
  readonly wantsBoth?: boolean | undefined;
}

export interface FoundAddress {
  /** Empty if there is none. */
  readonly ip: string;
  readonly ip6?: string | undefined;
  readonly origins: { readonly ip: string; readonly ip6?: string | undefined };
  /** The default route leads to it, or the configuration; else it is a guess. */
  readonly isCertain: boolean;
  /** Why it is this one, for people. */
  readonly reason: string;
  readonly warnings: readonly Problem[];
  readonly problems: readonly Problem[];
}

/** Loopback and link-local addresses, also in the form of IPv6, and multicast: right here, wrong everywhere else. */
const local = /^(?:::ffff:)?(?:127\.|169\.254\.|22[4-9]\.|23\d\.|255\.255\.255\.255$)|^(?:::1$|fe[89ab].:|ff)/i;
/**
 * Interfaces that lead to containers and guests: their addresses mean nothing outside this machine, and are often the
 * same on every machine. `br-lan` and `br-ex` are no such.
 */
export const leadsToContainers =
  /^(?:docker\d+|docker_gwbridge|br-[\da-f]{12}|veth[\da-f]{7,8}|cni.*|podman\d+|nerdctl\d+|virbr\d+|lx[cd]br\d+)$/;

/** Addresses of interfaces that lead to containers. */
export function containerAddresses(machine: Machine = realMachine): string[] {
  return Object.entries(machine.interfaces())
    .filter(([name]) => leadsToContainers.test(name))
    .flatMap(([, list = []]) => list.map(({ address }) => address));
}

/** What the interfaces of the machine say at one moment. */
export interface MachineView {
  readonly containerAddresses: readonly string[];
  /** The networks, as CIDRs, of the interfaces that have these addresses. */
  networksOf(...addresses: readonly (string | undefined)[]): readonly string[];
}

export function viewOfMachine(machine: Machine = realMachine): MachineView {
  const all = Object.values(machine.interfaces()).flatMap((list = []) => list);
  return {
    containerAddresses: containerAddresses(machine),
    networksOf: (...addresses) =>
      all.flatMap(({ address, cidr }) => (cidr !== null && addresses.includes(address) ? [cidr] : [])),
  };
}

type Address = NetworkInterfaceInfo & { readonly name: string; readonly isTemporary?: boolean };

export async function findAddress(wanted: WantedAddress, machine: Machine = realMachine): Promise<FoundAddress> {
  const warnings: Problem[] = [];
  const problems: Problem[] = [];
  const settings = { warnings, problems };
  if (wanted.ip) {
    warnings.push(...warningsOf('host.ip', wanted.ip, machine));
    const second = isIPv6(wanted.ip) ? undefined : await secondOf(wanted, undefined, machine);
    if (isIPv6(wanted.ip) && wanted.ip6 !== undefined) {
      problems.push({ path: 'host.ip6', reason: 'must be left out where host.ip is an IPv6 address' });
    }
    return { ip: wanted.ip, isCertain: true, reason: '', ...settings, ...withSecond('configured', second) };
  }
  const usable = usableAddresses(machine);
  const outward = usable.filter((one) => !leadsToContainers.test(one.name));
  const isLimited = wanted.interface !== undefined || wanted.cidr !== undefined;
  const list = isLimited ? limited(usable, wanted) : outward;
  const routed = await towardsOthers(list, machine);
  const found = routed ?? (isLimited ? ownFirst(list) : guessed(usable, outward, machine));
  if (found === undefined) {
    problems.push(noAddress(wanted, isLimited ? usable : outward));
    return { ip: '', isCertain: false, reason: '', origins: { ip: '' }, ...settings };
  }
  warnings.push(...warningsAbout(wanted, found, outward, machine));
  const origin = `interface ${found.name}`;
  const isCertain = isLimited || found === routed;
  const reason = reasonOf(wanted, found === routed);
  if (found.family === 'IPv6' && wanted.ip6 !== undefined) {
    return { ip: wanted.ip6, isCertain: true, reason: '', origins: { ip: 'host.ip6' }, ...settings };
  }
  const second = found.family === 'IPv6' ? undefined : await secondOf(wanted, found, machine);
  return { ip: found.address, isCertain, reason, ...settings, ...withSecond(origin, second) };
}

function reasonOf({ interface: name, cidr }: WantedAddress, isRouted: boolean): string {
  const limits = [
    ...(name === undefined ? [] : [`of host.interface ${name}`]),
    ...(cidr ? [`in host.cidr ${cidr}`] : []),
  ];
  const route = isRouted
    ? 'the kernel sends from it along the default route'
    : 'the kernel has no default route from it';
  return [...limits, route].join(', ');
}

type Second = { readonly ip6: string; readonly origin: string } | undefined;

function withSecond(origin: string, second: Second): Pick<FoundAddress, 'ip6' | 'origins'> {
  if (second === undefined) return { origins: { ip: origin } };
  return { ip6: second.ip6, origins: { ip: origin, ip6: second.origin } };
}

/** The IPv6 address beside an IPv4 address: as configured, else where both families are wanted. */
async function secondOf(wanted: WantedAddress, first: Address | undefined, machine: Machine): Promise<Second> {
  if (wanted.ip6 !== undefined) return { ip6: wanted.ip6, origin: 'configured' };
  if (!wanted.wantsBoth) return undefined;
  const all = usableAddresses(machine).filter(({ family, name }) => family === 'IPv6' && !leadsToContainers.test(name));
  const list = wanted.interface === undefined && wanted.cidr === undefined ? all : limited(all, wanted);
  const routed = await towardsOthers(list, machine, ['IPv6']);
  const found = routed ?? list.find(({ name }) => name === first?.name);
  return found && { ip6: found.address, origin: `interface ${found.name}` };
}

/** Addresses that others may reach, the better ones of an interface first. */
function usableAddresses(machine: Machine): Address[] {
  const flags = ipv6Flags(machine);
  return Object.entries(machine.interfaces())
    .flatMap(([name, list = []]) =>
      list.map((one) => ({ name, ...one, flags: flags.get(urlHost(one.address) ?? '') ?? 0 })),
    )
    .filter((one) => !one.internal && !local.test(one.address) && (one.flags & unusable) === 0)
    .map((one, index) => ({ one: { ...one, isTemporary: (one.flags & temporary) !== 0 }, index }))
    .sort((a, b) => rankOf(a.one) - rankOf(b.one) || a.index - b.index)
    .map(({ one }) => one);
}

/** An address that moves between hosts has no network of its own; a temporary one is replaced by the day. */
const rankOf = ({ cidr, family, isTemporary }: Address): number =>
  isTemporary || cidr?.endsWith(family === 'IPv4' ? '/32' : '/128') ? 1 : 0;

/** The kernel's flags: of an address for privacy; and of one that failed or is not verified, or is not to be used any more. */
const temporary = 0x01;
const unusable = 0x08 | 0x20 | 0x40;

/** By address, as in a URL. */
function ipv6Flags(machine: Machine): ReadonlyMap<string, number> {
  const rows = (machine.read('/proc/net/if_inet6') ?? '').split('\n').map((row) => row.trim().split(/\s+/));
  return new Map(
    rows.flatMap(([digits = '', , , , flags = '']) => {
      const host = urlHost(digits.match(/.{4}/g)?.join(':') ?? '');
      return host ? [[host, Number.parseInt(flags, 16)] as const] : [];
    }),
  );
}

/** Those on the interface, and of the first network that has any. */
function limited(usable: readonly Address[], { interface: name, cidr }: WantedAddress): readonly Address[] {
  const list = name === undefined ? usable : usable.filter((one) => one.name === name);
  if (cidr === undefined) return list;
  for (const network of cidr) {
    const inside = list.filter(({ address }) => isIn(network, urlHost(address) ?? ''));
    if (inside.length > 0) return inside;
  }
  return [];
}

const ownFirst = (list: readonly Address[]): Address | undefined =>
  list.find(({ family }) => family === 'IPv4') ?? list[0];

/** Where the kernel does not tell. */
function guessed(usable: readonly Address[], outward: readonly Address[], machine: Machine): Address | undefined {
  const routes = defaultRoutes(machine);
  // Last, because a machine whose only way out has such a name still has a way out.
  return addressOf(outward, ['eth0', ...routes]) ?? addressOf(usable, routes);
}

function noAddress(wanted: WantedAddress, list: readonly Address[]): Problem {
  const choices = list.map((one) => `${one.name} ${one.address}`).join(', ');
  const there = `; there is: ${choices || 'none'}`;
  if (wanted.cidr !== undefined) {
    const on = wanted.interface === undefined ? '' : ` of ${wanted.interface}`;
    return {
      path: 'host.cidr',
      reason: `must be a network with an address${on}, got "${wanted.cidr.join(',')}"${there}`,
    };
  }
  if (wanted.interface !== undefined) {
    const reason = `must be an interface that other machines can reach, got "${wanted.interface}"`;
    return { path: 'host.interface', reason: `${reason}${there}` };
  }
  const reason = 'or host.interface must be set: the default route and eth0 lead to no address that others can reach';
  return { path: 'host.ip', reason: `${reason}${there}` };
}

function warningsOf(path: string, ip: string, machine: Machine): Problem[] {
  if (local.test(ip)) return [{ path, reason: `${ip} cannot be reached from other machines` }];
  const name = interfaceOf(ip, machine);
  const isOfContainers = name !== undefined && containerAddresses(machine).includes(ip);
  return isOfContainers ? [{ path, reason: `${ip} ${ofContainers(name)}` }] : [];
}

const ofContainers = (name: string): string =>
  `is the address of ${name}, which leads to containers of this host: other machines do not reach it`;

function warningsAbout(
  wanted: WantedAddress,
  found: Address,
  outward: readonly Address[],
  machine: Machine,
): Problem[] {
  const warnings: Problem[] = [];
  const limit = wanted.cidr !== undefined ? 'host.cidr' : wanted.interface !== undefined ? 'host.interface' : undefined;
  if (limit !== undefined && leadsToContainers.test(found.name)) {
    warnings.push({ path: limit, reason: `${found.address} ${ofContainers(found.name)}` });
  }
  const eth0 = limit === undefined ? addressOf(outward, ['eth0']) : undefined;
  if (eth0 && eth0.name !== found.name) {
    const reason = `is ${found.address} of ${found.name}, where the default route leads, not ${eth0.address} of eth0: set host.interface to eth0 if others reach this host there`;
    warnings.push({ path: 'host.ip', reason });
  }
  if (isContainer(machine)) {
    const advice = 'run discover with --network host or set host.ip';
    const reason = `${found.address} may be the address of a container instead of the host: ${advice}`;
    warnings.push({ path: 'host.ip', reason });
  }
  return warnings;
}

/** The address of the first of these interfaces that has one, IPv4 before IPv6. */
function addressOf(list: readonly Address[], names: readonly string[]): Address | undefined {
  for (const family of ['IPv4', 'IPv6']) {
    for (const name of names) {
      const found = list.find((one) => one.name === name && one.family === family);
      if (found) return found;
    }
  }
  return undefined;
}

/** The address from which the kernel sends along the default route. */
async function towardsOthers(
  list: readonly Address[],
  machine: Machine,
  families: readonly Family[] = ['IPv4', 'IPv6'],
): Promise<Address | undefined> {
  for (const family of families) {
    const source = await machine.sourceAddress(family);
    const found = source && list.find(({ address }) => address === source);
    // The kernel may prefer an address for privacy, which is replaced by the day.
    if (found) return (found.isTemporary ? list.find((one) => isBeside(one, found)) : undefined) ?? found;
  }
  return undefined;
}

const isBeside = ({ name, cidr, isTemporary }: Address, found: Address): boolean =>
  !isTemporary && name === found.name && cidr !== null && isIn(cidr, urlHost(found.address) ?? '');

/** The interface of this machine that has the address, if there is one. */
export function interfaceOf(ip: string, machine: Machine = realMachine): string | undefined {
  return Object.entries(machine.interfaces()).find(([, list = []]) => list.some(({ address }) => address === ip))?.[0];
}

/** The interfaces of the default routes, IPv4 before IPv6, lowest metric first. */
function defaultRoutes(machine: Machine): string[] {
  const rows = (path: string) => (machine.read(path) ?? '').split('\n').map((row) => row.trim().split(/\s+/));
  const ipv4 = rows('/proc/net/route')
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
    .map(([name = '', , , flags = '', , , metric = '']) => ({ name, flags, metric: Number(metric) }));
  const ipv6 = rows('/proc/net/ipv6_route')
    .filter(([destination, length]) => destination === '0'.repeat(32) && length === '00')
    .map(([, , , , , metric, , , flags = '', name = '']) => ({ name, flags, metric: Number(`0x${metric}`) }));
  // RTF_UP without RTF_REJECT: the kernel lists "unreachable" as a default route as well.
  return [ipv4, ipv6]
    .flatMap((routes) => routes.sort((a, b) => a.metric - b.metric))
    .filter(({ flags }) => (Number.parseInt(flags, 16) & 0x201) === 1)
    .map(({ name }) => name);
}

/** Whether discover runs in a container with a network of its own, under the name that Docker made up for it. */
export function isContainer(machine: Machine): boolean {
  const isMarked = ['/.dockerenv', '/run/.containerenv'].some((path) => machine.read(path) !== undefined);
  return isMarked && /^[0-9a-f]{12}$/.test(machine.hostname);
}
