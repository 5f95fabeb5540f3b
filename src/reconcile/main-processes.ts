/**
 * The main processes of containers, as this machine shows them: what can be known of a container without its engine.
 *
 * A process is noted while the engine is there, some seconds after its start, with the moment at which it began: later
 * another process may have its number. Short lives are never looked at, because a look at each start would be a fifth
 * of what its inspection costs. Where discover does not share the engine's table of processes nothing is noted.
 *
 * A container that was not noted yet has ended if there is no process with its number, in a table that is surely shared:
 * more processes of containers were seen in it than were missed.
 */

import type { Clock } from '../actor/clock.ts';
import type { Running, State } from '../lifecycle/state.ts';

export interface ProcessTable {
  /** The start of the process with this number, if it is the one that the engine started at `startedAt`. */
  startOf(pid: number, startedAt: number): string | undefined;
  /** Whether the process of this number and start has ended. */
  hasEnded(pid: number, startTicks: string): boolean;
  /** Whether no process has this number. */
  isFree(pid: number): boolean;
}

export interface MainProcessesParts {
  readonly clock: Clock;
  /** Undefined for an engine on another machine. */
  readonly table: ProcessTable | undefined;
  readonly states: ReadonlyMap<string, State>;
}

interface Noted {
  readonly startedAt: number;
  readonly pid: number;
  /** Undefined: the process was not to be seen. */
  readonly startTicks: string | undefined;
}

const sweepMs = 2_000;
/** A look takes some ten microseconds of the main thread. */
const looksMax = 200;

export class MainProcesses {
  readonly #parts: MainProcessesParts;
  readonly #noted = new Map<string, Noted>();
  #cancel: (() => void) | undefined;

  constructor(parts: MainProcessesParts) {
    this.#parts = parts;
  }

  /** A container runs that did not before. */
  started(): void {
    if (this.#cancel !== undefined || this.#parts.table === undefined) return;
    this.#cancel = this.#parts.clock.after(sweepMs, () => {
      this.#cancel = undefined;
      if (this.#sweep()) this.started();
    });
  }

  clear(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#noted.clear();
  }

  /** The containers that run, as far as is known, and whose main process has ended. For while the engine is away. */
  ended(): readonly string[] {
    const { states, table } = this.#parts;
    const ended: string[] = [];
    if (table === undefined) return ended;
    const unseen: [shortId: string, pid: number][] = [];
    for (const [shortId, state] of states) {
      if (state.kind !== 'running' || this.#isNoted(shortId, state)) continue;
      const { startedAt, traffic: { pid = 0 } = {} } = state;
      const startTicks = pid > 0 ? table.startOf(pid, startedAt) : undefined;
      if (startTicks !== undefined) this.#noted.set(shortId, { startedAt, pid, startTicks });
      else if (pid > 0) unseen.push([shortId, pid]);
    }
    let balance = 0;
    for (const [shortId, { startedAt, pid, startTicks }] of this.#noted) {
      balance += startTicks === undefined ? -1 : 1;
      if (!isSame(states.get(shortId), startedAt) || startTicks === undefined) continue;
      if (table.hasEnded(pid, startTicks)) ended.push(shortId);
    }
    const isShared = balance > 0;
    for (const [shortId, pid] of unseen) if (isShared && table.isFree(pid)) ended.push(shortId);
    return ended;
  }

  #isNoted(shortId: string, { startedAt }: Running): boolean {
    return this.#noted.get(shortId)?.startedAt === startedAt;
  }

  /** Notes what is new and forgets what has gone; whether there is more to note. */
  #sweep(): boolean {
    const { clock, states, table } = this.#parts;
    for (const [shortId, { startedAt }] of this.#noted) {
      if (!isSame(states.get(shortId), startedAt)) this.#noted.delete(shortId);
    }
    let looks = 0;
    let isMore = false;
    for (const [shortId, state] of states) {
      if (state.kind !== 'running' || this.#isNoted(shortId, state)) continue;
      const { startedAt, runsSince, traffic } = state;
      if (clock.now() - runsSince < sweepMs / 2 || looks >= looksMax) {
        isMore = true;
        continue;
      }
      looks++;
      const pid = traffic?.pid ?? 0;
      this.#noted.set(shortId, { startedAt, pid, startTicks: pid > 0 ? table?.startOf(pid, startedAt) : undefined });
    }
    return isMore;
  }
}

const isSame = (state: State | undefined, startedAt: number): state is Running =>
  state?.kind === 'running' && state.startedAt === startedAt;
