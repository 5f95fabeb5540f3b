/** What is known of Docker, etcd and the lease: the rule by itself, and an agent over a virtual clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent } from '../../src/agent.ts';
import { Connection, type Health, healthOf, type Observed } from '../../src/health.ts';
import { exposition } from '../../src/http/prometheus.ts';
import { checksOf, containersOf, summaryOf } from '../../src/http/status.ts';
import { type Log, silentLog } from '../../src/log.ts';
import { VirtualClock } from '../sim/clock.ts';
import { defaultConfig } from '../sim/config.ts';
import { FakeEngine, idOf } from '../sim/docker.ts';
import { MemoryRegistry, MemoryStore } from '../sim/registry.ts';

const nowMs = Date.parse('2026-01-01T00:01:00Z');
const at = (seconds: number): string => new Date(nowMs + seconds * 1000).toISOString();

function connection(...steps: (readonly [seconds: number, cause?: string])[]): Connection {
  const made = new Connection();
  for (const [seconds, cause] of steps) {
    if (cause === undefined) made.up(nowMs + seconds * 1000);
    else made.down(nowMs + seconds * 1000, cause);
  }
  return made;
}

const well: Observed = {
  nowMs,
  docker: connection([-50]),
  engine: '26.1.5',
  isListed: true,
  running: 2,
  etcd: connection([-55]),
  lease: { isOwner: true, sinceMs: nowMs - 40_000, remainingSeconds: 27, ttlSeconds: 30, cause: undefined },
};

const statesOf = ({ docker, etcd, lease }: Health): string[] => [docker.state, etcd.state, lease.state];

test('a connection tells the time of its first failure and the cause of its last', () => {
  const broken = connection([-9], [-8, 'refused'], [-5, 'timed out']);
  assert.deepEqual([broken.isUp, broken.sinceMs, broken.cause], [false, nowMs - 8_000, 'timed out']);
  broken.up(nowMs);
  broken.up(nowMs + 1);
  assert.deepEqual([broken.isUp, broken.sinceMs, broken.cause], [true, nowMs, undefined]);
});

test('all is known, and since when, while everything answers', () => {
  const health = healthOf(well);
  assert.deepEqual(statesOf(health), ['known', 'known', 'known']);
  assert.deepEqual([health.docker.since, health.etcd.since, health.lease.since], [at(-50), at(-55), at(-40)]);
  assert.deepEqual(
    [health.docker.summary, health.lease.summary],
    ['connected to engine 26.1.5, 2 containers run', '27 s left of 30'],
  );
  for (const { cause, consequence, remedy } of Object.values(health)) {
    assert.deepEqual([cause, consequence, remedy], [null, null, null]);
  }
});

test('Docker that was never listed is unknown, not a host of no containers', () => {
  for (const docker of [connection(), connection([-3, 'no such file']), connection([-3])]) {
    const { docker: health } = healthOf({ ...well, docker, isListed: false, running: 0 });
    assert.equal(health.state, 'unknown');
    assert.equal(health.summary, 'Docker has not been listed yet');
    assert.equal(health.cause, docker.cause ?? null);
    assert.ok(health.consequence && health.remedy, 'it is not explained');
  }
});

test('what is away is stale: since when, with the last error, what follows and what to do', () => {
  const away = healthOf({
    ...well,
    docker: connection([-50], [-7, 'ECONNREFUSED']),
    etcd: connection([-50], [-10, 'no answer in 2 s']),
    lease: { ...well.lease, remainingSeconds: 18 },
  });
  assert.deepEqual(statesOf(away), ['stale', 'stale', 'stale']);
  assert.deepEqual([away.docker.since, away.docker.cause], [at(-7), 'ECONNREFUSED']);
  assert.deepEqual([away.etcd.since, away.etcd.cause], [at(-10), 'no answer in 2 s']);
  // Renewed last 12 s ago; the error of etcd explains the lease as well.
  assert.deepEqual([away.lease.since, away.lease.cause], [at(-12), 'no answer in 2 s']);
  for (const { consequence, remedy } of Object.values(away)) assert.ok(consequence && remedy, 'it is not explained');
});

test('a lease that is not renewed is stale although etcd answers, and one in verification is', () => {
  const refused = { ...well.lease, remainingSeconds: 12, cause: 'permission denied' };
  assert.deepEqual(healthOf({ ...well, lease: refused }).lease.state, 'stale');
  assert.deepEqual(healthOf({ ...well, lease: refused }).lease.cause, 'permission denied');
  assert.equal(healthOf({ ...well, lease: { ...well.lease, isOwner: false } }).lease.state, 'stale');
});

test('a lease past its end by our own clock makes what is published unknown, whoever answers', () => {
  for (const isOwner of [true, false]) {
    const { lease } = healthOf({ ...well, lease: { ...well.lease, isOwner, remainingSeconds: -5 } });
    assert.deepEqual([lease.state, lease.since, lease.summary], ['unknown', at(-5), 'expired, 0 s left of 30']);
  }
  const none = healthOf({ ...well, lease: { ...well.lease, isOwner: false, remainingSeconds: undefined } });
  assert.equal(none.lease.summary, 'no lease is held yet');
});

test('past the TTL nothing is known to be published, in /status and in the metrics, until etcd has been read again (simulated engine and etcd)', async () => {
  const clock = new VirtualClock();
  const engine = new FakeEngine(clock);
  const registry = new MemoryRegistry(clock, new MemoryStore(clock));
  engine.run(idOf(1), 'web');
  const agent = new Agent(defaultConfig, {
    clock,
    registry,
    log: silentLog,
    docker: engine.docker,
    pool: engine.newLooks(),
    process: { self: undefined, livenessOf: () => 'alive' },
    instance: 'this one',
  });
  const metrics = exposition(agent, { streams: () => 0, reload: { isSuccessful: true, at: 0 } });
  const seen = async () => {
    const text = await metrics.text();
    const value = (name: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${name} `))
          ?.split(' ')[1],
      );
    const [container] = containersOf(agent);
    const { counts, health } = summaryOf(agent);
    return {
      state: container?.state,
      isSaidPublished: container?.services.some(({ published }) => published),
      counts: [counts.published, counts.services],
      series: [value('discover_services_published'), value('discover_containers{state="published"}')],
      lease: health.lease.state,
    };
  };
  const published = { state: 'published', isSaidPublished: true, counts: [1, 1], series: [1, 1], lease: 'known' };
  const unknown = { state: 'unknown', isSaidPublished: false, counts: [0, 0], series: [0, 0], lease: 'unknown' };
  await clock.advance(3_000);
  assert.deepEqual(await seen(), published);

  registry.fault = () => ({ kind: 'unavailable' });
  await clock.advance(6_000);
  assert.deepEqual(await seen(), { ...published, lease: 'stale' });
  assert.match(agent.health.etcd.since ?? '', /^2026-01-01T00:00:0\d/);
  await clock.advance(6_000);
  assert.deepEqual(await seen(), unknown);
  assert.ok(agent.health.lease.cause, 'no cause is told');

  // A lease may be granted, and nothing is known as long as nothing could be read under it.
  registry.fault = (call) => (call.startsWith('read') ? { kind: 'unavailable' } : undefined);
  await clock.advance(5_000);
  assert.deepEqual((await seen()).state, 'unknown');
  registry.fault = () => undefined;
  await clock.advance(5_000);
  assert.deepEqual(await seen(), published);
  metrics.close();
  void agent.stop();
  await clock.advance(10_000);
});

test('started while Docker is away, it says so rather than that nothing runs (simulated engine and etcd)', async () => {
  const clock = new VirtualClock();
  const engine = new FakeEngine(clock);
  const agent = new Agent(defaultConfig, {
    clock,
    registry: new MemoryRegistry(clock, new MemoryStore(clock)),
    log: silentLog,
    docker: { ...engine.docker, negotiate: () => Promise.reject(new Error('connect ENOENT /run/docker.sock')) },
    pool: engine.newLooks(),
    process: { self: undefined, livenessOf: () => 'alive' },
    instance: 'this one',
  });
  await clock.advance(3_000);
  const { counts, health, checks } = summaryOf(agent);
  assert.equal(counts.running, null);
  assert.deepEqual([health.docker.state, health.docker.cause], ['unknown', 'connect ENOENT /run/docker.sock']);
  assert.deepEqual(checks.find(({ name }) => name === 'listed')?.detail, 'Docker has not been listed yet');
  void agent.stop();
  await clock.advance(10_000);
});

test('a container that waits for etcd for too long makes the agent not ready, though all else is well (simulated engine and etcd)', async () => {
  const clock = new VirtualClock();
  const engine = new FakeEngine(clock);
  const registry = new MemoryRegistry(clock, new MemoryStore(clock));
  const agent = new Agent(defaultConfig, {
    clock,
    registry,
    log: silentLog,
    docker: engine.docker,
    pool: engine.newLooks(),
    process: { self: undefined, livenessOf: () => 'alive' },
    instance: 'this one',
  });
  await clock.advance(3_000);
  const settled = () => checksOf(agent).find(({ name }) => name === 'settled');
  assert.deepEqual([settled()?.ok, settled()?.detail], [true, 'no container waits to be written to etcd']);
  registry.fault = (call) => (call === 'commit' ? { kind: 'refused' } : undefined);
  engine.run(idOf(1), 'web');
  await clock.advance(50_000);
  assert.equal(settled()?.ok, true);
  await clock.advance(20_000);
  assert.equal(settled()?.ok, false);
  assert.match(settled()?.detail ?? '', /^the oldest unsettled container waits for (6|7)\d s/);
  assert.deepEqual(
    checksOf(agent).map(({ ok }) => ok),
    [true, true, true, false],
  );
  registry.fault = () => undefined;
  await clock.advance(60_000);
  assert.equal(settled()?.ok, true);
  void agent.stop();
  await clock.advance(10_000);
});

test('a line of the log has at most ten services of a container, and their number (simulated engine and etcd)', async () => {
  const clock = new VirtualClock();
  const engine = new FakeEngine(clock);
  const lines: { readonly fields: Record<string, unknown>; readonly message: string }[] = [];
  const log: Log = { ...silentLog, info: (fields, message) => void lines.push({ fields, message }), child: () => log };
  engine.run(idOf(1), ...Array.from({ length: 30 }, (_, index) => `service-${index}`));
  engine.run(idOf(2), 'web');
  const agent = new Agent(defaultConfig, {
    clock,
    registry: new MemoryRegistry(clock, new MemoryStore(clock)),
    log,
    docker: engine.docker,
    pool: engine.newLooks(),
    process: { self: undefined, livenessOf: () => 'alive' },
    instance: 'this one',
  });
  await clock.advance(3_000);
  engine.die(idOf(1));
  await clock.advance(3_000);
  const of = lines.filter(({ message }) => message.endsWith('published'));
  assert.deepEqual(
    of.map(({ message, fields }) => [message, (fields.services as object[]).length, fields.more]).sort(),
    [
      ['published', 1, undefined],
      ['published', 10, 20],
      ['unpublished', 10, 20],
    ],
  );
  void agent.stop();
  await clock.advance(10_000);
});

test('the address of the host is a part of the health only while it is not found', () => {
  const at = { ip: '10.0.0.5', missingSince: undefined };
  assert.equal('host' in healthOf({ ...well, host: at }), false);
  const kept = healthOf({ ...well, host: { ...at, missingSince: Date.UTC(2026, 0, 1) } }).host;
  assert.deepEqual([kept?.state, kept?.since], ['stale', '2026-01-01T00:00:00.000Z']);
  assert.match(kept?.summary ?? '', /10\.0\.0\.5 is not found/);
  assert.equal(healthOf({ ...well, host: { ip: '', missingSince: 0 } }).host?.state, 'unknown');
});
