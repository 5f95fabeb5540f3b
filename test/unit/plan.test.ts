/** `discover plan`: what the agent would write, from simulated sides, and how it is printed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { systemClock } from '../../src/actor/clock.ts';
import { compare, type Sides } from '../../src/commands/compare.ts';
import { printedPlan } from '../../src/commands/plan.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { readSources } from '../../src/config/sources.ts';
import type { ContainerId, Inspection } from '../../src/container/container.ts';
import { revisionOf } from '../../src/etcd/registry.ts';
import { layoutOf } from '../../src/layout/keys.ts';
import { type LeaseId, noLease } from '../../src/layout/owner.ts';
import { MemoryRegistry } from '../sim/registry.ts';

const idOf = (digit: string): ContainerId => digit.repeat(64) as ContainerId;
const web: Inspection = {
  kind: 'running',
  startedAt: 1,
  services: [{ name: 'web', privatePort: 80, protocol: 'tcp', address: '10.0.0.5', port: 49153 }],
  refusals: [{ code: 'not-published', entry: 'stats:8125/udp', detail: '8125/udp is not published' }],
};
const sick: Inspection = { ...web, refusals: [], traffic: { health: 'unhealthy' } };

async function stage(inspections: ReadonlyMap<ContainerId, Inspection>) {
  const options = { host: { id: 'h1', ip: '10.0.0.5' } };
  const { config } = await resolveConfig(readSources({ options }));
  // No lease ends while a test runs.
  const memory = new MemoryRegistry({ ...systemClock, after: () => () => {} });
  const registry = Object.assign(memory, {
    async keyRevisions(prefix: string) {
      const found = await memory.readPrefix(prefix);
      return found.map(({ key, lease }) => ({ key, lease, revision: revisionOf('1') }));
    },
    removeIf: () => Promise.reject(new Error('It must not write')),
  });
  const inspect = async (_task: number, _version: string, ids: readonly ContainerId[]) =>
    ids.map((id) => ({ id, inspection: inspections.get(id) ?? { kind: 'down' as const } }));
  const pool = { list: async () => [...inspections.keys()].map((id) => ({ id })), inspect, late: { add: () => {} } };
  const sides = {
    ...{ config, registry, layout: layoutOf('/discover', 'default', 'h1') },
    docker: { negotiate: async () => ({ versionPrefix: '' }) },
    pool,
  } as unknown as Sides;
  const put = (key: string, value: string, lease: LeaseId = noLease) => registry.store.apply([{ key, value }], lease);
  return { sides, registry, put };
}

const key = '/discover/service/web/default/h1/aaaaaaaaaaaa';
const record = '/discover/host/h1/aaaaaaaaaaaa';
const url = 'tcp://10.0.0.5:49153';

describe('discover plan (simulated Docker, registry in memory)', () => {
  test('on a new host it puts the keys, and names what is not published', async () => {
    const { sides } = await stage(
      new Map<ContainerId, Inspection>([
        [idOf('a'), web],
        [idOf('b'), sick],
        [idOf('c'), { kind: 'failed', detail: 'timeout' }],
      ]),
    );
    assert.deepEqual(printedPlan('h1', await compare(sides), 'table', false).split('\n'), [
      `+ ${key} = ${url}`,
      `+ ${record} = {"web":"${key}"}`,
      '! aaaaaaaaaaaa stats:8125/udp: 8125/udp is not published (not-published)',
      '! bbbbbbbbbbbb: Its health check fails (unhealthy)',
      '? cccccccccccc: timeout',
      'No process writes for this host; 3 containers run, and etcd should hold 2 keys of them',
      'Plan: 2 to put, 0 to replace, 0 to delete, 2 not published, 1 unknown, because they cannot be inspected. Nothing was written',
      '',
    ]);
  });

  test('a key without a lease is put on the lease, also if its value is the same, and one of a container that is gone is deleted', async () => {
    const { sides, put } = await stage(new Map([[idOf('a'), web]]));
    put(key, url);
    put('/discover/service/web/blue/h1/bbbbbbbbbbbb', url);
    put('/discover/service/web/blue/h2/bbbbbbbbbbbb', url);
    const text = printedPlan('h1', await compare(sides), 'table', false);
    assert.match(text, new RegExp(`^~ ${key} = ${url} \\(not on the owner's lease\\)$`, 'm'));
    assert.match(text, /^- \/discover\/service\/web\/blue\/h1\/bbbbbbbbbbbb /m);
    assert.doesNotMatch(text, /h2/);
  });

  test('where everything is as it should be, only the owner key may be written, and that is no difference', async () => {
    const { sides, registry, put } = await stage(new Map([[idOf('a'), web]]));
    const lease = await registry.grant(60);
    put(key, url, lease);
    put(record, JSON.stringify({ web: key }), lease);
    put('/discover/owner/h1', JSON.stringify({ lease, version: '1.0.0', started: 'then', released: true }), lease);
    const found = await compare(sides);
    const { exact, steps } = JSON.parse(printedPlan('h1', found, 'json', false)) as { exact: boolean; steps: object[] };
    assert.deepEqual([exact, steps], [true, [{ action: 'claim', key: '/discover/owner/h1' }]]);
    const text = printedPlan('h1', found, 'table', true);
    assert.match(text, /^discover 1\.0\.0 since then wrote for this host and has stopped; 1 containers run/m);
    assert.match(printedPlan('h1', found, 'env', false), /^PLAN_EXACT='true'\nPLAN_HOST='h1'\nPLAN_PUT='0'/);
    put(key, 'tcp://192.0.2.1:1', lease);
    assert.match(printedPlan('h1', await compare(sides), 'table', false), /^~ .* \(now tcp:\/\/192\.0\.2\.1:1\)$/m);
  });
});
