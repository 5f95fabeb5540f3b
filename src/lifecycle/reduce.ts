/**
 * The life cycle of one container: from its state and an observation to its next state.
 *
 * Pure. Everything that is true of a container is decided here, and only here: whether a death is news, whether a
 * reading was overtaken, when an inspection is needed, whether the keys of another process stay.
 *
 * One property decides whether this is right: any order of observations, with losses and repetitions, that ends in
 * a list begun last leaves `desired` as that list and the inspections after it say.
 *
 * The order of things, as rules:
 * - A death older than the start that is published is old news and only asks for an inspection. So does a death of a
 *   container whose keys another process has written, perhaps after that death.
 * - An inspection that began before a death was heard of shows the past, unless it saw a start after that death or
 *   failed. A failure shows nothing, and its retry may be about a later start. Of a death without a time no start is known
 *   to come after it; but it counts against no inspection that began after it was heard of.
 * - A list that does not show the container overtakes an inspection that was over before the list began. If the two
 *   overlap, either may have read the newer state, so there is another inspection. A later list that shows the container
 *   does not make the older inspection true again.
 * - The keys of another process are removed by a list that began after they were found, or by an inspection.
 * - A signal is of the life in which it was sent, and is remembered for a life that no inspection has seen yet. What a signal,
 *   the health or a pause mean for traffic is in `deserves.ts`.
 *
 * An accepted limit: an incremental list asks for an inspection only if it shows other ports than the list before. If
 * ports change and change back between two lists, without events, and an inspection comes in between, the lists show no
 * change. A full list corrects that, and each renewal of the event stream brings one.
 */

import type { ContainerId, Inspection, Service } from '../container/container.ts';
import { afterCrash, type Crashes, requiredMs as requiredOf } from './damping.ts';
import { deserves, type PublishPolicy, type Signal, stopMs, type TakenOut } from './deserves.ts';
import type { Died, Inspected, Killed, Moved, Observation } from './observation.ts';
import type { Gone, Running, State, Unknown } from './state.ts';

/** The settings of the life cycle; from the configuration. */
export interface Policy extends PublishPolicy {
  /** The wait after the first failed inspection, and the longest one, in milliseconds. */
  readonly retryFirstMs: number;
  readonly retryCapMs: number;
}

export interface Context {
  /** Milliseconds of the agent's clock, which never goes back. */
  readonly now: number;
  /** Milliseconds since the epoch, for the age of a container that ran before the agent did. */
  readonly wall: number;
  /** The present moment of the logical clock. */
  readonly moment: number;
  /** When the newest complete list began. */
  readonly listBegan: number;
  /** When the newest complete list was taken in; for `listed` and `unlisted`, the one before. */
  readonly listEnded: number;
  /** The engine was given up, and is not back. */
  readonly isGivenUp: boolean;
  /** Whether the container is taken out of traffic, and why. */
  readonly takenOut: TakenOut | undefined;
  /** Of the container, or of those whose place it takes. */
  readonly crashes: Crashes | undefined;
  /** Chance, in [0, 1). */
  readonly chance: number;
  readonly policy: Policy;
}

export type Effect =
  /** Inspect this container. */
  | { readonly kind: 'inspect'; readonly id: ContainerId }
  /** List the running containers. */
  | { readonly kind: 'list' }
  /** The container cannot be published: another one that runs has the same 12 digits. */
  | { readonly kind: 'clash'; readonly id: ContainerId; readonly holder: ContainerId };

export interface Transition {
  /** Undefined: there is nothing to remember. */
  readonly state: State | undefined;
  /** The offers that should be published; undefined: no opinion, so the keys in etcd stay. */
  readonly desired?: readonly Service[];
  readonly effects: readonly Effect[];
  /** The crashes of a container that has just crashed. They outlive its state. */
  readonly crashes?: Crashes | undefined;
}

