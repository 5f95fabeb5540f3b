/**
 * The properties of the life-cycle machine:
 * - Any order of observations that ends in a list begun last leaves `desired` as that list, and the inspections after
 *   it, say.
 * - Where no event is lost, no list is needed.
 * - What is right already costs no inspection. A start and a move cost one each.
 * - `desired` never goes back in time: the keys of a life that is over stay away, and the keys of a life that lasts
 *   stay.
 * - When all is calm, `desired` is at least as new as the newest reading and the newest death.
 * - Keys of unknown origin stay until a reading judges them.
 * - A container that is ill, or was asked to stop, is not published once that is known; in the end every container is
 *   published that is well, also if it has ignored its stop signal.
 * - Nothing is published of a container while people keep it out, whatever is seen or found; then it is published again.
 * - A failed inspection is repeated, after a wait that grows up to a cap.
 * - When all is calm, the machine remembers nothing of the dead.
 *
 * A container lives through starts, deaths and moves of its port. Readings of it take time: they see the engine at some
 * moment between their beginning and their end, and they may fail. Events come late, twice, in another order, or never.
 * A death withdraws a request for an inspection that still waits. Messages wait in the mailbox of the machine. The
 * machine is restarted now and then and has forgotten everything. What it desires is kept apart, as the ledger keeps it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ContainerId, Inspection, Service } from '../../src/container/container.ts';
import type { Health } from '../../src/container/traffic.ts';
import { type InspectionRequest, isNeedless, merged, type Observation } from '../../src/lifecycle/observation.ts';
import { type Context, reduce, type Transition } from '../../src/lifecycle/reduce.ts';
import { Sequence } from '../../src/lifecycle/sequence.ts';
import { isForgettable, nameOf, type State } from '../../src/lifecycle/state.ts';

const id = 'a'.repeat(64) as ContainerId;
/** A tick is a millisecond. */
const publish = {
  health: 'exclude-unhealthy',
  drain: true,
  paused: 'keep',
  afterMs: 0,
  stopGraceMs: 5,
  flapDeaths: 0,
  flapMs: 0,
  engineAwayMs: 0,
} as const;
const policy = { retryFirstMs: 2, retryCapMs: 16, ...publish };
const stopSignal = 15;
/** How long a container has to obey. */
const stopMs = publish.stopGraceMs;
const chances = [0, 0.5, 0.999, 0.25];
/** Failed inspections in a row from which on people see the container as failing. */
const failingTries = 5;

/** A change of the container, and how its event arrives. */
interface Change {
  readonly hasOffer: boolean;
  readonly delay: number;
  readonly times: number;
  readonly timed: boolean;
}

type Step =
  /** The container's own life. */
  | ({ readonly kind: 'start' | 'move' | 'health' | 'die' | 'restart' } & Change)
  /** Somebody sends a signal. Its event arrives like that of a change. */
  | ({ readonly kind: 'kill'; readonly signal: number } & Change)
  /** An inspection that no change needs. */
  | { readonly kind: 'inspect' }
  /** A list: how long until the engine is read, and until the answer is there. */
  | { readonly kind: 'list'; readonly reads: number; readonly lasts: number; readonly full: boolean }
  /** A person takes it out of traffic, or lets it in again. */
  | { readonly kind: 'maintenance' }
  /** The machine does not read its mailbox for some ticks. */
  | { readonly kind: 'stall'; readonly ticks: number }
  | { readonly kind: 'found' | 'fenced' | 'woke' | 'crash' };

/** An inspection: how long until it begins, until the engine is read, and until the answer is there. */
interface Answer {
  readonly waits: number;
  readonly reads: number;
  readonly lasts: number;
  readonly fails: boolean;
}

const promptAnswer: Answer = { waits: 0, reads: 1, lasts: 1, fails: false };

const delay = fc.nat({ max: 6 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 14,
    arbitrary: fc.record({
      kind: fc.constantFrom('start' as const, 'move' as const, 'die' as const, 'restart' as const),
      hasOffer: fc.nat({ max: 4 }).map((n) => n > 0),
      delay,
      times: fc.nat({ max: 2 }),
      timed: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: 'inspect' }) },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('list' as const), reads: delay, lasts: delay, full: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('stall' as const), ticks: fc.integer({ min: 1, max: 4 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constantFrom('found' as const, 'fenced' as const, 'woke' as const) }),
  },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'crash' }) },
);
/** Health and signals, between the changes. */
const trafficStep: fc.Arbitrary<Step> = fc.oneof(
  // Without its time a death that a signal has overtaken says nothing of the order.
  { weight: 2, arbitrary: step.map((one) => ('timed' in one ? { ...one, timed: true } : one)) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('health' as const),
      hasOffer: fc.constant(true),
      delay,
      times: fc.nat({ max: 2 }),
      timed: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('kill' as const),
      signal: fc.constantFrom(1, 9, stopSignal),
      hasOffer: fc.constant(true),
      delay,
      times: fc.integer({ min: 1, max: 3 }),
      timed: fc.constant(true),
    }),
  },
);
const maintenanceStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: trafficStep },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'maintenance' }) },
);
const answer: fc.Arbitrary<Answer> = fc.record({
  waits: fc.nat({ max: 2 }),
  reads: fc.nat({ max: 4 }),
  lasts: delay,
  fails: fc.nat({ max: 3 }).map((n) => n === 0),
});

