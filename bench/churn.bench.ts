/**
 * churn: with containers starting and stopping at a steady rate, how long from the engine's event
 * until the key is visible, or gone, and what does each lifecycle cost?
 *
 * An open loop: each container lives a second, one in fifty for ever, so that there is something to
 * be missing in the end. CPU is that of all threads, from the first start until etcd is at rest.
 */
import type { FaultSettings } from './engine/faults.ts';
import {
  type Bench,
  exactColumn,
  exactFigures,
  type Figures,
  type Settings,
  subjectOf,
  transactionFigures,
  withCpu,
} from './lib/bench.ts';
import { latenciesOf } from './lib/exact.ts';
import { percentile } from './lib/measure.ts';
import { openWorld } from './lib/world.ts';

const lifetimeMs = 1_000;
const survivors = 0.02;

export async function measureChurn(
  subject: string,
  rate: number,
  { seconds, workers }: Settings,
  faults?: Partial<FaultSettings>,
): Promise<Figures> {
  await using world = await openWorld({ subject: subjectOf(subject), workers, faults });
  await world.warmUp(Math.min(rate, 200));
  world.subject.begin();
  const { result, figures } = await withCpu(world, async () => {
    const { lagMsMax, lifecycles } = await world.engine.churn({ rate, seconds, lifetimeMs, survivors });
    return { lagMsMax, lifecycles, settled: await world.settle() };
  });
  const { lifecycles, settled } = result;
  const loop = await world.subject.loopDelay();
  const { neverSeen, publishMs, unpublishMs } = latenciesOf(lifecycles, settled.changes);
  return {
    lifecycles: lifecycles.length,
    publishP50Ms: percentile(publishMs, 0.5),
    publishP99Ms: percentile(publishMs, 0.99),
    publishMaxMs: percentile(publishMs, 1),
    unpublishP50Ms: percentile(unpublishMs, 0.5),
    unpublishP99Ms: percentile(unpublishMs, 0.99),
    unpublishMaxMs: percentile(unpublishMs, 1),
    ...figures(lifecycles.length),
    ...transactionFigures(settled),
    loopDelayP99Ms: loop?.p99Ms ?? Number.NaN,
    loopDelayMaxMs: loop?.maxMs ?? Number.NaN,
    loopUtilization: loop?.utilization ?? Number.NaN,
    engineLagMs: result.lagMsMax,
    ...exactFigures(settled, neverSeen),
  };
}

export const churn: Bench = {
  name: 'churn',
  question: 'how long from event to visible key at so many starts and stops a second, and what does a lifecycle cost?',
  axis: 'starts/s',
  points: [50, 200, 500, 1000, 2000, 5000],
  seconds: 4,
  columns: [
    { figure: 'publishP50Ms', heading: 'publish p50 ms', digits: 1, ratio: true },
    { figure: 'publishP99Ms', heading: 'p99', digits: 1, ratio: true },
    { figure: 'publishMaxMs', heading: 'max', digits: 1 },
    { figure: 'unpublishP50Ms', heading: 'unpublish p50 ms', digits: 1, ratio: true },
    { figure: 'unpublishP99Ms', heading: 'p99', digits: 1, ratio: true },
    { figure: 'unpublishMaxMs', heading: 'max', digits: 1 },
    { figure: 'cpuPerLifecycleMs', heading: 'CPU ms each', digits: 2, ratio: true },
    { figure: 'etcdCpuPerLifecycleMs', heading: 'of etcd', digits: 2, ratio: true },
    { figure: 'transactions', heading: 'txns', digits: 0 },
    { figure: 'keysPerTransaction', heading: 'keys/txn', digits: 1 },
    { figure: 'loopDelayP99Ms', heading: 'loop p99 ms', digits: 1 },
    { figure: 'recorderCpuPercent', heading: 'rec. CPU %', digits: 0 },
    exactColumn,
  ],
  measure: measureChurn,
};
