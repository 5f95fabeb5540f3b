/**
 * What is measured: discover, naive, floor, another build of discover or a peer, each a process of its own and started the same way.
 *
 * discover runs as built (dist/cli.js) and with its defaults; the other two are compiled first, so
 * that no loader of TypeScript is measured with them. What they log is written to nowhere, unless the
 * benchmark asks for it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { atExit, cleanEnvironment, exitOf, typescript } from '../../test/helpers/run.ts';
import { monotonicMs } from '../engine/churn.ts';
import { type AddressFrom, discoverLayout, host, type Layout } from './layout.ts';
import type { Figures } from './measure.ts';
import { type Peer, placed } from './peer.ts';

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
  readonly layout: Layout;
  /** None is to end by itself. */
  readonly ended: boolean;
  /** What a peer wrote last to standard error. */
  readonly lastWords: string;
  /** Begins to watch the event loop of the main thread; `loop` says how late it has been since. */
  begin(): void;
  loop(): Promise<Figures>;
  /** What it holds once garbage is collected; with the probe of a soak. */
  look(): Promise<Readonly<Record<string, number>>>;
}

/** Other builds of discover by the names that they have as subjects: the path of their `cli.js`. */
export const builds = new Map<string, string>();
/** Other programs, by their names as subjects. */
export const peers = new Map<string, Peer>();

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

/** With the probe before it, which watches its event loop and ends it with the runner. */
function spawnNode(options: SubjectOptions, place: readonly string[]): ChildProcess {
  const probe = inBench(`lib/${options.probe ?? 'probe.mjs'}`);
  const child = spawn(process.execPath, ['--import', probe, ...commandOf(options, place)], {
    stdio: ['ignore', options.onLine ? 'pipe' : 'ignore', 'ignore', 'ipc'],
    env: cleanEnvironment(),
  });
  if (options.onLine && child.stdout) createInterface({ input: child.stdout }).on('line', options.onLine);
  return child;
}

/** In a process group of its own, so that what it starts ends with it. */
function spawnPeer(peer: Peer, socketPath: string, endpoint: string): ChildProcess {
  const { environment, words } = placed(peer, {
    ...{ docker: `unix://${socketPath}`, socket: socketPath, ip: host.ip, host: host.id },
    ...{
      etcd: endpoint,
      'etcd-address': endpoint.replace('http://', ''),
      prefix: peer.layout.prefix.replace(/^\/|\/$/g, ''),
    },
  });
  const [program = '', ...args] = words;
  const env = cleanEnvironment(environment);
  return spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env, detached: true });
}

export function startSubject(options: SubjectOptions, socketPath: string, endpoint: string): Subject {
  const peer = peers.get(options.subject);
  const spawnedMs = monotonicMs();
  const child = peer
    ? spawnPeer(peer, socketPath, endpoint)
    : spawnNode(options, [socketPath, endpoint, host.id, host.ip]);
  let lastWords = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    lastWords = (lastWords + text).slice(-500);
  });
  const kill = (): void => {
    if (peer && child.pid !== undefined) killGroup(child.pid);
    else child.kill('SIGKILL');
  };
  const forget = atExit(kill);
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
    layout: peer?.layout ?? discoverLayout(host.id, options.address),
    get ended() {
      return child.exitCode !== null || child.signalCode !== null;
    },
    get lastWords() {
      return lastWords.trim().split('\n').at(-1) ?? '';
    },
    begin: () => void (child.connected && child.send('begin')),
    loop: () => ask('read'),
    look: () => ask('look'),
    [Symbol.asyncDispose]: async () => {
      kill();
      await exit;
      forget();
    },
  };
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it has ended.
  }
}
