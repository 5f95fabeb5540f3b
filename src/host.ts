/**
 * What this machine says about itself: the address to publish and the id to publish under.
 *
 * Both are guessed only from what stays true over a restart and can be reached from outside;
 * where that is not to be had, the answer is a problem that lists the choices, never a loopback
 * address. No packet leaves the machine unless its firmware says that it is EC2.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, hostname, type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { messageOf, type Problem } from './errors.ts';

/** Where the facts come from; tests bring their own. */
export interface Machine {
  readonly cores: number;
  readonly hostname: string;
  /** Where EC2 answers for its instances. */
  readonly metadataUrl: string;
  interfaces(): NodeJS.Dict<NetworkInterfaceInfo[]>;
  /** The text of a small file, undefined where it cannot be read. */
  read(path: string): string | undefined;
}

export const realMachine: Machine = {
  cores: availableParallelism(),
  hostname: hostname(),
  metadataUrl: 'http://169.254.169.254',
  interfaces: networkInterfaces,
  read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined; // A file that is not there is a fact about the machine as well.
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
  /** How each was found out. */
  readonly origins: { readonly ip: string; readonly id: string };
  readonly warnings: readonly Problem[];
  /** Why no ip or id was found; that one is empty then. */
  readonly problems: readonly Problem[];
}

type Finding = readonly [value: string, origin: string];
interface Notes {
  readonly warnings: Problem[];
  readonly problems: Problem[];
}

const instanceId = /^i-[0-9a-f]{8,17}$/;
/** Loopback and link-local addresses: right here, wrong everywhere else. */
const local = /^(127\.|169\.254\.|::1$|fe[89ab].:)/i;
/** Interfaces that lead to containers: their addresses mean nothing outside this machine. */
export const leadsToContainers = /^(docker\d|br-|veth|cni)/;

/** The address and id of this host: as wanted, else found out. */
export async function detectHost(wanted: WantedHost, machine: Machine = realMachine): Promise<HostFacts> {
  const notes: Notes = { warnings: [], problems: [] };
  const [ip, ipOrigin] = findIp(wanted, machine, notes);
  const [id, idOrigin] = wanted.id ? [wanted.id, 'configured'] : await findId(machine, notes);
  return { ip, id, origins: { ip: ipOrigin, id: idOrigin }, ...notes };
}

function findIp(wanted: WantedHost, machine: Machine, { warnings, problems }: Notes): Finding {
  if (wanted.ip) {
    if (local.test(wanted.ip))
      warnings.push({ path: 'host.ip', reason: `${wanted.ip} cannot be reached from other machines` });
    return [wanted.ip, 'configured'];
  }
  const usable = Object.entries(machine.interfaces())
    .flatMap(([name, list = []]) => list.map((one) => ({ name, ...one })))
    .filter((one) => !one.internal && !local.test(one.address));
  const outward = usable.filter((one) => !leadsToContainers.test(one.name));
  const first = (list: typeof usable, name: string, family: string) =>
    list.find((one) => one.name === name && one.family === family);

  const routes = defaultRoutes(machine);
  const [list, preferred] = wanted.interface ? [usable, [wanted.interface]] : [outward, ['eth0', ...routes]];
  let found: ReturnType<typeof first>;
  for (const name of preferred) found ??= first(list, name, 'IPv4');
  for (const name of wanted.interface ? preferred : routes) found ??= first(list, name, 'IPv6');
  if (!found) {
    const problem = wanted.interface
      ? `must be an interface that other machines can reach, got "${wanted.interface}"`
      : 'or host.interface must be set: eth0 and the default route lead to no address that others can reach';
    const choices = list.map((one) => `${one.name} ${one.address}`).join(', ');
    const path = wanted.interface ? 'host.interface' : 'host.ip';
    problems.push({ path, reason: `${problem}; there is: ${choices || 'none'}` });
    return ['', ''];
  }
  if (isContainer(machine)) {
    const advice = 'run discover with --network host or set host.ip';
    const reason = `${found.address} may be the address of a container instead of the host: ${advice}`;
    warnings.push({ path: 'host.ip', reason });
  }
  return [found.address, `interface ${found.name}`];
}

/** The interface that has the address, if one of this machine does. */
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

/** The instance id by IMDSv2: a token first, then the question, one second for both. */
async function askMetadata(url: string): Promise<string> {
  const signal = AbortSignal.timeout(1000);
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