/** Changes and lists alone. Readings take long. */
const busyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('start' as const, 'move' as const, 'die' as const, 'restart' as const),
      hasOffer: fc.constant(true),
      delay,
      times: fc.nat({ max: 2 }),
      timed: fc.constant(true),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('list' as const),
      reads: fc.nat({ max: 3 }),
      lasts: fc.nat({ max: 12 }),
      full: fc.boolean(),
    }),
  },
);
const slowAnswer: fc.Arbitrary<Answer> = fc.record({
  waits: fc.constant(0),
  reads: fc.nat({ max: 2 }),
  lasts: fc.nat({ max: 12 }),
  fails: fc.nat({ max: 9 }).map((n) => n === 0),
});

interface Life {
  readonly steps: readonly (readonly [step: Step, pause: number])[];
  /** Of the inspections, one after the other; what follows is prompt. */
  readonly answers: readonly Answer[];
}

const busyLives: fc.Arbitrary<Life> = fc.record({
  steps: fc.array(fc.tuple(busyStep, fc.nat({ max: 2 })), { maxLength: 20, size: 'max' }),
  answers: fc.array(slowAnswer, { maxLength: 15, size: 'max' }),
});
/** A move soon after a restart, while the death is not yet heard of. */
const crossedLives: fc.Arbitrary<Life> = fc
  .record({
    deathDelay: fc.nat({ max: 12 }),
    moveDelay: fc.nat({ max: 3 }),
    pauses: fc.tuple(delay, delay, delay),
    rest: fc.array(fc.tuple(busyStep, fc.nat({ max: 2 })), { maxLength: 2, size: 'max' }),
    answers: fc.array(slowAnswer, { maxLength: 4, size: 'max' }),
  })
  .map(({ deathDelay, moveDelay, pauses: [first, second, third], rest, answers }) => {
    const change = { hasOffer: true, times: 1, timed: true };
    const steps: Life['steps'] = [
      [{ kind: 'start', delay: 0, ...change }, first],
      [{ kind: 'restart', delay: deathDelay, ...change }, second],
      [{ kind: 'move', delay: moveDelay, ...change }, third],
      ...rest,
    ];
    return { steps, answers };
  });
const trafficLives: fc.Arbitrary<Life> = fc.record({
  steps: fc.array(fc.tuple(trafficStep, fc.nat({ max: 3 })), { maxLength: 30, size: 'max' }),
  answers: fc.array(answer, { maxLength: 15, size: 'max' }),
});
const maintenanceLives: fc.Arbitrary<Life> = fc.record({
  steps: fc.array(fc.tuple(maintenanceStep, fc.nat({ max: 3 })), { maxLength: 30, size: 'max' }),
  answers: fc.array(answer, { maxLength: 15, size: 'max' }),
});
const lives: fc.Arbitrary<Life> = fc.record({
  steps: fc.array(fc.tuple(step, fc.nat({ max: 3 })), { maxLength: 30, size: 'max' }),
  answers: fc.array(answer, { maxLength: 15, size: 'max' }),
});

/** The container as it is between two of its changes. */
interface Version {
  /** 0: it is down. */
  readonly startedAt: number;
  /** As a list shows it. */
  readonly fingerprint: string;
  readonly offers: readonly Service[];
  readonly health: Health | undefined;
  /** What is published of it. */
  readonly services: readonly Service[];
}

const down: Version = { startedAt: 0, fingerprint: '', offers: [], health: undefined, services: [] };

function offer(port: number): readonly Service[] {
  return [{ name: 'web', privatePort: 80, protocol: 'tcp', address: '10.0.0.1', port }];
}

function isSame(some: readonly Service[], others: readonly Service[]): boolean {
  return some.length === others.length && some[0]?.port === others[0]?.port;
}

interface Shape {
  /** A port that was given up is never given again, so that a list shows each change. */
  readonly hasFreshPorts?: boolean;
  /** Each death says when it was. */
  readonly isTimed?: boolean;
  /** Each event arrives at least once. */
  readonly losesNothing?: boolean;
  /** No start says when it was. */
  readonly hidesStarts?: boolean;
}

