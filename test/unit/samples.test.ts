/** The samples for the charts of the page, by a clock of the test's. */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import type { Agent } from '../../src/agent.ts';
import { Samples, sampleEveryMs, samplesMax } from '../../src/http/samples.ts';
import { Histogram } from '../../src/metrics.ts';

test('the last ten minutes are kept, over a reload, and no more', (context) => {
  mock.timers.enable({ apis: ['setInterval', 'Date'] });
  context.after(() => mock.timers.reset());
  const agentOf = (startedAt: number) => {
    const metrics = { published: 0, unpublished: 0, publishSeconds: new Histogram([0.1, 1]) };
    return { metrics, startedAt };
  };
  const samples = new Samples();
  const [first, second] = [agentOf(0), agentOf(1)];
  const stop = samples.follow(first as unknown as Agent);
  first.metrics.published = 3;
  first.metrics.publishSeconds.observe(0.5);
  mock.timers.tick(sampleEveryMs);
  stop();
  mock.timers.tick(10 * sampleEveryMs);
  const stopSecond = samples.follow(second as unknown as Agent);
  assert.deepEqual(
    samples.all.map(({ totals, latency }) => [totals.published, latency.count]),
    [
      [0, 0],
      [3, 1],
      [0, 0],
    ],
  );
  assert.deepEqual(samples.all[1]?.latency.buckets, [
    [0.1, 0],
    [1, 1],
  ]);
  assert.equal(new Set(samples.all.map(({ startedAt }) => startedAt)).size, 2);
  for (let step = 0; step < 2 * samplesMax; step++) mock.timers.tick(sampleEveryMs);
  assert.equal(samples.all.length, samplesMax);
  assert.equal(Date.parse(samples.all.at(-1)?.now ?? '') - Date.parse(samples.all[0]?.now ?? ''), 595_000);
  stopSecond();
});
