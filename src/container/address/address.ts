/**
 * The address of an entry, by the policy of the host and the labels of its container.
 *
 * On the host's network, and where a container uses the network of another one that is not known yet, there is no choice:
 * the address is that of the host, or there is none.
 */
import type { RefusalCode } from '../container.ts';
import { matchesGlob } from '../glob.ts';
import { type Entry, refusal, textOf } from '../sources/advertisement.ts';
import { instanceHost, isIn } from './ip.ts';
import { ownAddress } from './own.ts';
import { type Address, type HostNetwork, isRouted, publicAddress, reached, recordOf } from './published.ts';
import type { AddressPolicy, AddressWishes } from './wishes.ts';

export const usualPolicy: AddressPolicy = { from: 'published' };
const noNetworks: readonly string[] = [];

export function addressOf(
  entry: Entry,
  network: HostNetwork,
  policy: AddressPolicy = usualPolicy,
  wishes?: AddressWishes,
): Address {
  const from = wishes?.from ?? policy.from;
  // The view `{{ip6}}` needs it too, so a second address that is known is told.
  const isBoth = policy.families === 'both' || network.hostIp6 !== undefined;
  if (wishes?.host !== undefined) return labelled(entry, network, policy, wishes.host);
  if (from === 'published' || network.networkMode === 'host') return publicAddress(entry, network, isBoth);
  const port = `${entry.privatePort}/${entry.protocol}`;
  if (from === 'either' && network.published.has(port)) {
    const published = publicAddress(entry, network, isBoth);
    if (published.kind === 'reached' || !isRouted(port, network)) return published;
  }
  const networks = wishes?.networks ?? policy.networks ?? noNetworks;
  const own = ownAddress(entry, network, networks, wishes?.networks !== undefined, true);
  const hasNone = own.kind === 'refused' && own.refusal.code === 'no-address';
  // Why the container has no address is told where its ports are judged: it has no network, or that of another one.
  if (hasNone && (from === 'either' || isElsewhere(network))) return publicAddress(entry, network, isBoth);
  return own;
}

const isElsewhere = ({ networkMode }: HostNetwork): boolean =>
  typeof networkMode === 'string' && (networkMode === 'none' || networkMode.startsWith('container:'));

/** An address that a label names, where the host allows it. The port is that of the container. */
function labelled(entry: Entry, network: HostNetwork, { allowLabel = [] }: AddressPolicy, host: string): Address {
  const isAllowed = allowLabel.some((one) => isIn(one, host) || isOn(network, one, host));
  if (isAllowed) return reached(host, entry.privatePort);
  const code: RefusalCode = 'address-not-allowed';
  const allowed = allowLabel.length === 0 ? 'no address by label' : allowLabel.join(', ');
  return {
    kind: 'refused',
    refusal: refusal(code, textOf(entry), `${host} is not allowed: the host allows ${allowed}`),
  };
}

/** Whether the address lies in a network of this name that the container is on. */
function isOn({ networks }: HostNetwork, glob: string, host: string): boolean {
  return Object.entries(networks).some(([name, settings]) => {
    if (!matchesGlob(glob, name)) return false;
    const { IPAddress, IPPrefixLen, GlobalIPv6Address, GlobalIPv6PrefixLen } = recordOf(settings);
    const v4 = instanceHost(IPAddress, 4) !== undefined && isIn(`${IPAddress}/${IPPrefixLen}`, host);
    return (
      v4 ||
      (instanceHost(GlobalIPv6Address, 6) !== undefined && isIn(`${GlobalIPv6Address}/${GlobalIPv6PrefixLen}`, host))
    );
  });
}
