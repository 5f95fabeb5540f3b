/**
 * The endpoints of etcd and the user: the options of group `etcd`, with one set of rules for the agent and the client.
 *
 * An endpoint must have a port, because the default port of a URL is not the port of etcd. All endpoints are
 * http, or all of them https. A user has a password. Every problem is handed to `refuse`, so that one error can
 * name all of them.
 */

import { type Certificates, type Refuse, readCertificates, readOption, shown } from '../net/certificates.ts';

/** @internal */
export interface EtcdAccess {
  /** `http://host:port`, or every one of them https. */
  readonly endpoints: readonly string[];
  readonly username?: string;
  readonly password?: string;
  readonly tls?: Certificates;
}

type Maybe<T> = T | null | undefined;

/** null means the same as absent. */
export interface EtcdOptions {
  /** `host:port`, `http://host:port` or `https://host:port`; `localhost:2379` unless given. */
  readonly endpoints?: Maybe<readonly string[]>;
  /** Of a single member, in place of `endpoints`. */
  readonly host?: Maybe<string>;
  readonly port?: Maybe<number>;
  /** The prefix of all keys; `/discover` unless given. */
  readonly prefix?: Maybe<string>;
  /** Any of these turns TLS on; so does `https://`. Each is the path of a PEM file, or the content of the file. */
  readonly tls?: Maybe<{
    readonly ca?: Maybe<string | Buffer>;
    readonly cert?: Maybe<string | Buffer>;
    readonly key?: Maybe<string | Buffer>;
  }>;
  readonly username?: Maybe<string>;
  readonly password?: Maybe<string>;
  /** A file that holds the password, in place of `password`. */
  readonly passwordFile?: Maybe<string>;
}

export const endpointPattern = /^(?:(https?):\/\/)?(\[[\da-f:.]+\]|[\w.-]+):([1-9]\d{0,4})\/?$/i;
export const endpointsAllowed = 'a list of host:port, http://host:port or https://host:port';
const prefixPattern = /^\/?(?:(?!\.\.?(?:\/|$))[^/\s\p{Cc}\p{Cs}]+(?:\/|$))+$/u;
const prefixBytesMax = 255;
const portMax = 65_535;

export const isEndpoint = (value: unknown): value is string =>
  typeof value === 'string' && Number(endpointPattern.exec(value)?.[3]) <= portMax;

/**
 * Of several options that say the same, only those that count may be given. `group` is the prefix of the names of
 * the options: `etcd.` or nothing.
 *
 * @internal
 */
export function etcdAccess(
  group: '' | 'etcd.',
  options: EtcdOptions,
  refuse: Refuse,
): EtcdAccess & { readonly prefix: string } {
  const tls = readCertificates(`${group}tls`, options.tls ?? {}, refuse);
  const { username } = options;
  const password = passwordOf(group, options, refuse);
  const isNamed = username != null && username !== '';
  if (isNamed !== (options.password != null || options.passwordFile != null)) {
    refuse([`${group}username`], `set together with ${group}passwordFile or ${group}password`);
  }
  return {
    endpoints: endpointsOf(group, options, tls !== undefined, refuse),
    prefix: prefixOf(group, options.prefix ?? '/discover', refuse),
    ...(tls && { tls }),
    ...(isNamed && password && { username, password }),
  };
}

function endpointsOf(
  group: string,
  { endpoints, host, port }: EtcdOptions,
  hasTls: boolean,
  refuse: Refuse,
): readonly string[] {
  const single = `${bracketed(host ?? 'localhost')}:${port ?? 2379}`;
  const listed: unknown = endpoints ?? [single];
  if (!Array.isArray(listed) || listed.length === 0 || !listed.every(isEndpoint)) {
    refuse([endpoints == null ? `${group}host` : `${group}endpoints`], `${endpointsAllowed}, got ${shown(listed)}`);
    return [];
  }
  const all = listed.map((endpoint: string) => {
    const [, scheme = hasTls ? 'https' : 'http', name, number] = endpointPattern.exec(endpoint) ?? [];
    return `${scheme}://${name}:${number}`.toLowerCase();
  });
  const plain = all.filter((endpoint) => endpoint.startsWith('http:'));
  // etcd3 refuses a mixture, and talks TLS to http:// once it has certificates.
  if (plain.length > 0 && (hasTls || plain.length < all.length)) {
    refuse([`${group}endpoints`], `all https:// or, without ${group}tls, all http://, got "${all.join()}"`);
  }
  return [...new Set(all)];
}

const bracketed = (host: string): string => (host.includes(':') ? `[${host.replace(/^\[(.*)\]$/, '$1')}]` : host);

function prefixOf(group: string, prefix: string, refuse: Refuse): string {
  if (!prefixPattern.test(prefix) || Buffer.byteLength(prefix) > prefixBytesMax) {
    refuse(
      [`${group}prefix`],
      `a path such as "/discover", at least one segment and no double slash, got ${shown(prefix)}`,
    );
  }
  return `/${prefix.replaceAll(/^\/|\/$/g, '')}`;
}

function passwordOf(group: string, { password, passwordFile }: EtcdOptions, refuse: Refuse): string | undefined {
  if (passwordFile == null) return password ?? undefined;
  const content = readOption(`${group}passwordFile`, passwordFile, refuse)
    ?.toString()
    .replace(/\r?\n$/, '');
  if (content === '') refuse([`${group}passwordFile`], `a file that holds a password, ${shown(passwordFile)} is empty`);
  return content;
}
