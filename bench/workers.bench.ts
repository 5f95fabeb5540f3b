/**
 * workers: what do the threads buy? The closed loop of `throughput` with 256 in flight and
 * `--workers` 0 (no thread: looks happen on the main one), 1, 2 and 4; and steady rates of documents of
 * several sizes with no thread and with one: from where on does a thread pay?
 *
 * naive and floor have no workers; they are measured once, beside 0.
 */
import { measureChurn, openWarm } from './churn.bench.ts';
import { type Bench, subjectNames } from './lib/bench.ts';
import { measureClosedLoop } from './lib/closed-loop.ts';
import { judge, ratiosOf, ratiosText } from './lib/pairs.ts';
import type { Row } from './lib/report.ts';
import { type Shape, shapes } from './lib/shapes.ts';
import { closedLoopColumns } from './throughput.bench.ts';

const warmUpSeconds = 4;
/** A smaller change of p99 is no gain. */
const tolerance = 0.05;
const sizes = { '5 KB': shapes.plain, '16 KB': shapes['16kb'], '64 KB': shapes['64kb'] } as const;

interface Load {
  readonly rate: number;
  readonly shape: Shape;
}

/** By the name that it has as a subject. */
const loads: ReadonlyMap<string, Load> = new Map(
  [50, 200, 1_000].flatMap((rate) =>
    Object.entries(sizes).map(([size, shape]): [string, Load] => [`${rate}/s of ${size}`, { rate, shape }]),
  ),
);

/** Of each load the figures with a thread by those without, as medians of the rounds, and whether the p99 gains by it. */
function conclude(rows: readonly Row[]): string {
  const ratios = (load: string, figure: string): number[] =>
    ratiosOf(rows, { point: 1, subject: load }, { point: 0, subject: load }, figure);
  const measured = [...loads.keys()].filter((load) => ratios(load, 'publishP99Ms').length > 0);
  const lines = measured.map((load) => {
    const { kind } = judge(ratios(load, 'publishP99Ms'), tolerance);
    const verdict = { gain: 'pays', loss: 'does not pay', 'within the noise': 'makes no difference beyond the noise' };
    const pays = kind === 'not judged' ? 'is not judged, for it takes three pairs' : verdict[kind];
    const [p50, p99, cpu] = ['publishP50Ms', 'publishP99Ms', 'cpuMsEach'].map((figure) =>
      ratiosText(ratios(load, figure)),
    );
    return `${load}: a thread ${pays}: p99 ${p99}, p50 ${p50}, CPU ${cpu}`;
  });
  return lines.join('\n');
}

export const workers: Bench = {
  name: 'workers',
  named: true,
  question: 'how many lifecycles a second with so many worker threads, 256 in flight; from which load on does one pay?',
  axis: 'workers',
  points: [0, 1, 2, 4],
  seconds: 3,
  rounds: 3,
  subjects: (point) => [...(point === 0 ? subjectNames : ['discover']), ...(point <= 1 ? loads.keys() : [])],
  columns: `publishP50Ms publishP99Ms ${closedLoopColumns}`,
  measure: async (subject, count, { seconds }) => {
    const load = loads.get(subject);
    if (!load) return measureClosedLoop({ subject, workers: count }, 256, seconds);
    const options = { subject: 'discover', workers: count, shape: load.shape };
    await using world = await openWarm(options, Math.min(warmUpSeconds, 2 * seconds));
    // Awaited here: the world ends with this function.
    return await measureChurn(world, load.rate, seconds);
  },
  conclude,
};
