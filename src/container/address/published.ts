/**
 * The address at which other machines reach an entry, by the published ports of the engine, or why there is none.
 *
 * A wildcard binding is reached at the host's address of the same family; a binding to one address is reached at that
 * address. A binding to an address that only this host knows (loopback, the gateway of a bridge, link-local) is not
 * reached: a refusal is better than an address that other machines cannot open, or that belongs to another machine.
 *
 * The document is foreign JSON: a part without the known shape counts as not published. The outcome does not depend on
 * the order in which the engine lists bindings.
 */
import type { At, Refusal, RefusalCode } from '../container.ts';
import { type Entry, parsePort, refusal, textOf } from '../sources/advertisement.ts';
import { type Family, familyOf, isIn, isLinkLocal, isLoopback, urlHost, withoutBrackets } from './ip.ts';

/** One way in. */
export interface Binding {
  /** As in a URL, IPv6 canonical and in brackets; empty if the engine names no address. */
  readonly host: string;
  readonly port: number;
}

/** `<port>/<protocol>` to its bindings; only ports that have any. */
export type PublishedPorts = ReadonlyMap<string, readonly Binding[]>;

/** The facts of the host about itself. */
export interface HostView {
  /** The address at which other machines reach this host, IPv4 or IPv6 without brackets; empty while it has none. */
  readonly hostIp: string;
  /** A second one, if the first is not IPv6. */
  readonly hostIp6?: string | undefined;
  /** Addresses that lead to containers of this host only, beside the gateways of its networks. */
  readonly hostOnly?: readonly string[] | undefined;
  /** The networks that the host's addresses are in, as CIDRs. */
  readonly hostNetworks?: readonly string[] | undefined;
}

/** The facts of an inspect document about the network, and the facts of the host about itself. */
export interface HostNetwork {
  /** As in a URL. */
  readonly hostIp: string;
  readonly hostIp6: string | undefined;
  readonly hostNetworks: readonly string[];
  /** `HostConfig.NetworkMode` of the document. */
  readonly networkMode: unknown;
  readonly published: PublishedPorts;
  /** The ports that the engine was asked to publish, as `80/tcp`: a list where it was. Foreign. */
  readonly requested: Readonly<Record<string, unknown>>;
  /** The networks it is on, by name. Foreign. */
  readonly networks: Readonly<Record<string, unknown>>;
  /** Addresses that lead to containers of this host only, beside the gateways of its networks. */
  readonly hostOnly: readonly string[];
  /** `NetworkSettings`, which names the gateways of the default bridge. Foreign. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** The engine has a network of its own beside the host's: rootless dockerd behind rootlesskit. */
  readonly isRootless: boolean;
}

export type Address =
  /** As in a `Service`. */
  ({ readonly kind: 'reached'; readonly other?: At } & At) | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Below the run-time directory of a user: where dockerd is started by dockerd-rootless.sh. */
const ROOTLESS_SANDBOX = /^(?:\/var)?\/run\/user\/\d+\/|\/\.docker\/run\//;
// Enough to show the slip, short enough for a log line.
const PORTS_NAMED = 5;

/** Reads the network facts of an inspect document. */
export function hostNetworkOf(document: unknown, host: HostView): HostNetwork {
  const { hostIp, hostIp6, hostOnly = [], hostNetworks = [] } = host;
  const settings = recordOf(recordOf(document).NetworkSettings);
  const config = recordOf(recordOf(document).HostConfig);
  return {
    hostIp: urlHost(hostIp) ?? hostIp,
    hostIp6: hostIp6 === undefined ? undefined : urlHost(hostIp6),
    hostNetworks,
    networkMode: config.NetworkMode,
    published: hasLeftNetworks(config.NetworkMode, settings.Networks) ? new Map() : bindingsOf(settings.Ports),
    requested: recordOf(config.PortBindings),
    networks: recordOf(settings.Networks),
    hostOnly,
    settings,
    isRootless: typeof settings.SandboxKey === 'string' && ROOTLESS_SANDBOX.test(settings.SandboxKey),
  };
}

/**
 * Podman still shows the ports of a container that has left all its networks, though nothing forwards them any more.
 * Its mode for every network that has a name is `bridge`. With slirp4netns or pasta no network has one, and the ports
 * are open.
 */