class World {
  readonly sequence = new Sequence();
  readonly versions: Version[] = [down];
  state: State | undefined;
  isInMaintenance = false;
  /** As the ledger keeps it over restarts of the machine; undefined is no opinion. */
  desired: readonly Service[] | undefined;
  listBegan = 0;
  listEnded = 0;
  inspections = 0;
  /** The clock of the agent, in ticks. */
  #now = 0;
  /** The clock of the engine. */
  #engineTime = 1_000_000;
  readonly #agenda: { readonly due: number; readonly act: () => void }[] = [];
  readonly #mailbox: (() => void)[] = [];
  #stalledUntil = 0;
  #settledBefore = 0;
  #wakeAt: number | undefined;
  #isWoken = false;
  #isInspecting = false;
  /** For the next inspection. */
  #request: InspectionRequest | undefined;
  #waited = 0;
  #answers: readonly Answer[] = [];
  /** The newest inspection that has begun. */
  #inspectionBegan = 0;
  readonly #shape: Shape;
  #ports = 0;
  #isListing = false;
  /** Lists that wait for the end of the one under way. */
  readonly #lists: (() => void)[] = [];
  /** When the machine was last told of keys of unknown origin that no reading has judged; 0 if there are none. */
  #unjudgedSince = 0;
  /** When the machine last learned of something other than an inspection. */
  #toldAt = 0;
  /** The version that `desired` shows. */
  #shown = 0;
  /** The newest version of which the machine was told. */
  #told = 0;
  /** When the newest failed inspection began that the machine took in. */
  #failedBegan = 0;
  /** The newest version in which a list did not show the container. */
  #absent = 0;
  /** The newest death of which the machine was told, by the engine's clock. */
  #deadUntil = 0;
  /** By the number of a signal that ends the container, the first one that the machine was told of: when, and when it was sent. */
  #asked = new Map<number, { readonly at: number; readonly toldAt: number }>();
  #dueAt: number | undefined;
  #isDue = false;

  constructor(shape: Shape = {}) {
    this.#shape = shape;
  }

