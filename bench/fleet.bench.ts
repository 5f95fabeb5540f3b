/**
 * fleet: with so many hosts on one etcd of three members, what do their start, their rest, the end of the leader, a
 * rolling restart and a crash of all of them cost, and is etcd exact for every host?
 *
 * The hosts are real agents in one process, so their CPU is a host's, but not their concurrency. Times are from the first
 * of them to the last: on a machine of their own each would be faster. What etcd spends is what a cluster would.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Settings } from './lib/bench.ts';
import type { Deviation } from './lib/exact.ts';
import { databaseBytes, type Fleet, openFleet, openReaders } from './lib/fleet.ts';
import type { Figures } from './lib/measure.ts';

/** On each host; each container has two keys. */
const standing = 20;
const keysEach = standing * 2 + 1;
const readers = 300;
const rollingAtOnce = 10;
const calmDownMs = 3_000;
/** For each host a second. */
const churned = { rate: 1, seconds: 4, lifetimeMs: 1_000, unread: 'lose' } as const;

/** Time, and CPU of etcd's members, of what is done. */
async function timed(fleet: Fleet, work: () => Promise<unknown>): Promise<{ seconds: number; etcdCpuMs: number }> {
  const [beganMs, before] = [performance.now(), fleet.etcdUsage().cpuMs];
  await work();
  return { seconds: (performance.now() - beganMs) / 1000, etcdCpuMs: fleet.etcdUsage().cpuMs - before };
}

async function measure(_subject: string, hosts: number, settings: Settings): Promise<Figures> {
  await using fleet = await openFleet(hosts, standing);
  // What three members spend on each other.
  const idle = await timed(fleet, () => sleep(calmDownMs));
  const off: Deviation[] = [];
  const settle = async () => void off.push(await fleet.settle());
  const figures = {
    ...(await startStorm(fleet, hosts, settle)),
    ...(await atRest(fleet, hosts, settings.seconds, idle.etcdCpuMs / idle.seconds)),
    ...(await underChurn(fleet, hosts, settle)),
    ...(await withoutLeader(fleet, settle)),
    ...(await restarted(fleet, hosts, settle)),
  };
  const sum = (of: keyof Deviation): number => off.reduce((total, deviation) => total + deviation[of], 0);
  const [missing, stale, wrong] = [sum('missing'), sum('stale'), sum('wrong')];
  const isExact = missing + stale + wrong + figures.noticed === 0;
  const exact = isExact ? 'yes' : `${missing} missing, ${stale} stale, ${wrong} wrong, ${figures.noticed} noticed`;
  return { ...figures, missing, stale, wrong, exact };
}

async function startStorm(fleet: Fleet, hosts: number, settle: () => Promise<void>) {
  const empty = { bytes: await databaseBytes(fleet.etcd), ...fleet.etcdUsage() };
  const storm = await timed(fleet, async () => {
    await fleet.tell(0, hosts);
    await settle();
  });
  return {
    stormSeconds: storm.seconds,
    stormEtcdCpuMsEach: storm.etcdCpuMs / hosts,
    stormTransactionsEach: (await fleet.etcd.revision()) / hosts,
    bytesEachKey: ((await databaseBytes(fleet.etcd)) - empty.bytes) / (hosts * keysEach),
    etcdMbEach: (fleet.etcdUsage().rssMb - empty.rssMb) / hosts,
    agentMbEach: fleet.agentsUsage().rssMb / hosts,
  };
}

/** Renewals and comparisons go on, the latter six times as often as by default; nothing is written. */
async function atRest(fleet: Fleet, hosts: number, seconds: number, idleEtcdCpuMs: number) {
  await sleep(calmDownMs);
  const [before, revision] = [fleet.agentsUsage().cpuMs, await fleet.etcd.revision()];
  const { etcdCpuMs } = await timed(fleet, () => sleep(seconds * 1000));
  return {
    restRevisions: (await fleet.etcd.revision()) - revision,
    restEtcdCpuMsEachMinute: ((etcdCpuMs - idleEtcdCpuMs * seconds) * 60) / seconds / hosts,
    restAgentCpuMsEachMinute: ((fleet.agentsUsage().cpuMs - before) * 60) / seconds / hosts,
  };
}

/** The same twice, with and without readers: what they cost is the difference. */
async function underChurn(fleet: Fleet, hosts: number, settle: () => Promise<void>) {
  const churn = async () => {
    await fleet.engine.churn(churned);
    await settle();
  };
  const lifecycles = churned.rate * churned.seconds * hosts;
  const alone = await timed(fleet, churn);
  await using _readers = await openReaders(fleet.etcd.endpoint, readers);
  const followed = await timed(fleet, churn);
  return {
    lifecycleEtcdCpuMs: alone.etcdCpuMs / lifecycles,
    // A service key is put and deleted.
    deliveryEtcdCpuMicros: ((followed.etcdCpuMs - alone.etcdCpuMs) * 1000) / (lifecycles * 2 * readers),
  };
}

/** How long nothing could be written, and how long after the last of the churn not all was. */
async function withoutLeader(fleet: Fleet, settle: () => Promise<void>) {
  const { engine, etcd } = fleet;
  await using recorder = await etcd.record('/discover/');
  const churning = engine.churn(churned);
  await sleep(1_000);
  const leader = await etcd.leader();
  const killedMs = performance.now();
  await etcd.kill(leader);
  await churning;
  const behind = await timed(fleet, settle);
  await etcd.restart(leader);
  await recorder.settled();
  const afterMs = recorder.changes.map(({ at }) => at).filter((at) => at > killedMs);
  return { leaderAwaySeconds: longestGap([killedMs, ...afterMs]) / 1000, leaderBehindSeconds: behind.seconds };
}

/** Ten hosts after the other in order, then all at once without warning. Readers are to notice neither. */
async function restarted(fleet: Fleet, hosts: number, settle: () => Promise<void>) {
  await using recorder = await fleet.etcd.record('/discover/');
  const rolling = await timed(fleet, async () => {
    for (let from = 0; from < hosts; from += rollingAtOnce) {
      await fleet.tell(from, Math.min(hosts, from + rollingAtOnce), true);
    }
    await settle();
  });
  await fleet.crash();
  const crash = await timed(fleet, async () => {
    await fleet.tell(0, hosts);
    await settle();
  });
  await recorder.settled();
  const noticed = recorder.changes.filter(({ key }) => !key.startsWith('/discover/owner/')).length;
  return {
    rollingSeconds: rolling.seconds,
    rollingEtcdCpuMsEach: rolling.etcdCpuMs / hosts,
    crashSeconds: crash.seconds,
    crashEtcdCpuMsEach: crash.etcdCpuMs / hosts,
    noticed,
  };
}

function longestGap(times: readonly number[]): number {
  return Math.max(0, ...times.slice(1).map((time, index) => time - (times[index] ?? time)));
}

export const fleet: Bench = {
  name: 'fleet',
  question: 'with so many hosts on one etcd, what do start, rest, churn, a lost leader and restarts cost?',
  axis: 'hosts',
  points: [300],
  seconds: 10,
  subjects: () => ['fleet'],
  named: true,
  columns:
    'stormSeconds stormEtcdCpuMsEach restRevisions restEtcdCpuMsEachMinute restAgentCpuMsEachMinute lifecycleEtcdCpuMs ' +
    'deliveryEtcdCpuMicros leaderAwaySeconds leaderBehindSeconds rollingSeconds crashSeconds bytesEachKey ' +
    'etcdMbEach agentMbEach noticed exact',
  measure,
};
