/**
 * Whether a container that runs deserves traffic: one pure function of all that is known of it.
 *
 * The first reason that holds is the one that people see. Time alone can only end a reason, so a verdict says until when
 * it holds at the latest; without such a moment an observation ends it.
 */

import type { ReasonCode } from '../container/refusals.ts';
import { type HealthPolicy, KILL, TERM, type Traffic, usualStopSeconds } from '../container/traffic.ts';
import type { FlapPolicy } from './damping.ts';

export interface PublishPolicy extends FlapPolicy {
  readonly health: HealthPolicy;
  readonly drain: boolean;
  readonly paused: 'keep' | 'withdraw';
  /** After how long an engine that is away is given up; 0 for never. */
  readonly engineAwayMs: number;
  /** How long it must have run, in milliseconds. */
  readonly afterMs: number;
  /** The time beyond its own within which a container ends that obeys its stop signal. */
  readonly stopGraceMs: number;
}

/** A signal that was sent to a container in this life, when it was heard of first and last. */
export interface Signal {
  /** 0 where the engine does not say which. */
  readonly number: number;
  /** First and last, by the engine's clock, in nanoseconds; 0 where the engine does not say. */
  readonly firstAt: number;
  readonly at: number;
  /** First and last, in milliseconds of the agent's clock. */
  readonly since: number;
  readonly last: number;
}

/** Taken out by a person; or because discover ends, and `host.onExit` is `drain`. */
export type TakenOut = 'maintenance' | 'host-drain';

/** All that is known of the container and concerns traffic. */
export interface Facts {
  readonly traffic: Traffic | undefined;
  readonly signals: readonly Signal[];
  /** Since when it runs, in milliseconds of the agent's clock. */
  readonly runsSince: number;
  /** How long it must run because of crashes before; 0 if there were few. */
  readonly requiredMs: number;
  /** The engine was given up since it was seen. */
  readonly isGivenUp: boolean;
  /** A person, or the end of the agent, takes it out of traffic whatever else is true. */
  readonly takenOut: TakenOut | undefined;
}

export type Verdict =
  /** `note`: published, and something is odd about it. */
  | { readonly isPublished: true; readonly note?: ReasonCode; readonly until?: undefined; readonly again?: undefined }
  /** `until`: milliseconds of the agent's clock. */
  | {
      readonly isPublished: false;
      readonly reason: ReasonCode;
      readonly until?: number;
      /** When another reason may take its place. */
      readonly again?: number;
    };

const published: Verdict = { isPublished: true };
const ignoring: Verdict = { isPublished: true, note: 'ignores-stop' };
const none: Traffic = {};
/** A health check that has not succeeded for so long may never end. */
export const longStartMs = 300_000;
/** Of a timer; also what an infinite time to stop counts as. */
const longestMs = 86_400_000;

export function deserves(facts: Facts, now: number, policy: PublishPolicy): Verdict {
  const { traffic = none, signals, runsSince, requiredMs, takenOut } = facts;
  // mutant: publish what is in maintenance
  if (takenOut !== undefined) return { isPublished: false, reason: takenOut };
  if (facts.isGivenUp) return { isPublished: false, reason: 'engine-away' };
  const { health, wishes } = traffic;
  const sent = (wishes?.drain ?? policy.drain) ? stopOf(signals, traffic) : undefined;
  const stopEndsAt = sent === undefined ? 0 : sent.since + stopMs(traffic, policy);
  // mutant: drain for ever
  if (sent !== undefined && now < stopEndsAt) return { isPublished: false, reason: 'draining', until: stopEndsAt };
  // mutant: keep what is paused
  if (traffic.isPaused && policy.paused === 'withdraw') return { isPublished: false, reason: 'paused' };
  const healthPolicy = wishes?.health ?? policy.health;
  // mutant: take the sick for the well
  if (health === 'unhealthy' && healthPolicy !== 'ignore') return { isPublished: false, reason: 'unhealthy' };
  // mutant: require no health
  if (health === 'starting' && healthPolicy === 'require-healthy') return notHealthy(runsSince + longStartMs, now);
  const heldUntil = runsSince + requiredMs;
  // mutant: publish what crashes again and again
  if (now < heldUntil) return { isPublished: false, reason: 'flapping', until: heldUntil };
  const oldEnoughAt = runsSince + policy.afterMs;
  // mutant: publish the young
  if (now < oldEnoughAt) return { isPublished: false, reason: 'too-young', until: oldEnoughAt };
  return sent === undefined ? published : ignoring;
}

/** A check that never ends looks like one that is under way, so its age is all that can be told. */
function notHealthy(longAt: number, now: number): Verdict {
  if (now >= longAt) return { isPublished: false, reason: 'still-starting' };
  return { isPublished: false, reason: 'not-healthy', again: longAt };
}

/** What an inspection alone tells: of signals and crashes only the agent knows. `nowMs`: milliseconds since the epoch. */
export function deservesBy(
  { startedAt, traffic }: { readonly startedAt: number; readonly traffic?: Traffic | undefined },
  nowMs: number,
  policy: PublishPolicy,
  isInMaintenance = false,
): Verdict {
  const known = { traffic, signals: [], runsSince: startedAt / 1e6, requiredMs: 0, isGivenUp: false };
  return deserves({ ...known, takenOut: isInMaintenance ? 'maintenance' : undefined }, nowMs, policy);
}

/** How long a container is taken to end after its stop signal. */
export function stopMs({ stopSeconds = usualStopSeconds }: Traffic, { stopGraceMs }: PublishPolicy): number {
  return Math.min(longestMs, stopSeconds * 1000 + stopGraceMs);
}

/** The newest signal that ends the container: its stop signal, or KILL, which no process survives. */
function stopOf(signals: readonly Signal[], { stopSignal = TERM }: Traffic): Signal | undefined {
  let newest: Signal | undefined;
  for (const signal of signals) {
    // mutant: take each signal for a stop
    const isStop = signal.number === stopSignal || signal.number === KILL;
    if (isStop && signal.since >= (newest?.since ?? 0)) newest = signal;
  }
  return newest;
}
