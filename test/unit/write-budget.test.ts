/** How often the keys of one container may be written, and what waits for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WriteBudget } from '../../src/reconcile/write-budget.ts';

test('five writes are free, then two come back a second, for each container apart', () => {
  const budget = new WriteBudget();
  for (let n = 0; n < 5; n++) {
    assert.equal(budget.take('a', 0, 1), 0);
  }
  assert.deepEqual([budget.take('a', 0, 1), budget.take('a', 250, 1), budget.take('a', 500, 1)], [500, 250, 0]);
  assert.equal(budget.take('b', 0, 1), 0);
  budget.spend('a', 500, 1);
  assert.equal(budget.take('a', 500, 1), 1_000, 'more is taken than there is');
});

test('a publication takes its removal as well, and the last commit is enough for it', () => {
  const budget = new WriteBudget();
  const waits = [0, 0, 0, 0, 1_000, 2_000, 2_000].map((now) => budget.take('a', now, 2));
  assert.deepEqual(waits, [0, 0, 0, 1_000, 0, 0, 1_000]);
});

test('a container that is quiet is forgotten', () => {
  const budget = new WriteBudget();
  for (let n = 0; n < 1_000; n++) budget.spend(`container ${n}`, 0, 1);
  for (const now of [20_000, 40_000, 60_000]) budget.spend('another', now, 1);
  assert.ok(budget.size <= 2);
});

test('what was taken beyond the budget is not forgotten with it', () => {
  const budget = new WriteBudget();
  for (let n = 0; n < 20; n++) budget.spend('a', 0, 1);
  for (const now of [2_500, 5_000]) budget.spend('another', now, 1);
  assert.equal(budget.take('a', 5_000, 1), 3_000);
});
