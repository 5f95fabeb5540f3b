/**
 * The known instances below one prefix, and the sets that are made of them.
 *
 * A set is the same array until something in its service changes. So its owner can see by identity that
 * nothing is new, and the next query costs one look-up. An instance, too, is the same object as long as
 * its key and its meta key say the same, through any number of readings.
 *
 * A reading of everything is taken in aside, in parts, and takes effect as a whole: a set is never a mixture of two
 * readings. Sets are in no order. Service keys that are not of the layout are counted and otherwise left alone. A meta
 * without its service key is kept until it has one.
 */

import { type Instance, parseInstance } from '../layout/instance.ts';
import { type Change, metaPrefixOf, servicePrefixOf } from '../layout/keys.ts';
import { type Known as Facts, Withheld } from './withheld.ts';

/** Which instances of a service; left out, all of them. */
export interface Selector {
  readonly realm?: string | undefined;
  readonly protocol?: string | undefined;
  /** Also those whose containers deserve no traffic now: see `Instance.state`. Only hosts whose `etcd.meta` is `always` tell. */
  readonly states?: boolean | undefined;
}

/** The difference between one set and the next. */
export interface Difference {
  readonly added: readonly Instance[];
  readonly removed: readonly Instance[];
  /** Instances with another address, port, protocol or meta than before, as they are now. */
  readonly changed: readonly Instance[];
}

interface Service {
  readonly instances: Map<string, Instance>;
  /** The sets asked for since the last change. */
  sets: Map<string, readonly Instance[]>;
  /** The numbers of instances by realm and protocol. */
  readonly counts: Map<string, number>;
  /** Of a reading that is taken in: the instances that are as before. */
  kept: number;
}

/** A set with the instances that are withheld, and what it was made of. */
interface StateSet {
  readonly base: readonly Instance[];
  readonly withheld: readonly Instance[];
  readonly set: readonly Instance[];
}

const none: readonly Instance[] = Object.freeze([]);

/** What one reading and the changes after it say. */
class Known {
  readonly services = new Map<string, Service>();
  /** Instances by host, then by key. */
  readonly hosts = new Map<string, Map<string, Instance>>();
  /** The values of the meta keys. */
  readonly metas = new Map<string, string>();
  readonly skipped = new Set<string>();
  /** The number of changes of instances, and of changes of what `places` gives. */
  changes = 0;
  kindChanges = 0;
}

/** @internal */
export class Catalogue {
  /** The keys of all services begin with this, and those of their metas with the other. */
  readonly #below: string;
  readonly #metaBelow: string;
  readonly #withheld: Withheld;
  /** By name, realm and protocol. */
  readonly #stateSets = new Map<string, StateSet>();
  readonly #followers = new Set<(name: string | undefined) => void>();
  #known = new Known();
  /** The reading that is taken in. */
  #next = new Known();

  /** `prefix` is that of etcd. */
  constructor(prefix: string) {
    this.#below = servicePrefixOf(prefix);
    this.#metaBelow = metaPrefixOf(prefix);
    this.#withheld = new Withheld(this.#below, this.#metaBelow);
  }

  /** The number of service keys that are no instances. */
  get skipped(): number {
    return this.#known.skipped.size;
  }

  /** Begins a reading of everything. A reading before that was not adopted is forgotten. */
  begin(): void {
    this.#next = new Known();
  }

