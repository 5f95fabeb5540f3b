/**
 * Silence: on a host where nothing happens, discover compares and renews and writes nothing at all. Counted in lists
 * and not in seconds: each is a comparison with etcd, and the lease is renewed several times meanwhile.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromDockerd, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { listsOf, needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const resyncs = 6;
// Renewed three times in six seconds.
const options = { args: ['--resync', '1'], ttl: 5 };

async function assertSilent(host: Host): Promise<void> {
  const [before, lists] = [await host.etcd.revision(), await listsOf(host.discover)];
  await eventually(async () => assert.ok((await listsOf(host.discover)) > lists + resyncs, 'Not yet'), {
    everyMs: 200,
  });
  assert.equal(await host.etcd.revision(), before);
  await host.converged();
}

// The two wait side by side.
describe('idle', { concurrency: 2 }, () => {
  testInFull(
    'the revision of etcd does not move with 5 containers over 6 resyncs (real dockerd, real etcd)',
    {
      skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root'),
    },
    async () => {
      await using dockerd = await startDockerd();
      await using host = await startHost({ source: fromDockerd(dockerd), ...options });
      for (const port of [80, 81, 82, 83, 84]) await dockerd.run({ env: { DISCOVER: `web:${port}` }, ports: [port] });
      await host.converged();
      await assertSilent(host);
    },
  );

  test('the revision of etcd does not move with 50 containers over 6 resyncs (simulated engine, real etcd)', {
    skip: needs('etcd', 'etcdctl'),
  }, async () => {
    await using engine = await forkEngine({ containers: 50 });
    await using host = await startHost({ source: fromEngine(engine), ...options });
    await host.converged();
    assert.equal((await host.held()).size, 100);
    await assertSilent(host);
  });
});
