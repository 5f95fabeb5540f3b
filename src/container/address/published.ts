/**
 * Where the outside reaches an entry: what Docker publishes for its port, as a URL.
 *
 * A wildcard binding is reached at the host's address; a binding to one address at that address;
 * a binding to loopback not at all, and saying so beats publishing what nobody can open.
 * The document is foreign JSON: whatever has not the known shape counts as not published.
 *
 * Two bindings of one port to the same wildcard keep Docker's order, as in the original.
 */
import { isIP } from 'node:net';
import type { Refusal } from '../container.ts';
import { type Entry, parsePort, refusal, textOf } from '../sources/variable.ts';

/** One way in. */
export interface Binding {
  /** As it stands in a URL, IPv6 canonical and in brackets; empty where Docker names no address. */
  readonly host: string;
  readonly port: number;
}

/** `<port>/<protocol>` to its bindings, in Docker's order; only ports that have any. */
export type PublishedPorts = ReadonlyMap<string, readonly Binding[]>;

export interface HostNetwork {
  readonly hostIp: string;
  /** `HostConfig.NetworkMode` of the document. */
  readonly networkMode: unknown;
  readonly published: PublishedPorts;
}

export type Address =
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const LOOPBACK = /^(?:127\.|\[::1\]$|\[::ffff:7f..:)/;
// Enough to show the slip, short enough for a log line.
const PORTS_NAMED = 5;

/** Reads `NetworkSettings.Ports`. Podman leaves `HostIp` empty, Docker leaves out bindings of exposed ports. */
export function bindingsOf(ports: unknown): PublishedPorts {
  const published = new Map<string, readonly Binding[]>();
  if (!isRecord(ports)) return published;
  for (const [port, listed] of Object.entries(ports)) {
    const bindings = Array.isArray(listed) ? listed.map(readBinding).filter((binding) => binding !== undefined) : [];
    if (bindings.length > 0) published.set(port, bindings);
  }
  return published;
}

/** The URL of an entry, or why nobody else could reach it. */
export function publicUrl(entry: Entry, network: HostNetwork): Address {
  const hostIp = urlHost(network.hostIp) ?? network.hostIp;
  const url = (host: string, port: number): Address => ({ kind: 'url', url: `${entry.protocol}://${host}:${port}` });
  if (network.networkMode === 'host') return url(hostIp, entry.privatePort);

  const port = `${entry.privatePort}/${entry.protocol}`;
  const bindings = network.published.get(port) ?? [];
  const [best] = [...bindings].sort((a, b) => compareBindings(a, b, hostIp));
  if (best === undefined) return refused('not-published', entry, notPublished(port, network.published));
  const rank = rankOf(best.host, hostIp);
  if (rank === RANK.loopback) {
    return refused('loopback', entry, `${port} is bound to ${best.host} only; publish it on an address of the host`);
  }
  return url(rank < RANK.hostIp ? hostIp : best.host, best.port);
}

/** Best first; every rank below `hostIp` is a wildcard, reached at the host's address. */
const RANK = { ownWildcard: 0, unnamed: 1, otherWildcard: 2, hostIp: 3, otherAddress: 4, loopback: 5 } as const;

function rankOf(host: string, hostIp: string): number {
  if (LOOPBACK.test(host)) return RANK.loopback;
  if (host === '') return RANK.unnamed;
  if (host === '0.0.0.0') return hostIp.startsWith('[') ? RANK.otherWildcard : RANK.ownWildcard;
  if (host === '[::]') return hostIp.startsWith('[') ? RANK.ownWildcard : RANK.otherWildcard;
  return host === hostIp ? RANK.hostIp : RANK.otherAddress;
}

function compareBindings(a: Binding, b: Binding, hostIp: string): number {
  const rank = rankOf(a.host, hostIp);
  const byRank = rank - rankOf(b.host, hostIp);
  if (byRank !== 0 || rank < RANK.hostIp) return byRank;
  if (a.host !== b.host) return a.host < b.host ? -1 : 1;
  return a.port - b.port;
}

function readBinding(value: unknown): Binding | undefined {
  const { HostIp, HostPort } = isRecord(value) ? value : {};
  const address = HostIp ?? '';
  const host = typeof address === 'string' ? urlHost(address) : undefined;
  const port = typeof HostPort === 'string' ? parsePort(HostPort) : undefined;
  return host === undefined || port === undefined ? undefined : { host, port };
}

function urlHost(address: string): string | undefined {
  // Docker publishes on both wildcards: the one that needs a parser stands in most documents.
  if (address === '::') return '[::]';
  if (address === '' || isIP(address) === 4) return address;
  // A zone (fe80::1%eth0) means something on this host only.
  if (isIP(address) !== 6 || address.includes('%')) return undefined;
  return new URL(`http://[${address}]`).hostname;
}

function notPublished(port: string, published: PublishedPorts): string {
  if (published.size === 0) return `${port} is not published, nor is any other port; run the container with -p`;
  const named = [...published.keys()].slice(0, PORTS_NAMED).join(', ');
  const more = published.size > PORTS_NAMED ? ` and ${published.size - PORTS_NAMED} more` : '';
  return `${port} is not published; published are ${named}${more}`;
}

function refused(code: 'not-published' | 'loopback', entry: Entry, detail: string): Address {
  return { kind: 'refused', refusal: refusal(code, textOf(entry), detail) };
}

/** A JSON object: neither null nor an array. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
