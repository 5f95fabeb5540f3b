/**
 * Addresses as text: their family, one form for each address, and whether a network has an address.
 *
 * An address is written as in a URL here, so IPv6 is in brackets. Text that is no address gives undefined: an engine's
 * document is foreign.
 */
import { BlockList, isIP } from 'node:net';

export type Family = 4 | 6;

/** An IPv4 address in the form of IPv6: the socket is one of IPv4. */
const MAPPED = /^\[::ffff:([\da-f]{1,4}):([\da-f]{1,4})\]$/;
const LOOPBACK = /^(?:127\.|\[::1\]$)/;
const LINK_LOCAL = /^(?:169\.254\.|\[fe[89ab].:)/;
/** Nothing listens there: this network, multicast, reserved and broadcast. */
const NO_INSTANCE = /^(?:0\.|22[4-9]\.|23\d\.|2[45]\d\.|\[::\]$|\[ff)/;

export const isLoopback = (host: string): boolean => LOOPBACK.test(host);
export const isLinkLocal = (host: string): boolean => LINK_LOCAL.test(host);

/** As in a URL, IPv6 canonical; empty text stays empty. */
export function urlHost(address: string): string | undefined {
  // Docker publishes on both wildcards: the one that needs a parser is in most documents.
  if (address === '::') return '[::]';
  if (address === '' || isIP(address) === 4) return address;
  // A zone (fe80::1%eth0) means something on this host only.
  if (isIP(address) !== 6 || address.includes('%')) return undefined;
  const host = new URL(`http://[${address}]`).hostname;
  const [, high, low] = MAPPED.exec(host) ?? [];
  if (high === undefined || low === undefined) return host;
  return [high, low].flatMap((hex) => [Number.parseInt(hex, 16) >> 8, Number.parseInt(hex, 16) & 0xff]).join('.');
}

export function withoutBrackets(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}

/** Undefined for a name. */
export function familyOf(host: string): Family | undefined {
  if (host.startsWith('[')) return 6;
  return isIP(host) === 4 ? 4 : undefined;
}

/** The address of one instance, as in a URL; undefined if no other machine can open a connection to such an address. */
export function instanceHost(address: unknown, family?: Family): string | undefined {
  const host = typeof address === 'string' ? urlHost(address) : undefined;
  if (!host || isLoopback(host) || isLinkLocal(host) || NO_INSTANCE.test(host)) return undefined;
  return family === undefined || familyOf(host) === family ? host : undefined;
}

/** By their text; there are as many as the configuration, the host and the networks of the engine have. */
const networks = new Map<string, BlockList | undefined>();
const networksMax = 1_000;

/** `10.0.0.0/8` or `fd00::/8`; undefined for other text. */
function networkOf(cidr: string): BlockList | undefined {
  if (networks.has(cidr)) return networks.get(cidr);
  if (networks.size >= networksMax) networks.clear();
  const [, address = '', digits = ''] = /^([^/%]+)\/(\d{1,3})$/.exec(cidr) ?? [];
  const family = isIP(address);
  const isNetwork = family !== 0 && Number(digits) <= (family === 4 ? 32 : 128);
  const network = isNetwork ? new BlockList() : undefined;
  network?.addSubnet(address, Number(digits), family === 4 ? 'ipv4' : 'ipv6');
  networks.set(cidr, network);
  return network;
}

export const isCidr = (text: string): boolean => networkOf(text) !== undefined;

/** `host` is as in a URL. */
export function isIn(cidr: string, host: string): boolean {
  const family = familyOf(host);
  return family !== undefined && networkOf(cidr)?.check(withoutBrackets(host), `ipv${family}`) === true;
}
