/** How often the keys of one container may be written, and what waits for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WriteBudget } from '../../src/reconcile/write-budget.ts';

test('five writes are free, then two come back a second, for each container apart', () => {
  const budget = new WriteBudget();
  for (let n = 0; n < 5; n++) {
    assert.equal(budget.waitMs('a', 0), 0);
    budget.spend('a', 0);
  }
  assert.deepEqual([budget.waitMs('a', 0), budget.waitMs('a', 250), budget.waitMs('a', 500)], [500, 250, 0]);
  assert.equal(budget.waitMs('b', 0), 0);
  budget.spend('a', 500);
  budget.spend('a', 500);
  assert.equal(budget.waitMs('a', 500), 1_000, 'a removal takes what is not there');
});

test('a container that is quiet is forgotten', () => {
  const budget = new WriteBudget();
  for (let n = 0; n < 1_000; n++) budget.spend(`container ${n}`, 0);
  budget.spend('another', 20_000);
  assert.equal(budget.size, 1);
});
