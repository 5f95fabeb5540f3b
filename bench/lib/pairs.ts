/**
 * Ways of doing the same thing, measured in turns: each way in a process of its own, and what one saves against another
 * as the median of the rounds.
 *
 * In turns, because on a machine that is shared the noise of a minute then falls on all of them alike.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { typescript } from '../../test/helpers/run.ts';
import { type Figures, percentile } from './measure.ts';
import type { Row } from './report.ts';

/** Student's t for 99 % on one side, by degrees of freedom from 1 on; for more than there are here the last is a little too strict. */
const t99 = [31.82, 6.965, 4.541, 3.747, 3.365, 3.143, 2.998, 2.896, 2.821, 2.764];

/** What so many pairs can say of a figure. */
export interface Verdict {
  readonly kind: 'loss' | 'gain' | 'within the noise' | 'not judged';
  /** The median of the pairs. */
  readonly ratio: number;
  /** How far the median of so many pairs may lie from the truth by chance: in 99 of 100 cases no further than this fraction. */
  readonly noise: number;
}

/** No noise seen here makes every one of three pairs worse by this: it takes no proof from their spread. */
const plainly = 1.5;

/**
 * Judges the ratios of pairs, above 1 meaning worse. A loss is a median that is worse by more than the tolerance and by more
 * than the noise, which is the pairs' own: Student's interval of the mean of their logarithms. Three pairs have so wide a one
 * that a program twice as slow could pass, so a loss is also where every pair is worse by half.
 *
 * It takes three pairs to have a spread. Nothing is judged with fewer, or where one side of a pair could not be measured.
 */
export function judge(ratios: readonly number[], tolerance: number): Verdict {
  const count = ratios.length;
  // Of an even number the middle between the two in the middle.
  const ratio =
    (percentile(ratios, 0.5) -
      percentile(
        ratios.map((each) => -each),
        0.5,
      )) /
    2;
  const logs = ratios.map(Math.log);
  if (count < 3 || !logs.every(Number.isFinite)) return { kind: 'not judged', ratio, noise: Number.NaN };
  const mean = logs.reduce((sum, log) => sum + log, 0) / count;
  const variance = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (count - 1);
  const noise = Math.exp((t99[Math.min(count - 1, t99.length) - 1] ?? 0) * Math.sqrt(variance / count)) - 1;
  const bound = 1 + Math.max(tolerance, noise);
  const each = Math.max(1 + tolerance, plainly);
  const isLoss = ratio > bound || ratios.every((pair) => pair > each);
  const isGain = ratio < 1 / bound || ratios.every((pair) => pair < 1 / each);
  return { kind: isLoss ? 'loss' : isGain ? 'gain' : 'within the noise', ratio, noise };
}

/** Runs a program of `bench/lib` with one argument, a JSON document; its only message are the figures. */
export async function measureApart(program: string, task: object): Promise<Figures> {
  const file = fileURLToPath(new URL(program, import.meta.url));
  const child = fork(file, [JSON.stringify(task)], {
    execArgv: [...typescript],
    stdio: 'inherit',
  });
  const exited = once(child, 'exit');
  const [figures] = (await Promise.race([
    once(child, 'message'),
    exited.then(([code]) => {
      throw new Error(`${program} has ended with ${code} and no figures`);
    }),
  ])) as [Figures];
  await exited;
  return figures;
}

interface Measured {
  readonly point: number;
  readonly subject: string;
}

/** A figure of one by that of the other, round by round. NaN where one of the two could not be measured. */
export function ratiosOf(
  rows: readonly Row[],
  ours: Measured,
  other: Measured,
  figure: string | ((figures: Figures) => number),
): number[] {
  // JSON writes NaN as null.
  const read = typeof figure === 'string' ? (figures: Figures) => Number(figures[figure] ?? Number.NaN) : figure;
  const of = ({ point, subject }: Measured): number[] =>
    rows.filter((row) => row.point === point && row.subject === subject).map(({ figures }) => read(figures));
  const others = of(other);
  return of(ours).map((value, round) => value / (others[round] ?? Number.NaN));
}

/** Their median, and each of them. */
export function ratiosText(ratios: readonly number[]): string {
  return `x${percentile(ratios, 0.5).toFixed(2)} (pairs ${ratios.map((ratio) => ratio.toFixed(2)).join(' ')})`;
}

/** By how much the CPU of `ours` lies below that of `other`, at each point: the median of the pairs, and each of them. */
export function savingsOf(rows: readonly Row[], ours: string, other: string, figure: string): string {
  const points = [...new Set(rows.map(({ point }) => point))];
  const lines = points.map((point) => {
    const ratios = ratiosOf(rows, { point, subject: ours }, { point, subject: other }, figure);
    const savings = ratios.map((ratio) => 100 * (1 - ratio));
    const each = savings.map((saving) => saving.toFixed(0)).join(', ');
    return `at ${point}/s ${ours} saves ${percentile(savings, 0.5).toFixed(0)} % of the CPU of ${other} (pairs: ${each})`;
  });
  return lines.join('\n');
}
