/**
 * The agent: builds every part in the order of the data and says who tells whom. Nothing else.
 *
 *     Docker ─► watcher ─► inspector ─► reconciler ─► writer ─► etcd
 *                  └──────────────────────►│            ▲
 *                                        ledger ◄─ lease keeper
 *
 * Started at the sink and stopped at the source, so that nobody is ever told anything by a part whose
 * listener is not there.
 */

import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { Ref } from './actor/actor.ts';
import { type Clock, sleep, systemClock } from './actor/clock.ts';
import { FifoMailbox, KeyedMailbox } from './actor/mailbox.ts';
import { Supervisor } from './actor/supervisor.ts';
import type { Config } from './config/options.ts';
import { type Docker, DockerClient } from './docker/docker.ts';
import { type Resync, Watcher } from './docker/watcher.ts';
import type { DiscoverError } from './errors.ts';
import { EtcdRegistry } from './etcd/cluster.ts';
import { metered } from './etcd/metered.ts';
import type { CurrentOwnership, LeaseId, Registry } from './etcd/registry.ts';
import { Inspector, inspectBatchMax } from './inspect/inspector.ts';
import { createInspectionPool, type InspectionPool, type PoolUsage } from './inspect/pool.ts';
import { type Layout, layoutOf } from './layout/keys.ts';
import type { ProcessIdentity } from './layout/owner.ts';
import { keyMatcher, viewsOf } from './layout/views.ts';
import type { InspectionRequest, Observation } from './lifecycle/observation.ts';
import { type Log, silentLog } from './log.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { Conditions } from './reconcile/conditions.ts';
import { Ledger } from './reconcile/ledger.ts';
import { Reconciler } from './reconcile/reconciler.ts';
import { LeaseKeeper, type LeaseKeeperMessage, type Predecessor } from './registry/lease-keeper.ts';
import { type Liveness, livenessOf, ownIdentity } from './registry/process-identity.ts';
import { type ChangeSet, Writer, writeBatchMax } from './registry/writer.ts';
import { version } from './version.ts';

/** A container whose keys have changed in etcd. */
export interface Publication {
  /** The 12 digits that end its keys. */
  readonly id: string;
  /** Service name to its key; for `unpublish`, the keys that are gone. */
  readonly services: Readonly<Record<string, string>>;
  /** Every key with its address; empty for `unpublish`. */
  readonly addresses: ReadonlyMap<string, string>;
}

export interface AgentState {
  /** Its parts are kept running. */
  readonly isAlive: boolean;
  /** What runs has been listed once. */
  readonly isListed: boolean;
  /** Undefined while this process does not write for its host. */
  readonly leaseRemainingSeconds: number | undefined;
  readonly mailboxes: Supervisor['mailboxes'];
  readonly pool: PoolUsage;
}

export interface AgentEvents {
  /** A Docker Engine answers; again after each time it was lost. */
  connect: [];
  /** What runs has been listed, and this process writes for its host. */
  start: [];
  /** The keys of a container have appeared or changed, in one transaction. */
  publish: [Publication];
  /** All keys of a container have gone, in one transaction. */
  unpublish: [Publication];
}

/** What the agent is made of; every part can be replaced. */
export interface Parts {
  readonly clock: Clock;
  readonly log: Log;
  readonly docker: Docker;
  readonly pool: InspectionPool;
  readonly registry: Registry;
  readonly process: {
    readonly self: ProcessIdentity | undefined;
    livenessOf(other: ProcessIdentity | undefined): Liveness;
  };
  /** Names this process in the owner key. */
  readonly instance: string;
  /** Operations in one transaction at the most, where that is to be less than etcd takes. */
  readonly operationsMax?: number | undefined;
  /** The agent in this process that this one replaces. */
  readonly predecessor?: Predecessor | undefined;
}

const stopTimeoutMs = 3_000;
const settleMs = 10_000;
const settleEveryMs = 50;
/** Looks that came too late for their batch, beyond which no further ones are begun. */
const lateMax = 256;

export class Agent extends EventEmitter<AgentEvents> implements AsyncDisposable {
  readonly metrics: Metrics = createMetrics();
  /** Resolves when the agent has stopped: with what made it stop, or with nothing if it was asked to. */
  readonly ended: Promise<DiscoverError | undefined>;
  readonly config: Config;
  readonly layout: Layout;
  readonly registry: Registry;
  /** When it was built, in milliseconds since the epoch. */
  readonly startedAt: number;
  readonly #supervisor: Supervisor;
  readonly #parts: Parts;
  readonly ledger = new Ledger();
  readonly conditions = new Conditions();
  readonly #current: CurrentOwnership = { ownership: undefined };
  readonly #started = { listed: false, held: false };
  #end: (cause: DiscoverError | undefined) => void = () => {};
  #isLeaving = false;
  #lease: LeaseId | undefined;
  #idle: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(config: Config, parts: Parts) {
    super();
    this.#parts = parts;
    this.config = config;
    const { clock, docker, log, pool, predecessor } = parts;
    const { metrics, ledger, conditions } = this;
    const registry = metered(parts.registry, metrics, clock);
    this.registry = registry;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const onFatal = (error: DiscoverError) => void this.stop(error);
    const supervisor = new Supervisor(clock, log, onFatal);
    this.#supervisor = supervisor;

