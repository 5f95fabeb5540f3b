/**
 * storm: 5,000 events a second about nothing that is published (of a health probe: three of exec, one of health):
 * are events lost, is the engine held up, do the 50 containers a second that matter suffer?
 *
 * An engine drops events for a reader that does not keep up, without a word. How long it takes to
 * answer a ping tells whether it is held up; `--points 0` is the same without the storm.
 */
import http from 'node:http';
import { monotonicMs } from './engine/churn.ts';
import { type Bench, exactFigures, startMeter } from './lib/bench.ts';
import { latenciesOf } from './lib/exact.ts';
import { percentile } from './lib/measure.ts';
import { emitChecks } from './lib/shapes.ts';
import { openWorld } from './lib/world.ts';

const pingEveryMs = 50;
const actions = ['exec_create: probe', 'exec_start: probe', 'exec_die', 'health_status: healthy'];

function ping(socketPath: string): Promise<number> {
  const begunMs = monotonicMs();
  return new Promise((resolve, reject) => {
    const onAnswer = (answer: http.IncomingMessage) =>
      answer.resume().once('end', () => resolve(monotonicMs() - begunMs));
    http.get({ socketPath, path: '/_ping' }, onAnswer).once('error', reject);
  });
}

export const storm: Bench = {
  name: 'storm',
  question: 'what do so many irrelevant events a second do, beside 50 containers a second that matter?',
  axis: 'events/s',
  points: [5_000],
  seconds: 5,
  columns:
    'sent pingP50Ms* pingP99Ms* publishP50Ms* publishP99Ms* cpuPercent* engineCpuPercent loopP99Ms eventsLost exact',
  measure: async (subject, perSecond, { seconds, workers }) => {
    await using world = await openWorld({ subject, workers });
    await world.warmUp(50);
    const { engine } = world;
    const pings: number[] = [];
    const meter = await startMeter(world);
    const pinger = setInterval(() => void ping(engine.socketPath).then((ms) => pings.push(ms)), pingEveryMs);
    const churning = engine.churn({
      rate: 50,
      seconds: seconds - 0.5,
      lifetimeMs: 500,
      survivors: 0.1,
      unread: 'lose',
    });
    const [{ id = '' } = {}] = await engine.snapshot();
    const emitting = emitChecks(engine, [id], actions, perSecond, { seconds });
    const sent = await emitting.finally(() => clearInterval(pinger));
    const figures = await meter();
    const { lifecycles } = await churning;
    const settled = await world.settle();
    const { neverSeen, publishMs } = latenciesOf(lifecycles, settled.changes, world.subject.layout);
    return {
      sent,
      pingP50Ms: percentile(pings, 0.5),
      pingP99Ms: percentile(pings, 0.99),
      publishP50Ms: percentile(publishMs, 0.5),
      publishP99Ms: percentile(publishMs, 0.99),
      ...figures,
      ...exactFigures(settled, neverSeen),
    };
  },
};