export function reduce(state: State | undefined, observation: Observation, context: Context): Transition {
  switch (observation.kind) {
    case 'inspected':
      return inspected(state, observation, context);
    case 'killed':
      return killed(state, observation, context);
    case 'died':
      return died(state, observation, context);
    case 'moved':
      return moved(state, observation);
    case 'listed':
      return listed(state, observation, context);
    case 'unlisted':
      return state === undefined ? unchanged(state) : unlisted(state, observation.began, context);
    case 'found':
      return found(state, context);
    case 'fenced':
      return fenced(state, context);
    case 'woke':
      return woke(state);
    case 'due':
      return due(state, context);
    case 'ended':
      return ended(state, observation.heard, context);
    case 'given-up':
      return givenUp(state, context);
    case 'taken-out':
      return takenOut(state, context);
  }
}

function inspected(state: State | undefined, seen: Inspected, context: Context): Transition {
  const { id, began, inspection } = seen;
  // mutant: publish over another with the same short id
  const holder = otherHolder(state, id);
  if (holder !== undefined) {
    // mutant: warn of another one that does not run
    return { state, effects: inspection.kind === 'running' ? [{ kind: 'clash', id, holder }] : [] };
  }
  const known = knownAs(state, id);
  const { listing } = known;
  // A list that shows the container has asked for another inspection.
  // mutant: believe an inspection that overlaps with a list
  if (listing === undefined && inspection.kind === 'running' && began < context.listEnded) {
    // mutant: drop an inspection that a list has overtaken
    return { state, effects: [inspect(id)] };
  }
  // mutant: believe an inspection that a list has overtaken
  // mutant: believe an inspection from before a list that did not show it
  const isPast = began < (listing?.since ?? context.listBegan);
  // mutant: retry what a newer list does not show
  if (isPast && known.failing === undefined) return unchanged(state);
  // mutant: take an error for absence
  if (inspection.kind === 'failed') return failed(known, began, inspection.detail, context);
  // mutant: believe an inspection that a death has overtaken
  // mutant: let no inspection that was overtaken end a retry
  if (isPast || isOvertakenByDeath(known, seen)) return unchanged(known.failing ? settled(known) : state);
  switch (inspection.kind) {
    case 'down':
      // mutant: retry what was seen down
      return counted(known, gone(settled(known), id, context), context);
    case 'running':
      return ran(known, seen, inspection, context);
  }
}

function ran(
  known: State,
  { id, began, at }: Inspected,
  { startedAt, services, refusals, names, traffic, sharesWith }: Extract<Inspection, { kind: 'running' }>,
  context: Context,
): Transition {
  const isSameLife = known.kind === 'running' && known.startedAt === startedAt;
  const signals = isSameLife ? known.signals : sentSince(known.signals, startedAt);
  const { now, policy, crashes, isGivenUp, takenOut } = context;
  // It cannot have run before it crashed last.
  const oldest = Math.max(
    crashes?.times.at(-1) ?? Number.NEGATIVE_INFINITY,
    now - (at > 0 ? 0 : ageOf(startedAt, context)),
  );
  const runsSince = isSameLife ? known.runsSince : oldest;
  const requiredMs = isSameLife ? known.requiredMs : requiredOf(crashes, now, policy);
  const verdict = deserves({ traffic, signals, runsSince, requiredMs, isGivenUp, takenOut }, now, policy);
  // mutant: see the end of an inspection at its beginning
  const ended = context.moment;
  const state: Running = {
    kind: 'running',
    id,
    // mutant: forget the place in a list at an inspection
    listing: known.listing,
    death: known.death,
    movedAt: 0,
    // mutant: count old failures after a success
    failing: undefined,
    // mutant: keep a retry after a success
    wakeAt: undefined,
    // mutant: forget when it started
    startedAt,
    ended,
    offers: services,
    refusals,
    names,
    sharesWith,
    traffic,
    signals,
    runsSince,
    requiredMs,
    isGivenUp,
    // mutant: forget the maintenance at an inspection
    takenOut,
    verdict,
    dueAt: verdict.until ?? verdict.again,
  };
  // mutant: inspect for ever after a move
  // mutant: pass over a move during an inspection
  const isOld = began < known.movedAt;
  return { state, desired: wantedOf(state), effects: isOld ? [inspect(id)] : [] };
}

