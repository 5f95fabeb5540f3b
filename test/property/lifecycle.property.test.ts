/**
 * The properties of the life-cycle machine:
 * - Any order of observations that ends in a list begun last leaves `desired` as that list, and the inspections after
 *   it, say.
 * - Where no event is lost, no list is needed.
 * - What is right already costs no inspection.
 *
 * A container lives through starts, deaths and moves of its port. Readings of it take time: they see the engine at some
 * moment between their beginning and their end. Events come late, twice, in another order, or never. The machine is
 * restarted now and then and has forgotten everything. What it desires is kept apart, as the ledger keeps it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ContainerId, Inspection, Service } from '../../src/container/container.ts';
import type { Observation } from '../../src/lifecycle/observation.ts';
import { type Context, reduce } from '../../src/lifecycle/reduce.ts';
import { isForgettable, type State } from '../../src/lifecycle/state.ts';

const id = 'a'.repeat(64) as ContainerId;
const policy = { retryFirstMs: 100, retryCapMs: 30_000 };

type Step =
  /** The container's own life. */
  | { readonly kind: 'start' | 'move'; readonly port: number; readonly delay: number; readonly times: number }
  | { readonly kind: 'die'; readonly delay: number; readonly times: number; readonly timed: boolean }
  /** Readings: how long until the engine is read, and until the answer is there. */
  | { readonly kind: 'inspect'; readonly reads: number; readonly lasts: number; readonly fails: boolean }
  | { readonly kind: 'list'; readonly reads: number; readonly lasts: number; readonly full: boolean }
  | { readonly kind: 'found' | 'fenced' | 'woke' | 'crash' };

const delay = fc.nat({ max: 6 });
const times = fc.nat({ max: 2 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('start' as const, 'move' as const),
    port: fc.integer({ min: 1, max: 3 }),
    delay,
    times,
  }),
  fc.record({ kind: fc.constant('die' as const), delay, times, timed: fc.boolean() }),
  fc.record({ kind: fc.constant('inspect' as const), reads: delay, lasts: delay, fails: fc.boolean() }),
  fc.record({ kind: fc.constant('list' as const), reads: delay, lasts: delay, full: fc.boolean() }),
  fc.record({ kind: fc.constantFrom('found' as const, 'fenced' as const, 'woke' as const, 'crash' as const) }),
);

interface Life {
  readonly startedAt: number;
  readonly port: number;
}

const offersOf = ({ port }: Life): readonly Service[] =>
  port % 3 === 0 ? [] : [{ name: 'web', privatePort: 80, protocol: 'tcp', address: '10.0.0.1', port }];

interface Shape {
  /** A port that was given up is never given again, so that a list shows each change. */
  readonly hasFreshPorts?: boolean;
  /** Each event arrives at least once and says when it was, and retries are made. */
  readonly losesNothing?: boolean;
}

class World {
  /** Moments and the engine's nanoseconds run together here. */
  moment = 0;
  life: Life | undefined;
  state: State | undefined;
  /** As the ledger keeps it over restarts of the machine; undefined is no opinion. */
  desired: readonly Service[] | undefined;
  listBegan = 0;
  readonly agenda: { readonly due: number; readonly act: () => void }[] = [];
  inspecting = false;
  wanted = false;
  /** When the event was that the next inspection answers; 0 if there was none. */
  wantedAt = 0;
  inspections = 0;
  readonly underWay = new Set<number>();
  readonly #shape: Shape;
  #lastPort = 0;

  constructor(shape: Shape = {}) {
    this.#shape = shape;
  }

  #portOf(wanted: number): number {
    if (!this.#shape.hasFreshPorts) return wanted;
    this.#lastPort += 3;
    return this.#lastPort + (wanted % 3);
  }

