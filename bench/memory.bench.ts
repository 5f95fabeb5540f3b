/**
 * memory: how much does discover hold with so many containers, of one and of three services each?
 *
 * It starts with all of them running. `peakMb` is the most it ever had, in its start; `rssMb` what it has after some seconds of rest.
 * `heldMb` is what lives after a collection in every thread, heap and buffers: the bytes of a container are its differences.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bench, exactFigures } from './lib/bench.ts';
import { usageOf } from './lib/measure.ts';
import { figuresOf, type Row } from './lib/report.ts';
import { shapes } from './lib/shapes.ts';
import { openWorld } from './lib/world.ts';

const kinds = { '1 service': shapes.plain, '3 services': shapes['services-3'] } as const;
const isKind = (name: string): name is keyof typeof kinds => name in kinds;
const calmDownMs = 3_000;

/** What each container more costs, from one number of containers to the next. */
function conclude(rows: readonly Row[]): string {
  const points = [...new Set(rows.map(({ point }) => point))];
  const lines = Object.keys(kinds).flatMap((kind) =>
    points.slice(1).map((point, index) => {
      const from = points[index] ?? 0;
      const bytesEach = (figure: string): string => {
        const [less, more] = [from, point].map((each) => Number(figuresOf(rows, each, kind)[figure]));
        return Math.round((((more ?? Number.NaN) - (less ?? Number.NaN)) * 2 ** 20) / (point - from)).toLocaleString(
          'en',
        );
      };
      return `${kind}, from ${from} to ${point} containers: ${bytesEach('heldMb')} bytes held for each, ${bytesEach('rssMb')} resident`;
    }),
  );
  return lines.join('\n');
}

export const memory: Bench = {
  name: 'memory',
  named: true,
  question: 'how much memory with so many containers, of one and of three services?',
  axis: 'containers',
  points: [100, 1_000, 10_000],
  seconds: 0,
  subjects: () => Object.keys(kinds),
  columns: 'heldMb rssMb peakMb exact',
  measure: async (kind, standing, { workers }) => {
    const shape = isKind(kind) ? kinds[kind] : undefined;
    await using world = await openWorld({ subject: 'discover', shape, standing, workers, probe: 'soak-probe.mjs' });
    await sleep(calmDownMs);
    const { peakMb, rssMb } = usageOf(world.subject.pid);
    const { bufferBytes = Number.NaN, heapBytes = Number.NaN } = await world.subject.look();
    return { heldMb: (heapBytes + bufferBytes) / 2 ** 20, rssMb, peakMb, ...exactFigures(await world.settle()) };
  },
  conclude,
};
