/**
 * Publications: what has changed for readers with each commit, in the log and for listeners; and how much they find.
 *
 * Where the states of instances are told, a container can have a meta and no service. It is not published then.
 */

import { ourValue } from '../layout/held.ts';
import type { Change, Layout } from '../layout/keys.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Ledger } from './ledger.ts';

/** A container whose keys have changed in etcd. */
export interface Publication {
  /** The 12 digits that end its keys. */
  readonly id: string;
  /** Service name to its key; for `unpublish`, the keys that are gone. */
  readonly services: Readonly<Record<string, string>>;
  /** Every key with its address; empty for `unpublish`. */
  readonly addresses: ReadonlyMap<string, string>;
}

export interface PublicationEvents {
  /** The keys of a container have appeared or changed, in one transaction. */
  publish: [Publication];
  /** All keys of a container have gone, in one transaction. */
  unpublish: [Publication];
}

export interface PublicationsParts {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly layout: Layout;
  readonly ledger: Ledger;
  readonly tellsStates: boolean;
  readonly listeners: {
    listenerCount(event: keyof PublicationEvents): number;
    emit(event: keyof PublicationEvents, publication: Publication): boolean;
  };
}

/** Services that a line of the log names: an advertisement can have a hundred. */
const servicesLoggedMax = 10;

export class Publications {
  readonly #parts: PublicationsParts;

  constructor(parts: PublicationsParts) {
    this.#parts = parts;
  }

  /** Containers that are, or should be, found by readers. */
  get containers(): number {
    const { ledger, tellsStates } = this.#parts;
    if (!tellsStates) return ledger.size;
    let containers = 0;
    for (const shortId of ledger.containers()) if (this.#isWanted(shortId)) containers++;
    return containers;
  }

  /** Instances in etcd, as far as is known. */
  get services(): number {
    const { layout, ledger } = this.#parts;
    let services = 0;
    for (const shortId of ledger.published()) {
      for (const key of ledger.observed(shortId).keys()) if (layout.nameOf(key) !== undefined) services++;
    }
    return services;
  }

  /** The changes of one container are in etcd. */
  committed(shortId: string, changes: readonly Change[]): void {
    const { layout, ledger, listeners, log, metrics } = this.#parts;
    const services = new Map<string, string>();
    const addresses = new Map<string, string>();
    const note = (key: string): boolean => {
      const name = layout.nameOf(key);
      if (name !== undefined && !services.has(name)) services.set(name, key);
      return name !== undefined;
    };
    for (const [key, value] of ledger.observed(shortId)) {
      const url = note(key) ? ourValue(value) : undefined;
      if (url !== undefined) addresses.set(key, url);
    }
    const isGone = services.size === 0;
    if (isGone) for (const { key } of changes) note(key);
    // Another state of a container that is withheld.
    if (services.size === 0) return;
    const named = isGone ? [...services.keys()] : [...addresses];
    const more = named.length - servicesLoggedMax;
    if (more > 0) named.length = servicesLoggedMax;
    const fields = { container: shortId, ...ledger.namesOf(shortId), services: named };
    log.info(more > 0 ? { ...fields, more } : fields, isGone ? 'unpublished' : 'published');
    metrics[isGone ? 'unpublished' : 'published']++;
    const event = isGone ? 'unpublish' : 'publish';
    if (listeners.listenerCount(event) === 0) return;
    listeners.emit(event, { id: shortId, services: recordOf(services), addresses });
  }

  #isWanted(shortId: string): boolean {
    const { layout, ledger } = this.#parts;
    for (const key of (ledger.desired(shortId) ?? ledger.observed(shortId)).keys()) {
      if (layout.nameOf(key) !== undefined) return true;
    }
    return false;
  }
}

/** A service may be called __proto__. */
function recordOf(entries: ReadonlyMap<string, string>): Record<string, string> {
  return Object.assign(Object.create(null) as Record<string, string>, Object.fromEntries(entries));
}
