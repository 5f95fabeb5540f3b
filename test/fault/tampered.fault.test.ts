/** Somebody else's hand in etcd: leases revoked, keys deleted, values overwritten. The next look mends it. */
import { after, before, beforeEach, describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, type Host, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

async function leaseOf(host: Host): Promise<string> {
  const [owner] = await host.etcd.entries('/discover/owner/h1');
  return BigInt(owner?.lease ?? 0).toString(16);
}

async function someKey(host: Host, kind: 'service' | 'host'): Promise<string> {
  const keys = [...(await host.held()).keys()].filter((key) => key.startsWith(`/discover/${kind}/`));
  return keys[1] ?? '';
}

const cases: Readonly<Record<string, (host: Host) => Promise<unknown>>> = {
  'its lease was revoked': async (host) => host.etcd.ctl('lease', 'revoke', await leaseOf(host)),
  'a service key was deleted': async (host) => host.etcd.ctl('del', await someKey(host, 'service')),
  'a record was deleted': async (host) => host.etcd.ctl('del', await someKey(host, 'host')),
  'all its keys but the owner key were deleted': async (host) => {
    for (const key of (await host.held()).keys()) await host.etcd.ctl('del', key);
  },
  'its owner key was deleted': (host) => host.etcd.ctl('del', '/discover/owner/h1'),
  'its owner key was overwritten': (host) => host.etcd.ctl('put', '/discover/owner/h1', 'mine'),
  'a value was overwritten': async (host) => host.etcd.ctl('put', await someKey(host, 'service'), 'tcp://192.0.2.9:1'),
  'a record was overwritten': async (host) =>
    host.etcd.ctl('put', await someKey(host, 'host'), '{"x":"/discover/owner/h1x"}'),
  'a value was overwritten under its lease': async (host) =>
    host.etcd.ctl('put', '--ignore-lease', await someKey(host, 'service'), 'tcp://192.0.2.9:1'),
  'a key of a container that never was is on its lease': async (host) =>
    host.etcd.ctl(
      'put',
      `--lease=${await leaseOf(host)}`,
      '/discover/service/web/default/h1/0123456789ab',
      'tcp://192.0.2.9:1',
    ),
  'a record of a container that never was is there': async (host) =>
    host.etcd.ctl('put', '/discover/host/h1/0123456789ab', '{"web":"/discover/service/web/default/h1/0123456789ab"}'),
};

describe('tampered', { skip: needs('etcd', 'etcdctl') }, () => {
  let engine: EngineHandle;
  let host: Host;
  before(async () => {
    engine = await forkEngine({ containers: 5 });
    host = await startHost({ source: fromEngine(engine), ttl: 5, args: ['--resync', '2'] });
  });
  beforeEach(async () => {
    // What one case has left wrong is not the next one's: a new tenure reads all anew.
    const isExact = await host.assertExact().then(
      () => true,
      () => false,
    );
    if (isExact) return;
    await host.terminate();
    await host.launch();
    await host.converged();
  });
  after(async () => {
    await host[Symbol.asyncDispose]();
    await engine.close();
  });

  for (const [name, tamper] of Object.entries(cases)) {
    test(`etcd is exact again after ${name} by hand (simulated engine, real etcd)`, async () => {
      await tamper(host);
      await eventually(() => host.assertExact());
      // And goes on.
      await engine.churn({ rate: 50, seconds: 0.2, lifetimeMs: 100, survivors: 0.2 });
      await eventually(() => host.assertExact());
    });
  }
});
