/**
 * idle: with 1,000 containers running and nothing happening for a minute, what does it cost? What is
 * written to etcd (its revision says so), how much CPU, how much memory?
 *
 * The three run at the same time, each with an engine and an etcd of its own: none does much.
 * discover has two workers, whatever the machine, because that is what the budget is for.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bench, exactFigures } from './lib/bench.ts';
import { usageOf } from './lib/measure.ts';
import { openWorld } from './lib/world.ts';

const calmDownMs = 3_000;

export const idle: Bench = {
  name: 'idle',
  question: 'what does a minute cost in which nothing happens, with so many containers running?',
  axis: 'containers',
  points: [1_000],
  seconds: 60,
  together: true,
  columns: 'revisions requests cpuPercent etcdCpuPercent rssMb* peakMb exact',
  measure: async (subject, containers, { seconds, workers = 2 }) => {
    await using world = await openWorld({ subject, standing: containers, workers });
    const look = async () => {
      const { eventsLost, streams, ...requests } = await world.engine.counts();
      const asked = Object.values(requests).reduce((sum, count) => sum + count, 0);
      const [cpuMs = 0, etcdCpuMs = 0] = await world.cpuMs();
      return { revision: await world.etcd.revision(), asked, cpuMs, etcdCpuMs };
    };
    await sleep(calmDownMs);
    const before = await look();
    await sleep(seconds * 1000);
    const after = await look();
    return {
      revisions: after.revision - before.revision,
      requests: after.asked - before.asked,
      cpuPercent: (after.cpuMs - before.cpuMs) / seconds / 10,
      etcdCpuPercent: (after.etcdCpuMs - before.etcdCpuMs) / seconds / 10,
      ...usageOf(world.subject.pid),
      ...exactFigures(await world.settle()),
    };
  },
};
