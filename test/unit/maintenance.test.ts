/** The keys of maintenance: what is read of them, and when. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, test } from 'node:test';
import { isWords, type Maintenance, noMaintenance, parseMark, wordsOf } from '../../src/container/maintenance.ts';
import { maintenanceKey, parseMaintenance } from '../../src/layout/maintenance.ts';
import { MaintenanceWatch, readMaintenance } from '../../src/registry/maintenance.ts';
import { BaseStage } from '../helpers/stage.ts';
import { MemoryRegistry, MemoryStore, type RegistryCall, type RegistryFault } from '../sim/registry.ts';

const [hostKey, id] = [maintenanceKey('/p', 'h'), '0123456789ab'];
const containerKey = maintenanceKey('/p', 'h', id);
const mark = (reason = 'new disk') => JSON.stringify({ by: 'anna@desk', reason });

class Stage extends BaseStage {
  readonly store = new MemoryStore(this.clock);
  readonly registry = new MemoryRegistry(this.clock, this.store);
  readonly abort = new AbortController();
  readonly told: Maintenance[] = [];
  isKnown = false;
  watch: MaintenanceWatch | undefined;

  start(fault: (call: RegistryCall) => RegistryFault | undefined = () => undefined): this {
    this.registry.fault = fault;
    const { clock, log, registry: reader } = this;
    const parts = {
      clock,
      log,
      reader,
      prefix: '/p',
      host: 'h',
      onChange: (now: Maintenance) => void this.told.push(now),
    };
    this.watch = new MaintenanceWatch(parts, this.abort.signal);
    void this.watch.known(new AbortController().signal).then(() => {
      this.isKnown = true;
    });
    return this;
  }

  async put(key: string, value: string | undefined): Promise<void> {
    this.store.apply([{ key, value }]);
    await this.clock.advance(0);
  }

  /** `host`, and the ids of containers. */
  get now(): string[] {
    const { host, containers } = this.told.at(-1) ?? noMaintenance;
    return [...(host === undefined ? [] : ['host']), ...containers.keys()];
  }
}

describe('MaintenanceWatch', () => {
  test('tells what it reads first, and each change', async () => {
    const stage = new Stage();
    await stage.put(containerKey, mark());
    await stage.put('/p/maintenance/h2', mark());
    stage.start();
    await stage.clock.advance(0);
    assert.deepEqual([stage.now, stage.isKnown], [[id], true]);
    await stage.put(hostKey, mark());
    assert.deepEqual(stage.now, ['host', id]);
    await stage.put('/p/maintenance/h2/0123456789ab', mark());
    await stage.put(containerKey, undefined);
    assert.deepEqual(stage.now, ['host']);
    await stage.put(hostKey, mark('another'));
    assert.equal(stage.told.at(-1)?.host?.reason, 'another');
    assert.equal(stage.told.length, 4);
  });

  test('reads again after its watch was cut, and after etcd was compacted', async () => {
    const stage = new Stage().start();
    await stage.clock.advance(10_000);
    for (const isCompacted of [false, true]) {
      stage.store.cutWatches();
      if (isCompacted) stage.store.compact();
      await stage.put(isCompacted ? containerKey : hostKey, mark());
      await stage.clock.advance(1_000);
    }
    assert.deepEqual(stage.now, ['host', id]);
    stage.store.cutWatches();
    await stage.put(hostKey, undefined);
    await stage.clock.advance(1_000);
    assert.deepEqual(stage.now, [id]);
  });

  test('is known once etcd answers', async () => {
    let isAway = true;
    const stage = new Stage().start(() => (isAway ? { kind: 'unavailable' } : undefined));
    await stage.put(hostKey, mark());
    await stage.clock.advance(60_000);
    assert.equal(stage.isKnown, false);
    isAway = false;
    await stage.clock.advance(1_000);
    assert.deepEqual([stage.now, stage.isKnown], [['host'], true]);
  });

  test('follows a watch that cannot be kept by reading once a second', async () => {
    const stage = new Stage().start((call) => (call === 'watchBoth' ? { kind: 'unavailable' } : undefined));
    await stage.clock.advance(60_000);
    await stage.put(hostKey, mark());
    await stage.clock.advance(1_000);
    assert.deepEqual(stage.now, ['host']);
  });

  test('warns once of a role that may not read the keys, and does not stand in the way', async () => {
    const stage = new Stage();
    stage.store.unreadable = () => true;
    stage.start();
    await stage.clock.advance(600_000);
    assert.equal(stage.isKnown, true);
    assert.deepEqual(stage.warnings, ['maintenance keys cannot be read: maintenance is off']);
    stage.store.unreadable = () => false;
    await stage.put(hostKey, mark());
    await stage.clock.advance(61_000);
    assert.deepEqual(stage.now, ['host']);
  });

  test('ignores a key that is no mark, with one warning', async () => {
    const stage = new Stage();
    await stage.put(hostKey, 'yes');
    await stage.put(`${hostKey}/web-1`, mark());
    stage.start();
    await stage.clock.advance(1);
    for (let n = 0; n < 3; n++) {
      await stage.put(containerKey, mark(String(n)));
      stage.store.cutWatches();
      await stage.clock.advance(2_000);
    }
    assert.deepEqual(stage.now, [id]);
    assert.deepEqual(
      stage.log.loud.map(({ fields }) => (fields as { key: string }).key),
      [hostKey, `${hostKey}/web-1`],
    );
  });

  test('leaves nothing at the signal of a part that asks again and again whether it is known', async () => {
    const stage = new Stage().start();
    const asks = new AbortController();
    const waiting = stage.watch?.known(asks.signal);
    assert.equal(getEventListeners(asks.signal, 'abort').length, 1);
    await stage.clock.advance(1);
    await waiting;
    for (let n = 0; n < 20; n++) await stage.watch?.known(asks.signal);
    assert.equal(getEventListeners(asks.signal, 'abort').length, 0);
  });

  test('ends with its signal, and holds up no part that waits for it and has to stop', async () => {
    const stage = new Stage().start(() => ({ kind: 'unavailable' }));
    const stop = new AbortController();
    const waiting = stage.watch?.known(stop.signal);
    stop.abort();
    await waiting;
    await stage.watch?.known(stop.signal);
    stage.abort.abort();
    assert.equal(stage.isKnown, false);
    await stage.clock.advance(600_000);
    assert.equal(stage.clock.pending, 0);
  });
});