function hasLeftNetworks(networkMode: unknown, networks: unknown): boolean {
  return networkMode === 'bridge' && isRecord(networks) && Object.keys(networks).length === 0;
}

/** Reads `NetworkSettings.Ports`. Podman leaves `HostIp` empty, Docker gives an exposed port no bindings. */
export function bindingsOf(ports: unknown): PublishedPorts {
  const published = new Map<string, readonly Binding[]>();
  if (!isRecord(ports)) return published;
  for (const [port, listed] of Object.entries(ports)) {
    const bindings = Array.isArray(listed) ? listed.map(readBinding).filter((binding) => binding !== undefined) : [];
    if (bindings.length > 0) published.set(port, bindings);
  }
  return published;
}

/** The address of an entry, or why other machines could not reach it. `isBoth`: and one of the other family. */
export function publicAddress(entry: Entry, network: HostNetwork, isBoth = false): Address {
  const { hostIp, hostIp6 } = network;
  const port = `${entry.privatePort}/${entry.protocol}`;
  const refused = (code: RefusalCode, detail: string): Address => ({
    kind: 'refused',
    refusal: refusal(code, textOf(entry), detail),
  });
  const gone = () => refused('no-host-address', `${port} is published, and the host has no address at present`);

  if (network.networkMode === 'host') {
    if (network.isRootless) {
      return refused('rootless-host-network', `${port} is open in the network of a rootless engine, not of the host`);
    }
    const [first, second] = [hostIp, hostIp6].filter((host) => host);
    return first === undefined ? gone() : reached(first, entry.privatePort, isBoth ? second : undefined);
  }
  let best: Ranked | undefined;
  for (const { host, port: at } of network.published.get(port) ?? []) {
    const ranked = { host, port: at, rank: rankOf(host, network) };
    if (best === undefined || compareBindings(ranked, best) < 0) best = ranked;
  }
  if (best === undefined) return refused(...whyNotPublished(port, network));
  switch (best.rank) {
    case RANK.loopback:
      return refused('loopback', `${port} is bound to ${best.host} only; publish it on an address of the host`);
    case RANK.hostOnly:
      return refused('host-only', `${port} is bound to ${best.host} only, which other machines do not reach`);
    case RANK.otherFamily:
      if (isRouted(port, network)) return refused(...routed(port));
      return refused('other-family', `${port} is bound to ${best.host} only, and the host's address is ${hostIp}`);
    case RANK.noHost:
      return gone();
    default: {
      const host = hostOf(best, network);
      const second = isBoth ? bestOf(familyOf(host) === 6 ? 4 : 6, port, network, best.port) : undefined;
      return reached(host, best.port, second && hostOf(second, network), second?.port);
    }
  }
}

/** Whether the engine routes this port to the container instead of one of the host: it shows a binding without a port. */
export function isRouted(port: string, { settings }: HostNetwork): boolean {
  const bindings = recordOf(settings.Ports)[port];
  return Array.isArray(bindings) && bindings.some((binding) => recordOf(binding).HostPort === '');
}

const routed = (port: string): [code: RefusalCode, detail: string] => [
  'not-bound',
  `${port} is open at the container's own address: its network is routed`,
];

/** `other` is the address of the other family, at the same port unless another one is given. */
export function reached(host: string, port: number, other?: string, otherPort = port): Address {
  const at = { kind: 'reached', address: withoutBrackets(host), port } as const;
  return other === undefined ? at : { ...at, other: { address: withoutBrackets(other), port: otherPort } };
}

/** Best first. From `noHost` on none is reached. */
const RANK = {
  // The wildcard of the host's address, no address, and the host's address itself.
  ...{ ownWildcard: 0, unnamed: 1, hostIp: 2 },
  // The same for the second address.
  ...{ secondWildcard: 3, hostIp6: 4 },
  ...{ hostNetwork: 5, otherAddress: 6 },
  ...{ noHost: 7, otherFamily: 8, hostOnly: 9, loopback: 10 },
} as const;
type Rank = (typeof RANK)[keyof typeof RANK];
type Ranked = Binding & { readonly rank: Rank };

