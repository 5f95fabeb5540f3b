/**
 * The options of the client: the options `etcd` of the agent, with the same names and rules, so that one object
 * serves both.
 */

import { DiscoverError } from '../errors.ts';
import { type EtcdAccess, type EtcdOptions, etcdAccess } from '../etcd/access.ts';

/** null means the same as absent. Options that only the agent needs, such as `ttl`, are allowed. */
export type ClientOptions = EtcdOptions;

const known = ['endpoints', 'host', 'port', 'prefix', 'tls', 'username', 'password', 'passwordFile'];
const ofTls = ['ca', 'cert', 'key'];
/** Of the agent alone: as its options name them, and as its configuration does. */
const ofAgent = new Set(['ttl', 'ttlSeconds', 'meta']);

/**
 * Throws one `CONFIG_INVALID` for all that cannot be used.
 * @internal
 */
export function accessOf(options: ClientOptions): EtcdAccess & { readonly prefix: string } {
  const problems: string[] = [];
  const others = Object.keys(options).filter((name) => !known.includes(name) && !ofAgent.has(name));
  const othersOfTls = Object.keys(options.tls ?? {}).filter((name) => !ofTls.includes(name));
  for (const name of [...others, ...othersOfTls.map((one) => `tls.${one}`)]) {
    const there = name.startsWith('tls.') ? ofTls.map((one) => `tls.${one}`) : known;
    problems.push(`${name} is not an option, there are ${there.join(', ')}`);
  }
  const access = etcdAccess('', options, (names, mustBe) => problems.push(`${names.join(' and ')} must be ${mustBe}`));
  if (problems.length > 0) throw new DiscoverError('CONFIG_INVALID', problems.join('; '));
  return access;
}
