/** One agent in another's place, over a simulated engine, a simulated etcd and a virtual clock: what readers see of it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Agent } from '../../src/agent.ts';
import type { Config } from '../../src/config/options.ts';
import { Replacement } from '../../src/daemon/hand-over.ts';
import { layoutOf } from '../../src/layout/keys.ts';
import { silentLog } from '../../src/log.ts';
import type { Parts } from '../../src/parts.ts';
import { BaseStage } from '../helpers/stage.ts';
import { defaultConfig } from '../sim/config.ts';
import { FakeEngine, idOf } from '../sim/docker.ts';
import { MemoryRegistry, MemoryStore } from '../sim/registry.ts';

const [c1, c2, c3] = [idOf(1), idOf(2), idOf(3)];
const hourMs = 3_600_000;

interface Wanted {
  readonly host?: Partial<Config['host']>;
  readonly etcd?: Partial<Config['etcd']>;
  readonly parts?: Partial<Parts>;
}

class Stage extends BaseStage {
  readonly engine = new FakeEngine(this.clock);
  readonly store = new MemoryStore(this.clock);
  #instances = 0;

  start({ host, etcd, parts }: Wanted = {}): Agent {
    const { clock, engine, store } = this;
    return new Agent(
      { ...defaultConfig, host: { ...defaultConfig.host, ...host }, etcd: { ...defaultConfig.etcd, ...etcd } },
      {
        ...{ clock, log: silentLog, registry: new MemoryRegistry(clock, store) },
        ...{ docker: engine.docker, pool: engine.newLooks() },
        process: { self: undefined, livenessOf: () => 'alive' },
        instance: `instance ${++this.#instances}`,
        ...parts,
      },
    );
  }

  /** With two containers published. */
  async publishing(wanted?: Wanted): Promise<Agent> {
    for (const id of [c1, c2]) this.engine.run(id, 'web');
    const agent = this.start(wanted);
    await this.clock.settle();
    assert.equal(this.held().size, 4);
    return agent;
  }

  /** Begins to put a new agent in the place of an old one. */
  replace(old: Agent, wanted: Wanted = {}) {
    const replacement = new Replacement(old, this.clock, this.log);
    const next = this.start({ ...wanted, parts: { ...wanted.parts, predecessor: replacement } });
    const off = new AbortController();
    let isTaken = false;
    const outcomes: string[] = [];
    const onTaken = () => {
      isTaken = true;
    };
    replacement.by(next, off.signal, onTaken).then(
      () => outcomes.push(isTaken ? 'taken' : 'called off'),
      (error: { code: string }) => outcomes.push(error.code),
    );
    return { next, off, outcomes };
  }

  /** The keys of containers in etcd. */
  held(store = this.store): Map<string, string> {
    return new Map([...store.keys].filter(([key]) => !key.includes('/owner/')).map(([key, { value }]) => [key, value]));
  }

  /** What happened to the keys of containers since then. */
  touched(length: number, store = this.store): string[] {
    const changes = store.history.slice(length).filter(({ key }) => !key.includes('/owner/'));
    return changes.map(({ key, value }) => `${value === undefined ? 'delete' : 'put'} ${key}`);
  }

  assertExact(host: Partial<Config['host']> = {}, prefix = '/discover', store = this.store): void {
    const { id, realm } = { ...defaultConfig.host, ...host };
    const wanted = this.engine.keys(layoutOf(prefix, realm, id));
    assert.deepEqual(new Map([...this.held(store)].sort()), new Map([...wanted].sort()));
  }
}

