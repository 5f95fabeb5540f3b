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

/** By how much the CPU of `ours` lies below that of `other`, at each point: the median of the pairs, and each of them. */
export function savingsOf(rows: readonly Row[], ours: string, other: string, figure: string): string {
  const points = [...new Set(rows.map(({ point }) => point))];
  const lines = points.map((point) => {
    const of = (subject: string): number[] =>
      rows
        .filter((row) => row.point === point && row.subject === subject)
        .map(({ figures }) => Number(figures[figure]));
    const others = of(other);
    const savings = of(ours).map((value, round) => 100 * (1 - value / (others[round] ?? Number.NaN)));
    const each = savings.map((saving) => saving.toFixed(0)).join(', ');
    return `at ${point}/s ${ours} saves ${percentile(savings, 0.5).toFixed(0)} % of the CPU of ${other} (pairs: ${each})`;
  });
  return lines.join('\n');
}
