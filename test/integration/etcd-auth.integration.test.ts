/** etcd with authentication: a role for the prefix and no more, tokens that run out, a password that is wrong. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { type Entry, type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, type Host, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

const asRoot = '--user=root:root-secret';

/** As `EtcdServer.entries`, by a client that can log in. */
async function entriesOf(etcd: EtcdServer): Promise<Entry[]> {
  const text = await etcd.ctl(asRoot, 'get', '--prefix', '', '--write-out=json');
  // A lease is a number of 64 bits, more than JSON.parse keeps.
  const { kvs = [] } = JSON.parse(text.replaceAll(/"lease":(\d+)/g, '"lease":"$1"')) as {
    kvs?: readonly {
      key: string;
      value: string;
      lease?: string;
      create_revision: number;
      mod_revision: number;
      version: number;
    }[];
  };
  const decode = (base64: string): string => Buffer.from(base64, 'base64').toString();
  return kvs.map(({ key, value, lease = '0', create_revision, mod_revision, version }) => ({
    ...{ key: decode(key), value: decode(value), lease, version },
    ...{ createRevision: create_revision, modRevision: mod_revision },
  }));
}

async function startSecured(): Promise<EtcdServer> {
  const etcd = await startEtcd({ args: ['--auth-token=simple', '--auth-token-ttl=2'] });
  await etcd.ctl('user', 'add', 'root:root-secret');
  await etcd.ctl('user', 'grant-role', 'root', 'root');
  await etcd.ctl('role', 'add', 'publisher');
  await etcd.ctl('role', 'grant-permission', 'publisher', '--prefix=true', 'readwrite', '/discover/');
  await etcd.ctl('user', 'add', 'discover:its-secret');
  await etcd.ctl('user', 'grant-role', 'discover', 'publisher');
  return etcd;
}

describe('etcd with authentication', { skip: needs('etcd', 'etcdctl') }, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-auth-'));
  const passwordFile = path.join(directory, 'password');
  let engine: EngineHandle;
  before(async () => {
    engine = await forkEngine({ containers: 5 });
    writeFileSync(passwordFile, 'its-secret\n');
  });
  after(async () => {
    await engine.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const startSecuredHost = async (etcd: EtcdServer, ttl: number): Promise<Host> => {
    const args = ['--etcd:username', 'discover', '--etcd:passwordFile', passwordFile];
    const host = await startHost({
      source: fromEngine(engine),
      etcd,
      ttl,
      args,
      entries: entriesOf,
      record: false,
      idle: true,
    });
    await etcd.ctl('auth', 'enable');
    return host;
  };

  test('a role for the prefix is enough, and a token that ran out is no trouble (simulated engine, real etcd)', async () => {
    await using etcd = await startSecured();
    await using host = await startSecuredHost(etcd, 20);
    await host.launch();
    await host.converged();
    assert.equal((await host.held()).size, 10);

    // A renewal every 4 s and nothing else, with tokens of 2 s: each one comes when the token has run out.
    const [owner] = (await entriesOf(etcd)).filter(({ key }) => key === '/discover/owner/h1');
    const lease = BigInt(owner?.lease ?? 0).toString(16);
    const left = async (): Promise<number> =>
      Number(/remaining\((\d+)s\)/.exec(await etcd.ctl(asRoot, 'lease', 'timetolive', lease))?.[1]);
    for (let renewals = 0; renewals < 2; renewals++) {
      await eventually(async () => assert.ok((await left()) <= 17, 'Not yet'));
      await eventually(async () => assert.ok((await left()) >= 19, 'Not yet'));
    }
    await engine.churn({ rate: 50, seconds: 1, lifetimeMs: 200, survivors: 0.1 });
    await host.converged();

    // A restart of etcd forgets all tokens. The helper asks without a password whether it is up, in vain.
    await etcd.kill();
    etcd.restart().catch(() => {});
    await engine.churn({ rate: 50, seconds: 1, lifetimeMs: 200, survivors: 0.1 });
    await host.converged();
    assert.deepEqual(
      host.discover.logs.filter((line) => line.level === 'error'),
      [],
    );
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  test('a wrong password is a warning and no end, and the right one publishes (simulated engine, real etcd)', async () => {
    await using etcd = await startSecured();
    await using host = await startSecuredHost(etcd, 5);
    writeFileSync(passwordFile, 'not-its-secret');
    const refused = await host.launch([], { wait: false });
    const warning = await refused.waitForLog((line) => line.msg === 'etcd unavailable');
    assert.equal(warning.level, 'warn');
    assert.match(String(warning.error), /authentication failed/);
    await host.assertGone();
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    assert.equal(refused.output.includes('not-its-secret'), false);

    writeFileSync(passwordFile, 'its-secret');
    await host.launch();
    await host.converged();
  });

  test('a role that is taken away is noticed and survived, and made up for when it is back (simulated engine, real etcd)', async () => {
    await using etcd = await startSecured();
    await using host = await startSecuredHost(etcd, 5);
    await host.launch();
    await host.converged();
    await etcd.ctl(asRoot, 'user', 'revoke-role', 'discover', 'publisher');
    await engine.churn({ rate: 20, seconds: 1, lifetimeMs: 200, survivors: 0.2 });
    await eventually(() =>
      assert.ok(
        host.discover.logs.some(({ error }) => /permission denied/i.test(String(error))),
        'Not yet',
      ),
    );
    await etcd.ctl(asRoot, 'user', 'grant-role', 'discover', 'publisher');
    await host.converged();
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });
});
