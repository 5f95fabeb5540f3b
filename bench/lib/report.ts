/**
 * What was measured, as a person reads it and as JSON: where, with what, every row; a table for each
 * benchmark with discover's ratios to the others; and the goals of the project, met or missed.
 *
 * A repeated measurement stands in the table as the median of each figure, and in the JSON whole.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { requireCommand } from '../../test/helpers/run.ts';
import type { Bench, Column, Figures } from './bench.ts';
import { median } from './measure.ts';

export interface Row {
  readonly point: number;
  readonly subject: string;
  readonly figures: Figures;
}

export interface Report {
  readonly about: Readonly<Record<string, string>>;
  readonly benches: { readonly name: string; readonly question: string; readonly rows: readonly Row[] }[];
}

const root = fileURLToPath(new URL('../..', import.meta.url));

export function describeMachine(): Record<string, string> {
  const cpus = os.cpus();
  const versionOf = (name: string): string => {
    const { version } = JSON.parse(readFileSync(`${root}/${name}package.json`, 'utf8')) as { readonly version: string };
    return version;
  };
  const packages = ['undici', 'piscina', 'etcd3', 'dockerode'].map(
    (name) => `${name} ${versionOf(`node_modules/${name}/`)}`,
  );
  return {
    date: new Date().toISOString(),
    commit: said('git', ['-C', root, 'describe', '--always', '--dirty']),
    machine: `${cpus.length} x ${cpus[0]?.model ?? '?'}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${os.type()} ${os.release()}`,
    load: os.loadavg()[0]?.toFixed(2) ?? '?',
    versions: `discover ${versionOf('')}, node ${process.versions.node}, ${said(requireCommand('etcd'), ['--version'])}, ${packages.join(', ')}`,
  };
}

function said(program: string, args: readonly string[]): string {
  try {
    const output = execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return (output.split('\n')[0] ?? '').replace('etcd Version:', 'etcd');
  } catch {
    return 'unknown';
  }
}

/** The figures of a point and subject: of several measurements the median; of words, the first that is not `yes`. */
export function figuresOf(rows: readonly Row[], point: number, subject: string): Figures | undefined {
  const found = rows.filter((row) => row.point === point && row.subject === subject).map(({ figures }) => figures);
  if (found.length === 0) return undefined;
  const names = [...new Set(found.flatMap((figures) => Object.keys(figures)))];
  const entries = names.map((name): [string, number | string] => {
    const values = found.map((figures) => figures[name] ?? Number.NaN);
    const numbers = values.filter((value) => typeof value === 'number');
    if (numbers.length === values.length) return [name, median(numbers)];
    return [name, values.find((value) => typeof value === 'string' && value !== 'yes') ?? 'yes'];
  });
  return Object.fromEntries(entries);
}

export function tableOf(bench: Bench, rows: readonly Row[]): string {
  const { axis, columns, pointText = String } = bench;
  const lines: string[][] = [[axis, '', ...columns.map(({ heading }) => heading)]];
  const notes: string[] = [];
  for (const point of [...new Set(rows.map((row) => row.point))]) {
    const subjects = [...new Set(rows.filter((row) => row.point === point).map(({ subject }) => subject))];
    for (const subject of subjects) {
      const figures = figuresOf(rows, point, subject) ?? {};
      lines.push([pointText(point), subject, ...columns.map((column) => cell(figures[column.figure], column))]);
      if (figures.note) notes.push(`${axis} ${pointText(point)}, ${subject}: ${figures.note}`);
    }
    if (subjects[0] !== 'discover') continue;
    for (const other of ['naive', 'floor']) {
      const ratios = columns.map((column) => {
        const ratio = column.ratio && ratioOf(rows, point, column.figure, other);
        return ratio === undefined || Number.isNaN(ratio) ? '' : `x ${ratio.toPrecision(2).replace(/e\+\d+$/, '')}`;
      });
      if (ratios.some((text) => text !== '')) lines.push(['', `discover/${other}`, ...ratios]);
    }
  }
  const widths = (lines[0] ?? []).map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)));
  const text = lines.map((line) =>
    line
      .map((part, index) => (index === 1 ? part.padEnd(widths[index] ?? 0) : part.padStart(widths[index] ?? 0)))
      .join('  '),
  );
  return [`${bench.name}: ${bench.question}`, '', ...text.map((line) => line.trimEnd()), ...notes, ''].join('\n');
}

