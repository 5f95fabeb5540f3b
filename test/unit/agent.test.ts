/** The whole agent, over a simulated engine, a simulated etcd and a virtual clock: what etcd comes to hold, and when. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Agent } from '../../src/agent.ts';
import { DiscoverError } from '../../src/errors.ts';
import { layoutOf } from '../../src/layout/keys.ts';
import type { PublishPolicy } from '../../src/lifecycle/deserves.ts';
import type { Parts } from '../../src/parts.ts';
import type { Publication } from '../../src/reconcile/publications.ts';
import type { Liveness } from '../../src/registry/process-identity.ts';
import { amount } from '../helpers/share.ts';
import { BaseStage } from '../helpers/stage.ts';
import { defaultConfig } from '../sim/config.ts';
import { FakeEngine, idOf } from '../sim/docker.ts';
import { type Applied, MemoryRegistry, MemoryStore, type RegistryCall, type RegistryFault } from '../sim/registry.ts';

const layout = layoutOf('/discover', 'default', 'host-1');
const [c1, c2, c3] = [idOf(1), idOf(2), idOf(3)];
const hourMs = 3_600_000;

interface Running {
  readonly agent: Agent;
  readonly registry: MemoryRegistry;
  readonly events: string[];
  readonly ended: (DiscoverError | undefined)[];
}

interface Wanted {
  readonly liveness?: Liveness;
  readonly onExit?: 'keep' | 'remove' | 'drain';
  readonly drainSeconds?: number;
  readonly meta?: 'always';
  readonly publish?: Partial<PublishPolicy>;
  readonly fault?: (call: RegistryCall) => RegistryFault | undefined;
  readonly parts?: Partial<Parts>;
}

class Stage extends BaseStage {
  readonly engine: FakeEngine;
  readonly store: MemoryStore;
  #instances = 0;

  constructor(seed = 1) {
    super(seed);
    this.engine = new FakeEngine(this.clock);
    this.store = new MemoryStore(this.clock);
  }

  start({
    liveness = 'unknown',
    onExit = 'keep',
    drainSeconds = 10,
    meta,
    publish,
    fault,
    parts = {},
  }: Wanted = {}): Running {
    const { clock, engine, log, store } = this;
    const registry = new MemoryRegistry(clock, store);
    if (fault !== undefined) registry.fault = fault;
    const agent = new Agent(
      {
        ...defaultConfig,
        publish: { ...defaultConfig.publish, ...publish },
        ...(meta && { meta }),
        host: { ...defaultConfig.host, onExit, drainSeconds },
      },
      {
        ...{ clock, log, registry, reader: registry, docker: engine.docker, pool: engine.pool },
        process: { self: undefined, livenessOf: () => liveness },
        instance: `instance ${++this.#instances}`,
        ...parts,
      },
    );
    const events: string[] = [];
    agent.on('connect', () => events.push('connect'));
    agent.on('start', () => events.push('start'));
    agent.on('publish', ({ id, services }) => events.push(`publish ${id} ${Object.keys(services)}`));
    agent.on('unpublish', ({ id, services }) => events.push(`unpublish ${id} ${Object.keys(services)}`));
    const ended: (DiscoverError | undefined)[] = [];
    void agent.ended.then((cause) => ended.push(cause));
    return { agent, registry, events, ended };
  }

  /** What errors and warnings said, with their fields. */
  get problems(): string[] {
    return this.log.loud.map(({ fields, message }) => `${message} ${JSON.stringify(fields)}`);
  }

  /** The keys of containers in etcd. */
  held(): Map<string, string> {
    const { keys } = this.store;
    const isOurs = (key: string) => key !== layout.ownerKey && !key.startsWith('/discover/maintenance/');
    return new Map([...keys].filter(([key]) => isOurs(key)).map(([key, { value }]) => [key, value]));
  }

  assertExact(): void {
    assert.deepEqual(new Map([...this.held()].sort()), new Map([...this.engine.keys(layout)].sort()));
  }

  /** What happened to the keys of containers since then, by revision. */
  touched(length = 0): Applied[][] {
    const revisions = new Map<number, Applied[]>();
    for (const applied of this.store.history.slice(length)) {
      if (applied.key === layout.ownerKey) continue;
      revisions.set(applied.revision, [...(revisions.get(applied.revision) ?? []), applied]);
    }
    return [...revisions.values()];
  }
}

/** With these containers, published. */
async function publishing(stage: Stage, ids: readonly (typeof c1)[], wanted?: Wanted): Promise<Running> {
  for (const id of ids) stage.engine.run(id, 'web');
  const running = stage.start(wanted);
  await stage.clock.settle();
  stage.assertExact();
  return running;
}

