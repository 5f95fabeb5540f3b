/**
 * Loaded before a subject: says how late its event loop is, and ends it with the runner. The same for
 * all three, and none of them knows; nothing is measured until asked. Plain JavaScript, because a
 * loader of TypeScript would be measured with the subject.
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

if (isMainThread && process.channel) {
  const resolution = 10;
  const delay = monitorEventLoopDelay({ resolution });
  const ms = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - resolution); // it holds the time between two ticks
  let before;
  process.on('message', (ask) => {
    if (ask === 'begin') {
      delay.enable();
      delay.reset();
      before = performance.eventLoopUtilization();
    } else {
      const loopPercent = performance.eventLoopUtilization(before).utilization * 100;
      process.send({ loopP99Ms: ms(delay.percentile(99)), loopMaxMs: ms(delay.max), loopPercent });
    }
  });
  process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.channel.unref();
}
