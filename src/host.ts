/**
 * The defaults of `host.ip` and `host.id`: the address to publish and the name of this host.
 *
 * Both come only from facts that survive a restart. The address is chosen in `host-address.ts`. No packet leaves the
 * machine unless its firmware says that it is EC2.
 */
import { messageOf, type Problem } from './errors.ts';
import { findAddress, isContainer, type Machine, realMachine, type WantedAddress } from './host-address.ts';

export interface WantedHost extends WantedAddress {
  readonly id?: string | undefined;
}

export interface HostFacts {
  readonly ip: string;
  readonly ip6?: string | undefined;
  /** Neither the configuration nor the default route has led to the address. */
  readonly isGuessed: boolean;
  readonly id: string;
  /** Why it is this address, for people; empty where it is configured. */
  readonly reason: string;
  /** The source of each value. */
  readonly origins: { readonly ip: string; readonly ip6?: string | undefined; readonly id: string };
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

/** The address and id of this host: as wanted, else found out. */
export async function detectHost(wanted: WantedHost, machine: Machine = realMachine): Promise<HostFacts> {
  const { ip, ip6, origins, isCertain, reason, warnings, problems } = await findAddress(wanted, machine);
  const notes: Notes = { warnings: [...warnings], problems: [...problems] };
  const [id, idOrigin] = wanted.id ? [wanted.id, 'configured'] : await findId(machine, notes);
  return {
    ip,
    ...(ip6 !== undefined && { ip6 }),
    id,
    isGuessed: !isCertain,
    reason,
    origins: { ...origins, id: idOrigin },
    ...notes,
  };
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