describe('Agent', () => {
  test('publishes a container that starts, all its keys in one revision', async () => {
    const stage = new Stage();
    await publishing(stage, []);
    const { revision } = stage.store;
    stage.engine.run(c1, 'web', 'api');
    await stage.clock.settle();
    assert.deepEqual(
      stage.held(),
      new Map([
        ['/discover/service/web/default/host-1/000000000001', 'tcp://10.0.0.1:32769'],
        ['/discover/service/api/default/host-1/000000000001', 'tcp://10.0.0.1:32770'],
        [
          '/discover/host/host-1/000000000001',
          '{"web":"/discover/service/web/default/host-1/000000000001","api":"/discover/service/api/default/host-1/000000000001"}',
        ],
      ]),
    );
    assert.equal(stage.store.revision, revision + 1);
  });

  test('removes a container that dies, all its keys in one revision and without a look', async () => {
    const stage = new Stage();
    await publishing(stage, []);
    stage.engine.run(c1, 'web', 'api');
    await stage.clock.settle();
    const { revision } = stage.store;
    const { inspect } = stage.engine.calls;
    stage.engine.die(c1);
    await stage.clock.settle();
    assert.equal(stage.held().size, 0);
    assert.equal(stage.store.revision, revision + 1);
    assert.equal(stage.engine.calls.inspect, inspect);
  });

  test('takes away the old ports of a container that restarts before it shows the new ones', async () => {
    const stage = new Stage();
    await publishing(stage, [c1, c2]);
    const before = stage.store.history.length;
    stage.engine.restart(c1);
    await stage.clock.settle();
    stage.assertExact();
    const kinds = stage.touched(before).map((revision) => revision.map(({ value }) => value === undefined));
    assert.deepEqual(kinds, [
      [true, true],
      [false, false],
    ]);
  });

  test('replaces the ports of a container in one revision when death and start meet', async () => {
    const stage = new Stage();
    const { registry } = await publishing(stage, [c1, c2]);
    registry.fault = (call) => (call === 'commit' ? { kind: 'slow', requestMs: 10, replyMs: 10 } : undefined);
    stage.engine.die(c2);
    await stage.clock.advance(5);
    const before = stage.store.history.length;
    stage.engine.restart(c1);
    await stage.clock.advance(100);
    stage.assertExact();
    const revisions = stage.touched(before).map((revision) => revision.map(({ key }) => layout.containerOf(key)));
    assert.deepEqual(revisions, [['000000000002', '000000000002'], ['000000000001']]);
  });

  test('follows ports that move without an event of the container', async () => {
    const stage = new Stage();
    await publishing(stage, [c1]);
    stage.engine.move(c1);
    await stage.clock.settle();
    stage.assertExact();
  });

  test('follows ports that move while the container is looked at for the first time', async () => {
    const stage = new Stage();
    await publishing(stage, []);
    stage.engine.fault = (call) => (call === 'inspect' ? { kind: 'slow', readMs: 0, replyMs: 50 } : undefined);
    stage.engine.run(c1, 'web');
    await stage.clock.advance(20);
    stage.engine.move(c1);
    await stage.clock.advance(1_000);
    stage.assertExact();
  });

  test('follows ports that move while the first look waits for its turn', async () => {
    const stage = new Stage();
    await publishing(stage, []);
    stage.engine.fault = (call) => (call === 'task' ? { kind: 'slow', readMs: 50, replyMs: 0 } : undefined);
    for (let n = 1; n <= 10; n++) {
      stage.engine.run(idOf(n), 'web');
      await stage.clock.advance(1);
    }
    stage.engine.move(idOf(10));
    await stage.clock.advance(1_000);
    stage.assertExact();
  });

  test('publishes at its start what has been running all along', async () => {
    const stage = new Stage();
    const { events } = await publishing(stage, [c1, c2, c3]);
    assert.deepEqual(events.slice(0, 1), ['connect']);
    assert.deepEqual(
      new Set(events),
      new Set(['connect', 'start', ...[1, 2, 3].map((n) => `publish 00000000000${n} web`)]),
    );
  });

  test('tells of each publication and removal with its services and addresses', async () => {
    const stage = new Stage();
    const { agent } = await publishing(stage, []);
    const told: [string, Publication][] = [];
    agent.on('publish', (publication) => told.push(['publish', publication]));
    agent.on('unpublish', (publication) => told.push(['unpublish', publication]));
    stage.engine.run(c1, 'web');
    await stage.clock.settle();
    stage.engine.die(c1);
    await stage.clock.settle();
    const key = '/discover/service/web/default/host-1/000000000001';
    const services = Object.assign(Object.create(null), { web: key });
    assert.deepEqual(told, [
      ['publish', { id: '000000000001', services, addresses: new Map([[key, 'tcp://10.0.0.1:32769']]) }],
      ['unpublish', { id: '000000000001', services, addresses: new Map() }],
    ]);
  });

  test('counts what is published', async () => {
    const stage = new Stage();
    const { agent } = await publishing(stage, [c1, c2]);
    stage.engine.run(c3);
    await stage.clock.settle();
    assert.equal(agent.published, 2);
  });

  test('spends no transaction on a start and a death that meet in the mailbox', async () => {
    const stage = new Stage();
    await publishing(stage, [c1]);
    const { revision } = stage.store;
    const { inspect } = stage.engine.calls;
    for (let n = 0; n < 10; n++) {
      stage.engine.run(c2, 'web');
      stage.engine.die(c2);
    }
    await stage.clock.settle();
    assert.equal(stage.store.revision, revision);
    assert.equal(stage.engine.calls.inspect, inspect, 'and not even a look');
  });

  test('spends no transaction on a death that comes while the start is looked at', async () => {
    const stage = new Stage();
    await publishing(stage, [c1]);
    const { revision } = stage.store;
    stage.engine.fault = (call) => (call === 'inspect' ? { kind: 'slow', readMs: 0, replyMs: 10 } : undefined);
    stage.engine.run(c2, 'web');
    await stage.clock.advance(5);
    stage.engine.die(c2);
    await stage.clock.advance(5_000);
    assert.equal(stage.store.revision, revision);
    assert.equal(stage.held().size, 2);
  });

  test('spends no transaction on a start and a death that meet while another transaction is under way', async () => {
    const stage = new Stage();
    const { registry } = await publishing(stage, []);
    registry.fault = (call) => (call === 'commit' ? { kind: 'slow', requestMs: 10, replyMs: 10 } : undefined);
    stage.engine.run(c1, 'web');
    await stage.clock.advance(5);
    stage.engine.run(c2, 'web');
    await stage.clock.advance(5);
    stage.engine.die(c2);
    await stage.clock.advance(100);
    assert.equal(stage.touched().length, 1);
    stage.assertExact();
  });

  test('writes together what gathers while a transaction is under way', async () => {
    const stage = new Stage();
    const { registry } = await publishing(stage, []);
    registry.fault = (call) => (call === 'commit' ? { kind: 'slow', requestMs: 10, replyMs: 10 } : undefined);
    for (let n = 1; n <= 20; n++) {
      stage.engine.run(idOf(n), 'web');
      await stage.clock.advance(1);
    }
    await stage.clock.advance(100);
    stage.assertExact();
    assert.ok(stage.touched().length <= 3, `${stage.touched().length} transactions`);
  });

  test('publishes the others while the look at one hangs', async () => {
    const stage = new Stage();
    stage.engine.fault = (call, id) => (call === 'inspect' && id === c2 ? { kind: 'lost' } : undefined);
    stage.engine.run(c1, 'web');
    stage.engine.run(c2, 'web');
    stage.engine.run(c3, 'web');
    stage.start();
    await stage.clock.advance(100);
    assert.equal(stage.held().size, 4);
    stage.engine.fault = () => undefined;
    await stage.clock.advance(9_000);
    stage.assertExact();
  });

  test('keeps what is published while every look fails, and is exact soon after', async () => {
    const stage = new Stage();
    await publishing(stage, [c1, c2]);
    const before = stage.store.history.length;
    stage.engine.fault = (call) => (call === 'inspect' ? { kind: 'fails' } : undefined);
    stage.engine.move(c1);
    stage.engine.cut();
    await stage.clock.advance(10 * 60_000);
    assert.deepEqual(stage.touched(before), []);
    stage.engine.fault = () => undefined;
    await stage.clock.advance(30_000);
    stage.assertExact();
  });

  test('is exact soon after the pool has lost its tasks', async () => {
    const stage = new Stage();
    stage.engine.fault = (call) => (call === 'task' ? { kind: 'fails' } : undefined);
    stage.engine.run(c1, 'web');
    stage.start();
    await stage.clock.advance(1_000);
    stage.engine.fault = () => undefined;
    await stage.clock.advance(1_000);
    stage.assertExact();
  });

  test('loses no look whose answer is there before that of its batch', async () => {
    const stage = new Stage();
    await publishing(stage, []);
    stage.engine.fault = (call) => {
      if (call === 'task') return { kind: 'slow', readMs: 0, replyMs: 100 };
      return call === 'inspect' ? { kind: 'slow', readMs: 0, replyMs: 50 } : undefined;
    };
    stage.engine.run(c1, 'web');
    await stage.clock.advance(1_000);
    stage.assertExact();
  });

  test('looks again at a container whose answers come late', async () => {
    const stage = new Stage();
    await publishing(stage, []);
    stage.engine.fault = (call) => (call === 'inspect' ? { kind: 'slow', readMs: 0, replyMs: 50 } : undefined);
    stage.engine.run(c1, 'web');
    for (let n = 0; n < 5; n++) {
      // As often as a container may be written.
      await stage.clock.advance(1_000);
      stage.assertExact();
      stage.engine.restart(c1);
    }
  });

  test('publishes a container whose first look fails although a list that began before does not show it', async () => {
    const stage = new Stage();
    stage.engine.fault = (call) => (call === 'list' ? { kind: 'slow', readMs: 0, replyMs: 50 } : undefined);
    stage.start();
    await stage.clock.advance(20);
    let pool = 0;
    stage.engine.fault = (call) => (call === 'inspect' && pool++ === 0 ? { kind: 'fails' } : undefined);
    stage.engine.run(c1, 'web');
    await stage.clock.advance(1_000);
    stage.assertExact();
  });
});

