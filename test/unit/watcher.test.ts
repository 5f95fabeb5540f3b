/** How the stream is kept open and the list fresh, and what is told of both. Over a simulated engine. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Ref } from '../../src/actor/actor.ts';
import { FifoMailbox, KeyedMailbox } from '../../src/actor/mailbox.ts';
import { Supervisor } from '../../src/actor/supervisor.ts';
import type { EngineInfo } from '../../src/docker/docker.ts';
import { type Resync, Watcher } from '../../src/docker/watcher.ts';
import { DiscoverError } from '../../src/errors.ts';
import type { InspectionRequest, ReconcilerMessage } from '../../src/lifecycle/observation.ts';
import { Sequence } from '../../src/lifecycle/sequence.ts';
import { total } from '../../src/metrics.ts';
import { BaseStage } from '../helpers/stage.ts';
import { startActor } from '../helpers/start-actor.ts';
import { type EngineCall, type EngineFault, FakeEngine, idOf } from '../sim/docker.ts';

const [c1, c2] = [idOf(1), idOf(2)];
const hourMs = 3_600_000;

class Stage extends BaseStage {
  readonly engine: FakeEngine;
  readonly looks: InspectionRequest[] = [];
  readonly observations: ReconcilerMessage[] = [];
  readonly fatal: DiscoverError[] = [];
  readonly engines: EngineInfo[] = [];
  readonly mailbox = new KeyedMailbox<InspectionRequest>((inspect) => inspect.id);
  readonly supervisor: Supervisor;
  readonly sequence = new Sequence();
  inspectsMoves = false;

  constructor(seed = 1) {
    super(seed);
    this.engine = new FakeEngine(this.clock);
    this.supervisor = new Supervisor(this.clock, this.log, assert.fail);
  }

  get infos(): string[] {
    return this.log.entries.filter(({ level }) => level === 'info').map(({ message }) => message);
  }

  start(): Ref<Resync> {
    const { clock, engine, log, metrics, looks, observations, mailbox, fatal, engines } = this;
    return startActor<Resync>(this.supervisor, {
      name: 'watcher',
      mailbox: new FifoMailbox<Resync>(),
      concurrency: 1,
      batchMax: Number.POSITIVE_INFINITY,
      stopTimeoutMs: 3_000,
      start: (self, signal) =>
        new Watcher(
          {
            ...{ clock, log, metrics, docker: engine.docker },
            resyncSeconds: 60,
            inspectsMoves: this.inspectsMoves,
            sequence: this.sequence,
            list: (versionPrefix) => engine.pool.list(versionPrefix),
            withdraw: (id, at) => mailbox.withdraw(id, (request) => request.at <= at),
            inspector: { name: 'inspector', tell: (inspect) => void looks.push(inspect) },
            reconciler: { name: 'reconciler', tell: (observation) => void observations.push(observation) },
            onConnect: (found) => void engines.push(found),
            onFatal: (error) => void fatal.push(error),
          },
          self,
          signal,
        ),
    });
  }

  /** With a stream that is open and nothing told yet. */
  static async watching(): Promise<Stage> {
    const stage = new Stage();
    stage.start();
    await stage.clock.settle();
    assert.equal(stage.metrics.streams, 1);
    stage.forget();
    return stage;
  }

  forget(): void {
    this.observations.length = 0;
    this.looks.length = 0;
  }

  faultOn(call: EngineCall, fault: EngineFault, times = Number.POSITIVE_INFINITY): void {
    let left = times;
    this.engine.fault = (asked) => (asked === call && left-- > 0 ? fault : undefined);
  }

  /** Whether each list came by the clock alone. */
  periodic(): boolean[] {
    return this.observations.flatMap((one) => (one.kind === 'list' ? [one.isPeriodic] : []));
  }

  lists(): { ids: string[]; full: boolean }[] {
    return this.observations
      .filter((observation) => observation.kind === 'list')
      .map(({ containers, full }) => ({ ids: containers.map(({ id }) => id), full }));
  }

  kinds(): string[] {
    return this.observations.map((observation) =>
      'id' in observation ? `${observation.kind} ${observation.id}` : observation.kind,
    );
  }
}

