/**
 * The shapes of the answers of `/status` and `/v1/hosts`, which the page reads too. Types alone, importing types alone,
 * because a browser's program and the agent are both checked against them.
 *
 * A summary is small and changes all the time; the containers are many and change one by one. `entry` and
 * `detail` of a refusal come from containers, and facts about hosts come from every program that may write to etcd: the
 * page shows them as text.
 */

import type { ReasonCode } from '../container/refusals.ts';
import type { Health, PartHealth } from '../health.ts';
import type { Meta } from '../layout/meta.ts';

export type { Health, PartHealth };

export interface Check {
  readonly name: 'docker' | 'listed' | 'lease' | 'settled';
  readonly ok: boolean;
  readonly detail: string;
}

export interface Summary {
  readonly version: string;
  /** RFC 3339, as `now` is. */
  readonly startedAt: string;
  readonly now: string;
  readonly host: {
    readonly id: string;
    readonly realm: string;
    /** At present; empty while the host has none. */
    readonly ip: string;
    readonly ip6: string | null;
  };
  readonly prefix: string;
  readonly ready: boolean;
  readonly checks: readonly Check[];
  readonly health: Health;
  /** Age in seconds of the oldest change of a container that is not in etcd yet; 0 if there is none. */
  readonly oldestUnsettledSeconds: number;
  readonly docker: {
    readonly connected: boolean;
    readonly engine: string | null;
    readonly api: string | null;
    readonly endpoint: string;
    readonly lastEventAt: string | null;
    readonly reconnects: number;
  };
  readonly etcd: {
    readonly connected: boolean;
    readonly endpoints: readonly string[];
    readonly leaseRemainingSeconds: number | null;
    readonly ttlSeconds: number;
    readonly claims: number;
  };
  readonly mailboxes: readonly { readonly name: string; readonly waiting: number; readonly inFlight: number }[];
  readonly workers: { readonly threads: number; readonly max: number; readonly utilization: number };
  /** The zone that is answered over DNS, and the number of queries by outcome; null or absent: `dns.listen` is not set. */
  readonly dns?: { readonly zone: string; readonly outcomes: Readonly<Record<string, number>> } | null;
  /** Numbers of containers; `services` counts keys, `refused` counts entries of advertisements. */
  readonly counts: {
    /** Null until Docker has been listed. */
    readonly running: number | null;
    /** Known to be in etcd: 0 once the lease has run out by the agent's clock. */
    readonly published: number;
    readonly services: number;
    readonly refused: number;
    readonly failing: number;
    readonly quarantined: number;
  };
  /** Since the start. */
  readonly totals: {
    readonly events: number;
    readonly transactions: number;
    readonly operations: number;
    readonly published: number;
    readonly unpublished: number;
    readonly refusals: number;
  };
  /** From the engine's event to the commit, since the start: seconds, and how many took no longer. */
  readonly latency: {
    readonly buckets: readonly (readonly [leSeconds: number, count: number])[];
    readonly count: number;
    readonly sumSeconds: number;
  };
}

/** The part of a summary that the page draws over time. */
export interface Sample {
  readonly now: string;
  readonly startedAt: string;
  readonly totals: Pick<Summary['totals'], 'published' | 'unpublished'>;
  readonly latency: Pick<Summary['latency'], 'buckets' | 'count'>;
}

/** An event of `/status?watch`, the first one: the last ten minutes, oldest first. */
export interface SamplesEvent {
  readonly samples: readonly Sample[];
}

/** `unknown`: the lease has run out, or there is none yet, so the keys in etcd are unknown. */
export type ContainerState = 'published' | 'unknown' | 'pending' | 'withheld' | 'refused' | 'failing' | 'quarantined';

export type LifecycleState =
  | 'starting'
  | 'ready'
  | 'draining'
  | 'paused'
  | 'unhealthy'
  | 'held'
  | 'maintenance'
  | 'failing'
  | 'gone';

