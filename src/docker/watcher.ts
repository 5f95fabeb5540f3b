/**
 * Watcher: keeps an event stream open and a list fresh, and asks for inspections.
 *
 * Subscribe, then list: a container that starts between the two is in the stream, one that started
 * before is in the list. The stream is a hint that may lose, repeat or reorder events; the list is the
 * truth about the running containers. So every new stream is followed by a complete list, the list is
 * repeated every `resyncSeconds`, and a stream is renewed now and then, which also ends a dead stream.
 *
 * `since` is in whole seconds by the engine's own clock and reaches back a second more than needed:
 * its granularity is a second, repeats are harmless, and an engine may answer a moment before it
 * has subscribed us.
 */

import { isDeepStrictEqual } from 'node:util';
import type { Actor, Ref, Self } from '../actor/actor.ts';
import { Backoff } from '../actor/backoff.ts';
import { type Clock, sleep } from '../actor/clock.ts';
import { OutageLog } from '../actor/outage-log.ts';
import type { ContainerId, Listed } from '../container/container.ts';
import { DiscoverError, messageOf } from '../errors.ts';
import type { InspectionRequest, ReconcilerMessage } from '../lifecycle/observation.ts';
import type { Sequence } from '../lifecycle/sequence.ts';
import type { Log } from '../log.ts';
import type { Metrics, StreamEnd } from '../metrics.ts';
import type { Docker, EngineInfo, EventStream } from './docker.ts';
import { type ContainerEvent, ObjectSplitter, readEvent } from './events.ts';
import { Lateness } from './lateness.ts';

const retryFirstMs = 50;
/** Retries at a local engine cost nothing, and a returned engine should soon be followed again. */
const retryCapMs = 1_000;
/** A stream that lasted this long resets the back-off: some proxies cut a silent stream after a few seconds. */
const streamSettledMs = retryCapMs;
const streamLifeMs = 5 * 60_000;
/** An event loop that stalled for this long may have lost events: the engine drops them after 100 ms. */
const stallMs = 2_000;
const stallCheckMs = 1_000;
/** The delay before a list that finds the dropped events, so that the queue of events has passed. */
const behindResyncMs = 1_000;

/** The labels under which events are counted. */
const countedAs = { inspect: 'start', died: 'stop', moved: 'network', killed: 'signal' } as const;

export type Resync =
  /** List now, and inspect everything that is listed. */
  | 'full'
  /** List now, and inspect what is new or has changed. */
  | 'incremental'
  /** The same, because the interval is over and for no other reason: a change in the list should have had an event. */
  | 'periodic'
  /** A list has shown a change without an event: close the stream, which leads to a full resync. */
  | 'silent';

export interface WatcherParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly docker: Docker;
  readonly resyncSeconds: number;
  readonly sequence: Sequence;
  /** Asks for a complete list of the running containers and reads it; off the main thread. */
  readonly list: (versionPrefix: string) => Promise<readonly Listed[]>;
  readonly inspector: Ref<InspectionRequest>;
  /** Whether a container that is not known may come to match the filter by another name or network. */
  readonly inspectsMoves?: boolean | undefined;
  /** Takes back the request that still waits, unless an event after `at` asked for it. */
  readonly withdraw: (id: ContainerId, at: number) => void;
  readonly reconciler: Ref<ReconcilerMessage>;
  /** An engine has been found; called at each new stream. */
  readonly onConnect: (engine: EngineInfo) => void;
  readonly onFatal: (error: DiscoverError) => void;
}

export class Watcher implements Actor<Resync> {
  readonly #parts: WatcherParts;
  readonly #signal: AbortSignal;
  /** The newest event's time in nanoseconds by the engine's clock; 0 before the first. */
  #newest = 0;
  readonly #lateness: Lateness;
  /** A list is due because events were late. */
  #isBehind = false;
  #engine: EngineInfo | undefined;
  /** The reason why the stream ended, or will end. */
  #why: StreamEnd = 'ended';
  #closeStream: (why: StreamEnd) => void = () => {};
  #stopped: Promise<void>;
  readonly #stop = new AbortController();
  readonly #self: Self<Resync>;
  readonly #resync: () => void;