describe('A key of maintenance', () => {
  test('is of a host or of a container, and nothing else', () => {
    for (const key of ['/p/maintenance/h/x/y', '/p/maintenance/', '/p/maintenance/h/0123456789AB', '/p/service/h']) {
      assert.equal(parseMaintenance('/p', key, '{}').kind, 'invalid', key);
    }
    const parsed = parseMaintenance('/p', containerKey, mark());
    assert.deepEqual(parsed, { kind: 'mark', host: 'h', shortId: id, mark: { by: 'anna@desk', reason: 'new disk' } });
  });

  test('has a JSON object; members without their form are left out', () => {
    for (const text of ['', 'on', '[]', '3', 'null', '"on"']) assert.equal(parseMark(text), undefined, text);
    const odd = { since: 'yesterday', by: 3, reason: 'a\nb', container: 'x'.repeat(256) };
    assert.deepEqual(parseMark(JSON.stringify(odd)), {});
    const whole = { since: '2026-01-02T03:04:05Z', by: 'anna', reason: 'disk', container: 'web-1' };
    assert.deepEqual(parseMark(JSON.stringify(whole)), whole);
    assert.deepEqual([isWords(''), isWords('a\tb'), isWords('ü b')], [false, false, true]);
  });

  test('is told in words', () => {
    assert.equal(wordsOf({ by: 'anna', reason: 'disk' }, false), 'by anna: disk');
    assert.equal(wordsOf({}, true), 'by an unknown person (the whole host)');
  });

  test('is read once for a command, without those of hosts with a longer name', async () => {
    const { registry, store } = new Stage();
    for (const key of [hostKey, containerKey, '/p/maintenance/h-2', '/p/maintenance/h1/0123456789ab']) {
      store.apply([{ key, value: mark() }]);
    }
    const { host, containers } = await readMaintenance(registry, '/p', 'h');
    assert.deepEqual([host?.by, [...containers.keys()]], ['anna@desk', [id]]);
    store.unreadable = () => true;
    assert.equal(await readMaintenance(registry, '/p', 'h'), noMaintenance);
  });
});