describe('Agent hears events late and', () => {
  test('goes on retrying the look at a start when it hears of the death before it', async () => {
    const stage = new Stage();
    await publishing(stage, [c1]);
    let pool = 0;
    stage.engine.fault = (call) => (call === 'inspect' && pool++ === 0 ? { kind: 'fails' } : undefined);
    stage.engine.route = (action) => (action === 'die' ? [20] : [0]);
    stage.engine.restart(c1);
    await stage.clock.advance(1_000);
    stage.assertExact();
  });

  test('believes the look at a start when it hears of the death before it', async () => {
    const stage = new Stage();
    await publishing(stage, [c1]);
    for (const ms of [1, 20, 200]) {
      stage.engine.fault = (call) => (call === 'inspect' ? { kind: 'slow', readMs: 10, replyMs: 20 } : undefined);
      stage.engine.route = (action) => (action === 'die' ? [ms] : [0]);
      stage.engine.restart(c1);
      await stage.clock.advance(1_000);
      stage.assertExact();
    }
  });

  test('believes a look that saw a start after the death by which it was overtaken', async () => {
    const stage = new Stage();
    await publishing(stage, [c1]);
    stage.engine.fault = (call) => (call === 'inspect' ? { kind: 'slow', readMs: 20, replyMs: 20 } : undefined);
    stage.engine.forget();
    stage.engine.cut();
    const { inspect } = stage.engine.calls;
    await stage.clock.until(() => stage.engine.calls.inspect > inspect, 1_000);
    stage.engine.route = (action) => (action === 'die' ? [0] : []);
    stage.engine.restart(c1);
    const lists = stage.engine.calls.list;
    await stage.clock.advance(1_000);
    stage.assertExact();
    assert.equal(stage.engine.calls.list, lists, 'no list has helped');
  });

  test('is not kept from the look at a start by a death before it, though a list has asked for that look too', async () => {
    const stage = new Stage();
    await publishing(stage, [c1]);
    stage.engine.fault = (call) => (call === 'list' ? { kind: 'slow', readMs: 1_000, replyMs: 0 } : undefined);
    await stage.clock.until(() => stage.engine.calls.list > 1, 70_000);
    // All threads are busy, so the look at c1 has to wait for its turn.
    stage.engine.fault = (call) => (call === 'task' ? { kind: 'slow', readMs: 5_000, replyMs: 0 } : undefined);
    for (let n = 11; n <= 14; n++) {
      stage.engine.run(idOf(n), 'web');
      await stage.clock.advance(1);
    }
    stage.engine.route = (action) => (action === 'die' ? [3_000] : [0]);
    stage.engine.restart(c1);
    await stage.clock.advance(15_000);
    stage.assertExact();
  });

  test('is not misled by a death that it hears of twice', async () => {
    const stage = new Stage();
    await publishing(stage, [c1]);
    stage.engine.route = (action) => (action === 'die' ? [0, 50] : [0]);
    stage.engine.restart(c1);
    await stage.clock.advance(1_000);
    stage.assertExact();
  });
});

