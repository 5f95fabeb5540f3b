/**
 * storm: 5,000 events a second that concern nobody (a health probe is three of exec and one of
 * health): are events lost, is the engine held up, do the 50 containers a second that matter suffer?
 *
 * The engine loses events for a reader that does not keep up, without a word. How long it takes to
 * answer a ping tells whether it is held up; `--points` 0 is the same without the storm.
 */
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs } from './engine/churn.ts';
import { type Bench, exactColumn, exactFigures, subjectOf, withCpu } from './lib/bench.ts';
import { latenciesOf } from './lib/exact.ts';
import { percentile } from './lib/measure.ts';
import { openWorld, type World } from './lib/world.ts';

const everyMs = 5;
const pingEveryMs = 50;
const actions = ['exec_create: probe', 'exec_start: probe', 'exec_die', 'health_status: healthy'];

function ping(socketPath: string): Promise<number> {
  const begunMs = monotonicMs();
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath, path: '/_ping' }, (response) => {
      response.resume().once('end', () => resolve(monotonicMs() - begunMs));
    });
    request.once('error', reject);
  });
}

/** Says how many it has sent, which is what was due, late or not. */
async function emitStorm(world: World, perSecond: number, seconds: number): Promise<number> {
  const ids = (await world.engine.snapshot()).map(({ id }) => id);
  const begunMs = monotonicMs();
  for (let sent = 0; ; await sleep(everyMs)) {
    const due = Math.floor((Math.min(monotonicMs() - begunMs, seconds * 1000) * perSecond) / 1000);
    const events = Array.from({ length: due - sent }, (_, offset) => {
      const number = sent + offset;
      const attributes = { image: 'app:1', name: 'probed', execID: 'f'.repeat(64) };
      return { type: 'container', action: actions[number % 4] ?? '', id: ids[number % ids.length] ?? '', attributes };
    });
    await world.engine.emit(events);
    sent = due;
    if (monotonicMs() - begunMs >= seconds * 1000) return sent;
  }
}

export const storm: Bench = {
  name: 'storm',
  question: 'what do so many events a second do that concern nobody, beside 50 containers a second that matter?',
  axis: 'events/s',
  points: [5_000],
  seconds: 5,
  columns: [
    { figure: 'sent', heading: 'sent', digits: 0 },
    { figure: 'eventsLost', heading: 'lost', digits: 0 },
    { figure: 'pingP50Ms', heading: 'ping p50 ms', digits: 2, ratio: true },
    { figure: 'pingP99Ms', heading: 'p99', digits: 1, ratio: true },
    { figure: 'publishP50Ms', heading: 'publish p50 ms', digits: 1, ratio: true },
    { figure: 'publishP99Ms', heading: 'p99', digits: 1, ratio: true },
    { figure: 'cpuPercent', heading: 'CPU %', digits: 1, ratio: true },
    { figure: 'engineCpuPercent', heading: 'engine CPU %', digits: 0 },
    exactColumn,
  ],
  measure: async (subject, perSecond, { seconds, workers }) => {
    await using world = await openWorld({ subject: subjectOf(subject), workers });
    await world.warmUp(50);
    const pings: number[] = [];
    const { result, figures } = await withCpu(world, async () => {
      const pinger = setInterval(() => void ping(world.engine.socketPath).then((ms) => pings.push(ms)), pingEveryMs);
      try {
        const churned = world.engine.churn({ rate: 50, seconds: seconds - 1, lifetimeMs: 500, survivors: 0.1 });
        return { sent: await emitStorm(world, perSecond, seconds), ...(await churned) };
      } finally {
        clearInterval(pinger);
      }
    });
    const settled = await world.settle();
    const { neverSeen, publishMs } = latenciesOf(result.lifecycles, settled.changes);
    return {
      sent: result.sent,
      eventsLost: (await world.engine.counts()).eventsLost,
      pingP50Ms: percentile(pings, 0.5),
      pingP99Ms: percentile(pings, 0.99),
      publishP50Ms: percentile(publishMs, 0.5),
      publishP99Ms: percentile(publishMs, 0.99),
      ...figures(),
      ...exactFigures(settled, neverSeen),
    };
  },
};
