/**
 * The closed loop: so many containers in flight, each stopped when its key appears, and followed by
 * another when its key has gone. How many such lives in a second?
 *
 * A container without progress for `stalledMs` is given up, replaced and counted: it is what a subject
 * has lost. The recorder tells of each change at once and the engine is asked in batches, so that a
 * turn of the loop itself costs a fraction of a millisecond, the same to every subject.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultContainer, monotonicMs, numbered } from '../engine/churn.ts';
import { exactFigures, startMeter, transactionFigures } from './bench.ts';
import type { Figures } from './measure.ts';
import type { Change } from './recorder.ts';
import type { SubjectOptions } from './subject.ts';
import { openWorld } from './world.ts';

const warmUpMs = 1_000;
const stalledMs = 3_000;
/** Bounds the loop in any case: more than any subject here manages by far. */
const lifecyclesMax = 500_000;

interface Life {
  readonly id: string;
  stopped: boolean;
  since: number;
}

export async function measureClosedLoop(options: SubjectOptions, inFlight: number, seconds: number): Promise<Figures> {
  /** In flight, by the 12 digits that end the key. */
  const lives = new Map<string, Life>();
  const visible = new Set<string>();
  const asked = new Set<Promise<void>>();
  const changes: Change[] = [];
  let open = true;
  let [begun, completed, stalled] = [0, 0, 0];

  const ask = (question: () => Promise<void>): void => {
    const answer = question().finally(() => asked.delete(answer));
    asked.add(answer);
  };
  const stop = (stopping: readonly Life[]): void => {
    for (const life of stopping) [life.stopped, life.since] = [true, monotonicMs()];
    const ids = stopping.map(({ id }) => id);
    if (ids.length > 0) ask(() => world.engine.apply('stop', ids));
  };
  const start = (count: number): void => {
    if (!open || count === 0 || begun >= lifecyclesMax) return;
    const containers = Array.from({ length: count }, () => numbered(defaultContainer, begun++ % 1_000));
    ask(async () => {
      const ids = await world.engine.run(containers);
      const born = ids.map((id): Life => ({ id, stopped: false, since: monotonicMs() }));
      for (const life of born) lives.set(life.id.slice(0, 12), life);
      stop(born.filter(({ id }) => visible.has(id.slice(0, 12))));
    });
  };
  const follow = (arrived: readonly Change[]): void => {
    const stopping: Life[] = [];
    let gone = 0;
    for (const change of arrived) {
      changes.push(change);
      if (!change.key.startsWith('/discover/service/')) continue;
      const shortId = change.key.slice(-12);
      const life = lives.get(shortId);
      if (change.value !== undefined) {
        visible.add(shortId);
        if (life?.stopped === false) stopping.push(Object.assign(life, { stopped: true }));
      } else {
        visible.delete(shortId);
        if (life?.stopped && lives.delete(shortId)) gone++;
      }
    }
    completed += gone;
    stop(stopping);
    start(gone);
  };
  const giveUp = (): void => {
    const late = [...lives].filter(([, life]) => monotonicMs() - life.since > stalledMs);
    for (const [shortId] of late) lives.delete(shortId);
    stop(late.map(([, life]) => life).filter((life) => !life.stopped));
    stalled += late.length;
    start(late.length);
  };

  await using world = await openWorld({ ...options, follow });
  const sweeper = setInterval(giveUp, 250);
  try {
    start(inFlight);
    await sleep(warmUpMs);
    changes.length = 0;
    const [meter, before, begunMs] = [await startMeter(world), completed, monotonicMs()];
    await sleep(seconds * 1000);
    const [count, tookMs] = [completed - before, monotonicMs() - begunMs];
    const figures = {
      ...(await meter(count)),
      ...transactionFigures(changes.filter(({ key }) => !key.includes('/owner/'))),
    };
    open = false;
    while (asked.size > 0) await Promise.all(asked);
    stop([...lives.values()].filter((life) => !life.stopped));
    return { lifecyclesPerSecond: (count / tookMs) * 1000, ...figures, stalled, ...exactFigures(await world.settle()) };
  } finally {
    clearInterval(sweeper);
  }
}