describe('Watcher connects and', () => {
  test('subscribes, then lists thoroughly', async () => {
    const stage = new Stage();
    const order: string[] = [];
    stage.engine.fault = (call) => void order.push(call);
    stage.engine.run(c1, 'web');
    stage.start();
    await stage.clock.settle();
    assert.deepEqual(order, ['negotiate', 'events', 'list']);
    assert.deepEqual(stage.lists(), [{ ids: [c1], full: true }]);
    assert.equal(stage.engines.length, 1);
  });

  test('begins no list before the engine has answered to the subscription', async () => {
    const stage = new Stage();
    stage.faultOn('events', { kind: 'slow', readMs: 1_000, replyMs: 0 });
    stage.start();
    await stage.clock.advance(999);
    assert.equal(stage.engine.calls.list, 0);
    await stage.clock.advance(1);
    assert.equal(stage.engine.calls.list, 1);
  });

  test('dates the list before it asks, so that what is told meanwhile is newer', async () => {
    const stage = new Stage();
    stage.faultOn('list', { kind: 'slow', readMs: 100, replyMs: 100 });
    stage.start();
    await stage.clock.advance(50);
    const now = stage.sequence.next();
    await stage.clock.advance(150);
    const [listed] = stage.observations;
    assert.ok(listed?.kind === 'list' && listed.began < now && listed.began > 0);
  });

  test('tells of an event that comes before the list is there', async () => {
    const stage = new Stage();
    stage.faultOn('list', { kind: 'slow', readMs: 0, replyMs: 100 });
    stage.start();
    await stage.clock.advance(50);
    stage.engine.run(c1, 'web');
    assert.deepEqual(
      stage.looks.map(({ id }) => id),
      [c1],
    );
    await stage.clock.advance(50);
    assert.deepEqual(stage.lists(), [{ ids: [], full: true }]);
  });

  test('asks for events from a second before the time of the engine', async () => {
    const stage = new Stage();
    await stage.clock.advance(12_345);
    stage.start();
    await stage.clock.settle();
    assert.deepEqual(stage.engine.sinces, [Date.UTC(2026, 0, 1) / 1000 + 12 - 1]);
  });

  test('asks after a cut for events from a second before the newest it has seen', async () => {
    const stage = await Stage.watching();
    await stage.clock.advance(20_000);
    stage.engine.run(c1, 'web');
    await stage.clock.advance(30_000);
    stage.engine.cut();
    await stage.clock.advance(1_000);
    assert.equal(stage.engine.sinces[1], Date.UTC(2026, 0, 1) / 1000 + 20 - 1);
  });

  test('asks for no events from a future that the engine has gone back from', async () => {
    const stage = await Stage.watching();
    stage.engine.send(JSON.stringify({ Type: 'container', Action: 'start', Actor: { ID: c1 }, time: 4_000_000_000 }));
    stage.engine.cut();
    await stage.clock.advance(1_000);
    assert.equal(stage.engine.sinces[1], Date.UTC(2026, 0, 1) / 1000 - 1);
  });

  test('learns by the overlap what happened while there was no stream', async () => {
    const stage = await Stage.watching();
    stage.faultOn('negotiate', { kind: 'fails' });
    stage.engine.cut();
    await stage.clock.advance(5_000);
    stage.engine.run(c1, 'web');
    stage.engine.die(c1);
    stage.engine.fault = () => undefined;
    await stage.clock.advance(2_000);
    assert.deepEqual(
      stage.looks.map(({ id }) => id),
      [c1],
    );
    assert.ok(stage.kinds().includes(`died ${c1}`));
  });
});