function rankOf(host: string, network: HostNetwork): Rank {
  const { hostIp, hostIp6, hostNetworks } = network;
  if (host === '') return hostIp === '' ? RANK.noHost : RANK.unnamed;
  if (host === '0.0.0.0') {
    if (hostIp === '') return RANK.noHost;
    return hostIp.startsWith('[') ? RANK.otherFamily : RANK.ownWildcard;
  }
  if (host === '[::]') {
    // A host that is configured by name may have addresses of both.
    if (hostIp !== '' && familyOf(hostIp) !== 4) return RANK.ownWildcard;
    if (hostIp6 !== undefined) return RANK.secondWildcard;
    return hostIp === '' ? RANK.noHost : RANK.otherFamily;
  }
  if (isLoopback(host)) return RANK.loopback;
  // First, because an operator who configures such an address as the host's means it.
  if (host === hostIp) return RANK.hostIp;
  if (host === hostIp6) return RANK.hostIp6;
  if (isHostOnly(host, network) || isLinkLocal(host)) return RANK.hostOnly;
  return hostNetworks.some((cidr) => isIn(cidr, host)) ? RANK.hostNetwork : RANK.otherAddress;
}

/** Where a binding is reached. */
function hostOf({ host, rank }: Ranked, { hostIp, hostIp6 }: HostNetwork): string {
  if (rank < RANK.hostIp) return hostIp;
  return rank === RANK.secondWildcard ? (hostIp6 ?? host) : host;
}

/** The best binding that is reached at an address of this family; of equal ones that with the port `like`. */
function bestOf(family: Family, port: string, network: HostNetwork, like: number): Ranked | undefined {
  const order = (one: Ranked) => (one.port === like ? 0 : 1);
  return (network.published.get(port) ?? [])
    .map((binding) => ({ ...binding, rank: rankOf(binding.host, network) }))
    .filter((one) => one.rank < RANK.noHost && familyOf(hostOf(one, network)) === family)
    .sort((a, b) => a.rank - b.rank || order(a) - order(b) || compareBindings(a, b))[0];
}

/** The gateways are read here and not before, because a binding to one address is rare. */
function isHostOnly(host: string, { hostOnly, networks, settings }: HostNetwork): boolean {
  const gateways = [settings, ...Object.values(networks).map(recordOf)].flatMap(({ Gateway, IPv6Gateway }) => {
    return [Gateway, IPv6Gateway];
  });
  return [...gateways, ...hostOnly].some((one) => typeof one === 'string' && urlHost(one) === host);
}

function compareBindings(a: Ranked, b: Ranked): number {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.host !== b.host) return a.host < b.host ? -1 : 1;
  return a.port - b.port;
}

function readBinding(value: unknown): Binding | undefined {
  const { HostIp, HostPort } = recordOf(value);
  const address = HostIp ?? '';
  const host = typeof address === 'string' ? urlHost(address) : undefined;
  const port = typeof HostPort === 'string' ? parsePort(HostPort) : undefined;
  return host === undefined || port === undefined ? undefined : { host, port };
}

function whyNotPublished(port: string, network: HostNetwork): [code: RefusalCode, detail: string] {
  const { networkMode, networks, published, requested } = network;
  const mode = typeof networkMode === 'string' ? networkMode : '';
  if (mode === 'none') return ['no-network', `${port} is not published: the container has no network`];
  if (mode.startsWith('container:')) {
    return ['shared-network', `${port} is not published by the container whose network this one uses`];
  }
  if (Object.hasOwn(networks, 'ingress')) {
    return ['swarm-ingress', `${port} is published by the swarm for all of its hosts, not by this one`];
  }
  if (isRouted(port, network)) return routed(port);
  if (Array.isArray(requested[port]))
    return ['not-bound', `${port} was to be published, and the engine has bound no address to it`];
  if (published.size === 0) {
    return ['not-published', `${port} is not published, nor is any other port; run the container with -p`];
  }
  const named = [...published.keys()].slice(0, PORTS_NAMED).join(', ');
  const more = published.size > PORTS_NAMED ? ` and ${published.size - PORTS_NAMED} more` : '';
  return ['not-published', `${port} is not published; published are ${named}${more}`];
}

/** A JSON object: neither null nor an array. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}
