/** The production agent in virtual time, under faults drawn from seeds: see test/sim/schedule.ts. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { amount } from '../helpers/share.ts';
import { faultClasses, runSchedule } from '../sim/schedule.ts';
import { seeds } from '../sim/seeds.ts';

const schedules = amount(5, 100);

describe('The agent in a simulated schedule (simulated engine, etcd and clock)', () => {
  for (const [reason, options] of Object.entries(seeds)) {
    test(`that once found a fault keeps every promise: ${reason}`, async () => {
      assert.deepEqual((await runSchedule(options)).violations, []);
    });
  }

  for (const faultClass of faultClasses) {
    test(`keeps every promise in ${schedules} schedules of the class "${faultClass}"`, async () => {
      for (let seed = 1; seed <= schedules; seed++) {
        const { violations, steps } = await runSchedule({ seed, faultClass });
        assert.deepEqual(violations, [], `npm run sim -- --class ${faultClass} --seed ${seed}\n${steps.join('\n')}`);
      }
    });
  }

  test('tells the same story for the same seed, and another for another', async () => {
    const hashes = new Set<string>();
    const seeds = amount(1, 2);
    for (const faultClass of faultClasses) {
      for (let seed = 1; seed <= seeds; seed++) {
        const [first, second] = [await runSchedule({ seed, faultClass }), await runSchedule({ seed, faultClass })];
        assert.equal(first.hash, second.hash);
        hashes.add(first.hash);
      }
    }
    assert.equal(hashes.size, faultClasses.length * seeds);
  });
});
