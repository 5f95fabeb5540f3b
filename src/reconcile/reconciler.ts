/**
 * Reconciler: the shell of the life cycle. It turns its messages into observations of single containers, keeps the
 * state of each, and carries out the effects that the life cycle asks for.
 *
 * Nothing about a container is decided here: `lifecycle/reduce.ts` does that. A change of the desired keys goes through
 * `writes.ts` to the ledger and, if the ledger now differs from etcd, wakes the writer. `reports.ts` tells people. States
 * are kept by the short id, because a key in etcd has no more of the id.
 *
 * Memory is bounded by containers, not by events: a container that has gone is remembered until every reading of the
 * engine that began before has arrived.
 */

import type { Actor, Ref, Self } from '../actor/actor.ts';
import type { Clock } from '../actor/clock.ts';
import { type ContainerId, shortIdOf } from '../container/container.ts';
import { type Maintenance, type Mark, markOf, noMaintenance } from '../container/maintenance.ts';
import type { Layout } from '../layout/keys.ts';
import type { Crashes } from '../lifecycle/damping.ts';
import type { PublishPolicy, TakenOut } from '../lifecycle/deserves.ts';
import type { Observation, ReconcilerMessage } from '../lifecycle/observation.ts';
import { type Effect, type Policy, reduce } from '../lifecycle/reduce.ts';
import type { Sequence } from '../lifecycle/sequence.ts';
import { isForgettable, type State } from '../lifecycle/state.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { Alarms } from './alarms.ts';
import type { Conditions } from './conditions.ts';
import { CrashBook } from './crash-book.ts';
import { EngineAway } from './engine-away.ts';
import type { Ledger } from './ledger.ts';
import { MainProcesses, type ProcessTable } from './main-processes.ts';
import { MissedEvents } from './missed-events.ts';
import { NetworkShares } from './network-shares.ts';
import { Reports } from './reports.ts';
import { Writes } from './writes.ts';

const retries = { retryFirstMs: 100, retryCapMs: 30_000 };

export interface ReconcilerParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly layout: Layout;
  readonly ledger: Ledger;
  readonly conditions: Conditions;
  /** When a container deserves traffic; from the configuration. */
  readonly publish: PublishPolicy;
  /** The meta of each instance tells its state, also of those that deserve no traffic. */
  readonly tellsStates?: boolean;
  /** The decisions of people at this moment; undefined: there are none. */
  readonly maintenance?: () => Maintenance;
  /** Whether the host is drained at this moment. */
  readonly isDraining?: () => boolean;
  /** By the 12 digits of a container; emptied when the reconciler starts. Others only read it. */
  readonly states: Map<string, State>;
  readonly sequence: Sequence;
  /** The table of processes of the engine's machine, where it is this one. */
  readonly processes: ProcessTable | undefined;
  /** Asks for an inspection. */
  readonly inspect: (id: ContainerId) => void;
  readonly writer: Ref<string>;
  /** Asks for a list; `silent` where events are missing. */
  readonly resync: (kind: 'full' | 'incremental' | 'silent') => void;
  /** A complete list has been taken in. */
  readonly onListed: () => void;
}

export class Reconciler implements Actor<ReconcilerMessage> {
  readonly #parts: ReconcilerParts;
  readonly #policy: Policy;
  readonly #crashes = new CrashBook();
  readonly #writes: Writes;
  readonly #reports: Reports;
  readonly #engineAway: EngineAway;
  readonly #processes: MainProcesses;
  readonly #alarms: Readonly<Record<'woke' | 'due', Alarms>>;
  #maintenance: Maintenance;
  /** The agent will end, and everything is withdrawn before. */
  #isDraining: boolean;
  readonly #missed: MissedEvents;
  readonly #shares = new NetworkShares();
  /** Containers that only old readings can concern, in the order in which they came to rest. */
  readonly #resting = new Set<string>();
  /** The beginning of the newest complete list, or of this incarnation: older readings belong to an earlier one. */
  #listBegan: number;
  #listEnded: number;
  #hasListed = false;
  /** All readings that began earlier had arrived when the last batch was taken. */
  #settledBefore = 0;
  #isListWanted = false;