  get #version(): Version {
    return this.versions.at(-1) ?? down;
  }

  get isRunning(): boolean {
    return this.#version.startedAt > 0;
  }

  /** Each version can be told from each other one, and the engine's clock tells which of two came first. */
  get #isOrdered(): boolean {
    return this.#shape.hasFreshPorts === true && this.#shape.isTimed === true;
  }

  live({ steps, answers }: Life): void {
    this.#answers = answers;
    for (const [taken, pause] of steps) {
      this.take(taken);
      for (let n = 0; n < pause; n++) this.tick();
    }
  }

  take(step: Step): void {
    switch (step.kind) {
      case 'start':
      case 'move':
      case 'health':
      case 'die':
        this.change(step.kind, step);
        break;
      case 'kill':
        this.#kill(step.signal, step);
        break;
      case 'restart':
        this.change('die', step);
        // Its event overtakes that of the death.
        this.change('start', { ...step, delay: 0 });
        break;
      case 'inspect':
        this.#want({ id, at: this.#engineTime });
        break;
      case 'list':
        this.list(step.reads, step.lasts, step.full);
        break;
      case 'maintenance':
        this.#mailbox.push(() => {
          this.isInMaintenance = !this.isInMaintenance;
          this.#observe({ kind: 'taken-out' });
        });
        break;
      case 'stall':
        this.#stalledUntil = this.#now + step.ticks;
        break;
      case 'found':
        // As the reconciler: only where there is no opinion.
        this.#mailbox.push(() => {
          if (this.desired !== undefined && this.desired.length > 0) return;
          this.desired = undefined;
          this.#observe({ kind: 'found' });
        });
        break;
      case 'fenced':
        this.#mailbox.push(() => {
          this.desired = undefined;
          this.#observe({ kind: 'fenced' });
        });
        break;
      case 'woke':
        this.#mailbox.push(() => this.#observe({ kind: 'woke' }));
        break;
      case 'crash':
        this.#crash();
        break;
    }
  }

  /** A change of the container, and its event. */
  change(kind: 'start' | 'move' | 'health' | 'die', { hasOffer, delay, times, timed }: Change): void {
    if ((kind === 'start') === this.isRunning) return;
    const at = ++this.#engineTime;
    if (kind === 'die') this.versions.push(down);
    else if (kind === 'health') {
      const { startedAt, offers, health: before } = this.#version;
      const health = before === 'unhealthy' ? 'healthy' : 'unhealthy';
      const services = health === 'unhealthy' ? [] : offers;
      const fingerprint = `${this.#version.fingerprint.split(' ')[0]} ${health}`;
      this.versions.push({ startedAt, fingerprint, offers, health, services });
    } else {
      this.#ports++;
      const port = this.#shape.hasFreshPorts ? this.#ports : this.#ports % 3;
      const startedAt = kind === 'start' ? at : this.#version.startedAt;
      const offers = hasOffer ? offer(port) : [];
      // A check begins anew with each start.
      const health = kind === 'start' ? undefined : this.#version.health;
      const services = health === 'unhealthy' ? [] : offers;
      this.versions.push({ startedAt, fingerprint: `${port} ${health ?? ''}`, offers, health, services });
    }
    const version = this.versions.length - 1;
    for (let n = 0; n < (this.#shape.losesNothing ? Math.max(1, times) : times); n++) {
      this.#in(delay * (n + 1), () => this.#hear(kind, at, version, timed || this.#shape.isTimed === true));
    }
  }

  /** The engine's clock is set back. */
  setBack(): void {
    this.#engineTime -= 500;
  }

  #kill(signal: number, { delay, times }: Change): void {
    if (!this.isRunning) return;
    const at = ++this.#engineTime;
    for (let n = 0; n < times; n++) {
      this.#in(delay * (n + 1), () => {
        this.#mailbox.push(() => {
          const isOfThisLife = at >= (this.#asked.get(signal)?.at ?? 0) || at >= this.#version.startedAt;
          if (signal !== 1 && isOfThisLife && !this.#hasAsked(signal, at)) {
            this.#asked.set(signal, { at, toldAt: this.#now });
          }
          this.#observe({ kind: 'killed', id, signal, at });
        });
      });
    }
  }

  /** A signal of the same life is news once. */
  #hasAsked(signal: number, at: number): boolean {
    const before = this.#asked.get(signal);
    if (before === undefined) return false;
    return !this.versions.some(({ startedAt }) => startedAt > before.at && startedAt <= at);
  }

  #hear(kind: 'start' | 'move' | 'health' | 'die', at: number, version: number, isTimed: boolean): void {
    const heard = kind === 'start' ? 0 : this.sequence.next();
    switch (kind) {
      case 'start':
        this.#want({ id, at });
        break;
      case 'move':
        this.#mailbox.push(() => this.#observe({ kind: 'moved', id, heard }));
        break;
      case 'health': {
        const { health } = this.versions[version] ?? down;
        this.#mailbox.push(() => this.#observe({ kind: 'moved', id, heard, health }));
        break;
      }
      case 'die':
        if (this.#request !== undefined && isNeedless(this.#request, isTimed ? at : Number.POSITIVE_INFINITY)) {
          this.#request = undefined;
        }
        this.#mailbox.push(() => {
          if (isTimed) this.#deadUntil = Math.max(this.#deadUntil, at);
          this.#observe({ kind: 'died', id, at: isTimed ? at : 0, heard });
          this.#told = Math.max(this.#told, version);
        });
        break;
    }
  }

  #want(request: InspectionRequest): void {
    this.#request = this.#request === undefined ? request : merged(this.#request, request);
  }

  /** A container is inspected once at a time. */
  #inspect({ at }: InspectionRequest): void {
    const [{ waits, reads, lasts, fails } = promptAnswer] = this.#answers;
    if (this.#waited++ < waits) return;
    this.#waited = 0;
    this.#answers = this.#answers.slice(1);
    this.#request = undefined;
    this.#isInspecting = true;
    this.inspections++;
    const began = this.sequence.begin();
    this.#inspectionBegan = began;
    this.#in(reads, () => {
      const { startedAt, offers, health } = this.#version;
      const traffic = { stopSeconds: 0, ...(health && { health }) };
      const version = this.versions.length - 1;
      const inspection: Inspection = fails
        ? { kind: 'failed', detail: `inspection ${began}` }
        : startedAt === 0
          ? { kind: 'down' }
          : {
              kind: 'running',
              startedAt: this.#shape.hidesStarts ? 0 : startedAt,
              services: offers,
              refusals: [],
              traffic,
            };
      this.#in(lasts, () => {
        this.#isInspecting = false;
        this.#mailbox.push(() => {
          this.#observe({ kind: 'inspected', id, at, began, inspection });
          if (!fails) this.#told = Math.max(this.#told, version);
        });
        this.sequence.end(began);
      });
    });
  }

  list(reads: number, lasts: number, full: boolean): void {
    // The watcher lists one list after the other; but for one that a new stream begins with.
    if (this.#isOrdered && this.#isListing) {
      this.#lists.push(() => this.list(reads, lasts, full));
      return;
    }
    this.#isListing = true;
    const began = this.sequence.begin();
    this.#in(reads, () => {
      const { startedAt, fingerprint } = this.#version;
      const version = this.versions.length - 1;
      this.#in(lasts, () => {
        this.#mailbox.push(() => {
          if (began < this.listBegan) return;
          this.listBegan = began;
          this.#observe(startedAt > 0 ? { kind: 'listed', id, began, full, fingerprint } : { kind: 'unlisted', began });
          this.listEnded = this.sequence.next();
          if (startedAt === 0) this.#absent = Math.max(this.#absent, version);
          this.#told = Math.max(this.#told, version);
        });
        this.sequence.end(began);
        this.#isListing = false;
        this.#lists.shift()?.();
      });
    });
  }

  #crash(): void {
    this.state = undefined;
    this.#wakeAt = undefined;
    this.#isWoken = false;
    this.#dueAt = undefined;
    this.#asked.clear();
    this.listBegan = this.sequence.next();
    this.listEnded = this.listBegan;
    this.#toldAt = this.listBegan;
    // The ledger names each container that has keys.
    if (this.desired !== undefined || this.#unjudgedSince > 0) this.#observe({ kind: 'found' });
    this.list(1, 1, true);
  }

  /** The next moment, with all that is due. */
  tick(): void {
    this.#now++;
    this.#engineTime++;
    for (const item of this.#agenda.filter(({ due }) => due <= this.#now)) {
      this.#agenda.splice(this.#agenda.indexOf(item), 1);
      item.act();
    }
    if (this.#wakeAt !== undefined && this.#wakeAt <= this.#now && !this.#isWoken) {
      this.#isWoken = true;
      this.#mailbox.push(() => this.#observe({ kind: 'woke' }));
    }
    if (this.#dueAt !== undefined && this.#dueAt <= this.#now && !this.#isDue) {
      this.#isDue = true;
      this.#mailbox.push(() => this.#observe({ kind: 'due' }));
    }
    if (this.#now >= this.#stalledUntil) this.#receive();
    if (this.#request !== undefined && !this.#isInspecting) this.#inspect(this.#request);
  }

  #in(ticks: number, act: () => void): void {
    this.#agenda.push({ due: this.#now + 1 + ticks, act });
  }

  /** As the reconciler: a batch of messages, and then states that no reading can concern are forgotten. */
  #receive(): void {
    for (const act of this.#mailbox.splice(0)) act();
    if (this.state !== undefined && isForgettable(this.state, this.#settledBefore)) this.state = undefined;
    this.#settledBefore = this.sequence.oldest;
    const isRetried = this.#request !== undefined || this.#isInspecting || this.state?.wakeAt !== undefined;
    assert.ok(this.state?.failing === undefined || isRetried, 'A failed inspection is repeated');
  }

  #observe(observation: Observation): void {
    const before = this.state;
    const moment = this.sequence.next();
    const chance = chances[moment % chances.length] ?? 0;
    const { listBegan, listEnded } = this;
    const context: Context = {
      now: this.#now,
      wall: 0,
      crashes: undefined,
      isGivenUp: false,
      takenOut: this.isInMaintenance ? 'maintenance' : undefined,
      moment,
      listBegan,
      listEnded,
      chance,
      policy,
    };
    const transition = reduce(before, observation, context);
    const { state, desired, effects } = transition;
    this.state = state;
    if (state?.wakeAt !== before?.wakeAt) {
      this.#wakeAt = state?.wakeAt;
      this.#isWoken = false;
    }
    if (state?.dueAt !== before?.dueAt) {
      this.#dueAt = state?.dueAt;
      this.#isDue = false;
    }
    for (const effect of effects) {
      if (effect.kind === 'inspect') this.#want({ id, at: 0, isKept: true });
      if (effect.kind === 'list') this.list(1, 1, false);
    }
    this.#assertJudged(before, observation, desired);
    this.#assertRetried(before, observation, context, transition);
    this.#assertThrifty(before, observation, transition);
    if (desired !== undefined) this.#desire(desired);
    this.#assertDrained();
    this.#assertKeptOut();
    if (this.#isOrdered && observation.kind === 'inspected' && desired !== undefined && desired.length > 0) {
      assert.ok(this.#shown > this.#absent, 'It publishes nothing older than a list that did not show it');
    }
    if (observation.kind !== 'inspected') this.#toldAt = moment;
    if ((observation.kind === 'found' || observation.kind === 'fenced') && desired === undefined) {
      this.#unjudgedSince = moment;
    }
    if (!this.#isOrdered || this.#unjudgedSince > 0 || this.desired === undefined || this.desired.length === 0) return;
    const { startedAt } = this.versions[this.#shown] ?? down;
    assert.ok(startedAt > this.#deadUntil, 'A death withdraws the keys at once, and they do not come back');
  }

  /** What was asked to stop in this life, and has time left, is not published. */
  #assertDrained(): void {
    const { state } = this;
    if (state?.kind !== 'running' || state.startedAt === 0) return;
    for (const { at, toldAt } of this.#asked.values()) {
      // The machine may not have heard of the life in which it was sent.
      const life = this.versions.findLast(({ startedAt }) => startedAt > 0 && startedAt <= at)?.startedAt;
      const isOld = life !== state.startedAt || this.#now >= toldAt + stopMs;
      assert.ok(isOld || this.desired?.length === 0, `It was asked to stop ${this.#now - toldAt} ms ago`);
    }
  }

  #assertKeptOut(): void {
    const { state } = this;
    if (!this.isInMaintenance) return;
    const isDecided = state?.kind === 'running' || (state?.kind === 'unknown' && state.foundAt > 0);
    assert.ok((this.desired ?? []).length === 0, 'It is in maintenance');
    assert.ok(!isDecided || this.desired !== undefined, 'What was found of it goes in maintenance');
  }

  #desire(desired: readonly Service[]): void {
    this.desired = desired;
    if (!this.#isOrdered) return;
    const shown = this.versions.findIndex(({ services }, n) => n >= this.#shown && isSame(services, desired));
    assert.ok(shown >= 0, `Desired goes back in time: ${desired[0]?.port ?? 'nothing'} at version ${this.#shown}`);
    this.#shown = shown;
  }

  /** Keys of unknown origin stay until a reading judges them. */
  #assertJudged(before: State | undefined, observation: Observation, desired: readonly Service[] | undefined): void {
    if (desired === undefined || this.#unjudgedSince === 0) return;
    const isKeptOut = this.isInMaintenance && desired.length === 0;
    const isJudged =
      isKeptOut ||
      observation.kind === 'inspected' ||
      (observation.kind === 'unlisted' && observation.began > this.#unjudgedSince) ||
      (observation.kind === 'found' && before?.kind === 'running');
    assert.ok(isJudged, `${observation.kind} is no reading`);
    this.#unjudgedSince = 0;
  }

  #assertRetried(
    before: State | undefined,
    observation: Observation,
    { now, chance }: Context,
    { state }: Transition,
  ): void {
    const failing = state?.failing;
    if (state !== undefined && failing !== undefined) {
      assert.equal(nameOf(state) === 'failing', failing.tries >= failingTries);
      if (failing === before?.failing) return;
      assert.ok(observation.kind === 'inspected' && observation.inspection.kind === 'failed');
      assert.equal(failing.tries, (before?.failing?.tries ?? 0) + 1, 'Failures in a row are counted');
      assert.equal(failing.detail, observation.inspection.detail);
      this.#failedBegan = observation.began;
      const isOver = observation.began < this.listBegan && state.listing === undefined && failing.tries === 1;
      assert.ok(!isOver, 'It repeats nothing that a newer list does not show');
      const longestMs = Math.min(policy.retryCapMs, policy.retryFirstMs * 2 ** (failing.tries - 1));
      const waitMs = (state.wakeAt ?? 0) - now;
      assert.ok(Math.abs(waitMs - (longestMs * (1 + chance)) / 2) < 1e-6, `It waits ${waitMs} of ${longestMs}`);
      return;
    }
    assert.equal(state?.wakeAt, undefined, 'It waits for nothing');
    if (before?.failing === undefined) return;
    const isSuccess = observation.kind === 'inspected' && observation.inspection.kind !== 'failed';
    const isNewerList = observation.kind === 'unlisted' && observation.began > this.#failedBegan;
    assert.ok(isSuccess || isNewerList, `${observation.kind} ends a retry`);
  }

  #assertThrifty(before: State | undefined, observation: Observation, { state, desired, effects }: Transition): void {
    const { listing } = state ?? {};
    assert.ok(listing === undefined || listing.began === this.listBegan, 'It remembers the newest list alone');
    switch (observation.kind) {
      case 'inspected':
        if (desired !== undefined) assert.equal(state?.failing, undefined, 'A success ends the retries');
        if (this.#toldAt < observation.began) assert.deepEqual(effects, [], 'Nothing has changed since');
        break;
      case 'unlisted':
        if (observation.began > this.#inspectionBegan) assert.equal(state?.failing, undefined, 'It runs no more');
        break;
      case 'listed':
        // An earlier request may be lost with an inspector that crashed.
        if (before?.kind !== 'running') assert.deepEqual(effects, [{ kind: 'inspect', id }], 'A list asks again');
        break;
      case 'woke':
        assert.equal(state?.wakeAt, undefined, 'It is awake');
        break;
      case 'died':
        if (observation.at === 0 && before?.kind === 'running') assert.deepEqual(desired, [], 'It died now');
        break;
    }
  }

  get #isCalm(): boolean {
    const isAsleep = (this.#wakeAt === undefined || this.#isWoken) && (this.#dueAt === undefined || this.#isDue);
    const isBusy = this.#request !== undefined || this.#isInspecting || this.#now < this.#stalledUntil;
    return this.#agenda.length + this.#mailbox.length === 0 && !isBusy && isAsleep;
  }

  /** Whatever comes of what was, until nothing is under way. */
  rest(): void {
    for (let n = 0; n < 1_000 && !this.#isCalm; n++) {
      // The time of a container that was never seen is long.
      if (n > 900 && this.#dueAt !== undefined) this.#now = Math.max(this.#now, this.#dueAt);
      this.tick();
    }
    assert.ok(this.#isCalm, 'It comes to rest');
    // States are forgotten one batch later.
    for (let n = 0; n < 2; n++) this.tick();
    assert.ok(this.#isCalm, 'It comes to rest for good');
    assert.equal(this.#unjudgedSince, 0, 'All keys of unknown origin are judged');
    assert.ok(this.state === undefined || this.state.kind === 'running', 'It remembers nothing of the dead');
    if (!this.#isOrdered) return;
    const shown = this.versions.findLastIndex(({ services }) => isSame(services, this.desired ?? []));
    assert.ok(shown >= this.#told, `Desired is of version ${shown}, older than version ${this.#told} that was told`);
  }

  /** A list that begins when all is calm, and then whatever comes of it. */
  settle(full: boolean): void {
    for (let n = 0; n < 25; n++) this.tick();
    this.list(1, 1, full);
    this.rest();
  }

  assertTrue(): void {
    assert.deepEqual(this.desired ?? [], this.#version.services);
    assert.equal(this.state?.kind, this.isRunning ? 'running' : undefined);
  }
}

test('the life-cycle machine ends with what a full list and the inspections after it say, whatever came before', () => {
  fc.assert(
    fc.property(fc.oneof(lives, busyLives, trafficLives), (life) => {
      const world = new World();
      world.live(life);
      world.settle(true);
      world.assertTrue();
    }),
    { numRuns: 10_000 },
  );
});

test('the life-cycle machine publishes nothing in maintenance, and afterwards what a list and the inspections say', () => {
  fc.assert(
    fc.property(maintenanceLives, (life) => {
      const world = new World();
      world.live(life);
      world.settle(true);
      if (!world.isInMaintenance) return world.assertTrue();
      assert.deepEqual(world.desired ?? [], []);
      world.take({ kind: 'maintenance' });
      world.settle(false);
      world.assertTrue();
    }),
    { numRuns: 5_000 },
  );
});

test('the life-cycle machine ends with what an incremental list says, where each change shows in a list', () => {
  fc.assert(
    fc.property(lives, (life) => {
      const world = new World({ hasFreshPorts: true });
      world.live(life);
      world.settle(false);
      world.assertTrue();
    }),
    { numRuns: 10_000 },
  );
});

test('the life-cycle machine never goes back in time, and rests with the newest that it was told', () => {
  fc.assert(
    fc.property(lives, (life) => {
      const world = new World({ hasFreshPorts: true, isTimed: true });
      world.live(life);
      world.rest();
    }),
    { numRuns: 30_000 },
  );
});

test('the life-cycle machine needs no list where no event is lost', () => {
  fc.assert(
    fc.property(fc.oneof(lives, busyLives, crossedLives), (life) => {
      const world = new World({ hasFreshPorts: true, isTimed: true, losesNothing: true });
      world.live(life);
      world.rest();
      world.assertTrue();
    }),
    { numRuns: 45_000 },
  );
});

test('the life-cycle machine inspects nothing that a list shows as it was', () => {
  fc.assert(
    fc.property(fc.oneof(lives, trafficLives), fc.integer({ min: 1, max: 3 }), (life, lists) => {
      const world = new World();
      world.live(life);
      world.settle(true);
      const before = world.inspections;
      for (let n = 0; n < lists; n++) world.settle(false);
      assert.equal(world.inspections, before);
      world.assertTrue();
    }),
    { numRuns: 4_000 },
  );
});

test('the life-cycle machine lets no list that begins before the last change have the last word', () => {
  fc.assert(
    fc.property(lives, (life) => {
      const world = new World();
      world.live(life);
      // The list begins at once, while everything else is still under way.
      world.list(3, 3, false);
      world.rest();
      world.settle(true);
      world.assertTrue();
    }),
    { numRuns: 4_000 },
  );
});

const calmStep = fc.constantFrom('start' as const, 'move' as const, 'die' as const, 'set back' as const);

test('a start and a move cost one inspection each, and a death none, where they do not overlap', () => {
  fc.assert(
    fc.property(fc.array(calmStep), fc.boolean(), fc.boolean(), (steps, timed, hidesStarts) => {
      const world = new World({ hidesStarts, losesNothing: true });
      let isSetBack = false;
      for (const kind of steps) {
        if (kind === 'set back') {
          world.setBack();
          isSetBack = true;
          continue;
        }
        const isChange = (kind === 'start') !== world.isRunning;
        const before = world.inspections;
        world.change(kind, { hasOffer: true, delay: 0, times: 1, timed });
        world.rest();
        world.assertTrue();
        // By a clock that was set back, the death may be older than the start.
        const mostInspections = kind === 'die' && !isSetBack ? 0 : 1;
        if (kind === 'start' && isChange) isSetBack = false;
        assert.ok(world.inspections - before <= (isChange ? mostInspections : 0), kind);
      }
    }),
    { numRuns: 1_000 },
  );
});

test('inspections that fail in a row are counted, and repeated until one succeeds', () => {
  fc.assert(
    fc.property(fc.nat({ max: 12 }), (failures) => {
      const world = new World({ isTimed: true, hasFreshPorts: true });
      const change = { hasOffer: true, delay: 0, times: 1, timed: true };
      const answers = Array.from({ length: failures }, () => ({ ...promptAnswer, fails: true }));
      world.live({ steps: [], answers });
      world.change('start', change);
      world.rest();
      world.assertTrue();
      assert.equal(world.inspections, failures + 1);
    }),
  );
});

/** Another container whose id begins with the same 12 digits. */
const rival = 'a'.repeat(12).padEnd(64, 'b') as ContainerId;
type ObservationAt = (moment: number) => Observation;
const rivalRuns: Inspection = { kind: 'running', startedAt: 1, services: offer(1), refusals: [] };
const ofRival = fc.constantFrom<ObservationAt[]>(
  ...[rivalRuns, { kind: 'down' } as const, { kind: 'failed', detail: '' } as const].map(
    (inspection): ObservationAt =>
      (began) => ({ kind: 'inspected', id: rival, at: 0, began, inspection }),
  ),
  (heard) => ({ kind: 'died', id: rival, at: 0, heard }),
  (heard) => ({ kind: 'died', id: rival, at: heard, heard }),
  (heard) => ({ kind: 'moved', id: rival, heard }),
  () => ({ kind: 'killed', id: rival, signal: stopSignal, at: 0 }),
  (began) => ({ kind: 'listed', id: rival, began, fingerprint: 'running', full: true }),
  (began) => ({ kind: 'listed', id: rival, began, fingerprint: 'running', full: false }),
);

function contextOf({ sequence, listBegan, listEnded }: World): Context {
  return {
    now: 0,
    wall: 0,
    crashes: undefined,
    isGivenUp: false,
    takenOut: undefined,
    moment: sequence.next(),
    listBegan,
    listEnded,
    chance: 0.5,
    policy,
  };
}

test('a container that runs stays as it is, whatever is seen of another one with the same short id', () => {
  fc.assert(
    fc.property(lives, fc.array(ofRival, { minLength: 1, maxLength: 5 }), (life, seen) => {
      const world = new World();
      world.live(life);
      world.take({ kind: 'start', hasOffer: true, delay: 0, times: 1, timed: true });
      world.settle(true);
      for (const observationAt of seen) {
        const observation = observationAt(world.sequence.next());
        const { desired, effects, state } = reduce(world.state, observation, contextOf(world));
        assert.equal(desired, undefined);
        assert.equal(state, world.state);
        const isClash = observation.kind === 'inspected' && observation.inspection.kind === 'running';
        const expected = isClash
          ? [{ kind: 'clash', id: rival, holder: id }]
          : // An inspection shows whether there are two of them.
            observation.kind === 'listed'
            ? [{ kind: 'inspect', id: rival }]
            : [];
        assert.deepEqual(effects, expected);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('another container with the same short id takes the place of one that does not run', () => {
  fc.assert(
    fc.property(lives, (life) => {
      const world = new World();
      const began = world.sequence.next();
      world.live(life);
      if (world.state?.kind === 'running') return;
      const context = { ...contextOf(world), listBegan: 0, listEnded: 0 };
      const seen = { kind: 'inspected', id: rival, at: 0, began, inspection: rivalRuns } as const;
      const { desired, effects, state } = reduce(world.state, seen, context);
      assert.deepEqual(desired, rivalRuns.kind === 'running' && rivalRuns.services);
      assert.deepEqual(effects, []);
      assert.equal(state?.id, rival);
      assert.equal(state?.failing, undefined);
    }),
    { numRuns: 2_000 },
  );
});
