/**
 * workers: what do the threads buy? The closed loop of `throughput` with 256 in flight and
 * `--workers` 0 (no thread: looks happen on the main one), 1, 2 and 4.
 *
 * naive and floor have no workers; they are measured once, beside 0.
 */
import { type Bench, subjectNames } from './lib/bench.ts';
import { measureClosedLoop } from './lib/closed-loop.ts';
import { closedLoopColumns } from './throughput.bench.ts';

export const workers: Bench = {
  name: 'workers',
  question: 'how many lifecycles a second with so many worker threads, 256 containers in flight?',
  axis: 'workers',
  points: [0, 1, 2, 4],
  seconds: 3,
  subjects: (point) => (point === 0 ? subjectNames : ['discover']),
  columns: closedLoopColumns,
  measure: (subject, count, { seconds }) => measureClosedLoop({ subject, workers: count }, 256, seconds),
};
