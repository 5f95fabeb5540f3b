/**
 * Reconciler: from what was found out about containers to what etcd should hold for them.
 *
 * Facts come in as messages: a look, a death, a list, a hint that ports moved. A fact changes the
 * desired column of the ledger and, where that now differs from etcd, wakes the writer. What could
 * not be found out changes nothing: the look is asked for again, ever more slowly, for as long as
 * the engine still lists the container.
 *
 * Order matters in four places. A death older than the start that was published is old news, and only
 * asks for a look; so does a death of which it is not known whether it is older, because a predecessor
 * published the container. A look that was over before a list began that does not show its container is
 * overtaken by the list; where the two overlap, there is another look. And what a predecessor published
 * is judged by lists and looks that began after it was fenced off.
 */

import type { Actor, Ref } from '../actor/actor.ts';
import { Backoff } from '../actor/backoff.ts';
import type { Clock } from '../actor/clock.ts';
import { type ContainerId, type Listed, type Refusal, shortIdOf } from '../container/container.ts';
import { keysOf, type Layout } from '../layout/keys.ts';
import type { Observation } from '../lifecycle/observation.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Conditions } from './conditions.ts';
import type { Keys, Ledger } from './ledger.ts';

/** What is remembered of a container that is thought to run. */
interface Known {
  startedAt: number;
  /** The ticks between which a look saw it run. */
  began: number;
  ended: number;
}

interface Failing {
  readonly backoff: Backoff;
  cancel: () => void;
  /** The tick at which the look began that failed last. */
  began: number;
}

const noKeys: Keys = new Map();
const retryFirstMs = 100;
const retryCapMs = 30_000;
/** Warnings about one container are worth reading; thousands are not. */
const refusalsLoggedMax = 10;

export interface ReconcilerParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly layout: Layout;
  readonly ledger: Ledger;
  readonly conditions: Conditions;
  readonly nextSequence: () => number;
  /** Asks for a look. */
  readonly inspect: (id: ContainerId) => void;
  readonly writer: Ref<string>;
  /** Asks for a list. */
  readonly resync: (kind: 'full' | 'incremental') => void;
  /** A complete list has been taken in. */
  readonly onListed: () => void;
}

export class Reconciler implements Actor<Observation> {
  readonly #parts: ReconcilerParts;
  readonly #known = new Map<ContainerId, Known>();
  readonly #failing = new Map<ContainerId, Failing>();
  /** Whose 12 digits these are: two running containers cannot share them in a key. */
  readonly #holders = new Map<string, ContainerId>();
  /** The tick at which it became known what etcd holds; 0 before the first. */
  #readAt = 0;
  /** The newest complete list, less who is known to have gone since: ids and what it said of their ports. */
  #list: { began: number; fingerprints: Map<ContainerId, string> } = { began: 0, fingerprints: new Map() };

