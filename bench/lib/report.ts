/**
 * What was measured, as a person reads it and as JSON: where, with what, every row; a table for each
 * benchmark with discover's ratios to the others; the project's goals, met or missed.
 *
 * A repeated measurement stands in the table as the median of each figure, and in the JSON whole.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { requireCommand } from '../../test/helpers/run.ts';
import { type Bench, isExact } from './bench.ts';
import { type Figures, percentile } from './measure.ts';
import { ratiosOf } from './pairs.ts';

export interface Row {
  readonly point: number;
  readonly subject: string;
  readonly figures: Figures;
  /** Of another program than discover, naive and floor. */
  readonly isPeer?: true;
}

export interface Report {
  readonly about: Readonly<Record<string, string>>;
  readonly benches: { readonly name: string; readonly rows: readonly Row[] }[];
}

const root = fileURLToPath(new URL('../..', import.meta.url));

export function describeMachine(): Record<string, string> {
  const [cpu, memory] = [os.cpus()[0]?.model, Math.round(os.totalmem() / 2 ** 30)];
  const versionOf = (folder: string): string => {
    const { name, version } = JSON.parse(readFileSync(`${root}${folder}/package.json`, 'utf8')) as Record<
      string,
      string
    >;
    return `${name} ${version}`;
  };
  const packages = ['piscina', 'etcd3', 'dockerode'].map((name) => versionOf(`node_modules/${name}`));
  const etcd = firstLine(requireCommand('etcd'), '--version').replace(' Version:', '');
  return {
    date: new Date().toISOString(),
    commit: firstLine('git', '-C', root, 'describe', '--always', '--dirty'),
    machine: `${os.cpus().length} x ${cpu}, ${memory} GiB, ${os.type()} ${os.release()}`,
    load: `${os.loadavg()[0]?.toFixed(2)} before`,
    versions: [`node ${process.versions.node}`, etcd, versionOf('.'), ...packages].join(', '),
  };
}

function firstLine(program: string, ...args: readonly string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')[0] ?? '';
  } catch {
    return 'unknown';
  }
}

/** Of several measurements the median of each figure, and of words the first that is not `yes`. */
export function figuresOf(rows: readonly Row[], point: number, subject: string): Figures {
  const found = rows.filter((row) => row.point === point && row.subject === subject).map(({ figures }) => figures);
  const entries = [...new Set(found.flatMap(Object.keys))].map((name): [string, number | string] => {
    // JSON writes NaN as null.
    const values = found.map((figures) => figures[name] ?? Number.NaN);
    const words = values.filter((value) => typeof value === 'string');
    // Of several the worst: what is off, then what is not quite.
    const worst = words.find((word) => !word.startsWith('yes')) ?? words.find((word) => word !== 'yes');
    if (words.length > 0) return [name, worst ?? 'yes'];
    return [name, percentile(values.map(Number), 0.5)];
  });
  return Object.fromEntries(entries);
}

/** discover's figure by the other's; where the other does not vary with the axis, by its only one. */
function ratioOf(rows: readonly Row[], point: number, figure: string, other: string): number {
  const theirs = rows.filter(({ subject }) => subject === other);
  const at = theirs.some((row) => row.point === point) ? point : (theirs[0]?.point ?? point);
  return Number(figuresOf(rows, point, 'discover')[figure]) / Number(figuresOf(rows, at, other)[figure]);
}

export function tableOf({ axis, columns, name, question, subjects }: Bench, rows: readonly Row[]): string {
  const figures = columns.split(' ').map((column) => column.replace('*', ''));
  const isCompared = columns.split(' ').map((column) => column.endsWith('*'));
  // A heading is written downwards, a word a line, its last word at the bottom.
  const headings = ['', '', ...figures].map((figure) => figure.replace(/[A-Z]/g, ' $&').toLowerCase().split(' '));
  const height = Math.max(...headings.map((words) => words.length));
  const lines = Array.from({ length: height }, (_, line) =>
    headings.map((words) => words[line - height + words.length] ?? ''),
  );
  lines[height - 1]?.splice(0, 1, axis);
  const notes: string[] = [];
  // Where a benchmark has subjects of its own, they are no other programs.
  const programs = subjects ? ['naive', 'floor'] : [...new Set(rows.map(({ subject }) => subject))];
  const others = programs.filter((subject) => subject !== 'discover');
  for (const point of new Set(rows.map((row) => row.point))) {
    for (const subject of new Set(rows.filter((row) => row.point === point).map((row) => row.subject))) {
      const found = figuresOf(rows, point, subject);
      lines.push([String(point), subject, ...figures.map((figure) => textOf(found[figure]))]);
      if (found.note) notes.push(`${axis} ${point}, ${subject}: ${found.note}`);
    }
    for (const other of others) {
      const ratios = figures.map((figure, index) =>
        isCompared[index] ? ratioOf(rows, point, figure, other) : Number.NaN,
      );
      const texts = ratios.map((ratio) => (Number.isFinite(ratio) ? `x${textOf(ratio)}` : ''));
      if (texts.some((text) => text !== '')) lines.push(['', `/ ${other}`, ...texts]);
    }
  }
  const widths = headings.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)));
  const pad = (cell: string, index: number): string =>
    index === 1 ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0);
  const text = lines.map((line) => line.map(pad).join('  ').trimEnd());
  return [`${name}: ${question}`, '', ...text, ...notes, ''].join('\n');
}

