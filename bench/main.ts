/**
 * The benchmark: `npm run bench`, or `npm run bench -- <name> [options]` for one.
 *
 * Everything is private to a measurement, listens on loopback or a unix socket, and is gone after
 * it, also on Ctrl-C. Progress goes to stderr, the tables to stdout. The status is 1 when discover
 * was not exact anywhere.
 */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { batching } from './batching.bench.ts';
import { burst } from './burst.bench.ts';
import { churn } from './churn.bench.ts';
import { coldStart } from './cold-start.bench.ts';
import { idle } from './idle.bench.ts';
import type { Bench } from './lib/bench.ts';
import { describeMachine, goalsOf, inexactOf, type Report, type Row, tableOf } from './lib/report.ts';
import { prepareSubjects, type SubjectName, subjectNames } from './lib/subject.ts';
import { mailbox } from './mailbox.bench.ts';
import { storm } from './storm.bench.ts';
import { throughput } from './throughput.bench.ts';
import { workers } from './workers.bench.ts';

const all: readonly Bench[] = [churn, throughput, workers, batching, burst, coldStart, idle, storm, mailbox];

const help = `npm run bench [-- <name>] [-- options]

${all.map(({ name, question }) => `  ${name.padEnd(12)}${question}`).join('\n')}

  --seconds N       how long each measurement lasts, where that is to choose
  --points A,B      instead of the benchmark's own: rates, containers in flight, ... (with a name)
  --subjects A,B    of ${subjectNames.join(', ')}
  --workers N       threads of discover; its own choice unless given
  --repeat N        measure so often; tables show the median
  --json FILE       write everything to a file
  --chart FILE.svg  draw latency over rate and throughput over workers
  --from FILE       measure nothing, read what --json has written
  --help            this text`;

class UsageError extends Error {}

function readArguments() {
  const text = { type: 'string' } as const;
  const options = {
    ...{
      seconds: text,
      points: text,
      subjects: text,
      workers: text,
      repeat: text,
      json: text,
      chart: text,
      from: text,
    },
    help: { type: 'boolean' } as const,
  };
  const { positionals, values } = parseArgs({ options, allowPositionals: true, strict: true });
  const number = (name: 'seconds' | 'workers' | 'repeat', min: number): number | undefined => {
    const value = values[name] === undefined ? undefined : Number(values[name]);
    if (value !== undefined && !(value >= min)) throw new UsageError(`--${name} must be a number from ${min}`);
    return value;
  };
  const benches = positionals.length === 0 ? all : all.filter(({ name }) => positionals.includes(name));
  const stray = positionals.find((name) => !all.some((bench) => bench.name === name));
  if (stray !== undefined) throw new UsageError(`${stray} is none of ${all.map(({ name }) => name).join(', ')}`);
  const points = values.points?.split(',').map(Number);
  if (points?.some(Number.isNaN)) throw new UsageError(`--points must be numbers, got "${values.points}"`);
  if (points && benches.length !== 1) throw new UsageError('--points is for one benchmark: give its name');
  const subjects = values.subjects?.split(',');
  const odd = subjects?.find((subject) => !subjectNames.some((name) => name === subject));
  if (odd !== undefined) throw new UsageError(`--subjects: ${odd} is none of ${subjectNames.join(', ')}`);
  return {
    ...{ benches, points, subjects, json: values.json, chart: values.chart, from: values.from, help: values.help },
    seconds: number('seconds', 1),
    workers: number('workers', 0),
    repeat: number('repeat', 1) ?? 1,
  };
}

type Arguments = ReturnType<typeof readArguments>;

/** One line that is written over on a terminal; else a line each. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`);
  else if (text !== '') process.stderr.write(`${text}\n`);
}

async function runBench(bench: Bench, args: Arguments): Promise<Row[]> {
  const points = args.points ?? bench.points;
  const plan = Array.from({ length: args.repeat }, () =>
    points.map((point, index) => {
      const offered = bench.subjects?.(index) ?? subjectNames;
      const wanted = offered.filter((subject) => bench === mailbox || (args.subjects?.includes(subject) ?? true));
      return { point, subjects: wanted };
    }),
  ).flat();
  const total = plan.reduce((sum, { subjects }) => sum + subjects.length, 0);
  const settings = { seconds: args.seconds ?? bench.seconds, workers: args.workers };
  const rows: Row[] = [];
  const measure = async (point: number, subject: string): Promise<void> => {
    const at = `${bench.axis} ${bench.pointText?.(point) ?? point}`;
    progress(`${bench.name} ${rows.length + 1}/${total}: ${at}, ${subject}`);
    rows.push({ point, subject, figures: await bench.measure(subject, point, settings) });
  };
  for (const { point, subjects } of plan) {
    if (bench.together) await Promise.all(subjects.map((subject) => measure(point, subject)));
    else for (const subject of subjects) await measure(point, subject);
  }
  progress('');
  // Together they end in any order.
  const order = (row: Row): number => subjectNames.indexOf(row.subject as SubjectName);
  return bench.together ? rows.sort((a, b) => order(a) - order(b)) : rows;
}

/** The engine must not be what limits: how many inspects a second it answers to a raw client. */
async function engineRate(): Promise<string> {
  progress('how fast is the engine?');
  const file = fileURLToPath(new URL('./engine/rate.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', import.meta.resolve('tsx'), file]);
  return stdout.trim();
}

async function measureAll(args: Arguments): Promise<Report> {
  prepareSubjects();
  const about = describeMachine();
  if (args.benches.length > 1) about.engine = await engineRate();
  const report: Report = { about, benches: [] };
  progress('');
  for (const [name, value] of Object.entries(about)) console.log(`${name.padEnd(9)} ${value}`);
  console.log('');
  for (const bench of args.benches) {
    const rows = await runBench(bench, args);
    report.benches.push({ name: bench.name, question: bench.question, rows });
    console.log(tableOf(bench, rows));
    // After each, so that what was measured is there whatever becomes of the rest.
    if (args.json) writeFileSync(args.json, `${JSON.stringify(report, undefined, 2)}\n`);
  }
  return report;
}

try {
  const args = readArguments();
  if (args.help) {
    console.log(help);
  } else {
    const report = args.from ? (JSON.parse(readFileSync(args.from, 'utf8')) as Report) : await measureAll(args);
    if (args.from)
      for (const { name, rows } of report.benches) {
        const bench = all.find((one) => one.name === name);
        if (bench) console.log(tableOf(bench, rows));
      }
    console.log(goalsOf(report));
    if (args.chart) {
      const { drawChart } = await import('./lib/chart.ts');
      writeFileSync(args.chart, drawChart(report));
    }
    if (inexactOf(report.benches.flatMap(({ rows }) => rows)) > 0) process.exitCode = 1;
  }
} catch (error) {
  const isUsage =
    error instanceof UsageError || String((error as { code?: unknown }).code).startsWith('ERR_PARSE_ARGS');
  process.stderr.write(`\n${isUsage ? `bench: ${(error as Error).message}` : String((error as Error).stack)}\n`);
  process.exitCode = isUsage ? 64 : 70;
}
