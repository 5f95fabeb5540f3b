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

export interface Row {
  readonly point: number;
  readonly subject: string;
  readonly figures: Figures;
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

export function tableOf({ axis, columns, name, question }: Bench, rows: readonly Row[]): string {
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
  const others = [...new Set(rows.map(({ subject }) => subject))].filter((subject) => subject !== 'discover');
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

/** Benchmark, point, figure, the subject whose figure divides it (none: the figure itself), and the bound. */
const goals: readonly (readonly [string, number, string, string, '<=' | '>=', number])[] = [
  ['throughput', 64, 'lifecyclesPerSecond', 'naive', '>=', 10],
  ['churn', 500, 'publishP99Ms', 'naive', '<=', 1 / 20],
  ['churn', 200, 'cpuMsEach', 'naive', '<=', 0.5],
  ['churn', 200, 'publishP99Ms', 'floor', '<=', 1.5],
  ['churn', 1_000, 'publishP99Ms', 'floor', '<=', 1.5],
  ['throughput', 64, 'lifecyclesPerSecond', 'floor', '>=', 0.8],
  ['churn', 1_000, 'cpuMsEach', 'floor', '<=', 1.5],
  ['churn', 1_000, 'neverSeen', '', '<=', 0],
  ['churn', 2_000, 'neverSeen', '', '<=', 0],
  ['cold-start', 2_000, 'allVisibleMs', '', '<=', 1_000],
  ['idle', 1_000, 'rssMb', '', '<=', 120],
  ['idle', 1_000, 'revisions', '', '<=', 0],
  ['idle', 1_000, 'cpuPercent', '', '<=', 0.5],
];

export function goalsOf({ benches }: Report): string {
  const lines = goals.flatMap(([name, point, figure, other, sign, bound]) => {
    const rows = benches.find((bench) => bench.name === name)?.rows ?? [];
    const value = other ? ratioOf(rows, point, figure, other) : Number(figuresOf(rows, point, 'discover')[figure]);
    if (Number.isNaN(value)) return [];
    const isMet = sign === '<=' ? value <= bound : value >= bound;
    const what = `${name} ${point} ${figure}${other && ` / ${other}`}`;
    return [`${isMet ? 'met   ' : 'MISSED'}  ${what} ${sign} ${bound}: ${textOf(value)}`];
  });
  const inexact = inexactOf(benches.flatMap(({ rows }) => rows));
  const last = `${inexact === 0 ? 'met   ' : 'MISSED'}  no key missing, stale or wrong: ${inexact} times not so`;
  return ['goals', '', ...lines, last, ''].join('\n');
}

/** Measurements of discover after which etcd was not exact, or that could not be made. */
export function inexactOf(rows: readonly Row[]): number {
  return rows.filter(({ figures, subject }) => subject === 'discover' && !isExact(figures)).length;
}