const nothing: readonly Service[] = [];
const noSignals: readonly Signal[] = [];
const signalless = { signals: noSignals, dueAt: undefined };

/** What should be published of a container that runs. */
function wantedOf({ verdict, offers }: Running): readonly Service[] {
  // mutant: publish whatever runs
  return verdict.isPublished ? offers : nothing;
}

/** How long it has run by the engine's clock, in milliseconds; 0 where that clock is ahead, or does not say. */
function ageOf(startedAt: number, { wall }: Context): number {
  return startedAt === 0 ? 0 : Math.max(0, wall - startedAt / 1e6);
}

/** Signals of an earlier life say nothing of this one. */
function sentSince(signals: readonly Signal[], startedAt: number): readonly Signal[] {
  if (signals.length === 0) return noSignals;
  // mutant: take signals into the next life
  const own = signals.filter(({ at }) => at === 0 || at >= startedAt);
  // One number in two lives, whose death and start were not heard of: only the last is known to be of this one.
  // mutant: begin a drain in an earlier life
  return own.map((one) => (one.firstAt >= startedAt ? one : { ...one, firstAt: one.at, since: one.last }));
}

function killed(state: State | undefined, sent: Killed, context: Context): Transition {
  const { id, at, signal: number } = sent;
  // mutant: let a signal to another one count
  if (otherHolder(state, id) !== undefined) return unchanged(state);
  const known = knownAs(state, id);
  const { now } = context;
  // A repeated event, or one that comes late.
  // mutant: take signals of an earlier life
  const isPast = at !== 0 && (known.kind === 'running' ? at < known.startedAt : at <= (known.death?.at ?? 0));
  // A signal without its number asks nothing of a life that is not seen yet.
  if (isPast || (number === 0 && known.kind !== 'running')) return unchanged(state);
  const before = known.signals.find((one) => one.number === number);
  // A container that ignores its stop signal is withdrawn once, however often the signal is sent.
  // mutant: drain again at each signal
  const signal = before === undefined ? { number, firstAt: at, at, since: now, last: now } : sentAgain(before, at, now);
  const signals = [...known.signals.filter((one) => one !== before), signal];
  if (known.kind === 'running') return judged(known, context, { signals });
  // mutant: forget signals before the first inspection
  return { state: { ...known, ...unseen(signals, context) }, effects: [] };
}

/** Events may overtake each other. */
function sentAgain(before: Signal, at: number, now: number): Signal {
  if (at < before.at) return { ...before, firstAt: Math.min(at, before.firstAt) };
  return { ...before, at, last: now };
}

/** Signals to a life that no inspection has seen are of use for as long as a container takes to stop. */
function unseen(signals: readonly Signal[], { now, policy }: Context): Pick<State, 'signals' | 'dueAt'> {
  return signals.length === 0 ? signalless : { signals, dueAt: now + stopMs({}, policy) };
}

function due(state: State | undefined, context: Context): Transition {
  if (state === undefined) return unchanged(state);
  // mutant: keep a verdict for ever
  if (state.kind === 'running') return judged(state, context);
  // The message may be about an earlier moment.
  if (context.now < (state.dueAt ?? 0)) return unchanged(state);
  // mutant: remember signals of the dead for ever
  return unchanged({ ...state, signals: noSignals, dueAt: undefined });
}

/** The same as a death without a time, but no crash: an engine that ends may end its containers. */
function ended(state: State | undefined, heard: number, context: Context): Transition {
  if (state?.kind !== 'running') return unchanged(state);
  return gone(state, state.id, context, { heard, at: state.death?.at ?? 0, untimed: heard });
}

