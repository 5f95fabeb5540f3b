/**
 * Everything that is counted, at zero from the start, so that absence never looks like silence.
 * Plain numbers on one object: who counts adds one, who reports reads.
 */

export interface Metrics {
  /** Container and network events that asked for something. */
  events: number;
  /** Event streams opened. */
  streams: number;
  /** Complete lists taken in. */
  lists: number;
  /** Containers inspected, and how many of those looks failed. */
  looks: number;
  looksFailed: number;
  /** Tasks given to the pool. */
  tasks: number;
  /** Entries of advertisements that were not published. */
  refusals: number;
  /** Transactions committed, and the puts and deletes in them. */
  transactions: number;
  operations: number;
  /** Claims of the owner key: one at the start, one after each doubt. */
  claims: number;
  /** Containers whose changes etcd refuses. */
  parked: number;
}

export function createMetrics(): Metrics {
  return {
    events: 0,
    streams: 0,
    lists: 0,
    looks: 0,
    looksFailed: 0,
    tasks: 0,
    refusals: 0,
    transactions: 0,
    operations: 0,
    claims: 0,
    parked: 0,
  };
}
