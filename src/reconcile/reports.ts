/**
 * Reports of containers to people: in the log once, in the conditions as long as they are true.
 */

import type { Clock } from '../actor/clock.ts';
import type { Names, Refusal } from '../container/container.ts';
import { type Maintenance, type Mark, markOf } from '../container/maintenance.ts';
import { type ReasonCode, withheld } from '../container/refusals.ts';
import { failingTries, type Running, type State } from '../lifecycle/state.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Conditions } from './conditions.ts';
import type { Ledger } from './ledger.ts';

export interface ReportsParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly ledger: Ledger;
  readonly conditions: Conditions;
  readonly states: ReadonlyMap<string, State>;
}

/** Warnings about one container are worth reading; thousands are not. */
const refusalsLoggedMax = 10;

export class Reports {
  readonly #parts: ReportsParts;

  constructor(parts: ReportsParts) {
    this.#parts = parts;
  }

  /** Of a container whose state has changed from `before`. */
  report(shortId: string, before: State | undefined, state: State | undefined, maintenance: Maintenance): void {
    const { conditions, log } = this.#parts;
    if (state?.kind === 'running') {
      this.#reportRefusals(shortId, before, state);
      this.#reportTraffic(shortId, before, state, maintenance);
    } else if (before?.kind === 'running') conditions.forget(shortId);
    const wasFailing = (before?.failing?.tries ?? 0) >= failingTries;
    const { tries, detail } = state?.failing ?? { tries: 0, detail: undefined };
    if (tries >= failingTries) conditions.note(shortId, { failing: detail });
    else if (wasFailing) conditions.note(shortId, { failing: undefined });
    if (tries >= failingTries && !wasFailing) {
      log.warn(
        { container: state?.id, ...this.namesOf(shortId), error: detail },
        'container cannot be inspected; retrying',
      );
    }
  }

  namesOf(shortId: string): Names | undefined {
    return namesOf(this.#parts, shortId);
  }

  #reportRefusals(shortId: string, before: State | undefined, state: Running): void {
    const { refusals, startedAt } = state;
    const isSameLife = before?.kind === 'running' && before.startedAt === startedAt;
    // A network that was joined or left can change them.
    if (!isSameLife || hasOthers(refusals, before.refusals)) {
      for (const { code } of refusals) this.#parts.metrics.refusals[code]++;
      if (state.requiredMs === 0) this.#logRefusals(shortId, state);
    }
    if (before?.kind !== 'running' || before.refusals !== refusals) {
      this.#parts.conditions.note(shortId, { refusals: refusals.length > 0 ? refusals : undefined });
    }
  }

  /** A container that offers nothing has nothing to be withheld. */
  #reportTraffic(shortId: string, before: State | undefined, state: Running, decided: Maintenance): void {
    const reason = reasonOf(state);
    const { until, isPublished } = state.verdict;
    const maintenance = reason === 'maintenance' ? decisionOf(decided, shortId) : undefined;
    const { clock, conditions, log } = this.#parts;
    const isSame = before?.kind === 'running' && reasonOf(before) === reason && before.verdict.until === until;
    if (isSame && maintenance === undefined) return;
    if (reason === undefined && before?.kind !== 'running') return;
    const last = conditions.get(shortId)?.traffic;
    const since = last?.reason === reason ? last?.since : undefined;
    const leftMs = until === undefined ? undefined : until - clock.now();
    const wall = clock.wall();
    const began = beganOf(reason, state, maintenance?.mark, clock.now(), wall) ?? since ?? wall;
    conditions.note(shortId, {
      traffic: reason && { reason, isPublished, since: began, until: leftMs && wall + leftMs, maintenance },
    });
    if (reason === undefined || since !== undefined || toldElsewhere.has(reason)) return;
    const fields = {
      container: shortId,
      ...this.namesOf(shortId),
      reason,
      ...(leftMs !== undefined && { seconds: Math.ceil(leftMs / 1000) }),
      ...(reason === 'still-starting' && { seconds: Math.round((wall - began) / 1000) }),
    };
    if (isPublished || reason === 'still-starting') log.warn(fields, withheld[reason].title);
    else log.info(fields, 'withheld');
  }

  #logRefusals(shortId: string, { names, refusals }: Running): void {
    const { log } = this.#parts;
    for (const { code, entry, detail } of refusals.slice(0, refusalsLoggedMax)) {
      log.warn({ container: shortId, ...names, reason: code, entry, detail }, 'advertisement refused');
    }
    const unsaid = refusals.length - refusalsLoggedMax;
    if (unsaid > 0) log.warn({ container: shortId, ...names, refusals: unsaid }, 'further advertisements refused');
  }
}

/** One that runs has its own; of one that is gone, and not yet out of etcd, they are remembered. */
export function namesOf(
  { ledger, states }: Pick<ReportsParts, 'ledger' | 'states'>,
  shortId: string,
): Names | undefined {
  const state = states.get(shortId);
  return (state?.kind === 'running' ? state.names : undefined) ?? ledger.namesOf(shortId);
}

function hasOthers(refusals: readonly Refusal[], than: readonly Refusal[]): boolean {
  return refusals.some(({ code, entry }, index) => code !== than[index]?.code || entry !== than[index]?.entry);
}

const reasonOf = ({ offers, verdict }: Running): ReasonCode | undefined =>
  offers.length === 0 ? undefined : verdict.isPublished ? verdict.note : verdict.reason;

/** The decision for which the container is in maintenance. */
function decisionOf(
  decided: Maintenance,
  shortId: string,
): { readonly mark: Mark; readonly isOfHost: boolean } | undefined {
  const mark = markOf(decided, shortId);
  return mark && { mark, isOfHost: decided.host !== undefined };
}

/**
 * Of crashes the log tells when they are counted, of maintenance when it is decided, and of a stop when its keys are gone:
 * there are as many as starts.
 */
const toldElsewhere: ReadonlySet<ReasonCode> = new Set([
  'draining',
  'flapping',
  'engine-away',
  'maintenance',
  'host-drain',
] as const);

/** Where more is known than when the reason was seen first: the age of a health check, the time of a decision. */
function beganOf(
  reason: ReasonCode | undefined,
  { runsSince }: Running,
  mark: Mark | undefined,
  now: number,
  wall: number,
): number | undefined {
  if (mark?.since !== undefined) return Date.parse(mark.since);
  return reason === 'not-healthy' || reason === 'still-starting' ? wall - (now - runsSince) : undefined;
}
