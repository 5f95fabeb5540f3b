/** `/v1/history`: what an agent over a virtual clock has published and withdrawn (simulated engine and etcd). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent } from '../../src/agent.ts';
import { timeOf } from '../../src/commands/history.ts';
import { entriesMax, isWanted, Recorder, Ring, wantedHistoryOf } from '../../src/http/history.ts';
import type { HistoryEntry } from '../../src/http/shapes.ts';
import { silentLog } from '../../src/log.ts';
import { VirtualClock } from '../sim/clock.ts';
import { defaultConfig } from '../sim/config.ts';
import { FakeEngine, idOf } from '../sim/docker.ts';
import { MemoryRegistry, MemoryStore } from '../sim/registry.ts';

const entryOf = (container: string, url: string | null): HistoryEntry => ({
  ...{ at: '2026-01-01T00:00:00.000Z', container, name: 'web-1', image: null, reason: null, seconds: 0.1 },
  change: 'published',
  state: 'ready',
  services: [{ name: 'web', url }],
});

test('each commit is an entry with the state of the container, and a new process finds what is there', async () => {
  const clock = new VirtualClock();
  const engine = new FakeEngine(clock);
  const store = new MemoryStore(clock);
  const startAgent = (instance: string): Agent =>
    new Agent(defaultConfig, {
      ...{ clock, registry: new MemoryRegistry(clock, store), log: silentLog, docker: engine.docker, instance },
      pool: engine.newLooks(),
      process: { self: undefined, livenessOf: () => 'gone' as const },
    });
  const agent = startAgent('one');
  const ring = new Ring();
  const recorder = new Recorder(agent, ring);
  await clock.advance(3_000);
  engine.run(idOf(1), 'web');
  await clock.advance(1_000);
  engine.die(idOf(1));
  await clock.advance(1_000);
  engine.run(idOf(2), 'api', 'web');
  await clock.advance(1_000);
  const seen = (of: Ring) =>
    [...of].map(({ change, container, services }) => [
      change,
      container,
      services
        .map(({ name }) => name)
        .sort()
        .join(),
    ]);
  const [one, two] = [idOf(1).slice(0, 12), idOf(2).slice(0, 12)];
  assert.deepEqual(seen(ring), [
    ['published', one, 'web'],
    ['withdrawn', one, 'web'],
    ['published', two, 'api,web'],
  ]);
  const [published, withdrawn] = [...ring];
  assert.deepEqual(withdrawn?.services, published?.services, 'the address that it had');
  assert.match(String(published?.services[0]?.url), /^tcp:\/\//);
  assert.deepEqual([published?.state, withdrawn?.state === 'ready'], ['ready', false]);
  assert.ok(published?.seconds !== null && Number(published?.seconds) >= 0);

  recorder.close();
  void agent.stop();
  await clock.advance(500);
  const next = startAgent('two');
  const [fresh, again] = [new Ring(), new Recorder(next, ring)];
  const other = new Recorder(next, fresh);
  await clock.advance(5_000);
  assert.deepEqual(seen(fresh), [['found', two, 'api,web']]);
  assert.equal([...ring].length, 3, 'a ring that goes on finds nothing again');
  other.close();
  again.close();
  void next.stop();
  await clock.advance(10_000);
});

test('the ring keeps the last entries, in order', () => {
  const ring = new Ring();
  for (let at = 0; at < entriesMax + 10; at++) ring.add(entryOf(String(at), null));
  const all = [...ring];
  assert.deepEqual(
    [all.length, all[0]?.container, all.at(-1)?.container, ring.isFull],
    [entriesMax, '10', String(entriesMax + 9), true],
  );
});

test('entries are chosen by service, container, address and time', () => {
  const entry = entryOf('0123456789ab', 'tcp://10.0.0.5:80');
  const six = entryOf('0123456789ab', 'tcp://[2001:db8::5]:80');
  const chosen = (query: Record<string, string>, of = entry): boolean => {
    const wanted = wantedHistoryOf(new URLSearchParams(query));
    assert.ok(wanted);
    return isWanted(wanted, of);
  };
  for (const query of [
    {},
    { of: 'web' },
    { of: 'web-1' },
    { of: '0123' },
    { of: `0123456789ab${'0'.repeat(52)}` },
    { address: '10.0.0.5' },
    { address: '10.0.0.5:80' },
    { since: '2025-12-31' },
  ])
    assert.ok(chosen(query as Record<string, string>), JSON.stringify(query));
  for (const query of [
    { of: 'we' },
    { of: '012' },
    { of: 'ffff' },
    { address: '10.0.0.5:8' },
    { address: '10.0.0' },
    { since: '2026-01-02' },
  ])
    assert.ok(!chosen(query as Record<string, string>), JSON.stringify(query));
  assert.ok(chosen({ address: '[2001:db8::5]' }, six) && chosen({ address: '[2001:db8::5]:80' }, six));
  assert.equal(wantedHistoryOf(new URLSearchParams({ since: 'soon' })), undefined);
});

test('`--since` takes a time ago, and a time', () => {
  const now = Date.parse('2026-01-02T00:00:00Z');
  assert.equal(timeOf('10m', now), '2026-01-01T23:50:00.000Z');
  assert.equal(timeOf('1d', now), '2026-01-01T00:00:00.000Z');
  assert.equal(timeOf('2026-01-01T12:00:00Z', now), '2026-01-01T12:00:00.000Z');
  assert.throws(() => timeOf('soon'), { code: 'CONFIG_INVALID' });
});
