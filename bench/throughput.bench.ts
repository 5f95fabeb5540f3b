/**
 * throughput: as fast as it goes, how many containers a second can come and go?
 *
 * A closed loop of so many containers in flight, see `lib/closed-loop.ts`.
 */
import type { Bench } from './lib/bench.ts';
import { measureClosedLoop } from './lib/closed-loop.ts';

export const closedLoopColumns =
  'lifecyclesPerSecond* cpuMsEach* etcdCpuMsEach* keysPerTransaction largest loopP99Ms loopPercent ' +
  'engineCpuPercent recorderCpuPercent stalled exact';

export const throughput: Bench = {
  name: 'throughput',
  question: 'how many lifecycles a second, with so many containers in flight?',
  axis: 'in flight',
  points: [16, 64, 256],
  seconds: 3,
  columns: closedLoopColumns,
  measure: (subject, inFlight, { seconds, workers }) => measureClosedLoop({ subject, workers }, inFlight, seconds),
};
