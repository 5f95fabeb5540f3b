/**
 * All counters of the agent, at zero from the start, so that a missing series is never mistaken for silence.
 *
 * They are plain numbers on one object: the parts of the agent add to them, and reports read them.
 * `http/prometheus.ts` serves them to Prometheus; it is loaded only if `http.listen` is set.
 */

import { type RefusalCode, refusalCodes } from './container/refusals.ts';
import { Connection } from './health.ts';

/** Durations, counted by upper bounds. */
export class Histogram {
  /** In seconds, ascending. A longer duration than the last bound is counted only in `count`. */
  readonly bounds: readonly number[];
  /** For each bound: observations up to it and above the bound before. */
  readonly counts: number[];
  count = 0;
  sumSeconds = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = bounds.map(() => 0);
  }

  observe(seconds: number): void {
    // A clock that was set back gives no latency.
    const value = Math.max(0, seconds);
    this.count++;
    this.sumSeconds += value;
    let index = 0;
    while (index < this.bounds.length && value > (this.bounds[index] as number)) index++;
    if (index < this.counts.length) this.counts[index] = (this.counts[index] as number) + 1;
  }

  /** For each bound, the number of observations up to it. */
  cumulative(): [leSeconds: number, count: number][] {
    let below = 0;
    return this.bounds.map((bound, index) => {
      below += this.counts[index] as number;
      return [bound, below];
    });
  }

  /** For a log line. */
  toJSON(): object {
    return { count: this.count, sumSeconds: this.sumSeconds };
  }
}

export type EtcdOperation = 'owner' | 'grant' | 'keep_alive' | 'lease' | 'claim' | 'read' | 'commit' | 'revoke';
export type StreamEnd = 'ended' | 'failed' | 'renewed' | 'stalled' | 'unreadable' | 'list' | 'silent';
type Counts<Label extends string> = Record<Label, number>;

export interface Metrics {
  /** Container and network events that led to work, by their meaning; `network` has those of health and pause as well. */
  events: Counts<'start' | 'stop' | 'network' | 'signal'>;
  /** Time of the newest event, by the engine's clock, in seconds since the epoch; 0 before the first. */
  lastEventAt: number;
  /** Up: a stream is open, and the running containers have been listed since. */
  readonly docker: Connection;
  engine: { readonly version: string; readonly api: string } | undefined;
  /** Event streams that were opened, and the reasons of their ends. */
  streams: number;
  streamEnds: Counts<StreamEnd>;
  /** Lists at a new stream, and later ones; complete and failed. */
  lists: Record<'connect' | 'resync', Counts<'ok' | 'failed'>>;
  listSeconds: Histogram;
  /** Inspections, and how many of them failed. */
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
  /** Commits that published or changed a container, and commits that removed one. */
  published: number;
  unpublished: number;
  /** From the engine's event to the commit that answers it. */
  publishSeconds: Histogram;
  /** Up: the last call had an answer, if only a refusal. */
  readonly etcd: Connection;
  /** Calls of etcd by their outcome. */
  etcdCalls: Record<EtcdOperation, Counts<'ok' | 'refused' | 'unavailable'> & { readonly seconds: Histogram }>;
  /** Claims of the owner key: one at the start, and one each time that ownership is verified. */
  claims: number;
  /** The lease that was granted or renewed last, and when it ends unless renewed, in milliseconds of the agent's clock. */
  leaseRenewed: string | undefined;
  leaseEndsAt: number;
  /** Why the last call for the lease or the owner key failed; undefined since one of them has succeeded. */
  leaseFailure: string | undefined;
  leasesLost: number;
  /** Audits that found a difference. */
  drift: Counts<'lease' | 'owner' | 'keys'>;
  /** Containers whose changes etcd refuses. */
  quarantined: number;
  /** Changes of the addresses of this host. */
  hostAddressChanges: number;
}

const callBounds = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const latencyBounds = [
  0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

export function createMetrics(): Metrics {
  const calls = () => ({ ok: 0, refused: 0, unavailable: 0, seconds: new Histogram(callBounds) });
  return {
    events: { start: 0, stop: 0, network: 0, signal: 0 },
    lastEventAt: 0,
    docker: new Connection(),
    engine: undefined,
    streams: 0,
    streamEnds: { ended: 0, failed: 0, renewed: 0, stalled: 0, unreadable: 0, list: 0, silent: 0 },
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
    etcd: new Connection(),
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
    leaseRenewed: undefined,
    leaseEndsAt: 0,
    leaseFailure: undefined,
    leasesLost: 0,
    drift: { lease: 0, owner: 0, keys: 0 },
    quarantined: 0,
    hostAddressChanges: 0,
  };
}

function countsOf<Label extends string>(labels: readonly Label[]): Counts<Label> {
  // `fromEntries` cannot tell that the labels are all members of the union.
  return Object.fromEntries(labels.map((label) => [label, 0])) as Counts<Label>;
}

/** The sum over all labels of a count. */
export function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
