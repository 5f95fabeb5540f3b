/**
 * batching: what do large transactions buy? The closed loop of `throughput` with 256 in flight and
 * transactions of at most 1, 8, 32 and 128 operations.
 *
 * A container's own keys are never split, so a transaction holds two operations at least. discover
 * has no option for this; `lib/agent.mjs` builds it with the limit. naive puts each key by itself
 * and floor takes 128, and both stand at the first point only.
 */
import { type Bench, subjectOf } from './lib/bench.ts';
import { measureClosedLoop } from './lib/closed-loop.ts';
import { subjectNames } from './lib/subject.ts';
import { closedLoopColumns } from './throughput.bench.ts';

export const batching: Bench = {
  name: 'batching',
  question: 'how many lifecycles a second with at most so many operations in a transaction, 256 in flight?',
  axis: 'operations',
  points: [1, 8, 32, 128],
  seconds: 3,
  subjects: (index) => (index === 0 ? subjectNames : ['discover']),
  columns: [
    ...closedLoopColumns.slice(0, -1),
    { figure: 'operationsMax', heading: 'largest', digits: 0 },
    ...closedLoopColumns.slice(-1),
  ],
  measure: async (subject, operationsMax, { seconds }) => {
    const figures = await measureClosedLoop(subjectOf(subject), 256, seconds, { operationsMax });
    const exceeded = subject === 'discover' && Number(figures.operationsMax) > Math.max(2, operationsMax);
    return exceeded ? { ...figures, note: `The limit of ${operationsMax} was not kept` } : figures;
  },
};