    const { id, realm } = config.host;
    const layout = layoutOf(config.etcd.prefix, realm, id, viewsOf(config.views, realm, id));
    this.layout = layout;
    this.startedAt = clock.wall();
    const current = this.#current;
    const started = this.#started;
    const onProgress = (what: 'listed' | 'held') => {
      if (started[what]) return;
      started[what] = true;
      if (started.listed && started.held) this.emit('start');
    };
    let moment = 0;
    const nextSequence = () => ++moment;
    let versionPrefix = '';
    let watcher: Ref<Resync> | undefined;

    const keeper = supervisor.start<LeaseKeeperMessage>({
      name: 'lease keeper',
      mailbox: new FifoMailbox(),
      // A renewal that waits for its answer must not hold up a doubt.
      concurrency: 4,
      batchMax: 1,
      stopTimeoutMs,
      start: (self, signal) =>
        new LeaseKeeper(
          {
            ...{ clock, log: log.child({ actor: 'lease keeper' }), metrics, registry, layout, ledger, current },
            ttlSeconds: config.etcd.ttlSeconds,
            onExit: () => (this.#isLeaving ? 'keep' : config.host.onExit),
            // Not before its work can be done: that etcd answers is known by then, that Docker does is not.
            predecessor: predecessor && {
              instance: predecessor.instance,
              leave: async () => started.listed && predecessor.leave(),
            },
            owner: {
              instance: parts.instance,
              started: new Date(clock.wall()).toISOString(),
              version,
              ip: config.host.ip,
              realm,
              process: parts.process.self,
            },
            livenessOf: parts.process.livenessOf,
            keyMatcher: (templates) => keyMatcher(templates, id),
            onOwned: (uncertain) => {
              reconciler.tell({ kind: 'read', uncertain });
              for (const shortId of ledger.unsettled()) writer.tell(shortId);
              onProgress('held');
            },
            onFatal,
          },
          self,
          signal,
        ),
    });

    const writer = supervisor.start<string>({
      name: 'writer',
      mailbox: new KeyedMailbox((shortId) => shortId),
      concurrency: 1,
      batchMax: writeBatchMax,
      stopTimeoutMs,
      start: (self, signal) =>
        new Writer(
          {
            ...{
              clock,
              log: log.child({ actor: 'writer' }),
              metrics,
              registry,
              layout,
              ledger,
              conditions,
              current,
              keeper,
            },
            operationsMax: parts.operationsMax,
            onCommitted: (changeSet) => this.#committed(changeSet, layout.nameOf),
          },
          self,
          signal,
        ),
    });

    const reconciler = supervisor.start<Observation>({
      name: 'reconciler',
      mailbox: new FifoMailbox(),
      concurrency: 1,
      batchMax: Number.POSITIVE_INFINITY,
      stopTimeoutMs,
      start: (_self, signal) =>
        new Reconciler(
          {
            ...{
              clock,
              log: log.child({ actor: 'reconciler' }),
              metrics,
              layout,
              ledger,
              conditions,
              nextSequence,
              writer,
            },
            inspect: (id) => inspector.tell({ id, at: 0 }),
            resync: (kind) => watcher?.tell(kind),
            onListed: () => {
              onProgress('listed');
              keeper.tell({ kind: 'audit' });
            },
          },
          signal,
        ),
    });

    const inspectorMailbox = new KeyedMailbox<InspectionRequest>(
      (inspect) => inspect.id,
      (older, newer) => (newer.at > older.at ? newer : older),
    );
    const inspector = supervisor.start<InspectionRequest>({
      name: 'inspector',
      mailbox: inspectorMailbox,
      concurrency: pool.slots,
      batchMax: inspectBatchMax,
      inFlightMax: pool.slots * inspectBatchMax + lateMax,
      stopTimeoutMs,
      start: (self) =>
        new Inspector(
          {
            clock,
            metrics,
            mailbox: inspectorMailbox,
            pool,
            nextSequence,
            reconciler,
            versionPrefix: () => versionPrefix,
          },
          self,
        ),
    });

    watcher = supervisor.start<Resync>({
      name: 'watcher',
      mailbox: new FifoMailbox(),
      concurrency: 1,
      batchMax: Number.POSITIVE_INFINITY,
      stopTimeoutMs,
      start: (self, signal) =>
        new Watcher(
          {
            ...{ clock, log: log.child({ actor: 'watcher' }), metrics, docker, nextSequence },
            ...{ inspectorMailbox, inspector, reconciler, onFatal },
            resyncSeconds: config.resyncSeconds,
            parseList: (body) => pool.list(body),
            onConnect: (engine) => {
              versionPrefix = engine.versionPrefix;
              this.emit('connect');
            },
          },
          self,
          signal,
        ),
    });
  }

