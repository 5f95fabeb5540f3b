/**
 * The defaults of `host.ip` and `host.id`: the address to publish and the name of this host.
 *
 * Both come only from facts that survive a restart. The address has to be reachable from outside: it is the one from
 * which the kernel sends along the default route. Without such facts the result is a problem that lists the choices, and
 * never a loopback address. No packet leaves the machine unless its firmware says that it is EC2.
 */
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { availableParallelism, hostname, type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { messageOf, type Problem } from './errors.ts';

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

type Family = 'IPv4' | 'IPv6';

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

export interface WantedHost {
  readonly ip?: string | undefined;
  readonly id?: string | undefined;
  readonly interface?: string | undefined;
}

export interface HostFacts {
  readonly ip: string;
  readonly id: string;
  /** The source of each value. */
  readonly origins: { readonly ip: string; readonly id: string };
  readonly warnings: readonly Problem[];
  /** The reasons why no ip or no id was found; the missing value is empty. */
  readonly problems: readonly Problem[];
}

type Finding = readonly [value: string, origin: string];
interface Notes {
  readonly warnings: Problem[];
  readonly problems: Problem[];
}

const instanceId = /^i-[0-9a-f]{8,17}$/;
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

/** The address and id of this host: as wanted, else found out. */
export async function detectHost(wanted: WantedHost, machine: Machine = realMachine): Promise<HostFacts> {
  const notes: Notes = { warnings: [], problems: [] };
  const [ip, ipOrigin] = await findIp(wanted, machine, notes);
  const [id, idOrigin] = wanted.id ? [wanted.id, 'configured'] : await findId(machine, notes);
  return { ip, id, origins: { ip: ipOrigin, id: idOrigin }, ...notes };
}

async function findIp(wanted: WantedHost, machine: Machine, { warnings, problems }: Notes): Promise<Finding> {
  if (wanted.ip) {
    const name = interfaceOf(wanted.ip, machine);
    if (local.test(wanted.ip))
      warnings.push({ path: 'host.ip', reason: `${wanted.ip} cannot be reached from other machines` });
    else if (name !== undefined && containerAddresses(machine).includes(wanted.ip))
      warnings.push({ path: 'host.ip', reason: `${wanted.ip} ${ofContainers(name)}` });
    return [wanted.ip, 'configured'];
  }
  const usable = Object.entries(machine.interfaces())
    .flatMap(([name, list = []]) => list.map((one) => ({ name, ...one })))
    .filter((one) => !one.internal && !local.test(one.address));
  const routes = defaultRoutes(machine);
  const outward = usable.filter((one) => !leadsToContainers.test(one.name));
  const detect = async (): Promise<Address | undefined> =>
    // Last, because a machine whose only way out has such a name still has a way out.
    (await towardsOthers(outward, machine)) ?? addressOf(outward, ['eth0', ...routes]) ?? addressOf(usable, routes);
  const [list, found] = wanted.interface ? [usable, addressOf(usable, [wanted.interface])] : [outward, await detect()];
  if (!found) {
    const problem = wanted.interface
      ? `must be an interface that other machines can reach, got "${wanted.interface}"`
      : 'or host.interface must be set: the default route and eth0 lead to no address that others can reach';
    const choices = list.map((one) => `${one.name} ${one.address}`).join(', ');
    const path = wanted.interface ? 'host.interface' : 'host.ip';
    problems.push({ path, reason: `${problem}; there is: ${choices || 'none'}` });
    return ['', ''];
  }
  if (wanted.interface && !outward.includes(found)) {
    warnings.push({ path: 'host.interface', reason: `${found.address} ${ofContainers(found.name)}` });
  }
  const eth0 = wanted.interface ? undefined : addressOf(outward, ['eth0']);
  if (eth0 && eth0.name !== found.name) {
    const reason = `is ${found.address} of ${found.name}, where the default route leads, not ${eth0.address} of eth0: set host.interface to eth0 if others reach this host there`;
    warnings.push({ path: 'host.ip', reason });
  }
  if (isContainer(machine)) {
    const advice = 'run discover with --network host or set host.ip';
    const reason = `${found.address} may be the address of a container instead of the host: ${advice}`;
    warnings.push({ path: 'host.ip', reason });
  }
  return [found.address, `interface ${found.name}`];
}

const ofContainers = (name: string): string =>
  `is the address of ${name}, which leads to containers of this host: other machines do not reach it`;

type Address = NetworkInterfaceInfo & { readonly name: string };

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
async function towardsOthers(list: readonly Address[], machine: Machine): Promise<Address | undefined> {
  for (const family of ['IPv4', 'IPv6'] as const) {
    const source = await machine.sourceAddress(family);
    const found = source && list.find(({ address }) => address === source);
    if (found) return found;
  }
  return undefined;
}

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

async function findId(machine: Machine, { warnings, problems }: Notes): Promise<Finding> {
  const firmware = (name: string): string => machine.read(`/sys/class/dmi/id/${name}`)?.trim() ?? '';
  const asset = firmware('board_asset_tag');
  if (instanceId.test(asset)) return [asset, 'EC2 instance id'];
  // Xen instances name Amazon in the BIOS version only, and root alone may read their product_uuid.
  const signs = ['sys_vendor', 'bios_vendor', 'bios_version', 'product_uuid'].map(firmware);
  if (signs.some((sign) => /^ec2|^Amazon EC2$|\.amazon$/i.test(sign))) {
    try {
      return [await askMetadata(machine.metadataUrl), 'EC2 instance id'];
    } catch (error) {
      const reason = `is the host name, because the EC2 metadata service did not tell: ${messageOf(error)}`;
      warnings.push({ path: 'host.id', reason });
    }
  }
  if (isContainer(machine)) {
    const reason = `the host name ${machine.hostname} is the id of a container and changes at each start`;
    problems.push({ path: 'host.id', reason: `must be set: ${reason}` });
    return ['', ''];
  }
  return [machine.hostname, 'host name'];
}

/** For token and id. */
const metadataMs = 5_000;

/** The instance id by IMDSv2: a token first, then the query. A machine that starts is busy, and another id moves all keys. */
async function askMetadata(url: string): Promise<string> {
  const signal = AbortSignal.timeout(metadataMs);
  const ask = async (path: string, method: string, headers: Record<string, string>): Promise<string> => {
    const response = await fetch(`${url}/latest/${path}`, { method, headers, signal, redirect: 'error' });
    if (!response.ok) throw new Error(`HTTP status ${response.status} to ${method} /latest/${path}`);
    return (await response.text()).trim();
  };
  const token = await ask('api/token', 'PUT', { 'X-aws-ec2-metadata-token-ttl-seconds': '60' });
  const id = await ask('meta-data/instance-id', 'GET', { 'X-aws-ec2-metadata-token': token });
  if (!instanceId.test(id)) throw new Error('the answer is not an instance id');
  return id;
}

/** Whether discover runs in a container with a network of its own, under the name that Docker made up for it. */
function isContainer(machine: Machine): boolean {
  const isMarked = ['/.dockerenv', '/run/.containerenv'].some((path) => machine.read(path) !== undefined);
  return isMarked && /^[0-9a-f]{12}$/.test(machine.hostname);
}