  constructor(parts: ReconcilerParts, self: Self<ReconcilerMessage>, signal: AbortSignal) {
    this.#parts = parts;
    this.#policy = { ...retries, ...parts.publish };
    this.#maintenance = parts.maintenance?.() ?? noMaintenance;
    this.#isDraining = parts.isDraining?.() ?? false;
    const { clock, processes: table, states } = parts;
    const alarms = (kind: 'woke' | 'due') => new Alarms(clock, (shortId) => self.tell({ kind, shortId }));
    this.#alarms = { woke: alarms('woke'), due: alarms('due') };
    this.#writes = new Writes(parts);
    this.#reports = new Reports(parts);
    this.#processes = new MainProcesses({ clock, table, states });
    this.#engineAway = new EngineAway({
      clock,
      limitMs: parts.publish.engineAwayMs,
      look: () => this.#lookForProcesses(),
      giveUp: () => this.#giveUpEngine(),
    });
    this.#missed = new MissedEvents(clock, () => parts.resync('silent'));
    // mutant: believe readings of an earlier incarnation
    this.#listBegan = parts.sequence.next();
    this.#listEnded = this.#listBegan;
    states.clear();
    parts.metrics.running = 0;
    signal.addEventListener('abort', () => {
      for (const alarms of Object.values(this.#alarms)) alarms.clear();
      this.#processes.clear();
      this.#missed.clear();
      this.#engineAway.back();
      this.#writes.clear();
    });
    // A restarted reconciler has no states: the published keys may be wrong by now.
    // mutant: forget what was published before a crash
    for (const shortId of [...parts.ledger.containers()]) this.#observe(shortId, { kind: 'found' });
    parts.resync('full');
  }

  receive(messages: readonly ReconcilerMessage[]): void {
    for (const message of messages) {
      switch (message.kind) {
        case 'inspected':
          if (message.inspection.kind === 'failed') this.#parts.metrics.inspectionsFailed++;
          if (message.at > 0) this.#missed.heard(message.id);
          this.#observe(shortIdOf(message.id), message, message.at);
          break;
        case 'died':
          this.#missed.heard(message.id);
          this.#observe(shortIdOf(message.id), message, message.at);
          break;
        case 'killed':
          this.#observe(shortIdOf(message.id), message, message.at);
          break;
        case 'moved':
          this.#observe(shortIdOf(message.id), message);
          break;
        case 'woke':
        case 'due':
          this.#observe(message.shortId, { kind: message.kind });
          break;
        case 'maintenance':
          this.#maintain(message.maintenance);
          break;
        case 'drain':
          this.#isDraining = true;
          this.#observeAll({ kind: 'taken-out' });
          break;
        case 'engine':
          if (message.isAway) this.#engineAway.away();
          else this.#engineAway.back();
          break;
        case 'list':
          this.#listed(message);
          break;
        case 'read':
          this.#read(message.uncertain);
          break;
      }
    }
    this.#forget();
    if (this.#isListWanted && this.#hasListed) this.#parts.resync('incremental');
    this.#isListWanted = false;
  }

  #listed({ began, containers, full, isPeriodic }: Extract<ReconcilerMessage, { kind: 'list' }>): void {
    // A list may be overtaken by a later one.
    // mutant: take in a list that was overtaken
    if (began < this.#listBegan) return;
    const { sequence, states } = this.#parts;
    this.#listBegan = began;
    // An engine that lists is there, even if no program can follow its events.
    this.#engineAway.back();
    // The first list shows changes without an event. So does a list after a gap, after an event that was too large to read,
    // and while events are late.
    const isCheck = isPeriodic && !full && this.#hasListed;
    this.#hasListed = true;
    if (!isCheck) this.#missed.clear();
    const shown = new Set<string>();
    for (const { id } of containers) shown.add(id).add(shortIdOf(id));
    for (const [shortId, { id, kind }] of [...states]) {
      // mutant: let no list take anything away
      if (shown.has(id ?? shortId)) continue;
      this.#observe(shortId, { kind: 'unlisted', began });
      if (isCheck && kind === 'running' && states.get(shortId)?.kind !== 'running') this.#missed.suspect(id);
    }
    for (const { id, fingerprint } of containers) {
      if (isCheck && !states.has(shortIdOf(id))) this.#missed.suspect(id);
      this.#observe(shortIdOf(id), { kind: 'listed', id, began, fingerprint, full });
    }
    this.#listEnded = sequence.next();
    this.#parts.onListed();
  }

  #read(uncertain: readonly string[]): void {
    const { ledger } = this.#parts;
    for (const shortId of uncertain) {
      this.#writes.cancel(shortId);
      this.#observe(shortId, { kind: 'fenced' });
    }
    for (const shortId of [...ledger.published()]) {
      if (ledger.desired(shortId) === undefined) this.#observe(shortId, { kind: 'found' });
    }
  }

  /** `at`: the time of the event that led to this, 0 if no event did. */
  #observe(shortId: string, observation: Observation, at = 0): void {
    const { clock, metrics, sequence, states } = this.#parts;
    const before = states.get(shortId);
    const context = {
      takenOut: this.#takenOut(shortId),
      crashes: this.#crashes.size > 0 ? this.#crashes.get(replicaOf(before, observation) ?? shortId) : undefined,
      isGivenUp: this.#engineAway.hasGivenUp,
      now: clock.now(),
      wall: clock.wall(),
      moment: sequence.next(),
      listBegan: this.#listBegan,
      listEnded: this.#listEnded,
      chance: clock.random(),
      policy: this.#policy,
    };
    const { state, desired, effects, crashes } = reduce(before, observation, context);
    if (crashes !== undefined) this.#crashed(shortId, replicaOf(before, observation) ?? shortId, crashes);
    if (state !== before) this.#keep(shortId, before, state);
    if (before?.kind === 'running') metrics.running--;
    if (state?.kind === 'running') metrics.running++;
    if (desired !== undefined) this.#writes.desire(shortId, desired, at, state?.kind === 'running' ? state : undefined);
    for (const effect of effects) this.#carryOut(effect);
    if (changesNetwork[observation.kind]) {
      for (const id of this.#shares.of(before?.id ?? state?.id)) this.#parts.inspect(id);
    }
    if (observation.kind === 'inspected') this.#checkOwners(observation);
  }

  /** What happened to the owner of a network during the inspection came too early for `#shares`. */
  #checkOwners({ id, began, inspection }: Extract<Observation, { kind: 'inspected' }>): void {
    if (inspection.kind !== 'running' || inspection.sharesWith === undefined) return;
    const isOver = inspection.sharesWith.some((owner) => {
      const state = this.#parts.states.get(shortIdOf(owner));
      if (state === undefined) return false;
      const since = state.kind === 'running' ? state.ended : state.kind === 'gone' ? state.since : state.movedAt;
      return Math.max(since, state.death?.heard ?? 0) > began;
    });
    // mutant: believe what was read before the owner of the network changed
    if (isOver) this.#parts.inspect(id);
  }

  #observeAll(observation: Observation): void {
    for (const shortId of [...this.#parts.states.keys()]) this.#observe(shortId, observation);
  }

  #takenOut(shortId: string): TakenOut | undefined {
    if (this.#maintenance !== noMaintenance && markOf(this.#maintenance, shortId) !== undefined) return 'maintenance';
    return this.#isDraining ? 'host-drain' : undefined;
  }

  #maintain(maintenance: Maintenance): void {
    const { log } = this.#parts;
    const before = this.#maintenance;
    this.#maintenance = maintenance;
    const tell = (from: Mark | undefined, to: Mark | undefined, container?: string): void => {
      const fields = {
        ...(container !== undefined && { container, ...this.#reports.namesOf(container) }),
        ...(to ?? from),
      };
      log.info(
        fields,
        `maintenance ${to === undefined ? 'off' : 'on'}: ${container === undefined ? 'host' : 'container'}`,
      );
    };
    const isOfAll = !isSameMark(before.host, maintenance.host);
    if (isOfAll) tell(before.host, maintenance.host);
    for (const shortId of new Set([...before.containers.keys(), ...maintenance.containers.keys()])) {
      const [from, to] = [before.containers.get(shortId), maintenance.containers.get(shortId)];
      if (isSameMark(from, to)) continue;
      tell(from, to, shortId);
      // mutant: pass over the maintenance of a container
      if (!isOfAll) this.#observe(shortId, { kind: 'taken-out' });
    }
    // mutant: pass over the maintenance of a host
    if (isOfAll) this.#observeAll({ kind: 'taken-out' });
  }

  #lookForProcesses(): void {
    const { log, sequence } = this.#parts;
    for (const shortId of this.#processes.ended()) {
      log.info({ container: shortId, ...this.#reports.namesOf(shortId) }, 'ended while the engine is away');
      this.#observe(shortId, { kind: 'ended', heard: sequence.next() });
    }
  }

  #giveUpEngine(): void {
    const { log, publish } = this.#parts;
    log.warn(
      { seconds: publish.engineAwayMs / 1000 },
      'engine is away for long: everything is withdrawn until it is back',
    );
    this.#observeAll({ kind: 'given-up' });
  }

  #crashed(shortId: string, replica: string, crashes: Crashes): void {
    const { clock, log } = this.#parts;
    const before = this.#crashes.get(replica)?.requiredMs ?? 0;
    this.#crashes.note(replica, crashes, clock.now(), this.#policy);
    // A line for each doubling, and none once it is held for the longest time.
    if (crashes.requiredMs <= before) return;
    log.warn(
      { container: shortId, ...this.#reports.namesOf(shortId), reason: 'flapping', seconds: crashes.requiredMs / 1000 },
      'held: it crashes again and again',
    );
  }

  #keep(shortId: string, before: State | undefined, state: State | undefined): void {
    const { states } = this.#parts;
    if (state === undefined) states.delete(shortId);
    else states.set(shortId, state);
    const shared = before?.kind === 'running' ? before.sharesWith : undefined;
    const shares = state?.kind === 'running' ? state.sharesWith : undefined;
    if (before?.id !== undefined && shared !== undefined) this.#shares.note(before.id);
    if (state?.id !== undefined && shares !== undefined) this.#shares.note(state.id, shares);
    if (state?.wakeAt !== before?.wakeAt) this.#alarms.woke.set(shortId, state?.wakeAt);
    if (state?.dueAt !== before?.dueAt) this.#alarms.due.set(shortId, state?.dueAt);
    if (state?.kind === 'running' && before?.kind !== 'running') this.#processes.started();
    if (before !== undefined && isForgettable(before, Number.POSITIVE_INFINITY)) this.#resting.delete(shortId);
    if (state !== undefined && isForgettable(state, Number.POSITIVE_INFINITY)) this.#resting.add(shortId);
    this.#reports.report(shortId, before, state, this.#maintenance);
  }

  #carryOut(effect: Effect): void {
    const { inspect, log } = this.#parts;
    if (effect.kind === 'inspect') inspect(effect.id);
    else if (effect.kind === 'list') this.#isListWanted = true;
    else {
      const fields = { container: effect.id, holder: effect.holder };
      log.error(fields, 'not published: another running container has the same short id');
    }
  }

  /** Forgets states that no reading can concern. A reading that has ended may still wait until the next batch. */
  #forget(): void {
    const { sequence, states } = this.#parts;
    if (this.#resting.size > 0) {
      for (const shortId of this.#resting) {
        const state = states.get(shortId);
        if (state !== undefined && !isForgettable(state, this.#settledBefore)) break;
        states.delete(shortId);
        this.#resting.delete(shortId);
      }
    }
    // mutant: forget what was not yet received
    this.#settledBefore = sequence.oldest;
  }
}

/** What may end the network of a container, or give it other addresses. A move leads to an inspection. */
const changesNetwork: Partial<Record<Observation['kind'], true>> = {
  ...{ inspected: true, died: true, unlisted: true, ended: true },
};

const isSameMark = (one: Mark | undefined, other: Mark | undefined): boolean =>
  one === other || JSON.stringify(one) === JSON.stringify(other);

/** What a container has in common with one that takes its place, if an inspection has told. */
function replicaOf(state: State | undefined, observation: Observation): string | undefined {
  if (observation.kind === 'inspected' && observation.inspection.kind === 'running') {
    return observation.inspection.traffic?.replica;
  }
  return state?.kind === 'running' ? state.traffic?.replica : undefined;
}
