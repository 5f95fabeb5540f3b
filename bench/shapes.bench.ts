/**
 * shapes: what do containers, documents and events cost that are not the plain ones?
 *
 * Each shape is measured as in `churn` at 200 starts a second, in a life of its own and in turns with the plain one. At 0 starts
 * nothing happens but the health checks of 500 containers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { measureChurn, openWarm } from './churn.bench.ts';
import { type Bench, exactFigures } from './lib/bench.ts';
import type { Figures } from './lib/measure.ts';
import { ratiosOf, ratiosText } from './lib/pairs.ts';
import { figuresOf, type Row } from './lib/report.ts';
import {
  checkedContainer,
  checkedContainers,
  emitChecks,
  isShapeName,
  type Shape,
  shapeNames,
  shapes,
} from './lib/shapes.ts';
import { openWorld, type World } from './lib/world.ts';

const warmUpSeconds = 6;
const calmDownMs = 5_000;
/** CPU comes in ticks of 10 ms. */
const leastAtRestSeconds = 20;

/** Does something while the checks of the shape go on, if it has any. */
async function beside<Value>(world: World, ids: readonly string[], work: () => Promise<Value>): Promise<Value> {
  const { checks } = world.shape;
  if (!checks) return work();
  const over = new AbortController();
  const emitting = emitChecks(world.engine, ids, checks, ids.length * checks.length, over.signal);
  try {
    return await work();
  } finally {
    over.abort();
    await emitting;
  }
}

/** Containers that stay: where nothing starts as many as those that are checked, with or without checks. */
function standingOf({ checks, container }: Shape, rate: number) {
  const isMany = checks !== undefined || rate === 0;
  return { standing: isMany ? checkedContainers : 20, standingContainer: isMany ? checkedContainer : container };
}

async function atRest(world: World, seconds: number): Promise<Figures> {
  await sleep(calmDownMs);
  const before = await world.engine.counts();
  const [ownBefore = 0] = await world.cpuMs();
  await sleep(seconds * 1000);
  const [own = 0] = await world.cpuMs();
  const { inspect } = await world.engine.counts();
  return { cpuPercent: (own - ownBefore) / seconds / 10, inspections: inspect - before.inspect };
}

async function measure(name: string, rate: number, seconds: number): Promise<Figures> {
  const shape: Shape = isShapeName(name) ? shapes[name] : shapes.plain;
  const options = { subject: 'discover', shape, ...standingOf(shape, rate) } as const;
  await using world = await (rate === 0 ? openWorld(options) : openWarm(options, Math.min(warmUpSeconds, 2 * seconds)));
  const ids = (await world.engine.snapshot()).map(({ id }) => id);
  // Awaited here: the world ends with this function.
  if (rate > 0) return await beside(world, ids, () => measureChurn(world, rate, seconds));
  const figures = await beside(world, ids, () => atRest(world, Math.max(seconds, leastAtRestSeconds)));
  return { ...figures, ...exactFigures(await world.settle()) };
}

/** Each shape by the plain one of the same round. */
function conclude(rows: readonly Row[]): string {
  const rest = [...new Set(rows.filter(({ point }) => point === 0).map(({ subject }) => subject))].map((name) => {
    const percent = Number(figuresOf(rows, 0, name).cpuPercent).toFixed(2);
    return `at rest, ${checkedContainers} containers, ${name}: ${percent} % of a core`;
  });
  const points = [...new Set(rows.map(({ point }) => point))].filter((point) => point > 0);
  const lines = points.flatMap((point) =>
    shapeNames.flatMap((name) => {
      const ratios = ratiosOf(rows, { point, subject: name }, { point, subject: 'plain' }, 'cpuMsEach');
      return name === 'plain' || ratios.length === 0
        ? []
        : [`at ${point}/s ${name} costs ${ratiosText(ratios)}: ${shapes[name].about}`];
    }),
  );
  return [...rest, ...lines].join('\n');
}

export const shapesBench: Bench = {
  name: 'shapes',
  named: true,
  question: 'what do shapes of containers, documents and events cost, at so many starts a second?',
  axis: 'starts/s',
  points: [0, 200],
  seconds: 4,
  rounds: 3,
  subjects: (point) =>
    point > 0 ? shapeNames : shapeNames.filter((name) => name === 'plain' || name.startsWith('checks')),
  columns:
    'publishP50Ms publishP99Ms unpublishP50Ms unpublishP99Ms cpuMsEach etcdCpuMsEach cpuPercent inspections peakMb eventsLost exact',
  measure: (name, rate, { seconds }) => measure(name, rate, seconds),
  conclude,
};
