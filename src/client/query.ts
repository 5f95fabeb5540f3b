/** The options of a query, checked: one that is misspelt would otherwise be left out in silence. */

import { DiscoverError } from '../errors.ts';
import type { Instance } from '../layout/instance.ts';
import type { Selector } from './catalogue.ts';
import type { Place, Preference } from './options.ts';

export interface Query extends Selector {
  readonly signal?: AbortSignal | undefined;
}

export interface PickQuery extends Omit<Query, 'states'> {
  /**
   * `host`: an instance of the host in the option `here`, else one of its zone, else any. `zone`: one of the zone, else any.
   */
  readonly prefer?: Preference | undefined;
  /** How long to wait for an instance if there is none, in ms; 0 unless given. */
  readonly wait?: number | undefined;
  /** Instances that are not picked, such as those that were tried already. */
  readonly exclude?: readonly Pick<Instance, 'key'>[] | undefined;
}

const ofEach = ['realm', 'protocol', 'signal'];
const ofQuery: ReadonlySet<string> = new Set([...ofEach, 'states']);
const ofPick: ReadonlySet<string> = new Set([...ofEach, 'prefer', 'wait', 'exclude']);

/** A timer takes no longer time. */
const waitMaxMs = 2 ** 31 - 1;

/** @internal */
export const checkQuery = (query: object): void => expectKnown(query, ofQuery);

/** @internal */
export function checkPick(query: PickQuery, here: Place): void {
  expectKnown(query, ofPick);
  const { exclude, prefer, wait } = query;
  if (prefer !== undefined && prefer !== 'host' && prefer !== 'zone') {
    throw invalid(`prefer must be host or zone, got ${JSON.stringify(prefer)}`);
  }
  if (prefer !== undefined && typeof here[prefer] !== 'string') {
    throw invalid(`To prefer its own ${prefer} a client needs the option here.${prefer}`);
  }
  if (wait !== undefined) expectMs('wait', wait);
  if (exclude !== undefined && !Array.isArray(exclude)) throw invalid('exclude must be a list of instances');
}

/** @internal */
export function expectMs(name: string, ms: number): void {
  if (!(Number.isFinite(ms) && ms >= 0 && ms <= waitMaxMs)) {
    throw invalid(`${name} must be a number of milliseconds from 0 to ${waitMaxMs}, got ${JSON.stringify(ms)}`);
  }
}

function expectKnown(query: object, known: ReadonlySet<string>): void {
  for (const name of Object.keys(query)) {
    if (!known.has(name)) throw invalid(`${name} is not an option, there are ${[...known].join(', ')}`);
  }
}

const invalid = (reason: string): DiscoverError => new DiscoverError('CONFIG_INVALID', reason);