describe('Agent on a quiet host', () => {
  test('moves no revision in an hour', async () => {
    const stage = new Stage();
    const { agent } = await publishing(stage, [c1, c2, c3]);
    const { revision } = stage.store;
    const before = agent.metrics.inspections;
    await stage.clock.advance(hourMs);
    assert.equal(stage.store.revision, revision);
    stage.assertExact();
    assert.deepEqual(stage.problems, []);
    assert.ok(agent.metrics.lists.connect.ok + agent.metrics.lists.resync.ok > 55);
    assert.ok(agent.metrics.streams > 5);
    // A new stream looks at everything again, and repeats the newest events.
    const extra = agent.metrics.inspections - before;
    assert.ok(extra <= 6 * agent.metrics.streams, `${extra} looks for ${agent.metrics.streams} streams`);
  });

  test('moves no revision with nothing published', async () => {
    const stage = new Stage();
    await publishing(stage, []);
    const { revision } = stage.store;
    await stage.clock.advance(hourMs);
    assert.equal(stage.store.revision, revision);
  });

  test('sets no more timers as time goes by', async () => {
    const stage = new Stage();
    await publishing(stage, [c1, c2, c3]);
    await stage.clock.advance(10 * 60_000);
    const { pending } = stage.clock;
    await stage.clock.advance(hourMs);
    assert.ok(stage.clock.pending <= pending + 1, `${stage.clock.pending} after ${pending}`);
  });
});

