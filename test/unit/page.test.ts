/** The page without a browser: what its charts are computed from, and its words. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Summary } from '../../src/http/shapes.ts';
import { History, quantile, windowMs } from '../../src/page/history.ts';
import { count, duration, foreign, latency, plural, rate, since } from '../../src/page/words.ts';

const startMs = Date.parse('2026-01-01T00:00:00Z');
const limits = [0.001, 0.01, 0.1];

interface Told {
  readonly second: number;
  readonly published?: number;
  readonly unpublished?: number;
  /** How many took no longer than each limit. */
  readonly counts?: readonly number[];
  readonly all?: number;
  readonly run?: string;
}

function told({ second, published = 0, unpublished = 0, counts = [0, 0, 0], all, run = 'first' }: Told): Summary {
  const buckets = limits.map((limit, index) => [limit, counts[index] ?? 0] as const);
  return {
    now: new Date(startMs + second * 1000).toISOString(),
    startedAt: run,
    totals: { published, unpublished },
    latency: { buckets, count: all ?? counts.at(-1) ?? 0, sumSeconds: 0 },
  } as unknown as Summary;
}

function historyOf(...all: readonly Told[]): History {
  const history = new History();
  for (const one of all) history.add(told(one));
  return history;
}

describe('History', () => {
  test('makes rates of two samples that follow each other', () => {
    const history = historyOf(
      { second: 0 },
      { second: 5, published: 15 },
      { second: 15, published: 15, unpublished: 20 },
    );
    const rates = history.rates().map(({ published, unpublished }) => [published, unpublished]);
    assert.deepEqual(rates, [
      [3, 0],
      [0, 2],
    ]);
    assert.deepEqual([history.now()?.published, history.now()?.unpublished], [0, 2]);
  });

  test('keeps a sample each five seconds, and the newest one', () => {
    const seconds = Array.from({ length: 13 }, (_, second) => ({ second, published: second }));
    const kept = historyOf(...seconds).samples.map(({ now }) => (Date.parse(now) - startMs) / 1000);
    assert.deepEqual(kept, [0, 5, 10, 12]);
  });

  test('makes none over a restart, whose counters begin anew, nor over a gap', () => {
    const history = historyOf(
      { second: 0, published: 100 },
      { second: 5, published: 2, run: 'second' },
      { second: 30, published: 9, run: 'second' },
    );
    assert.deepEqual(history.rates(), []);
    assert.equal(history.now(), undefined);
  });

  test('forgets what is older than its window, and everything when the clock is set back', () => {
    const all = Array.from({ length: 300 }, (_, step) => ({ second: 5 * step, published: step }));
    const history = historyOf(...all);
    assert.equal(history.rates().length, windowMs / 5000 - 1);
    history.add(told({ second: 10 }));
    assert.deepEqual([history.rates(), history.endMs], [[], startMs + 10_000]);
  });

  test('takes what the agent has kept, and goes on from there; what it had from before a restart stays', () => {
    const kept = [0, 5, 10].map((second) => told({ second, published: second }));
    const history = new History();
    history.restore(kept);
    history.add(told({ second: 11, published: 21 }));
    assert.deepEqual(
      history.rates().map(({ published }) => published),
      [1, 1, 11],
    );
    history.restore([told({ second: 20, run: 'second' }), told({ second: 25, published: 5, run: 'second' })]);
    assert.deepEqual(
      history.rates().map(({ published }) => published),
      [1, 1, 11, 1],
    );
    history.restore(kept);
    assert.equal(history.rates().length, 2);
  });

  test('has quantiles of what was published in the last seconds only', () => {
    const history = historyOf(
      { second: 0, counts: [1000, 1000, 1000] },
      { second: 5, counts: [1000, 1000, 1000] },
      { second: 10, counts: [1000, 1010, 1010] },
      { second: 19, counts: [1000, 1010, 1020] },
    );
    const points = history.quantiles().map((point) => point?.p50.toFixed(4));
    assert.deepEqual(points, [undefined, undefined, '0.0055', '0.0550']);
    assert.equal(history.overall()?.p50.toFixed(4), '0.0100');
  });

  test('has none where nothing was published', () => {
    const history = historyOf({ second: 0, counts: [5, 5, 5] }, { second: 5, counts: [5, 5, 5] });
    assert.deepEqual([history.quantiles(), history.overall()], [[undefined, undefined], undefined]);
  });
});

test('a quantile lies within its bucket, and beyond the last limit at that', () => {
  const buckets = [
    [0.1, 10],
    [0.2, 10],
    [0.4, 20],
  ] as const;
  const at = (fraction: number, all = 20): number => quantile({ buckets, count: all }, fraction);
  assert.deepEqual([at(0.25), at(0.5), at(1)], [0.05, 0.1, 0.4]);
  assert.ok(Math.abs(at(0.75) - 0.3) < 1e-9);
  assert.equal(at(0.99, 1000), 0.4);
});

test('text of others loses what is not seen, and its end where it has none', () => {
  assert.equal(foreign('a\u202eb\u0000c\u200bd\ud800e<b>&amp;'), 'a\ufffdb\ufffdc\ufffdd\ufffde<b>&amp;');
  assert.equal(foreign('ünï 日本 🚢'), 'ünï 日本 🚢');
  assert.equal(foreign('x'.repeat(1e6)).length, 301);
});

test('durations, latencies, rates and numbers are written for people', () => {
  const [second, minute, hour] = [1000, 60_000, 3_600_000];
  assert.deepEqual(
    [-5, 0, 59 * second, 61 * second, 10.5 * minute, 90 * minute, 50 * hour, 5_000 * 24 * hour].map(duration),
    ['0 s', '0 s', '59 s', '1 min 1 s', '10 min', '1 h 30 min', '2 d 2 h', '5,000 d'],
  );
  assert.deepEqual([0.00042, 0.0021, 0.0999, 0.99, 1, 12].map(latency), [
    '0.4 ms',
    '2.1 ms',
    '100 ms',
    '990 ms',
    '1.0 s',
    '12 s',
  ]);
  assert.deepEqual([0, 0.25, 2, 9.96, 1234.5].map(rate), ['0', '0.3', '2', '10', '1,235']);
  assert.deepEqual(
    [count(10_000), plural(1, 'host'), plural(2, 'entry', 'entries')],
    ['10,000', '1 host', '2 entries'],
  );
  assert.deepEqual(
    [since('2026-01-01T00:00:00Z', startMs + 5000), since('yesterday', startMs), since(null, startMs)],
    ['5 s', undefined, undefined],
  );
});
