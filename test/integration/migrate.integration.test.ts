/** `discover migrate` on a real etcd, up to the agent that takes a host over. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { runCommand } from '../helpers/command.ts';
import { startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

test('registrator’s tree is copied, foreign keys stay, and an agent replaces the copies of its host (simulated engine, real etcd)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  await using etcd = await startEtcd();
  const tree = { '/services/web/h1:web.1:8080': '10.0.0.5:49153', '/services/api/h2:api:80': '10.0.0.6:49154' };
  for (const [key, value] of Object.entries({ ...tree, '/services/odd': 'x' })) await etcd.ctl('put', key, value);
  const run = (...more: string[]) =>
    runCommand(['migrate', '--from', 'registrator', '--tree', '/services', '--etcd:endpoints', etcd.endpoint, ...more]);
  const revision = await etcd.revision();
  const dry = await run();
  assert.equal(dry.code, 1, dry.err);
  assert.match(dry.out, /^left \/services\/odd: must be /m);
  assert.match(dry.out, /^4 keys of 2 containers would be written, 0 are there already, 1 are left; --no-dry-run/m);
  assert.equal(await etcd.revision(), revision);

  const done = await run('--no-dry-run', '-o', 'json');
  assert.equal(done.code, 0, done.err);
  const { containers, written } = JSON.parse(done.out) as {
    readonly containers: readonly { readonly host: string; readonly keys: object }[];
    readonly written: readonly string[];
  };
  assert.deepEqual([containers.length, written.length], [2, 4]);
  const again = await run('--no-dry-run');
  assert.deepEqual([again.code, again.out.includes('4 are there already')], [0, true], again.out);
  const held = await etcd.ctl('get', '--prefix', '/discover/service/');
  assert.match(held, /\/discover\/service\/web\/default\/h1\/[0-9a-f]{12}\ntcp:\/\/10\.0\.0\.5:49153\n/);
  assert.match(await etcd.ctl('get', '/services/odd'), /^\/services\/odd\nx$/m);

  await using engine = await forkEngine({ containers: 2 });
  await using _host = await startHost({ source: fromEngine(engine), etcd, record: false });
  await eventually(async () => {
    for (const { host, keys } of containers) {
      const found = await Promise.all(Object.keys(keys).map((key) => etcd.ctl('get', key)));
      assert.deepEqual(
        found.map((text) => text !== ''),
        found.map(() => host === 'h2'),
      );
    }
  });
});