function textOf(value: number | string | undefined): string {
  if (typeof value === 'string') return value;
  if (value === undefined || !Number.isFinite(value)) return '-';
  return value.toFixed(Number.isInteger(value) || value >= 100 ? 0 : value >= 10 ? 1 : value < 0.1 ? 3 : 2);
}

interface Goal {
  readonly bench: string;
  readonly point: number;
  readonly figure: string;
  /** The subject whose figure divides it; none: the figure itself, which no machine makes larger or smaller. */
  readonly by?: string;
  readonly atMost?: number;
  readonly atLeast?: number;
}

const goals: readonly Goal[] = [
  { bench: 'throughput', point: 64, figure: 'lifecyclesPerSecond', by: 'naive', atLeast: 10 },
  { bench: 'churn', point: 500, figure: 'publishP99Ms', by: 'naive', atMost: 1 / 20 },
  { bench: 'churn', point: 200, figure: 'cpuMsEach', by: 'naive', atMost: 0.5 },
  { bench: 'churn', point: 200, figure: 'publishP99Ms', by: 'floor', atMost: 1.5 },
  { bench: 'churn', point: 1_000, figure: 'publishP99Ms', by: 'floor', atMost: 1.5 },
  { bench: 'throughput', point: 64, figure: 'lifecyclesPerSecond', by: 'floor', atLeast: 0.8 },
  { bench: 'churn', point: 1_000, figure: 'cpuMsEach', by: 'floor', atMost: 1.5 },
  { bench: 'cold-start', point: 2_000, figure: 'allVisibleMs', by: 'floor', atMost: 1.6 },
  { bench: 'churn', point: 1_000, figure: 'neverSeen', atMost: 0 },
  { bench: 'churn', point: 2_000, figure: 'neverSeen', atMost: 0 },
  { bench: 'idle', point: 1_000, figure: 'rssMb', atMost: 120 },
  { bench: 'idle', point: 1_000, figure: 'revisions', atMost: 0 },
];

/** Times that a faster machine makes shorter: shown and not judged. */
const ofThisMachine: readonly (readonly [bench: string, point: number, figure: string])[] = [
  ['churn', 200, 'publishP99Ms'],
  ['churn', 200, 'cpuMsEach'],
  ['cold-start', 2_000, 'allVisibleMs'],
  ['idle', 1_000, 'cpuPercent'],
];

/** A ratio of single measurements says as much about the minute as about the programs. */
const pairsLeast = 3;

/** A met or missed goal, or one that could not be judged; none where it was not measured. */
function judgedGoal({ atLeast, atMost, bench, by, figure, point }: Goal, rows: readonly Row[]): string[] {
  const values =
    by === undefined
      ? [Number(figuresOf(rows, point, 'discover')[figure])]
      : ratiosOf(rows, { point, subject: 'discover' }, { point, subject: by }, figure);
  const found = values.filter((value) => !Number.isNaN(value));
  if (found.length === 0) return [];
  const value = percentile(found, 0.5);
  const isMet = value <= (atMost ?? value) && value >= (atLeast ?? value);
  const bound = atMost === undefined ? `>= ${atLeast}` : `<= ${atMost}`;
  const text = `${bench} ${point} ${figure}${by ? ` / ${by}` : ''} ${bound}: ${textOf(value)}`;
  if (by === undefined) return [`${isMet ? 'met   ' : 'MISSED'}  ${text}`];
  const pairs = found.map(textOf).join(' ');
  if (found.length < pairsLeast)
    return [`-       ${text}, not judged: it takes ${pairsLeast} pairs (--repeat ${pairsLeast}), of ${found.length}`];
  return [`${isMet ? 'met   ' : 'MISSED'}  ${text} (pairs ${pairs})`];
}

export function goalsOf({ about, benches }: Report): string {
  const rowsOf = (name: string): readonly Row[] => benches.find((bench) => bench.name === name)?.rows ?? [];
  const lines = goals.flatMap((goal) => judgedGoal(goal, rowsOf(goal.bench)));
  const inexact = inexactOf(benches.flatMap(({ rows }) => rows));
  const last = `${inexact === 0 ? 'met   ' : 'MISSED'}  no key missing, stale or wrong: ${inexact} times not so`;
  const here = ofThisMachine.flatMap(([bench, point, figure]) => {
    const value = Number(figuresOf(rowsOf(bench), point, 'discover')[figure]);
    return Number.isNaN(value) ? [] : [`here    ${bench} ${point} ${figure}: ${textOf(value)}`];
  });
  const machine = here.length === 0 ? [] : ['', `of this machine alone, ${about.machine ?? 'unknown'}`, '', ...here];
  return ['goals', '', ...lines, last, ...machine, ''].join('\n');
}

/** Measurements of discover, by whatever name, after which etcd was not exact, or that could not be made. */
export function inexactOf(rows: readonly Row[]): number {
  const isOurs = ({ isPeer, subject }: Row): boolean => !isPeer && subject !== 'naive' && subject !== 'floor';
  // Some benchmarks have no store.
  return rows.filter((row) => isOurs(row) && row.figures.exact !== undefined && !isExact(row.figures)).length;
}
