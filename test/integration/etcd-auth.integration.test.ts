/** etcd with authentication: a role for the prefix and no more, tokens that run out, a password that is wrong. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { DiscoverClient } from '../../src/client/index.ts';
import type { EtcdServer } from '../helpers/etcd.ts';
import { asDiscover, asRoot, entriesOf, narrow, signedTokens, startSecured, wide } from '../helpers/etcd-users.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, type Host, startHost } from '../helpers/host.ts';
import { cleanEnvironment, needs, requireCommand } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

/** etcdctl reads a new password from its input only. */
function setPassword(etcd: EtcdServer, user: string, password: string): void {
  const args = [`--endpoints=${etcd.endpoint}`, asRoot, 'user', 'passwd', user, '--interactive=false'];
  const env = cleanEnvironment({ ETCDCTL_API: '3' });
  const { status, stderr } = spawnSync(requireCommand('etcdctl'), args, { input: `${password}\n`, env });
  assert.equal(status, 0, String(stderr));
}

/** Since 3.5.28 etcd asks for a token to renew a lease, and for root to compact and to list leases. */
async function asksForMore({ endpoint }: EtcdServer): Promise<boolean> {
  const { etcdserver } = (await (await fetch(`${endpoint}/version`)).json()) as { etcdserver: string };
  const [, minor = 0, patch = 0] = etcdserver.split('.').map(Number);
  return minor > 5 || (minor === 5 && patch >= 28);
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

  /** The keys beyond are none of this host's, and looked after by the test. */
  const startSecuredHost = async (etcd: EtcdServer, ttl: number, beyond: readonly string[] = []): Promise<Host> => {
    const args = ['--etcd:username', 'discover', '--etcd:passwordFile', passwordFile];
    const host = await startHost({
      source: fromEngine(engine),
      etcd,
      ttl,
      args,
      entries: async (server) => (await entriesOf(server)).filter(({ key }) => !beyond.includes(key)),
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
    for (let renewals = 0; renewals < amount(1, 3); renewals++) {
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

  testInFull(
    'a role that is added while it runs makes its token stale, and nothing waits: not the agent, not a client (simulated engine, real etcd)',
    async () => {
      await using etcd = await startSecured(wide, signedTokens(directory));
      await using host = await startSecuredHost(etcd, 20);
      await host.launch();
      await host.converged();
      await using client = new DiscoverClient({
        endpoints: [etcd.endpoint],
        username: 'discover',
        passwordFile,
      });
      // Without the neighbours' that the helper has put there.
      const names = async () => [...(await client.services()).keys()].filter((name) => name !== 'web').sort();
      const published = async () =>
        [...(await host.held()).keys()]
          .filter((key) => key.startsWith('/discover/service/'))
          .map((key) => key.split('/')[3] ?? '');
      for (const role of amount(['anybody'], ['anybody', 'somebody', 'nobody-else'])) {
        await etcd.ctl(asRoot, 'role', 'add', role);
        // The next changes, with the commits' connection open and the client's watch under way.
        await engine.churn({ rate: 20, seconds: 1, lifetimeMs: 200, survivors: 0.2 });
        await host.converged();
        // A service that the client has not asked for before is a read and a watch of its own.
        const [one = ''] = await published();
        await using other = new DiscoverClient({ endpoints: [etcd.endpoint], username: 'discover', passwordFile });
        assert.ok((await other.resolve(one)).length > 0, `${one} is not found`);
        await eventually(async () => assert.deepEqual(await names(), [...new Set(await published())].sort()));
      }
      const said = host.discover.logs.filter(({ level }) => level === 'error' || level === 'warn');
      assert.deepEqual(said, []);
      assert.equal(client.stale, undefined);
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    },
  );

  test('a role for service keys and for its own record and owner keys is enough to publish, repair, take over and leave, and nothing beyond is asked for (simulated engine, real etcd)', async () => {
    await using etcd = await startSecured(narrow);
    // Of another program, of another host, and as near to the prefix as can be: written before and never touched.
    const beyond = ['/secret', '/discoverx', '/discover', '/discover/owner/h2'];
    // Longer than a start takes on a slow machine: the lease has to outlive the time without a process.
    await using host = await startSecuredHost(etcd, 20, beyond);
    for (const key of beyond) await etcd.ctl(asRoot, 'put', key, 'canary-value');
    const others = async () => (await entriesOf(etcd)).filter(({ key }) => beyond.includes(key));
    const before = await others();
    assert.equal(before.length, beyond.length);
    // The role does what it says, so whoever tried would hear of it.
    for (const key of beyond) {
      await assert.rejects(etcd.ctl(...asDiscover, 'get', key), /permission denied/, key);
      await assert.rejects(etcd.ctl(...asDiscover, 'put', key, 'x'), /permission denied/, key);
    }

    const started = ['--debug', '--resync', '1'];
    const first = await host.launch(started);
    await host.converged();
    const leaseOf = async () => (await entriesOf(etcd)).find(({ key }) => key === '/discover/owner/h1')?.lease;
    const lease = await leaseOf();

    const [key = ''] = [...(await host.held()).keys()];
    await etcd.ctl(asRoot, 'del', key);
    await first.waitForLog((line) => line.msg === 'etcd was changed by another program; repairing');
    await host.converged();

    first.signal('SIGKILL');
    await first.exit;
    const second = await host.launch(started);
    await engine.churn({ rate: 30, seconds: 1, lifetimeMs: 200, survivors: 0.1 });
    await host.converged();
    assert.equal(await leaseOf(), lease, 'The lease was not taken over');
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });

    const third = await host.launch([...started, '--host:onExit', 'remove']);
    await host.converged();
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    await host.assertGone();

    assert.deepEqual(await others(), before);
    for (const { output } of [first, second, third]) {
      assert.doesNotMatch(output, /permission denied|canary-value|its-secret/i);
    }
  });

  test('what no role prevents is what SECURITY.md says: compaction, lists of leases, and the end of one with our keys only (real etcd)', async () => {
    await using etcd = await startSecured();
    const grant = async (...keys: readonly string[]): Promise<string> => {
      const lease = /lease (\w+) granted/.exec(await etcd.ctl('lease', 'grant', '600'))?.[1] ?? '';
      for (const key of keys) await etcd.ctl('put', `--lease=${lease}`, key, 'x');
      return lease;
    };
    const [ofAnother, mixed] = [
      await grant('/discover/host/h2/0123456789ab'),
      await grant('/discover/owner/h2', '/else'),
    ];
    await etcd.ctl('auth', 'enable');
    const isStrict = await asksForMore(etcd);
    if (!isStrict) assert.match(await etcd.ctl(...asDiscover, 'lease', 'list'), new RegExp(ofAnother));
    await etcd.ctl(...asDiscover, 'put', '/discover/service/web/default/h2/0123456789ab', 'tcp://192.0.2.1:1');
    await etcd.ctl(...asDiscover, 'lease', 'revoke', ofAnother);
    assert.equal(
      (await entriesOf(etcd)).some(({ key }) => key === '/discover/host/h2/0123456789ab'),
      false,
    );
    await assert.rejects(etcd.ctl(...asDiscover, 'lease', 'revoke', mixed), /permission denied/);
    await assert.rejects(
      etcd.ctl(...asDiscover, 'put', `--lease=${mixed}`, '/discover/owner/h1', 'x'),
      /permission denied/,
    );
    if (!isStrict) await etcd.ctl(...asDiscover, 'compact', '3');
    for (const words of [
      ...(isStrict
        ? [
            ['lease', 'list'],
            ['compact', '2'],
          ]
        : []),
      ['user', 'list'],
      ['role', 'add', 'x'],
      ['auth', 'disable'],
      ['snapshot', 'save', '/dev/null'],
    ]) {
      await assert.rejects(etcd.ctl(...asDiscover, ...words), /permission denied/, words.join(' '));
    }
  });

  testInFull(
    'a wrong password is a warning and no end, and the right one publishes (simulated engine, real etcd)',
    async () => {
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
    },
  );

  testInFull(
    'a password that is changed under a running discover is said and survived, and made up for when it is the old one again (simulated engine, real etcd)',
    async () => {
      await using etcd = await startSecured();
      await using host = await startSecuredHost(etcd, 5);
      await host.launch();
      await host.converged();
      const before = await entriesOf(etcd);
      setPassword(etcd, 'discover', 'another-secret');
      await engine.churn({ rate: 20, seconds: 1, lifetimeMs: 200, survivors: 0.2 });
      await host.discover.waitForLog(({ error }) => /authentication failed/.test(String(error)));
      // What was written is kept alive meanwhile, where etcd asks for no password there.
      if (!(await asksForMore(etcd))) assert.deepEqual(await entriesOf(etcd), before);
      setPassword(etcd, 'discover', 'its-secret');
      await host.converged();
      // Elsewhere the lease may have ended.
      if (await asksForMore(etcd)) return;
      const after = new Map((await entriesOf(etcd)).map((entry) => [entry.key, entry]));
      for (const entry of before) if (entry.key !== '/discover/owner/h1') assert.deepEqual(after.get(entry.key), entry);
      assert.equal(host.discover.output.includes('its-secret'), false);
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    },
  );

  testInFull(
    'a new password counts from a reload on, and no key is touched for it (simulated engine, real etcd)',
    async () => {
      await using etcd = await startSecured();
      await using host = await startSecuredHost(etcd, 20);
      await host.launch();
      await host.converged();
      const services = async () => (await entriesOf(etcd)).filter(({ key }) => key !== '/discover/owner/h1');
      const before = await services();
      setPassword(etcd, 'discover', 'another-secret');
      writeFileSync(passwordFile, 'another-secret');
      try {
        host.discover.signal('SIGHUP');
        await host.discover.waitForLog(({ msg }) => msg === 'configuration reloaded');
        assert.deepEqual(await services(), before);
        await engine.churn({ rate: 20, seconds: 1, lifetimeMs: 200, survivors: 0.2 });
        await host.converged();
        const after = new Map((await services()).map((entry) => [entry.key, entry]));
        for (const entry of before) assert.deepEqual(after.get(entry.key), entry);
        assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      } finally {
        writeFileSync(passwordFile, 'its-secret\n');
      }
    },
  );

  testInFull(
    'a role that is taken away is noticed and survived, and made up for when it is back (simulated engine, real etcd)',
    async () => {
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
    },
  );
});
