/**
 * Everything that is counted, at zero from the start, so that absence never looks like silence.
 * Plain numbers on one object: who counts adds one, who reports reads. Who serves them to Prometheus
 * is `http/prometheus.ts`, which is loaded only where that is asked for.
 */

import { type RefusalCode, refusalCodes } from './container/refusals.ts';

/** How often something took at most so long. */
export class Histogram {
  /** In seconds, growing; what is above the last is counted in `count` alone. */
  readonly bounds: readonly number[];
  /** Per bound: observations at most as large, and larger than the bound before. */
  readonly counts: number[];
  count = 0;
  sumSeconds = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = bounds.map(() => 0);
  }

  observe(seconds: number): void {
    // A clock that was set back is no latency.
    const value = Math.max(0, seconds);
    this.count++;
    this.sumSeconds += value;
    let index = 0;
    while (index < this.bounds.length && value > (this.bounds[index] as number)) index++;
    if (index < this.counts.length) this.counts[index] = (this.counts[index] as number) + 1;
  }

  /** For each bound, how many took no longer. */
  cumulative(): [leSeconds: number, count: number][] {
    let below = 0;
    return this.bounds.map((bound, index) => {
      below += this.counts[index] as number;
      return [bound, below];
    });
  }

  /** For a line of a log. */
  toJSON(): object {
    return { count: this.count, sumSeconds: this.sumSeconds };
  }
}

export type EtcdOperation = 'owner' | 'grant' | 'keep_alive' | 'lease' | 'claim' | 'read' | 'commit' | 'revoke';
export type StreamEnd = 'ended' | 'failed' | 'renewed' | 'stalled' | 'unreadable' | 'list';
type Counts<Label extends string> = Record<Label, number>;

export interface Metrics {
  /** Container and network events that asked for something, by what they said. */
  events: Counts<'start' | 'stop' | 'network'>;
  /** Of the newest event, by the engine's clock, in seconds since the epoch; 0 before the first. */
  lastEventAt: number;
  /** A stream is open, and what runs has been listed since. */
  dockerConnected: boolean;
  engine: { readonly version: string; readonly api: string } | undefined;
  /** Event streams opened, and why those that are over have ended. */
  streams: number;
  streamEnds: Counts<StreamEnd>;
  /** Lists that were asked for at a new stream, and later: complete ones, and those that failed. */
  lists: Record<'connect' | 'resync', Counts<'ok' | 'failed'>>;
  listSeconds: Histogram;
  /** Containers inspected, and how many of those looks failed. */
  inspections: number;
  inspectionsFailed: number;
  /** Tasks given to the pool, and how long they took. */
  tasks: number;
  taskSeconds: Histogram;
  /** Containers known to run. */
  running: number;
  /** Entries of advertisements that were not published. */
  refusals: Counts<RefusalCode>;
  /** Transactions committed, and the puts and deletes in them. */
  transactions: number;
  operations: Counts<'put' | 'delete'>;
  /** Containers that have appeared in etcd or changed there, and that have gone. */
  published: number;
  unpublished: number;
  /** From the engine's event to the commit that answers it. */
  publishSeconds: Histogram;
  /** Calls of etcd by what became of them; whether the last one had an answer. */
  etcdConnected: boolean;
  etcdCalls: Record<EtcdOperation, Counts<'ok' | 'refused' | 'unavailable'> & { readonly seconds: Histogram }>;
  /** Claims of the owner key: one at the start, one after each doubt. */
  claims: number;
  /** When the lease ends unless it is renewed, in milliseconds of the agent's clock. */
  leaseEndsAt: number;
  leasesLost: number;
  /** Comparisons with etcd that found something other than what was written. */
  drift: Counts<'lease' | 'owner' | 'keys'>;
  /** Containers whose changes etcd refuses. */
  quarantined: number;
}

const callBounds = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const latencyBounds = [
  0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

export function createMetrics(): Metrics {
  const calls = () => ({ ok: 0, refused: 0, unavailable: 0, seconds: new Histogram(callBounds) });
  return {
    events: { start: 0, stop: 0, network: 0 },
    lastEventAt: 0,
    dockerConnected: false,
    engine: undefined,
    streams: 0,
    streamEnds: { ended: 0, failed: 0, renewed: 0, stalled: 0, unreadable: 0, list: 0 },
    lists: { connect: { ok: 0, failed: 0 }, resync: { ok: 0, failed: 0 } },
    listSeconds: new Histogram(callBounds),
    inspections: 0,
    inspectionsFailed: 0,
    tasks: 0,
    taskSeconds: new Histogram(callBounds),
    running: 0,
    refusals: countsOf(refusalCodes),
    transactions: 0,
    operations: { put: 0, delete: 0 },
    published: 0,
    unpublished: 0,
    publishSeconds: new Histogram(latencyBounds),
    etcdConnected: false,
    etcdCalls: {
      owner: calls(),
      grant: calls(),
      keep_alive: calls(),
      lease: calls(),
      claim: calls(),
      read: calls(),
      commit: calls(),
      revoke: calls(),
    },
    claims: 0,
    leaseEndsAt: 0,
    leasesLost: 0,
    drift: { lease: 0, owner: 0, keys: 0 },
    quarantined: 0,
  };
}

function countsOf<Label extends string>(labels: readonly Label[]): Counts<Label> {
  // The labels of a union are all its members, which fromEntries cannot tell.
  return Object.fromEntries(labels.map((label) => [label, 0])) as Counts<Label>;
}

/** All labels of a count together. */
export function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