describe('Agent without etcd', () => {
  test('is exact within seconds of its return after ten minutes', async () => {
    const stage = new Stage();
    const { registry } = await publishing(stage, [c1, c2]);
    registry.fault = () => ({ kind: 'unavailable' });
    stage.engine.die(c1);
    await stage.clock.advance(60_000);
    stage.engine.run(c3, 'web', 'api');
    stage.engine.restart(c2);
    await stage.clock.advance(9 * 60_000);
    registry.fault = () => undefined;
    await stage.clock.advance(3_000);
    stage.assertExact();
    for (const { lease } of stage.store.keys.values()) assert.ok(stage.store.leases.has(lease));
  });

  test('is exact soon after an outage that its lease outlived, and shows no flap', async () => {
    const stage = new Stage();
    const { registry } = await publishing(stage, [c1, c2]);
    const before = stage.store.history.length;
    registry.fault = () => ({ kind: 'hang' });
    await stage.clock.advance(1_000);
    stage.engine.run(c3, 'web');
    await stage.clock.advance(5_000);
    registry.fault = () => undefined;
    await stage.clock.advance(4_000);
    stage.assertExact();
    assert.equal(stage.touched(before).length, 1);
  });

  test('starts, and publishes once etcd is there', async () => {
    const stage = new Stage();
    stage.engine.run(c1, 'web');
    const { registry, events } = stage.start();
    registry.fault = () => ({ kind: 'unavailable' });
    await stage.clock.advance(10 * 60_000);
    assert.ok(!events.includes('start'));
    registry.fault = () => undefined;
    await stage.clock.advance(2_000);
    stage.assertExact();
    assert.ok(events.includes('start'));
  });

  for (const fault of [
    { kind: 'ambiguous' },
    { kind: 'late', ms: 20 },
    { kind: 'late', ms: 5_000 },
    { kind: 'hang' },
  ] as const) {
    test(`is exact soon after transactions that were ${fault.kind}${'ms' in fault ? ` by ${fault.ms} ms` : ''}`, async () => {
      const stage = new Stage();
      const { registry } = await publishing(stage, [c1]);
      let count = 0;
      registry.fault = (call: RegistryCall): RegistryFault | undefined =>
        call === 'commit' && count++ % 2 === 0 ? fault : undefined;
      for (let n = 0; n < 20; n++) {
        if (n % 3 === 2) stage.engine.die(n % 2 === 0 ? c2 : c3);
        else stage.engine.run(n % 2 === 0 ? c2 : c3, 'web');
        await stage.clock.advance(700);
      }
      registry.fault = () => undefined;
      await stage.clock.advance(10_000);
      stage.assertExact();
      await stage.clock.advance(60_000);
      stage.assertExact();
    });
  }

  test('removes a container that died while its publication was in doubt', async () => {
    const stage = new Stage();
    stage.engine.run(c1, 'web');
    const { registry } = stage.start();
    registry.fault = (call) => (call === 'commit' ? { kind: 'ambiguous' } : undefined);
    await stage.clock.until(() => stage.held().size > 0, 1_000);
    registry.fault = () => ({ kind: 'unavailable' });
    await stage.clock.advance(1_000);
    stage.engine.die(c1);
    await stage.clock.advance(1_000);
    registry.fault = () => undefined;
    await stage.clock.advance(3_000);
    stage.assertExact();
  });

  test('recovers when every transaction fails for a minute', async () => {
    for (const kind of ['unavailable', 'ambiguous', 'hang'] as const) {
      const stage = new Stage();
      const { registry } = await publishing(stage, [c1]);
      let commits = 0;
      // Beyond any reason, it hangs: so a loop without a wait shows as a number and not as a test that never ends.
      registry.fault = (call) => {
        if (call !== 'commit') return undefined;
        return { kind: ++commits > 1_000 ? 'hang' : kind };
      };
      stage.engine.run(c2, 'web');
      await stage.clock.advance(30_000);
      stage.engine.die(c1);
      await stage.clock.advance(30_000);
      assert.ok(commits < 200, `${commits} transactions that were ${kind} in a minute`);
      registry.fault = () => undefined;
      await stage.clock.advance(5_000);
      stage.assertExact();
    }
  });

  test('takes no answer that is late for a change by somebody else', async () => {
    const stage = new Stage();
    const { agent, registry } = await publishing(stage, [c1]);
    registry.fault = (call) => (call === 'commit' ? { kind: 'slow', requestMs: 1, replyMs: 1_000 } : undefined);
    for (let n = 0; n < 200; n++) {
      stage.engine.restart(c1);
      await stage.clock.advance(1_300);
    }
    assert.ok(agent.metrics.lists.connect.ok + agent.metrics.lists.resync.ok >= 4);
    assert.equal(agent.metrics.claims, 1);
    assert.deepEqual(stage.problems, []);
  });

  test('repairs with its next audit what somebody else has changed', async () => {
    const stage = new Stage();
    await publishing(stage, [c1, c2]);
    stage.store.apply([...stage.held().keys()].slice(0, 3).map((key) => ({ key, value: undefined })));
    await stage.clock.advance(70_000);
    stage.assertExact();
  });

  test('removes while etcd is out of space, and publishes once there is some', async () => {
    const stage = new Stage();
    const { agent } = await publishing(stage, [c1, c2]);
    stage.store.outOfSpace = true;
    stage.engine.run(c3, 'web');
    stage.engine.die(c1);
    await stage.clock.settle();
    assert.equal(stage.held().size, 2);
    assert.equal(agent.metrics.quarantined, 1);
    stage.store.outOfSpace = false;
    await stage.clock.advance(5_000);
    stage.assertExact();
  });

  test('publishes all but the container whose keys are refused', async () => {
    const stage = new Stage();
    stage.store.denied = (key) => key.includes('/secret/');
    for (let n = 1; n <= 100; n++) stage.engine.run(idOf(n), 'web');
    stage.engine.run(idOf(101), 'secret');
    stage.start();
    await stage.clock.advance(1_000);
    assert.equal(stage.held().size, 200);
  });
});

