/** Silence: on a host where nothing happens, discover compares and renews and writes nothing at all. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { forkEngine } from '../../bench/engine/client.ts';
import { startDockerd } from '../helpers/dockerd.ts';
import { fromDockerd, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { listsOf, needs } from '../helpers/run.ts';

const silenceMs = 30_000;
const args = ['--resync', '5'];

async function assertSilent(host: Host): Promise<void> {
  const before = await host.etcd.revision();
  await sleep(silenceMs);
  assert.equal(await host.etcd.revision(), before);
  const lists = await listsOf(host.discover);
  assert.ok(lists > 4, `There were only ${lists} lists`);
  await host.converged();
}

// The two wait side by side.
describe('idle', { concurrency: 2 }, () => {
  test('the revision of etcd does not move in 30 s with 5 containers and 5 resyncs (real dockerd, real etcd)', {
    skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root'),
  }, async () => {
    await using dockerd = await startDockerd();
    await using host = await startHost({ source: fromDockerd(dockerd), args });
    for (const port of [80, 81, 82, 83, 84]) await dockerd.run({ env: { DISCOVER: `web:${port}` }, ports: [port] });
    await host.converged();
    await assertSilent(host);
  });

  test('the revision of etcd does not move in 30 s with 50 containers and 5 resyncs (simulated engine, real etcd)', {
    skip: needs('etcd', 'etcdctl'),
  }, async () => {
    await using engine = await forkEngine({ containers: 50 });
    await using host = await startHost({ source: fromEngine(engine), args });
    await host.converged();
    assert.equal((await host.held()).size, 100);
    await assertSilent(host);
  });
});
