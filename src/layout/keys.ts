/**
 * The key layout, the contract with every reader:
 *
 *     P/service/<name>/<realm>/<host>/<id12>                      <protocol>://<ip>:<port>
 *     P/service/<name>/<realm>/<host>/<id12>:<private-port>[:udp]  the same, for further ports of one name
 *     P/service/…:ip6                                              the same instance by IPv6, beside one of the keys above
 *     P/meta/<as in P/service/>                                   JSON about the same instance, if there is some
 *     P/host/<host>/<id12>                                        {"<name>": "<its plain key>"}
 *     P/owner/<host>                                              the process that may write for this host
 *     P/maintenance/<host>[/<id12>]                               out of traffic, by a person (`maintenance.ts`)
 *
 * With views, the same instances are also written in the layouts of other readers. This file knows only the
 * templates of views.
 *
 * P has one leading slash and none at its end. Names, realms and hosts contain no slash. So every key of a container
 * stays below its own host and id, whatever the container advertises.
 */

import { type At, type Names, type Service, urlOf } from '../container/container.ts';

/** One put or, where `value` is undefined, one delete. */
export interface Change {
  readonly key: string;
  readonly value: string | undefined;
}

/** Another layout of the same instances: see `views.ts`. */
export interface View {
  /** The key template. */
  readonly template: string;
  /** Key and value of a service, which is at `url`; `ordinal` counts the offers of one name. Undefined: the view has no key for it. */
  entryOf(
    service: Service,
    url: string,
    shortId: string,
    ordinal: number,
    names?: Names,
  ): readonly [key: string, value: string] | undefined;
  /** The 12 digits of the container of this host that a key belongs to. */
  containerOf(key: string): string | undefined;
}

export interface Layout {
  readonly ownerKey: string;
  readonly views: readonly View[];
  /**
   * The prefixes of all hosts below which a key tells its host: of service keys, of meta keys, and of the views whose
   * template names the host.
   */
  readonly sharedPrefixes: readonly string[];
  /** The prefix of all records of this host. */
  readonly recordPrefix: string;
  recordKey(shortId: string): string;
  /** In the realm of the host, unless the container names another. */
  serviceKey(name: string, shortId: string, realm?: string): string;
  /** The key of the meta of the instance that a service key names. */
  metaKey(serviceKey: string): string;
  /** A service key without what is behind the short id; undefined for other keys. */
  plainKeyOf(key: string): string | undefined;
  /** The service that a key of `serviceKey` names; undefined for a record or a key of a view. */
  nameOf(key: string): string | undefined;
  /** The 12 digits of the container that a key of this host belongs to, in any realm; else undefined. */
  containerOf(key: string): string | undefined;
}

export function layoutOf(prefix: string, realm: string, host: string, views: readonly View[] = []): Layout {
  const recordPrefix = `${prefix}/host/${host}/`;
  const servicePrefix = servicePrefixOf(prefix);
  const metaPrefix = metaPrefixOf(prefix);
  return {
    ownerKey: `${prefix}/owner/${host}`,
    views,
    sharedPrefixes: [servicePrefix, metaPrefix, ...viewPrefixes(views)],
    recordPrefix,
    recordKey: (shortId) => recordPrefix + shortId,
    serviceKey: (name, shortId, named = realm) => `${servicePrefix}${name}/${named}/${host}/${shortId}`,
    metaKey: (serviceKey) => metaPrefix + serviceKey.slice(servicePrefix.length),
    plainKeyOf: (key) => parseServiceKey(servicePrefix, key)?.plainKey,
    nameOf(key) {
      if (!key.startsWith(servicePrefix)) return undefined;
      const end = key.indexOf('/', servicePrefix.length);
      return key.slice(servicePrefix.length, end < 0 ? key.length : end);
    },
    containerOf(key) {
      const parsed = parseKey(prefix, key);
      if (parsed?.kind === 'service' || parsed?.kind === 'meta' || parsed?.kind === 'record') {
        return parsed.host === host ? parsed.shortId : undefined;
      }
      if ([servicePrefix, metaPrefix, recordPrefix].some((native) => key.startsWith(native))) return undefined;
      for (const view of views) {
        const shortId = view.containerOf(key);
        if (shortId !== undefined) return shortId;
      }
      return undefined;
    },
  };
}