describe('Agent without an engine', () => {
  test('keeps what is published for as long as it takes', async () => {
    const stage = new Stage();
    await publishing(stage, [c1, c2]);
    const { revision } = stage.store;
    stage.engine.fault = (call) => (call === 'negotiate' ? { kind: 'fails' } : undefined);
    stage.engine.cut();
    await stage.clock.advance(hourMs);
    assert.equal(stage.store.revision, revision);
  });

  test('is exact with the list that follows a stream cut, whatever was lost with it', async () => {
    const stage = new Stage();
    await publishing(stage, [c1, c2]);
    stage.engine.fault = (call) => (call === 'negotiate' ? { kind: 'fails' } : undefined);
    stage.engine.cut();
    await stage.clock.advance(5_000);
    stage.engine.die(c1);
    stage.engine.restart(c2);
    stage.engine.run(c3, 'web');
    stage.engine.forget();
    stage.engine.fault = () => undefined;
    await stage.clock.advance(1_000);
    stage.assertExact();
  });

  test('is exact with the next list after events were lost from a stream that stayed', async () => {
    const stage = new Stage();
    await publishing(stage, [c1, c2]);
    stage.engine.route = () => [];
    stage.engine.die(c1);
    stage.engine.move(c2);
    stage.engine.run(c3, 'web');
    await stage.clock.advance(67_000);
    stage.assertExact();
  });

  test('finds by its list also a restart of which every event was lost', async () => {
    const stage = new Stage();
    await publishing(stage, [c1]);
    stage.engine.route = () => [];
    stage.engine.restart(c1);
    await stage.clock.advance(67_000);
    stage.assertExact();
  });

  test('comes to the same with events twice and out of order, without waiting for a list', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const stage = new Stage(seed);
      await publishing(stage, [c1, c2]);
      const { lists } = { lists: stage.engine.calls.list };
      stage.engine.route = () => [1 + stage.clock.random() * 40, 1 + stage.clock.random() * 40];
      for (let n = 0; n < 30; n++) {
        const id = [c1, c2, c3][n % 3] as typeof c1;
        if (stage.engine.containers.get(id)?.running) stage.engine.die(id);
        else stage.engine.run(id, 'web');
        await stage.clock.advance(stage.clock.random() * 30);
      }
      await stage.clock.advance(1_000);
      stage.assertExact();
      assert.equal(stage.engine.calls.list, lists, 'no list has helped');
    }
  });

  test('lets a list that takes long undo nothing that happened meanwhile', async () => {
    const stage = new Stage();
    await publishing(stage, [c1, c2]);
    stage.engine.fault = (call) => (call === 'list' ? { kind: 'slow', readMs: 0, replyMs: 3_000 } : undefined);
    stage.engine.cut();
    await stage.clock.advance(1_000);
    stage.engine.die(c1);
    stage.engine.run(c3, 'web');
    await stage.clock.settle();
    stage.assertExact();
    const { revision } = stage.store;
    await stage.clock.advance(10_000);
    assert.equal(stage.store.revision, revision);
    stage.assertExact();
  });
});

describe('Agent is started again and', () => {
  test('shows no delete and no change of a value after an orderly stop', async () => {
    const stage = new Stage();
    const first = await publishing(stage, [c1, c2, c3]);
    const before = stage.store.history.length;
    await first.agent.stop();
    await stage.clock.advance(5_000);
    stage.start();
    await stage.clock.advance(60_000);
    assert.deepEqual(stage.touched(before), []);
    stage.assertExact();
  });

  test('shows no delete and no change of a value after it was killed', async () => {
    const stage = new Stage();
    const first = await publishing(stage, [c1, c2, c3]);
    first.registry.fault = () => ({ kind: 'unavailable' });
    const before = stage.store.history.length;
    stage.start({ liveness: 'gone' });
    await stage.clock.advance(60_000);
    assert.deepEqual(stage.touched(before), []);
    stage.assertExact();
  });

  test('writes only what has changed meanwhile', async () => {
    const stage = new Stage();
    const first = await publishing(stage, [c1, c2, c3]);
    await first.agent.stop();
    const before = stage.store.history.length;
    stage.engine.die(c1);
    stage.engine.restart(c2);
    stage.start();
    await stage.clock.advance(1_000);
    stage.assertExact();
    const shortIds = new Set(
      stage
        .touched(before)
        .flat()
        .map(({ key }) => layout.containerOf(key)),
    );
    assert.deepEqual(shortIds, new Set(['000000000001', '000000000002']));
  });

  test('removes nothing while the engine does not answer', async () => {
    const stage = new Stage();
    const first = await publishing(stage, [c1, c2]);
    await first.agent.stop();
    const before = stage.store.history.length;
    stage.engine.fault = (call) => (call === 'list' ? { kind: 'fails' } : undefined);
    stage.start();
    await stage.clock.advance(5 * 60_000);
    assert.deepEqual(stage.touched(before), []);
    assert.equal(stage.held().size, 4);
  });
});

describe('Agent meets another of the same host id and', () => {
  test('ends with HOST_ID_TAKEN where the other runs on this machine', async () => {
    const stage = new Stage();
    const first = await publishing(stage, [c1]);
    const { revision } = stage.store;
    const other = new FakeEngine(stage.clock);
    other.run(c2, 'web');
    const second = stage.start({ liveness: 'alive', parts: { docker: other.docker, pool: other.pool } });
    await stage.clock.advance(5_000);
    assert.deepEqual(
      second.ended.map((cause) => cause?.code),
      ['HOST_ID_TAKEN'],
    );
    assert.deepEqual(first.ended, []);
    assert.equal(stage.store.revision, revision);
  });

  test('ends with HOST_ID_TAKEN where the other renews its lease, and has written nothing', async () => {
    const stage = new Stage();
    const first = await publishing(stage, [c1]);
    const { revision } = stage.store;
    const other = new FakeEngine(stage.clock);
    other.run(c2, 'web');
    const second = stage.start({ liveness: 'unknown', parts: { docker: other.docker, pool: other.pool } });
    await stage.clock.advance(20_000);
    assert.deepEqual(
      second.ended.map((cause) => cause?.code),
      ['HOST_ID_TAKEN'],
    );
    assert.deepEqual(first.ended, []);
    assert.equal(stage.store.revision, revision);
  });
});