function givenUp(state: State | undefined, context: Context): Transition {
  if (state?.kind === 'running') return judged(state, context, { isGivenUp: true });
  // What a predecessor has left is not confirmed either.
  return state?.kind === 'unknown' && state.foundAt > 0 ? { state, desired: nothing, effects: [] } : unchanged(state);
}

function takenOut(state: State | undefined, context: Context): Transition {
  // mutant: pass over maintenance
  if (state?.kind === 'running') return judged({ ...state, takenOut: context.takenOut }, context);
  const isLeft = state?.kind === 'unknown' && state.foundAt > 0;
  // mutant: keep what a predecessor left in maintenance
  return isLeft && context.takenOut !== undefined ? { state, desired: nothing, effects: [] } : unchanged(state);
}

/** The same facts at another time, or other facts. */
function judged(
  state: Running,
  { now, policy }: Context,
  { signals = state.signals, isGivenUp = state.isGivenUp }: Partial<Pick<Running, 'signals' | 'isGivenUp'>> = {},
): Transition {
  const { traffic, runsSince, requiredMs, takenOut } = state;
  const verdict = deserves({ traffic, signals, runsSince, requiredMs, isGivenUp, takenOut }, now, policy);
  const next = { ...state, signals, isGivenUp, verdict, dueAt: verdict.until ?? verdict.again };
  return { state: next, desired: wantedOf(next), effects: [] };
}

function failed(known: State, began: number, detail: string, { now, chance, policy }: Context): Transition {
  // mutant: count no failures
  const tries = (known.failing?.tries ?? 0) + 1;
  // Exponential, with jitter over the upper half, so that containers that failed together are not asked for together.
  // mutant: wait without a limit
  const ceilingMs = Math.min(policy.retryCapMs, policy.retryFirstMs * 2 ** Math.min(tries - 1, 30));
  // mutant: ask once only
  // mutant: retry at once by chance
  const wakeAt = now + ceilingMs * (0.5 + chance / 2);
  // mutant: let any list end a retry
  return { state: { ...known, failing: { tries, began, detail }, wakeAt }, effects: [] };
}

function woke(state: State | undefined): Transition {
  if (state?.id === undefined || state.wakeAt === undefined) return unchanged(state);
  // mutant: wake without asking
  // mutant: stay awake
  return { state: { ...state, wakeAt: undefined }, effects: [inspect(state.id)] };
}

function died(state: State | undefined, { id, at, heard, isAsked }: Died, context: Context): Transition {
  // mutant: let a container die for another one
  if (otherHolder(state, id) !== undefined) return unchanged(state);
  const known = knownAs(state, id);
  // mutant: take a death without a time for an old one
  const untimed = at === 0 ? heard : (known.death?.untimed ?? 0);
  // mutant: hear of a death too early
  // mutant: let the newest death alone count
  const death = { heard, at: Math.max(at, known.death?.at ?? 0), untimed };
  // mutant: take every death for old news
  // mutant: believe any death
  const isOldNews = known.kind === 'running' && at !== 0 && at < known.startedAt;
  // mutant: believe a death older than what a predecessor published
  const isForeign = known.kind === 'unknown' && known.foundAt > 0;
  // mutant: drop a death that is old news
  if (isOldNews || isForeign) return { state: { ...known, death }, effects: [inspect(id)] };
  // A retry stays: it may be about a start that came after this death.
  // mutant: end a retry at a death
  const transition = gone(known, id, context, death);
  // mutant: count a death that may have been asked for
  return isAsked ? transition : counted(known, transition, context);
}

/** An end is counted once, by whatever tells of it first: an engine may disconnect the network before it tells of the death. */
function counted(known: State, transition: Transition, context: Context): Transition {
  const crashes = isCrash(known, context) ? afterCrash(context.crashes, context.now, context.policy) : undefined;
  return crashes === undefined ? transition : { ...transition, crashes };
}

