/**
 * One instance of a service as a reader of etcd sees it: a key of `keys.ts` and its value, parsed, with its meta.
 *
 * Other programs can write to etcd too. A key or value that does not have exactly the form of the layout is no
 * instance. Nothing here throws.
 */

import { isIP } from 'node:net';
import { parseServiceKey } from './keys.ts';
import { type Meta, parseMeta } from './meta.ts';

/** The members of `Meta` are there if its container, its host or its operator gives them (`etcd.meta`). */
export interface Instance extends Meta {
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

/**
 * An instance without a key of its own: its meta tells state and address. Undefined: it tells none, as the meta of an
 * instance that has just come or gone.
 */
export function parseWithheld(below: string, key: string, meta: string): Instance | undefined {
  const url = urlIn(meta);
  return url === undefined ? undefined : parseInstance(below, key, url, meta);
}

function urlIn(meta: string): string | undefined {
  try {
    const { state, url } = (JSON.parse(meta) ?? {}) as { readonly state?: unknown; readonly url?: unknown };
    return typeof state === 'string' && state !== 'ready' && typeof url === 'string' ? url : undefined;
  } catch {
    return undefined;
  }
}

/** No agent writes one into a key, whatever its options. With a line break, one key would be two lines of a file. */
const control = /[\p{Cc}\p{Zl}\p{Zp}]/u;
const urlPattern = /^(tcp|udp|sctp):\/\/(?:\[([\da-f:.]+)\]|([\d.]+)):([1-9]\d{0,4})$/i;

/** `below` is a `servicePrefixOf`; `meta` is the value of its meta key, if it has one. Undefined: the key is no instance. */
export function parseInstance(below: string, key: string, url: string, meta?: string): Instance | undefined {
  const parsed = parseServiceKey(below, key);
  if (parsed === undefined || control.test(key.slice(below.length))) return undefined;
  const { name, realm, host, shortId: containerId } = parsed;
  const [, protocol, v6, v4, digits] = urlPattern.exec(url) ?? [];
  const address = v6 ?? v4 ?? '';
  const port = Number(digits);
  if (!protocol || port > 65_535) return undefined;
  if (isIP(address) !== (v6 === undefined ? 4 : 6)) return undefined;
  const known = { name, realm, host, containerId, protocol: protocol.toLowerCase(), address, port, url, key };
  return meta === undefined ? known : Object.assign(known, parseMeta(meta));
}
