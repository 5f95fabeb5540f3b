/**
 * Two for one host id. One writes and the other goes, says whose place it is, and has written
 * nothing; who has left in order, or is provably gone or silent, is followed.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import type { EtcdServer } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { ended, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { atExit, exitOf, needs, requireCommand } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

interface Owner {
  readonly instance: string;
  readonly ip: string;
  readonly lease: string;
  readonly process: { readonly boot: string; readonly pid: number };
}

const ownerKey = '/discover/owner/h1';
const ownerOf = async (host: Host): Promise<Owner> =>
  JSON.parse(await host.etcd.ctl('get', '--print-value-only', ownerKey)) as Owner;

/** Keys on a lease that somebody on another machine owns, as far as can be seen from here. */
async function putForeign(etcd: EtcdServer, ttl: number): Promise<{ lease: string; instance: string }> {
  const lease = /lease ([0-9a-f]+) granted/.exec(await etcd.ctl('lease', 'grant', String(ttl)))?.[1] ?? '';
  const instance = 'elsewhere';
  const record = {
    ...{ instance, started: new Date().toISOString(), version: '1.0.0', ip: '192.0.2.7', released: false },
    ...{ lease: BigInt(`0x${lease}`).toString(), ttlSeconds: ttl },
    process: { boot: 'another', pidNamespace: 'pid:[1]', pid: 1, startTicks: '1' },
  };
  await etcd.ctl('put', ownerKey, JSON.stringify(record), `--lease=${lease}`);
  return { lease, instance };
}

function keepAlive(etcd: EtcdServer, lease: string): AsyncDisposable & { readonly child: ChildProcess } {
  const child = spawn(requireCommand('etcdctl'), [`--endpoints=${etcd.endpoint}`, 'lease', 'keep-alive', lease], {
    env: { ...process.env, ETCDCTL_API: '3' },
    stdio: 'ignore',
  });
  const forget = atExit(() => child.kill('SIGKILL'));
  return {
    child,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await exitOf(child);
      forget();
    },
  };
}

describe('two of one host id', { skip: needs('etcd', 'etcdctl'), concurrency: 3 }, () => {
  test('a second discover ends with 75, names the first on stderr and touches no key (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 5 });
    await using host = await startHost({ source: fromEngine(engine) });
    await host.converged();
    const first = host.discover;
    const owner = await ownerOf(host);
    const revision = await host.etcd.revision();
    const second = await host.launch(['--host:ip', '10.0.0.6'], { wait: false });
    assert.deepEqual(await ended(second), { code: 75, signal: null });
    const said = second.output.split('\n').find((line) => line.startsWith('discover: ')) ?? '';
    for (const part of ['host.id', owner.instance, '10.0.0.5', String(first.pid)]) assert.ok(said.includes(part), said);
    assert.equal(await host.etcd.revision(), revision);
    await engine.churn({ rate: 50, seconds: 1, lifetimeMs: 200, survivors: 0.1 });
    await host.converged();
    assert.equal((await ownerOf(host)).instance, owner.instance);
    first.signal('SIGTERM');
    assert.deepEqual(await ended(first), { code: 0, signal: null });
  });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    test(`a discover that ended by ${signal} is followed on its own lease (simulated engine, real etcd)`, async () => {
      await using engine = await forkEngine({ containers: 5 });
      await using host = await startHost({ source: fromEngine(engine), ttl: 60 });
      await host.converged();
      const before = await ownerOf(host);
      host.discover.signal(signal);
      await ended(host.discover);
      await host.launch();
      await host.converged();
      const after = await ownerOf(host);
      assert.notEqual(after.instance, before.instance);
      assert.equal(after.lease, before.lease);
    });
  }

  testInFull(
    'an owner on another machine that renews its lease is left alone, with 75 (simulated engine, real etcd, other owner by hand)',
    async () => {
      await using engine = await forkEngine({ containers: 5 });
      await using host = await startHost({ source: fromEngine(engine), idle: true });
      const { lease, instance } = await putForeign(host.etcd, 5);
      await using alive = keepAlive(host.etcd, lease);
      const revision = await host.etcd.revision();
      const discover = await host.launch([], { wait: false });
      assert.deepEqual(await ended(discover), { code: 75, signal: null });
      assert.match(discover.output, new RegExp(`^discover: .*${instance} at 192\\.0\\.2\\.7.*renews`, 'm'));
      assert.equal(await host.etcd.revision(), revision);

      alive.child.kill('SIGKILL');
      await host.launch();
      await host.converged();
    },
  );

  testInFull(
    'an owner on another machine that is silent is followed on its own lease (simulated engine, real etcd, other owner by hand)',
    async () => {
      await using engine = await forkEngine({ containers: 5 });
      await using host = await startHost({ source: fromEngine(engine), idle: true, ttl: 20 });
      const { lease } = await putForeign(host.etcd, 20);
      await host.launch();
      await host.converged();
      assert.equal((await ownerOf(host)).lease, BigInt(`0x${lease}`).toString());
    },
  );

  testInFull(
    'one that slept while another took its place goes when it wakes, and has written nothing (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 5 });
      await using host = await startHost({ source: fromEngine(engine), ttl: 2 });
      await host.converged();
      const first = host.discover;
      first.signal('SIGSTOP');
      await eventually(() => host.assertGone());
      const second = await host.launch();
      await host.converged();
      const owner = await ownerOf(host);
      await engine.apply('restart', [(await engine.snapshot())[0]?.id ?? '']);
      await host.converged();
      first.signal('SIGCONT');
      assert.deepEqual(await ended(first), { code: 75, signal: null });
      await host.converged();
      assert.deepEqual(await ownerOf(host), owner);
      assert.equal(owner.process.pid, second.pid);
    },
  );
});
