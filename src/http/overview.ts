/**
 * `/v1/overview`: each service of the fleet in one row, with its realms, hosts, states and weights. `?watch` sends all rows,
 * then those that have changed, once a second.
 *
 * The catalogue tells which services have changed, and only their rows are made anew. While there is much to do, the event
 * loop turns in between.
 */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Catalogue } from '../client/catalogue.ts';
import type { Instance } from '../layout/instance.ts';
import { type Body, listBody } from './answers.ts';
import type { Fleet } from './fleet.ts';
import type { ServiceRow, ServicesEvent } from './shapes.ts';
import { Broadcast, eventOf, type Stream } from './streams.ts';

const everyMs = 1_000;
/** Services between two turns of the event loop, and in one event. */
const atOnce = 250;
const chunk = 1_000;
const hostsShown = 3;
const realmsShown = 10;

/** `instances` are those with a key and those that are withheld, at least one. */
export function serviceRowOf(name: string, instances: readonly Instance[]): ServiceRow {
  const hosts = new Set<string>();
  const realms = new Set<string>();
  const states: Record<string, number> = {};
  let [least, most] = [Number.POSITIVE_INFINITY, -1];
  for (const { host, realm, state = 'ready', weight } of instances) {
    hosts.add(host);
    realms.add(realm);
    states[state] = (states[state] ?? 0) + 1;
    if (weight === undefined) continue;
    [least, most] = [Math.min(least, weight), Math.max(most, weight)];
  }
  return {
    name,
    realms: [...realms].sort().slice(0, realmsShown),
    instances: instances.length,
    hosts: hosts.size,
    someHosts: [...hosts].sort().slice(0, hostsShown),
    states,
    weights: most < 0 ? null : [least, most],
  };
}

/** The instances that are withheld, by service. */
function withheldOf(catalogue: Catalogue): Map<string, Instance[]> {
  const withheld = new Map<string, Instance[]>();
  for (const instance of catalogue.withheld()) {
    const of = withheld.get(instance.name);
    if (of === undefined) withheld.set(instance.name, [instance]);
    else of.push(instance);
  }
  return withheld;
}

function namesOf(catalogue: Catalogue, withheld: ReadonlyMap<string, unknown>): Set<string> {
  return new Set([...catalogue.counts({}).keys(), ...withheld.keys()]);
}

const instancesOf = (catalogue: Catalogue, withheld: ReadonlyMap<string, readonly Instance[]>, name: string) => [
  ...catalogue.select(name, {}),
  ...(withheld.get(name) ?? []),
];

/** The time between two looks at what has changed. */
type Rest = (signal: AbortSignal) => Promise<void>;

export class Overview {
  readonly #fleet: Fleet;
  readonly #rest: Rest;
  readonly #broadcast: Broadcast;
  readonly #rows = new Map<string, ServiceRow>();
  /** Services that may have changed since the last event. */
  readonly #touched = new Set<string>();
  #isAllTouched = true;
  #staleSince: string | undefined;
  /** The first events of a stream, the same for all that begin between two updates. */
  #first: readonly Buffer[] | undefined;

  constructor(fleet: Fleet, rest: Rest = (signal) => sleep(everyMs, undefined, { signal })) {
    this.#fleet = fleet;
    this.#rest = rest;
    this.#broadcast = new Broadcast(() => this.#begin());
  }

  async answer(): Promise<Body> {
    const catalogue = await this.#fleet.known();
    const withheld = withheldOf(catalogue);
    const encode = (name: string) => serviceRowOf(name, instancesOf(catalogue, withheld, name));
    const { stale } = this.#fleet;
    const end = stale === undefined ? '}' : `,"stale":${JSON.stringify(stale)}}`;
    return listBody('{"services":', namesOf(catalogue, withheld), encode, end);
  }

  /** All rows that are made already, then the others and the changes. The fleet has to be known. */
  follow(stream: Stream): void {
    this.#broadcast.add(stream);
    this.#first ??= this.#snapshot();
    for (const bytes of this.#first) stream.write(bytes);
  }

  #snapshot(): readonly Buffer[] {
    const all = [...this.#rows.values()];
    const events: Buffer[] = [];
    for (let at = 0; at === 0 || at < all.length; at += chunk) {
      events.push(eventOf('services', JSON.stringify(this.#event(at === 0, all.slice(at, at + chunk), []))));
    }
    return events;
  }

  #event(reset: boolean, set: readonly ServiceRow[], gone: readonly string[]): ServicesEvent {
    return { reset, set, gone, stale: this.#fleet.stale };
  }

  #begin(): () => void {
    const release = this.#fleet.hold();
    const over = new AbortController();
    void this.#run(over.signal);
    return () => {
      over.abort();
      release();
      // The next run begins with rows of its own.
      this.#rows.clear();
      this.#touched.clear();
      this.#first = undefined;
    };
  }

  async #run(signal: AbortSignal): Promise<void> {
    const catalogue = await this.#fleet.known().catch(() => undefined);
    if (catalogue === undefined || signal.aborted) return;
    const forget = catalogue.follow((name) => {
      if (name === undefined) this.#isAllTouched = true;
      else this.#touched.add(name);
    });
    this.#isAllTouched = true;
    try {
      while (!signal.aborted) {
        await this.#update(catalogue, signal);
        await this.#rest(signal).catch(() => {});
      }
    } finally {
      forget();
    }
  }

  async #update(catalogue: Catalogue, signal: AbortSignal): Promise<void> {
    const since = this.#fleet.stale?.since;
    const isStaleNews = since !== this.#staleSince;
    this.#staleSince = since;
    if (!this.#isAllTouched && this.#touched.size === 0 && !isStaleNews) return;
    const withheld = withheldOf(catalogue);
    const names = this.#isAllTouched
      ? new Set([...namesOf(catalogue, withheld), ...this.#rows.keys()])
      : new Set(this.#touched);
    this.#isAllTouched = false;
    this.#touched.clear();
    let [set, gone, seen]: [ServiceRow[], string[], number] = [[], [], 0];
    const send = (): void => {
      this.#first = undefined;
      this.#broadcast.send('services', this.#event(false, set, gone));
      [set, gone] = [[], []];
    };
    for (const name of names) {
      const row = this.#renew(name, instancesOf(catalogue, withheld, name));
      if (row !== undefined) set.push(row);
      else if (!this.#rows.has(name)) gone.push(name);
      if (set.length + gone.length >= chunk) send();
      if (++seen % atOnce > 0) continue;
      await nextTurn();
      if (signal.aborted) return;
    }
    if (set.length + gone.length > 0 || isStaleNews) send();
  }

  /** The new row of a service, if it differs from the last one. */
  #renew(name: string, instances: readonly Instance[]): ServiceRow | undefined {
    if (instances.length === 0) {
      this.#rows.delete(name);
      return undefined;
    }
    const row = serviceRowOf(name, instances);
    const before = this.#rows.get(name);
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(row)) return undefined;
    this.#rows.set(name, row);
    return row;
  }
}