  /** What has to hold for readers to get the truth from etcd. */
  get state(): AgentState {
    const { clock, pool } = this.#parts;
    const isOwner = this.#current.ownership !== undefined;
    return {
      isAlive: this.#supervisor.isAlive,
      isListed: this.#started.listed,
      leaseRemainingSeconds: isOwner ? Math.max(0, (this.metrics.leaseEndsAt - clock.now()) / 1000) : undefined,
      mailboxes: this.#supervisor.mailboxes,
      pool: pool.usage,
    };
  }

  /** Names this process in the owner key. */
  get instance(): string {
    return this.#parts.instance;
  }

  /** Containers that are, or should be, published. */
  get published(): number {
    return this.ledger.size;
  }

  /** What its keys hang on; undefined while it does not write for its host. */
  get lease(): LeaseId | undefined {
    return this.#current.ownership?.lease ?? this.#lease;
  }

  /**
   * Resolves once nobody has anything to do and etcd holds all that is known to be right. Who is busy all the time is
   * never seen at rest, and waited for ten seconds.
   */
  async settled(): Promise<void> {
    const { clock } = this.#parts;
    const isSettled = () =>
      this.#supervisor.mailboxes.every(({ waiting, inFlight }) => waiting + inFlight === 0) &&
      this.ledger.unsettled().next().done === true;
    for (const until = clock.now() + settleMs; !isSettled() && clock.now() < until; ) await sleep(clock, settleEveryMs);
  }

  /** Finishes what was accepted and writes no more. The keys stay for a successor, whatever `host.onExit` says. */
  leave(): Promise<void> {
    this.#isLeaving = true;
    this.#lease ??= this.#current.ownership?.lease;
    this.#idle ??= this.#supervisor.stop();
    return this.#idle;
  }

  /** Takes away what hangs on the lease that it has left with. */
  async withdraw(): Promise<void> {
    if (this.#lease !== undefined) await this.registry.revoke(this.#lease);
  }

  /** Stops in order: what was accepted is finished, the owner key released, the threads ended. Never rejects. */
  stop(cause?: DiscoverError): Promise<void> {
    this.#stopping ??= (async () => {
      this.#idle ??= this.#supervisor.stop();
      await this.#idle;
      await this.#parts.pool.close().catch(() => {});
      this.registry.close();
      this.#end(cause);
    })();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #committed({ shortId, changes }: ChangeSet, nameOf: (key: string) => string | undefined): void {
    const services: Record<string, string> = Object.create(null);
    const addresses = new Map<string, string>();
    const held = this.ledger.observed(shortId);
    const isGone = held.size === 0;
    for (const key of isGone ? changes.map((change) => change.key) : held.keys()) {
      const name = nameOf(key);
      if (name === undefined) continue;
      services[name] ??= key;
      const url = held.get(key);
      if (url !== undefined) addresses.set(key, url);
    }
    const publication = { id: shortId, services, addresses };
    this.#parts.log.info(
      { container: shortId, services: isGone ? Object.keys(services) : [...addresses] },
      isGone ? 'unpublished' : 'published',
    );
    this.metrics[isGone ? 'unpublished' : 'published']++;
    this.emit(isGone ? 'unpublish' : 'publish', publication);
  }
}

/** Builds an agent of real parts, except where `parts` brings its own. It is running when this returns. */
export function createAgent(config: Config, parts: Partial<Parts> = {}): Agent {
  const clock = parts.clock ?? systemClock;
  return new Agent(config, {
    clock,
    log: parts.log ?? silentLog,
    docker: parts.docker ?? new DockerClient(config.docker.endpoint, config.docker.apiVersion, clock),
    pool: parts.pool ?? createInspectionPool(config, clock),
    registry: parts.registry ?? new EtcdRegistry(config.etcd, config.host.id),
    process: parts.process ?? { self: ownIdentity(), livenessOf },
    instance: parts.instance ?? randomUUID(),
    operationsMax: parts.operationsMax,
    predecessor: parts.predecessor,
  });
}
