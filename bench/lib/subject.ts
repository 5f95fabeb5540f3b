/**
 * What is measured: discover, naive, floor or another build of discover, each a process of its own and started the same way.
 *
 * discover runs as built (dist/cli.js) and with its defaults; the other two are compiled first, so
 * that no loader of TypeScript is measured with them. What they log is written to nowhere, unless the
 * benchmark asks for it.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { atExit, cleanEnvironment, exitOf, typescript } from '../../test/helpers/run.ts';
import { monotonicMs } from '../engine/churn.ts';
import type { AddressFrom } from './exact.ts';
import type { Figures } from './measure.ts';

/** Who the host is, to all three. */
export const host = { id: 'h1', ip: '10.0.0.5' };

export interface SubjectOptions {
  readonly subject: string;
  readonly workers?: number | undefined;
  /** What is loaded before it; default `probe.mjs`. */
  readonly probe?: 'soak-probe.mjs';
  /** What discover serves over HTTP, its endpoint or the relay, at the socket that `httpSocketBeside` names. */
  readonly serves?: 'listen' | 'relay' | undefined;
  /** Where discover says that containers are reached. Default 'published'. */
  readonly address?: AddressFrom | undefined;
  /** Called with each line of what it logs; else that goes to nowhere. */
  readonly onLine?: (line: string) => void;
  /** Operations of a transaction of discover, at most. */
  readonly operationsMax?: number;
}

export interface Subject extends AsyncDisposable {
  readonly pid: number;
  readonly spawnedMs: number;
  /** None is to end by itself. */
  readonly ended: boolean;
  /** Begins to watch the event loop of the main thread; `loop` says how late it has been since. */
  begin(): void;
  loop(): Promise<Figures>;
  /** What it holds once garbage is collected; with the probe of a soak. */
  look(): Promise<Readonly<Record<string, number>>>;
}

/** Other builds of discover by the names that they have as subjects: the path of their `cli.js`. */
export const builds = new Map<string, string>();

const inBench = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));
const cli = inBench('../dist/cli.js');
/** Inside the package, so that its dependencies are found from there. */
const compiled = inBench('../node_modules/.cache/discover-bench');

/** Compiles what is not discover; once for each run of the runner. */
export function prepareSubjects(): void {
  if (!existsSync(cli)) throw new Error('discover is not built: npm run build');
  const flags = '--ignoreConfig --noCheck --module nodenext --target es2022 --types node --skipLibCheck'.split(' ');
  const places = ['--rewriteRelativeImportExtensions', '--rootDir', inBench('.'), '--outDir', compiled];
  const files = [inBench('floor.ts'), inBench('naive.ts')];
  const tsc = inBench('../node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, ...files, ...flags, ...places], { stdio: 'inherit' });
}

/** In the directory of the engine's socket, which goes with the engine. */
export function httpSocketBeside(engineSocket: string): string {
  return path.join(path.dirname(engineSocket), 'discover.sock');
}

function commandOf(
  { address, operationsMax, serves, subject, workers }: SubjectOptions,
  place: readonly string[],
): string[] {
  const program = subject === 'discover' ? cli : builds.get(subject);
  if (program === undefined) return [path.join(compiled, `${subject}.js`), ...place];
  if (operationsMax !== undefined) return [...typescript, inBench('lib/agent.mjs'), ...place, String(operationsMax)];
  const names = ['--docker:socketPath', '--etcd:endpoints', '--host:id', '--host:ip'];
  const threads = workers === undefined ? [] : ['--workers', String(workers)];
  const endpoint = serves === undefined ? [] : [`--http:${serves}`, httpSocketBeside(place[0] ?? '')];
  const from = address === undefined ? [] : ['--address:from', address];
  return [program, ...names.flatMap((name, index) => [name, place[index] ?? '']), ...threads, ...from, ...endpoint];
}

export function startSubject(options: SubjectOptions, socketPath: string, endpoint: string): Subject {
  const command = commandOf(options, [socketPath, endpoint, host.id, host.ip]);
  const spawnedMs = monotonicMs();
  const child = spawn(process.execPath, ['--import', inBench(`lib/${options.probe ?? 'probe.mjs'}`), ...command], {
    stdio: ['ignore', options.onLine ? 'pipe' : 'ignore', 'ignore', 'ipc'],
    env: cleanEnvironment(),
  });
  if (options.onLine && child.stdout) createInterface({ input: child.stdout }).on('line', options.onLine);
  const forget = atExit(() => child.kill('SIGKILL'));
  const exit = exitOf(child);
  const ask = <Answer>(question: string): Promise<Answer> =>
    new Promise((resolve) => {
      if (!child.connected) return resolve({} as Answer);
      const settle = (answer: unknown): void => {
        child.off('message', settle).off('exit', gone);
        resolve(answer as Answer);
      };
      const gone = (): void => settle({});
      child.on('message', settle).on('exit', gone).send(question);
    });
  return {
    pid: child.pid ?? 0,
    spawnedMs,
    get ended() {
      return child.exitCode !== null || child.signalCode !== null;
    },
    begin: () => void (child.connected && child.send('begin')),
    loop: () => ask('read'),
    look: () => ask('look'),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await exit;
      forget();
    },
  };
}
