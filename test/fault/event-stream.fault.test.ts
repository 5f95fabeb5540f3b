/**
 * The event stream at its worst: cut in the middle of a line, chunks of one byte, several events in
 * one, late, twice or not at all. Where no event is lost the stream alone must do, so there is no
 * resync to hide behind; only lost events need one.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { type FaultSettings, noFaults } from '../../bench/engine/faults.ts';
import { Random } from '../../bench/engine/random.ts';
import { eventually } from '../helpers/eventually.ts';
import { assertOnlyDeadDeleted, fromEngine, type Host, knownOfLives, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const noResync = ['--resync', '86400'];
const seconds = 2;
const portRange = [40_000, 40_500] as const;
const rateOf = ({ rate = 100 }: Case): number => rate;

interface Case {
  readonly name: string;
  readonly faults?: Partial<FaultSettings>;
  readonly args?: readonly string[];
  /** Lives per second; default 100. */
  readonly rate?: number;
  /** Default 400. */
  readonly lifetimeMs?: number;
  /** Goes on while containers come and go. */
  readonly meanwhile?: (engine: EngineHandle, isOver: () => boolean) => Promise<void>;
}

const cases: readonly Case[] = [
  // At 100 a second the engine would have a quarter of a million chunks to write.
  { name: 'in chunks of one byte', faults: { chunkBytes: 1 }, rate: 10 },
  { name: 'in chunks of seven bytes, of three events joined', faults: { chunkBytes: 7, joinEvents: 3 } },
  { name: 'with up to 20 events in one chunk', faults: { joinEvents: 20 } },
  { name: 'in the wrong order and repeated', faults: { reorderEvents: 0.3, duplicateEvents: 0.3 } },
  { name: 'within 3 ms, from start to end', lifetimeMs: 3 },
  { name: 'a fifth of them lost', faults: { dropEvents: 0.2 }, args: ['--resync', '5'] },
  { name: 'not at all, on a stream that stays open', faults: { silence: true }, args: ['--resync', '2'] },
  {
    name: 'cut in the middle of lines again and again',
    meanwhile: async (engine, isOver) => {
      const random = new Random(1);
      while (!isOver()) {
        await eventually(async () => assert.ok((await engine.counts()).streams > 0 || isOver(), 'Not yet'));
        await engine.cutEvents(1 + random.below(3000));
        await eventually(async () => assert.ok((await engine.counts()).streams === 0 || isOver(), 'Not yet'));
      }
    },
  },
];

for (const api of ['1.41', '1.52'] as const) {
  describe(`API ${api}`, { skip: needs('etcd', 'etcdctl') }, () => {
    let engine: EngineHandle;
    let host: Host;
    before(async () => {
      engine = await forkEngine({ api, portRange });
      host = await startHost({ source: fromEngine(engine), args: noResync });
    });
    after(async () => {
      await host[Symbol.asyncDispose]();
      await engine.close();
    });

    for (const one of amount(api === '1.41' ? cases.filter((_, index) => index % 2 === 1) : cases.slice(2, 3), cases)) {
      test(`etcd is exact after ${rateOf(one) * seconds} lives whose events come ${one.name} (simulated engine of API ${api}, real etcd)`, async () => {
        if (one.args === undefined) return prove(one, engine, host);
        await using ownEngine = await forkEngine({ api, portRange });
        await using ownHost = await startHost({ source: fromEngine(ownEngine), args: one.args });
        await prove(one, ownEngine, ownHost);
      });
    }
  });
}

async function prove(one: Case, engine: EngineHandle, host: Host): Promise<void> {
  const { args, faults, lifetimeMs = 400, meanwhile } = one;
  const [changesBefore, linesBefore] = [host.recorder.changes.length, host.discover.logs.length];
  await engine.setFaults({ ...noFaults, ...faults });
  let isOver = false;
  const churned = engine.churn({ rate: rateOf(one), seconds, lifetimeMs, survivors: 0.2 }).finally(() => {
    isOver = true;
  });
  const [{ lifecycles }] = await Promise.all([churned, meanwhile?.(engine, () => isOver)]);
  if (args === undefined) {
    assert.equal((await engine.counts()).eventsLost, 0, 'There is no resync to hide behind');
  }
  const restarted = lifecycles.flatMap(({ id, endedMs }) => (endedMs === undefined ? [id] : [])).slice(0, 5);
  assert.ok(restarted.length > 0, 'None was left running');
  await engine.apply('restart', restarted);
  await engine.apply('disconnect', restarted.slice(0, 2));
  await engine.apply('connect', restarted.slice(0, 1));
  await host.converged();
  const changes = host.recorder.changes.slice(changesBefore);
  assertOnlyDeadDeleted(
    changes.filter(({ key }) => !restarted.some((id) => key.endsWith(id.slice(0, 12)))),
    lifecycles,
  );
  const known = knownOfLives(lifecycles.filter(({ id }) => !restarted.includes(id)));
  for (const { kind, key, value } of changes) {
    const facts = known.get(key.slice(-12));
    if (kind === 'put' && key.startsWith('/discover/service/') && facts) assert.ok(facts.urls?.has(value), key);
  }
  assert.deepEqual(
    host.discover.logs.slice(linesBefore).filter((line) => line.level === 'error'),
    [],
  );
}

test('events that are told again after a cut take nothing away and write nothing (simulated engine, real etcd)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  await using engine = await forkEngine({ containers: 5 });
  await using host = await startHost({ source: fromEngine(engine), args: noResync });
  await host.converged();
  const ids = (await engine.snapshot()).map(({ id }) => id);
  for (let cuts = 1; cuts <= amount(2, 5); cuts++) {
    // Asked for what has happened within the last second, the engine tells of the ends before the starts, too.
    await engine.apply('restart', ids);
    await host.converged();
    const count = host.recorder.changes.length;
    await engine.cutEvents(0);
    await eventually(async () => assert.equal((await engine.counts()).list, cuts + 1));
    const [barrier = ''] = await engine.run([{ env: ['DISCOVER=web:1'], ports: [{ container: '1/tcp' }] }]);
    await host.converged();
    const others = (await host.changesSince(count)).filter(({ key }) => !key.endsWith(barrier.slice(0, 12)));
    assert.deepEqual(others, []);
  }
});

test('a stream that is open and silent is given up once a list shows a start that no event told of (simulated engine, real etcd)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  await using engine = await forkEngine({ containers: 2 });
  await using host = await startHost({ source: fromEngine(engine), args: ['--resync', '1'] });
  await host.converged();
  const { list: listsBefore } = await engine.counts();
  await engine.setFaults({ silence: true });
  const web = { env: ['DISCOVER=web:1'], ports: [{ container: '1/tcp' }] };
  await engine.run([web]);
  await eventually(() => {
    const lines = host.discover.logs.filter(({ msg }) => msg === 'event stream is silent; opening a new one');
    assert.equal(lines[0]?.level, 'warn', 'Nothing is said of the silence yet');
  });
  await engine.setFaults({ silence: false });
  await engine.run([web]);
  await host.converged();
  assert.ok((await engine.counts()).list > listsBefore, 'The new stream began with a list');
});
