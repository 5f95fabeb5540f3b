/**
 * churn: with containers starting and stopping at a steady rate, how long from the engine's event
 * until the key is visible, or gone, and what does each lifecycle cost?
 *
 * An open loop: each container lives a second, one in fifty for ever, so that there is something to
 * be missing in the end. A subject goes through all rates in one life. CPU is that of all threads,
 * from the first start until etcd is at rest.
 */
import { defaultContainer } from './engine/churn.ts';
import { type Bench, exactFigures, startMeter, transactionFigures } from './lib/bench.ts';
import { latenciesOf } from './lib/exact.ts';
import { Lives } from './lib/lives.ts';
import { type Figures, percentile, usageOf } from './lib/measure.ts';
import { peers } from './lib/subject.ts';
import { openWorld, type World, type WorldOptions } from './lib/world.ts';

const warmUpSeconds = 12;
const warmUpRate = 200;

/** A process compiles its code in its first thousands of lifecycles; what a host pays all day is what comes after. */
export async function openWarm(options: WorldOptions, seconds = warmUpSeconds, rate = warmUpRate): Promise<World> {
  const world = await openWorld(options);
  await world.warmUp(rate, seconds);
  return world;
}

export async function measureChurn(world: World, rate: number, seconds: number): Promise<Figures> {
  const meter = await startMeter(world);
  const { container = defaultContainer, isSpaced } = world.shape;
  const open = { lifetimeMs: 1_000, survivors: 0.02, unread: 'lose', container, isSpaced } as const;
  const churned = await world.engine.churn({ rate, seconds, ...open });
  const settled = await world.settle();
  const figures = await meter(churned.lifecycles.length);
  const { neverSeen, publishMs, unpublishMs } = latenciesOf(churned.lifecycles, settled.changes, world.subject.layout);
  return {
    publishP50Ms: percentile(publishMs, 0.5),
    publishP99Ms: percentile(publishMs, 0.99),
    publishMaxMs: percentile(publishMs, 1),
    unpublishP50Ms: percentile(unpublishMs, 0.5),
    unpublishP99Ms: percentile(unpublishMs, 0.99),
    unpublishMaxMs: percentile(unpublishMs, 1),
    ...figures,
    ...transactionFigures(settled.changes),
    peakMb: usageOf(world.subject.pid).peakMb,
    engineLagMs: churned.lagMsMax,
    ...exactFigures(settled, neverSeen),
  };
}

const lives = new Lives<World>();

export const churn: Bench = {
  name: 'churn',
  question: 'how long from event to visible key at so many starts and stops a second, and what does a lifecycle cost?',
  axis: 'starts/s',
  points: [50, 200, 500, 1_000, 2_000, 5_000],
  seconds: 4,
  columns:
    'publishP50Ms* publishP99Ms* publishMaxMs unpublishP50Ms* unpublishP99Ms* unpublishMaxMs cpuMsEach* ' +
    'etcdCpuMsEach* transactions keysPerTransaction loopP99Ms loopMaxMs peakMb engineLagMs recorderCpuPercent eventsLost exact',
  measure: (subject, rate, { address, seconds, shape, workers }) =>
    lives.measure(
      subject,
      // A short measurement is a look, and a look takes no long warm-up.
      // A peer may not keep up with more than it is measured at, and would be measured with what is left over.
      () =>
        openWarm(
          { address, shape, subject, workers },
          Math.min(warmUpSeconds, 3 * seconds),
          peers.has(subject) ? Math.min(rate, warmUpRate) : warmUpRate,
        ),
      (world) => measureChurn(world, rate, seconds),
    ),
  finish: () => lives.end(),
};