  constructor(parts: ReconcilerParts, signal: AbortSignal) {
    this.#parts = parts;
    signal.addEventListener('abort', () => {
      for (const id of [...this.#failing.keys()]) this.#forgive(id);
    });
    // Started again, it has forgotten what it knew.
    parts.resync('full');
  }

  receive(observations: readonly Observation[]): void {
    for (const observation of observations) {
      switch (observation.kind) {
        case 'inspected':
          this.#looked(observation);
          break;
        case 'died':
          this.#died(observation.id, observation.at);
          break;
        case 'moved':
          // mutant: pass over moves
          if (this.#known.has(observation.id)) this.#parts.inspect(observation.id);
          break;
        case 'listed':
          this.#listed(observation.began, observation.containers, observation.full);
          break;
        case 'read':
          this.#readAt = this.#parts.nextSequence();
          for (const shortId of observation.uncertain) this.#lookAnew(shortId);
          if (this.#list.began > 0) this.#dropUnlisted();
          break;
      }
    }
  }

  #looked({ id, at, began, inspection }: Extract<Observation, { kind: 'inspected' }>): void {
    // mutant: believe an inspection that a list has overtaken
    if (began < this.#list.began && !this.#list.fingerprints.has(id)) {
      // The list is the newer word, and it did not show this container: who saw it run saw the past.
      if (inspection.kind === 'running') this.#parts.inspect(id);
      return;
    }
    if (inspection.kind === 'failed') {
      // mutant (2 lines): ask once only
      // mutant (2 lines): take an error for absence
      this.#retry(id, began, inspection.detail);
      return;
    }
    this.#forgive(id);
    if (inspection.kind === 'down') {
      this.#gone(id, at);
      return;
    }
    const { log, layout } = this.#parts;
    const shortId = shortIdOf(id);
    const holder = this.#holders.get(shortId) ?? id;
    if (holder !== id) {
      log.error({ container: id, holder }, 'not published: its short id belongs to another running container');
      return;
    }
    const { startedAt, services, refusals } = inspection;
    if (this.#known.get(id)?.startedAt !== startedAt) this.#complain(shortId, refusals);
    this.#parts.conditions.note(shortId, { refusals: refusals.length > 0 ? refusals : undefined });
    this.#holders.set(shortId, id);
    this.#known.set(id, { startedAt, began, ended: this.#parts.nextSequence() });
    this.#parts.metrics.running = this.#known.size;
    this.#desire(shortId, services.length > 0 ? keysOf(layout, shortId, services) : noKeys, at);
  }

  #died(id: ContainerId, at: number): void {
    const { ledger } = this.#parts;
    const shortId = shortIdOf(id);
    // mutant: believe a death older than what a predecessor published
    if (ledger.observed(shortId).size > 0 && !this.#known.has(id) && ledger.desired(shortId) === undefined) {
      // A predecessor published it, and may have done so after this death, of which we hear again.
      this.#parts.inspect(id);
      return;
    }
    const startedAt = this.#known.get(id)?.startedAt ?? 0;
    // mutant: believe any death
    if (at !== 0 && at < startedAt) {
      this.#parts.inspect(id);
      return;
    }
    // A look that is to be tried again stays: it may be about a start that came after this death.
    this.#gone(id, at);
  }

  #listed(began: number, containers: readonly Listed[], full: boolean): void {
    // A list may be overtaken by one that was asked for later.
    // mutant: take in a list that was overtaken
    if (began < this.#list.began) return;
    const before = this.#list.fingerprints;
    const fingerprints = new Map(containers.map(({ id, fingerprint }) => [id, fingerprint]));
    this.#list = { began, fingerprints };
    for (const [id, inspect] of this.#known) {
      // mutant (2 lines): believe any list over any inspection
      // mutant: let no list take anything away
      if (fingerprints.has(id) || inspect.began > began) continue;
      // mutant: believe a list that overlaps with an inspection
      if (inspect.ended < began) this.#gone(id);
      // Either may have read the newer state of the two.
      else this.#parts.inspect(id);
    }
    for (const [id, failing] of this.#failing) {
      if (!fingerprints.has(id) && failing.began < began) this.#forgive(id);
    }
    // mutant (2 lines): keep what a predecessor left
    this.#dropUnlisted();
    for (const [id, fingerprint] of fingerprints) {
      // mutant: inspect nothing unknown
      // mutant: inspect the unknown alone
      if (full || !this.#known.has(id) || before.get(id) !== fingerprint) this.#parts.inspect(id);
    }
    this.#parts.onListed();
  }

  /**
   * Another process has published something else of this container than we would. It may have looked later than we,
   * so that ours counts once a look has begun after it was fenced off.
   */
  #lookAnew(shortId: string): void {
    const id = this.#holders.get(shortId);
    if (id === undefined) return;
    this.#holders.delete(shortId);
    // mutant (3 lines): forget what was uncertain and never inspect again
    this.#known.delete(id);
    this.#parts.metrics.running = this.#known.size;
    this.#parts.inspect(id);
  }

  /**
   * What was found in etcd goes, once a complete list does not show its container, or a look found that it
   * offers nothing. A list from before the reading says nothing about what a predecessor may have published
   * after it, so another one is asked for.
   */
  #dropUnlisted(): void {
    const { ledger, resync } = this.#parts;
    // mutant: judge a predecessor by an old list
    const isNewer = this.#list.began > this.#readAt;
    let isUnsure = false;
    const listed = new Set([...this.#list.fingerprints.keys()].map(shortIdOf));
    for (const shortId of [...ledger.published()]) {
      const isIdle = this.#holders.has(shortId) && ledger.desired(shortId) === undefined;
      const isListed = listed.has(shortId) || this.#holders.has(shortId);
      if (isIdle || (!isListed && isNewer)) this.#desire(shortId, noKeys);
      else if (!isListed && ledger.desired(shortId) === undefined) isUnsure = true;
    }
    // mutant: ask for no newer list
    if (isUnsure) resync('incremental');
  }

  #gone(id: ContainerId, at = 0): void {
    const { metrics, conditions } = this.#parts;
    const shortId = shortIdOf(id);
    // mutant (2 lines): remember the dead as known
    this.#known.delete(id);
    metrics.running = this.#known.size;
    // What an unanswered transaction may have left in etcd is found by the next reading, and goes then.
    // mutant: remember the dead as listed
    this.#list.fingerprints.delete(id);
    // While another container holds the 12 digits, its keys are not this one's to take away.
    if ((this.#holders.get(shortId) ?? id) !== id) return;
    this.#holders.delete(shortId);
    conditions.forget(shortId);
    // mutant: publish what has died
    this.#desire(shortId, noKeys, at);
  }

  #desire(shortId: string, keys: Keys, at = 0): void {
    const { ledger, writer } = this.#parts;
    ledger.desire(shortId, keys, at);
    // mutant: tell the writer nothing
    if (ledger.changes(shortId).length > 0) writer.tell(shortId);
    else ledger.answered(shortId);
  }

  #retry(id: ContainerId, began: number, detail: string): void {
    const { clock, log, metrics, conditions } = this.#parts;
    let failing = this.#failing.get(id);
    if (failing === undefined) {
      failing = { backoff: new Backoff(clock, retryFirstMs, retryCapMs), cancel: () => {}, began };
      this.#failing.set(id, failing);
    }
    failing.cancel();
    failing.began = began;
    metrics.inspectionsFailed++;
    // The first failure may be a thread or a connection lost; a container that goes on failing is worth a line.
    if (failing.backoff.failures >= 4) conditions.note(shortIdOf(id), { unreadable: detail });
    if (failing.backoff.failures === 4)
      log.warn({ container: id, error: detail }, 'container cannot be inspected; retrying');
    // mutant: never ask again
    failing.cancel = clock.after(failing.backoff.next(), () => this.#parts.inspect(id));
  }

  #forgive(id: ContainerId): void {
    this.#failing.get(id)?.cancel();
    if (this.#failing.delete(id)) this.#parts.conditions.note(shortIdOf(id), { unreadable: undefined });
  }

  #complain(shortId: string, refusals: readonly Refusal[]): void {
    const { log, metrics } = this.#parts;
    for (const { code } of refusals) metrics.refusals[code]++;
    for (const { code, entry, detail } of refusals.slice(0, refusalsLoggedMax)) {
      log.warn({ container: shortId, reason: code, entry, detail }, 'advertisement refused');
    }
    const unsaid = refusals.length - refusalsLoggedMax;
    if (unsaid > 0) log.warn({ container: shortId, refusals: unsaid }, 'further advertisements refused');
  }
}
