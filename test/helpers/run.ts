/**
 * Child processes of the tests: discover itself, and what the other helpers need so that nothing
 * outlives a test.
 *
 * Three nets, widest last: `close` of each handle; clean-up when the test process exits or is
 * told to (`atExit`); and scratch directories that carry their owner's pid in their name, so the
 * next run can remove what a killed one has left (`abandoned`).
 *
 * Linux only where /proc is read; elsewhere that net has no mesh and the others hold.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Metrics } from '../../src/metrics.ts';
import { eventually, guardMs } from './eventually.ts';

// Debian keeps dockerd's own helpers and ip in sbin, which an ordinary user's PATH leaves out.
const searchPath = [...new Set([...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/local/sbin'])];

/** Where the program is, or undefined. */
export function findCommand(name: string): string | undefined {
  return searchPath
    .filter((directory) => directory !== '')
    .map((directory) => path.resolve(directory, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

export function requireCommand(name: string): string {
  const found = findCommand(name);
  if (found === undefined) {
    throw new Error(`${name} is not installed: run node test/setup.mjs --for test`);
  }
  return found;
}

/**
 * For `test(name, { skip: needs('dockerd', 'docker', 'root') })`: why the test cannot run here, or
 * false. With CI=true always false, so that a missing part fails there instead of hiding.
 */
export function needs(...parts: readonly string[]): string | false {
  const missing = parts.filter((part) =>
    part === 'root' ? process.getuid?.() !== 0 : findCommand(part) === undefined,
  );
  return missing.length === 0 || process.env.CI === 'true' ? false : `needs ${missing.join(', ')}`;
}

// Recording takes a fifth of the time of a process, and its reading a minute for all; these run most of the source. Node hands the
// variable on to each process unless it is set to nothing.
const isUnrecorded = !/\/integration\/(cli|endpoint|etcd-auth|reload|service-manager)\./.test(process.argv[1] ?? '');

/** The environment without anything that would point discover, docker or etcdctl elsewhere. */
export function cleanEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const dropped = /^(DISCOVER|DOCKER|ETCDCTL|ETCD)_/;
  const kept = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !dropped.test(entry[0]),
  );
  const unrecorded = isUnrecorded && { NODE_V8_COVERAGE: '' };
  return { ...Object.fromEntries(kept), ...unrecorded, PATH: searchPath.join(':'), ...extra };
}

const cleanups = new Set<() => void>();
const signals = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
const runCleanups = (): void => {
  for (const cleanup of cleanups) {
    try {
      cleanup();
    } catch (error) {
      // One that fails must not keep the others from running; there is nobody left to tell but the terminal.
      console.error(error);
    }
  }
};
// Whoever listens as well ends the process in a way of their own.
const exitOnSignal = (signal: keyof typeof signals): void => {
  if (process.listenerCount(signal) === 1) process.exit(128 + signals[signal]);
};

/** Runs a synchronous clean-up when this process exits, unless the returned function is called first. */
export function atExit(cleanup: () => void): () => void {
  if (cleanups.size === 0) {
    process.on('exit', runCleanups);
    for (const signal of Object.keys(signals)) {
      process.on(signal, exitOnSignal);
    }
  }
  cleanups.add(cleanup);
  return () => {
    if (cleanups.delete(cleanup) && cleanups.size === 0) {
      process.off('exit', runCleanups);
      for (const signal of Object.keys(signals)) {
        process.off(signal, exitOnSignal);
      }
    }
  };
}

// Two containers may share a /tmp but not their pids: a pid says who is alive only in its own namespace.
export function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid').replaceAll(/\D/g, '');
  } catch {
    return '0';
  }
}

/** A new directory below `parent` whose name says whose it is. */
export function scratchDirectory(kind: string, parent: string): string {
  return mkdtempSync(path.join(parent, `dsc-${kind}-${process.pid}-${pidNamespace()}-`));
}

/** Directories of `scratchDirectory` whose process is gone. Each is returned to one caller only. */
export function abandoned(kind: string, parent: string): string[] {
  const pattern = new RegExp(`^dsc-${kind}-(\\d+)-${pidNamespace()}-`);
  return readdirSync(parent)
    .filter((name) => {
      const pid = Number(pattern.exec(name)?.[1]);
      return Number.isInteger(pid) && !isAlive(pid);
    })
    .map((name) => path.join(parent, name))
    .filter((directory) => {
      try {
        mkdirSync(path.join(directory, 'abandoned'));
        return true;
      } catch {
        return false; // another test process has it
      }
    });
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
  readonly program: string;
}

function listProcesses(): ProcessEntry[] {
  const entries: ProcessEntry[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      entries.push({ pid: Number(name), parent, command, program: path.basename(command.split(' ')[0] ?? '') });
    } catch {
      // It has ended since readdir: what we want of it.
    }
  }
  return entries;
}

/**
 * Kills, and waits until gone, each process that is one of `programs` and names a file below
 * `directory` in its arguments, with all its descendants. Synchronous, for use while exiting.
 * The program's name counts too because a client under test names the same socket.
 */
