/** One transition of the life-cycle machine a test, named `from -> to`, and what is desired and asked for with it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ContainerId, Inspection, Service } from '../../src/container/container.ts';
import type { Health, Traffic } from '../../src/container/traffic.ts';
import type { Crashes } from '../../src/lifecycle/damping.ts';
import type { PublishPolicy, TakenOut } from '../../src/lifecycle/deserves.ts';
import { isNeedless, merged, type Observation } from '../../src/lifecycle/observation.ts';
import { type Context, reduce, type Transition } from '../../src/lifecycle/reduce.ts';
import { Sequence } from '../../src/lifecycle/sequence.ts';
import { isForgettable, nameOf, type State, stateNames } from '../../src/lifecycle/state.ts';
import { defaultConfig } from '../sim/config.ts';
import { idOf } from '../sim/docker.ts';

const [id, twin] = [idOf(1), `${idOf(1).slice(0, 12)}${'d'.repeat(52)}` as ContainerId];
const web: Service = { name: 'web', privatePort: 80, protocol: 'tcp', address: '10.0.0.1', port: 1000 };

function running(startedAt = 100): Inspection {
  return { kind: 'running', startedAt, services: [web], refusals: [] };
}
const down: Inspection = { kind: 'down' };
const failed: Inspection = { kind: 'failed', detail: 'timeout' };

/** Walks observations through the machine; moments are given where they matter. */
class Walk {
  state: State | undefined;
  last: Transition = { state: undefined, effects: [] };
  moment = 0;
  /** Of the agent's clock, in milliseconds. */
  now = 0;
  policy: Partial<PublishPolicy> = {};
  crashes: Crashes | undefined;
  out: TakenOut | undefined;
  listBegan = 0;
  listEnded = 0;

  take(...observations: Observation[]): this {
    for (const observation of observations) {
      this.moment = Math.max(this.moment + 1, 100);
      const policy = { retryFirstMs: 100, retryCapMs: 30_000, ...defaultConfig.publish, ...this.policy };
      const { moment, listBegan, listEnded, now } = this;
      const context: Context = {
        crashes: this.crashes,
        isGivenUp: false,
        takenOut: this.out,
        now,
        wall: 1_000_000,
        moment,
        listBegan,
        listEnded,
        chance: 0,
        policy,
      };
      this.last = reduce(this.state, observation, context);
      this.state = this.last.state;
    }
    return this;
  }

  seen(inspection: Inspection, began = this.moment, at = 0, container = id): this {
    return this.take({ kind: 'inspected', id: container, at, began, inspection });
  }

  died(at: number, heard = this.moment): this {
    return this.take({ kind: 'died', id, at, heard });
  }

  /** A signal, TERM unless given. */
  sent(signal = 15, at = 0): this {
    return this.take({ kind: 'killed', id, signal, at });
  }

  under(policy: Partial<PublishPolicy>): this {
    this.policy = policy;
    return this;
  }

  /** Milliseconds later. */
  after(ms: number): this {
    this.now += ms;
    return this;
  }

  /** Maintenance, or a drain of the host, begins or ends. */
  takenOut(why: TakenOut | undefined): this {
    this.out = why;
    return this.take({ kind: 'taken-out' });
  }

  due(): this {
    return this.take({ kind: 'due' });
  }

  listed(fingerprint: string, { began = this.moment, full = false } = {}): this {
    this.listBegan = began;
    this.take({ kind: 'listed', id, began, fingerprint, full });
    this.listEnded = Math.max(this.moment, began);
    return this;
  }

  unlisted(began = this.moment): this {
    this.listBegan = began;
    this.take({ kind: 'unlisted', began });
    this.listEnded = Math.max(this.moment, began);
    return this;
  }

  /** The state's name, what is desired (`-`: no opinion), and what is asked for. */
  get outcome(): string {
    const { state, desired, effects } = this.last;
    const wish = desired === undefined ? '-' : desired.map(({ name }) => name).join() || 'nothing';
    return [state === undefined ? 'forgotten' : nameOf(state), wish, ...effects.map(({ kind }) => kind)].join(' ');
  }
}

const withTraffic = (traffic: Traffic): Inspection => ({ ...running(), traffic }) as Inspection;
const told = (health: Health): Observation => ({ kind: 'moved', id, heard: 1, health });
const well = (traffic: Traffic = { health: 'healthy' }, policy: Partial<PublishPolicy> = {}) =>
  new Walk().under(policy).seen(withTraffic(traffic), 10, 120);