describe('Watcher hears an event and', () => {
  test('asks for a look at what has started', async () => {
    const stage = await Stage.watching();
    stage.engine.run(c1, 'web');
    const [inspect] = stage.looks;
    assert.equal(inspect?.id, c1);
    assert.ok(inspect && inspect.at > stage.clock.wall() * 1e6);
    assert.deepEqual(stage.kinds(), [`moved ${c1}`]);
    assert.equal(total(stage.metrics.events), 2);
  });

  test('tells of a death with its time, and asks for no look', async () => {
    const stage = await Stage.watching();
    stage.engine.run(c1, 'web');
    stage.forget();
    stage.engine.die(c1);
    const [died] = stage.observations;
    assert.ok(died?.kind === 'died' && died.at > stage.clock.wall() * 1e6);
    assert.deepEqual(stage.kinds(), [`died ${c1}`, `moved ${c1}`]);
    assert.deepEqual(stage.looks, []);
  });

  test('takes back the look that waits for what has died', async () => {
    const stage = await Stage.watching();
    stage.mailbox.put({ id: c1, at: 0 });
    stage.mailbox.put({ id: c2, at: 0 });
    stage.engine.run(c1);
    stage.engine.die(c1);
    assert.equal(stage.mailbox.size, 1);
  });

  test('takes back no look that a later start asked for', async () => {
    const stage = await Stage.watching();
    stage.engine.route = (action) => (action === 'die' ? [50] : [0]);
    stage.engine.run(c1);
    stage.engine.restart(c1);
    for (const inspect of stage.looks) stage.mailbox.put(inspect);
    await stage.clock.advance(50);
    assert.equal(stage.mailbox.size, 1);
  });

  test('asks for a look at what may match its filter from now on', async () => {
    const rename = JSON.stringify({ Type: 'container', Action: 'rename', Actor: { ID: c1 }, timeNano: 5 });
    for (const [inspectsMoves, looks] of [
      [false, []],
      [true, [{ id: c1, at: 5 }]],
    ] as const) {
      const stage = new Stage();
      stage.inspectsMoves = inspectsMoves;
      stage.start();
      await stage.clock.settle();
      stage.forget();
      stage.engine.send(rename);
      assert.deepEqual([stage.kinds(), stage.looks], [[`moved ${c1}`], looks]);
    }
  });

  test('takes back every look where the engine does not say when', async () => {
    const stage = await Stage.watching();
    stage.mailbox.put({ id: c1, at: 5 });
    stage.engine.send(JSON.stringify({ Type: 'container', Action: 'die', Actor: { ID: c1 } }));
    assert.equal(stage.mailbox.size, 0);
    assert.deepEqual(stage.kinds(), [`died ${c1}`]);
  });

  test('takes no notice of events that do not concern it', async () => {
    const stage = await Stage.watching();
    stage.engine.send(
      '{"Type":"container","Action":"exec_die","Actor":{"ID":"x"}}\n{"Type":"image","Action":"pull"}\n',
    );
    assert.equal(total(stage.metrics.events), 0);
    await stage.clock.advance(1_000);
    assert.equal(stage.metrics.streams, 1);
  });

  test('opens a new stream when it cannot read one', async () => {
    const stage = await Stage.watching();
    stage.engine.send('{"Type": nonsense}\n');
    await stage.clock.advance(1_000);
    assert.equal(stage.metrics.streams, 2);
    assert.deepEqual(stage.lists(), [{ ids: [], full: true }]);
  });

  test('asks for a list when one is too large to read, and keeps the stream', async () => {
    const stage = await Stage.watching();
    const piece = ' '.repeat(1 << 20);
    stage.engine.send('{"Type":"container"');
    for (let n = 0; n < 33; n++) stage.engine.send(piece);
    assert.equal(stage.metrics.streams, 1);
    stage.engine.send('}\n');
    await stage.clock.advance(1_000);
    assert.equal(stage.metrics.streams, 1);
    assert.deepEqual(stage.lists(), [{ ids: [], full: false }]);
    // What the lost event would have told of says nothing against the stream.
    assert.deepEqual(stage.periodic(), [false]);
    stage.forget();
    await stage.clock.advance(70_000);
    assert.deepEqual(stage.periodic(), [true]);
  });

  test('forgets half an event with the stream that brought it', async () => {
    const stage = await Stage.watching();
    stage.engine.send('{"Type":"container","Action":"st');
    stage.engine.cut();
    await stage.clock.advance(1_000);
    stage.engine.run(c1);
    assert.deepEqual(
      stage.looks.map(({ id }) => id),
      [c1],
    );
    assert.equal(stage.metrics.streams, 2);
  });
});

