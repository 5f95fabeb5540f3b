/** Views beside the native keys: one transaction, one lease, and switched on and off without a trace elsewhere. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { forkEngine } from '../../bench/engine/client.ts';
import type { Entry } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, type Host, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const roots = ['/skydns/', 'discover/grpc/', '/services/', 'traefik/', '/custom/'];
const all = [
  ...['--views.skydns', 'discover.local', '--views.grpc', 'discover/grpc', '--views.registrator', '/services'],
  ...[
    '--views.traefik',
    'traefik',
    '--views.custom',
    '/custom/{{name}}/{{id}}-{{privatePort}}-{{protocol}} = {{address}}',
  ],
];
const container = {
  env: ['DISCOVER=web:80, dns:53/udp'],
  ports: [{ container: '80/tcp' }, { container: '53/udp' }],
};
/** Per root: web is tcp, and dns is udp, of which gRPC knows nothing. */
const entriesOf = [4, 1, 2, 2, 2];

const isView = (key: string): boolean => roots.some((root) => key.startsWith(root));
const isNative = (key: string): boolean =>
  /^\/discover\/(service|host)\/.*\/[0-9a-f]{12}$/.test(key) && !/\/h1x\//.test(key);

async function written(host: Host): Promise<{ views: Entry[]; natives: Entry[] }> {
  const entries = (await host.etcd.entries('')).filter(({ key }) => !key.startsWith('/discoverx/'));
  return { views: entries.filter(({ key }) => isView(key)), natives: entries.filter(({ key }) => isNative(key)) };
}

const counts = (entries: readonly Entry[]): number[] =>
  roots.map((root) => entries.filter(({ key }) => key.startsWith(root)).length);

/** As gRPC's naming, CoreDNS, readers of registrator and Traefik look for `web` in the realm `default`. */
const reader = `
import json, re, sys, etcd3
client = etcd3.client(host=sys.argv[1], port=int(sys.argv[2]))
def below(prefix):
    return [(meta.key.decode(), value.decode()) for value, meta in client.get_prefix(prefix)]
def naming(target):
    updates = [json.loads(value) for _, value in below(target + '/')]
    return [update['Addr'] for update in updates if update['Op'] == 0 and update['Metadata'] is None]
def srv(name):
    records = [json.loads(value) for _, value in below('/skydns/' + '/'.join(reversed(name.split('.'))) + '/')]
    assert all(isinstance(record['ttl'], int) and isinstance(record['port'], int) for record in records)
    return ['%s:%d' % (record['host'], record['port']) for record in records]
def servers(service):
    leaves = below('traefik/http/services/%s/loadbalancer/servers/' % service)
    assert all(re.search(r'/servers/[0-9]+/url$', key) for key, _ in leaves)
    return [value.replace('http://', '') for _, value in leaves]
print(json.dumps({
    'grpc': naming('discover/grpc/default/web:'),
    'skydns': srv('web.default.discover.local'),
    'rfc2782': srv('_web._tcp.default.discover.local'),
    'registrator': [value for _, value in below('/services/web/')],
    'traefik': servers('default-web'),
    'custom': [value for _, value in below('/custom/web/')],
}))`;

const restarted = async (host: Host, args: readonly string[]): Promise<void> => {
  await host.terminate();
  await host.launch(args);
};

