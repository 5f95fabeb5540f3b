/**
 * The address of a container itself, on one of the engine's networks, or why there is none.
 *
 * The network is chosen by its name: by `address.networks`, or because the container is on no other one. The order in
 * which the engine lists networks never decides. A part of the document without the known form counts as no address.
 */
import type { RefusalCode } from '../container.ts';
import { matchesGlob } from '../glob.ts';
import { type Entry, refusal, textOf } from '../sources/advertisement.ts';
import { familyOf, instanceHost } from './ip.ts';
import { type Address, type HostNetwork, reached, recordOf } from './published.ts';

interface Candidate {
  readonly network: string;
  /** As in a URL. */
  readonly v4: string | undefined;
  readonly v6: string | undefined;
}

/** The network through which a swarm publishes ports: its addresses are reached by the swarm alone. */
const INGRESS = 'ingress';
/** Enough to choose among, short enough for a log line. */
const NETWORKS_SHOWN = 10;

/**
 * `networks`: globs of networks in order of preference. `isAsked`: the container itself named them, so no other network
 * takes their place. `isBoth`: and an address of the other family.
 */
export function ownAddress(
  entry: Entry,
  network: HostNetwork,
  networks: readonly string[],
  isAsked: boolean,
  isBoth: boolean,
): Address {
  const port = `${entry.privatePort}/${entry.protocol}`;
  const refused = (code: RefusalCode, detail: string): Address => ({
    kind: 'refused',
    refusal: refusal(code, textOf(entry), detail),
  });
  if (network.isRootless) {
    return refused(
      'rootless-network',
      `${port} is open in a network of a rootless engine, which other machines do not reach`,
    );
  }
  const candidates = candidatesOf(network, networks);
  const [found, among] = choose(candidates, networks, isAsked);
  if (found !== undefined) {
    const isIpv6First = familyOf(network.hostIp) === 6;
    const [first, second] = [isIpv6First ? found.v6 : found.v4, isIpv6First ? found.v4 : found.v6];
    // A candidate has one of them.
    return reached(first ?? second ?? '', entry.privatePort, isBoth && first !== undefined ? second : undefined);
  }
  if (among.length > 1) {
    return refused('network-ambiguous', `${port} is open on ${listOf(among)}, and none of them is named`);
  }
  if (candidates.length > 0) {
    const wanted = networks.slice(0, NETWORKS_SHOWN).join(', ');
    return refused(
      'network-missing',
      `${port} should be published on ${wanted}, but the container is on ${listOf(candidates)}`,
    );
  }
  if (Object.hasOwn(network.networks, INGRESS)) {
    return refused('swarm-ingress', `${port} is published by the swarm for all of its hosts, not by this one`);
  }
  return refused('no-address', `${port} is on no network that gives the container an address`);
}

/** The networks on which the container has an address, by their names. */
function candidatesOf({ networks }: HostNetwork, named: readonly string[]): Candidate[] {
  const candidates: Candidate[] = [];
  for (const [network, settings] of Object.entries(networks)) {
    if (network === INGRESS && !named.includes(INGRESS)) continue;
    const { IPAddress, GlobalIPv6Address } = recordOf(settings);
    const v4 = instanceHost(IPAddress, 4);
    // Written as IPv6, an IPv4 address is no address of this field.
    const v6 = instanceHost(GlobalIPv6Address, 6);
    if (v4 !== undefined || v6 !== undefined) candidates.push({ network, v4, v6 });
  }
  return candidates.sort((a, b) => (a.network < b.network ? -1 : 1));
}

/** The network that counts; else those among which there is no choice. */
function choose(
  candidates: readonly Candidate[],
  networks: readonly string[],
  isAsked: boolean,
): [found: Candidate | undefined, among: readonly Candidate[]] {
  for (const glob of networks) {
    const matching = candidates.filter(({ network }) => matchesGlob(glob, network));
    if (matching.length > 0) return [matching.length === 1 ? matching[0] : undefined, matching];
  }
  if (isAsked) return [undefined, []];
  return [candidates.length === 1 ? candidates[0] : undefined, candidates];
}

function listOf(candidates: readonly Candidate[]): string {
  const listed = candidates.slice(0, NETWORKS_SHOWN).map(({ network, v4, v6 }) => `${network} (${v4 ?? v6})`);
  const more = candidates.length > NETWORKS_SHOWN ? ` and ${candidates.length - NETWORKS_SHOWN} more` : '';
  return listed.join(', ') + more;
}
