/**
 * batching: what do large transactions buy? The closed loop of `throughput` with 256 in flight and
 * transactions of at most 1, 8, 32 and 128 operations.
 *
 * A container's own keys are never split, so a transaction holds two operations at least. discover
 * has no option for this and is started by `lib/agent.mjs`; the table shows the largest that etcd has
 * seen. naive and floor have no limit to set; they are measured once, beside 128.
 */
import { type Bench, subjectNames } from './lib/bench.ts';
import { measureClosedLoop } from './lib/closed-loop.ts';
import { closedLoopColumns } from './throughput.bench.ts';

export const batching: Bench = {
  name: 'batching',
  question: 'how many lifecycles a second with at most so many operations in a transaction, 256 in flight?',
  axis: 'operations',
  points: [128, 32, 8, 1],
  seconds: 3,
  subjects: (point) => (point === 128 ? subjectNames : ['discover']),
  columns: closedLoopColumns,
  measure: async (subject, operationsMax, { seconds }) => {
    const figures = await measureClosedLoop({ subject, operationsMax }, 256, seconds);
    const isKept = subject !== 'discover' || Number(figures.largest) <= Math.max(2, operationsMax);
    return isKept ? figures : { ...figures, note: 'the limit was not kept' };
  },
};
