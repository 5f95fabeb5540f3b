/** The parts of the agent: what it touches outside its own process, and the real one of each. */

import { randomUUID } from 'node:crypto';
import { type Clock, systemClock } from './actor/clock.ts';
import type { Config } from './config/options.ts';
import { eventLabels } from './container/filter.ts';
import { type Docker, DockerClient } from './docker/docker.ts';
import { EtcdRegistry } from './etcd/cluster.ts';
import type { KeyReader, Registry } from './etcd/registry.ts';
import type { HostWatchParts } from './inspect/host-watch.ts';
import { createInspectionPool, type InspectionPool } from './inspect/pool.ts';
import type { ProcessIdentity } from './layout/owner.ts';
import { type Log, silentLog } from './log.ts';
import { hasEnded, isFree, startOf } from './processes.ts';
import type { ProcessTable } from './reconcile/main-processes.ts';
import type { Predecessor } from './registry/lease-keeper.ts';
import { type Liveness, livenessOf, ownIdentity } from './registry/process-identity.ts';

export interface Parts {
  readonly clock: Clock;
  readonly log: Log;
  readonly docker: Docker;
  readonly pool: InspectionPool;
  readonly registry: Registry;
  /** Follows keys in etcd; undefined: no decisions of people are read. */
  readonly reader?: KeyReader | undefined;
  readonly process: {
    readonly self: ProcessIdentity | undefined;
    livenessOf(other: ProcessIdentity | undefined): Liveness;
  };
  /** Finds out the addresses of this host, where they are not configured. */
  readonly findAddress?: HostWatchParts['find'];
  /** The table of processes of the engine's machine, where it may be this one. */
  readonly processes?: ProcessTable | undefined;
  /** Names this process in the owner key. */
  readonly instance: string;
  /** The limit of operations in one transaction, if it should be below the limit of etcd. */
  readonly operationsMax?: number | undefined;
  /** The agent in this process that this one replaces. */
  readonly predecessor?: Predecessor | undefined;
}

/** Real parts, except where `parts` brings its own. */
export function realParts(config: Config, parts: Partial<Parts>): Parts {
  const clock = parts.clock ?? systemClock;
  const { endpoint, apiVersion, filter = [] } = config.docker;
  const own = parts.registry === undefined ? new EtcdRegistry(config.etcd, config.host.id) : undefined;
  const { registry = own as EtcdRegistry, reader = own } = parts;
  return {
    clock,
    log: parts.log ?? silentLog,
    docker: parts.docker ?? new DockerClient(endpoint, apiVersion, clock, eventLabels(filter)),
    pool: parts.pool ?? createInspectionPool(config, clock),
    registry,
    reader,
    process: parts.process ?? { self: ownIdentity(), livenessOf },
    processes: parts.processes ?? (endpoint.kind === 'socket' ? { startOf, hasEnded, isFree } : undefined),
    instance: parts.instance ?? randomUUID(),
    operationsMax: parts.operationsMax,
    predecessor: parts.predecessor,
    ...(parts.findAddress && { findAddress: parts.findAddress }),
  };
}