const started = () => new Walk().seen(running(), 10);
const found = () => new Walk().take({ kind: 'found' });
const inMaintenance = () => new Walk().takenOut('maintenance');

const transitions: readonly (readonly [name: string, walk: () => Walk, outcome: string])[] = [
  ['nothing -> ready: an inspection sees it run', () => new Walk().seen(running()), 'ready web'],
  ['nothing -> gone: an inspection sees it down', () => new Walk().seen(down), 'gone nothing'],
  ['nothing -> starting: an inspection fails', () => new Walk().seen(failed), 'starting -'],
  ['nothing -> gone: a death is heard of', () => new Walk().died(5), 'gone nothing'],
  [
    'nothing -> starting: it moves before it starts',
    () => new Walk().take({ kind: 'moved', id, heard: 1 }),
    'starting -',
  ],
  ['nothing -> starting: a list shows it', () => new Walk().listed('up'), 'starting - inspect'],
  ['nothing -> starting: its keys are found in etcd', found, 'starting - list'],
  [
    'nothing -> starting: keys are found of what the newest list shows',
    () => new Walk().listed('up').take({ kind: 'found' }),
    'starting -',
  ],
  ['starting -> gone: a list does not show what was found before it', () => found().unlisted(), 'forgotten nothing'],
  [
    'starting -> starting: a list from before does not show what was found',
    () => found().unlisted(50),
    'starting - list',
  ],
  [
    'starting -> starting: a death may be older than the keys that were found',
    () => found().died(5),
    'starting - inspect',
  ],
  ['starting -> ready: an inspection sees what was found', () => found().seen(running()), 'ready web'],
  [
    'starting -> forgotten: no list shows what moved and never started',
    () => new Walk().take({ kind: 'moved', id, heard: 1 }).unlisted(),
    'forgotten -',
  ],
  ['ready -> maintenance: a person takes it out', () => started().takenOut('maintenance'), 'maintenance nothing'],
  [
    'maintenance -> maintenance: an inspection sees it run',
    () => started().takenOut('maintenance').seen(running(), 20),
    'maintenance nothing',
  ],
  [
    'maintenance -> ready: a person lets it in',
    () => started().takenOut('maintenance').takenOut(undefined),
    'ready web',
  ],
  [
    'maintenance -> draining: it was asked to stop meanwhile',
    () => started().takenOut('maintenance').sent().takenOut(undefined),
    'draining nothing',
  ],
  [
    'nothing -> maintenance: it starts on a host in maintenance',
    () => inMaintenance().seen(running()),
    'maintenance nothing',
  ],
  ['nothing -> forgotten: maintenance of what is not known', () => inMaintenance(), 'forgotten -'],
  [
    'starting -> starting: what a predecessor left goes in maintenance',
    () => found().takenOut('maintenance'),
    'starting nothing',
  ],
  [
    'starting -> starting: what a predecessor left stays where maintenance ends',
    () => found().takenOut(undefined),
    'starting -',
  ],
  [
    'nothing -> starting: keys are found of what is in maintenance',
    () => inMaintenance().take({ kind: 'found' }),
    'starting nothing list',
  ],
  ['ready -> draining: its host is drained', () => started().takenOut('host-drain'), 'draining nothing'],
  [
    'starting -> starting: its health check has not ended for long',
    () => well({ health: 'starting' }, { health: 'require-healthy' }).after(300_000).due(),
    'starting nothing',
  ],
  ['ready -> ready: an inspection sees the same', () => started().seen(running(), 20), 'ready web'],
  ['ready -> ready: a failed inspection changes nothing', () => started().seen(failed, 20), 'ready -'],
  [
    'ready -> failing: the fifth inspection in a row fails',
    () => {
      const walk = started();
      for (let n = 0; n < 5; n++) walk.seen(failed);
      return walk;
    },
    'failing -',
  ],
  ['ready -> gone: an inspection sees it down', () => started().seen(down, 20), 'gone nothing'],
  ['ready -> gone: it died after its start', () => started().died(150), 'gone nothing'],
  ['ready -> gone: it died when the engine does not say', () => started().died(0), 'gone nothing'],
  ['ready -> ready: a death older than its start is old news', () => started().died(99), 'ready - inspect'],
  ['ready -> ready: it moves', () => started().take({ kind: 'moved', id, heard: 30 }), 'ready - inspect'],
  ['ready -> ready: a list shows it for the first time', () => started().listed('up'), 'ready - inspect'],
  ['ready -> ready: a list shows it as before', () => started().listed('up').seen(running()).listed('up'), 'ready -'],
  [
    'ready -> ready: a list shows other ports',
    () => started().listed('up').seen(running()).listed('other'),
    'ready - inspect',
  ],
  [
    'ready -> ready: a full list asks anew',
    () => started().listed('up').seen(running()).listed('up', { full: true }),
    'ready - inspect',
  ],
  [
    'ready -> gone: a list that began after the inspection does not show it',
    () => started().unlisted(),
    'forgotten nothing',
  ],
  [
    'ready -> ready: a list that overlaps with the inspection does not show it',
    () => started().unlisted(50),
    'ready - inspect',
  ],
  [
    'ready -> ready: a list that began before the inspection and ended after it does not show it',
    () => started().unlisted(5),
    'ready - inspect',
  ],
  [
    'ready -> ready: keys are found in etcd, and what it offers is said again',
    () => started().take({ kind: 'found' }),
    'ready web',
  ],
  [
    'ready -> starting: another process published it otherwise',
    () => started().take({ kind: 'fenced' }),
    'starting - inspect',
  ],
  [
    'ready -> ready: another container with the same 12 digits runs',
    () => started().seen(running(), 20, 0, twin),
    'ready - clash',
  ],
  [
    'ready -> ready: another container with the same 12 digits is down',
    () => started().seen(down, 20, 0, twin),
    'ready -',
  ],
  ['gone -> ready: a later start is seen', () => started().died(150).seen(running(200)), 'ready web'],
  [
    'gone -> gone: an inspection from before the death saw the old life',
    () => started().died(150, 40).seen(running(), 30),
    'gone -',
  ],
  [
    'gone -> ready: an inspection from before the death saw a later start',
    () => started().died(150, 40).seen(running(200), 30),
    'ready web',
  ],
  [
    'gone -> ready: an inspection that a later event asked for',
    () => started().died(150, 40).seen(running(0), 30, 160),
    'ready web',
  ],
  [
    'gone -> ready: an inspection from before the death saw a later start, where an earlier death had no time',
    () => started().take({ kind: 'ended', heard: 20 }).seen(running(140), 25).died(150, 40).seen(running(200), 30),
    'ready web',
  ],
  [
    'gone -> gone: an inspection from before a death that has no time, whatever it saw',
    () => started().died(0, 40).seen(running(200), 30),
    'gone -',
  ],
  ['gone -> gone: a failed inspection from before the death', () => started().died(150, 40).seen(failed, 30), 'gone -'],
  [
    'gone -> gone: a list from before the death shows it',
    () => started().died(150, 40).listed('up', { began: 30 }),
    'gone - inspect',
  ],
  ['gone -> forgotten: a list does not show it', () => started().died(150, 40).unlisted(), 'forgotten -'],
  [
    'gone -> forgotten: a list from before the death does not show it',
    () => started().died(150, 40).unlisted(30),
    'forgotten -',
  ],
  [
    'gone -> starting: its keys are found in etcd',
    () => started().died(150).take({ kind: 'found' }),
    'starting - list',
  ],
  ['failing -> ready: an inspection succeeds', () => new Walk().seen(failed).seen(failed).seen(running()), 'ready web'],
  ['failing -> forgotten: no list shows it', () => new Walk().seen(failed, 20).unlisted(), 'forgotten -'],
  [
    'failing -> failing: a list from before the inspection does not show it',
    () => new Walk().seen(failed, 60).unlisted(50),
    'starting -',
  ],
  ['ready -> draining: it is asked to stop', () => started().sent(15, 150), 'draining nothing'],
  ['ready -> draining: it is killed', () => started().sent(9, 150), 'draining nothing'],
  ['ready -> ready: another signal is sent', () => started().sent(1, 150), 'ready web'],
  ['ready -> ready: a signal without its number is sent', () => started().sent(0, 150), 'ready web'],
  ['ready -> ready: an earlier life was asked to stop', () => started().sent(15, 99), 'ready -'],
  ['draining -> gone: it obeys', () => started().sent(15, 150).died(160), 'gone nothing'],
  [
    'draining -> ready: it runs on for longer than it is given',
    () => started().sent().after(15_000).due(),
    'ready web',
  ],
  ['draining -> draining: it has time left', () => started().sent().after(14_999).due(), 'draining nothing'],
  ['draining -> draining: an inspection sees it run', () => started().sent().seen(running(), 20), 'draining nothing'],
  ['draining -> ready: it has started again', () => started().sent(15, 150).seen(running(200)), 'ready web'],
  [
    'draining -> draining: an inspection sees it after its keys became uncertain',
    () => started().sent(15, 150).take({ kind: 'fenced' }).seen(running()),
    'draining nothing',
  ],
  [
    'ready -> ready: it ignores its stop signal, again and again',
    () => started().sent().after(15_000).due().sent().sent(),
    'ready web',
  ],
  [
    'ready -> draining: it ignored its stop signal, and is killed',
    () => started().sent().after(15_000).due().sent(9),
    'draining nothing',
  ],
  [
    'starting -> starting: it is asked to stop before an inspection has seen it',
    () => new Walk().sent(15, 150),
    'starting -',
  ],
  [
    'starting -> draining: an inspection sees what was asked to stop',
    () => new Walk().sent(15, 150).seen(running()),
    'draining nothing',
  ],
  [
    'starting -> draining: a list from before its start comes in between',
    () => new Walk().sent(15, 150).unlisted(50).seen(running()),
    'draining nothing',
  ],
  [
    'starting -> draining: an inspection from before its start comes in between',
    () => new Walk().sent(15, 150).seen(down).seen(running()),
    'draining nothing',
  ],
  ['ready -> ready: its health is told again', () => well().take(told('healthy')), 'ready -'],
  ['ready -> ready: other health is told', () => well().take(told('unhealthy')), 'ready - inspect'],
  [
    'ready -> unhealthy: an inspection sees it',
    () => well().seen(withTraffic({ health: 'unhealthy' })),
    'unhealthy nothing',
  ],
  [
    'unhealthy -> ready: an inspection sees it well',
    () => well({ health: 'unhealthy' }).seen(withTraffic({ health: 'healthy' })),
    'ready web',
  ],
  ['nothing -> ready: its first health check is under way', () => well({ health: 'starting' }), 'ready web'],
  [
    'nothing -> ready: the policy ignores health',
    () => well({ health: 'unhealthy' }, { health: 'ignore' }),
    'ready web',
  ],
  [
    'nothing -> starting: the policy asks for health',
    () => well({ health: 'starting' }, { health: 'require-healthy' }),
    'starting nothing',
  ],
  [
    'nothing -> ready: the policy asks for health, and there is no check',
    () => well({}, { health: 'require-healthy' }),
    'ready web',
  ],
  [
    'nothing -> ready: its own wishes count before the policy',
    () => well({ health: 'unhealthy', wishes: { health: 'ignore' } }),
    'ready web',
  ],
  ['ready -> ready: it wants no drain', () => well({ wishes: { drain: false } }).sent(), 'ready web'],
  ['ready -> ready: the policy wants no drain', () => well({}, { drain: false }).sent(), 'ready web'],
  ['ready -> draining: by its own signal', () => well({ stopSignal: 3 }).sent(3), 'draining nothing'],
  ['ready -> ready: by the usual signal, which is not its own', () => well({ stopSignal: 3 }).sent(15), 'ready web'],
  ['draining -> ready: its own time is over', () => well({ stopSeconds: 1 }).sent().after(6_000).due(), 'ready web'],
  ['ready -> ready: a pause', () => well({ isPaused: true }), 'ready web'],
  [
    'nothing -> paused: the policy withdraws what is paused',
    () => well({ isPaused: true }, { paused: 'withdraw' }),
    'paused nothing',
  ],
  ['nothing -> starting: it has not run long enough', () => well({}, { afterMs: 5_000 }), 'starting nothing'],
  ['starting -> ready: it has run long enough', () => well({}, { afterMs: 5_000 }).after(5_000).due(), 'ready web'],
  [
    'starting -> ready: it had run before the agent did',
    () => new Walk().under({ afterMs: 5_000 }).seen(running(994_000 * 1e6)),
    'ready web',
  ],
  ['failing -> failing: its time has come', () => new Walk().seen(failed).take({ kind: 'woke' }), 'starting - inspect'],
];

