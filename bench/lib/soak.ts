/**
 * What a soak goes by: what a long-running discover holds, looked at again and again, and whether it grows.
 *
 * The median of the last third of all looks is set against that of the first third, so a single odd look says
 * nothing and a warm-up is over in both. Memory may differ by a fraction; what is counted should not differ, but
 * for the connections to the engine: each thread opens them as they are needed, 32 at the most, and closes idle ones.
 */
import { percentile } from './measure.ts';

/** One look, taken while nothing happens. */
export interface Look {
  readonly seconds: number;
  /** Told by the engine until now. */
  readonly events: number;
  /** After a collection, all threads together. */
  readonly heapMb: number;
  readonly buffersMb: number;
  readonly rssMb: number;
  /** Of pool threads to the engine; in none of the figures below. */
  readonly connections: number;
  readonly descriptors: number;
  readonly timers: number;
  readonly handles: number;
  readonly listeners: number;
  /** Keys missing, stale or wrong in etcd. */
  readonly off: number;
}

export const judged = ['heapMb', 'buffersMb', 'connections', 'descriptors', 'timers', 'handles', 'listeners'] as const;
export type Judged = (typeof judged)[number];

/** How much more the last third may have: the fraction of the first, and so many beside. Memory of the process is
 * shown and not judged: how much of it an allocator keeps is not the program's doing. */
const allowed: Readonly<Record<Judged, readonly [fraction: number, more: number]>> = {
  heapMb: [0.05, 0],
  // Each connection has one of 32 KiB.
  buffersMb: [0.05, 1],
  connections: [0, 32],
  descriptors: [0, 2],
  timers: [0, 2],
  handles: [0, 2],
  listeners: [0, 4],
};

export interface Verdict {
  readonly what: Judged;
  readonly first: number;
  readonly last: number;
  readonly grows: boolean;
}

/** Of at least three looks; of fewer nothing can be said, and everything grows. */
export function verdictsOf(looks: readonly Look[]): Verdict[] {
  const third = Math.floor(looks.length / 3);
  const median = (what: Judged, part: readonly Look[]): number =>
    percentile(
      part.map((look) => look[what]),
      0.5,
    );
  return judged.map((what) => {
    const first = median(what, looks.slice(0, third));
    const last = median(what, looks.slice(looks.length - third));
    const [fraction, more] = allowed[what];
    return { what, first, last, grows: !(last <= first * (1 + fraction) + more) };
  });
}

const columns = ['seconds', 'events', 'rssMb', ...judged, 'off'] as const;
const digits = (what: string, value: number): string => value.toFixed(what.endsWith('Mb') ? 2 : 0);

export const heading = columns.map((name) => name.padStart(11)).join(' ');

export function rowOf(look: Look): string {
  return columns.map((name) => digits(name, look[name]).padStart(11)).join(' ');
}

export function sayVerdicts(verdicts: readonly Verdict[]): string {
  return verdicts
    .map(({ what, first, last, grows }) => {
      const [from, to] = [first, last].map((value) => digits(what, value));
      return `${what.padEnd(12)} ${`${from} -> ${to}`.padEnd(18)} ${grows ? 'grows' : 'flat'}`;
    })
    .join('\n');
}
