/**
 * The agent: builds every part in the order of the data and says which actor tells which. Nothing else.
 *
 *     Docker ─► watcher ─► inspector ─► reconciler ─► writer ─► etcd
 *                  └──────────────────────►│            ▲
 *                                        ledger ◄─ lease keeper
 *
 * The actors are declared at the sink first, so they start at the sink and stop at the source: a part is never told
 * anything after its own listener has stopped.
 */

import { EventEmitter } from 'node:events';
import type { ChildSpec, Ref } from './actor/actor.ts';
import { type Clock, sleep } from './actor/clock.ts';
import { deferred } from './actor/deferred.ts';
import { FifoMailbox, KeyedMailbox } from './actor/mailbox.ts';
import { Supervisor } from './actor/supervisor.ts';
import type { Config } from './config/options.ts';
import type { ContainerId } from './container/container.ts';
import { canChange } from './container/filter.ts';
import { type Maintenance, noMaintenance } from './container/maintenance.ts';
import type { EngineInfo } from './docker/docker.ts';
import { type Resync, Watcher } from './docker/watcher.ts';
import type { DiscoverError } from './errors.ts';
import { metered } from './etcd/metered.ts';
import type { CurrentOwnership, LeaseId, Registry } from './etcd/registry.ts';
import { type Health, healthOf } from './health.ts';
import { findAddress } from './host-address.ts';
import { type HostAddresses, HostWatch } from './inspect/host-watch.ts';
import { Inspector, inspectBatchMax } from './inspect/inspector.ts';
import type { PoolUsage } from './inspect/pool.ts';
import { type Layout, layoutOf } from './layout/keys.ts';
import { keyMatcher, viewsOf } from './layout/views.ts';
import { type InspectionRequest, isNeedless, merged, type ReconcilerMessage } from './lifecycle/observation.ts';
import { Sequence } from './lifecycle/sequence.ts';
import type { State } from './lifecycle/state.ts';
import type { Log } from './log.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { type Parts, realParts } from './parts.ts';
import { Conditions } from './reconcile/conditions.ts';
import { Ledger } from './reconcile/ledger.ts';
import { type PublicationEvents, Publications } from './reconcile/publications.ts';
import { Reconciler } from './reconcile/reconciler.ts';
import { LeaseKeeper, type LeaseKeeperMessage } from './registry/lease-keeper.ts';
import { MaintenanceWatch } from './registry/maintenance.ts';
import { ObservedLease } from './registry/observed-lease.ts';
import { type ChangeSet, Writer, writeBatchMax } from './registry/writer.ts';
import { version } from './version.ts';

export interface AgentState {
  /** Its parts are kept running. */
  readonly isAlive: boolean;
  /** The running containers have been listed once. */
  readonly isListed: boolean;
  /** Undefined while this process does not write for its host. */
  readonly leaseRemainingSeconds: number | undefined;
  /** Age of the oldest unsettled container, which waits for its desired keys to be in etcd; 0 if all are settled. */
  readonly oldestUnsettledSeconds: number;
  readonly mailboxes: Supervisor['mailboxes'];
  readonly pool: PoolUsage;
}

export interface AgentEvents extends PublicationEvents {
  /** A Docker Engine answers; again after each time it was lost. */
  connect: [];
  /** The running containers have been listed, and this process writes for its host. */
  start: [];
}

const stopTimeoutMs = 3_000;
const settleMs = 10_000;
/** How long a drain waits for etcd to take the keys away. */
const removeMaxMs = 5_000;
const usualDrainSeconds = 10;
const settleEveryMs = 50;
/** The limit of inspections in flight that were too late for their batch, beside the full batches of all slots. */
const lateMax = 256;

