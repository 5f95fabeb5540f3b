/**
 * The benchmark: `npm run bench`, or `npm run bench -- <name> [options]` for one.
 *
 * Everything is private to a subject, listens on loopback or a unix socket, and is gone after the
 * benchmark, also on Ctrl-C. Progress goes to stderr, tables to stdout. The status is 1 where discover
 * was not exact, however fast.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { typescript } from '../test/helpers/run.ts';
import { batching } from './batching.bench.ts';
import { burst } from './burst.bench.ts';
import { churn } from './churn.bench.ts';
import { client } from './client.bench.ts';
import { coldStart } from './cold-start.bench.ts';
import { crashLoops } from './crash-loops.bench.ts';
import { dns } from './dns.bench.ts';
import { endpoint } from './endpoint.bench.ts';
import { defaultContainer } from './engine/churn.ts';
import { fleet } from './fleet.bench.ts';
import { buildOf, commitOf, judged, judgePairs, measurePairs } from './guard.ts';
import { idle } from './idle.bench.ts';
import { inspect } from './inspect.bench.ts';
import { type Bench, runBench, subjectNames } from './lib/bench.ts';
import { withServiceVariables } from './lib/layout.ts';
import { type Peer, readPeer } from './lib/peer.ts';
import { describeMachine, goalsOf, inexactOf, type Report, tableOf } from './lib/report.ts';
import { isShapeName, type Shape, shapeNames, shapes } from './lib/shapes.ts';
import { peers, prepareSubjects } from './lib/subject.ts';
import { mailbox } from './mailbox.bench.ts';
import { memory } from './memory.bench.ts';
import { relay } from './relay.bench.ts';
import { shapesBench } from './shapes.bench.ts';
import { storm } from './storm.bench.ts';
import { throughput } from './throughput.bench.ts';
import { transport } from './transport.bench.ts';
import { workers } from './workers.bench.ts';

const all: readonly Bench[] = [
  churn,
  throughput,
  workers,
  batching,
  burst,
  coldStart,
  idle,
  storm,
  mailbox,
  client,
  endpoint,
  fleet,
  transport,
  inspect,
  dns,
  relay,
  crashLoops,
  shapesBench,
  memory,
];
const names = all.map(({ name }) => name).join(', ');

const help = `npm run bench [-- <name>] [-- options], by default all but those with a star

${all.map(({ name, named, question }) => `  ${(named ? `${name} *` : name).padEnd(15)}${question}`).join('\n')}
  guard *        is discover worse than that of another commit, by more than the noise? Status 1 if it is

  --seconds N       how long each measurement lasts, where that is to choose
  --points A,B      instead of the benchmark's own rates, sizes, ...; with one name
  --subjects A,B    of ${subjectNames.join(', ')}, or of the benchmark's own
  --workers N       threads of discover; its own choice unless given
  --address FROM    churn: where discover says that containers are reached, published or container
  --shape NAME      churn, cold-start: what containers, documents and events are like, one of those of shapes
  --peer COMMAND    churn, cold-start: a program of yours as a subject; bench/README.md has the placeholders
  --layout LAYOUT   the keys of the peer: discover, registrator, registrator-internal or a template KEY=VALUE
  --repeat N        measure so often; tables show the median
  --against COMMIT  guard: the commit whose program is built and compared with
  --pairs N         guard: how many pairs, from 3; 5 unless given
  --json FILE       write everything to a file
  --chart FILE.svg  draw latency over rate and throughput over workers
  --from FILE       measure nothing: read what --json has written
  --help            this text`;

/** Says what is wrong with the command line. */
function refuse(message: string): never {
  console.error(`bench: ${message}`);
  process.exit(64);
}

function check(isRight: boolean, message: string): void {
  if (!isRight) refuse(message);
}

/** The program of --peer. It becomes a subject. */
function peerOf({ layout, peer: command }: { readonly layout?: string; readonly peer?: string }): Peer | undefined {
  check((command === undefined) === (layout === undefined), '--peer needs --layout, and --layout a --peer');
  if (command === undefined || layout === undefined) return undefined;
  const peer = readPeer(command, layout, os.hostname());
  check(!subjectNames.includes(peer.name), `--peer: ${peer.name} is a subject already; call the program otherwise`);
  peers.set(peer.name, peer);
  return peer;
}

/** Of a peer's run the plain one, too, has what the peer reads. */
function shapeOf(name: string | undefined, benches: readonly Bench[], peer: Peer | undefined): Shape | undefined {
  const isKnown = name === undefined || isShapeName(name);
  check(isKnown, `--shape must be one of ${shapeNames.join(', ')}, got "${name}"`);
  const takesOne = benches.every((bench) => bench === churn || bench === coldStart);
  check(name === undefined || takesOne, '--shape is for churn and cold-start');
  const shape: Shape | undefined = isKnown && name !== undefined ? shapes[name] : undefined;
  check(shape?.checks === undefined, `--shape ${name} is one of the benchmark "shapes" alone`);
  return peer ? { ...shape, about: '', container: withServiceVariables(shape?.container ?? defaultContainer) } : shape;
}

/** Only discover can publish the containers' own addresses. */
function addressFrom(text: string | undefined, subjects: readonly string[], benches: readonly Bench[]) {
  if (text === undefined || text === 'published') return undefined;
  check(text === 'container', `--address must be published or container, got "${text}"`);
  check(
    `${subjects}` === 'discover' && benches.every((bench) => bench === churn),
    '--address container is for churn --subjects discover',
  );
  return 'container' as const;
}

