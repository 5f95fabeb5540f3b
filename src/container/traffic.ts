/**
 * What an inspect document says about traffic: the health check, a pause, how the container is stopped, and what its
 * labels ask for in place of the host's policy. Pure; a member that is absent has the usual value.
 *
 * The document is foreign. A stop signal that is none counts as TERM, as the engine itself takes it.
 */

import { constants } from 'node:os';

/** Docker's words; a container without a health check has none of them. */
export type Health = 'starting' | 'healthy' | 'unhealthy';
export const isHealth = (value: unknown): value is Health =>
  value === 'starting' || value === 'healthy' || value === 'unhealthy';

export const healthPolicies = ['exclude-unhealthy', 'ignore', 'require-healthy'] as const;
export type HealthPolicy = (typeof healthPolicies)[number];

/** What the labels of a container ask for in place of the host's policy. */
export interface TrafficWishes {
  readonly health?: HealthPolicy | undefined;
  readonly drain?: boolean | undefined;
}

/** Crosses the thread boundary: plain data, and small. */
export interface Traffic {
  readonly health?: Health;
  readonly isPaused?: true;
  /** The number of the signal that asks it to end; TERM if absent. */
  readonly stopSignal?: number;
  /** How long it is given to end; 10 if absent, infinite for a negative number in the document. */
  readonly stopSeconds?: number;
  readonly wishes?: TrafficWishes;
  /**
   * What a container that takes its place has in common with it: the service and the number of the replica, by compose or
   * swarm, and the image. An image can carry such labels, so the image is a part.
   */
  readonly replica?: string;
  /** Its main process in the engine's table of processes. */
  readonly pid?: number;
}

export const TERM = constants.signals.SIGTERM;
export const KILL = constants.signals.SIGKILL;
export const usualStopSeconds = 10;
const RTMIN = 34;
const RTMAX = 64;

/** A name as `SIGTERM`, `TERM` or `SIGRTMIN+3`, or a number; undefined if it is no signal. */
export function signalOf(value: unknown): number | undefined {
  const text = String(value).trim().toUpperCase();
  if (/^\d{1,2}$/.test(text)) return Number(text) >= 1 && Number(text) <= RTMAX ? Number(text) : undefined;
  const [, end, offset = '0'] = /^(?:SIG)?RT(MIN|MAX)(?:[+-](\d{1,2}))?$/.exec(text) ?? [];
  if (end !== undefined) {
    const number = end === 'MIN' ? RTMIN + Number(offset) : RTMAX - Number(offset);
    return number >= RTMIN && number <= RTMAX ? number : undefined;
  }
  const name = text.startsWith('SIG') ? text : `SIG${text}`;
  return Object.hasOwn(constants.signals, name) ? constants.signals[name as NodeJS.Signals] : undefined;
}

/** `document` is an inspect document of a container that runs, and foreign. */
export function readTraffic(document: unknown, wishes: TrafficWishes | undefined): Traffic | undefined {
  const { State, Config } = recordOf(document);
  const state = recordOf(State);
  const config = recordOf(Config);
  // Built member by member, on the way of every start: most containers have the process alone.
  const traffic: { -readonly [K in keyof Traffic]: Traffic[K] } = {};
  const health = recordOf(state.Health).Status;
  if (isHealth(health)) traffic.health = health;
  if (state.Paused === true) traffic.isPaused = true;
  const stopSignal = config.StopSignal === undefined ? TERM : (signalOf(config.StopSignal) ?? TERM);
  if (stopSignal !== TERM) traffic.stopSignal = stopSignal;
  const stopSeconds = config.StopTimeout;
  if (typeof stopSeconds === 'number' && stopSeconds !== usualStopSeconds) {
    traffic.stopSeconds = stopSeconds < 0 ? Number.POSITIVE_INFINITY : stopSeconds;
  }
  if (wishes !== undefined) traffic.wishes = wishes;
  const replica = replicaOf(recordOf(config.Labels), config.Image);
  if (replica !== undefined) traffic.replica = replica;
  if (typeof state.Pid === 'number' && state.Pid > 0) traffic.pid = state.Pid;
  for (const _ in traffic) return traffic;
  return undefined;
}

const PART_MAX = 255;

function replicaOf(labels: Readonly<Record<string, unknown>>, image: unknown): string | undefined {
  const task = labels['com.docker.swarm.task.name'];
  const service = labels['com.docker.compose.service'];
  // The name of a task is <service>.<slot>.<task id>.
  const parts =
    typeof task === 'string'
      ? ['swarm', task.split('.').slice(0, -1).join('.')]
      : typeof service === 'string'
        ? [labels['com.docker.compose.project'], service, labels['com.docker.compose.container-number']]
        : undefined;
  return parts && JSON.stringify([...parts, image].map((part) => String(part ?? '').slice(0, PART_MAX)));
}

// Not the one in `address/published.ts`: that file imports the records that these belong to.
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const recordOf = (value: unknown): Readonly<Record<string, unknown>> => (isRecord(value) ? value : {});

const list = /\((?:health: )?(starting|healthy|unhealthy)\)/;

/** The health in an element of a list: a member since API 1.52, before that a part of the text for people. */
export function healthInList(item: { readonly Health?: unknown; readonly Status?: unknown }): string {
  const { Status: word } = recordOf(item.Health);
  if (isHealth(word)) return word;
  return typeof item.Status === 'string' ? (list.exec(item.Status)?.[1] ?? '') : '';
}