function cell(value: number | string | undefined, { digits = 1 }: Column): string {
  if (typeof value === 'string') return value;
  return value === undefined || Number.isNaN(value) ? '-' : value.toFixed(digits);
}

/** discover's figure by the other's; where the other does not vary with the axis, its only one. */
export function ratioOf(rows: readonly Row[], point: number, figure: string, other: string): number | undefined {
  const others = rows.filter(({ subject }) => subject === other);
  const there = figuresOf(rows, point, other) ?? figuresOf(rows, others[0]?.point ?? Number.NaN, other);
  const own = figuresOf(rows, point, 'discover')?.[figure];
  const theirs = there?.[figure];
  return typeof own === 'number' && typeof theirs === 'number' ? own / theirs : undefined;
}

/** A figure of discover, or its ratio to another's, and the bound it is held to. */
interface Goal {
  readonly what: string;
  readonly bench: string;
  readonly point: number;
  readonly figure: string;
  readonly against?: 'naive' | 'floor';
  readonly atLeast?: number;
  readonly atMost?: number;
}

const against = { naive: { against: 'naive' }, floor: { against: 'floor' } } as const;
const goals: readonly Goal[] = [
  ...[16, 64, 256].flatMap((point): Goal[] => {
    const goal = { what: 'lifecycles/s', bench: 'throughput', point, figure: 'lifecyclesPerSecond' };
    return [
      { ...goal, ...against.naive, atLeast: 10 },
      { ...goal, ...against.floor, atLeast: 0.8 },
    ];
  }),
  { what: 'publish p99', bench: 'churn', point: 500, figure: 'publishP99Ms', ...against.naive, atMost: 1 / 20 },
  { what: 'CPU each', bench: 'churn', point: 200, figure: 'cpuPerLifecycleMs', ...against.naive, atMost: 0.5 },
  { what: 'publish p99', bench: 'churn', point: 200, figure: 'publishP99Ms', ...against.floor, atMost: 1.5 },
  { what: 'publish p99', bench: 'churn', point: 1_000, figure: 'publishP99Ms', ...against.floor, atMost: 1.5 },
  { what: 'CPU each', bench: 'churn', point: 1_000, figure: 'cpuPerLifecycleMs', ...against.floor, atMost: 1.5 },
  { what: 'all visible ms', bench: 'cold-start', point: 2_000, figure: 'allVisibleMs', atMost: 1_000 },
  { what: 'memory MB', bench: 'idle', point: 1_000, figure: 'rssMb', atMost: 120 },
  { what: 'revisions', bench: 'idle', point: 1_000, figure: 'revisions', atMost: 0 },
  { what: 'CPU %', bench: 'idle', point: 1_000, figure: 'cpuPercent', atMost: 0.5 },
];

export function goalsOf({ benches }: Report): string {
  const lines = goals.flatMap(({ against: other, atLeast, atMost, bench, figure, point, what }) => {
    const rows = benches.find(({ name }) => name === bench)?.rows ?? [];
    const own = figuresOf(rows, point, 'discover')?.[figure];
    const value = other ? ratioOf(rows, point, figure, other) : own;
    if (typeof value !== 'number' || Number.isNaN(value)) return [];
    const met = atLeast !== undefined ? value >= atLeast : value <= (atMost ?? Number.NaN);
    const bound = atLeast !== undefined ? `at least ${atLeast}` : `at most ${atMost}`;
    const whose = other ? `, times that of ${other}` : '';
    return [
      `${met ? 'met   ' : 'MISSED'}  ${bench} ${point}: ${what}${whose} ${bound}: ${Number(value.toPrecision(3))}`,
    ];
  });
  const inexact = inexactOf(benches.flatMap(({ rows }) => rows));
  lines.push(
    `${inexact === 0 ? 'met   ' : 'MISSED'}  never a stale, missing or wrong key: ${inexact} measurements off`,
  );
  return ['goals', '', ...lines, ''].join('\n');
}

/** Measurements of discover after which etcd was not exact. */
export function inexactOf(rows: readonly Row[]): number {
  const off = ({ missing = 0, stale = 0, wrong = 0 }: Figures): boolean =>
    [missing, stale, wrong].some((count) => count !== 0);
  return rows.filter(({ figures, subject }) => subject === 'discover' && off(figures)).length;
}