describe('a new agent in the place of an old one', () => {
  for (const onExit of ['keep', 'remove'] as const) {
    test(`touches no key that stays as it is, where the old one would ${onExit} its keys on exit`, async () => {
      const stage = new Stage();
      const old = await stage.publishing({ host: { onExit } });
      const { length } = stage.store.history;
      const { next, outcomes } = stage.replace(old, { host: { onExit } });
      await stage.clock.until(() => outcomes.length > 0, 5_000);
      assert.deepEqual(outcomes, ['taken']);
      assert.deepEqual(stage.touched(length), []);
      assert.equal(next.lease, old.lease);
      stage.engine.run(c3, 'api');
      stage.engine.die(c1);
      await stage.clock.advance(hourMs);
      stage.assertExact();
      assert.equal(stage.warnings.length, 0);
      await next.stop();
      assert.equal(stage.held().size, onExit === 'keep' ? 4 : 0);
    });
  }

  test('makes up for what happened while one was leaving and the other taking over', async () => {
    const stage = new Stage();
    const old = await stage.publishing();
    // Whatever is asked of etcd takes a moment, so that the change of hands does.
    const registry = new MemoryRegistry(stage.clock, stage.store);
    registry.fault = () => ({ kind: 'slow', requestMs: 20, replyMs: 20 });
    const { outcomes } = stage.replace(old, { parts: { registry } });
    await stage.clock.until(() => old.lease !== undefined && !old.state.isAlive, 5_000);
    assert.deepEqual(outcomes, []);
    stage.engine.run(c3, 'api');
    stage.engine.die(c1);
    await stage.clock.until(() => outcomes.length > 0, 5_000);
    await stage.clock.advance(1_000);
    stage.assertExact();
  });

  test('never writes before the old one has stopped writing', async () => {
    const stage = new Stage();
    const slow = new MemoryRegistry(stage.clock, stage.store);
    const old = await stage.publishing({ parts: { registry: slow } });
    slow.fault = (call) => (call === 'commit' ? { kind: 'slow', requestMs: 1_000, replyMs: 0 } : undefined);
    stage.engine.run(c3, 'api');
    const { next, outcomes } = stage.replace(old);
    await stage.clock.advance(500);
    assert.equal(next.lease, undefined);
    await stage.clock.until(() => outcomes.length > 0, 5_000);
    assert.equal(old.metrics.published, 3, 'What the old one had begun it has finished');
    assert.equal(next.metrics.published, 0);
    stage.assertExact();
  });

  test('is not asked to wait for the engine of the old one, nor for its etcd, once neither answers', async () => {
    const stage = new Stage();
    const down = new MemoryRegistry(stage.clock, stage.store);
    down.fault = () => ({ kind: 'unavailable' });
    const old = stage.start({ parts: { registry: down } });
    await stage.clock.settle();
    stage.engine.run(c1, 'web');
    const { outcomes } = stage.replace(old);
    await stage.clock.until(() => outcomes.length > 0, 20_000);
    assert.deepEqual(outcomes, ['taken']);
    stage.assertExact();
  });
});

describe('a new agent that does not work', () => {
  test('is refused after half a minute without etcd, and the old one has never paused', async () => {
    const stage = new Stage();
    const old = await stage.publishing();
    const registry = new MemoryRegistry(stage.clock, stage.store);
    registry.fault = () => ({ kind: 'unavailable' });
    const { next, outcomes } = stage.replace(old, { parts: { registry } });
    await stage.clock.advance(29_000);
    assert.deepEqual(outcomes, []);
    stage.engine.run(c3, 'api');
    await stage.clock.advance(100);
    stage.assertExact();
    await stage.clock.until(() => outcomes.length > 0, 2_000);
    assert.deepEqual(outcomes, ['ETCD_UNAVAILABLE']);
    await next.ended;
    registry.fault = () => undefined;
    await stage.clock.advance(hourMs);
    assert.ok(old.state.isAlive);
    stage.assertExact();
  });

  test('is refused after half a minute without an engine', async () => {
    const stage = new Stage();
    const old = await stage.publishing();
    const { length } = stage.store.history;
    const docker = { ...stage.engine.docker, negotiate: () => Promise.reject(new Error('no such socket')) };
    const { outcomes } = stage.replace(old, { parts: { docker } });
    await stage.clock.until(() => outcomes.length > 0, 31_000);
    assert.deepEqual(outcomes, ['DOCKER_UNAVAILABLE']);
    assert.deepEqual(stage.touched(length), []);
    assert.ok(old.state.isAlive);
  });

  test('is refused at once where another host has its new id', async () => {
    const stage = new Stage();
    const old = await stage.publishing();
    const other = stage.start({ host: { id: 'host-2' } });
    await stage.clock.settle();
    const { length } = stage.store.history;
    const { outcomes } = stage.replace(old, { host: { id: 'host-2' } });
    await stage.clock.until(() => outcomes.length > 0, 1_000);
    assert.deepEqual(outcomes, ['HOST_ID_TAKEN']);
    assert.deepEqual(stage.touched(length), []);
    assert.ok(old.state.isAlive && other.state.isAlive);
  });

  test('takes over all the same where the old one does not work either', async () => {
    const stage = new Stage();
    const [before, after] = [
      new MemoryRegistry(stage.clock, stage.store),
      new MemoryRegistry(stage.clock, stage.store),
    ];
    const old = await stage.publishing({ parts: { registry: before } });
    for (const registry of [before, after]) registry.fault = () => ({ kind: 'unavailable' });
    const { outcomes } = stage.replace(old, { parts: { registry: after } });
    await stage.clock.until(() => outcomes.length > 0, 60_000);
    assert.deepEqual(outcomes, ['taken']);
    assert.deepEqual(stage.warnings, [
      'neither the old configuration nor the new one works; going on with the new one',
    ]);
    await old.ended;
    after.fault = () => undefined;
    await stage.clock.advance(20_000);
    stage.assertExact();
  });

  test('can be called off, and then takes nothing over however well it works', async () => {
    const stage = new Stage();
    const old = await stage.publishing();
    const registry = new MemoryRegistry(stage.clock, stage.store);
    registry.fault = () => ({ kind: 'hang' });
    const { next, off, outcomes } = stage.replace(old, { parts: { registry } });
    await stage.clock.advance(1_000);
    registry.fault = () => undefined;
    off.abort();
    await stage.clock.until(() => outcomes.length > 0, 100);
    assert.deepEqual(outcomes, ['called off']);
    await stage.clock.advance(hourMs);
    await next.ended;
    assert.ok(old.state.isAlive);
    stage.assertExact();
  });
});

