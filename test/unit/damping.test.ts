/** Containers that crash again and again, and how much is remembered of them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { afterCrash, type Crashes, isOver, requiredMs } from '../../src/lifecycle/damping.ts';
import { CrashBook } from '../../src/reconcile/crash-book.ts';

const policy = { flapDeaths: 3, flapMs: 60_000 };
/** Crashes at these seconds. */
function crashes(...seconds: readonly number[]): Crashes | undefined {
  let known: Crashes | undefined;
  for (const second of seconds) known = afterCrash(known, second * 1000, policy);
  return known;
}

describe('crashes', () => {
  test('ask for ten seconds once there were as many as are allowed within the time', () => {
    assert.equal(crashes(0, 10)?.requiredMs, 0);
    assert.equal(crashes(0, 10, 59)?.requiredMs, 10_000);
    assert.equal(crashes(0, 10, 60)?.requiredMs, 0, 'the first is out of the time');
  });

  test('ask for twice as much each further time, up to five minutes', () => {
    const asked = [3, 4, 5, 6, 7, 8, 9].map((n) => crashes(...Array.from({ length: n }, (_, at) => at))?.requiredMs);
    assert.deepEqual(asked, [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
  });

  test('are forgotten once a life has lasted what was asked for, and the time more', () => {
    const known = crashes(0, 1, 2) as Crashes;
    assert.deepEqual([isOver(known, 71_999, policy), isOver(known, 72_000, policy)], [false, true]);
    assert.deepEqual([requiredMs(known, 71_999, policy), requiredMs(known, 72_000, policy)], [10_000, 0]);
    assert.equal(afterCrash(known, 72_000, policy)?.requiredMs, 0);
    assert.equal(afterCrash(known, 71_999, policy)?.requiredMs, 20_000);
    assert.equal(requiredMs(undefined, 0, policy), 0);
  });

  test('are not counted where damping is off', () => {
    for (const off of [{ flapDeaths: 0 }, { flapMs: 0 }])
      assert.equal(afterCrash(undefined, 0, { ...policy, ...off }), undefined);
  });
});

test('the book of crashes has a bound, and forgets what is over', () => {
  const book = new CrashBook();
  const one: Crashes = { times: [0], requiredMs: 0 };
  for (let n = 0; n < 20_000; n++) book.note(`container ${n}`, one, 0, policy);
  assert.equal(book.size, 10_000);
  assert.deepEqual([book.get('container 0'), book.get('container 19999')], [undefined, one]);
  book.note('later', { times: [60_000], requiredMs: 0 }, 60_000, policy);
  assert.equal(book.size, 1);
});