describe('With views on, discover (simulated engine, real etcd)', { skip: needs('etcd', 'etcdctl') }, () => {
  test('writes a container to all of them in one revision, and takes it out of all in one', async () => {
    await using engine = await forkEngine({ containers: 0 });
    await using host = await startHost({ source: fromEngine(engine), args: all });
    await using everything = await host.etcd.record('');
    const ids = await engine.run([container]);
    const { views, natives } = await eventually(async () => {
      const found = await written(host);
      assert.deepEqual(counts(found.views), entriesOf);
      return found;
    });
    assert.equal(natives.length, 3);
    const [first] = natives;
    for (const { key, modRevision, lease } of [...views, ...natives]) {
      assert.deepEqual({ key, modRevision, lease }, { key, modRevision: first?.modRevision, lease: first?.lease });
    }
    await engine.apply('kill', ids);
    await eventually(async () => assert.deepEqual(await written(host), { views: [], natives: [] }));
    await everything.settled();
    const deletes = everything.changes.filter(({ kind, key }) => kind === 'delete' && (isView(key) || isNative(key)));
    assert.equal(deletes.length, views.length + natives.length);
    assert.equal(new Set(deletes.map(({ revision }) => revision)).size, 1);
  });

  testInFull(
    'switches each on and off at a restart, and leaves the native keys and the other views alone',
    async () => {
      await using engine = await forkEngine({ containers: 0 });
      await using host = await startHost({ source: fromEngine(engine) });
      await engine.run([container, container]);
      const native = await eventually(async () => {
        const { views, natives } = await written(host);
        assert.deepEqual([views.length, natives.length], [0, 6]);
        return natives;
      });
      const grpc = ['--views.grpc', 'discover/grpc'];
      await restarted(host, grpc);
      const first = await eventually(async () => {
        const { views, natives } = await written(host);
        assert.deepEqual(counts(views), [0, 2, 0, 0, 0]);
        assert.deepEqual(natives, native);
        return views;
      });
      await restarted(host, all);
      await eventually(async () => {
        const { views, natives } = await written(host);
        assert.deepEqual(
          counts(views),
          entriesOf.map((count) => 2 * count),
        );
        assert.deepEqual(
          views.filter(({ key }) => key.startsWith('discover/grpc/')),
          first,
        );
        assert.deepEqual(natives, native);
      });
      await restarted(host, grpc);
      await eventually(async () => assert.deepEqual(await written(host), { views: first, natives: native }));
      await restarted(host, []);
      await eventually(async () => assert.deepEqual(await written(host), { views: [], natives: native }));
    },
  );

  testInFull(
    'takes away what stood in them of containers that ended while it was away, and heals what was deleted',
    async () => {
      await using engine = await forkEngine({ containers: 0 });
      await using host = await startHost({ source: fromEngine(engine), args: [...all, '--resync', '1'] });
      const [gone = '', stays = ''] = await engine.run([container, container]);
      const each = entriesOf.map((count) => 2 * count);
      await eventually(async () => assert.deepEqual(counts((await written(host)).views), each));
      await host.terminate();
      await engine.apply('kill', [gone]);
      // Another TTL means another lease; what hangs on the old one is found all the same.
      await host.launch(['--etcd:ttl', '8']);
      await eventually(async () => {
        const { views, natives } = await written(host);
        assert.deepEqual(counts(views), entriesOf);
        assert.equal(new Set([...views, ...natives].map(({ lease }) => lease)).size, 1);
      });
      const { views } = await written(host);
      await host.etcd.ctl('del', '--prefix', '/skydns/');
      await eventually(async () => {
        const found = (await written(host)).views;
        assert.deepEqual(
          found.map(({ key }) => key),
          views.map(({ key }) => key),
        );
      });
      assert.ok(views.some(({ key }) => key.includes(stays.slice(0, 12))));
    },
  );

  test('is found by readers of each layout, in another language and with a client of its own (Python)', {
    skip: needs('/usr/bin/python3'),
  }, async () => {
    await using engine = await forkEngine({ containers: 0 });
    await using host = await startHost({ source: fromEngine(engine), args: all });
    await engine.run([container, container]);
    const each = entriesOf.map((count) => 2 * count);
    await eventually(async () => assert.deepEqual(counts((await written(host)).views), each));
    const { hostname, port } = new URL(host.etcd.endpoint);
    const { stdout } = await promisify(execFile)('/usr/bin/python3', ['-c', reader, hostname, port]);
    const addresses = [...(await host.held())].flatMap(([key, value]) =>
      /^\/discover\/service\/web\/.*\/[0-9a-f]{12}$/.test(key) ? String(value).replace('tcp://', '') : [],
    );
    assert.equal(addresses.length, 2);
    for (const [layout, found] of Object.entries(JSON.parse(stdout) as Record<string, string[]>)) {
      assert.deepEqual([...found].sort(), [...addresses].sort(), layout);
    }
  });

  test('counts their keys among those that fit into a transaction', async () => {
    await using engine = await forkEngine({ containers: 0 });
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    await host.launch(all);
    const ports = Array.from({ length: 60 }, (_, index) => 1000 + index);
    const env = [`DISCOVER=${ports.map((port) => `s${port}:${port}`).join()}`];
    await engine.run([{ env, ports: ports.map((port) => ({ container: `${port}/tcp` })) }]);
    // One native key and six others each, and the record: 18 times seven are 126.
    await eventually(async () => {
      const { views, natives } = await written(host);
      assert.deepEqual([views.length, natives.length], [108, 19]);
      assert.equal(new Set([...views, ...natives].map(({ modRevision }) => modRevision)).size, 1);
    });
    // Without views it has its sixty, with them 18 again: more changes than one transaction takes.
    await restarted(host, []);
    await eventually(async () =>
      assert.deepEqual(
        Object.values(await written(host)).map(({ length }) => length),
        [0, 61],
      ),
    );
    await restarted(host, all);
    await eventually(async () =>
      assert.deepEqual(
        Object.values(await written(host)).map(({ length }) => length),
        [108, 19],
      ),
    );
  });
});
