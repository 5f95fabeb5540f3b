/**
 * What `discover watch` does with the instances: a command (`--exec`), or a file (`--to`) that a command may render, and
 * another command once the file differs (`--reload`).
 *
 * The file is replaced as a whole, and only if its bytes differ. It stays as it is when the command that renders it fails,
 * prints nothing or takes too long, when no instance is left, and while etcd is away. A reload that has failed, or was
 * cut off by the end of this process, is done again: a mark beside the file (`.<file>.reload`) stays until it has
 * succeeded.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, chown, open, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Instance } from '../client/index.ts';
import { messageOf } from '../errors.ts';
import { addressOf, describe, sorted } from './services.ts';

export interface Plan {
  readonly exec: string | undefined;
  readonly to: string | undefined;
  readonly reload: string | undefined;
  /** Of a command that renders or reloads. */
  readonly timeoutMs: number;
  /** Whether the file is written when no instance is left. */
  readonly writesEmpty: boolean;
  /** A list of services, not the one service. */
  readonly isList: boolean;
}

type Services = readonly (readonly [name: string, instances: readonly Instance[]])[];

/** `retry`: what has failed may succeed later. `note`: nothing was done, and that is the rule. */
export type Outcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly problem: string }
  | { readonly kind: 'retry'; readonly problem: string }
  | { readonly kind: 'note'; readonly problem: string };

const done: Outcome = { kind: 'done' };
/** The system takes no longer text in the environment. */
const environmentBytesMax = 100_000;
const outputBytesMax = 64 << 20;

export async function act(plan: Plan, services: Services): Promise<Outcome> {
  const { exec, to } = plan;
  if (to !== undefined) return writeFileOf({ ...plan, to }, services);
  if (exec === undefined) return done;
  const { problem } = await run(exec, services, plan, 'inherit');
  return problem === undefined ? done : { kind: 'failed', problem: `${exec}: ${problem}` };
}

async function writeFileOf(plan: Plan & { readonly to: string }, services: Services): Promise<Outcome> {
  const { exec, reload, to, writesEmpty } = plan;
  if (!writesEmpty && services.every(([, instances]) => instances.length === 0)) {
    return { kind: 'note', problem: `no instance is left: ${to} stays as it is (--empty write would write it)` };
  }
  try {
    const rendered = exec === undefined ? { output: inputOf(services, plan) } : await run(exec, services, plan, 'pipe');
    if ('problem' in rendered && rendered.problem !== undefined) {
      return { kind: 'retry', problem: `${exec}: ${rendered.problem}; ${to} stays as it is` };
    }
    const { output } = rendered;
    if (output.length === 0) return { kind: 'retry', problem: `${exec}: printed nothing; ${to} stays as it is` };
    const file = await realpath(to).catch(() => path.resolve(to));
    const mark = path.join(path.dirname(file), `.${path.basename(file)}.reload`);
    const before = await readFile(file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return undefined;
    });
    if (before === undefined || !before.equals(output)) {
      if (reload !== undefined) await writeFile(mark, '');
      await replace(file, output);
    }
    if (reload === undefined || !existsSync(mark)) return done;
    const { problem } = await run(reload, services, plan, 'inherit', plan.timeoutMs);
    if (problem !== undefined) return { kind: 'retry', problem: `${reload}: ${problem}` };
    await rm(mark, { force: true });
    return done;
  } catch (error) {
    return { kind: 'retry', problem: `${to} cannot be written: ${messageOf(error)}` };
  }
}

/** A reader has the old bytes or the new ones, also after a crash of the machine. Mode and owner stay. */
async function replace(file: string, bytes: Buffer): Promise<void> {
  const scratch = path.join(path.dirname(file), `.${path.basename(file)}.${process.pid}`);
  try {
    const known = await stat(file).catch(() => undefined);
    const handle = await open(scratch, 'w', 0o644);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (known !== undefined) {
      await chmod(scratch, known.mode & 0o7777);
      // Only root can, and only root needs to.
      await chown(scratch, known.uid, known.gid).catch(() => {});
    }
    await rename(scratch, file);
  } catch (error) {
    await rm(scratch, { force: true });
    throw error;
  }
}

/** The JSON that a command reads, and that is the file without a command. */
function inputOf(services: Services, { isList }: Plan): Buffer {
  const all = services.map(([name, instances]) => ({ name, instances: sorted(instances).map(describe) }));
  return Buffer.from(`${JSON.stringify(isList ? all : all[0])}\n`);
}

interface Ran {
  readonly output: Buffer;
  /** Undefined: it ended with 0. */
  readonly problem: string | undefined;
}

/** With its output piped, or with a time limit, the command has a process group, which ends as a whole. */
async function run(
  line: string,
  services: Services,
  plan: Plan,
  stdout: 'inherit' | 'pipe',
  timeoutMs = stdout === 'pipe' ? plan.timeoutMs : undefined,
): Promise<Ran> {
  const addresses = services.flatMap(([, instances]) => sorted(instances).map(addressOf)).join(' ');
  const known = addresses.length <= environmentBytesMax ? { DISCOVERED: addresses } : {};
  const detached = timeoutMs !== undefined;
  const env = { ...process.env, DISCOVERED: undefined, ...known };
  const child = spawn(line, { shell: true, stdio: ['pipe', stdout, 'inherit'], env, detached });
  const parts: Buffer[] = [];
  let bytes = 0;
  let ended: string | undefined;
  const end = (reason: string): void => {
    ended = reason;
    try {
      if (child.pid !== undefined) process.kill(detached ? -child.pid : child.pid, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  };
  child.stdout?.on('data', (part: Buffer) => {
    bytes += part.length;
    if (bytes > outputBytesMax) end(`printed more than ${outputBytesMax >> 20} MiB`);
    else parts.push(part);
  });
  // The command need not read its input.
  child.stdin?.on('error', () => {});
  child.stdin?.end(inputOf(services, plan));
  const timer = detached ? setTimeout(() => end(`took longer than ${timeoutMs / 1_000} s`), timeoutMs) : undefined;
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    const problem = ended ?? (code === 0 ? undefined : `ended with ${signal ?? code}`);
    return { output: Buffer.concat(parts), problem };
  } catch (error) {
    return { output: Buffer.alloc(0), problem: messageOf(error) };
  } finally {
    clearTimeout(timer);
  }
}
