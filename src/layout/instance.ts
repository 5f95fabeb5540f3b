/**
 * One instance of a service as a reader of etcd sees it: a key of `keys.ts` and its value, parsed.
 *
 * Other programs can write to etcd too. A key or value that does not have exactly the form of the layout is no
 * instance. Nothing here throws.
 */

import { isIP } from 'node:net';

export interface Instance {
  readonly name: string;
  readonly realm: string;
  readonly host: string;
  /** The first 12 digits of the container's id. */
  readonly containerId: string;
  /** `tcp`, `udp` or `sctp`. */
  readonly protocol: string;
  /** An IPv4 or IPv6 address, without brackets. */
  readonly address: string;
  readonly port: number;
  /** `<protocol>://<address>:<port>`, IPv6 in brackets, as in etcd. */
  readonly url: string;
  readonly key: string;
}

/** The prefix of all service keys. */
export const servicePrefix = (prefix: string): string => `${prefix}/service/`;

const tailPattern = /^([^/]+)\/([^/]+)\/([^/]+)\/([0-9a-f]{12})(?::[1-9]\d{0,4}(?::[a-z]+)?)?$/;
const urlPattern = /^(tcp|udp|sctp):\/\/(?:\[([\da-f:.]+)\]|([\d.]+)):([1-9]\d{0,4})$/i;

/** `below` is a `servicePrefix`. Undefined: the key is no instance. */
export function parseInstance(below: string, key: string, url: string): Instance | undefined {
  if (!key.startsWith(below)) return undefined;
  const [, name, realm, host, containerId] = tailPattern.exec(key.slice(below.length)) ?? [];
  const [, protocol, v6, v4, digits] = urlPattern.exec(url) ?? [];
  const address = v6 ?? v4 ?? '';
  const port = Number(digits);
  if (!name || !realm || !host || !containerId || !protocol || port > 65_535) return undefined;
  if (isIP(address) !== (v6 === undefined ? 4 : 6)) return undefined;
  return { name, realm, host, containerId, protocol: protocol.toLowerCase(), address, port, url, key };
}