describe('the life-cycle machine', () => {
  for (const [name, walk, outcome] of transitions) {
    test(name, () => assert.equal(walk().outcome, outcome));
  }

  test('inspects again what moved during an inspection, once', () => {
    const walk = new Walk().take({ kind: 'moved', id, heard: 60 }).seen(running(), 50);
    assert.equal(walk.outcome, 'ready web inspect');
    assert.equal(walk.seen(running()).outcome, 'ready web');
  });

  test('does not inspect again what moved before the inspection', () => {
    assert.equal(new Walk().take({ kind: 'moved', id, heard: 40 }).seen(running(), 50).outcome, 'ready web');
  });

  test('believes no inspection that a list has overtaken, and asks again for what ran', () => {
    const walk = new Walk();
    walk.listBegan = 50;
    walk.listEnded = 60;
    assert.equal(walk.seen(running(), 40).outcome, 'forgotten - inspect');
    assert.equal(walk.seen(failed, 40).outcome, 'forgotten -');
  });

  test('believes no inspection that ran while a list did not show the container', () => {
    const walk = new Walk();
    walk.listBegan = 50;
    walk.listEnded = 60;
    assert.equal(walk.seen(running(), 55).outcome, 'forgotten - inspect');
    assert.equal(walk.seen(down, 55).outcome, 'gone nothing');
  });

  test('believes no inspection from before a list that did not show the container, though a later list does', () => {
    const walk = new Walk().unlisted(150).listed('up', { began: 170 });
    assert.equal(walk.outcome, 'starting - inspect');
    assert.equal(walk.seen(running(), 140).outcome, 'starting -');
    assert.equal(walk.seen(running(), 160).outcome, 'ready web');
  });

  test('publishes no life that ended while a list judged what was found', () => {
    const walk = found().died(150, 103).unlisted(101);
    assert.equal(walk.outcome, 'forgotten nothing');
    assert.equal(walk.seen(running(), 101).outcome, 'forgotten - inspect');
  });

  test('repeats an inspection that failed while a death was heard of, for it may be about a later start', () => {
    const walk = new Walk().seen(failed, 20).take({ kind: 'woke' }).died(150, 40).seen(failed, 30);
    assert.equal(walk.take({ kind: 'woke' }).outcome, 'gone - inspect');
  });

  test('ends the retries with an inspection that a death has overtaken', () => {
    const walk = new Walk().seen(failed, 20).take({ kind: 'woke' }).died(150, 40).seen(down, 30);
    assert.ok(walk.state && isForgettable(walk.state, Number.POSITIVE_INFINITY));
  });

  test('keeps a retry over a death, for it may be about a later start', () => {
    const walk = started().seen(failed, 20).died(150);
    assert.equal(walk.take({ kind: 'woke' }).outcome, 'gone - inspect');
  });

  test('waits ever longer between retries, up to the cap', () => {
    const waits = Array.from({ length: 12 }, (_, n) => {
      const walk = new Walk();
      for (let tries = 0; tries <= n; tries++) walk.seen(failed);
      return walk.state?.wakeAt;
    });
    assert.deepEqual(waits, [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000, 15_000]);
  });

  test('gives the 12 digits to another container once the first is gone', () => {
    assert.equal(started().died(150).seen(running(), 200, 0, twin).outcome, 'ready web');
  });

  test('remembers of the dead only what a reading under way may need', () => {
    const { state } = started().died(150, 40);
    assert.ok(state);
    assert.equal(isForgettable(state, 30), false, 'a reading from before the death may come');
    assert.equal(isForgettable(state, state.kind === 'gone' ? state.since + 1 : 0), true);
    for (const walk of [started(), found(), new Walk().seen(failed), new Walk().listed('up')]) {
      assert.ok(walk.state);
      assert.equal(isForgettable(walk.state, Number.POSITIVE_INFINITY), false, walk.outcome);
    }
  });

  test('asks again for the health that an inspection under way may have seen before it was told', () => {
    const walk = well().take({ kind: 'moved', id, heard: 300, health: 'healthy' });
    assert.equal(walk.seen(withTraffic({ health: 'unhealthy' }), 200).outcome, 'unhealthy nothing inspect');
  });

  test('says that a container ignores its stop signal, until it starts again', () => {
    const walk = started().sent().after(15_000).due();
    const noteOf = () => walk.state?.kind === 'running' && walk.state.verdict.isPublished && walk.state.verdict.note;
    assert.equal(noteOf(), 'ignores-stop');
    walk.died(0).seen(running(200));
    assert.equal(noteOf(), undefined);
  });

  test('tells of a health check that has not succeeded for five minutes, and of its age before that', () => {
    const walk = well({ health: 'starting' }, { health: 'require-healthy' });
    const reasonOf = () =>
      walk.state?.kind === 'running' && !walk.state.verdict.isPublished && walk.state.verdict.reason;
    assert.deepEqual([reasonOf(), walk.state?.dueAt], ['not-healthy', 300_000]);
    assert.equal(walk.after(299_999).due() && reasonOf(), 'not-healthy');
    assert.equal(walk.after(1).due() && reasonOf(), 'still-starting');
    assert.equal(walk.state?.dueAt, undefined);
    assert.equal(walk.seen(withTraffic({ health: 'healthy' }), 200).outcome, 'ready web');
  });

  test('forgets signals of the dead, and those of what never comes', () => {
    const forgettable = ({ state }: Walk) => state !== undefined && isForgettable(state, Number.POSITIVE_INFINITY);
    assert.equal(forgettable(started().sent(15, 150).died(160)), true);
    const unseen = new Walk().sent(15, 150);
    assert.deepEqual([forgettable(unseen), unseen.state?.dueAt], [false, 15_000]);
    assert.equal(forgettable(unseen.after(15_000).due()), true);
  });

  test('decides by time that only goes on: the wall clock is asked once, at the first inspection', () => {
    const walk = well({}, { afterMs: 5_000 });
    assert.equal(walk.state?.dueAt, 5_000);
    assert.equal(walk.seen(withTraffic({})).state?.dueAt, 5_000);
  });

  test('counts a death that nothing from outside came before, and none other', () => {
    const crashesOf = (walk: Walk) => walk.under({ flapDeaths: 3 }).died(0).last.crashes?.times.length;
    assert.equal(crashesOf(started()), 1);
    for (const signal of [15, 9, 1, 0]) assert.equal(crashesOf(started().sent(signal)), undefined, `${signal}`);
    assert.equal(crashesOf(started().sent(1).after(15_000)), 1, 'a signal of long ago has not ended it');
    assert.equal(crashesOf(new Walk()), undefined);
    assert.equal(crashesOf(started().died(0)), undefined, 'it is dead already');
    assert.equal(
      started().under({ flapDeaths: 3 }).seen(down).last.crashes?.times.length,
      1,
      'an inspection is faster',
    );
  });

  test('holds a life back by the crashes before it, counted from the last of them at the earliest', () => {
    const walk = new Walk().under({ flapDeaths: 3, flapMs: 60_000 }).after(50_000);
    walk.crashes = { times: [48_000, 49_000, 49_500], requiredMs: 10_000 };
    // By the clocks it has run for long.
    assert.equal(walk.seen(running(1)).outcome, 'held nothing');
    assert.equal(walk.state?.dueAt, 59_500);
    walk.crashes = { times: [49_500], requiredMs: 40_000 };
    assert.equal(walk.seen(running(1)).state?.dueAt, 59_500, 'what is asked of this life stays');
    assert.equal(walk.after(9_500).due().outcome, 'ready web');
  });

  test('has a name for each state', () => {
    assert.deepEqual(stateNames, [
      ...['starting', 'ready', 'draining', 'paused', 'unhealthy', 'held', 'maintenance', 'failing', 'gone'],
    ]);
  });
});

describe('a request for an inspection', () => {
  const [start, retry] = [{ id, at: 150 }, { id, at: 0, isKept: true } as const];

  test('is needless after a death that is newer than its event', () => {
    assert.deepEqual([isNeedless(start, 149), isNeedless(start, 150)], [false, true]);
  });

  test('of the life cycle is needed after each death, and after each event', () => {
    for (const request of [retry, merged(start, retry), merged(retry, start)]) {
      assert.equal(isNeedless(request, Number.POSITIVE_INFINITY), false);
    }
    assert.equal(merged(start, retry).at, 150);
  });
});

describe('Sequence', () => {
  test('counts moments, and knows the oldest reading under way', () => {
    const sequence = new Sequence();
    assert.deepEqual([sequence.next(), sequence.oldest], [1, 2]);
    const first = sequence.begin();
    const second = sequence.begin();
    sequence.next();
    assert.equal(sequence.oldest, first);
    sequence.end(first);
    assert.equal(sequence.oldest, second);
    sequence.end(second);
    assert.equal(sequence.oldest, 5);
  });
});
