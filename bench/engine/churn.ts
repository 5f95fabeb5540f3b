/**
 * Churn: containers started at a steady rate, each ended after its time, by the engine's own clock.
 *
 * What is due and late is done at once, so the rate holds over the whole run even where a timer (a
 * millisecond at best) or a busy process does not hold it from one to the next; `lagMsMax` tells how
 * late the latest was. But a reader of events that is about to lose some holds the schedule up, and
 * what is very late moves all that follows, so that a slow machine makes a run longer and not another
 * one, with more containers at a time. Benchmarks, and tests whose reader is stopped on purpose, ask
 * for `unread: 'lose'`: then it is an open loop, as a real engine is.
 *
 * Times of the result are of the machine's monotonic clock, which every process of it reads alike:
 * `Number(process.hrtime.bigint()) / 1e6`.
 */
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import type { ContainerTruth } from './containers.ts';
import type { CreateOptions } from './documents.ts';
import type { Engine } from './engine.ts';

export interface ChurnOptions {
  /** Starts per second. */
  readonly rate: number;
  readonly seconds: number;
  readonly lifetimeMs: number;
  /** The fraction that is left running; every fifth, say. Default 0. */
  readonly survivors?: number;
  readonly ending?: 'stop' | 'die' | 'kill';
  /** What is started; `{n}` in its environment and labels stands for the number of the container. */
  readonly container?: CreateOptions;
  /** A stop takes its time from one event to the next, as a real one does. The pauses of a start are no matter: before its last event there is nothing to see. */
  readonly isSpaced?: boolean | undefined;
  /** After so many numbers they begin again. */
  readonly numbers?: number;
  /** What becomes of a reader that does not keep up: it is waited for (default), or loses events. */
  readonly unread?: 'wait' | 'lose';
}

export interface Lifecycle {
  readonly id: string;
  readonly env: readonly string[];
  /** Private port to host port, as long as it ran. */
  readonly ports: Readonly<Record<string, number>>;
  /** As it was when it started. */
  readonly truth: ContainerTruth;
  readonly startedMs: number;
  /** Absent where it was left running. */
  endedMs?: number;
}

export interface ChurnResult {
  readonly lifecycles: readonly Lifecycle[];
  readonly lagMsMax: number;
}

export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** As much lateness is made up for; what is beyond it moves the schedule. */
const catchUpMs = 100;
/** How often a reader that is behind is looked at. */
const readerPollMs = 5;

/** The container that stands in where nothing else is asked for. */
export const defaultContainer: CreateOptions = {
  env: ['PATH=/usr/local/bin:/usr/bin:/bin', 'DISCOVER=service-{n}:8080'],
  ports: [{ container: '8080/tcp' }],
  autoRemove: true,
};

export function numbered(container: CreateOptions, number: number): CreateOptions {
  const fill = (text: string): string => text.replaceAll('{n}', String(number));
  const labels = Object.entries(container.labels ?? {}).map(([name, value]) => [name, fill(value)]);
  return { ...container, env: (container.env ?? []).map(fill), labels: Object.fromEntries(labels) };
}

export async function churn(engine: Engine, options: ChurnOptions, signal?: AbortSignal): Promise<ChurnResult> {
  const { rate, seconds, lifetimeMs, survivors = 0, ending = 'stop', container = defaultContainer } = options;
  const isWaiting = options.unread !== 'lose';
  const total = Math.round(rate * seconds);
  const lifecycles: Lifecycle[] = [];
  const mortal: Lifecycle[] = [];
  const ends: Promise<void>[] = [];
  let begunMs = monotonicMs();
  let lagMsMax = 0;
  let ended = 0;
  let operations = 0;

  const startDueMs = (): number => (lifecycles.length < total ? begunMs + (lifecycles.length * 1000) / rate : Infinity);
  const endDueMs = (): number => (mortal[ended]?.startedMs ?? Infinity) + lifetimeMs;
  const start = (): void => {
    const number = lifecycles.length;
    const id = engine.run(numbered(container, number % (options.numbers ?? total)));
    const truth = engine.truth(id);
    if (!truth) throw new Error(`Is gone as soon as it was started: ${id}`);
    const { env, ports } = truth;
    const hostPorts = Object.entries(ports).flatMap(([port, bound]) =>
      bound?.[0] ? [[port, Number(bound[0].HostPort)]] : [],
    );
    const lifecycle = { id, env, ports: Object.fromEntries(hostPorts), truth, startedMs: monotonicMs() };
    lifecycles.push(lifecycle);
    // Spread evenly: as many have survived of any first n as the fraction says.
    const survives = Math.floor((number + 1) * survivors) > Math.floor(number * survivors);
    if (!survives) mortal.push(lifecycle);
  };
  const end = (): void => {
    const lifecycle = mortal[ended++];
    // Somebody else may have ended it by a command.
    if (!lifecycle || engine.truth(lifecycle.id)?.state !== 'running') return;
    // Noted before anybody is told: on a busy machine what follows an event may be seen before the next line runs.
    lifecycle.endedMs = monotonicMs();
    if (options.isSpaced) ends.push(engine.stopSpaced(lifecycle.id));
    else engine[ending](lifecycle.id);
  };

  for (;;) {
    signal?.throwIfAborted();
    const dueMs = Math.min(startDueMs(), endDueMs());
    if (dueMs === Infinity) break;
    const nowMs = monotonicMs();
    if (dueMs > nowMs) {
      await sleep(dueMs - nowMs, undefined, signal && { signal });
      continue;
    }
    lagMsMax = Math.max(lagMsMax, nowMs - dueMs);
    // What is late is done at once, but not all of it: a socket that is not drained overflows.
    if (++operations % 50 === 0) await turn();
    while (isWaiting && engine.isReaderBehind) await sleep(readerPollMs, undefined, signal && { signal });
    if (startDueMs() <= endDueMs()) {
      const lateMs = monotonicMs() - startDueMs();
      if (isWaiting && lateMs > catchUpMs) begunMs += lateMs - catchUpMs;
      start();
    } else end();
  }
  await Promise.all(ends);
  return { lifecycles, lagMsMax };
}
