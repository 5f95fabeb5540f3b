/**
 * burst: 5,000 containers start at once, and live 5 ms or for ever: how long until etcd is exact, and
 * how much memory does it take?
 *
 * Time runs from the first start until etcd came, for good, to hold what runs. What lived 5 ms need
 * never have been in etcd; it must not be there in the end.
 */
import { type Bench, exactFigures, startMeter, transactionFigures } from './lib/bench.ts';
import { usageOf } from './lib/measure.ts';
import { openWorld } from './lib/world.ts';

const containers = 5_000;
const limitMs = 20_000;

export const burst: Bench = {
  name: 'burst',
  question: 'how long until etcd is exact after 5,000 containers start at once, and live 5 ms (0) or for ever (1)?',
  axis: 'for ever',
  points: [0, 1],
  seconds: 0,
  columns: 'untilExactMs* cpuMsEach* transactions inspects rssBeforeMb peakMb* rssMb exact',
  measure: async (subject, survivors, { workers }) => {
    await using world = await openWorld({ subject, workers });
    await world.warmUp(200);
    const rssBeforeMb = usageOf(world.subject.pid).rssMb;
    const before = await world.engine.counts();
    const meter = await startMeter(world);
    // Due within 5 ms is at once: an open loop does what is late without a pause.
    const burstOf = { rate: containers * 200, seconds: 1 / 200, lifetimeMs: 5, survivors };
    const { lifecycles } = await world.engine.churn(burstOf);
    const settled = await world.settle(limitMs);
    const figures = await meter(containers);
    const [firstMs = 0, exactMs = Number.NaN] = [lifecycles[0]?.startedMs, settled.exactAtMs];
    // Where nothing was to be seen because all was over before it was looked at: exact with the last end.
    const lastMs = lifecycles.reduce((latest, { endedMs = firstMs }) => Math.max(latest, endedMs), firstMs);
    const isExact = settled.missing + settled.stale + settled.wrong === 0;
    return {
      untilExactMs: isExact ? Math.max(Number.isNaN(exactMs) ? 0 : exactMs, lastMs) - firstMs : Number.NaN,
      ...figures,
      ...transactionFigures(settled.changes),
      inspects: (await world.engine.counts()).inspect - before.inspect,
      rssBeforeMb,
      ...usageOf(world.subject.pid),
      ...exactFigures(settled),
    };
  },
};