  /** How often an event arrives. */
  #times(wanted: number): number {
    return this.#shape.losesNothing ? Math.max(1, wanted) : wanted;
  }

  /** The next moment, with all that is due. */
  tick(): void {
    this.moment++;
    const due = this.agenda.filter((item) => item.due <= this.moment);
    for (const item of due) {
      this.agenda.splice(this.agenda.indexOf(item), 1);
      item.act();
    }
    this.#forget();
    if (this.wanted && !this.inspecting) this.inspect(1, 1, false);
  }

  in(moments: number, act: () => void): void {
    this.agenda.push({ due: this.moment + 1 + moments, act });
  }

  observe(observation: Observation): void {
    const context: Context = {
      now: this.moment,
      moment: ++this.moment,
      listBegan: this.listBegan,
      chance: 0.5,
      policy,
    };
    const { state, desired, effects } = reduce(this.state, observation, context);
    this.state = state;
    if (desired !== undefined) this.desired = desired;
    for (const effect of effects) {
      if (effect.kind === 'inspect') this.wanted = true;
      if (effect.kind === 'list') this.list(1, 1, false);
    }
    this.#forget();
  }

  /** Whatever may be forgotten is forgotten at once here. */
  #forget(): void {
    const oldest = Math.min(...this.underWay, this.moment + 1);
    if (this.state !== undefined && isForgettable(this.state, oldest)) this.state = undefined;
  }

  start(port: number, delayed: number, repeats: number): void {
    if (this.life !== undefined) return;
    const at = ++this.moment;
    this.life = { startedAt: at, port: this.#portOf(port) };
    for (let n = 0; n < this.#times(repeats); n++) {
      this.in(delayed * (n + 1), () => {
        this.wanted = true;
        this.wantedAt = Math.max(this.wantedAt, at);
      });
    }
  }

  move(port: number, delayed: number, repeats: number): void {
    if (this.life === undefined) return;
    this.life = { ...this.life, port: this.#portOf(port) };
    for (let n = 0; n < this.#times(repeats); n++) {
      this.in(delayed * (n + 1), () => this.observe({ kind: 'moved', id, heard: ++this.moment }));
    }
  }

  die(delayed: number, repeats: number, timed: boolean): void {
    if (this.life === undefined) return;
    this.life = undefined;
    const at = timed || this.#shape.losesNothing ? ++this.moment : 0;
    for (let n = 0; n < this.#times(repeats); n++) {
      this.in(delayed * (n + 1), () => this.observe({ kind: 'died', id, at, heard: ++this.moment }));
    }
  }

  /** The mailbox lets one be under way at a time. */
  inspect(reads: number, lasts: number, fails: boolean): void {
    if (this.inspecting) return;
    this.inspecting = true;
    this.wanted = false;
    const at = this.wantedAt;
    this.wantedAt = 0;
    this.inspections++;
    const began = ++this.moment;
    this.underWay.add(began);
    this.in(reads, () => {
      const inspection: Inspection = fails
        ? { kind: 'failed', detail: '' }
        : this.life === undefined
          ? { kind: 'down' }
          : { kind: 'running', startedAt: this.life.startedAt, services: offersOf(this.life), refusals: [] };
      this.in(lasts, () => {
        this.inspecting = false;
        this.observe({ kind: 'inspected', id, at, began, inspection });
        this.underWay.delete(began);
      });
    });
  }

  list(reads: number, lasts: number, full: boolean): void {
    const began = ++this.moment;
    this.underWay.add(began);
    this.in(reads, () => {
      const shown = this.life && { fingerprint: `${this.life.port}` };
      this.in(lasts, () => {
        if (began >= this.listBegan) {
          this.listBegan = began;
          this.observe(shown ? { kind: 'listed', id, began, full, ...shown } : { kind: 'unlisted', began });
        }
        this.underWay.delete(began);
      });
    });
  }

  crash(): void {
    this.state = undefined;
    this.listBegan = ++this.moment;
    if (this.desired !== undefined) this.observe({ kind: 'found' });
    this.list(1, 1, true);
  }

  take(step: Step): void {
    switch (step.kind) {
      case 'start':
        this.start(step.port, step.delay, step.times);
        break;
      case 'move':
        this.move(step.port, step.delay, step.times);
        break;
      case 'die':
        this.die(step.delay, step.times, step.timed);
        break;
      case 'inspect':
        this.inspect(step.reads, step.lasts, step.fails);
        break;
      case 'list':
        this.list(step.reads, step.lasts, step.full);
        break;
      case 'found':
        // As the reconciler: only where there is no opinion.
        if (this.desired === undefined || this.desired.length === 0) {
          this.desired = undefined;
          this.observe({ kind: 'found' });
        }
        break;
      case 'fenced':
        this.desired = undefined;
        this.observe({ kind: 'fenced' });
        break;
      case 'woke':
        this.observe({ kind: 'woke' });
        break;
      case 'crash':
        this.crash();
        break;
    }
  }

  /** Whatever comes of what was, until nothing is under way. */
  rest(): void {
    for (let n = 0; n < 200 && (this.agenda.length > 0 || this.wanted || this.#isAsleep); n++) {
      if (this.agenda.length === 0 && !this.wanted) this.observe({ kind: 'woke' });
      this.tick();
    }
    assert.equal(this.agenda.length, 0, 'It comes to rest');
    assert.equal(this.wanted, false, 'and asks for nothing more');
  }

  /** It waits for a time that will come. */
  get #isAsleep(): boolean {
    return this.#shape.losesNothing === true && this.state?.wakeAt !== undefined;
  }

  /** A list that begins when all is calm, and then whatever comes of it. */
  settle(full: boolean): void {
    for (let n = 0; n < 20; n++) this.tick();
    this.list(1, 1, full);
    this.rest();
  }
}

const lives = fc.array(fc.tuple(step, fc.nat({ max: 3 })), { maxLength: 40 });

function live(world: World, steps: readonly (readonly [Step, number])[]): void {
  for (const [taken, pause] of steps) {
    world.take(taken);
    for (let n = 0; n < pause; n++) world.tick();
  }
}

function assertTrue(world: World): void {
  assert.deepEqual(world.desired ?? [], world.life === undefined ? [] : offersOf(world.life));
  const kind = world.life === undefined ? undefined : 'running';
  assert.equal(world.state?.kind, kind, 'and it remembers nothing of the dead');
}

test('the life-cycle machine ends with what a full list and the inspections after it say, whatever came before', () => {
  fc.assert(
    fc.property(lives, (steps) => {
      const world = new World();
      live(world, steps);
      world.settle(true);
      assertTrue(world);
    }),
    { numRuns: 10_000 },
  );
});

test('the life-cycle machine ends with what an incremental list says, where each change shows in a list', () => {
  fc.assert(
    fc.property(lives, (steps) => {
      const world = new World({ hasFreshPorts: true });
      live(world, steps);
      world.settle(false);
      assertTrue(world);
    }),
    { numRuns: 10_000 },
  );
});

test('the life-cycle machine needs no list where no event is lost', () => {
  fc.assert(
    fc.property(lives, (steps) => {
      const world = new World({ losesNothing: true });
      live(world, steps);
      world.rest();
      assertTrue(world);
    }),
    { numRuns: 10_000 },
  );
});

test('the life-cycle machine inspects nothing that a list shows as it was', () => {
  fc.assert(
    fc.property(lives, fc.integer({ min: 1, max: 3 }), (steps, lists) => {
      const world = new World();
      live(world, steps);
      world.settle(true);
      const before = world.inspections;
      for (let n = 0; n < lists; n++) world.settle(false);
      assert.equal(world.inspections, before);
      assert.equal(world.state?.wakeAt, undefined, 'and it waits for no retry');
      assertTrue(world);
    }),
    { numRuns: 3_000 },
  );
});

test('the life-cycle machine lets no list that begins before the last change have the last word', () => {
  fc.assert(
    fc.property(lives, (steps) => {
      const world = new World();
      live(world, steps);
      // The list begins at once, while everything else is still under way.
      world.list(3, 3, false);
      for (let n = 0; n < 80 && (world.agenda.length > 0 || world.wanted); n++) world.tick();
      world.settle(true);
      assertTrue(world);
    }),
    { numRuns: 5_000 },
  );
});

/** Another container whose id begins with the same 12 digits. */
const rival = 'a'.repeat(12).padEnd(64, 'b') as ContainerId;
type ObservationAt = (moment: number) => Observation;
const inspections: readonly Inspection[] = [
  { kind: 'running', startedAt: 1, services: offersOf({ startedAt: 1, port: 1 }), refusals: [] },
  { kind: 'down' },
  { kind: 'failed', detail: '' },
];
const ofRival = fc.constantFrom<ObservationAt[]>(
  ...inspections.map((inspection): ObservationAt => {
    return (began) => ({ kind: 'inspected', id: rival, at: 0, began, inspection });
  }),
  (heard) => ({ kind: 'died', id: rival, at: 0, heard }),
  (heard) => ({ kind: 'died', id: rival, at: heard, heard }),
  (heard) => ({ kind: 'moved', id: rival, heard }),
  (began) => ({ kind: 'listed', id: rival, began, fingerprint: 'running', full: true }),
  (began) => ({ kind: 'listed', id: rival, began, fingerprint: 'running', full: false }),
);

test('a container that runs stays as it is, whatever is seen of another one with the same short id', () => {
  fc.assert(
    fc.property(lives, fc.array(ofRival, { minLength: 1, maxLength: 5 }), (steps, seen) => {
      const world = new World();
      live(world, steps);
      world.start(1, 0, 1);
      world.settle(true);
      const before = world.state;
      for (const observationAt of seen) {
        const observation = observationAt(++world.moment);
        const context = { now: world.moment, moment: ++world.moment, listBegan: world.listBegan, chance: 0.5, policy };
        const { desired, effects, state } = reduce(world.state, observation, context);
        assert.equal(desired, undefined);
        assert.equal(state, before);
        const isClash = observation.kind === 'inspected' && observation.inspection.kind === 'running';
        assert.equal(
          effects.some(({ kind }) => kind === 'clash'),
          isClash,
        );
      }
    }),
    { numRuns: 2_000 },
  );
});
