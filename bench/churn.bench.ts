/**
 * churn: with containers starting and stopping at a steady rate, how long from the engine's event
 * until the key is visible, or gone, and what does each lifecycle cost?
 *
 * An open loop: each container lives a second, one in fifty for ever, so that there is something to
 * be missing in the end. A subject goes through all rates in one life. CPU is that of all threads,
 * from the first start until etcd is at rest.
 */
import { type Bench, exactFigures, startMeter, transactionFigures } from './lib/bench.ts';
import { latenciesOf } from './lib/exact.ts';
import { Lives } from './lib/lives.ts';
import { type Figures, percentile, usageOf } from './lib/measure.ts';
import { openWorld, type World, type WorldOptions } from './lib/world.ts';

const warmUpSeconds = 12;

/** A process compiles its code in its first thousands of lifecycles; what a host pays all day is what comes after. */
export async function openWarm(options: WorldOptions, seconds = warmUpSeconds): Promise<World> {
  const world = await openWorld(options);
  await world.warmUp(200, seconds);
  return world;
}

export async function measureChurn(world: World, rate: number, seconds: number): Promise<Figures> {
  const meter = await startMeter(world);
  const churned = await world.engine.churn({ rate, seconds, lifetimeMs: 1_000, survivors: 0.02, unread: 'lose' });
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
  measure: (subject, rate, { address, seconds, workers }) =>
    lives.measure(
      subject,
      // A short measurement is a look, and a look takes no long warm-up.
      () => openWarm({ address, subject, workers }, Math.min(warmUpSeconds, 3 * seconds)),
      (world) => measureChurn(world, rate, seconds),
    ),
  finish: () => lives.end(),
};