describe('a new agent with another identity', () => {
  test('moves the keys of each container to another realm in one revision', async () => {
    const stage = new Stage();
    const old = await stage.publishing({ host: { onExit: 'remove' } });
    const { length } = stage.store.history;
    const { outcomes } = stage.replace(old, { host: { realm: 'blue' } });
    await stage.clock.until(() => outcomes.length > 0, 5_000);
    await stage.clock.settle();
    stage.assertExact({ realm: 'blue' });
    for (const id of [c1, c2]) {
      const changes = stage.store.history.slice(length).filter(({ key }) => key.endsWith(id.slice(0, 12)));
      assert.equal(new Set(changes.map(({ revision }) => revision)).size, 1);
    }
  });

  for (const [what, wanted, prefix] of [
    ['host id', { host: { id: 'host-2' } }, '/discover'],
    ['prefix', { etcd: { prefix: '/other' } }, '/other'],
  ] as const) {
    test(`publishes all below its own ${what} before the old keys go, in one revision`, async () => {
      const stage = new Stage();
      const old = await stage.publishing();
      const { length } = stage.store.history;
      const { outcomes } = stage.replace(old, wanted);
      await stage.clock.until(() => outcomes.length > 0, 5_000);
      assert.deepEqual(outcomes, ['taken']);
      stage.assertExact('host' in wanted ? wanted.host : {}, prefix);
      const changes = stage.store.history.slice(length).map(({ value }) => (value === undefined ? 'delete' : 'put'));
      assert.ok(changes.lastIndexOf('put') < changes.indexOf('delete'), `${changes}`);
      const gone = stage.store.history.slice(length).filter(({ value }) => value === undefined);
      assert.equal(new Set(gone.map(({ revision }) => revision)).size, 1);
      assert.ok(gone.some(({ key }) => key === '/discover/owner/host-1'));
      assert.equal(stage.store.leases.size, 1);
    });
  }

  test('leaves the old keys to their lease where that etcd does not answer any more', async () => {
    const stage = new Stage();
    const before = new MemoryRegistry(stage.clock, stage.store);
    const old = await stage.publishing({ parts: { registry: before } });
    before.fault = () => ({ kind: 'unavailable' });
    const elsewhere = new MemoryStore(stage.clock);
    // Two real ones would not count from the same number.
    elsewhere.grant(1);
    const { outcomes } = stage.replace(old, { parts: { registry: new MemoryRegistry(stage.clock, elsewhere) } });
    await stage.clock.until(() => outcomes.length > 0, 10_000);
    assert.deepEqual(outcomes, ['taken']);
    assert.deepEqual(stage.warnings, ['old keys not removed; they expire with their lease']);
    stage.assertExact({}, '/discover', elsewhere);
    await stage.clock.advance(10_000);
    assert.equal(stage.held().size, 0);
  });

  test('that gives its keys another TTL puts them on a new lease, and deletes none', async () => {
    const stage = new Stage();
    const old = await stage.publishing();
    const { length } = stage.store.history;
    const { outcomes } = stage.replace(old, { etcd: { ttlSeconds: 20 } });
    await stage.clock.until(() => outcomes.length > 0, 5_000);
    assert.deepEqual(
      stage.touched(length).filter((change) => change.startsWith('delete')),
      [],
    );
    assert.equal(stage.store.leases.size, 1);
    await stage.clock.advance(hourMs);
    stage.assertExact();
  });
});