/** A template without the host makes keys that may be those of any host. */
function viewPrefixes(views: readonly View[]): Set<string> {
  const templates = views.map(({ template }) => template).filter((template) => /\{\{host[:}]/.test(template));
  return new Set(templates.map((template) => template.slice(0, template.indexOf('{{'))));
}

/**
 * Everything that etcd should hold for one container. A container without offers has no keys, not even a record.
 */
export function keysOf(
  layout: Layout,
  shortId: string,
  services: readonly Service[],
  names?: Names,
  /** The state that the meta of each instance tells, if it tells one. */
  state?: string,
): Map<string, string> {
  const keys = new Map<string, string>();
  const plains = new Map<string, string>();
  const ordinals = new Map<string, number>();
  for (const service of services) {
    const { name, realm } = service;
    const url = urlOf(service);
    const ordinal = ordinals.get(name) ?? 0;
    ordinals.set(name, ordinal + 1);
    for (const view of layout.views) {
      const entry = view.entryOf(service, url, shortId, ordinal, names);
      // If a template makes the same key for two ports of a container, the first port has the key.
      if (entry !== undefined && !keys.has(entry[0])) keys.set(...entry);
    }
    const plain = layout.serviceKey(name, shortId, realm);
    const isFirst = !plains.has(name);
    if (isFirst) plains.set(name, plain);
    const key = instanceKey(plain, service, isFirst);
    keys.set(key, url);
    if (service.meta !== undefined) keys.set(layout.metaKey(key), withState(service.meta, state));
    if (service.other !== undefined) {
      const second = key + familySuffix(service.other);
      keys.set(second, urlOf({ ...service.other, protocol: service.protocol }));
      if (service.meta !== undefined) keys.set(layout.metaKey(second), withState(service.meta, state));
    }
  }
  // `fromEntries` defines own properties, so a service called __proto__ is one more name.
  if (plains.size > 0) keys.set(layout.recordKey(shortId), JSON.stringify(Object.fromEntries(plains)));
  return keys;
}

/** No protocol and no port is written like this. A host with an IPv6 address has IPv4 as its second family. */
const familySuffix = ({ address }: At): string => (address.includes(':') ? ':ip6' : ':ip4');

/** What etcd should hold for a container that deserves no traffic, where its state is told: its metas alone. */
export function stateKeysOf(
  layout: Layout,
  shortId: string,
  services: readonly Service[],
  state: string,
): Map<string, string> {
  const keys = new Map<string, string>();
  const names = new Set<string>();
  for (const service of services) {
    const { name, realm, meta, other, protocol } = service;
    const key = instanceKey(layout.serviceKey(name, shortId, realm), service, !names.has(name));
    names.add(name);
    if (meta === undefined) continue;
    keys.set(layout.metaKey(key), withState(meta, state, urlOf(service)));
    if (other === undefined) continue;
    keys.set(layout.metaKey(key + familySuffix(other)), withState(meta, state, urlOf({ ...other, protocol })));
  }
  return keys;
}

/** The first offer of a name has the plain key. */
function instanceKey(plain: string, { privatePort, protocol }: Service, isFirst: boolean): string {
  return isFirst ? plain : `${plain}:${privatePort}${protocol === 'tcp' ? '' : `:${protocol}`}`;
}

/** A meta is a JSON object that has a member at least. The address is in it where no service key tells it. */
function withState(meta: string, state: string | undefined, url?: string): string {
  if (state === undefined) return meta;
  // mutant: tell every instance ready in maintenance
  const said = `"state":${JSON.stringify(state)}`;
  return `${meta.slice(0, -1)},${said}${url === undefined ? '' : `,"url":${JSON.stringify(url)}`}}`;
}

/** The parts of a key, by the layout above. */
export type ParsedKey = ServiceKey | MetaKey | RecordKey | OwnerKey | OtherKey;

export interface ServiceKey {
  readonly kind: 'service';
  readonly name: string;
  readonly realm: string;
  readonly host: string;
  readonly shortId: string;
  /** The key of the first port of this name, which has neither a port nor a family behind the short id. */
  readonly plainKey: string;
}
/** The parts of a meta key are those of the service key of its instance. */
export interface MetaKey extends Omit<ServiceKey, 'kind'> {
  readonly kind: 'meta';
}
export interface RecordKey {
  readonly kind: 'record';
  readonly host: string;
  readonly shortId: string;
}
export interface OwnerKey {
  readonly kind: 'owner';
  readonly host: string;
}
/** A key below the prefix that this layout does not write; with a host if the key has one at its place. */
export interface OtherKey {
  readonly kind: 'other';
  readonly host: string | undefined;
}

/** The service keys of all hosts begin with this. */
export const servicePrefixOf = (prefix: string): string => `${prefix}/service/`;

/** The meta keys of all hosts begin with this. */
export const metaPrefixOf = (prefix: string): string => `${prefix}/meta/`;

const servicePattern = /^([^/]+)\/([^/]+)\/([^/]+)\/([0-9a-f]{12})((?::[1-9]\d{0,4}(?::[a-z]+)?)?(?::ip[46])?)$/;
const shortIdPattern = /^[0-9a-f]{12}$/;

/** `below` is a `servicePrefixOf`. Undefined: the key is no service key. */
export function parseServiceKey(below: string, key: string): ServiceKey | undefined {
  if (!key.startsWith(below)) return undefined;
  const [, name, realm, host, shortId, port = ''] = servicePattern.exec(key.slice(below.length)) ?? [];
  if (name === undefined || realm === undefined || host === undefined || shortId === undefined) return undefined;
  return { kind: 'service', name, realm, host, shortId, plainKey: key.slice(0, key.length - port.length) };
}

/** Undefined: not below the prefix. No other function of this program takes a native key apart. */
export function parseKey(prefix: string, key: string): ParsedKey | undefined {
  if (!key.startsWith(`${prefix}/`)) return undefined;
  const service = parseServiceKey(servicePrefixOf(prefix), key);
  if (service !== undefined) return service;
  const meta = parseServiceKey(metaPrefixOf(prefix), key);
  if (meta !== undefined) return { ...meta, kind: 'meta' };
  const [tree, ...segments] = key.slice(prefix.length + 1).split('/');
  const [host = '', shortId = ''] = segments;
  if (segments.includes('')) return { kind: 'other', host: undefined };
  if (tree === 'owner' && segments.length === 1) return { kind: 'owner', host };
  if (tree === 'host' && segments.length === 2) {
    return shortIdPattern.test(shortId) ? { kind: 'record', host, shortId } : { kind: 'other', host };
  }
  // Counted from the end, where host and container are for every name: the original let slashes into names.
  return {
    kind: 'other',
    host: (tree === 'service' || tree === 'meta') && segments.length >= 4 ? segments.at(-2) : undefined,
  };
}

/** The host that a key below `P/service/`, `P/meta/`, `P/host/` or `P/owner/` belongs to; undefined for a key of another shape. */
export const hostOf = (prefix: string, key: string): string | undefined => parseKey(prefix, key)?.host;
