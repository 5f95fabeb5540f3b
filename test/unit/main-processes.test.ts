/** What the table of processes tells of containers, and what it costs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { State } from '../../src/lifecycle/state.ts';
import { MainProcesses } from '../../src/reconcile/main-processes.ts';
import { VirtualClock } from '../sim/clock.ts';

class Stage {
  readonly clock = new VirtualClock();
  readonly states = new Map<string, State>();
  readonly looks: number[] = [];
  readonly alive = new Map<number, string>();
  readonly processes = new MainProcesses({
    clock: this.clock,
    states: this.states,
    table: {
      startOf: (pid) => {
        this.looks.push(pid);
        return this.alive.get(pid);
      },
      hasEnded: (pid, startTicks) => this.alive.get(pid) !== startTicks,
      isFree: (pid) => !this.alive.has(pid),
    },
  });

  starts(shortId: string, pid: number, startedAt = 1, isSeen = true): void {
    const state = { kind: 'running', startedAt, runsSince: this.clock.now(), traffic: { pid } };
    this.states.set(shortId, state as unknown as State);
    if (isSeen) this.alive.set(pid, `${startedAt}`);
    this.processes.started();
  }
}

test('a short life is never looked at, and a long one once', async () => {
  const stage = new Stage();
  stage.starts('short', 1);
  stage.starts('long', 2);
  await stage.clock.advance(500);
  stage.states.delete('short');
  await stage.clock.advance(60_000);
  assert.deepEqual(stage.looks, [2]);
  assert.equal(stage.clock.pending, 0, 'at rest there is no timer');
});

test('a life has ended with its process, also where another process has the number', async () => {
  const stage = new Stage();
  for (const pid of [1, 2, 3]) stage.starts(`c${pid}`, pid);
  stage.starts('unseen', 4);
  stage.alive.delete(4);
  await stage.clock.advance(2_000);
  assert.deepEqual(stage.processes.ended(), []);
  stage.alive.delete(1);
  stage.alive.set(2, 'another');
  assert.deepEqual(stage.processes.ended(), ['c1', 'c2']);
  stage.states.delete('c1');
  assert.deepEqual(stage.processes.ended(), ['c2'], 'what is known to have gone is not told again');
});

test('a new life is noted anew', async () => {
  const stage = new Stage();
  stage.starts('c1', 1);
  await stage.clock.advance(2_000);
  stage.starts('c1', 5, 2);
  assert.deepEqual(stage.processes.ended(), []);
  await stage.clock.advance(2_000);
  stage.alive.delete(5);
  assert.deepEqual(stage.processes.ended(), ['c1']);
});

test('thousands are noted in turns', async () => {
  const stage = new Stage();
  for (let pid = 1; pid <= 1_000; pid++) stage.starts(`c${pid}`, pid);
  await stage.clock.advance(2_000);
  assert.equal(stage.looks.length, 200);
  await stage.clock.advance(8_000);
  assert.equal(stage.looks.length, 1_000);
});

test('what was not noted yet has ended if there is no such process, in a table that is surely shared', async () => {
  const stage = new Stage();
  for (const pid of [1, 2, 3]) stage.starts(`c${pid}`, pid);
  stage.alive.delete(1);
  stage.alive.set(2, 'another');
  assert.deepEqual(
    stage.processes.ended(),
    ['c1'],
    'a number that is used again proves nothing of one that was not seen',
  );
  stage.alive.delete(3);
  assert.deepEqual(stage.processes.ended(), ['c3', 'c1']);
});

test('nothing is guessed in a table of another machine', async () => {
  const stage = new Stage();
  for (const pid of [1, 2, 3]) stage.starts(`c${pid}`, pid, 1, false);
  assert.deepEqual(stage.processes.ended(), [], 'no process of a container was ever seen');
  await stage.clock.advance(2_000);
  stage.starts('alike', 4);
  stage.starts('new', 5, 1, false);
  assert.deepEqual(stage.processes.ended(), [], 'more were missed than seen');
});
