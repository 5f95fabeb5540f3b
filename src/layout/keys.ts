/**
 * The key layout, the contract with every reader:
 *
 *     P/service/<name>/<realm>/<host>/<id12>                      <protocol>://<ip>:<port>
 *     P/service/<name>/<realm>/<host>/<id12>:<private-port>[:udp]  the same, for further ports of one name
 *     P/host/<host>/<id12>                                        {"<name>": "<its plain key>"}
 *     P/owner/<host>                                              the process that may write for this host
 *
 * With views, the same instances are also written in the layouts of other readers. This file knows only the
 * templates of views.
 *
 * P has one leading slash and none at its end. Names, realms and hosts contain no slash. So every key of a container
 * stays below its own host and id, whatever the container advertises.
 */

import type { Service } from '../container/container.ts';

/** One put or, where `value` is undefined, one delete. */
export interface Change {
  readonly key: string;
  readonly value: string | undefined;
}

/** Another layout of the same instances: see `views.ts`. */
export interface View {
  /** The key template. */
  readonly template: string;
  /** Key and value of a service; `ordinal` counts the offers of one name. Undefined: the view has no key for it. */
  entryOf(service: Service, shortId: string, ordinal: number): readonly [key: string, value: string] | undefined;
  /** The 12 digits of the container of this host that a key belongs to. */
  containerOf(key: string): string | undefined;
}

export interface Layout {
  readonly ownerKey: string;
  readonly views: readonly View[];
  /** The prefix of the service keys of all hosts. */
  readonly servicePrefix: string;
  /** The prefix of all records of this host. */
  readonly recordPrefix: string;
  recordKey(shortId: string): string;
  serviceKey(name: string, shortId: string): string;
  /** The service that a key of `serviceKey` names; undefined for a record or a key of a view. */
  nameOf(key: string): string | undefined;
  /** The 12 digits of the container that a key of this host belongs to, in any realm; else undefined. */
  containerOf(key: string): string | undefined;
}

export function layoutOf(prefix: string, realm: string, host: string, views: readonly View[] = []): Layout {
  const recordPrefix = `${prefix}/host/${host}/`;
  const servicePrefix = `${prefix}/service/`;
  const tail = /^[^/]+\/[^/]+\/([^/]+)\/([0-9a-f]{12})(?::[0-9]{1,5}(?::[a-z]+)?)?$/;
  return {
    ownerKey: `${prefix}/owner/${host}`,
    views,
    servicePrefix,
    recordPrefix,
    recordKey: (shortId) => recordPrefix + shortId,
    serviceKey: (name, shortId) => `${servicePrefix}${name}/${realm}/${host}/${shortId}`,
    nameOf: (key) => (key.startsWith(servicePrefix) ? key.slice(servicePrefix.length).split('/', 1)[0] : undefined),
    containerOf(key) {
      if (key.startsWith(recordPrefix)) {
        const shortId = key.slice(recordPrefix.length);
        return /^[0-9a-f]{12}$/.test(shortId) ? shortId : undefined;
      }
      if (!key.startsWith(servicePrefix)) {
        for (const view of views) {
          const shortId = view.containerOf(key);
          if (shortId !== undefined) return shortId;
        }
        return undefined;
      }
      const match = tail.exec(key.slice(servicePrefix.length));
      return match?.[1] === host ? match[2] : undefined;
    },
  };
}

/**
 * Everything that etcd should hold for one container. A container without offers has no keys, not even a record.
 */
export function keysOf(layout: Layout, shortId: string, services: readonly Service[]): Map<string, string> {
  const keys = new Map<string, string>();
  const names = new Map<string, string>();
  const ordinals = new Map<string, number>();
  for (const service of services) {
    const { name, privatePort, protocol, url } = service;
    const ordinal = ordinals.get(name) ?? 0;
    ordinals.set(name, ordinal + 1);
    for (const view of layout.views) {
      const entry = view.entryOf(service, shortId, ordinal);
      // If a template makes the same key for two ports of a container, the first port has the key.
      if (entry !== undefined && !keys.has(entry[0])) keys.set(...entry);
    }
    const plain = layout.serviceKey(name, shortId);
    if (names.has(name)) {
      keys.set(`${plain}:${privatePort}${protocol === 'tcp' ? '' : `:${protocol}`}`, url);
    } else {
      names.set(name, plain);
      keys.set(plain, url);
    }
  }
  // `fromEntries` defines own properties, so a service called __proto__ is one more name.
  if (names.size > 0) keys.set(layout.recordKey(shortId), JSON.stringify(Object.fromEntries(names)));
  return keys;
}

/**
 * The host that a key below `P/service/`, `P/host/` or `P/owner/` belongs to; undefined for a key of another shape.
 * Counted from the end, because the original let slashes into names: host and container are always the last segments.
 */
export function hostOf(prefix: string, key: string): string | undefined {
  if (!key.startsWith(`${prefix}/`)) return undefined;
  const [tree, ...segments] = key.slice(prefix.length + 1).split('/');
  if (segments.includes('')) return undefined;
  if (tree === 'service') return segments.length >= 4 ? segments.at(-2) : undefined;
  if (tree === 'host') return segments.length === 2 ? segments[0] : undefined;
  return tree === 'owner' && segments.length === 1 ? segments[0] : undefined;
}
