/**
 * The data of the two charts: the last two minutes of an agent's counters, and the rates and quantiles of
 * their differences. Pure; all times are by the agent's clock, never by the browser's.
 *
 * Counters of a restarted process begin at zero. A difference is only taken between two samples of one
 * process, so a restart is a gap and never a fall.
 */
import type { Summary } from '../http/shapes.ts';

/** Cumulative counts below each limit, in seconds; `count` is all of them, beyond the last limit too. */
export type Latency = Pick<Summary['latency'], 'buckets' | 'count'>;

interface Sample {
  readonly atMs: number;
  readonly startedAt: string;
  readonly published: number;
  readonly unpublished: number;
  readonly latency: Latency;
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

export const windowMs = 120_000;
/** One second has too few publications for a figure: the present figures are over so many milliseconds. */
const smoothMs = 10_000;
/** A longer gap between samples means that the page was hidden. */
const gapMs = 5_000;

export class History {
  readonly #samples: Sample[] = [];

  add({ now, startedAt, totals, latency }: Summary): void {
    const atMs = Date.parse(now);
    // The clock was set back, and a chart can only go forward in time.
    if (atMs <= (this.#samples.at(-1)?.atMs ?? 0)) this.#samples.length = 0;
    const { published, unpublished } = totals;
    this.#samples.push({ atMs, startedAt, published, unpublished, latency });
    const first = this.#samples.findIndex((sample) => sample.atMs > atMs - windowMs);
    this.#samples.splice(0, first);
  }

  get endMs(): number {
    return this.#samples.at(-1)?.atMs ?? 0;
  }

  /** Containers a second that came to be published, and that ceased to be. */
  rates(): Rate[] {
    return this.#samples.flatMap((sample, index) => {
      const before = this.#samples[index - 1];
      if (before === undefined || !areOfOneRun(before, sample)) return [];
      return [rateOf(before, sample)];
    });
  }

  /** Over the last seconds; undefined without a second sample to compare with. */
  now(): Rate | undefined {
    const last = this.#samples.at(-1);
    if (last === undefined) return undefined;
    const first = this.#samples.find(
      ({ atMs, startedAt }) => startedAt === last.startedAt && last.atMs - atMs <= smoothMs,
    );
    return first === undefined || first === last ? undefined : rateOf(first, last);
  }

  /** Over the seconds before each sample; undefined if nothing was published in them. */
  quantiles(): (Quantiles | undefined)[] {
    let oldest = 0;
    return this.#samples.map((sample) => {
      for (;;) {
        const first = this.#samples[oldest];
        if (first === undefined || first === sample) return undefined;
        if (sample.atMs - first.atMs <= smoothMs && first.startedAt === sample.startedAt) {
          return quantilesOf(sample.atMs, difference(sample.latency, first.latency));
        }
        oldest++;
      }
    });
  }

  /** Over all that is drawn. */
  overall(): Quantiles | undefined {
    const last = this.#samples.at(-1);
    const first = this.#samples.find(({ startedAt }) => startedAt === last?.startedAt);
    if (first === undefined || last === undefined) return undefined;
    return quantilesOf(last.atMs, difference(last.latency, first.latency));
  }
}

function areOfOneRun(before: Sample, after: Sample): boolean {
  return before.startedAt === after.startedAt && after.atMs - before.atMs <= gapMs;
}

function rateOf(before: Sample, after: Sample): Rate {
  const seconds = (after.atMs - before.atMs) / 1000;
  return {
    fromMs: before.atMs,
    toMs: after.atMs,
    published: (after.published - before.published) / seconds,
    unpublished: (after.unpublished - before.unpublished) / seconds,
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