  constructor(parts: WatcherParts, self: Self<Resync>, signal: AbortSignal) {
    this.#parts = parts;
    this.#lateness = new Lateness(parts.clock);
    // Not AbortSignal.any: with a listener Node keeps such a signal for ever, unless it is aborted.
    this.#signal = this.#stop.signal;
    signal.addEventListener('abort', () => this.#stop.abort());
    this.#self = self;
    this.#resync = () => self.tell('incremental');
    this.#stopped = this.#follow().catch((error: unknown) => self.crash(error));
    this.#watchForStalls();
    this.#resyncRegularly();
  }

  async receive(requests: readonly Resync[]): Promise<void> {
    // Without a stream there is nothing to do: the next one begins with a full resync.
    const engine = this.#engine;
    if (engine === undefined) return;
    if (requests.includes('silent')) {
      this.#parts.log.warn({}, 'event stream is silent; opening a new one');
      this.#closeStream('silent');
      return;
    }
    try {
      await this.#list(
        engine,
        requests.includes('full'),
        'resync',
        requests.every((one) => one === 'periodic'),
      );
    } catch {
      // If the engine does not list, its stream is not trustworthy either: the next stream begins with a full resync.
      this.#closeStream('list');
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#closeStream('ended');
    await this.#stopped;
  }

  async #follow(): Promise<void> {
    const { clock, log, metrics } = this.#parts;
    const backoff = new Backoff(clock, retryFirstMs, retryCapMs);
    const outage = new OutageLog(clock, log, 'docker unavailable');
    // mutant (3 lines): stay without a stream
    while (!this.#signal.aborted) {
      try {
        const stream = await this.#open();
        const openedAt = clock.now();
        outage.over();
        metrics.docker.up(clock.wall());
        this.#tellEngine(false);
        await stream.ended;
        metrics.streamEnds[this.#why]++;
        // A renewal is no loss unless the next stream cannot be opened.
        if (this.#why !== 'renewed') {
          metrics.docker.down(clock.wall(), `event stream ${this.#why}`);
          this.#tellEngine(true);
        }
        // Back off if the engine keeps closing the stream.
        if (clock.now() - openedAt > streamSettledMs) backoff.reset();
        if (!this.#signal.aborted) log.debug({ reason: this.#why }, 'event stream ended');
      } catch (error) {
        if (error instanceof DiscoverError && error.code === 'CONFIG_INVALID') this.#parts.onFatal(error);
        metrics.streamEnds.failed++;
        metrics.docker.down(clock.wall(), messageOf(error));
        this.#tellEngine(true);
        if (!this.#signal.aborted) outage.failed(error);
      }
      this.#engine = undefined;
      await sleep(clock, backoff.next(), this.#signal);
    }
  }

  #tellEngine(isAway: boolean): void {
    if (!this.#signal.aborted) this.#parts.reconciler.tell({ kind: 'engine', isAway });
  }

  /** Opens a stream and lists. */
  async #open(): Promise<EventStream> {
    const { clock, metrics } = this.#parts;
    const engine = await this.#connect();
    const stream = await this.#subscribe(engine);
    metrics.streams++;
    this.#why = 'ended';
    this.#closeStream = (why) => {
      this.#why = why;
      stream.close();
    };
    // mutant: never renew the stream
    const cancelRenewal = clock.after(streamLifeMs * (1 + clock.random()), () => this.#closeStream('renewed'));
    void stream.ended.then(cancelRenewal);
    if (this.#signal.aborted) stream.close();
    try {
      // mutant: after a gap inspect the unknown alone
      // mutant: subscribe and never list
      await this.#list(engine, true, 'connect');
    } catch (error) {
      stream.close();
      throw error;
    }
    this.#engine = engine;
    return stream;
  }

  async #connect(): Promise<EngineInfo> {
    const { docker, log, metrics, onConnect } = this.#parts;
    const engine = await docker.negotiate();
    const found = { version: engine.serverVersion, api: engine.versionPrefix };
    // Logged only when it is news: streams are renewed, and an absent engine is asked every second.
    if (!isDeepStrictEqual(found, metrics.engine)) {
      log.info({ engine: found.version, api: found.api }, 'connected to docker');
    }
    metrics.engine = found;
    // Before the first event, because its inspection uses the version that was negotiated.
    onConnect(engine);
    return engine;
  }

  async #subscribe(engine: EngineInfo): Promise<EventStream> {
    const { docker } = this.#parts;
    this.#lateness.reset();
    // A list shows the result of the lost event. A new stream would only begin with the same event again.
    const isPodman = engine.product === 'Podman';
    const splitter = () => new ObjectSplitter((text) => this.#event(text, isPodman), this.#resync);
    const splitters = [splitter(), splitter()] as const;
    const newestSeconds = this.#newest === 0 ? engine.engineSeconds : Math.floor(this.#newest / 1e9);
    const since = Math.max(0, Math.min(newestSeconds, engine.engineSeconds) - 1);
    try {
      // mutant: list before subscribing, not after
      return await docker.events(engine, since, (chunk, connection = 0) => splitters[connection].push(chunk));
    } catch (error) {
      // An engine that refuses events, or keeps its answer until there is one, may list: late is better than never.
      await this.#list(engine, false, 'resync').catch(() => {});
      throw error;
    }
  }

  async #list(engine: EngineInfo, full: boolean, trigger: 'connect' | 'resync', isPeriodic = false): Promise<void> {
    const { clock, list, metrics, reconciler, sequence } = this.#parts;
    const began = sequence.begin();
    const beganMs = clock.now();
    let outcome: 'ok' | 'failed' = 'failed';
    try {
      const containers = await list(engine.versionPrefix);
      outcome = 'ok';
      // mutant: date a list by its answer
      reconciler.tell({ kind: 'list', began, containers, full, isPeriodic });
    } finally {
      sequence.end(began);
      metrics.lists[trigger][outcome]++;
      metrics.listSeconds.observe((clock.now() - beganMs) / 1000);
    }
  }

  #event(text: string, isPodman: boolean): void {
    const { metrics } = this.#parts;
    const event = readEvent(text, isPodman);
    if (event === undefined) return;
    if (event.kind === 'unreadable') {
      // An event could not be read. A new stream and a full resync cost little.
      this.#closeStream('unreadable');
      return;
    }
    metrics.events[countedAs[event.kind]]++;
    if (event.at > this.#newest) {
      this.#newest = event.at;
      metrics.lastEventAt = event.at / 1e9;
      this.#watchForQueue(event.at);
    }
    this.#tell(event);
  }

  #tell(event: Exclude<ContainerEvent, { kind: 'unreadable' }>): void {
    const { inspector, inspectsMoves, reconciler, sequence, withdraw } = this.#parts;
    const { kind, id, at } = event;
    switch (kind) {
      case 'inspect':
        // mutant: pass over starts
        inspector.tell({ id, at });
        break;
      case 'moved':
        // mutant: pass over moves
        reconciler.tell({ kind, id, heard: sequence.next(), ...(event.health && { health: event.health }) });
        if (inspectsMoves) inspector.tell({ id, at });
        break;
      case 'killed':
        // mutant: pass over signals
        reconciler.tell({ kind, id, at, signal: event.signal });
        if (event.isStart) inspector.tell({ id, at });
        break;
      case 'died':
        // A request for an inspection of this start that still waits is no longer needed.
        // mutant: withdraw nothing at a death
        // mutant: withdraw everything at a death
        withdraw(id, at || Number.POSITIVE_INFINITY);
        // mutant: pass over deaths
        reconciler.tell({ kind, id, at, heard: sequence.next(), isAsked: event.isAsked });
        break;
    }
  }

