/** How long a failed try waits for the next. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../../src/actor/backoff.ts';
import { VirtualClock } from '../sim/clock.ts';

class Dice extends VirtualClock {
  readonly #value: number;

  constructor(value: number) {
    super();
    this.#value = value;
  }

  override random(): number {
    return this.#value;
  }
}

function waits(random: number, count: number): number[] {
  const backoff = new Backoff(new Dice(random), 100, 1_000);
  return Array.from({ length: count }, () => backoff.next());
}

test('Backoff doubles the wait with each failure, up to its cap', () => {
  assert.deepEqual(waits(1, 6), [100, 200, 400, 800, 1_000, 1_000]);
});

test('Backoff waits at least half of that', () => {
  assert.deepEqual(waits(0, 6), [50, 100, 200, 400, 500, 500]);
});

test('Backoff spreads the waits by chance in between', () => {
  const clock = new VirtualClock(7);
  const first = Array.from({ length: 100 }, () => new Backoff(clock, 100, 1_000).next());
  assert.ok(first.every((ms) => ms >= 50 && ms < 100));
  assert.ok(Math.max(...first) - Math.min(...first) > 40);
});

test('Backoff begins anew after a reset', () => {
  const backoff = new Backoff(new Dice(1), 100, 1_000);
  backoff.next();
  backoff.next();
  backoff.reset();
  assert.equal(backoff.failures, 0);
  assert.equal(backoff.next(), 100);
});

test('Backoff counts the failures since the last success', () => {
  const backoff = new Backoff(new Dice(1), 100, 1_000);
  assert.equal(backoff.failures, 0);
  backoff.next();
  backoff.next();
  assert.equal(backoff.failures, 2);
});

test('Backoff stays at its cap after a thousand failures', () => {
  const backoff = new Backoff(new Dice(1), 100, 1_000);
  for (let n = 0; n < 1_100; n++) backoff.next();
  assert.equal(backoff.next(), 1_000);
});
