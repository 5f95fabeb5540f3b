/**
 * The etcd of Debian's next release, version 3.5: what is published, what a client is told of it, users, and an etcd
 * that was ended or has lost everything. `npm run test:engines` runs much more of the tests with it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { DiscoverClient } from '../../src/client/index.ts';
import { runCommand } from '../helpers/command.ts';
import { type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { asRoot, entriesOf, signedTokens, startSecured, wide } from '../helpers/etcd-users.ts';
import { eventually } from '../helpers/eventually.ts';
import { expected, fromEngine, startHost } from '../helpers/host.ts';
import { newerEtcd, versionOfEtcd } from '../helpers/newer-etcd.ts';
import { observe } from '../helpers/reader.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const program = newerEtcd();

describe('etcd 3.5', { skip: needs(program, 'etcdctl', 'openssl') }, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-newer-etcd-'));
  let engine: EngineHandle;
  before(async () => {
    engine = await forkEngine({ containers: 3 });
  });
  after(async () => {
    await engine?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  test('a container is published while it runs, a client is told of each change, doctor and verify are right (simulated engine, real etcd 3.5)', async (t) => {
    t.diagnostic(`etcd ${versionOfEtcd(program)}`);
    assert.match(versionOfEtcd(program), /^3\.5\./);
    await using host = await startHost({ source: fromEngine(engine), etcdOptions: { program } });
    await using client = new DiscoverClient({ endpoints: host.etcd.endpoints });
    await host.converged();
    const [id = ''] = await engine.run([{ env: ['DISCOVER=seen:8080'], ports: [{ container: '8080/tcp' }] }]);
    const key = `/discover/service/seen/default/h1/${id.slice(0, 12)}`;
    await host.converged();
    const url = await host.etcd.ctl('get', '--print-value-only', key);
    const abort = new AbortController();
    const observer = observe(client, 'seen', { signal: abort.signal });
    const isTold = (...urls: readonly string[]): Promise<void> =>
      eventually(() => assert.deepEqual([...(observer.seen.at(-1)?.values() ?? ['nothing yet'])], urls));
    await isTold(url.trim());
    await engine.apply('stop', [id]);
    await isTold();
    await engine.apply('start', [id]);
    await host.converged();
    await isTold(String((await host.held()).get(key)));
    await engine.churn({ rate: 50, seconds: 1, lifetimeMs: 200, survivors: 0.1 });
    await host.converged();
    abort.abort();
    await observer.ended;

    const args = [
      ...['--docker:socketPath', engine.socketPath, '--etcd:endpoints', host.etcd.endpoint],
      ...['--host:ip', host.names.ip, '--host:id', host.names.id],
    ];
    const doctor = await runCommand(['doctor', ...args]);
    assert.equal(doctor.code, 0, doctor.out + doctor.err);
    assert.match(doctor.out, /etcd 3\.5\./);
    const verify = await runCommand(['verify', ...args]);
    assert.equal(verify.code, 0, verify.out + verify.err);
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  test('a role that is added makes a token stale, and nothing waits: not the agent, not a client (simulated engine, real etcd 3.5)', async () => {
    const passwordFile = path.join(directory, 'password');
    writeFileSync(passwordFile, 'its-secret\n');
    await using etcd = await startSecured(wide, signedTokens(directory), { program });
    await using host = await startHost({
      ...{ source: fromEngine(engine), etcd, entries: entriesOf, record: false, idle: true },
      args: ['--etcd:username', 'discover', '--etcd:passwordFile', passwordFile],
    });
    await etcd.ctl('auth', 'enable');
    await host.launch();
    await host.converged();
    await using client = new DiscoverClient({ endpoints: [etcd.endpoint], username: 'discover', passwordFile });
    const services = async (): Promise<string[]> => [...(await client.services()).keys()];
    await services();
    await etcd.ctl(asRoot, 'role', 'add', 'anybody');
    await engine.run([{ env: ['DISCOVER=later:8080'], ports: [{ container: '8080/tcp' }] }]);
    await host.converged();
    await eventually(async () => assert.ok((await services()).includes('later'), 'The client has not been told'));
    const said = host.discover.logs.filter(({ level }) => level === 'error' || level === 'warn');
    assert.deepEqual(said, []);
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  const endings: Readonly<Record<string, (etcd: EtcdServer) => Promise<void>>> = {
    'was killed and is back': (etcd) => etcd.kill(),
    'has lost its data': async (etcd) => {
      await etcd.kill();
      rmSync(path.join(etcd.dataDir, 'n0'), { recursive: true });
    },
  };
  for (const [what, end] of Object.entries(endings).slice(amount(1, 0))) {
    test(`etcd holds what runs after it ${what} (simulated engine, real etcd 3.5)`, async () => {
      await using etcd = await startEtcd({ program });
      const source = fromEngine(engine);
      await using host = await startHost({ source, etcd, ttl: 5, args: ['--resync', '2'], record: false });
      await host.converged();
      await end(etcd);
      await engine.run([{ env: ['DISCOVER=meanwhile:8080'], ports: [{ container: '8080/tcp' }] }]);
      await etcd.restart();
      // Not `host.converged`: the neighbours' keys may be gone as well.
      await eventually(async () => {
        const entries = await etcd.entries('/discover/');
        const wanted = expected(await source.running());
        const own = entries.filter(({ key }) => /\/h1\//.test(key));
        assert.deepEqual(own.map(({ key }) => key).sort(), [...wanted.keys()].sort());
        const owner = entries.find(({ key }) => key === '/discover/owner/h1');
        for (const { key, lease } of own) assert.equal(lease, owner?.lease, key);
      });
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    });
  }
});