  /** The engine does not report missed events to a slow reader: the only sign is that events are late. */
  #watchForQueue(at: number): void {
    if (!this.#lateness.isBehind(at) || this.#isBehind) return;
    this.#isBehind = true;
    this.#after(behindResyncMs, () => {
      this.#isBehind = false;
      this.#lateness.reset();
      this.#resync();
    });
  }

  /** The process was stopped, or something held the event loop: events may be lost without a sign. */
  #watchForStalls(): void {
    const { clock, log } = this.#parts;
    const began = clock.now();
    this.#after(stallCheckMs, () => {
      const late = clock.now() - began - stallCheckMs;
      if (late > stallMs) {
        log.warn({ stalledMs: Math.round(late) }, 'event loop stalled; events may be lost');
        this.#closeStream('stalled');
      }
      this.#watchForStalls();
    });
  }

  #resyncRegularly(): void {
    const { clock, resyncSeconds } = this.#parts;
    // A tenth either way, so that the hosts of a fleet do not list in step.
    this.#after(resyncSeconds * 1000 * (0.9 + clock.random() / 5), () => {
      this.#self.tell('periodic');
      this.#resyncRegularly();
    });
  }

  /** A timer that does not outlive this incarnation. */
  #after(ms: number, action: () => void): void {
    if (this.#signal.aborted) return;
    const end = () => {
      cancel();
      this.#signal.removeEventListener('abort', end);
    };
    const cancel = this.#parts.clock.after(ms, () => {
      end();
      action();
    });
    this.#signal.addEventListener('abort', end, { once: true });
  }
}
