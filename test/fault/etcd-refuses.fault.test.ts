/**
 * etcd answers, and says no: authentication is switched on under a discover without a password, and
 * containers are more than one transaction may hold. Passwords and roles that change under one that has
 * them are in `etcd-auth.integration.test.ts`.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { assertOnlyDeadDeleted, expected, fromEngine, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

const asRoot = '--user=root:root-secret';
const load = { rate: 30, seconds: 1, lifetimeMs: 200, survivors: 0.2 };

describe('etcd that refuses', { skip: needs('etcd', 'etcdctl'), concurrency: 3 }, () => {
  test('authentication switched on under a discover without a password is said and survived, and nothing that runs is deleted (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 5 });
    await using host = await startHost({ source: fromEngine(engine), ttl: 60 });
    const { etcd, recorder } = host;
    await host.converged();
    await etcd.ctl('user', 'add', 'root:root-secret');
    await etcd.ctl('user', 'grant-role', 'root', 'root');
    await etcd.ctl('auth', 'enable');
    const { lifecycles } = await engine.churn(load);
    await host.discover.waitForLog(({ error }) => /user name is empty/.test(String(error)));
    await etcd.ctl(asRoot, 'auth', 'disable');
    await host.converged();
    assertOnlyDeadDeleted(recorder.changes, lifecycles);
    assert.equal((await host.held()).size, 2 * (5 + 6));
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  test('a container with more operations or bytes than etcd takes is left out by itself, and said once (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 5 });
    const source = fromEngine(engine);
    const limits = ['--max-txn-ops=64', '--max-request-bytes=6000'];
    await using host = await startHost({ source, ttl: 60, etcdOptions: { args: limits }, idle: true });
    const named = (count: number, length: number) => ({
      env: [`DISCOVER=${Array.from({ length: count }, (_, n) => `${String(n).padStart(length, '0')}:8080`).join(',')}`],
      ports: [{ container: '8080/tcp' }],
    });
    // More than 64 operations, and as many as any but of 10 KB.
    const refused = await engine.run([named(80, 2), named(20, 128)]);
    // Together more than one transaction holds, by either measure.
    await engine.run(Array.from({ length: 60 }, () => named(1, 20)));
    await host.launch();
    const others = async (): Promise<void> => {
      const running = await source.running();
      const wanted = expected(running.filter(({ id }) => !refused.includes(id)));
      assert.deepEqual(new Map([...(await host.held())].sort()), new Map([...wanted].sort()));
    };
    await eventually(others);
    assert.equal((await host.held()).size, 2 * 65);
    const { lifecycles } = await engine.churn(load);
    await eventually(others);
    assertOnlyDeadDeleted(host.recorder.changes, lifecycles);
    const quarantined = host.discover.logs.filter(({ level }) => level === 'error');
    assert.deepEqual(
      quarantined.map(({ msg, container }) => [msg, container]).sort(),
      refused.map((id) => ['etcd refuses this container', id.slice(0, 12)]).sort(),
    );
    await engine.apply('stop', refused);
    await host.converged();
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });
});