export interface Container {
  /** The 12 digits that end its keys. */
  readonly id: string;
  /** As the engine, the image and compose have it, cut and cleaned; null while nothing is known. */
  readonly name: string | null;
  readonly image: string | null;
  readonly compose: { readonly project?: string; readonly service?: string } | null;
  readonly state: ContainerState;
  /** The state of the container itself. */
  readonly lifecycle: LifecycleState;
  readonly services: readonly {
    readonly name: string;
    readonly key: string;
    readonly url: string;
    readonly published: boolean;
  }[];
  readonly refusals: readonly {
    readonly code: string;
    readonly entry: string;
    readonly detail: string;
    readonly remedy: string;
  }[];
  /** Why it is withheld, or what is odd about one that is published. RFC 3339; `until`: at the latest, if that is known. */
  readonly traffic: {
    readonly reason: ReasonCode;
    readonly published: boolean;
    readonly since: string;
    readonly until: string | null;
    readonly remedy: string;
    /** Of the reason `maintenance`: who decided it and why, of the container or of all of its host. */
    readonly maintenance?: {
      readonly by: string | null;
      readonly reason: string | null;
      readonly of: 'host' | 'container';
    };
  } | null;
  readonly outage: { readonly detail: string; readonly remedy: string } | null;
}

/** An entry of `/v1/history`. */
export interface HistoryEntry {
  /** RFC 3339: when it was committed; for `found`, when it was read. */
  readonly at: string;
  /** `found`: in etcd already when this process began. */
  readonly change: 'published' | 'changed' | 'withdrawn' | 'found';
  readonly container: string;
  readonly name: string | null;
  readonly image: string | null;
  /** Of the container, at that moment. */
  readonly state: LifecycleState;
  readonly reason: ReasonCode | null;
  /** From the engine's event to the commit; null if no event led to it. */
  readonly seconds: number | null;
  /** All of them after the change; for `withdrawn`, those that it had. The URL is null if it is not known. */
  readonly services: readonly { readonly name: string; readonly url: string | null }[];
}

/** An event of `/status?watch`: all containers (`reset`; in several events if they are many), then the changes. */
export interface ContainersEvent {
  readonly reset: boolean;
  readonly set: readonly Container[];
  readonly gone: readonly string[];
}

export interface HostRow {
  readonly host: string;
  /** A process writes for this host, or did so less than a TTL ago. */
  readonly alive: boolean;
  /** The version of its owner; null if there is no owner, or the owner key has no version. */
  readonly version: string | null;
  readonly ip: string | null;
  /** RFC 3339. */
  readonly startedAt: string | null;
  /** Its owner has stopped cleanly. */
  readonly released: boolean;
  readonly instances: number;
}

/** Marks an answer that is only the last known one. */
export interface Stale {
  /** RFC 3339: when etcd was heard last. */
  readonly since: string;
  readonly ageMs: number;
  readonly cause: string;
}

/** A service of the fleet, with its instances that have a key or are withheld. */
export interface ServiceRow {
  readonly name: string;
  /** The first ten, by name. */
  readonly realms: readonly string[];
  readonly instances: number;
  readonly hosts: number;
  /** The first three hosts, by name. */
  readonly someHosts: readonly string[];
  /** The number of instances in each state; `ready` where none is told. */
  readonly states: Readonly<Record<string, number>>;
  /** The least and the greatest weight; null if no instance has one. */
  readonly weights: readonly [least: number, most: number] | null;
}

/** An event of `/v1/overview?watch`: all services (`reset`; in several events if they are many), then the changes. */
export interface ServicesEvent {
  readonly reset: boolean;
  readonly set: readonly ServiceRow[];
  readonly gone: readonly string[];
  readonly stale: Stale | undefined;
}

/** An answer of `/v1/services/<name>`. */
export interface ServiceAnswer {
  readonly name: string;
  readonly instances: readonly HostInstance[];
  readonly stale: Stale | undefined;
}

export interface HostsAnswer {
  readonly hosts: readonly HostRow[];
  /** While etcd cannot be followed. */
  readonly stale: Stale | undefined;
}

export interface HostAnswer {
  readonly host: string;
  readonly instances: readonly HostInstance[];
  readonly stale: Stale | undefined;
}

/** The fields of an instance that the page shows. */
export interface HostInstance extends Meta {
  readonly name: string;
  readonly host: string;
  readonly realm: string;
  readonly containerId: string;
  readonly url: string;
  readonly key: string;
}
