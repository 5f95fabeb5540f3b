/**
 * Inspections and lists, carried out by a Piscina pool or on this thread.
 *
 * `workers` is the number of threads. The pool begins with one thread and starts another one while all are busy: on a
 * calm host one thread with several tasks answers as fast as four and shares its connections. The default leaves the
 * main thread a core. A higher setting is obeyed, but threads that wait for each other's core cost up to two thirds
 * more CPU and answer later. A thread that dies, or hangs and is ended, costs its tasks a retry.
 */

import type { EventLoopUtilization } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { type Clock, deadline, systemClock } from '../actor/clock.ts';
import { Listeners } from '../actor/listeners.ts';
import type { AddressPolicy } from '../container/address/wishes.ts';
import type { ContainerId, Listed } from '../container/container.ts';
import type { Filter } from '../container/filter.ts';
import type { MetaOptions } from '../container/meta.ts';
import type { DeclarationOptions } from '../container/sources/declaration.ts';
import type { DockerEndpoint } from '../docker/modem.ts';
import { DiscoverError } from '../errors.ts';
import type { BatchInspector, BatchInspectorOptions, Report, Task, TaskResult } from './batch.ts';
import type { HostAddresses } from './host-watch.ts';

export interface PoolUsage {
  /** The threads that run now, and their largest number. */
  readonly threads: number;
  readonly threadsMax: number;
  /** The share of the last second in which the threads were busy, of `threadsMax` threads: 0 to 1. */
  readonly utilization: number;
}

export interface InspectionPool {
  /** Tasks that can be under way at a time; further tasks wait. */
  readonly slots: number;
  /**
   * The inspections that were done in time, for the task of this number. A missing container is reported through
   * `late`, or never if its thread is lost. Rejects when the whole task is lost.
   */
  inspect(number: number, versionPrefix: string, ids: readonly ContainerId[]): Promise<readonly Report[]>;
  /** Asks for a complete list of the running containers. Rejects with `DOCKER_UNAVAILABLE` if there is none. */
  list(versionPrefix: string): Promise<readonly Listed[]>;
  /** The host has other addresses, for the inspections from now on. */
  hostIs(addresses: HostAddresses): void;
  readonly usage: PoolUsage;
  /** Its listeners get each container that was too late for its batch, with the number of the task. */
  readonly late: Listeners<[task: number, report: Report]>;
  close(): Promise<void>;
}

/** Two tasks per thread: while one waits for the engine, the other parses. */
const tasksPerThread = 2;
/**
 * A thread that is late by this time is in an endless loop. An inspection hands back after tens of milliseconds. The
 * engine has 15 s to answer for a list, and a list can be large enough to take seconds to read.
 */
const taskTimeoutMs = { inspect: 5_000, list: 20_000 } as const;
const idleThreadMs = 30_000;
/** The time over which the busy share of the threads is measured. */
const usageWindowMs = 1_000;
/** An inspection leaves only garbage: room for more garbage costs memory and saves nothing. */
const youngGenerationMb = 2;

/** The part of the configuration that concerns inspections. */
export interface InspectionPoolConfig extends DeclarationOptions, MetaOptions {
  readonly keysPerInstance?: number;
  readonly keysPerWeight?: number;
  /** Threads at the most; 0 to inspect from this one. */
  readonly workers: number;
  readonly docker: { readonly endpoint: DockerEndpoint; readonly filter?: readonly Filter[] | undefined };
  readonly host: { readonly ip: string; readonly ip6?: string | undefined };
  readonly address?: AddressPolicy | undefined;
}

export function createInspectionPool(config: InspectionPoolConfig, clock = systemClock): InspectionPool {
  const { workers, docker, host } = config;
  const { serviceVariable, namePolicy, entriesMax, sources, explicit, label, realms, allow } = config;
  const { meta, zone, hostAttributes, keysPerInstance, keysPerWeight } = config;
  const options: BatchInspectorOptions = {
    endpoint: docker.endpoint,
    hostIp: host.ip,
    hostIp6: host.ip6,
    address: config.address,
    filter: docker.filter,
    ...{ serviceVariable, namePolicy, entriesMax, sources, explicit, label, realms, allow },
    ...{ meta, zone, hostAttributes, keysPerInstance, keysPerWeight },
  };
  if (workers === 0) return new LocalInspectionPool(options);
  return new ThreadedInspectionPool(workers, options, clock);
}

class ThreadedInspectionPool implements InspectionPool {
  readonly slots: number;
  readonly late = new Listeners<[task: number, report: Report]>();
  readonly #workers: number;
  readonly #options: BatchInspectorOptions;
  readonly #clock: Clock;
  #pool: Piscina<Task, TaskResult>;
  #closed = false;
  /** Where it is not as the threads were told at their start. */
  #host: HostAddresses | undefined;
  /** The load of each thread at the last measurement, whose time and result follow. */
  readonly #loads = new WeakMap<Worker, EventLoopUtilization>();
  #usageAt = Number.NEGATIVE_INFINITY;
  #utilization = 0;

  constructor(workers: number, options: BatchInspectorOptions, clock: Clock) {
    this.slots = workers * tasksPerThread;
    this.#workers = workers;
    this.#options = options;
    this.#clock = clock;
    this.#pool = this.#open();
  }

