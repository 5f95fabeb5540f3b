/**
 * Where the client finds etcd: the options `etcd` of the agent under their own names, so that one object
 * serves both. TLS files may be given as paths or as what is in them.
 */

import { readFileSync } from 'node:fs';
import { DiscoverError, messageOf } from '../errors.ts';
import type { EtcdAccess } from '../etcd/connect.ts';

type Maybe<T> = T | null | undefined;

/** null means the same as absent. What only the agent needs, such as `ttl`, may be there as well. */
export interface ClientOptions {
  /** `host:port`, `http://host:port` or `https://host:port`; `localhost:2379` unless given. */
  readonly endpoints?: Maybe<readonly string[]>;
  /** Of a single member, in place of `endpoints`. */
  readonly host?: Maybe<string>;
  readonly port?: Maybe<number>;
  /** What all keys begin with; `/discover` unless given. */
  readonly prefix?: Maybe<string>;
  /** Any of these turns TLS on; so does `https://`. */
  readonly tls?: Maybe<{
    readonly ca?: Maybe<string | Buffer>;
    readonly cert?: Maybe<string | Buffer>;
    readonly key?: Maybe<string | Buffer>;
  }>;
  readonly username?: Maybe<string>;
  readonly password?: Maybe<string>;
  /** A file that holds the password, in place of it. */
  readonly passwordFile?: Maybe<string>;
}

/** @internal */
export function accessOf(options: ClientOptions): EtcdAccess & { readonly prefix: string } {
  const { ca, cert, key } = options.tls ?? {};
  const tls = {
    ...(ca && { ca: read('tls.ca', ca) }),
    ...(cert && { cert: read('tls.cert', cert) }),
    ...(key && { key: read('tls.key', key) }),
  };
  const isSecure = Object.keys(tls).length > 0;
  const { username, passwordFile } = options;
  const password = passwordFile
    ? read('passwordFile', passwordFile)
        .toString()
        .replace(/\r?\n$/, '')
    : (options.password ?? '');
  return {
    endpoints: endpointsOf(options).map((endpoint) => normalise(endpoint, isSecure)),
    prefix: prefixOf(options.prefix ?? '/discover'),
    ...(isSecure && { tls }),
    ...(username && { username, password }),
  };
}

function endpointsOf({ endpoints, host, port }: ClientOptions): readonly string[] {
  if (endpoints?.length) return endpoints;
  const name = host ?? 'localhost';
  return [`${name.includes(':') && !name.startsWith('[') ? `[${name}]` : name}:${port ?? 2379}`];
}

function normalise(endpoint: string, isSecure: boolean): string {
  const text = /^https?:\/\//i.test(endpoint) ? endpoint : `${isSecure ? 'https' : 'http'}://${endpoint}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url?.hostname || url.pathname !== '/' || (isSecure && url.protocol === 'http:')) {
    const allowed = `host:port, ${isSecure ? '' : 'http://host:port or '}https://host:port`;
    throw new DiscoverError('CONFIG_INVALID', `endpoints must be ${allowed}, got "${endpoint}"`);
  }
  return `${url.protocol}//${url.hostname}:${url.port || (url.protocol === 'https:' ? 443 : 80)}`;
}

function prefixOf(prefix: string): string {
  const path = `/${prefix.replaceAll(/^\/|\/$/g, '')}`;
  if (path !== '/' && !path.includes('//')) return path;
  throw new DiscoverError('CONFIG_INVALID', `prefix must be a path such as "/discover", got "${prefix}"`);
}

function read(name: string, value: string | Buffer): Buffer {
  if (typeof value !== 'string') return value;
  try {
    return readFileSync(value);
  } catch (cause) {
    throw new DiscoverError('CONFIG_INVALID', `${name} must be a file that can be read: ${messageOf(cause)}`, {
      cause,
    });
  }
}
