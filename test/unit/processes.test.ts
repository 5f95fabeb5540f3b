/** Whether a process is the one that an engine started, and whether it still runs. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { hasEnded, startOf } from '../../src/processes.ts';

test('a process is known by its number and its start, and is gone once it has ended', async () => {
  const startedAt = Date.now() * 1e6;
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const { pid = 0 } = child;
  const ticks = startOf(pid, startedAt);
  assert.ok(ticks !== undefined);
  assert.equal(startOf(pid, startedAt + 3_600e9), undefined, 'another process has that number');
  assert.equal(startOf(pid, startedAt - 3_600e9), undefined);
  assert.equal(startOf(pid, 0), undefined);
  assert.deepEqual([hasEnded(pid, ticks), hasEnded(pid, `${Number(ticks) + 1}`)], [false, true]);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.equal(hasEnded(pid, ticks), true);
  assert.equal(startOf(pid, startedAt), undefined);
});
