/**
 * crash-loops: with so many containers that crash and are started again, what is written and logged for them, and are
 * 100 good containers and 50 new ones a second held up?
 *
 * A loop lives a second and is started again 200 ms later, for ever. A real engine waits twice as long each time, up to a
 * minute, so this is harder. Figures are of the loops alone, by halves of the time, because damping takes some lives to
 * begin; latencies are those of the good ones.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs, numbered } from './engine/churn.ts';
import type { EngineHandle } from './engine/client.ts';
import { type Bench, exactFigures, startMeter } from './lib/bench.ts';
import { latenciesOf } from './lib/exact.ts';
import { percentile } from './lib/measure.ts';
import { openWorld } from './lib/world.ts';

const lifeMs = 1_000;
const waitMs = 200;
const groups = 20;
const loopOptions = { env: ['DISCOVER=loop-{n}:8080'], ports: [{ container: '8080/tcp' }] };

/** Runs the loops in groups that take turns, until it is told to stop; leaves none of them running. Resolves with the crashes. */
async function crashOn(engine: EngineHandle, ids: readonly string[], signal: AbortSignal): Promise<number> {
  let crashes = 0;
  const group = async (own: readonly string[], delayMs: number): Promise<void> => {
    for (await sleep(delayMs); !signal.aborted; await sleep(waitMs)) {
      await engine.apply('start', own);
      await sleep(lifeMs);
      await engine.apply('crash', own);
      crashes += own.length;
    }
  };
  const size = Math.ceil(ids.length / groups);
  const all = Array.from({ length: groups }, (_, index) => ids.slice(index * size, (index + 1) * size));
  await Promise.all(all.map((own, index) => group(own, (index * (lifeMs + waitMs)) / groups)));
  return crashes;
}

export const crashLoops: Bench = {
  name: 'crash-loops',
  question: 'beside so many containers that crash for ever, are good ones held up, and what is written and logged?',
  axis: 'crash loops',
  points: [0, 200],
  seconds: 60,
  named: true,
  subjects: () => ['discover'],
  columns:
    'crashes writesFirstHalf writesSecondHalf linesFirstHalf linesSecondHalf publishP50Ms publishP99Ms cpuPercent exact',
  measure: async (subject, count, { seconds, workers }) => {
    let lines = 0;
    const onLine = (line: string): void => {
      if (line.includes('loop-')) lines++;
    };
    await using world = await openWorld({ subject, workers, standing: 100, onLine });
    await world.warmUp(50);
    const { engine } = world;
    const ids: string[] = [];
    for (let n = 0; n < count; n++) ids.push(await engine.create(numbered(loopOptions, n)));
    const meter = await startMeter(world);
    const over = new AbortController();
    const crashing = crashOn(engine, ids, over.signal);
    const churning = engine.churn({ rate: 50, seconds, lifetimeMs: 500, survivors: 0.02, unread: 'lose' });
    await sleep((seconds * 1000) / 2);
    const [halfMs, linesFirstHalf] = [monotonicMs(), lines];
    const { lifecycles } = await churning;
    over.abort();
    const crashes = await crashing;
    const figures = await meter();
    const settled = await world.settle();
    const ofLoops = settled.changes.filter(({ key }) => key.includes('/service/loop-'));
    const writesFirstHalf = ofLoops.filter(({ at }) => at < halfMs).length;
    const { neverSeen, publishMs } = latenciesOf(lifecycles, settled.changes, world.subject.layout);
    return {
      crashes,
      ...{ writesFirstHalf, writesSecondHalf: ofLoops.length - writesFirstHalf },
      ...{ linesFirstHalf, linesSecondHalf: lines - linesFirstHalf },
      publishP50Ms: percentile(publishMs, 0.5),
      publishP99Ms: percentile(publishMs, 0.99),
      ...figures,
      ...exactFigures(settled, neverSeen),
    };
  },
};