  /** A part of the reading; the meta keys come before the service keys. */
  add(found: readonly Change[]): void {
    for (const { key, value } of found) {
      if (value === undefined) continue;
      if (key.startsWith(this.#metaBelow)) this.#next.metas.set(key, value);
      else if (key.startsWith(this.#below)) this.#add(key, value);
    }
  }

  /** The reading takes effect: instances that it does not have are gone. */
  adopt(): void {
    for (const [name, service] of this.#next.services) {
      const before = this.#known.services.get(name);
      const { size } = service.instances;
      if (before?.instances.size === size && service.kept === size) service.sets = before.sets;
    }
    this.#next.changes += this.#known.changes + 1;
    this.#next.kindChanges += this.#known.kindChanges + 1;
    this.#known = this.#next;
    this.#next = new Known();
    this.#withheld.reread(this.#facts());
    this.#stateSets.clear();
    for (const told of this.#followers) told(undefined);
  }

  /** Calls with the name of each service that may have changed, undefined for all, until the returned function is called. */
  follow(told: (name: string | undefined) => void): () => void {
    this.#followers.add(told);
    return () => void this.#followers.delete(told);
  }

  /** Changes of service keys and of meta keys, which take effect together. */
  apply(changes: readonly Change[]): void {
    const known = this.#known;
    const urls = new Map<string, string | undefined>();
    const others = new Set<string>();
    for (const { key, value } of changes) {
      if (key.startsWith(this.#below)) urls.set(key, value);
      if (!key.startsWith(this.#metaBelow)) continue;
      if (value === undefined) known.metas.delete(key);
      else known.metas.set(key, value);
      others.add(this.#below + key.slice(this.#metaBelow.length));
    }
    for (const [key, url] of urls) this.#change(key, url);
    for (const key of others) {
      const before = this.#instance(key);
      if (before !== undefined && !urls.has(key)) this.#change(key, before.url);
    }
    const facts = this.#facts();
    for (const key of urls.keys()) this.#withheld.changed(key, facts);
    for (const key of others) this.#withheld.changed(key, facts);
    for (const told of this.#followers) for (const key of [...urls.keys(), ...others]) told(this.#nameOf(key));
  }

  has(serviceKey: string): boolean {
    return this.#instance(serviceKey) !== undefined;
  }

  /** Frozen, and the same array until the service changes. */
  select(name: string, { realm, protocol, states = false }: Selector): readonly Instance[] {
    return states ? this.#selectStates(name, realm, protocol) : this.#select(name, realm, protocol);
  }

  #select(name: string, realm: string | undefined, protocol: string | undefined): readonly Instance[] {
    const service = this.#known.services.get(name);
    if (service === undefined) return none;
    const id = realm === undefined && protocol === undefined ? '' : JSON.stringify([realm, protocol]);
    const known = service.sets.get(id);
    if (known !== undefined) return known;
    const set = Object.freeze([...service.instances.values()].filter((one) => matches(one, realm, protocol)));
    // A service without an instance is not remembered: callers may ask for any number of realms.
    if (set.length === 0) return none;
    service.sets.set(id, set);
    return set;
  }

  #selectStates(name: string, realm: string | undefined, protocol: string | undefined): readonly Instance[] {
    const base = this.#select(name, realm, protocol);
    const all = [...this.#withheld.all(this.#facts())];
    const withheld = all.filter((one) => one.name === name && matches(one, realm, protocol));
    if (withheld.length === 0) return base;
    const id = JSON.stringify([name, realm, protocol]);
    const last = this.#stateSets.get(id);
    if (last?.base === base && isSameList(last.withheld, withheld)) return last.set;
    const set = Object.freeze([...base, ...withheld]);
    this.#stateSets.set(id, { base, withheld, set });
    return set;
  }

  /** Every instance that is withheld. */
  withheld(): Iterable<Instance> {
    return this.#withheld.all(this.#facts());
  }

  #facts(): Facts {
    return { metas: this.#known.metas, hasKey: (key) => this.#instance(key) !== undefined };
  }

  /** Instances by name; services without any are absent. */
  counts({ realm, protocol, states = false }: Selector): Map<string, number> {
    const counts = new Map<string, number>();
    const isAll = realm === undefined && protocol === undefined;
    for (const [name, service] of this.#known.services) {
      let number = isAll ? service.instances.size : 0;
      for (const [kind, count] of isAll ? [] : service.counts) {
        const [ofRealm, ofProtocol] = kind.split('/');
        if ((realm ?? ofRealm) === ofRealm && (protocol ?? ofProtocol) === ofProtocol) number += count;
      }
      if (number > 0) counts.set(name, number);
    }
    for (const one of states ? this.withheld() : []) {
      if (matches(one, realm, protocol)) counts.set(one.name, (counts.get(one.name) ?? 0) + 1);
    }
    return counts;
  }

  /** A number that differs once any instance has changed. */
  get changes(): number {
    return this.#known.changes;
  }

  /** A number that differs once `places` does. */
  get kindChanges(): number {
    return this.#known.kindChanges;
  }

  /** Every service with each realm in which it has instances. */
  *places(): Generator<{ readonly name: string; readonly realm: string }> {
    for (const [name, { counts }] of this.#known.services) {
      const realms = new Set([...counts.keys()].map((kind) => kind.slice(0, kind.lastIndexOf('/'))));
      for (const realm of realms) yield { name, realm };
    }
  }

  /** Every host that has instances, with their number. */
  *hosts(): Generator<readonly [host: string, instances: number]> {
    for (const [host, { size }] of this.#known.hosts) yield [host, size];
  }

  instancesOn(host: string): readonly Instance[] {
    return [...(this.#known.hosts.get(host)?.values() ?? [])];
  }

  #instance(key: string): Instance | undefined {
    return this.#known.services.get(this.#nameOf(key))?.instances.get(key);
  }

  #nameOf(key: string): string {
    return key.slice(this.#below.length, key.indexOf('/', this.#below.length));
  }

  #metaOf(known: Known, serviceKey: string): string | undefined {
    return known.metas.get(this.#metaBelow + serviceKey.slice(this.#below.length));
  }

  /** A service key of the reading that is taken in. It mostly says what is known, and then nothing is parsed. */
  #add(key: string, url: string): void {
    const before = this.#instance(key);
    const meta = this.#metaOf(this.#next, key);
    const isAsBefore = before?.url === url && this.#metaOf(this.#known, key) === meta;
    const now = isAsBefore ? before : this.#parsed(before, key, url, meta);
    if (now === undefined) {
      this.#next.skipped.add(key);
      return;
    }
    const service = put(this.#next, now);
    if (now === before) service.kept++;
  }

  #change(key: string, url: string | undefined): void {
    const known = this.#known;
    const before = this.#instance(key);
    const now = url === undefined ? undefined : this.#parsed(before, key, url, this.#metaOf(known, key));
    if (url === undefined || now !== undefined) known.skipped.delete(key);
    else known.skipped.add(key);
    if (now === before) return;
    if (before !== undefined) remove(known, before);
    if (now !== undefined) put(known, now);
  }

  /** The same object as before if it says the same. */
  #parsed(before: Instance | undefined, key: string, url: string, meta: string | undefined): Instance | undefined {
    const now = parseInstance(this.#below, key, url, meta);
    return now !== undefined && before !== undefined && isSame(before, now) ? before : now;
  }
}

function put(known: Known, instance: Instance): Service {
  const { name, host, key } = instance;
  const service = known.services.get(name) ?? { instances: new Map(), sets: new Map(), counts: new Map(), kept: 0 };
  service.instances.set(key, instance);
  service.sets.clear();
  const ofKind = service.counts.get(kindOf(instance)) ?? 0;
  service.counts.set(kindOf(instance), ofKind + 1);
  known.changes++;
  if (ofKind === 0) known.kindChanges++;
  known.services.set(name, service);
  const others = known.hosts.get(host) ?? new Map<string, Instance>();
  known.hosts.set(host, others.set(key, instance));
  return service;
}

function remove(known: Known, instance: Instance): void {
  const { name, host, key } = instance;
  const service = known.services.get(name);
  service?.instances.delete(key);
  service?.sets.clear();
  const left = (service?.counts.get(kindOf(instance)) ?? 1) - 1;
  if (left > 0) service?.counts.set(kindOf(instance), left);
  else {
    service?.counts.delete(kindOf(instance));
    known.kindChanges++;
  }
  known.changes++;
  if (service?.instances.size === 0) known.services.delete(name);
  const others = known.hosts.get(host);
  if (others?.delete(key) && others.size === 0) known.hosts.delete(host);
}

const isSameList = (some: readonly Instance[], others: readonly Instance[]): boolean =>
  some.length === others.length && some.every((one, index) => one === others[index]);

const kindOf = ({ realm, protocol }: Instance): string => `${realm}/${protocol}`;

function matches(instance: Instance, realm: string | undefined, protocol: string | undefined): boolean {
  return (realm ?? instance.realm) === instance.realm && (protocol ?? instance.protocol) === instance.protocol;
}

/** Whether two instances of one key say the same. The members of both are in one order. */
function isSame(one: Instance, other: Instance): boolean {
  return one === other || (one.url === other.url && JSON.stringify(one) === JSON.stringify(other));
}

/** @internal */
export function differenceOf(before: readonly Instance[], now: readonly Instance[]): Difference {
  const left = new Map(before.map((instance) => [instance.key, instance]));
  const [added, changed]: [Instance[], Instance[]] = [[], []];
  for (const instance of now) {
    const earlier = left.get(instance.key);
    if (earlier === undefined) added.push(instance);
    else if (!isSame(earlier, instance)) changed.push(instance);
    left.delete(instance.key);
  }
  return { added, removed: [...left.values()], changed };
}
