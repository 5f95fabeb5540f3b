/**
 * discover cut off from an etcd that is well: both ways, one way only, and for so long that what it
 * had said arrives when it is no longer true. Nothing late may take effect, and nothing in doubt be done twice.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { firstMember } from '../../src/etcd/cluster.ts';
import type { Change } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  assertOnlyDeadDeleted,
  fromEngine,
  type Host,
  knownOf,
  knownOfLives,
  revisionsOf,
  startHost,
} from '../helpers/host.ts';
import { startProxy } from '../helpers/proxy.ts';
import { needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const ownerKey = '/discover/owner/h1';
const load = { rate: 100, lifetimeMs: 400, survivors: 0.1 };

async function leaseOf(host: Host): Promise<string> {
  return (await host.etcd.entries(ownerKey))[0]?.lease ?? '0';
}

const claimsIn = (changes: readonly Change[]): number =>
  changes.filter(({ key, kind }) => key === ownerKey && kind === 'put').length;

/** Of containers that keep their ports, each key is written once: what was in doubt was looked at, not repeated. */
function assertPutOnce(changes: readonly Change[]): void {
  const puts = changes.filter(({ key, kind }) => kind === 'put' && key !== ownerKey).map(({ key }) => key);
  assert.equal(puts.length, new Set(puts).size, 'A key was written twice');
}

describe('discover cut off from etcd', { skip: needs('etcd', 'etcdctl'), concurrency: 3 }, () => {
  test('keys of a host that is cut off go in one revision when its lease ends, and what it wanted to write meanwhile is not written late (simulated engine, real etcd behind a proxy)', async () => {
    await using engine = await forkEngine({ containers: 20 });
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    await using proxy = await startProxy({ to: `127.0.0.1:${host.etcd.ports[0]}` });
    await host.launch(['--etcd:endpoints', `http://${proxy.address}`, '--etcd:ttl', '2']);
    await host.converged();
    const count = host.recorder.changes.length;
    proxy.pause();
    const churned = engine.churn({ ...load, seconds: 3 });
    await eventually(() => host.assertGone());
    const gone = await host.changesSince(count);
    assert.ok(gone.every(({ kind }) => kind === 'delete'));
    assert.deepEqual([gone.length, revisionsOf(gone).length], [40, 1]);
    await churned;

    const healed = host.recorder.changes.length;
    proxy.resume();
    await host.converged();
    const held = await host.held();
    assert.equal(held.size, 2 * (20 + 30));
    const strays = (await host.changesSince(healed)).filter(({ kind, key }) => kind === 'put' && !held.has(key));
    assert.deepEqual(strays, []);
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  testInFull(
    'while only the answers are held back under load nothing is deleted or written twice, and all is right when they pass again (simulated engine, real etcd behind a proxy)',
    async () => {
      await using engine = await forkEngine({ containers: 20 });
      await using host = await startHost({ source: fromEngine(engine), idle: true });
      await using proxy = await startProxy({ to: `127.0.0.1:${host.etcd.ports[0]}` });
      await host.launch(['--etcd:endpoints', `http://${proxy.address}`, '--etcd:ttl', '60']);
      await host.converged();
      const first = knownOf(await engine.snapshot());
      const lease = await leaseOf(host);
      let isOver = false;
      const churned = engine.churn({ ...load, seconds: 6 }).finally(() => {
        isOver = true;
      });
      for (let times = 0; times < 2; times++) {
        const before = host.recorder.changes.length;
        await eventually(() => assert.ok(host.recorder.changes.length > before + 40 || isOver, 'Not yet'));
        const tries = proxy.accepted;
        proxy.toClient.pause();
        // A call has timed out and another connection was tried: what was under way is in doubt.
        await eventually(() => assert.ok(proxy.accepted > tries, 'Not yet'));
        proxy.toClient.resume();
      }
      const { lifecycles } = await churned;
      await host.converged(new Map([...first, ...knownOfLives(lifecycles)]));
      const { changes } = host.recorder;
      assert.ok(claimsIn(changes) > 1, 'Nothing was in doubt');
      assertOnlyDeadDeleted(changes, lifecycles);
      assertPutOnce(changes);
      assert.equal(await leaseOf(host), lease);
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    },
  );

  testInFull(
    'a commit that is held back until its container is gone comes to nothing when it arrives (simulated engine, real etcd behind two proxies)',
    async () => {
      await using engine = await forkEngine({ containers: 5 });
      await using host = await startHost({ source: fromEngine(engine), idle: true });
      const to = `127.0.0.1:${host.etcd.ports[0]}`;
      await using slow = await startProxy({ to });
      await using well = await startProxy({ to });
      // The slow one is asked first.
      const addresses =
        firstMember(host.names.id, 2) === 0 ? [slow.address, well.address] : [well.address, slow.address];
      const endpoints = addresses.map((address) => `http://${address}`).join(',');
      await host.launch(['--etcd:endpoints', endpoints, '--etcd:ttl', '60']);
      await host.converged();
      const late = { env: ['DISCOVER=late:8080'], ports: [{ container: '8080/tcp' }] };
      // A call that took too long on a busy machine has moved on to the other one: here is the only way back.
      await well.refuse();
      well.cut();
      await engine.run([late]);
      await host.converged();
      slow.toServer.pause();
      await well.accept();
      const [id = ''] = await engine.run([late]);
      // Published the other way, on the same lease, when the call had timed out.
      await host.converged();
      await engine.apply('stop', [id]);
      await host.converged();
      const [count, passed] = [host.recorder.changes.length, slow.toServer.bytes];
      slow.toServer.resume();
      // The owner key's name stands in the commit.
      await eventually(() => assert.ok(slow.toServer.bytes > passed + ownerKey.length, 'Not yet'));
      await engine.run([late]);
      await host.converged();
      assert.deepEqual(
        (await host.changesSince(count)).filter(({ key }) => key.includes(id.slice(0, 12))),
        [],
      );
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    },
  );

  test('a lease that an operator revokes is missed by renewal alone, and a commit on its way to it changes nothing (simulated engine, real etcd behind a proxy)', async () => {
    await using engine = await forkEngine({ containers: 20 });
    // No comparison takes place: only the renewal, and then the commit, can tell.
    await using host = await startHost({ source: fromEngine(engine), idle: true, ttl: 5, args: ['--resync', '86400'] });
    await using proxy = await startProxy({ to: `127.0.0.1:${host.etcd.ports[0]}` });
    await host.launch(['--etcd:endpoints', `http://${proxy.address}`]);
    await host.converged();
    for (const isQuiet of [true, false]) {
      const lease = await leaseOf(host);
      const count = host.recorder.changes.length;
      if (!isQuiet) {
        proxy.toServer.pause();
        await engine.run([{ env: ['DISCOVER=late:8080'], ports: [{ container: '8080/tcp' }] }]);
      }
      await host.etcd.ctl('lease', 'revoke', BigInt(lease).toString(16));
      proxy.toServer.resume();
      await host.converged();
      const renewed = await leaseOf(host);
      assert.notEqual(renewed, lease);
      const changes = await host.changesSince(count);
      const [deletes, puts] = (['delete', 'put'] as const).map((kind) => changes.filter((one) => one.kind === kind));
      assert.deepEqual([deletes?.length, revisionsOf(deletes ?? []).length, puts?.length], [40, 1, isQuiet ? 40 : 42]);
      assert.ok(puts?.every((put) => put.lease === renewed));
    }
  });
});
