/**
 * churn: with containers starting and stopping at a steady rate, how long from the engine's event
 * until the key is visible, or gone, and what does each lifecycle cost?
 *
 * An open loop: each container lives a second, one in fifty for ever, so that there is something to
 * be missing in the end. A subject goes through all rates in one life. CPU is that of all threads, from the first start until etcd is at rest.
 */
import { type Bench, exactFigures, type Settings, startMeter, transactionFigures } from './lib/bench.ts';
import { latenciesOf } from './lib/exact.ts';
import { type Figures, percentile } from './lib/measure.ts';
import { openWorld, type World } from './lib/world.ts';

/** A process compiles its code in its first thousands of lifecycles; what a host pays all day is what comes after. */
export const warmUp = (world: World): Promise<void> => world.warmUp(200, 12);

export async function measureChurn(world: World, rate: number, seconds: number): Promise<Figures> {
  const meter = await startMeter(world);
  const churned = await world.engine.churn({ rate, seconds, lifetimeMs: 1_000, survivors: 0.02 });
  const settled = await world.settle();
  const figures = await meter(churned.lifecycles.length);
  const { neverSeen, publishMs, unpublishMs } = latenciesOf(churned.lifecycles, settled.changes);
  return {
    publishP50Ms: percentile(publishMs, 0.5),
    publishP99Ms: percentile(publishMs, 0.99),
    publishMaxMs: percentile(publishMs, 1),
    unpublishP50Ms: percentile(unpublishMs, 0.5),
    unpublishP99Ms: percentile(unpublishMs, 0.99),
    unpublishMaxMs: percentile(unpublishMs, 1),
    ...figures,
    ...transactionFigures(settled.changes),
    engineLagMs: churned.lagMsMax,
    ...exactFigures(settled, neverSeen),
  };
}

/** By subject. */
const worlds = new Map<string, World>();

async function measure(subject: string, rate: number, { seconds, workers }: Settings): Promise<Figures> {
  const known = worlds.get(subject);
  worlds.delete(subject);
  const world = known ?? (await openWorld({ subject, workers }));
  let isSound = false;
  try {
    if (!known) await warmUp(world);
    const figures = await measureChurn(world, rate, seconds);
    isSound = String(figures.exact).startsWith('yes') && figures.note === undefined;
    return figures;
  } finally {
    // Whoever was found wrong would begin the next rate with what is wrong already.
    if (isSound) worlds.set(subject, world);
    else await world[Symbol.asyncDispose]();
  }
}

export const churn: Bench = {
  name: 'churn',
  question: 'how long from event to visible key at so many starts and stops a second, and what does a lifecycle cost?',
  axis: 'starts/s',
  points: [50, 200, 500, 1_000, 2_000, 5_000],
  seconds: 4,
  columns:
    'publishP50Ms* publishP99Ms* publishMaxMs unpublishP50Ms* unpublishP99Ms* unpublishMaxMs cpuMsEach* ' +
    'etcdCpuMsEach* transactions keysPerTransaction loopP99Ms loopMaxMs engineLagMs recorderCpuPercent eventsLost exact',
  measure,
  finish: async () => {
    for (const world of worlds.values()) await world[Symbol.asyncDispose]();
    worlds.clear();
  },
};