export function killProcessesOf(directory: string, programs: readonly string[]): void {
  for (let attempt = 0; attempt < 1000; attempt++) {
    const all = listProcesses();
    const marked = new Set(
      all
        .filter((one) => programs.includes(one.program) && one.command.includes(`${directory}/`))
        .map((one) => one.pid),
    );
    if (marked.size === 0) return;
    for (let before = -1; before !== marked.size; ) {
      before = marked.size;
      for (const one of all) if (marked.has(one.parent)) marked.add(one.pid);
    }
    for (const pid of marked) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Already gone.
      }
    }
    pauseNow(5);
  }
  throw new Error(`Processes of ${directory} do not end`);
}

/** Blocks the whole process: only for clean-up, which must be done before it ends. */
export function pauseNow(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

/** Resolves when the child has ended, also when it already has. */
export function exitOf(child: ChildProcess): Promise<Exit> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve({ code: child.exitCode, signal: child.signalCode });
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
}

export type LogLine = Readonly<Record<string, unknown>>;

export interface Running extends AsyncDisposable {
  readonly pid: number;
  /** Each line of stdout and stderr that is a JSON object, in order of arrival. */
  readonly logs: readonly LogLine[];
  /** Everything written so far, stdout and stderr mixed. */
  readonly output: string;
  readonly exit: Promise<Exit>;
  signal(name: NodeJS.Signals): void;
  /** The first line, past or to come, that fits. Rejects, with the output so far, when the process ends without it. */
  waitForLog(predicate: (line: LogLine) => boolean, options?: { readonly timeoutMs?: number }): Promise<LogLine>;
  /** Kills it if it still runs. */
  close(): Promise<void>;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Arguments for node itself, before the script. */
  readonly nodeArgs?: readonly string[];
  /** As this user and the group of the same number, and of no other group; only root can ask for it. */
  readonly user?: number;
  /** Instead of the built command line. */
  readonly script?: string;
  /** Instead of node and the built command line: a program, and what stands before the arguments of discover. */
  readonly program?: readonly [string, ...string[]];
  /** CommonJS that runs first in each of its threads: for faults that cannot be made from outside. */
  readonly preload?: string;
}

/** Arguments for node, with which it runs TypeScript. */
export const typescript: readonly string[] = ['--import', new URL('../loader.mjs', import.meta.url).href];

const builtCli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/** Runs the built command line, as a user would. */
export function runDiscover(args: readonly string[], options: RunOptions = {}): Running {
  const preloaded = options.preload === undefined ? undefined : writePreload(options.preload);
  const nodeArgs = [...(preloaded ? ['--require', preloaded.file] : []), ...(options.nodeArgs ?? [])];
  const [program, ...before] = options.program ?? [process.execPath, ...nodeArgs, options.script ?? builtCli];
  const child = spawn(program, [...before, ...args], {
    cwd: options.cwd,
    env: cleanEnvironment(options.env),
    ...(options.user === undefined ? {} : { uid: options.user, gid: options.user }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const forget = atExit(() => child.kill('SIGKILL'));
  const logs: LogLine[] = [];
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      logs.push(...lines.flatMap(parseLogLine));
    });
  }
  // 'close', not 'exit': only then all output has arrived.
  const exit = new Promise<Exit>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  let ended = false;
  const onEnd = (): void => {
    ended = true;
    forget();
    preloaded?.remove();
  };
  exit.then(onEnd, onEnd);
  const close = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exit;
  };
  return {
    pid: child.pid ?? -1,
    logs,
    get output() {
      return output;
    },
    exit,
    signal: (name) => {
      child.kill(name);
    },
    waitForLog: async (predicate, { timeoutMs = guardMs } = {}) => {
      const find = (): LogLine => {
        const found = logs.find(predicate);
        if (found === undefined) throw new Error(`No such log line. Output so far:\n${output.slice(-4000)}`);
        return found;
      };
      // Once it has ended, whatever there is to find has arrived: one last look, outside the wait.
      const line = await eventually(() => (ended ? undefined : find()), { timeoutMs });
      return line ?? find();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Counters and memory, as it logs them when it is asked. */
export async function stateOf(discover: Running): Promise<LogLine> {
  const seen = discover.logs.length;
  discover.signal('SIGUSR2');
  return eventually(() => {
    const state = discover.logs.slice(seen).find((line) => line.msg === 'state');
    if (state === undefined) throw new Error('It has not said what its state is');
    return state;
  });
}

/** How many complete lists it has taken in. */
export async function listsOf(discover: Running): Promise<number> {
  const { connect, resync } = (await stateOf(discover)).lists as Metrics['lists'];
  return connect.ok + resync.ok;
}

function writePreload(code: string): { readonly file: string; remove(): void } {
  const directory = scratchDirectory('preload', os.tmpdir());
  const erase = (): void => rmSync(directory, { recursive: true, force: true });
  const forget = atExit(erase);
  const file = path.join(directory, 'preload.cjs');
  writeFileSync(file, code);
  const remove = (): void => {
    erase();
    forget();
  };
  return { file, remove };
}

function parseLogLine(line: string): LogLine[] {
  try {
    const parsed: unknown = JSON.parse(line);
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed) ? [parsed as LogLine] : [];
  } catch {
    return []; // a human's line
  }
}
