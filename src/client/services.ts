/** The sets of all services, and again whenever one of them has changed. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Instance } from '../layout/instance.ts';
import { type Difference, differenceOf, type Selector } from './catalogue.ts';
import type { Feed } from './feed.ts';

/** A set, and how it differs from the one the same iteration gave before. */
export interface Update extends Difference {
  readonly instances: readonly Instance[];
}

export interface ServicesUpdate {
  /** The set of each service that has instances. */
  readonly services: ReadonlyMap<string, readonly Instance[]>;
  /** The services whose set has changed; one that is gone has no instances. */
  readonly changed: ReadonlyMap<string, Update>;
}

/** With so many services all sets are compared at most five times a second. */
const manyServices = 1_000;
const manyServicesEveryMs = 200;

/** @internal */
export async function* updatesOfAll(
  feed: Feed,
  selector: Selector,
  signal: AbortSignal | undefined,
): AsyncGenerator<ServicesUpdate, void, undefined> {
  let last: ReadonlyMap<string, readonly Instance[]> | undefined;
  let seen = -1;
  feed.watchers++;
  try {
    while (!feed.isClosed && !signal?.aborted) {
      const { changes } = feed.catalogue;
      if (!feed.isKnown || changes === seen) {
        if (feed.refusal) throw feed.refusal;
        await feed.next(signal);
        continue;
      }
      seen = changes;
      const services = new Map(
        [...feed.catalogue.counts(selector).keys()].map((name) => [name, feed.catalogue.select(name, selector)]),
      );
      const changed = changesBetween(last ?? new Map(), services);
      const isFirst = last === undefined;
      last = services;
      if (isFirst || changed.size > 0) yield { services, changed };
      if (services.size > manyServices) await sleep(manyServicesEveryMs, undefined, { signal }).catch(() => {});
    }
  } finally {
    feed.watchers--;
    feed.timesUnused = 0;
  }
}

function changesBetween(
  before: ReadonlyMap<string, readonly Instance[]>,
  now: ReadonlyMap<string, readonly Instance[]>,
): Map<string, Update> {
  const changed = new Map<string, Update>();
  const compare = (name: string, instances: readonly Instance[]): void => {
    const earlier = before.get(name) ?? [];
    if (earlier === instances) return;
    const difference = differenceOf(earlier, instances);
    if (Object.values(difference).some((part) => part.length > 0)) changed.set(name, { instances, ...difference });
  };
  for (const [name, instances] of now) compare(name, instances);
  for (const name of before.keys()) if (!now.has(name)) compare(name, []);
  return changed;
}
