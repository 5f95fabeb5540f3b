/**
 * The options of the client: the options `etcd` of the agent, with the same names and rules, so that one object
 * serves both.
 */

import { DiscoverError } from '../errors.ts';
import { type EtcdAccess, type EtcdOptions, etcdAccess } from '../etcd/access.ts';

/** The place of a program: the `host.id` and the `host.zone` of the agent of its host. */
export interface Place {
  readonly host?: string | null | undefined;
  readonly zone?: string | null | undefined;
}

/** The part of its own place that a program prefers in instances. */
export type Preference = keyof Place;

/** null means the same as absent. Options that only the agent needs, such as `ttl`, are allowed. */
export interface ClientOptions extends EtcdOptions {
  /** Where this program runs, for `pick` with `prefer`. */
  readonly here?: Place | null | undefined;
}

const known = ['endpoints', 'host', 'port', 'prefix', 'tls', 'username', 'password', 'passwordFile', 'here'];
const ofTls = ['tls.ca', 'tls.cert', 'tls.key'];
const ofHere = ['here.host', 'here.zone'];
/** Of the agent alone: as its options name them, and as its configuration does. */
const ofAgent = new Set(['ttl', 'ttlSeconds', 'meta']);

/**
 * Throws one `CONFIG_INVALID` for all that cannot be used.
 * @internal
 */
export function accessOf(options: ClientOptions): EtcdAccess & { readonly prefix: string } {
  const problems: string[] = [];
  const { here, ...ofEtcd } = options;
  const expect = (names: readonly string[], there: readonly string[]): void => {
    for (const name of names.filter((one) => !there.includes(one) && !ofAgent.has(one))) {
      problems.push(`${name} is not an option, there are ${there.join(', ')}`);
    }
  };
  expect(Object.keys(options), known);
  expect(membersOf('tls', options.tls), ofTls);
  expect(membersOf('here', here), ofHere);
  for (const [name, value] of Object.entries(here ?? {})) {
    const isText = typeof value === 'string' && value !== '';
    if (value !== undefined && value !== null && !isText)
      problems.push(`here.${name} must be a text that is not empty`);
  }
  const access = etcdAccess('', ofEtcd, (names, mustBe) => problems.push(`${names.join(' and ')} must be ${mustBe}`));
  if (problems.length > 0) throw new DiscoverError('CONFIG_INVALID', problems.join('; '));
  return access;
}

const membersOf = (group: string, options: object | null | undefined): string[] =>
  Object.keys(options ?? {}).map((name) => `${group}.${name}`);
