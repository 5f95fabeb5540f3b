/**
 * idle: with 1,000 containers running and nothing happening for a minute, what does it cost? What is
 * written to etcd (its revision says so), how much CPU, how much memory?
 *
 * The three run at the same time, each with an engine and an etcd of its own: none does much.
 * discover with `--workers 2`, whatever the machine, because that is what the budget is for.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bench, exactColumn, exactFigures, subjectOf, withCpu } from './lib/bench.ts';
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
  columns: [
    { figure: 'revisions', heading: 'revisions', digits: 0 },
    { figure: 'requests', heading: 'requests', digits: 0 },
    { figure: 'cpuPercent', heading: 'CPU %', digits: 2 },
    { figure: 'etcdCpuPercent', heading: 'of etcd', digits: 2 },
    { figure: 'rssMb', heading: 'MB', digits: 0, ratio: true },
    { figure: 'peakMb', heading: 'peak', digits: 0 },
    exactColumn,
  ],
  measure: async (subject, containers, { seconds, workers = 2 }) => {
    await using world = await openWorld({ subject: subjectOf(subject), standing: containers, workers });
    await sleep(calmDownMs);
    const requests = async (): Promise<number> => {
      const { events, inspect, list, ping, version } = await world.engine.counts();
      return events + inspect + list + ping + version;
    };
    const [revision, asked] = [await world.etcd.revision(), await requests()];
    const { figures } = await withCpu(world, () => sleep(seconds * 1000));
    const { peakMb, rssMb } = usageOf(world.subject.pid);
    return {
      revisions: (await world.etcd.revision()) - revision,
      requests: (await requests()) - asked,
      ...figures(),
      rssMb,
      peakMb,
      ...exactFigures(await world.settle()),
    };
  },
};