  async inspect(number: number, versionPrefix: string, ids: readonly ContainerId[]): Promise<readonly Report[]> {
    const host = this.#host;
    const task = { kind: 'inspect', number, versionPrefix, ids } as const;
    return reportsOf(await this.#run(host === undefined ? task : { ...task, host }));
  }

  hostIs(addresses: HostAddresses): void {
    this.#host = addresses;
  }

  async list(versionPrefix: string): Promise<readonly Listed[]> {
    return containersOf(await this.#run({ kind: 'list', versionPrefix }));
  }

  get usage(): PoolUsage {
    const now = this.#clock.now();
    // A call within the same second gets the same result.
    if (now - this.#usageAt >= usageWindowMs) {
      this.#usageAt = now;
      let busy = 0;
      for (const thread of this.#pool.threads) {
        const load = thread.performance.eventLoopUtilization();
        busy += busyShare(load, this.#loads.get(thread));
        this.#loads.set(thread, load);
      }
      this.#utilization = busy / this.#workers;
    }
    return { threads: this.#pool.threads.length, threadsMax: this.#workers, utilization: this.#utilization };
  }

  close(): Promise<void> {
    this.#closed = true;
    return this.#pool.destroy();
  }

  async #run(task: Task): Promise<TaskResult> {
    // Piscina gives up on replacing threads once one has failed to start; a new pool does not.
    if (this.#pool.threads.length === 0) this.#reopen();
    const pool = this.#pool;
    const work = pool.run(task);
    const timeoutMs = taskTimeoutMs[task.kind];
    return deadline(this.#clock, timeoutMs, work, () => {
      // A thread in an endless loop ends its whole pool; the tasks of the other threads are asked again.
      if (pool === this.#pool) this.#reopen();
      return new Error(`pool thread gave no answer within ${timeoutMs} ms`);
    });
  }

  #reopen(): void {
    if (this.#closed) return;
    void this.#pool.destroy().catch(() => {});
    this.#pool = this.#open();
  }

  #open(): Piscina<Task, TaskResult> {
    // The same code runs from `src` through a loader and from `dist` as built.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const pool = new Piscina<Task, TaskResult>({
      filename: fileURLToPath(new URL(`./worker.${extension}`, import.meta.url)),
      minThreads: 1,
      maxThreads: this.#workers,
      idleTimeout: idleThreadMs,
      concurrentTasksPerWorker: tasksPerThread,
      // 'sync' would freeze the idle thread's event loop, and with it the answers that come late; 'async'
      // wakes a thread twice for each task.
      atomics: 'disabled',
      workerData: this.#options,
      resourceLimits: { maxYoungGenerationSizeMb: youngGenerationMb },
    });
    pool.on('message', (late: { task: number; report: Report }) => this.late.tell(late.task, late.report));
    // A thread lost without a task: the next task finds, or opens, another.
    pool.on('error', () => {});
    return pool;
  }
}

class LocalInspectionPool implements InspectionPool {
  readonly slots = tasksPerThread;
  readonly usage: PoolUsage = { threads: 0, threadsMax: 0, utilization: 0 };
  readonly late = new Listeners<[task: number, report: Report]>();
  /** Loaded only here: with threads, this one has no use for an HTTP client. */
  readonly #inspector: Promise<BatchInspector>;

  #host: HostAddresses | undefined;

  constructor(options: BatchInspectorOptions) {
    this.#inspector = import('./batch.ts').then((inspect) =>
      inspect.createBatchInspector(options, (task, report) => this.late.tell(task, report)),
    );
  }

  async inspect(number: number, versionPrefix: string, ids: readonly ContainerId[]): Promise<readonly Report[]> {
    const host = this.#host;
    const task = { kind: 'inspect', number, versionPrefix, ids } as const;
    return reportsOf(await (await this.#inspector).run(host === undefined ? task : { ...task, host }));
  }

  hostIs(addresses: HostAddresses): void {
    this.#host = addresses;
  }

  async list(versionPrefix: string): Promise<readonly Listed[]> {
    return containersOf(await (await this.#inspector).run({ kind: 'list', versionPrefix }));
  }

  async close(): Promise<void> {
    await (await this.#inspector).close();
  }
}

/**
 * The share of the time since `last`, or of all its time, in which a thread was busy. Node's own difference of two
 * samples takes the present for a missing last one, and is below zero if the thread fell asleep between two clocks.
 */
export function busyShare(
  load: Pick<EventLoopUtilization, 'idle' | 'active'>,
  last: Pick<EventLoopUtilization, 'idle' | 'active'> = { idle: 0, active: 0 },
): number {
  const active = Math.max(0, load.active - last.active);
  const idle = Math.max(0, load.idle - last.idle);
  return active + idle > 0 ? active / (active + idle) : 0;
}

function reportsOf(result: TaskResult): readonly Report[] {
  return result.kind === 'inspected' ? result.reports : fail(result);
}

function containersOf(result: TaskResult): readonly Listed[] {
  return result.kind === 'listed' ? result.containers : fail(result);
}

function fail(result: TaskResult): never {
  if (result.kind !== 'failed') {
    throw new DiscoverError('DOCKER_UNAVAILABLE', `pool thread answered ${result.kind}`);
  }
  const { detail, details = {} } = result;
  throw new DiscoverError('DOCKER_UNAVAILABLE', detail, { details });
}
