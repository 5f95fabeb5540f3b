/** Waiting on a clock that is handed in, and the clock that simulations hand in. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deadline, sleep, systemClock } from '../../src/actor/clock.ts';
import { VirtualClock } from '../sim/clock.ts';

/** What a promise has come to, without waiting for it. */
function watch(work: Promise<unknown>): { outcome: unknown } {
  const watched: { outcome: unknown } = { outcome: 'pending' };
  work.then(
    (value) => {
      watched.outcome = value;
    },
    (error: unknown) => {
      watched.outcome = error;
    },
  );
  return watched;
}

describe('sleep', () => {
  test('resolves after its time and no sooner', async () => {
    const clock = new VirtualClock();
    const watched = watch(sleep(clock, 100));
    await clock.advance(99);
    assert.equal(watched.outcome, 'pending');
    await clock.advance(1);
    assert.equal(watched.outcome, undefined);
  });

  test('resolves when its signal is aborted, and leaves no timer', async () => {
    const clock = new VirtualClock();
    const abort = new AbortController();
    const watched = watch(sleep(clock, 100, abort.signal));
    abort.abort();
    await clock.settle();
    assert.equal(watched.outcome, undefined);
    assert.equal(clock.pending, 0);
  });

  test('resolves at once when its signal was aborted before', async () => {
    const clock = new VirtualClock();
    await sleep(clock, 100, AbortSignal.abort());
    assert.equal(clock.pending, 0);
  });
});

describe('deadline', () => {
  test('resolves as the work does, and leaves no timer', async () => {
    const clock = new VirtualClock();
    assert.equal(await deadline(clock, 100, Promise.resolve('work'), assert.fail), 'work');
    assert.equal(clock.pending, 0);
  });

  test('rejects as the work does, and leaves no timer', async () => {
    const clock = new VirtualClock();
    await assert.rejects(deadline(clock, 100, Promise.reject(new Error('work')), assert.fail), /work/);
    assert.equal(clock.pending, 0);
  });

  test('rejects with what it was told to once the time has passed', async () => {
    const clock = new VirtualClock();
    const watched = watch(deadline(clock, 100, new Promise(() => {}), () => 'too late'));
    await clock.advance(99);
    assert.equal(watched.outcome, 'pending');
    await clock.advance(1);
    assert.equal(watched.outcome, 'too late');
  });

  test('keeps quiet about work that fails after its time', async () => {
    const clock = new VirtualClock();
    const work = sleep(clock, 200).then(() => Promise.reject(new Error('work')));
    const watched = watch(deadline(clock, 100, work, () => 'too late'));
    await clock.advance(300);
    assert.equal(watched.outcome, 'too late');
  });
});

describe('systemClock', () => {
  test('never goes back, and draws from 0 to 1', () => {
    const before = systemClock.now();
    assert.ok(systemClock.now() >= before);
    const drawn = systemClock.random();
    assert.ok(drawn >= 0 && drawn < 1);
  });

  test('runs no action that was cancelled', () => {
    systemClock.after(0, assert.fail)();
  });
});

describe('VirtualClock', () => {
  test('runs timers in the order they are due, and those due together as they were set', async () => {
    const clock = new VirtualClock();
    const ran: string[] = [];
    for (const [name, ms] of [
      ['c', 20],
      ['a', 10],
      ['d', 20],
      ['b', 10],
    ] as const) {
      clock.after(ms, () => ran.push(`${name}${clock.now()}`));
    }
    await clock.advance(20);
    assert.deepEqual(ran, ['a10', 'b10', 'c20', 'd20']);
  });

  test('lets promises settle before the next timer runs', async () => {
    const clock = new VirtualClock();
    const ran: string[] = [];
    const after = async (name: string) => {
      await sleep(clock, 10);
      for (let n = 0; n < 50; n++) await undefined;
      ran.push(`${name} settled`);
    };
    const work = [after('first'), after('second')];
    clock.after(10, () => ran.push('timer'));
    await clock.advance(10);
    await Promise.all(work);
    assert.deepEqual(ran, ['first settled', 'second settled', 'timer']);
  });

  test('runs a timer that a timer set, if it is due in time', async () => {
    const clock = new VirtualClock();
    const ran: number[] = [];
    clock.after(10, () => clock.after(10, () => ran.push(clock.now())));
    await clock.advance(19);
    assert.deepEqual(ran, []);
    await clock.advance(1);
    assert.deepEqual(ran, [20]);
  });

  test('runs late what came due in a stall', async () => {
    const clock = new VirtualClock();
    const ran: number[] = [];
    clock.after(10, () => ran.push(clock.now()));
    clock.stall(50);
    await clock.advance(0);
    assert.deepEqual(ran, [50]);
  });

  test('stops as soon as what was waited for is so', async () => {
    const clock = new VirtualClock();
    let done = false;
    clock.after(10, () => {
      done = true;
    });
    clock.after(11, assert.fail);
    await clock.until(() => done, 100);
    assert.equal(clock.now(), 10);
    await assert.rejects(
      new VirtualClock().until(() => false, 100),
      /within 100 ms/,
    );
  });

  test('draws the same numbers from the same seed', () => {
    const draw = (seed: number) => {
      const clock = new VirtualClock(seed);
      return Array.from({ length: 5 }, () => clock.random());
    };
    assert.deepEqual(draw(3), draw(3));
    assert.notDeepEqual(draw(3), draw(4));
    assert.ok(draw(3).every((drawn) => drawn >= 0 && drawn < 1));
  });
});