/** Whether nothing from outside came before the death of a container that ran; a signal lately, or its stop. */
function isCrash(known: State, { now, policy }: Context): boolean {
  if (known.kind !== 'running') return false;
  const { signals, traffic = {} } = known;
  return !signals.some(({ last }) => now - last < stopMs(traffic, policy));
}

function moved(state: State | undefined, { id, heard, health }: Moved): Transition {
  // mutant: let a container move for another one
  if (otherHolder(state, id) !== undefined) return unchanged(state);
  const known = knownAs(state, id);
  // Podman tells the health after each check. An inspection under way may have seen it as it was before.
  const isKnown = health !== undefined && known.kind === 'running' && known.traffic?.health === health;
  if (isKnown) return unchanged({ ...known, movedAt: heard });
  // mutant: pass over a move
  if (known.kind === 'running') return { state: known, effects: [inspect(id)] };
  // mutant: forget a move before a start
  return { state: { ...known, movedAt: heard }, effects: [] };
}

function listed(
  state: State | undefined,
  { id, began, fingerprint, full }: Extract<Observation, { kind: 'listed' }>,
  { listEnded }: Context,
): Transition {
  // mutant: list a container for another one
  if (otherHolder(state, id) !== undefined) return { state, effects: [inspect(id)] };
  const known = knownAs(state, id);
  // mutant: inspect nothing unknown
  // mutant: inspect the unknown alone
  // mutant: take a full list for an incremental one
  const isNews = full || known.kind !== 'running' || known.listing?.fingerprint !== fingerprint;
  // mutant: take each list for the first
  const since = known.listing?.since ?? listEnded;
  // mutant: remember no fingerprint
  // mutant: date no list
  return { state: { ...known, listing: { began, since, fingerprint } }, effects: isNews ? [inspect(id)] : [] };
}

function unlisted(state: State, began: number, context: Context): Transition {
  const isRetried = state.failing !== undefined && state.failing.began > began;
  // mutant: retry what is not listed
  // mutant: keep the place in a list that shows it no more
  const known = isRetried ? unlist(state) : unlist(settled(state));
  // A retry and a signal to a newer life are worth remembering: the list has overtaken all inspections that a death or a move could.
  const isWorth = isRetried || known.signals.length > 0;
  const rest = isWorth ? unknownOf(known, known.id, 0, unseen(known.signals, context)) : undefined;
  if (known.kind === 'running') {
    // mutant: believe any list over any inspection
    // mutant: believe an inspection over a list that overlaps with it
    if (known.ended > began) return { state: known, effects: [inspect(known.id)] };
    // mutant: forget everything at a list that withdraws
    return { state: rest, desired: [], effects: [] };
  }
  if (known.kind === 'unknown' && known.foundAt > 0) {
    // mutant: judge what a predecessor left by an old list
    if (known.foundAt > began) return { state: known, effects: [{ kind: 'list' }] };
    // mutant: keep what a predecessor left
    // mutant: forget everything at a list that judges what a predecessor left
    return { state: rest, desired: [], effects: [] };
  }
  // mutant: end a retry at an older list
  return unchanged(rest && known);
}

function found(state: State | undefined, context: Context): Transition {
  const { listBegan, moment } = context;
  // mutant: keep what was found of a container that offers nothing
  if (state?.kind === 'running') return { state, desired: wantedOf(state), effects: [] };
  const isListed = state?.listing !== undefined && state.listing.began === listBegan;
  // mutant: forget that keys were found
  // mutant: end a retry where keys are found
  const next = unknownOf(state, state?.id, moment);
  // mutant: ask for no newer list
  return foundAs(next, isListed ? [] : [{ kind: 'list' }], context);
}