describe('Agent stops and', () => {
  test('leaves its keys until a TTL has passed, then they go in one revision', async () => {
    const stage = new Stage();
    const { agent, ended } = await publishing(stage, [c1, c2]);
    const before = stage.store.history.length;
    await agent.stop();
    assert.deepEqual(ended, [undefined]);
    assert.deepEqual(stage.touched(before), []);
    await stage.clock.advance(10_000);
    assert.equal(stage.touched(before).length, 1);
    assert.equal(stage.store.keys.size, 0);
  });

  test('takes its keys with it where it is to remove them', async () => {
    const stage = new Stage();
    const { agent } = await publishing(stage, [c1, c2], { onExit: 'remove' });
    await agent.stop();
    assert.equal(stage.store.keys.size, 0);
  });

  test('first finishes what it was told', async () => {
    const stage = new Stage();
    const { agent, registry } = await publishing(stage, [c1]);
    registry.fault = (call) => (call === 'commit' ? { kind: 'slow', requestMs: 20, replyMs: 20 } : undefined);
    stage.engine.fault = (call) => (call === 'inspect' ? { kind: 'slow', readMs: 10, replyMs: 5 } : undefined);
    stage.engine.run(c2, 'web');
    stage.engine.die(c1);
    const stop = agent.stop();
    await stage.clock.advance(200);
    await stop;
    stage.assertExact();
  });

  test('stops once, however often it is asked', async () => {
    const stage = new Stage();
    const { agent, ended } = await publishing(stage, [c1]);
    await Promise.all([agent.stop(), agent.stop(), agent[Symbol.asyncDispose]()]);
    assert.deepEqual(ended, [undefined]);
  });

  test('ends in time while neither engine nor etcd answers', async () => {
    const stage = new Stage();
    const { agent, registry } = await publishing(stage, [c1]);
    registry.fault = () => ({ kind: 'hang' });
    stage.engine.fault = () => ({ kind: 'hangs' });
    stage.engine.cut();
    stage.engine.run(c2, 'web');
    await stage.clock.advance(500);
    const stop = agent.stop();
    await stage.clock.advance(15_000);
    await stop;
  });

  test('writes nothing afterwards', async () => {
    const stage = new Stage();
    const { agent } = await publishing(stage, [c1]);
    await agent.stop();
    const before = stage.store.history.length;
    stage.engine.run(c2, 'web');
    stage.engine.die(c1);
    await stage.clock.advance(9_000);
    assert.equal(stage.store.history.length, before);
  });
});

describe('Agent in maintenance', () => {
  const [hostKey, ofFirst] = ['/discover/maintenance/host-1', `/discover/maintenance/host-1/${c1.slice(0, 12)}`];
  const idsIn = (stage: Stage) => [...new Set([...stage.held().keys()].map((key) => layout.containerOf(key)))].sort();
  const mark = (stage: Stage, key: string, value: string | undefined = '{}') => stage.store.apply([{ key, value }]);

  test('takes out what a person names, and publishes it again', async () => {
    const stage = new Stage();
    const { agent } = await publishing(stage, [c1, c2]);
    mark(stage, ofFirst);
    await stage.clock.settle();
    assert.deepEqual(idsIn(stage), [c2.slice(0, 12)]);
    assert.equal(agent.maintenance.containers.size, 1);
    mark(stage, hostKey);
    await stage.clock.settle();
    assert.deepEqual(idsIn(stage), []);
    for (const key of [ofFirst, hostKey]) stage.store.apply([{ key, value: undefined }]);
    await stage.clock.settle();
    stage.assertExact();
  });

  test('has published nothing of it after a restart, also where etcd is slow to tell', async () => {
    const stage = new Stage();
    const { agent } = await publishing(stage, [c1, c2]);
    mark(stage, ofFirst);
    await stage.clock.settle();
    await agent.stop();
    const before = stage.store.history.length;
    stage.start({
      fault: (call) => (call === 'readBoth' ? { kind: 'slow', requestMs: 300, replyMs: 300 } : undefined),
    });
    await stage.clock.advance(5_000);
    assert.deepEqual(idsIn(stage), [c2.slice(0, 12)]);
    assert.deepEqual(stage.touched(before), []);
  });

  test('writes nothing before it knows what people have decided', async () => {
    const stage = new Stage();
    mark(stage, hostKey);
    stage.engine.run(c1, 'web');
    let isAway = true;
    stage.start({ fault: (call) => (call === 'readBoth' && isAway ? { kind: 'unavailable' } : undefined) });
    await stage.clock.advance(10_000);
    assert.deepEqual(idsIn(stage), []);
    isAway = false;
    await stage.clock.advance(3_000);
    assert.deepEqual(idsIn(stage), []);
    stage.store.apply([{ key: hostKey, value: undefined }]);
    await stage.clock.settle();
    stage.assertExact();
  });

  test('is not held up where the role may not read the keys', async () => {
    const stage = new Stage();
    stage.store.unreadable = (key) => key.startsWith('/discover/maintenance/');
    mark(stage, hostKey);
    stage.engine.run(c1, 'web');
    stage.start();
    await stage.clock.settle();
    stage.assertExact();
  });
});

