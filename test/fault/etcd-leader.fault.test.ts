/**
 * A cluster of three loses its leader under load, hard, in order and by silence, and then all but one
 * member. What runs keeps its keys and its lease throughout.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Lifecycle } from '../../bench/engine/churn.ts';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { EtcdRegistry, firstMember } from '../../src/etcd/cluster.ts';
import { noLease } from '../../src/etcd/registry.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  assertOnlyDeadDeleted,
  fromEngine,
  type Host,
  type Known,
  knownOf,
  knownOfLives,
  startHost,
} from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

describe('three members of etcd', { skip: needs('etcd', 'etcdctl') }, () => {
  let engine: EngineHandle;
  let host: Host;
  let first: Known;
  const lives: Lifecycle[] = [];
  before(async () => {
    engine = await forkEngine({ containers: 10 });
    host = await startHost({ source: fromEngine(engine), ttl: 30, etcdOptions: { nodes: 3 }, idle: true });
    // The member that it asks first is the one that goes first.
    assert.equal(firstMember(host.names.id, 3), 0);
    const leader = await host.etcd.leader();
    const { endpoints } = host.etcd;
    await host.launch(['--etcd:endpoints', [...endpoints.slice(leader), ...endpoints.slice(0, leader)].join(',')]);
    await host.converged();
    first = knownOf(await engine.snapshot());
  });
  after(async () => {
    await host[Symbol.asyncDispose]();
    await engine.close();
  });

  /** Under load, does the one and then, when the load is over, the other: etcd is exact again, on the lease of before. */
  const survived = async (break_: () => Promise<void>, mend: () => Promise<void>, seconds: number): Promise<void> => {
    const { etcd, recorder } = host;
    const lease = (await etcd.entries('/discover/owner/h1'))[0]?.lease;
    const told = host.discover.logs.length;
    const count = recorder.changes.length;
    const churned = engine.churn({ rate: 50, seconds, lifetimeMs: 300, survivors: 0.1 });
    await eventually(() => assert.ok(recorder.changes.length > count + 20, 'Not yet'));
    await break_();
    lives.push(...(await churned).lifecycles);
    await mend();
    await host.converged(new Map([...first, ...knownOfLives(lives)]));
    assertOnlyDeadDeleted(recorder.changes, lives);
    assert.equal((await etcd.entries('/discover/owner/h1'))[0]?.lease, lease);
    const said = host.discover.logs.slice(told);
    assert.deepEqual(
      said.filter(({ level }) => level === 'error'),
      [],
    );
    assert.ok(said.filter(({ msg }) => msg === 'etcd unavailable').length <= 2, 'Told at length');
  };

  const ends = [
    ['stops in order', 'stop', 'restart', 2],
    ['is killed', 'kill', 'restart', 3],
    ['is frozen', 'pause', 'resume', 5],
  ] as const;
  for (const [how, end, mend, seconds] of ends.slice(amount(1, 0))) {
    test(`when the leader ${how} under load nothing that runs loses a key or its lease (simulated engine, real etcd)`, async () => {
      const { etcd } = host;
      let leader = -1;
      await survived(
        async () => {
          leader = await eventually(() => etcd.leader());
          await etcd[end](leader);
        },
        async () => {
          // The two that are left are enough.
          await host.converged();
          await etcd[mend](leader);
        },
        seconds,
      );
    });
  }

  test('while two of three members are gone nothing is lost, and all is right when they are back (simulated engine, real etcd)', async () => {
    const { etcd } = host;
    const leader = await eventually(() => etcd.leader());
    const gone = [leader, (leader + 1) % 3];
    // What is still trouble is not told again when it goes on.
    const said = (text: string) => host.discover.logs.filter(({ msg }) => msg === text).length;
    await eventually(() => assert.equal(said('etcd unavailable'), said('etcd unavailable: over')));
    await survived(
      async () => {
        const told = said('etcd unavailable');
        for (const member of gone) await etcd.kill(member);
        await eventually(() => assert.ok(said('etcd unavailable') > told, 'Not yet'));
      },
      async () => {
        await Promise.all(gone.map((member) => etcd.restart(member)));
      },
      3,
    );
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  test('with one of them gone, each question is answered, whichever is asked first (real etcd)', async () => {
    const { etcd } = host;
    const gone = ((await etcd.leader()) + 1) % 3;
    await etcd.kill(gone);
    const { endpoints } = etcd;
    try {
      for (let first = 0; first < 3; first++) {
        const registry = new EtcdRegistry({ endpoints: [...endpoints.slice(first), ...endpoints.slice(0, first)] });
        const owner = await registry.owner('/discover/owner/h1');
        const key = '/discover/owner/h1';
        const lease = owner?.lease ?? noLease;
        assert.ok((await registry.lease(lease, true)).keys.includes(key));
        assert.deepEqual(
          (await registry.readPrefix('/discover/owner/')).map((found) => found.key),
          [key, `${key}x`],
        );
        assert.deepEqual(
          (await registry.readKeys([key])).map((found) => found.key),
          [key],
        );
        registry.close();
      }
    } finally {
      await etcd.restart(gone);
    }
  });
});
