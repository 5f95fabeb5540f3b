/** Processes of this machine, as /proc shows them: see proc(5). */

import { existsSync, readFileSync } from 'node:fs';
import { uptime } from 'node:os';

/** Field 22 of /proc/<pid>/stat; undefined for a zombie, which only waits for its parent to notice. Throws without such a process. */
export function startTicksOf(pid: string): string | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field is the command in parentheses and may hold anything, further parentheses included.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' || state === 'X' ? undefined : fields[18];
}

/** Linux counts in hundredths of a second on every machine that Node runs on. */
const ticksPerSecond = 100;
/** An engine makes the process, prepares it, and then notes the start. */
const earliestMs = 15_000;
const latestMs = 2_000;

/**
 * The start of the process with this number, if it is the one that the engine started at `startedAt`, in nanoseconds
 * since the epoch. Undefined where this process does not share the engine's table of processes, or cannot know.
 */
export function startOf(pid: number, startedAt: number): string | undefined {
  // An error for each container of a host whose table is not shared would be a fifth of what its inspection costs.
  if (!existsSync(`/proc/${pid}`)) return undefined;
  try {
    const ticks = startTicksOf(String(pid));
    if (ticks === undefined || startedAt === 0) return undefined;
    const age = uptime() * 1000 - (Number(ticks) / ticksPerSecond) * 1000;
    const early = startedAt / 1e6 - (Date.now() - age);
    return early > -latestMs && early < earliestMs ? ticks : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the process that had this number and this start has ended. What cannot be read has not. */
export function hasEnded(pid: number, startTicks: string): boolean {
  try {
    return startTicksOf(String(pid)) !== startTicks;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ESRCH';
  }
}

/** Whether no process has this number. */
export const isFree = (pid: number): boolean => !existsSync(`/proc/${pid}`);
