/**
 * The data of the two charts: the last ten minutes of an agent's counters, and the rates and quantiles of
 * their differences. Pure; all times are by the agent's clock, never by the browser's.
 *
 * Counters of a restarted process begin at zero. A difference is only taken between two samples of one
 * process, so a restart is a gap and never a fall.
 */
import type { Sample } from '../http/shapes.ts';

/** Cumulative counts below each limit, in seconds; `count` is all of them, beyond the last limit too. */
export type Latency = Sample['latency'];

interface Point {
  readonly atMs: number;
  readonly sample: Sample;
}

export interface Rate {
  readonly fromMs: number;
  readonly toMs: number;
  readonly published: number;
  readonly unpublished: number;
}

export interface Quantiles {
  readonly atMs: number;
  readonly p50: number;
  readonly p99: number;
}

export const windowMs = 600_000;
/** The time between two samples that stay: a chart has no room for one each second. */
const stepMs = 5_000;
/** The present figures are over so many milliseconds: a shorter time has too few publications. */
const smoothMs = 10_000;
/** A longer time without a sample is a gap. */
const gapMs = 3 * stepMs;

export class History {
  readonly #points: Point[] = [];

  /** A summary is a sample. */
  add({ now, startedAt, totals: { published, unpublished }, latency: { buckets, count } }: Sample): void {
    const points = this.#points;
    const atMs = Date.parse(now);
    // The clock was set back, and a chart can only go forward in time.
    if (atMs <= (points.at(-1)?.atMs ?? 0)) points.length = 0;
    const point: Point = {
      atMs,
      sample: { now, startedAt, totals: { published, unpublished }, latency: { buckets, count } },
    };
    const [before, last] = points.slice(-2);
    // The newest sample stays once its step is over.
    const isInStep = before !== undefined && last !== undefined && last.atMs - before.atMs < stepMs;
    if (isInStep && isOneRun(before, last) && isOneRun(last, point)) points.pop();
    points.push(point);
    const first = points.findIndex((one) => one.atMs > atMs - windowMs);
    points.splice(0, first);
  }

  /** These, oldest first, and what is known from before them. */
  restore(samples: readonly Sample[]): void {
    const beginMs = Date.parse(samples[0]?.now ?? '');
    const after = this.#points.findIndex(({ atMs }) => atMs >= beginMs);
    if (after >= 0) this.#points.length = after;
    for (const sample of samples) this.add(sample);
  }

  get samples(): readonly Sample[] {
    return this.#points.map(({ sample }) => sample);
  }

  get endMs(): number {
    return this.#points.at(-1)?.atMs ?? 0;
  }

  /** Containers a second that came to be published, and that ceased to be. */
  rates(): Rate[] {
    return this.#points.flatMap((point, index) => {
      const before = this.#points[index - 1];
      if (before === undefined || !isOneRun(before, point)) return [];
      return [rateOf(before, point)];
    });
  }

  /** Over the last seconds; undefined without a second sample to compare with. */
  now(): Rate | undefined {
    const last = this.#points.at(-1);
    if (last === undefined) return undefined;
    const first = this.#points.find(
      ({ atMs, sample }) => sample.startedAt === last.sample.startedAt && last.atMs - atMs <= smoothMs,
    );
    return first === undefined || first === last ? undefined : rateOf(first, last);
  }

  /** Over the seconds before each sample; undefined if nothing was published in them. */
  quantiles(): (Quantiles | undefined)[] {
    let oldest = 0;
    return this.#points.map((point) => {
      for (;;) {
        const first = this.#points[oldest];
        if (first === undefined || first === point) return undefined;
        if (point.atMs - first.atMs <= smoothMs && first.sample.startedAt === point.sample.startedAt) {
          return quantilesOf(point.atMs, difference(point.sample.latency, first.sample.latency));
        }
        oldest++;
      }
    });
  }

  /** Over all that is drawn. */
  overall(): Quantiles | undefined {
    const last = this.#points.at(-1);
    const first = this.#points.find(({ sample }) => sample.startedAt === last?.sample.startedAt);
    if (first === undefined || last === undefined) return undefined;
    return quantilesOf(last.atMs, difference(last.sample.latency, first.sample.latency));
  }
}

function isOneRun(before: Point, after: Point): boolean {
  return before.sample.startedAt === after.sample.startedAt && after.atMs - before.atMs <= gapMs;
}

function rateOf(before: Point, after: Point): Rate {
  const seconds = (after.atMs - before.atMs) / 1000;
  const [earlier, later] = [before.sample.totals, after.sample.totals];
  return {
    fromMs: before.atMs,
    toMs: after.atMs,
    published: (later.published - earlier.published) / seconds,
    unpublished: (later.unpublished - earlier.unpublished) / seconds,
  };
}

function difference(after: Latency, before: Latency): Latency {
  return {
    count: after.count - before.count,
    buckets: after.buckets.map(([limit, count], index) => [limit, count - (before.buckets[index]?.[1] ?? 0)]),
  };
}

function quantilesOf(atMs: number, latency: Latency): Quantiles | undefined {
  if (latency.count <= 0) return undefined;
  return { atMs, p50: quantile(latency, 0.5), p99: quantile(latency, 0.99) };
}

/** As Prometheus computes it: evenly spread within a bucket; beyond the last limit, that limit. */
export function quantile({ buckets, count }: Latency, fraction: number): number {
  const rank = fraction * count;
  let [lower, below] = [0, 0];
  for (const [limit, upTo] of buckets) {
    if (upTo >= rank && upTo > below) return lower + ((limit - lower) * (rank - below)) / (upTo - below);
    [lower, below] = [limit, upTo];
  }
  return lower;
}
