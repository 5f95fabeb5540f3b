/**
 * A world: a simulated engine, a real etcd, a recorder and one subject, all private and all new.
 *
 * Every subject has one of its own, so that none inherits another's etcd. It is ready when what ran
 * before the subject came is in etcd, which asks the same of all three.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type EtcdOptions, type EtcdServer, startEtcd } from '../../test/helpers/etcd.ts';
import { defaultContainer, monotonicMs, numbered } from '../engine/churn.ts';
import { type EngineHandle, forkEngine } from '../engine/client.ts';
import type { CreateOptions } from '../engine/documents.ts';
import type { FaultSettings } from '../engine/faults.ts';
import { type Deviation, deviationOf, Pursuit } from './exact.ts';
import { expectedKeys } from './layout.ts';
import { usageOf } from './measure.ts';
import { type Change, startRecorder } from './recorder.ts';
import { type Shape, shapes } from './shapes.ts';
import { type Subject, type SubjectOptions, startSubject } from './subject.ts';

export interface WorldOptions extends SubjectOptions {
  /** Containers that run before the subject does; default 20. */
  readonly standing?: number;
  /** What containers, documents and events are like. */
  readonly shape?: Shape | undefined;
  /** Where those that stand are others than those that come. */
  readonly standingContainer?: CreateOptions | undefined;
  readonly etcd?: EtcdOptions;
  /** From when the subject is ready. */
  readonly faults?: Partial<FaultSettings> | undefined;
  readonly follow?: (changes: readonly Change[]) => void;
  /** False: return as soon as the subject is spawned. */
  readonly ready?: false;
}

export interface Settled extends Deviation {
  /** Of containers' keys, since the last call. */
  readonly changes: readonly Change[];
  /** When etcd last came to hold what it must. */
  readonly exactAtMs: number | undefined;
  /** By the engine, for a reader too slow, since the last call. */
  readonly eventsLost: number;
  /** Why the other figures are not valid, or empty. */
  readonly note: string;
}

export interface World extends AsyncDisposable {
  readonly engine: EngineHandle;
  readonly etcd: EtcdServer;
  readonly subject: Subject;
  readonly shape: Shape;
  /** Waits until etcd holds what runs, or `limitMs`, or until it clearly gets no nearer. The engine must be at rest. */
  settle(limitMs?: number): Promise<Settled>;
  /** Warms the subject up, and leaves nothing of it. */
  warmUp(rate: number, seconds?: number): Promise<void>;
  /** Used until now by subject, etcd, engine and recorder. */
  cpuMs(): Promise<readonly number[]>;
}

/** Room for 10,000 containers of three services. */
const portRange = [10_000, 65_535] as const;
/** Exact for so long is exact: what is late would have come. */
const calmMs = 400;
/** Without a change for so long, what is not there will not come. */
const stuckMs = 4_000;
const settleLimitMs = 10_000;
const readyLimitMs = 60_000;

export async function openWorld(options: WorldOptions): Promise<World> {
  const parts: AsyncDisposable[] = [];
  const close = async (): Promise<void> => {
    for (const part of parts.splice(0)) await part[Symbol.asyncDispose]();
  };
  try {
    const world = await fill(options, parts, close);
    if (options.ready === false) return world;
    const { missing, note } = await world.settle(readyLimitMs);
    if (missing > 0) throw new Error(`${missing} keys are missing from the start. ${note || (await firstOf(world))}`);
    await world.engine.setFaults({ ...options.shape?.faults, ...options.faults });
    return world;
  } catch (error) {
    await close();
    throw error;
  }
}

/** An example of what is missing beside what there is: a layout may be another than was said. */
async function firstOf({ engine, etcd, subject: { layout } }: World): Promise<string> {
  const found = await etcd.get(layout.prefix);
  const [missing] = [...expectedKeys(await engine.snapshot(), layout)].filter(([key]) => !found.has(key));
  const [first] = [...found].filter(([key]) => layout.isOfContainer(key));
  return `Missing: ${missing?.join(' = ')}. There is: ${first?.join(' = ') ?? `nothing below ${layout.prefix}`}`;
}

/** What is there to be closed stands in `parts`, last first. */
async function fill(options: WorldOptions, parts: AsyncDisposable[], close: () => Promise<void>): Promise<World> {
  const own = <Part extends AsyncDisposable>(part: Part): Part => {
    parts.unshift(part);
    return part;
  };
  const etcd = own(await startEtcd(options.etcd));
  const shape: Shape = options.shape ?? shapes.plain;
  const { standing = 20 } = options;
  const { standingContainer = shape.container ?? defaultContainer } = options;
  const { api = '1.41', bodyBytes = 0, container = defaultContainer } = shape;
  const opening = forkEngine({ api, bodyBytes, portRange }).then(async (engine) => {
    await engine.run(Array.from({ length: standing }, (_, number) => numbered(standingContainer, number)));
    return engine;
  });
  own({ [Symbol.asyncDispose]: async () => (await opening).close() });
  const recorder = own(await startRecorder(etcd.endpoint, options.follow));
  const engine = await opening;
  const subject = own(startSubject(options, engine.socketPath, etcd.endpoint));
  const state = new Map<string, string>();
  let lost = 0;

  const settle = async (limitMs = settleLimitMs): Promise<Settled> => {
    const expected = expectedKeys(await engine.snapshot(), subject.layout);
    const pursuit = new Pursuit(expected, state, subject.layout);
    const changes: Change[] = [];
    const begunMs = monotonicMs();
    let lastMs = begunMs;
    for (;;) {
      for (const change of await recorder.take(limitMs)) {
        lastMs = monotonicMs();
        pursuit.apply(change);
        if (subject.layout.isOfContainer(change.key)) changes.push(change);
      }
      const nowMs = monotonicMs();
      const patienceMs = pursuit.isExact ? calmMs : changes.length > 0 ? stuckMs : limitMs;
      if (subject.ended || nowMs - begunMs > limitMs || nowMs - lastMs > patienceMs) break;
      await sleep(50);
    }
    // By what etcd says itself: the recorder is not asked whether it has seen everything.
    const deviation = deviationOf(expected, await etcd.get(subject.layout.prefix), subject.layout);
    const lostBefore = lost;
    lost = (await engine.counts()).eventsLost;
    const eventsLost = lost - lostBefore;
    const note = subject.ended ? ['has ended', subject.lastWords].filter(Boolean).join(': ') : '';
    return { ...deviation, changes, exactAtMs: pursuit.exactAtMs, eventsLost, note };
  };
  const warmUp = async (rate: number, seconds = 1): Promise<void> => {
    await engine.churn({ rate, seconds, lifetimeMs: 200, container });
    await settle();
  };
  const cpuMs = async (): Promise<number[]> => {
    const pids = [subject.pid, etcd.pids[0] ?? 0, engine.pid];
    return [...pids.map((pid) => usageOf(pid).cpuMs), await recorder.cpuMs()];
  };
  return { engine, etcd, subject, shape, settle, warmUp, cpuMs, [Symbol.asyncDispose]: close };
}
