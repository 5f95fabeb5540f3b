/**
 * burst: 5,000 containers start at once, and live 5 ms or for ever: how long until etcd is exact, and
 * how much memory does it take?
 *
 * Time runs from the first start until etcd came, for good, to hold what runs. What lived 5 ms need
 * never have been in etcd; it must not be there in the end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultContainer, monotonicMs, numbered } from './engine/churn.ts';
import { type Bench, exactFigures, startMeter, transactionFigures } from './lib/bench.ts';
import { usageOf } from './lib/measure.ts';
import { openWorld } from './lib/world.ts';

const containers = 5_000;
/** Done in one go by the engine, which has to get its events out in between, as a real one does. */
const sliceSize = 100;
const lifetimeMs = 5;
const limitMs = 20_000;

export const burst: Bench = {
  name: 'burst',
  question: 'how long until etcd is exact after 5,000 containers start at once, and live 5 ms (0) or for ever (1)?',
  axis: 'for ever',
  points: [0, 1],
  seconds: 0,
  columns: 'untilExactMs* cpuMsEach* transactions inspects rssBeforeMb peakMb* rssMb eventsLost exact',
  measure: async (subject, survivors, { workers }) => {
    await using world = await openWorld({ subject, workers });
    await world.warmUp(200);
    const rssBeforeMb = usageOf(world.subject.pid).rssMb;
    const before = await world.engine.counts();
    const meter = await startMeter(world);
    const firstMs = monotonicMs();
    const ends: Promise<void>[] = [];
    for (let number = 0; number < containers; number += sliceSize) {
      const slice = Array.from({ length: sliceSize }, (_, offset) => numbered(defaultContainer, number + offset));
      const ids = await world.engine.run(slice);
      if (survivors === 0) ends.push(sleep(lifetimeMs).then(() => world.engine.apply('stop', ids)));
    }
    await Promise.all(ends);
    // Where nothing was to be seen because all was over before it was looked at: exact with the last end.
    const lastMs = monotonicMs();
    const settled = await world.settle(limitMs);
    const figures = await meter(containers);
    const isExact = settled.missing + settled.stale + settled.wrong === 0;
    return {
      untilExactMs: isExact ? Math.max(settled.exactAtMs ?? 0, lastMs) - firstMs : Number.NaN,
      ...figures,
      ...transactionFigures(settled.changes),
      inspects: (await world.engine.counts()).inspect - before.inspect,
      rssBeforeMb,
      ...usageOf(world.subject.pid),
      ...exactFigures(settled),
    };
  },
};
