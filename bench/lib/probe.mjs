/**
 * Loaded before a subject: tells the runner how late its event loop is, and ends it with the runner.
 *
 * The same for discover, naive and floor, and none of them knows. Nothing is measured until asked.
 * Plain JavaScript, because a loader for TypeScript would be measured with the subject.
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

const resolution = 10;

if (isMainThread && process.channel) {
  const delay = monitorEventLoopDelay({ resolution });
  let before = performance.eventLoopUtilization();
  process.on('message', (ask) => {
    if (ask === 'begin') {
      delay.enable();
      delay.reset();
      before = performance.eventLoopUtilization();
    } else if (ask === 'read') {
      delay.disable();
      // The histogram holds the time from one tick to the next.
      const ms = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - resolution);
      const { utilization } = performance.eventLoopUtilization(before);
      process.send({ loopP99Ms: ms(delay.percentile(99)), loopMaxMs: ms(delay.max), loopPercent: utilization * 100 });
    }
  });
  process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.channel.unref();
}
