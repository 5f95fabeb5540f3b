/**
 * cold-start: with so many containers running, how long from the start of the process until all of
 * them are visible?
 *
 * From `spawn` on, so the start of Node and the loading of modules are in it. Memory when all was
 * visible, its peak, and what the engine was asked until then.
 */
import { type Bench, exactFigures, transactionFigures } from './lib/bench.ts';
import { usageOf } from './lib/measure.ts';
import { openWorld } from './lib/world.ts';

const limitMs = 30_000;

export const coldStart: Bench = {
  name: 'cold-start',
  question: 'how long from spawn to all visible, with so many containers running?',
  axis: 'containers',
  points: [100, 1_000, 2_000, 10_000],
  seconds: 0,
  columns: 'firstVisibleMs* allVisibleMs* cpuMs* rssMb* peakMb requests transactions exact',
  measure: async (subject, containers, { shape, workers }) => {
    await using world = await openWorld({ shape, subject, standing: containers, ready: false, workers });
    const settled = await world.settle(limitMs);
    const { spawnedMs } = world.subject;
    const { eventsLost, streams, ...requests } = await world.engine.counts();
    return {
      firstVisibleMs: (settled.changes[0]?.at ?? Number.NaN) - spawnedMs,
      allVisibleMs: (settled.exactAtMs ?? Number.NaN) - spawnedMs,
      ...usageOf(world.subject.pid),
      requests: Object.values(requests).reduce((sum, count) => sum + count, 0),
      ...transactionFigures(settled.changes),
      ...exactFigures(settled),
    };
  },
};