describe('Agent that drains its host', () => {
  test('takes its keys away, waits, and ends', async () => {
    const stage = new Stage();
    const { agent, ended } = await publishing(stage, [c1, c2], { onExit: 'drain', drainSeconds: 20 });
    void agent.stop();
    await stage.clock.advance(100);
    assert.equal(stage.held().size, 0);
    stage.engine.run(c3, 'web');
    await stage.clock.advance(19_000);
    assert.deepEqual([stage.held().size, ended], [0, []]);
    await stage.clock.advance(2_000);
    assert.deepEqual([stage.store.keys.size, ended], [0, [undefined]]);
  });

  test('ends in time where etcd is away, and takes its keys away if it returns meanwhile', async () => {
    for (const returns of [false, true]) {
      const stage = new Stage();
      const { agent, registry, ended } = await publishing(stage, [c1], { onExit: 'drain', drainSeconds: 9 });
      registry.fault = () => ({ kind: 'hang' });
      void agent.stop();
      await stage.clock.advance(4_000);
      if (returns) registry.fault = () => undefined;
      await stage.clock.advance(3_000);
      assert.deepEqual([stage.held().size === 0, ended], [returns, []]);
      await stage.clock.advance(18_000);
      assert.deepEqual(ended, [undefined]);
    }
  });

  test('does not wait where nothing is published, nor for a fatal cause, nor at a hand-over', async () => {
    for (const how of ['nothing', 'fatal', 'leave'] as const) {
      const stage = new Stage();
      const { agent } = await publishing(stage, how === 'nothing' ? [] : [c1], { onExit: 'drain' });
      if (how === 'leave') await agent.leave();
      const before = stage.clock.now();
      await agent.stop(how === 'fatal' ? new DiscoverError('HOST_ID_TAKEN', 'another') : undefined);
      assert.ok(stage.clock.now() - before < 1_000, how);
    }
  });
});

describe('Agent among containers that crash again and again', () => {
  const minutes = 3;
  const everyMs = 2_000;
  /** Each lives for a while and crashes, and the engine starts it again at once. */
  async function crash(stage: Stage, ids: readonly (typeof c1)[], rounds: number): Promise<void> {
    for (let n = 0; n < rounds; n++) {
      for (const id of ids) stage.engine.die(id);
      await stage.clock.advance(20);
      for (const id of ids) stage.engine.start(id);
      await stage.clock.advance(everyMs - 20);
    }
  }
  const ofThose = (stage: Stage, ids: readonly (typeof c1)[], before: number) => {
    const shortIds = new Set<string | undefined>(ids.map((id) => id.slice(0, 12)));
    return stage.touched(before).filter((changes) => changes.some(({ key }) => shortIds.has(layout.containerOf(key))));
  };

  test('writes and says a bounded number of things of each, and leaves the others alone', async (context) => {
    const [bad, good] = [amount(40, 200), amount(20, 100)];
    const all = Array.from({ length: bad + good }, (_, n) => idOf(n + 1));
    const [loops, others] = [all.slice(0, bad), all.slice(bad)];
    const stage = new Stage();
    await publishing(stage, all, { publish: { flapDeaths: 5, flapMs: 60_000 } });
    const [before, lines] = [stage.store.history.length, stage.log.entries.length];
    const perMinute: string[] = [];
    for (let minute = 0; minute < minutes; minute++) {
      const [changes, said] = [stage.store.history.length, stage.log.entries.length];
      await crash(stage, loops, 60_000 / everyMs);
      perMinute.push(`${stage.store.history.length - changes} writes and ${stage.log.entries.length - said} lines`);
    }
    context.diagnostic(`${bad} that crash beside ${good}, minute by minute: ${perMinute.join('; ')}`);
    const changes = stage.store.history.slice(before).filter(({ key }) => layout.nameOf(key) !== undefined);
    assert.ok(changes.length <= 10 * bad, `${changes.length} writes of service keys`);
    // A line for each write, and one for each doubling up to 300 s.
    const said = stage.log.entries.slice(lines).filter(({ level }) => level !== 'debug');
    assert.ok(said.length <= 16 * bad, `${said.length} lines`);
    assert.deepEqual(ofThose(stage, others, before), []);
    const keys = [...stage.held().keys()];
    for (const id of others) assert.ok(keys.some((key) => layout.containerOf(key) === id.slice(0, 12)));
  });

  test('writes each life where flapDeaths is 0', async () => {
    const stage = new Stage();
    await publishing(stage, [c1], { publish: { flapDeaths: 0 } });
    const before = stage.store.history.length;
    await crash(stage, [c1], 20);
    assert.equal(stage.touched(before).length, 40);
    stage.assertExact();
  });
});
