/** `discover migrate`: what becomes of the keys of the original and of registrator, and what is left. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { codeOf } from '../../src/errors.ts';
import { type Fleet, type KeyRevision, noLease, type Registry, revisionOf } from '../../src/etcd/registry.ts';
import { check, write } from '../../src/migrate/apply.ts';
import { type Entry, readExport } from '../../src/migrate/export.ts';
import { planMigration, type Settings } from '../../src/migrate/plan.ts';
import { runCommand } from '../helpers/command.ts';

const key = '/discover/service/web/blue/i-1/2a03efc597e9';
const url = 'tcp://10.0.0.5:49153';
const base64 = (text: string): string => Buffer.from(text).toString('base64');

describe('an export', () => {
  const v2 = {
    action: 'get',
    node: {
      key: '/discover',
      dir: true,
      nodes: [
        { key: '/discover/service', dir: true, nodes: [{ key, value: url, modifiedIndex: 7 }] },
        { key: '/discover/empty', dir: true },
      ],
    },
  };
  const cases: Record<string, [text: string, entries: Entry[]]> = {
    'of etcd v2': [JSON.stringify(v2), [{ key, value: url }]],
    'of etcdctl 3': [
      JSON.stringify({ header: {}, kvs: [{ key: base64(key), value: base64(url) }, { key: base64('/x') }] }),
      [
        { key, value: url },
        { key: '/x', value: '' },
      ],
    ],
    'of etcdctl 3 without a key': ['{"header":{"revision":1},"count":0}', []],
    'with a list': [JSON.stringify([{ key, value: url }]), [{ key, value: url }]],
    'with a line for each': [
      `{"key":"${key}","value":"${url}"}\n\n{"key":"/b","value":"2"}\n`,
      [
        { key, value: url },
        { key: '/b', value: '2' },
      ],
    ],
    'that is empty': ['', []],
  };
  for (const [name, [text, entries]] of Object.entries(cases)) {
    test(`${name} is read`, () => assert.deepEqual(readExport(text, 'x'), entries));
  }
  for (const text of ['<html>', '{"key":1}', '[{"value":"x"}]', '{"a":', `${key}\n${url}`]) {
    test(`${JSON.stringify(text)} is refused, with the forms that are read`, () => {
      const isRefused = (error: unknown): boolean =>
        codeOf(error) === 'LIST_INVALID' && /Cannot read x: must hold an answer of GET/.test(String(error));
      assert.throws(() => readExport(text, 'x'), isRefused);
    });
  }
});

const original: Settings = {
  from: 'original',
  tree: '/discover',
  prefix: '/discover',
  realm: 'default',
  hosts: new Map(),
};
const registrator: Settings = { ...original, from: 'registrator', tree: '/services' };
const planOf = (settings: Settings, ...pairs: [key: string, value: string][]) =>
  planMigration(
    pairs.map(([key, value]) => ({ key, value })),
    settings,
  );

describe('a migration', () => {
  test('of the original keeps keys and values, and writes the record of a container anew', () => {
    const other = '/discover/service/api/blue/i-1/2a03efc597e9';
    const { copied, left } = planOf(
      { ...original, prefix: '/new' },
      [key, url],
      [other, 'udp://10.0.0.5:5'],
      ['/discover/host/i-1/2a03efc597e9', '{"web":"discover/service/web/blue/i-1/2a03efc597e9"}'],
      ['/discover/host/i-1/bbbbbbbbbbbb', '{}'],
    );
    const [one, ...more] = copied;
    assert.deepEqual([more, left], [[], []]);
    assert.deepEqual([one?.host, one?.shortId, one?.from], ['i-1', '2a03efc597e9', [key, other]]);
    const [web, api] = [key, other].map((each) => each.replace('/discover', '/new'));
    assert.deepEqual(
      [...(one?.keys ?? [])].sort(),
      [
        ['/new/host/i-1/2a03efc597e9', JSON.stringify({ web, api })],
        [api, 'udp://10.0.0.5:5'],
        [web, url],
      ].sort(),
    );
  });

  test('of registrator names each instance by its host and container, in one realm, and keeps two ports apart', () => {
    const hosts = new Map([['h1', 'host-1']]);
    const { copied, left } = planOf(
      { ...registrator, realm: 'blue', hosts },
      ['/services/web/h1:web.1:8080', '10.0.0.5:49153'],
      ['/services/web/h1:web.1:8081', '10.0.0.5:49154'],
      ['/services/dns/h2:dns:53:udp', '[2001:db8::5]:53'],
    );
    assert.deepEqual(left, []);
    const [web, dns] = copied;
    assert.match(web?.shortId ?? '', /^[0-9a-f]{12}$/);
    const plain = `/discover/service/web/blue/host-1/${web?.shortId}`;
    assert.deepEqual(
      [...(web?.keys ?? [])],
      [
        [plain, 'tcp://10.0.0.5:49153'],
        [`${plain}:8081`, 'tcp://10.0.0.5:49154'],
        [`/discover/host/host-1/${web?.shortId}`, JSON.stringify({ web: plain })],
      ],
    );
    assert.equal(dns?.keys.get(`/discover/service/dns/blue/h2/${dns.shortId}`), 'udp://[2001:db8::5]:53');
  });

  const leaves: [settings: Settings, key: string, value: string, reason: RegExp][] = [
    [original, '/elsewhere/x', url, /^is not below \/discover$/],
    [original, '/discover/service/a/b/blue/i-1/2a03efc597e9', url, /^must be \/discover\/service\/<name>/],
    [original, key, 'web.example.com:80', /^must be .* with <protocol>:\/\/<ip>:<port>$/],
    [original, '/discover/settings', 'x', /^must be /],
    [registrator, '/services/web/my-id', '10.0.0.5:1', /SERVICE_ID/],
    [registrator, '/services/a b/h1:c:80', '10.0.0.5:1', /^"a b" is not allowed as a name$/],
    [registrator, '/services/web/h 1:c:80', '10.0.0.5:1', /^"h 1" is not allowed as the id of a host$/],
    [registrator, '/services/web/h1:c:80', 'localhost:1', /^must hold <ip>:<port>, got "localhost:1"$/],
    [registrator, '/services/web/h1:c:80', '10.0.0.5:70000', /^must hold <ip>:<port>/],
  ];
  for (const [settings, foreign, value, reason] of leaves) {
    test(`leaves ${foreign} with ${value}, and says why`, () => {
      const { copied, left } = planOf(settings, [foreign, value], ['/services/ok/h1:c:80', '10.0.0.5:1']);
      assert.equal(copied.length, settings === registrator ? 1 : 0);
      assert.equal(left[0]?.key, foreign);
      assert.match(left[0]?.reason ?? '', reason);
    });
  }
});

describe('what etcd holds (registry in memory)', () => {
  /** `meanwhile`: what another program writes between the check and the first transaction. */
  function stage(keys: Map<string, string>, meanwhile: () => void = () => {}) {
    let isFirst = true;
    return {
      async keyRevisions(prefix: string): Promise<KeyRevision[]> {
        const names = [...keys.keys()].filter((one) => one.startsWith(prefix));
        return names.map((one) => ({ key: one, lease: noLease, revision: revisionOf('1') }));
      },
      async readKeys(wanted: readonly string[]) {
        return wanted.flatMap((one) => (keys.has(one) ? { key: one, value: keys.get(one) ?? '', lease: noLease } : []));
      },
      async putIf(unchanged, changes) {
        if (isFirst) meanwhile();
        isFirst = false;
        if (unchanged.some((one) => keys.has(one.key))) return false;
        for (const { key: one, value = '' } of changes) keys.set(one, value);
        return true;
      },
    } satisfies Pick<Registry & Fleet, 'keyRevisions' | 'readKeys' | 'putIf'>;
  }
  const written = async (registry: ReturnType<typeof stage>, puts: Awaited<ReturnType<typeof check>>['puts']) => {
    const all: string[] = [];
    for await (const some of write(puts, registry, '/discover', noLease)) all.push(...some);
    return all;
  };
  const plan = planOf(
    registrator,
    ['/services/web/h1:a:80', '10.0.0.5:1'],
    ['/services/web/h1:b:80', '10.0.0.5:2'],
    ['/services/web/h2:a:80', '10.0.0.6:1'],
  );
  const [a, b] = plan.copied.map(({ keys }) => [...keys.keys()][0] ?? '');

  test('only what is not there is written; a second run finds it there', async () => {
    const keys = new Map([['/discover/owner/h2', '{}']]);
    const registry = stage(keys);
    const first = await check(plan, registry, '/discover');
    assert.deepEqual(first.left, [
      { key: '/services/web/h2:a:80', reason: 'an agent writes for h2, and writes its keys itself' },
    ]);
    assert.equal((await written(registry, first.puts)).length, 4);
    assert.equal(keys.get(a ?? ''), 'tcp://10.0.0.5:1');
    const second = await check(plan, registry, '/discover');
    assert.deepEqual([second.puts, second.there.length], [[], 4]);
  });

  test('a key with another value is not touched, and none of its container is written', async () => {
    const keys = new Map([[a ?? '', 'tcp://192.0.2.1:1']]);
    const { puts, left } = await check(plan, stage(keys), '/discover');
    assert.deepEqual(left, [
      { key: '/services/web/h1:a:80', reason: `${a} is there with another value, which is not touched` },
    ]);
    assert.deepEqual(
      puts.map(({ from }) => from[0]),
      ['/services/web/h1:b:80', '/services/web/h2:a:80'],
    );
  });

  test('a key that another program writes meanwhile is not touched, and the other containers are written', async () => {
    const keys = new Map<string, string>();
    const registry = stage(keys, () => keys.set(a ?? '', 'foreign'));
    const { puts } = await check(plan, registry, '/discover');
    assert.equal((await written(registry, puts)).length, 4);
    assert.deepEqual([keys.get(a ?? ''), keys.get(b ?? '')], ['foreign', 'tcp://10.0.0.5:2']);
  });
});

describe('the command line', () => {
  const cases: [args: string[], message: RegExp][] = [
    [[], /--from must be original or registrator/],
    [['--from', 'registrator'], /--tree must be a path of etcd, such as \/services/],
    [['--from', 'registrator', '--tree', 'services'], /--tree must be .*, got "services"/],
    [['--from', 'original', '--ttl', '0'], /--ttl must be at least 1/],
    [['--from', 'original', '--host-id', 'a'], /--host-id must be <old>=<new>, got "a"/],
  ];
  for (const [args, message] of cases) {
    test(`migrate ${args.join(' ')} is refused`, async () => {
      const { code, err } = await runCommand(['migrate', ...args]);
      assert.equal(code, 78);
      assert.match(err, message);
    });
  }
  test('an export that cannot be read ends with 65, before etcd is asked', async () => {
    const outcomes = await Promise.all([
      runCommand(['migrate', '--from', 'original', '--file', '/nowhere.json']),
      runCommand(['migrate', '--from', 'original', '--file', fileURLToPath(import.meta.url)]),
    ]);
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      [65, 65],
    );
    assert.match(outcomes[1]?.err ?? '', /Cannot read .*migrate\.test\.ts: must hold/);
  });
});
