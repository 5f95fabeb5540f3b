/**
 * guard: is this checkout's program slower, hungrier or larger than that of another commit?
 *
 * The other commit is built in a directory of its own, which is removed in any case. Both are measured in pairs, in turn, each pair
 * with new processes and stores; `judge` in `lib/pairs.ts` says what is a loss. A figure that could not be judged fails the guard as
 * well as a loss does, and so does a store that was not exact.
 *
 * CPU is judged as it is. Beside it stands the CPU by that which etcd used in the same measurement: a disturbance of the machine
 * falls on both, but so does a change of how discover writes, so that it explains and does not judge.
 */
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { abandoned, atExit, cleanEnvironment, exitOf, scratchDirectory } from '../test/helpers/run.ts';
import { churn } from './churn.bench.ts';
import { coldStart } from './cold-start.bench.ts';
import { type Bench, runBench } from './lib/bench.ts';
import type { Figures } from './lib/measure.ts';
import { judge, ratiosOf } from './lib/pairs.ts';
import type { Report, Row } from './lib/report.ts';
import { builds } from './lib/subject.ts';
import { throughput } from './throughput.bench.ts';

/** Worse by less than this is no loss, however quiet the machine. */
export const tolerance = 0.05;

export interface Judged {
  readonly bench: Bench;
  readonly point: number;
  readonly name: string;
  /** More is worse. */
  readonly cost: (figures: Figures) => number;
  /** It explains another figure. */
  readonly isAside?: true;
}

const figure = (name: string) => (figures: Figures) => Number(figures[name]);
const byEtcds = (figures: Figures): number => Number(figures.cpuMsEach) / Number(figures.etcdCpuMsEach);

export const judged: readonly Judged[] = [
  { bench: churn, point: 200, name: 'publish p50 at 200/s', cost: figure('publishP50Ms') },
  { bench: churn, point: 200, name: 'publish p99 at 200/s', cost: figure('publishP99Ms') },
  { bench: churn, point: 200, name: 'CPU of a lifecycle at 200/s', cost: figure('cpuMsEach') },
  { bench: churn, point: 200, name: "CPU at 200/s by etcd's", cost: byEtcds, isAside: true },
  { bench: churn, point: 200, name: 'peak memory at 200/s', cost: figure('peakMb') },
  { bench: churn, point: 1_000, name: 'CPU of a lifecycle at 1,000/s', cost: figure('cpuMsEach') },
  { bench: churn, point: 1_000, name: "CPU at 1,000/s by etcd's", cost: byEtcds, isAside: true },
  {
    bench: throughput,
    point: 64,
    name: 'time of a lifecycle, 64 in flight',
    cost: (figures) => 1_000 / Number(figures.lifecyclesPerSecond),
  },
  { bench: coldStart, point: 2_000, name: 'cold start of 2,000', cost: figure('allVisibleMs') },
];

export interface GuardOptions {
  /** The name of the other build as a subject. */
  readonly other: string;
  readonly pairs: number;
  readonly seconds?: number | undefined;
  progress(text: string): void;
}

export async function measurePairs(
  figures: readonly Judged[],
  { other, pairs, progress, seconds }: GuardOptions,
): Promise<Report['benches']> {
  const benches = [...new Set(figures.map(({ bench }) => bench))].map((bench) => ({ bench, rows: [] as Row[] }));
  for (let pair = 0; pair < pairs; pair++) {
    const subjects = pair % 2 === 0 ? ['discover', other] : [other, 'discover'];
    for (const { bench, rows } of benches) {
      const points = [...new Set(figures.filter((each) => each.bench === bench).map(({ point }) => point))];
      const settings = { seconds: seconds ?? bench.seconds };
      const inPair = (text: string): void => progress(text && `pair ${pair + 1}/${pairs}, ${text}`);
      rows.push(...(await runBench(bench, { points, subjects, settings, repeat: 1, progress: inPair })));
    }
  }
  return benches.map(({ bench, rows }) => ({ name: bench.name, rows }));
}

/** A line for each figure, and whether one is worse or could not be judged. */
export function judgePairs(
  figures: readonly Judged[],
  benches: Report['benches'],
  other: string,
  atLeast = tolerance,
): { readonly text: string; readonly failed: boolean } {
  let failed = false;
  const lines = figures.map(({ bench, cost, isAside, name, point }) => {
    const rows = benches.find((each) => each.name === bench.name)?.rows ?? [];
    const ratios = ratiosOf(rows, { point, subject: 'discover' }, { point, subject: other }, cost);
    const { kind, noise, ratio } = judge(ratios, atLeast);
    if (!isAside && (kind === 'loss' || kind === 'not judged')) failed = true;
    const said = isAside ? `(${kind})` : kind === 'loss' ? 'LOSS' : kind;
    const each = ratios.map((value) => value.toFixed(2)).join(' ');
    return `${said.padEnd(18)}  ${name.padEnd(36)}x${ratio.toFixed(2)}  noise ${(100 * noise).toFixed(0)} %  pairs ${each}`;
  });
  const head = `guard: discover by ${other}; above x1 is worse, a loss is worse by more than ${100 * atLeast} % and than the noise`;
  return { text: [head, '', ...lines, ''].join('\n'), failed };
}

const root = fileURLToPath(new URL('..', import.meta.url));

/** In a process group of its own, which goes with this process. Rejects with what the program has said. */
async function run(program: string, args: readonly string[], cwd: string): Promise<void> {
  const child = spawn(program, args, {
    cwd,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: cleanEnvironment(),
  });
  const forget = atExit(() => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL'));
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
  try {
    const { code, signal } = await exitOf(child);
    if (code !== 0)
      throw new Error(`${program} ${args.join(' ')} has ended with ${code ?? signal}\n${said.slice(-2_000)}`);
  } finally {
    forget();
  }
}

/** The full name of a commit of this checkout's repository; undefined where it is none. */
export function commitOf(name: string): string | undefined {
  try {
    const args = ['-C', root, 'rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`];
    return execFileSync('git', args, { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}

export interface Build extends Disposable {
  readonly subject: string;
  /** Whose packages it has been built and runs with. */
  readonly packages: string;
}

/** Builds a commit and makes it a subject. From an archive: a work tree would stay registered in the repository after a kill. */
export async function buildOf(commit: string, progress: (text: string) => void): Promise<Build> {
  for (const left of abandoned('guard', os.tmpdir())) rmSync(left, { recursive: true, force: true });
  const directory = scratchDirectory('guard', os.tmpdir());
  const erase = (): void => rmSync(directory, { recursive: true, force: true });
  const forget = atExit(erase);
  const inBuild = (file: string): string => path.join(directory, file);
  const subject = commit.slice(0, 9);
  try {
    await run('git', ['-C', root, 'archive', '--output', inBuild('source.tar'), commit], directory);
    await run('tar', ['-xf', 'source.tar'], directory);
    const isSame = readFileSync(inBuild('package-lock.json')).equals(
      readFileSync(path.join(root, 'package-lock.json')),
    );
    const packages = isSame ? "this checkout's packages" : 'packages of its own: its lock file is another';
    progress(`building ${subject} with ${packages}`);
    if (isSame) symlinkSync(path.join(root, 'node_modules'), inBuild('node_modules'));
    else await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], directory);
    await run('npm', ['run', '--silent', 'build'], directory);
    builds.set(subject, inBuild('dist/cli.js'));
    const dispose = (): void => {
      erase();
      forget();
    };
    return { subject, packages, [Symbol.dispose]: dispose };
  } catch (error) {
    erase();
    forget();
    throw error;
  }
}
