/** What a benchmark is: one question, one axis, a measurement for each point of it and each subject. */
import { monotonicMs } from '../engine/churn.ts';
import type { AddressFrom } from './layout.ts';
import type { Figures } from './measure.ts';
import type { Row } from './report.ts';
import type { Shape } from './shapes.ts';
import type { Settled, World } from './world.ts';

export const subjectNames: readonly string[] = ['discover', 'naive', 'floor'];

export interface Settings {
  readonly seconds: number;
  /** Threads of discover; its own choice unless given. */
  readonly workers?: number | undefined;
  /** Where discover says that containers are reached. Default 'published'. */
  readonly address?: AddressFrom | undefined;
  /** Of containers, documents and events, where the benchmark has no shapes of its own. */
  readonly shape?: Shape | undefined;
}

export interface Bench {
  readonly name: string;
  readonly question: string;
  /** Heading of what varies, and its values. */
  readonly axis: string;
  readonly points: readonly number[];
  /** How long each measurement lasts, where that is to choose. */
  readonly seconds: number;
  /** Default: all three at each point. */
  readonly subjects?: (point: number) => readonly string[];
  /** All subjects at the same time, because none of them does much. */
  readonly together?: true;
  /** Asked for by its name alone: it compares discover with no other subject, and all of them together take ten minutes. */
  readonly named?: true;
  /** Figures of the table, apart by spaces; those with a star are set against the others'. */
  readonly columns: string;
  measure(subject: string, point: number, settings: Settings): Promise<Figures>;
  /** Least number of measurements of each, in turns. Default 1. */
  readonly rounds?: number;
  /** What follows from all rows, in a sentence or some. */
  conclude?(rows: readonly Row[]): string;
  /** Lets go of what is kept from one measurement to another. */
  finish?(): Promise<void>;
}

/**
 * How far off etcd is in the end. Who came and went without being seen leaves it exact: at more than a machine can
 * do, that is what has to give.
 */
export function exactFigures({ eventsLost, missing, note, stale, wrong }: Settled, neverSeen = 0): Figures {
  const off = Object.entries({ missing, stale, wrong }).filter(([, count]) => count > 0);
  const parts = off.length === 0 ? ['yes'] : off.map(([what, count]) => `${count} ${what}`);
  const exact = [...parts, ...(neverSeen > 0 ? [`${neverSeen} never seen`] : [])].join(', ');
  return { eventsLost, missing, stale, wrong, neverSeen, exact, ...(note && { note }) };
}

/** Whether etcd held in the end what it must, by what `exactFigures` says. */
export function isExact({ exact }: Figures): boolean {
  return String(exact).startsWith('yes');
}

/** Transactions as etcd shows them: changes of one revision came in one. */
export function transactionFigures(changes: Settled['changes']): Figures {
  const sizes = new Map<number, number>();
  for (const { revision } of changes) sizes.set(revision, (sizes.get(revision) ?? 0) + 1);
  const largest = [...sizes.values()].reduce((most, size) => Math.max(most, size), 0);
  return { transactions: sizes.size, keysPerTransaction: changes.length / Math.max(1, sizes.size), largest };
}

/** Until the function returned is called: CPU of everybody, of one core and for each lifecycle, and the event loop. */
export async function startMeter(world: World): Promise<(lifecycles?: number) => Promise<Figures>> {
  world.subject.begin();
  const [before, begunMs] = [await world.cpuMs(), monotonicMs()];
  return async (lifecycles) => {
    const [after, tookMs] = [await world.cpuMs(), monotonicMs() - begunMs];
    const used = after.map((ms, index) => ms - (before[index] ?? 0));
    const [cpuPercent = 0, etcdCpuPercent = 0, engineCpuPercent = 0, recorderCpuPercent = 0] = used.map(
      (ms) => (ms / tookMs) * 100,
    );
    const [own = 0, ofEtcd = 0] = used.map((ms) => ms / Math.max(1, lifecycles ?? 1));
    return {
      ...(lifecycles !== undefined && { lifecycles, cpuMsEach: own, etcdCpuMsEach: ofEtcd }),
      ...{ cpuPercent, etcdCpuPercent, engineCpuPercent, recorderCpuPercent, ...(await world.subject.loop()) },
    };
  };
}

export interface Run {
  readonly settings: Settings;
  readonly repeat: number;
  /** Instead of the benchmark's own. */
  readonly points?: readonly number[] | undefined;
  /** Of those that the benchmark offers. Where it has subjects of its own and none of them is here, all of its own. */
  readonly subjects: readonly string[];
  /** Told what is measured next. */
  progress(text: string): void;
}

/** Measures each subject at each point. Every second round goes through the subjects backwards, so that none is always the first. */
export async function runBench(bench: Bench, { points, progress, repeat, settings, subjects }: Run): Promise<Row[]> {
  const offers = (points ?? bench.points).map((point) => ({ point, offered: bench.subjects?.(point) ?? subjects }));
  const isOwn = (name: string): boolean => !subjectNames.includes(name);
  const areChosen = offers.some(({ offered }) => offered.some((name) => isOwn(name) && subjects.includes(name)));
  const plan = offers.map(({ offered, point }) => ({
    point,
    subjects: offered.filter((name) => subjects.includes(name) || (isOwn(name) && !areChosen)),
  }));
  const rounds = Math.max(repeat, bench.rounds ?? 1);
  const total = plan.reduce((sum, each) => sum + each.subjects.length, 0) * rounds;
  let begun = 0;
  const measure = async (point: number, subject: string): Promise<Row> => {
    progress(`${bench.name} ${++begun}/${total}: ${bench.axis} ${point}, ${subject}`);
    const failed = (error: unknown): Figures => ({ exact: 'failed', note: String(error) });
    const isPeer = !bench.subjects && !subjectNames.includes(subject);
    const figures = await bench.measure(subject, point, settings).catch(failed);
    return { point, subject, figures, ...(isPeer && { isPeer }) };
  };
  const rows: Row[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const { point, subjects } of plan) {
      const inTurn = round % 2 === 0 ? subjects : subjects.toReversed();
      if (bench.together) rows.push(...(await Promise.all(inTurn.map((subject) => measure(point, subject)))));
      else for (const subject of inTurn) rows.push(await measure(point, subject));
    }
  }
  await bench.finish?.();
  progress('');
  return rows;
}