/** What is in etcd stays until a reading judges it, unless people have decided already. */
function foundAs(state: Unknown, effects: readonly Effect[], { takenOut }: Context): Transition {
  // mutant: keep what is found of a host in maintenance
  return takenOut === undefined ? { state, effects } : { state, desired: nothing, effects };
}

function fenced(state: State | undefined, context: Context): Transition {
  if (state?.kind !== 'running') return found(state, context);
  // mutant: forget what was uncertain and never inspect again
  const effects: Effect[] = [inspect(state.id)];
  // mutant: take the uncertain for certain
  // mutant: fence and forget
  return foundAs(unknownOf(state, state.id, context.moment, unseen(state.signals, context)), effects, context);
}

function gone(known: State, id: ContainerId, context: Context, death = known.death): Transition {
  const { movedAt, failing, wakeAt } = known;
  // Events may overtake each other: what was sent after the death is of a life that is not seen yet.
  const signals = known.signals.length === 0 ? noSignals : known.signals.filter(({ at }) => at > timeOf(death));
  const { dueAt } = unseen(signals, context);
  const state: Gone = {
    kind: 'gone',
    id,
    // mutant: remember the dead as listed
    listing: undefined,
    // mutant: forget the death of the dead
    death,
    // mutant: forget a move at a death
    movedAt,
    failing,
    wakeAt,
    signals,
    dueAt,
    since: context.moment,
  };
  return { state, desired: nothing, effects: [] };
}

/** Infinite where the newest has no time: what was heard of before it was sent before it. */
function timeOf(death: State['death']): number {
  return death === undefined ? 0 : death.untimed === death.heard ? Number.POSITIVE_INFINITY : death.at;
}

/** Whether the inspection may have seen the life that this death ended. */
function isOvertakenByDeath({ death }: State, { at, began, inspection }: Inspected): boolean {
  // mutant: let a death overtake what began after it
  if (death === undefined || began > death.heard) return false;
  // mutant: let a death without a time overtake all that comes
  if (began <= death.untimed) return true;
  if (at > death.at) return false;
  // mutant: drop what was overtaken by a death, even a later start
  return !(inspection.kind === 'running' && inspection.startedAt > death.at);
}

/** The container that has the 12 digits, if it is not this one. */
function otherHolder(state: State | undefined, id: ContainerId): ContainerId | undefined {
  return state?.kind === 'running' && state.id !== id ? state.id : undefined;
}

/** The state of this container, even if the state with its short id is that of another container. */
function knownAs(state: State | undefined, id: ContainerId): State {
  if (state?.id === id) return state;
  // mutant: forget keys that were found under the short id
  const foundAt = state?.kind === 'unknown' ? state.foundAt : 0;
  // mutant: inherit from another one with the same short id
  return unknownOf(state?.id === undefined ? state : undefined, id, foundAt);
}

/** No opinion; the rest is kept. Each state is made in one step: copies of copies cost time on the hot path. */
function unknownOf(
  state: State | undefined,
  id: ContainerId | undefined,
  foundAt: number,
  { signals, dueAt }: Pick<State, 'signals' | 'dueAt'> = state ?? signalless,
): Unknown {
  return {
    kind: 'unknown',
    id,
    listing: state?.listing,
    death: state?.death,
    movedAt: state?.movedAt ?? 0,
    failing: state?.failing,
    wakeAt: state?.wakeAt,
    signals,
    dueAt,
    foundAt,
  };
}

/** No list shows it any more. */
function unlist<Known extends State>(state: Known): Known {
  return { ...state, listing: undefined };
}

/** No retry is due any more. */
function settled<Known extends State>(state: Known): Known {
  if (state.failing === undefined && state.wakeAt === undefined) return state;
  return { ...state, failing: undefined, wakeAt: undefined };
}

function inspect(id: ContainerId): Effect {
  return { kind: 'inspect', id };
}

function unchanged(state: State | undefined): Transition {
  return { state, effects: [] };
}
