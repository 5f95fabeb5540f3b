/** One timer for the alarms of all containers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Alarms } from '../../src/reconcile/alarms.ts';
import { VirtualClock } from '../sim/clock.ts';

test('each alarm rings at its time, unless it was moved or taken back, and all of them take one timer', async () => {
  const clock = new VirtualClock();
  const rung: string[] = [];
  const alarms = new Alarms(clock, (shortId) => rung.push(`${shortId} ${clock.now()}`));
  const start = clock.now();
  alarms.set('late', start + 300);
  alarms.set('early', start + 100);
  alarms.set('moved', start + 100);
  alarms.set('moved', start + 200);
  alarms.set('never', start + 150);
  alarms.set('never', undefined);
  assert.equal(clock.pending, 1);
  await clock.advance(1_000);
  assert.deepEqual(rung, [`early ${start + 100}`, `moved ${start + 200}`, `late ${start + 300}`]);
  alarms.set('again', clock.now() + 10);
  alarms.clear();
  await clock.advance(1_000);
  assert.equal(rung.length, 3);
  assert.equal(clock.pending, 0);
});

test('a timer that is early is set again', () => {
  let now = 0;
  const timers: (() => void)[] = [];
  const clock = {
    now: () => now,
    wall: () => 0,
    random: () => 0,
    after: (_: number, action: () => void) => {
      timers.push(action);
      return () => {};
    },
  };
  const rung: string[] = [];
  const alarms = new Alarms(clock, (shortId) => rung.push(shortId));
  alarms.set('a', 10);
  now = 9.5;
  timers.shift()?.();
  assert.deepEqual([rung, timers.length], [[], 1]);
  now = 10;
  timers.shift()?.();
  assert.deepEqual(rung, ['a']);
});
