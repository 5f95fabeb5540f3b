/**
 * burst: 5,000 containers start at once, and live 5 ms or for ever: how long until etcd is exact, and
 * how much memory does it take?
 *
 * Time runs from the first start until etcd came, for good, to hold what runs. What lived 5 ms need
 * never have been in etcd; it must not be there in the end.
 */
import { type Bench, exactColumn, exactFigures, subjectOf, transactionFigures, withCpu } from './lib/bench.ts';
import { usageOf } from './lib/measure.ts';
import { openWorld } from './lib/world.ts';

const containers = 5_000;
const limitMs = 20_000;
const forEver = 0;

export const burst: Bench = {
  name: 'burst',
  question: 'how long until etcd is exact after 5,000 containers start at once, and live so long?',
  axis: 'live ms',
  points: [5, forEver],
  pointText: (point) => (point === forEver ? 'for ever' : String(point)),
  seconds: 0,
  columns: [
    { figure: 'untilExactMs', heading: 'until exact ms', digits: 0, ratio: true },
    { figure: 'cpuPerLifecycleMs', heading: 'CPU ms each', digits: 3, ratio: true },
    { figure: 'transactions', heading: 'txns', digits: 0 },
    { figure: 'inspects', heading: 'inspects', digits: 0 },
    { figure: 'rssBeforeMb', heading: 'MB before', digits: 0 },
    { figure: 'peakMb', heading: 'peak', digits: 0, ratio: true },
    { figure: 'rssMb', heading: 'after', digits: 0 },
    exactColumn,
  ],
  measure: async (subject, lifetimeMs, { workers }) => {
    await using world = await openWorld({ subject: subjectOf(subject), workers });
    await world.warmUp(200);
    const { pid } = world.subject;
    const [rssBeforeMb, before] = [usageOf(pid).rssMb, await world.engine.counts()];
    const survivors = lifetimeMs === forEver ? 1 : 0;
    const { result, figures } = await withCpu(world, async () => {
      // Due within 5 ms means at once: an open loop does what is late without a pause.
      const churned = await world.engine.churn({ rate: containers * 200, seconds: 1 / 200, lifetimeMs, survivors });
      return { lives: churned.lifecycles, settled: await world.settle(limitMs) };
    });
    const { lives, settled } = result;
    const firstMs = lives[0]?.startedMs ?? 0;
    // Nothing to be seen, because all was over before it was looked at: exact with the last end.
    const lastEndMs = lives.reduce((latest, { endedMs = 0 }) => Math.max(latest, endedMs), firstMs);
    const isExact = settled.missing + settled.stale + settled.wrong === 0;
    const after = await world.engine.counts();
    const { peakMb, rssMb } = usageOf(pid);
    return {
      untilExactMs: isExact ? Math.max(settled.exactAtMs ?? 0, lastEndMs) - firstMs : Number.NaN,
      ...figures(containers),
      ...transactionFigures(settled),
      inspects: after.inspect - before.inspect,
      rssBeforeMb,
      rssMb,
      peakMb,
      ...exactFigures(settled),
    };
  },
};
