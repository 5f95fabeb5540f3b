/**
 * etcd loses everything: all keys deleted under the leases, or its data with it, so that it begins again with neither
 * keys nor leases and at revision 1. What runs is published again, on a lease that is there.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import type { EtcdServer } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { expected, fromEngine, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

const wipes: Readonly<Record<string, (etcd: EtcdServer) => Promise<unknown>>> = {
  'all its keys': (etcd) => etcd.ctl('del', '', '--from-key'),
  'its data': async (etcd) => {
    await etcd.kill();
    rmSync(path.join(etcd.dataDir, 'n0'), { recursive: true });
    await etcd.restart();
  },
};

describe('etcd wiped', { skip: needs('etcd', 'etcdctl'), concurrency: 2 }, () => {
  for (const [what, wipe] of Object.entries(wipes)) {
    test(`all that runs is published again after etcd has lost ${what}, and goes on (simulated engine, real etcd)`, async () => {
      await using engine = await forkEngine({ containers: 5 });
      const source = fromEngine(engine);
      // By nothing but the renewal of the lease, or a comparison; the recorder could not follow.
      await using host = await startHost({ source, ttl: 5, args: ['--resync', '2'], record: false });
      const { etcd, discover } = host;
      await host.converged();
      await wipe(etcd);
      // Not `host.assertExact`: the neighbours' keys are gone as well.
      const exact = async (): Promise<void> => {
        const entries = await etcd.entries('/discover/');
        const owner = entries.find(({ key }) => key === '/discover/owner/h1');
        const held = entries.filter((entry) => entry !== owner);
        const values = held.map(({ key, value }) => [key, key.includes('/host/') ? JSON.parse(value) : value]);
        assert.deepEqual(new Map(values as [string, unknown][]), new Map([...expected(await source.running())].sort()));
        assert.ok(owner !== undefined && owner.lease !== '0', 'There is no owner key on a lease');
        for (const { key, lease } of held) assert.equal(lease, owner.lease, key);
        const told = await etcd.ctl('lease', 'timetolive', BigInt(owner.lease).toString(16));
        assert.match(told, /granted with TTL\(5s\)/);
      };
      await eventually(exact);
      const [gone = ''] = (await engine.snapshot()).map(({ id }) => id);
      await engine.apply('stop', [gone]);
      await engine.run([{ env: ['DISCOVER=later:8080'], ports: [{ container: '8080/tcp' }] }]);
      await eventually(exact);
      discover.signal('SIGTERM');
      assert.deepEqual(await discover.exit, { code: 0, signal: null });
      assert.deepEqual(
        discover.logs.filter(({ level }) => level === 'error'),
        [],
      );
    });
  }
});
