/**
 * Containers that crash again and again. A crash is a death that nothing from outside came before: what people do with
 * `docker stop`, `kill` and `restart` never counts. Pure.
 *
 * After `flapDeaths` crashes within `flapMs` each life has to last `firstMs` before it is published, twice as long after
 * each further crash, up to `longestMs`. All of it is forgotten once a life has lasted that long and `flapMs` more.
 */

export interface FlapPolicy {
  /** 0 turns damping off. */
  readonly flapDeaths: number;
  readonly flapMs: number;
}

/** What is remembered of the crashes of a container, or of those whose place it takes. */
export interface Crashes {
  /** The newest, in milliseconds of the agent's clock; at most `flapDeaths`. */
  readonly times: readonly number[];
  /** How long a life must last before it is published. */
  readonly requiredMs: number;
}

const firstMs = 10_000;
export const longestMs = 300_000;

/** Undefined where damping is off. */
export function afterCrash(before: Crashes | undefined, now: number, policy: FlapPolicy): Crashes | undefined {
  const { flapDeaths, flapMs } = policy;
  if (flapDeaths === 0 || flapMs === 0) return undefined;
  const known = before !== undefined && isOver(before, now, policy) ? undefined : before;
  const recent = known?.times.filter((time) => now - time < flapMs) ?? [];
  const times = [...recent, now].slice(-flapDeaths);
  const held = known?.requiredMs ?? 0;
  // mutant: hold nothing that crashes
  if (held === 0) return { times, requiredMs: times.length >= flapDeaths ? firstMs : 0 };
  return { times, requiredMs: Math.min(longestMs, held * 2) };
}

/** How long a life that begins now must last. */
export function requiredMs(crashes: Crashes | undefined, now: number, policy: FlapPolicy): number {
  return crashes === undefined || isOver(crashes, now, policy) ? 0 : crashes.requiredMs;
}

export function isOver({ times, requiredMs }: Crashes, now: number, { flapMs }: FlapPolicy): boolean {
  return now - (times.at(-1) ?? 0) >= requiredMs + flapMs;
}
