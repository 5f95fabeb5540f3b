/**
 * `/v1/history`: what this host published and withdrew lately, when and why, so that "who had this address?" has an
 * answer. Kept only while `http.listen` is set, in memory, over reloads and not over restarts.
 *
 * The agent tells of each commit; the container's state at that moment is the reason. The number of entries is bounded, and
 * the oldest go first. The keys that a new process finds in etcd are entries too (`found`), because nothing was committed
 * for them.
 */
import type { Agent } from '../agent.ts';
import { ourValue } from '../layout/held.ts';
import { nameOf } from '../lifecycle/state.ts';
import type { Publication } from '../reconcile/publications.ts';
import { namesOf } from '../reconcile/reports.ts';
import type { HistoryEntry } from './shapes.ts';

export const entriesMax = 5_000;

type Services = HistoryEntry['services'];

/** The last entries, in the order of time. */
export class Ring {
  /** What each container had last, so that a reload does not find it again. */
  readonly last = new Map<string, Services>();
  readonly #entries: HistoryEntry[] = [];
  #start = 0;

  add(entry: HistoryEntry): void {
    if (this.#entries.length < entriesMax) this.#entries.push(entry);
    else {
      this.#entries[this.#start] = entry;
      this.#start = (this.#start + 1) % entriesMax;
    }
  }

  *[Symbol.iterator](): Generator<HistoryEntry> {
    yield* this.#entries.slice(this.#start);
    yield* this.#entries.slice(0, this.#start);
  }

  /** Whether entries have been dropped. */
  get isFull(): boolean {
    return this.#entries.length === entriesMax;
  }
}

/** Adds to the ring what the agent commits, until it is closed. */
export class Recorder {
  readonly #agent: Agent;
  readonly #ring: Ring;
  #latency: { readonly count: number; readonly sumSeconds: number };

  constructor(agent: Agent, ring: Ring) {
    this.#agent = agent;
    this.#ring = ring;
    const { count, sumSeconds } = agent.metrics.publishSeconds;
    this.#latency = { count, sumSeconds };
    agent.on('publish', this.#published).on('unpublish', this.#unpublished);
    if (agent.state.isListed && agent.isPublishedKnown) this.#found();
    else agent.once('start', this.#found);
  }

  close(): void {
    this.#agent.off('publish', this.#published).off('unpublish', this.#unpublished).off('start', this.#found);
  }

  readonly #published = ({ id, addresses }: Publication): void => {
    const before = this.#ring.last.get(id);
    const services = [...addresses].map(([key, url]) => ({ name: this.#nameOf(key), url }));
    this.#ring.last.set(id, services);
    this.#add(before === undefined ? 'published' : 'changed', id, services);
  };

  readonly #unpublished = ({ id, services }: Publication): void => {
    const before = this.#ring.last.get(id) ?? Object.keys(services).map((name) => ({ name, url: null }));
    this.#ring.last.delete(id);
    this.#add('withdrawn', id, before);
  };

  /** The keys of the process before this one. */
  readonly #found = (): void => {
    const { ledger } = this.#agent;
    for (const shortId of ledger.containers()) {
      if (this.#ring.last.has(shortId)) continue;
      const services = [...ledger.observed(shortId)].flatMap(([key, held]) => {
        const name = this.#agent.layout.nameOf(key);
        return name === undefined ? [] : [{ name, url: ourValue(held) ?? null }];
      });
      if (services.length === 0) continue;
      this.#ring.last.set(shortId, services);
      this.#add('found', shortId, services);
    }
  };

  #nameOf(key: string): string {
    return this.#agent.layout.nameOf(key) ?? '';
  }

  #add(change: HistoryEntry['change'], id: string, services: Services): void {
    const { conditions, states } = this.#agent;
    const state = states.get(id);
    const names = namesOf(this.#agent, id);
    this.#ring.add({
      at: new Date().toISOString(),
      change,
      container: id,
      name: names?.name ?? null,
      image: names?.image ?? null,
      state: state === undefined ? 'gone' : nameOf(state),
      reason: conditions.get(id)?.traffic?.reason ?? null,
      seconds: this.#seconds(),
      services,
    });
  }

  /** From the engine's event to the commit that was told just now: the writer has noted it before. */
  #seconds(): number | null {
    const { count, sumSeconds } = this.#agent.metrics.publishSeconds;
    const seconds = count === this.#latency.count + 1 ? sumSeconds - this.#latency.sumSeconds : undefined;
    this.#latency = { count, sumSeconds };
    return seconds === undefined ? null : Math.round(seconds * 1e6) / 1e6;
  }
}

/** What is asked for; every part is optional. */
export interface Wanted {
  /** A service, or a container by name or by the beginning of its id. */
  readonly of: string | undefined;
  /** `10.0.0.5:8080`, or an address with any port. */
  readonly address: string | undefined;
  /** In ms since the epoch. */
  readonly sinceMs: number | undefined;
}

/** Undefined: the time cannot be read. */
export function wantedHistoryOf(query: URLSearchParams): Wanted | undefined {
  const since = query.get('since');
  const sinceMs = since === null ? undefined : Date.parse(since);
  if (Number.isNaN(sinceMs)) return undefined;
  return { of: query.get('of') ?? undefined, address: query.get('address') ?? undefined, sinceMs };
}

export function isWanted({ address, of, sinceMs }: Wanted, entry: HistoryEntry): boolean {
  if (sinceMs !== undefined && Date.parse(entry.at) < sinceMs) return false;
  const isOf =
    of === undefined ||
    entry.name === of ||
    (/^[\da-f]{4,64}$/.test(of) && entry.container.startsWith(of.slice(0, 12))) ||
    entry.services.some(({ name }) => name === of);
  return isOf && (address === undefined || entry.services.some(({ url }) => isAt(url, address)));
}

/** Whether the URL is at `host:port`, or at the host. */
function isAt(url: string | null, address: string): boolean {
  const there = url?.slice(url.indexOf('://') + 3);
  return there === address || there?.slice(0, there.lastIndexOf(':')) === address;
}