describe('Watcher loses the engine and', () => {
  test('opens a new stream within a moment and lists thoroughly', async () => {
    const stage = await Stage.watching();
    await stage.clock.advance(10_000);
    stage.engine.cut();
    await stage.clock.advance(50);
    assert.equal(stage.metrics.streams, 2);
    assert.deepEqual(stage.lists(), [{ ids: [], full: true }]);
    assert.equal(stage.engines.length, 2);
  });

  for (const call of ['negotiate', 'events', 'list'] as const) {
    for (const kind of ['fails', 'hangs'] as const) {
      test(`tries for ever while ${call} ${kind}, at most about once a second, and is back within one`, async () => {
        const stage = new Stage();
        stage.faultOn(call, { kind });
        stage.start();
        await stage.clock.advance(10 * 60_000);
        const tries = stage.engine.calls[call];
        assert.ok(tries > 35 && tries < 1_250, `${tries} tries`);
        // Where nobody may follow, all that runs is known by lists.
        const lists = stage.lists();
        assert.equal(stage.observations.filter(({ kind }) => kind !== 'engine').length, lists.length);
        assert.deepEqual(stage.observations.at(-1), { kind: 'engine', isAway: true });
        assert.equal(lists.length > 0, call === 'events');
        assert.ok(lists.every(({ full }) => !full));
        stage.forget();
        stage.engine.fault = () => undefined;
        // A call that hangs has to be given up first.
        await stage.clock.advance(kind === 'hangs' ? 16_000 : 1_000);
        assert.deepEqual(stage.lists().filter(({ full }) => full)[0], { ids: [], full: true });
      });
    }
  }

  test('goes by lists where the engine lets nobody follow, and counts as not connected', async () => {
    const stage = new Stage();
    stage.faultOn('events', { kind: 'fails' });
    stage.engine.run(c1);
    stage.start();
    await stage.clock.settle();
    assert.deepEqual(stage.lists(), [{ ids: [c1], full: false }]);
    stage.engine.die(c1);
    await stage.clock.advance(2_000);
    assert.deepEqual(stage.lists().at(-1), { ids: [], full: false });
    assert.equal(stage.metrics.docker.isUp, false);
  });

  test('says which engine it has found when that is news, not for each try', async () => {
    const stage = new Stage();
    stage.faultOn('list', { kind: 'fails' });
    stage.start();
    await stage.clock.advance(60_000);
    assert.ok(stage.engines.length > 30, `${stage.engines.length} tries`);
    assert.deepEqual(stage.infos, ['connected to docker']);
  });

  test('says so when it begins, once a minute, and no more', async () => {
    const stage = await Stage.watching();
    stage.faultOn('negotiate', { kind: 'fails' });
    stage.engine.cut();
    await stage.clock.advance(10 * 60_000);
    assert.ok(stage.warnings.length >= 9 && stage.warnings.length <= 11, `${stage.warnings.length} lines`);
  });

  test('takes half a list for none', async () => {
    const stage = new Stage();
    stage.engine.run(c1, 'web');
    stage.faultOn('list', { kind: 'cut' }, 3);
    stage.start();
    await stage.clock.settle();
    assert.deepEqual(
      stage.observations.filter(({ kind }) => kind === 'list'),
      [],
    );
    await stage.clock.advance(2_000);
    assert.deepEqual(stage.lists(), [{ ids: [c1], full: true }]);
  });

  test('closes the stream when the first list fails', async () => {
    const stage = new Stage();
    stage.faultOn('list', { kind: 'fails' });
    stage.start();
    await stage.clock.advance(10_000);
    stage.engine.fault = () => undefined;
    await stage.clock.advance(2_000);
    stage.forget();
    stage.engine.run(c1);
    assert.equal(stage.looks.length, 1, 'one stream tells, not several');
  });

  test('opens a new stream when a later list fails', async () => {
    const stage = await Stage.watching();
    stage.faultOn('list', { kind: 'fails' }, 1);
    await stage.clock.advance(70_000);
    assert.equal(stage.metrics.streams, 2);
    assert.deepEqual(stage.lists()[0], { ids: [], full: true });
  });

  test('asks ever more slowly when each new stream ends at once', async () => {
    const stage = new Stage();
    const { events } = stage.engine.docker;
    stage.engine.docker.events = async (engine, since, onChunk) => {
      const stream = await events(engine, since, onChunk);
      stream.close();
      return stream;
    };
    stage.start();
    await stage.clock.advance(60_000);
    assert.ok(stage.engine.calls.events < 130, `${stage.engine.calls.events} streams`);
  });

  test('opens the next stream within a moment however often a proxy cuts idle ones', async () => {
    const stage = await Stage.watching();
    for (let cuts = 1; cuts <= 20; cuts++) {
      await stage.clock.advance(2_000);
      stage.engine.cut();
      await stage.clock.advance(50);
      assert.equal(stage.metrics.streams, 1 + cuts);
    }
  });

  test('gives up where the engine refuses the version that is configured', async () => {
    const stage = new Stage();
    stage.engine.docker.negotiate = () => Promise.reject(new DiscoverError('CONFIG_INVALID', 'docker.version'));
    stage.start();
    await stage.clock.settle();
    assert.deepEqual(
      stage.fatal.map(({ code }) => code),
      ['CONFIG_INVALID'],
    );
  });
});

