/**
 * The known instances below one prefix, and the sets that are made of them.
 *
 * A set is the same array until something in its service changes. So its owner can see by identity that
 * nothing is new, and the next query costs one look-up. An instance, too, is the same object as long as
 * its key has the same value, through any number of readings.
 *
 * Sets are in no order. Keys that are not of the layout are counted and otherwise left alone.
 */

import { type Instance, parseInstance } from '../layout/instance.ts';
import type { Change } from '../layout/keys.ts';

/** Which instances of a service; left out, all of them. */
export interface Selector {
  readonly realm?: string | undefined;
  readonly protocol?: string | undefined;
}

/** The difference between one set and the next. */
export interface Difference {
  readonly added: readonly Instance[];
  readonly removed: readonly Instance[];
  /** Instances with another address, port or protocol than before, as they are now. */
  readonly changed: readonly Instance[];
}

/** Called for each instance that comes (`before` undefined), changes, or goes (`now` undefined). */
export type InstanceListener = (before: Instance | undefined, now: Instance | undefined) => void;

interface Service {
  readonly instances: Map<string, Instance>;
  /** The sets asked for since the last change. */
  readonly sets: Map<string, readonly Instance[]>;
}

const none: readonly Instance[] = Object.freeze([]);

/** @internal */
export class Catalogue {
  readonly #below: string;
  readonly #services = new Map<string, Service>();
  readonly #skipped = new Set<string>();

  readonly #onChange: InstanceListener | undefined;

  /** The keys of all services begin with `below`. */
  constructor(below: string, onChange?: InstanceListener) {
    this.#below = below;
    this.#onChange = onChange;
  }

  /** The number of keys that are no instances. */
  get skipped(): number {
    return this.#skipped.size;
  }

  /** Takes in a reading of everything: instances that it does not have are gone. */
  replace(found: readonly Change[]): void {
    const there = new Set(found.map(({ key }) => key));
    const known = [...this.#services.values()].flatMap(({ instances }) => [...instances.keys()]);
    const gone = [...known, ...this.#skipped].filter((key) => !there.has(key));
    this.apply([...gone.map((key) => ({ key, value: undefined })), ...found]);
  }

  apply(changes: readonly Change[]): void {
    for (const { key, value } of changes) {
      const instance = value === undefined ? undefined : parseInstance(this.#below, key, value);
      if (value === undefined || instance !== undefined) this.#skipped.delete(key);
      else this.#skipped.add(key);
      if (instance === undefined) this.#remove(key);
      else this.#put(instance);
    }
  }

  /** Frozen, and the same array until the service changes. */
  select(name: string, { realm, protocol }: Selector): readonly Instance[] {
    const service = this.#services.get(name);
    if (service === undefined) return none;
    const id = `${realm ?? ''}/${protocol ?? ''}`;
    const known = service.sets.get(id);
    if (known !== undefined) return known;
    const set = Object.freeze([...service.instances.values()].filter((one) => matches(one, realm, protocol)));
    // A service without an instance is not remembered: callers may ask for any number of realms.
    if (set.length === 0) return none;
    service.sets.set(id, set);
    return set;
  }

  /** Instances by name; services without any are absent. */
  counts({ realm, protocol }: Selector): Map<string, number> {
    const counts = new Map<string, number>();
    const isAll = realm === undefined && protocol === undefined;
    for (const [name, { instances }] of this.#services) {
      const length = isAll ? instances.size : this.select(name, { realm, protocol }).length;
      if (length > 0) counts.set(name, length);
    }
    return counts;
  }

  #put(instance: Instance): void {
    const { name, key, url } = instance;
    const service = this.#services.get(name) ?? { instances: new Map(), sets: new Map() };
    const before = service.instances.get(key);
    if (before?.url === url) return;
    service.instances.set(key, instance);
    this.#onChange?.(before, instance);
    service.sets.clear();
    this.#services.set(name, service);
  }

  #remove(key: string): void {
    const name = key.slice(this.#below.length).split('/', 1)[0] ?? '';
    const service = this.#services.get(name);
    const before = service?.instances.get(key);
    if (service === undefined || before === undefined) return;
    service.instances.delete(key);
    this.#onChange?.(before, undefined);
    service.sets.clear();
    if (service.instances.size === 0) this.#services.delete(name);
  }
}

function matches(instance: Instance, realm: string | undefined, protocol: string | undefined): boolean {
  return (realm ?? instance.realm) === instance.realm && (protocol ?? instance.protocol) === instance.protocol;
}

/** @internal */
export function differenceOf(before: readonly Instance[], now: readonly Instance[]): Difference {
  const left = new Map(before.map((instance) => [instance.key, instance]));
  const [added, changed]: [Instance[], Instance[]] = [[], []];
  for (const instance of now) {
    const earlier = left.get(instance.key);
    if (earlier === undefined) added.push(instance);
    else if (earlier.url !== instance.url) changed.push(instance);
    left.delete(instance.key);
  }
  return { added, removed: [...left.values()], changed };
}
