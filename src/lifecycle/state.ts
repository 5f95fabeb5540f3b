/**
 * The state of one container, and the names of the states.
 *
 * `unknown` has no opinion: the keys of the container in etcd stay. `running` has the offers of the container. `gone`
 * remembers a death as long as a reading from before it can arrive. Failed inspections, a place in the newest list
 * and a move of ports go with each of the three.
 */

import type { ContainerId, Names, Refusal, Service } from '../container/container.ts';
import type { ReasonCode } from '../container/refusals.ts';
import type { Facts, Signal, Verdict } from './deserves.ts';

/** The newest list that showed the container. */
export interface Listing {
  readonly began: number;
  /** When the newest list that did not show it was taken in. */
  readonly since: number;
  /** The ports and the state of the container in the list. */
  readonly fingerprint: string;
}

/** The deaths that were heard of. */
export interface Death {
  /** When the newest was heard of. */
  readonly heard: number;
  /** The newest whose time is known, by the engine's clock in nanoseconds; 0 if there is none. */
  readonly at: number;
  /** When the newest was heard of whose time is not known; 0 if there is none. It says nothing of what is read later. */
  readonly untimed: number;
}

/** Inspections that failed in a row. */
export interface Failing {
  readonly tries: number;
  /** When the last of them began. */
  readonly began: number;
  /** The error text of the engine. */
  readonly detail: string;
}

interface Known {
  /** Undefined while only the 12 digits in its keys are known. */
  readonly id: ContainerId | undefined;
  readonly listing: Listing | undefined;
  readonly death: Death | undefined;
  /** When its ports may have moved last, as long as it was not seen running; 0 if never. */
  readonly movedAt: number;
  readonly failing: Failing | undefined;
  /** When the machine wants to be woken for a retry, in milliseconds of the agent's clock. */
  readonly wakeAt: number | undefined;
  /** Signals sent to the process that runs, each number once. */
  readonly signals: readonly Signal[];
  /** When the verdict ends, or the signals of a container that is unknown are of no more use. */
  readonly dueAt: number | undefined;
}

export interface Unknown extends Known {
  readonly kind: 'unknown';
  /** When its keys were found in etcd, not by our own doing; 0 if they were not. */
  readonly foundAt: number;
}

export interface Running extends Known, Facts {
  readonly kind: 'running';
  readonly id: ContainerId;
  /** By the engine's clock, in nanoseconds; 0 where the engine does not say. */
  readonly startedAt: number;
  /** When the inspection that saw it run was taken in. */
  readonly ended: number;
  readonly offers: readonly Service[];
  readonly refusals: readonly Refusal[];
  readonly names: Names | undefined;
  /** The containers whose network it uses. */
  readonly sharesWith: readonly ContainerId[] | undefined;
  /** Whether its offers are published now. */
  readonly verdict: Verdict;
}

export interface Gone extends Known {
  readonly kind: 'gone';
  readonly id: ContainerId;
  readonly since: number;
}

export type State = Unknown | Running | Gone;

/** Failed inspections from which on a container counts as failing: the first may be a thread or a connection lost. */
// mutant: take the first failure for failing
export const failingTries = 5;

/** The names that people see. */
export const stateNames = [
  'starting',
  'ready',
  'draining',
  'paused',
  'unhealthy',
  'held',
  'maintenance',
  'failing',
  'gone',
] as const;
export type StateName = (typeof stateNames)[number];

const withheldAs: Readonly<Record<ReasonCode, StateName>> = {
  maintenance: 'maintenance',
  'host-drain': 'draining',
  'engine-away': 'held',
  draining: 'draining',
  'ignores-stop': 'ready',
  paused: 'paused',
  unhealthy: 'unhealthy',
  'not-healthy': 'starting',
  'still-starting': 'starting',
  flapping: 'held',
  'too-young': 'starting',
};

export function nameOf(state: State): StateName {
  if ((state.failing?.tries ?? 0) >= failingTries) return 'failing';
  if (state.kind !== 'running') return state.kind === 'unknown' ? 'starting' : 'gone';
  return trafficStateOf(state.verdict);
}

/** The state of a container that runs, as readers of etcd see it. */
export function trafficStateOf(verdict: Verdict): StateName {
  return verdict.isPublished ? 'ready' : withheldAs[verdict.reason];
}

/**
 * Whether the state can be forgotten. It is only kept to judge inspections from before a death or a move; it can go
 * when the oldest reading under way began after both.
 */
export function isForgettable(state: State, oldestReading: number): boolean {
  // mutant: forget at once what was found
  const hasOpinion = state.kind === 'running' || (state.kind === 'unknown' && state.foundAt > 0);
  // mutant: forget a retry at once
  // mutant: forget at once what a list shows
  if (hasOpinion || state.listing !== undefined || state.failing !== undefined) return false;
  // mutant: forget at once that a start was asked to stop
  if (state.signals.length > 0) return false;
  const since = state.kind === 'gone' ? state.since : 0;
  // mutant: forget a death at once
  // mutant: forget a move at once
  // mutant: remember the dead for ever
  return Math.max(since, state.death?.heard ?? 0, state.movedAt) < oldestReading;
}