describe('Watcher goes on and', () => {
  test('lists lightly about once a minute', async () => {
    const stage = await Stage.watching();
    stage.engine.run(c1, 'web');
    await stage.clock.advance(4 * 60_000);
    const lists = stage.lists();
    assert.ok(lists.length >= 3 && lists.length <= 4, `${lists.length} lists`);
    for (const list of lists) assert.deepEqual(list, { ids: [c1], full: false });
  });

  test('does not list in step with others', async () => {
    const at = new Set<number>();
    for (let seed = 1; seed <= 20; seed++) {
      const stage = new Stage(seed);
      const { clock, metrics } = stage;
      stage.start();
      await clock.settle();
      await clock.until(() => metrics.lists.connect.ok + metrics.lists.resync.ok === 2, 70_000);
      assert.ok(clock.now() >= 54_000 && clock.now() <= 66_000, `${clock.now()}`);
      at.add(Math.round(clock.now() / 500));
    }
    assert.ok(at.size > 8);
  });

  test('lists thoroughly when it is asked to, once for several who ask together', async () => {
    const stage = new Stage();
    const ref = stage.start();
    await stage.clock.settle();
    stage.forget();
    for (const resync of ['incremental', 'full', 'incremental'] as const) ref.tell(resync);
    await stage.clock.settle();
    assert.deepEqual(stage.lists(), [{ ids: [], full: true }]);
  });

  test('does not list while there is no stream', async () => {
    const stage = new Stage();
    stage.faultOn('negotiate', { kind: 'fails' });
    const ref = stage.start();
    ref.tell('full');
    await stage.clock.advance(1_000);
    assert.equal(stage.engine.calls.list, 0);
  });

  test('renews its stream every five to ten minutes, and loses nothing by it', async () => {
    const stage = await Stage.watching();
    const openedAt = [0];
    for (let n = 1; n <= 20; n++) {
      await stage.clock.until(() => stage.metrics.streams > n, 11 * 60_000);
      openedAt.push(stage.clock.now());
      const life = stage.clock.now() - (openedAt[n - 1] as number);
      assert.ok(life >= 5 * 60_000 && life <= 10 * 60_000 + 1_000, `${life}`);
    }
    assert.deepEqual(stage.warnings, []);
    stage.forget();
    stage.engine.run(c1);
    assert.equal(stage.looks.length, 1, 'the streams before are closed');
  });

  test('gives up a stream that is found to be silent, and inspects everything again', async () => {
    const stage = new Stage();
    const watcher = stage.start();
    await stage.clock.settle();
    stage.engine.run(c1, 'web');
    stage.forget();
    watcher.tell('silent');
    await stage.clock.advance(1_000);
    assert.equal(stage.metrics.streamEnds.silent, 1);
    assert.deepEqual(stage.lists(), [{ ids: [c1], full: true }]);
    assert.deepEqual(stage.warnings, ['event stream is silent; opening a new one']);
  });

  test('opens a new stream after the event loop stood still', async () => {
    const stage = await Stage.watching();
    await stage.clock.advance(10_000);
    stage.clock.stall(3_500);
    await stage.clock.advance(1_000);
    assert.equal(stage.metrics.streams, 2);
    assert.deepEqual(stage.lists(), [{ ids: [], full: true }]);
    assert.deepEqual(stage.warnings, ['event loop stalled; events may be lost']);
  });

  test('takes no notice of an event loop that was merely busy', async () => {
    const stage = await Stage.watching();
    for (let n = 0; n < 20; n++) {
      await stage.clock.advance(1_000);
      stage.clock.stall(1_500);
    }
    await stage.clock.advance(1_000);
    assert.equal(stage.metrics.streams, 1);
  });

  test('finds by its lists what a stream that says nothing has kept from it', async () => {
    const stage = await Stage.watching();
    stage.engine.route = () => [];
    stage.engine.run(c1);
    await stage.clock.advance(67_000);
    assert.deepEqual(stage.looks, []);
    assert.deepEqual(stage.lists()[0], { ids: [c1], full: false });
  });
});