export class Agent extends EventEmitter<AgentEvents> implements AsyncDisposable {
  readonly metrics: Metrics = createMetrics();
  /** Resolves when the agent has stopped: with the error that made it stop, or with nothing if it was asked to. */
  readonly ended: Promise<DiscoverError | undefined>;
  readonly config: Config;
  readonly layout: Layout;
  readonly registry: Registry;
  /** When it was built, in milliseconds since the epoch. */
  readonly startedAt: number;
  readonly #supervisor: Supervisor;
  readonly #keeper: Ref<LeaseKeeperMessage>;
  readonly #writer: Ref<string>;
  readonly #reconciler: Ref<ReconcilerMessage>;
  readonly #inspector: Ref<InspectionRequest>;
  readonly #watcher: Ref<Resync>;
  /** Where containers wait for their inspection. */
  readonly #requests = new KeyedMailbox<InspectionRequest>((request) => request.id, merged);
  readonly #sequence = new Sequence();
  /** Undefined: the addresses are configured. */
  readonly #hostWatch: HostWatch | undefined;
  readonly #onFatal = (error: DiscoverError): void => void this.stop(error);
  #versionPrefix = '';
  readonly #parts: Parts;
  readonly ledger: Ledger;
  readonly conditions = new Conditions();
  /** The state of each container, by its short id. Only the reconciler changes it. */
  readonly states: Map<string, State> = new Map();
  readonly #current: CurrentOwnership = { ownership: undefined };
  readonly #started = { listed: false, owned: false };
  readonly #ended = deferred<DiscoverError | undefined>();
  #isLeaving = false;
  #isDraining = false;
  /** What people have decided about this host. */
  maintenance: Maintenance = noMaintenance;
  readonly #over = new AbortController();
  readonly #maintenanceWatch: MaintenanceWatch | undefined;
  #lease: LeaseId | undefined;
  readonly #observed: ObservedLease;
  readonly #publications: Publications;
  #idle: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(config: Config, parts: Parts) {
    super();
    const { clock, log } = parts;
    const { id, realm } = config.host;
    this.#parts = parts;
    this.config = config;
    this.startedAt = clock.wall();
    this.ended = this.#ended.promise;
    this.ledger = new Ledger(() => clock.now());
    this.registry = metered(parts.registry, this.metrics, clock);
    this.layout = layoutOf(config.etcd.prefix, realm, id, viewsOf(config.views, realm, id, config.zone));
    this.#observed = new ObservedLease({ clock, metrics: this.metrics, current: this.#current });
    this.#publications = new Publications({
      ...{ log, metrics: this.metrics, layout: this.layout, ledger: this.ledger, listeners: this },
      tellsStates: config.meta === 'always',
    });
    this.#supervisor = new Supervisor(clock, log, this.#onFatal);
    // From the sink to the source.
    this.#keeper = this.#supervisor.declare(this.#keeperSpec());
    this.#writer = this.#supervisor.declare(this.#writerSpec());
    this.#reconciler = this.#supervisor.declare(this.#reconcilerSpec());
    this.#inspector = this.#supervisor.declare(this.#inspectorSpec());
    this.#watcher = this.#supervisor.declare(this.#watcherSpec());
    this.#hostWatch = this.#watchHost();
    const { reader } = parts;
    this.#maintenanceWatch =
      reader &&
      new MaintenanceWatch(
        {
          ...this.#common('maintenance'),
          ...{ reader, prefix: config.etcd.prefix, host: id },
          onChange: (maintenance) => {
            this.maintenance = maintenance;
            this.#reconciler.tell({ kind: 'maintenance', maintenance });
          },
        },
        this.#over.signal,
      );
    this.#supervisor.start();
  }

  #watchHost(): HostWatch | undefined {
    const { etcd, host } = this.config;
    const { clock, log, findAddress: find } = this.#parts;
    const { wanted } = host;
    if (wanted === undefined) return undefined;
    return new HostWatch({
      ...{ clock, log, metrics: this.metrics, first: host, keepMs: etcd.ttlSeconds * 1000 },
      isCertain: host.isGuessed !== true,
      find: find ?? (() => findAddress(wanted)),
      onChange: (addresses) => {
        // mutant: keep the address of the host
        this.#parts.pool.hostIs(addresses);
        // The claim writes the owner key, which has the address; the list leads to an inspection of everything.
        const { ownership } = this.#current;
        if (ownership !== undefined)
          this.#keeper.tell({ kind: 'verify', ownership, reason: 'the host has another address' });
        // mutant: inspect nothing where the host has another address
        this.#watcher.tell('full');
      },
    });
  }

  /** The addresses of this host at present. */
  get host(): HostAddresses & { readonly missingSince: number | undefined } {
    const { ip, ip6 } = this.#hostWatch?.addresses ?? this.config.host;
    return { ip, ip6, missingSince: this.#hostWatch?.missingSince };
  }

  #keeperSpec(): ChildSpec<LeaseKeeperMessage> {
    const { config, layout, ledger, metrics, registry } = this;
    const { clock, instance, predecessor, process } = this.#parts;
    const { id, realm } = config.host;
    const addressOfHost = () => this.host.ip;
    const parts = {
      ...this.#common('lease keeper'),
      ...{ registry, layout, ledger, metrics, current: this.#current, onFatal: this.#onFatal },
      ttlSeconds: config.etcd.ttlSeconds,
      whenKnown: async (signal: AbortSignal) => this.#maintenanceWatch?.known(signal),
      onExit: () => (this.#isLeaving ? ('keep' as const) : config.host.onExit),
      // The old agent leaves only after Docker has answered. By then etcd has answered too.
      predecessor: predecessor && {
        instance: predecessor.instance,
        leave: async () => this.#started.listed && predecessor.leave(),
      },
      owner: {
        ...{ instance, started: new Date(clock.wall()).toISOString(), version, realm, process: process.self },
        // Read whenever the owner key is written.
        get ip() {
          return addressOfHost();
        },
      },
      livenessOf: process.livenessOf,
      keyMatcher: (templates: readonly string[]) => keyMatcher(templates, id),
      onOwned: (uncertain: readonly string[]) => this.#owned(uncertain),
    };
    return {
      name: 'lease keeper',
      mailbox: new FifoMailbox(),
      // A message changes the ownership, or starts a call that no other message waits for.
      concurrency: 4,
      batchMax: 1,
      stopTimeoutMs,
      start: (self, signal) => new LeaseKeeper(parts, self, signal),
    };
  }

  #writerSpec(): ChildSpec<string> {
    const { conditions, layout, ledger, metrics, registry } = this;
    const parts = {
      ...this.#common('writer'),
      ...{ conditions, layout, ledger, metrics, registry, current: this.#current, keeper: this.#keeper },
      operationsMax: this.#parts.operationsMax,
      onCommitted: ({ shortId, changes }: ChangeSet) => this.#publications.committed(shortId, changes),
    };
    return {
      name: 'writer',
      mailbox: new KeyedMailbox((shortId) => shortId),
      concurrency: 1,
      batchMax: writeBatchMax,
      stopTimeoutMs,
      start: (self, signal) => new Writer(parts, self, signal),
    };
  }

  #reconcilerSpec(): ChildSpec<ReconcilerMessage> {
    const { conditions, layout, ledger, metrics, states } = this;
    const { publish } = this.config;
    const parts = {
      ...this.#common('reconciler'),
      publish,
      processes: this.#parts.processes,
      tellsStates: this.config.meta === 'always',
      maintenance: () => this.maintenance,
      isDraining: () => this.#isDraining,
      ...{ conditions, layout, ledger, metrics, states, sequence: this.#sequence, writer: this.#writer },
      inspect: (id: ContainerId) => this.#inspector.tell({ id, at: 0, isKept: true }),
      resync: (kind: Resync) => this.#watcher.tell(kind),
      onListed: () => {
        this.#reached('listed');
        this.#hostWatch?.listed();
        this.#keeper.tell({ kind: 'audit' });
      },
    };
    return {
      name: 'reconciler',
      mailbox: new FifoMailbox(),
      concurrency: 1,
      batchMax: Number.POSITIVE_INFINITY,
      stopTimeoutMs,
      start: (self, signal) => new Reconciler(parts, self, signal),
    };
  }

  #inspectorSpec(): ChildSpec<InspectionRequest> {
    const { metrics } = this;
    const { pool } = this.#parts;
    const parts = {
      ...this.#common('inspector'),
      ...{ metrics, pool, sequence: this.#sequence, reconciler: this.#reconciler },
      versionPrefix: () => this.#versionPrefix,
    };
    return {
      name: 'inspector',
      mailbox: this.#requests,
      concurrency: pool.slots,
      batchMax: inspectBatchMax,
      inFlightMax: pool.slots * inspectBatchMax + lateMax,
      stopTimeoutMs,
      start: (self, signal) => new Inspector(parts, self, signal),
    };
  }

  #watcherSpec(): ChildSpec<Resync> {
    const { config, metrics } = this;
    const { docker, pool } = this.#parts;
    const parts = {
      ...this.#common('watcher'),
      ...{ metrics, docker, sequence: this.#sequence, inspector: this.#inspector, reconciler: this.#reconciler },
      withdraw: (id: ContainerId, at: number) => this.#requests.withdraw(id, (request) => isNeedless(request, at)),
      resyncSeconds: config.resyncSeconds,
      inspectsMoves: canChange(config.docker.filter ?? []),
      list: (versionPrefix: string) => pool.list(versionPrefix),
      onConnect: (engine: EngineInfo) => {
        this.#versionPrefix = engine.versionPrefix;
        this.emit('connect');
      },
      onFatal: this.#onFatal,
    };
    return {
      name: 'watcher',
      mailbox: new FifoMailbox(),
      concurrency: 1,
      batchMax: Number.POSITIVE_INFINITY,
      stopTimeoutMs,
      start: (self, signal) => new Watcher(parts, self, signal),
    };
  }

  #common(actor: string): { readonly clock: Clock; readonly log: Log } {
    const { clock, log } = this.#parts;
    return { clock, log: log.child({ actor }) };
  }

  /** The agent's own state: its parts, its first list, its lease, its backlog and its pool. */
  get state(): AgentState {
    const { clock, pool } = this.#parts;
    const isOwner = this.#current.ownership !== undefined;
    return {
      isAlive: this.#supervisor.isAlive,
      isListed: this.#started.listed,
      leaseRemainingSeconds: isOwner ? Math.max(0, (this.metrics.leaseEndsAt - clock.now()) / 1000) : undefined,
      oldestUnsettledSeconds: this.ledger.oldestUnsettledSeconds(clock.now()),
      mailboxes: this.#supervisor.mailboxes,
      pool: pool.usage,
    };
  }

  /** Whether the ledger is still right about etcd. */
  get isPublishedKnown(): boolean {
    return this.#observed.isValid;
  }

  /** The knowledge of Docker, etcd and the lease. */
  get health(): Health {
    const { metrics, config } = this;
    return healthOf({
      nowMs: this.#parts.clock.wall(),
      docker: metrics.docker,
      engine: metrics.engine?.version,
      isListed: this.#started.listed,
      running: metrics.running,
      etcd: metrics.etcd,
      lease: {
        isOwner: this.#current.ownership !== undefined,
        sinceMs: this.#observed.sinceMs,
        remainingSeconds: this.#observed.remainingSeconds,
        ttlSeconds: config.etcd.ttlSeconds,
        cause: metrics.leaseFailure,
      },
      host: this.host,
    });
  }

  /** Names this process in the owner key. */
  get instance(): string {
    return this.#parts.instance;
  }

  /** Containers that are, or should be, published. */
  get published(): number {
    return this.#publications.containers;
  }

  /** The lease of its keys, also after `leave`; undefined while this process does not write for its host. */
  get lease(): LeaseId | undefined {
    return this.#current.ownership?.lease ?? this.#lease;
  }

  /**
   * Resolves once no actor has anything to do and etcd holds all desired keys. An agent that is always busy is waited
   * for at most ten seconds.
   */
  async settled(): Promise<void> {
    const { clock } = this.#parts;
    const isSettled = () =>
      this.#supervisor.mailboxes.every(({ waiting, inFlight }) => waiting + inFlight === 0) &&
      this.ledger.unsettled().next().done === true;
    for (const until = clock.now() + settleMs; !isSettled() && clock.now() < until; ) await sleep(clock, settleEveryMs);
  }

  /** Finishes the accepted work and writes no more. The keys stay for a successor, even with `host.onExit` `remove`. */
  leave(): Promise<void> {
    this.#isLeaving = true;
    this.#lease ??= this.#current.ownership?.lease;
    return this.#halt();
  }

  /** Revokes the lease that this agent had when it left: the keys on that lease go. */
  async withdraw(): Promise<void> {
    if (this.#lease !== undefined) await this.registry.revoke(this.#lease);
  }

  /** Stops in order: finishes the accepted work, releases the owner key, ends the threads. Never rejects. */
  stop(cause?: DiscoverError): Promise<void> {
    this.#stopping ??= (async () => {
      if (cause === undefined && !this.#isLeaving && this.drainMs > 0) await this.#drain();
      await this.#halt();
      await this.#parts.pool.close().catch(() => {});
      this.registry.close();
      this.#ended.resolve(cause);
    })();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** How much longer than usual a stop takes at this moment, because of `host.onExit`. */
  get drainMs(): number {
    const { onExit, drainSeconds = usualDrainSeconds } = this.config.host;
    return onExit === 'drain' && this.publishedServices > 0 ? removeMaxMs + drainSeconds * 1000 : 0;
  }

  #halt(): Promise<void> {
    // Not before: what is written to the end is written with the knowledge of what people have taken out.
    this.#hostWatch?.stop();
    this.#idle ??= this.#supervisor.stop().then(() => this.#over.abort());
    return this.#idle;
  }

  /** Withdraws everything, as the parts go on, and waits: readers and requests under way have that time. */
  async #drain(): Promise<void> {
    const { clock, log } = this.#parts;
    const { drainSeconds = usualDrainSeconds } = this.config.host;
    this.#isDraining = true;
    // mutant: drain no host before the end
    this.#reconciler.tell({ kind: 'drain' });
    const until = clock.now() + removeMaxMs;
    while (this.publishedServices > 0 && clock.now() < until) await sleep(clock, settleEveryMs);
    if (this.publishedServices === 0) log.info({ seconds: drainSeconds }, 'drained: waiting before the end');
    else log.warn({ seconds: drainSeconds }, 'etcd has not taken the keys away in time; waiting before the end');
    await sleep(clock, drainSeconds * 1000);
  }

  /** Instances that readers of etcd find; 0 once the lease has run out by our own clock. */
  get publishedServices(): number {
    return this.isPublishedKnown ? this.#publications.services : 0;
  }

  /** The running containers have been listed, or this process writes for its host; `start` once both are true. */
  #reached(what: 'listed' | 'owned'): void {
    const { listed, owned } = this.#started;
    this.#started[what] = true;
    if (!(listed && owned) && this.#started.listed && this.#started.owned) this.emit('start');
  }

  /** This process writes for its host, and the ledger has been read. */
  #owned(uncertain: readonly string[]): void {
    this.#observed.read();
    // mutant: do not tell of a reading
    this.#reconciler.tell({ kind: 'read', uncertain });
    // mutant: write nothing once the host is owned
    for (const shortId of this.ledger.unsettled()) this.#writer.tell(shortId);
    this.#reached('owned');
  }
}

/** Builds an agent of real parts, except where `parts` brings its own. It is running when this returns. */
export function createAgent(config: Config, parts: Partial<Parts> = {}): Agent {
  return new Agent(config, realParts(config, parts));
}
