/** An etcd with users: what its administrator does, and what it tells one who can log in. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { type Entry, type EtcdOptions, type EtcdServer, startEtcd } from './etcd.ts';
import { requireCommand } from './run.ts';

export const asRoot = '--user=root:root-secret';
export const asDiscover = ['--user=discover:its-secret', '--command-timeout=30s'];

/** As `EtcdServer.entries`, by a client that can log in. */
export async function entriesOf(etcd: EtcdServer): Promise<Entry[]> {
  const text = await etcd.ctl(asRoot, 'get', '--prefix', '', '--write-out=json');
  // A lease is a number of 64 bits, more than JSON.parse keeps.
  const { kvs = [] } = JSON.parse(text.replaceAll(/"lease":(\d+)/g, '"lease":"$1"')) as {
    kvs?: readonly {
      key: string;
      value: string;
      lease?: string;
      create_revision: number;
      mod_revision: number;
      version: number;
    }[];
  };
  const decode = (base64: string): string => Buffer.from(base64, 'base64').toString();
  return kvs.map(({ key, value, lease = '0', create_revision, mod_revision, version }) => ({
    ...{ key: decode(key), value: decode(value), lease, version },
    ...{ createRevision: create_revision, modRevision: mod_revision },
  }));
}

/** All that discover may read and write, at its widest and at its narrowest. */
export const wide = [['--prefix=true', '/discover/']];
export const narrow = [
  ['--prefix=true', '/discover/service/'],
  ['--prefix=true', '/discover/host/h1/'],
  ['/discover/owner/h1'],
  ['--prefix=true', '/discover/maintenance/h1'],
];

const simpleTokens = ['--auth-token=simple', '--auth-token-ttl=2'];

/** Tokens that say at which revision of users and roles they were made: any change makes all of them stale. */
export function signedTokens(directory: string): string[] {
  const [key, pub] = ['jwt.pem', 'jwt.pub'].map((name) => path.join(directory, name)) as [string, string];
  const openssl = (...args: readonly string[]) => execFileSync(requireCommand('openssl'), args, { stdio: 'pipe' });
  openssl('genrsa', '-out', key, '2048');
  openssl('rsa', '-in', key, '-pubout', '-out', pub);
  return [`--auth-token=jwt,pub-key=${pub},priv-key=${key},sign-method=RS256,ttl=10m`];
}

/** With a user for discover that has these permissions. They count from `auth enable` on. */
export async function startSecured(
  grants: readonly (readonly string[])[] = wide,
  args: readonly string[] = simpleTokens,
  options: EtcdOptions = {},
): Promise<EtcdServer> {
  const etcd = await startEtcd({ ...options, args });
  await etcd.ctl('user', 'add', 'root:root-secret');
  await etcd.ctl('user', 'grant-role', 'root', 'root');
  await etcd.ctl('role', 'add', 'publisher');
  for (const grant of grants) {
    const [key = '', ...flags] = grant.toReversed();
    await etcd.ctl('role', 'grant-permission', 'publisher', ...flags, 'readwrite', key);
  }
  await etcd.ctl('user', 'add', 'discover:its-secret');
  await etcd.ctl('user', 'grant-role', 'discover', 'publisher');
  return etcd;
}