function readArguments() {
  const text = { type: 'string' } as const;
  const numbers = { seconds: text, workers: text, repeat: text, pairs: text };
  const others = {
    points: text,
    subjects: text,
    address: text,
    peer: text,
    shape: text,
    layout: text,
    against: text,
    json: text,
    chart: text,
    from: text,
    help: { type: 'boolean' } as const,
  };
  const { positionals, values } = parseArgs({ options: { ...numbers, ...others }, allowPositionals: true });
  const isGuard = `${positionals}` === 'guard';
  for (const name of isGuard ? [] : positionals) check(names.split(', ').includes(name), `${name} is none of ${names}`);
  const number = (name: keyof typeof numbers, least: number): number | undefined => {
    const value = values[name] === undefined ? undefined : Number(values[name]);
    check(value === undefined || value >= least, `--${name} must be a number from ${least}, got "${values[name]}"`);
    return value;
  };
  const against = values.against === undefined ? undefined : commitOf(values.against);
  check(isGuard === (values.against !== undefined), 'guard takes --against COMMIT, and nothing else does');
  check(
    !isGuard || against !== undefined,
    `--against: "${values.against}" is no commit that is here; a shallow clone has few`,
  );
  check(isGuard || values.pairs === undefined, '--pairs is for guard');
  check(!isGuard || (values.points ?? values.subjects) === undefined, 'guard has points and subjects of its own');
  const points = values.points?.split(',').map(Number);
  check(!points?.some(Number.isNaN), `--points must be numbers, got "${values.points}"`);
  check(!points || positionals.length === 1, '--points is for one benchmark: give its name');
  const peer = peerOf(values);
  const subjects = [...(values.subjects?.split(',') ?? subjectNames), ...(peer ? [peer.name] : [])];
  const benches = all.filter(({ name, named }) => (positionals.length === 0 ? !named : positionals.includes(name)));
  const own = benches.flatMap((bench) => (points ?? bench.points).flatMap((point) => bench.subjects?.(point) ?? []));
  const known = [...new Set([...subjectNames, ...own, ...(peer ? [peer.name] : [])])];
  for (const name of subjects) check(known.includes(name), `${name} is none of ${known.join(', ')}`);
  check(
    !peer || benches.every((bench) => bench === churn || bench === coldStart),
    '--peer is for churn and cold-start',
  );
  const shape = shapeOf(values.shape, benches, peer);
  const address = addressFrom(values.address, subjects, benches);
  const [seconds, workers, repeat] = [number('seconds', 1), number('workers', 0), number('repeat', 1) ?? 1];
  const pairs = number('pairs', 3) ?? 5;
  return { ...values, address, against, shape, pairs, benches, points, subjects, seconds, workers, repeat };
}

type Arguments = ReturnType<typeof readArguments>;

/** One line that is written over on a terminal; else a line each. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`);
  else if (text !== '') process.stderr.write(`${text}\n`);
}

async function measureAll(args: Arguments): Promise<Report> {
  prepareSubjects();
  const about = describeMachine();
  if (args.benches.length > 1) {
    progress('how fast is the engine?');
    const rate = fileURLToPath(new URL('./engine/rate.ts', import.meta.url));
    about.engine = execFileSync(process.execPath, [...typescript, rate], {
      encoding: 'utf8',
    }).trim();
    progress('');
  }
  const report: Report = { about, benches: [] };
  announce(about);
  const { address, points, repeat, shape, subjects, workers } = args;
  for (const bench of args.benches) {
    const settings = { address, seconds: args.seconds ?? bench.seconds, shape, workers };
    const rows = await runBench(bench, { points, progress, repeat, settings, subjects });
    report.benches.push({ name: bench.name, rows });
    console.log(tableOf(bench, rows));
    if (bench.conclude) console.log(`${bench.conclude(rows)}\n`);
    // After each, so that what was measured is kept whatever becomes of the rest.
    if (args.json) writeFileSync(args.json, `${JSON.stringify(report, undefined, 2)}\n`);
  }
  return report;
}

function announce(about: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(about)) console.log(`${name.padEnd(9)} ${value}`);
  console.log('');
}

/** Whether this checkout's program is no worse than the commit's. */
async function guard(commit: string, { json, pairs, seconds }: Arguments): Promise<boolean> {
  prepareSubjects();
  using build = await buildOf(commit, progress);
  progress('');
  const about = { ...describeMachine(), against: `${build.subject}, built with ${build.packages}` };
  announce(about);
  const benches = await measurePairs(judged, { other: build.subject, pairs, progress, seconds });
  for (const { name, rows } of benches) {
    const bench = all.find((each) => each.name === name);
    if (bench) console.log(tableOf(bench, rows));
  }
  if (json) writeFileSync(json, `${JSON.stringify({ about, benches }, undefined, 2)}\n`);
  const { failed, text } = judgePairs(judged, benches, build.subject);
  console.log(text);
  return !failed && inexactOf(benches.flatMap(({ rows }) => rows)) === 0;
}

function readReport(file: string): Report {
  const report = JSON.parse(readFileSync(file, 'utf8')) as Report;
  for (const bench of all) {
    const rows = report.benches.find(({ name }) => name === bench.name)?.rows;
    if (rows) console.log(tableOf(bench, rows));
  }
  return report;
}

const args = (() => {
  try {
    return readArguments();
  } catch (error) {
    return refuse((error as Error).message);
  }
})();
if (args.help) {
  console.log(help);
} else if (args.against !== undefined) {
  process.exitCode = (await guard(args.against, args)) ? 0 : 1;
} else {
  const report = args.from ? readReport(args.from) : await measureAll(args);
  console.log(goalsOf(report));
  if (args.chart) writeFileSync(args.chart, (await import('./lib/chart.ts')).drawChart(report));
  process.exitCode = inexactOf(report.benches.flatMap(({ rows }) => rows)) > 0 ? 1 : 0;
}
