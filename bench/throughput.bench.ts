/**
 * throughput: as fast as it goes, how many containers a second can come and go?
 *
 * A closed loop of so many containers in flight, see `lib/closed-loop.ts`.
 */
import { type Bench, type Column, exactColumn, subjectOf } from './lib/bench.ts';
import { measureClosedLoop } from './lib/closed-loop.ts';

export const closedLoopColumns: readonly Column[] = [
  { figure: 'lifecyclesPerSecond', heading: 'lifecycles/s', digits: 0, ratio: true },
  { figure: 'cpuPerLifecycleMs', heading: 'CPU ms each', digits: 3, ratio: true },
  { figure: 'etcdCpuPerLifecycleMs', heading: 'of etcd', digits: 3, ratio: true },
  { figure: 'keysPerTransaction', heading: 'keys/txn', digits: 1 },
  { figure: 'loopDelayP99Ms', heading: 'loop p99 ms', digits: 1 },
  { figure: 'engineCpuPercent', heading: 'engine CPU %', digits: 0 },
  { figure: 'recorderCpuPercent', heading: 'rec. CPU %', digits: 0 },
  { figure: 'stalled', heading: 'stalled', digits: 0 },
  exactColumn,
];

export const throughput: Bench = {
  name: 'throughput',
  question: 'how many lifecycles a second, with so many containers in flight?',
  axis: 'in flight',
  points: [16, 64, 256],
  seconds: 3,
  columns: closedLoopColumns,
  measure: (subject, inFlight, { seconds, workers }) =>
    measureClosedLoop(subjectOf(subject), inFlight, seconds, { workers }),
};