describe('Watcher stops and', () => {
  test('closes its stream and asks for nothing more', async () => {
    const stage = await Stage.watching();
    const calls = { ...stage.engine.calls };
    await stage.supervisor.stop();
    stage.engine.run(c1);
    await stage.clock.advance(hourMs);
    assert.deepEqual(stage.looks, []);
    assert.deepEqual(stage.engine.calls, calls);
  });

  test('stops at once while it waits to try again', async () => {
    const stage = new Stage();
    stage.faultOn('negotiate', { kind: 'fails' });
    stage.start();
    await stage.clock.advance(10_000);
    await stage.supervisor.stop();
    const { negotiate } = stage.engine.calls;
    await stage.clock.advance(hourMs);
    assert.equal(stage.engine.calls.negotiate, negotiate);
  });

  test('closes a stream that is opened while it stops', async () => {
    const stage = new Stage();
    stage.faultOn('events', { kind: 'slow', readMs: 100, replyMs: 0 });
    stage.start();
    await stage.clock.advance(50);
    const stop = stage.supervisor.stop();
    await stage.clock.advance(100);
    await stop;
    stage.forget();
    stage.engine.run(c1);
    assert.deepEqual(stage.looks, []);
  });

  test('leaves no timer that keeps the process alive', async () => {
    const stage = await Stage.watching();
    await stage.clock.advance(10_000);
    await stage.supervisor.stop();
    await stage.clock.settle();
    assert.equal(stage.clock.pending, 0);
  });
});

describe('Watcher falls behind and', () => {
  test('lists once events come late, since some of them may have been dropped', async () => {
    const stage = await Stage.watching();
    stage.engine.run(c1, 'web');
    await stage.clock.advance(10);
    stage.engine.route = () => [150];
    stage.engine.run(c2, 'web');
    await stage.clock.advance(500);
    assert.deepEqual(stage.lists(), []);
    await stage.clock.advance(1_000);
    assert.deepEqual(stage.lists(), [{ ids: [c1, c2], full: false }]);
  });

  test('does not list for an engine whose clock is another', async () => {
    const stage = await Stage.watching();
    stage.engine.route = () => [90];
    for (let n = 1; n <= 20; n++) {
      stage.engine.run(idOf(n), 'web');
      await stage.clock.advance(500);
    }
    assert.deepEqual(stage.lists(), []);
  });
});
