/** The reaper's decisions: which keys are a host's, who lives, how many may go, what is left alone. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { parseArguments } from '../../src/commands/arguments.ts';
import { resolveEtcd } from '../../src/config/resolve.ts';
import { readSources } from '../../src/config/sources.ts';
import { codeOf, problemText } from '../../src/errors.ts';
import { type Fleet, type KeyRevision, leaseIdOf, revisionOf } from '../../src/etcd/registry.ts';
import { hostOf } from '../../src/layout/keys.ts';
import { type HostKeys, readFleet, removeHost } from '../../src/reap/fleet.ts';
import { parseHosts } from '../../src/reap/living.ts';
import { type Plan, planReap, type Wish } from '../../src/reap/plan.ts';
import { asJson, asText } from '../../src/reap/report.ts';
import { readSettings, settingNames } from '../../src/reap/settings.ts';

const keyRevision = (key: string, lease = '0', revision = '1'): KeyRevision => ({
  key,
  lease: leaseIdOf(lease),
  revision: revisionOf(revision),
});

describe('the host of a key', () => {
  const cases: [key: string, host: string | undefined][] = [
    ['/p/service/web/blue/i-1/2a03efc597e9', 'i-1'],
    ['/p/service/web/blue/i-1/2a03efc597e9:53:udp', 'i-1'],
    ['/p/service/i-2/i-3/i-1/i-4', 'i-1'],
    ['/p/service/a/b/blue/i-1/2a03efc597e9', 'i-1'],
    ['/p/host/i-1/2a03efc597e9', 'i-1'],
    ['/p/owner/i-1', 'i-1'],
    ['/p/service/web/i-1/2a03efc597e9', undefined],
    ['/p/service/web/blue/i-1/', undefined],
    ['/p/service//blue/i-1/2a03efc597e9', undefined],
    ['/p/host/i-1', undefined],
    ['/p/host/i-1/a/b', undefined],
    ['/p/owner/i-1/x', undefined],
    ['/p/meta/web/blue/i-1/2a03efc597e9', 'i-1'],
    ['/p/metal/web/blue/i-1/2a03efc597e9', undefined],
    ['/p2/host/i-1/2a03efc597e9', undefined],
    ['/x/p/host/i-1/2a03efc597e9', undefined],
    ['/p', undefined],
  ];
  for (const [key, host] of cases) test(`of ${key} is ${host}`, () => assert.equal(hostOf('/p', key), host));
});

const leased = (host: string): [string, HostKeys] => [
  host,
  { owner: keyRevision(`/p/owner/${host}`, '7'), keys: [keyRevision(`/p/host/${host}/a`, '7')] },
];
const left = (host: string): [string, HostKeys] => [host, { keys: [keyRevision(`/p/host/${host}/a`)] }];
const nine = Array.from({ length: 9 }, (_, index) => leased(`live-${index}`));
const wish: Wish = { living: undefined, force: new Set(), maxPercent: 20, allowEmpty: false };
const planOf = (hosts: [string, HostKeys][], given: Partial<Wish> = {}): Plan =>
  planReap(new Map(hosts), { ...wish, ...given });
const goes = ({ reaped }: Plan): string[] => reaped.map(({ host, why }) => `${host}: ${why}`);

describe('by leases', () => {
  test('a host goes of which no key hangs on a lease', () =>
    assert.deepEqual(goes(planOf([...nine, left('i-1')])), ['i-1: no lease']));

  const living: [what: string, found: HostKeys][] = [
    [
      'whose owner key hangs on one',
      { owner: keyRevision('/p/owner/i-1', '7'), keys: [keyRevision('/p/host/i-1/a', '7')] },
    ],
    ['one of whose keys does', { keys: [keyRevision('/p/host/i-1/a'), keyRevision('/p/host/i-1/b', '7')] }],
  ];
  for (const [what, found] of living) {
    test(`a host stays ${what}`, () => assert.deepEqual(goes(planOf([...nine, ['i-1', found]])), []));
  }

  test('of a host that lives the keys go that are on no lease, and count for nothing', () => {
    const stray = keyRevision('/p/service/web/default/i-1/bbbbbbbbbbbb');
    const found = { owner: keyRevision('/p/owner/i-1', '7'), keys: [keyRevision('/p/host/i-1/a', '7'), stray] };
    for (const given of [{}, { living: new Set(['i-1']) }]) {
      const plan = planOf([['i-1', found]], { ...given, maxPercent: 0 });
      assert.equal(plan.refusal, undefined);
      assert.deepEqual(goes(plan), ['i-1: key without lease']);
      assert.deepEqual(plan.reaped[0]?.found.keys, [stray]);
    }
  });

  test('an owner key that hangs on none speaks for nobody', () => {
    const found = { owner: keyRevision('/p/owner/i-1'), keys: [keyRevision('/p/host/i-1/a')] };
    assert.deepEqual(goes(planOf([...nine, ['i-1', found]])), ['i-1: no lease']);
  });

  test('a host that has nothing but an owner key has nothing to lose', () =>
    assert.deepEqual(goes(planOf([...nine, ['i-1', { owner: keyRevision('/p/owner/i-1'), keys: [] }]])), []));
});

describe('by a list', () => {
  const living = new Set(['i-1', 'other']);

  test('a host goes that is not in it, by its whole name, though nobody holds a lease', () => {
    const plan = planOf([left('i-1'), left('i-12'), left('i-')], { living, maxPercent: 100 });
    assert.deepEqual([goes(plan), plan.refusal], [['i-12: not in the list', 'i-: not in the list'], undefined]);
  });

  test('a host stays that it leaves out while an owner speaks for it', () => {
    const plan = planOf([left('i-1'), leased('i-2')], { living });
    assert.deepEqual([goes(plan), plan.kept], [[], ['i-2']]);
  });

  test('a host that it leaves out goes with keys on a lease, where no owner is', () => {
    const plan = planOf([['i-2', { keys: [keyRevision('/p/host/i-2/a', '7')] }]], { living });
    assert.deepEqual(goes(plan), ['i-2: not in the list']);
  });
});

describe('force', () => {
  test('goes before list and owner, and does not count against the limit', () => {
    const given = { living: new Set(['i-1']), force: new Set(['i-1', 'i-2', 'none']), maxPercent: 0 };
    const plan = planOf([left('i-1'), leased('i-2')], given);
    assert.deepEqual([goes(plan), plan.kept, plan.refusal], [['i-1: forced', 'i-2: forced'], [], undefined]);
  });

  test('does not make an empty list believed', () =>
    assert.match(planOf([left('i-1')], { living: new Set(), force: new Set(['i-1']) }).refusal ?? '', /empty/));
});

describe('how much may go', () => {
  const gone = (count: number) => Array.from({ length: count }, (_, index) => left(`gone-${index}`));
  const cases: [hosts: [string, HostKeys][], maxPercent: number, refusal: RegExp | undefined][] = [
    [[...nine, ...gone(2)], 20, undefined],
    [[...nine, ...gone(3)], 20, undefined],
    [[...nine, ...gone(4)], 20, /^4 of 13 hosts would go and --max-percent 20 allows 3:/],
    [[...nine, ...gone(4)], 31, undefined],
    [[...nine.slice(0, 1), ...gone(1)], 20, undefined],
    [[...nine, ...gone(1)], 0, /^1 of 10 hosts .* allows 0:/],
    [[...nine.slice(0, 1), ...gone(9)], 100, undefined],
    [nine, 0, undefined],
  ];
  for (const [hosts, maxPercent, refusal] of cases) {
    const count = hosts.length - hosts.filter(([host]) => host.startsWith('live')).length;
    test(`${count} of ${hosts.length} at ${maxPercent} % is ${refusal ? 'too much' : 'right'}`, () => {
      const plan = planOf(hosts, { maxPercent });
      assert.equal(plan.reaped.length, count);
      if (refusal) assert.match(plan.refusal ?? '', refusal);
      else assert.equal(plan.refusal, undefined);
    });
  }

  test('nobody alive is not believed, by leases or by a list, unless told to', () => {
    const hosts = [left('i-1')];
    assert.match(planOf(hosts).refusal ?? '', /^no host holds a lease: .*--allow-empty/);
    assert.match(planOf(hosts, { living: new Set() }).refusal ?? '', /^the list of living hosts is empty: /);
    assert.equal(planOf(hosts, { allowEmpty: true }).refusal, undefined);
    assert.equal(planOf([], { living: new Set() }).refusal, undefined);
  });
});

/** An etcd of a few lines. `before` comes between the wish to delete and the deed. */
function fleetOf(keyRevisions: Map<string, KeyRevision>, before: (times: number) => void = () => {}): Fleet {
  let times = 0;
  return {
    keyRevisions: async (prefix) => [...keyRevisions.values()].filter(({ key }) => key.startsWith(prefix)),
    putIf: () => Promise.reject(new Error('It must not write')),
    removeIf: async (unchanged, keys) => {
      before(times++);
      if (unchanged.some(({ key, revision }) => (keyRevisions.get(key)?.revision ?? '0') !== revision)) return false;
      for (const key of keys) keyRevisions.delete(key);
      return true;
    },
  };
}

describe('taking away', () => {
  const written = (count: number): Map<string, KeyRevision> => {
    const keys = Array.from({ length: count }, (_, index) => `/p/host/i-1/${String(index).padStart(12, '0')}`);
    return new Map(
      [...keys, '/p/host/i-12/a', '/p/meta/i-1', '/p/service/i-1/i-1'].map((key) => [key, keyRevision(key)]),
    );
  };
  const remove = async (fleet: Fleet, isForced = false): Promise<number[]> => {
    const found = (await readFleet(fleet, '/p')).get('i-1');
    const sizes: number[] = [];
    for await (const keys of removeHost(fleet, '/p/owner/i-1', found as HostKeys, isForced)) sizes.push(keys.length);
    return sizes;
  };

  test('goes in transactions of at most 127 keys, and leaves everything else (registry of a few lines)', async () => {
    const keyRevisions = written(300);
    assert.deepEqual(await remove(fleetOf(keyRevisions)), [127, 127, 46]);
    assert.deepEqual([...keyRevisions.keys()], ['/p/host/i-12/a', '/p/meta/i-1', '/p/service/i-1/i-1']);
  });

  test('ends where a key has been written meanwhile (registry of a few lines)', async () => {
    const keyRevisions = written(300);
    const key = '/p/host/i-1/000000000200';
    const fleet = fleetOf(keyRevisions, (times) => times === 1 && keyRevisions.set(key, keyRevision(key, '0', '9')));
    assert.deepEqual(await remove(fleet), [127]);
    assert.equal(keyRevisions.size, 173 + 3);
  });

  test('ends where an owner has come meanwhile, unless forced (registry of a few lines)', async () => {
    const owner = keyRevision('/p/owner/i-1', '7', '9');
    for (const isForced of [false, true]) {
      const keyRevisions = written(200);
      const fleet = fleetOf(keyRevisions, (times) => times === 1 && keyRevisions.set(owner.key, owner));
      assert.deepEqual(await remove(fleet, isForced), isForced ? [127, 73] : [127]);
    }
  });

  test('goes with an owner key that speaks for nobody, and stays as it was (registry of a few lines)', async () => {
    const keyRevisions = written(3);
    keyRevisions.set('/p/owner/i-1', keyRevision('/p/owner/i-1', '0', '5'));
    assert.deepEqual(await remove(fleetOf(keyRevisions)), [3]);
    assert.ok(keyRevisions.has('/p/owner/i-1'));
  });

  test('does nothing where the owner key is another than was seen (registry of a few lines)', async () => {
    const keyRevisions = written(3);
    keyRevisions.set('/p/owner/i-1', keyRevision('/p/owner/i-1', '0', '5'));
    const fleet = fleetOf(keyRevisions, () => keyRevisions.set('/p/owner/i-1', keyRevision('/p/owner/i-1', '7', '9')));
    assert.deepEqual(await remove(fleet), []);
    assert.equal(keyRevisions.size, 7);
  });
});

describe('a list of hosts', () => {
  const cases: [text: string, hosts: string[]][] = [
    ['i-1\ni-2\n', ['i-1', 'i-2']],
    ['i-1\r\n\r\n  i-2  ', ['i-1', 'i-2']],
    ['["i-1", "i-2"]', ['i-1', 'i-2']],
    ['\n[\n"i-1"\n]\n', ['i-1']],
    ['i-1\ni-1', ['i-1']],
    ['', []],
    ['\n \n', []],
    ['[]', []],
  ];
  for (const [text, hosts] of cases) {
    test(`${JSON.stringify(text)} is ${hosts.join() || 'empty'}`, () =>
      assert.deepEqual([...parseHosts(text, 'x')], hosts));
  }

  const wrong: [text: string, said: RegExp][] = [
    ['i-1\ni 2', /host id must be .*, got "i 2"/],
    ['<html>\n</html>', /host id must be .*without slash.*<\/html>/],
    ['i-1 # the first', /host id must be/],
    ['["i-1", 2]', /host id must be .*, got 2/],
    ['[""]', /host id must be .*, got ""/],
    ['[{"host": "i-1"}]', /host id must be/],
    ['["i-1"', /begins like a JSON array but is not valid JSON/],
    [`${'x'.repeat(256)}`, /1 to 255 bytes/],
  ];
  for (const [text, said] of wrong) {
    test(`${JSON.stringify(text).slice(0, 40)} is refused as a whole`, () =>
      assert.throws(
        () => parseHosts(text, 'x'),
        (error: Error) => codeOf(error) === 'LIST_INVALID' && said.test(error.message),
      ));
  }
});

describe('the file of the original', () => {
  const directory = mkdtempSync(join(tmpdir(), 'discover-reap-'));
  after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'reap.json');
  const read = (content: object, mode = 0o600): ReturnType<typeof readSettings> => {
    writeFileSync(file, JSON.stringify(content));
    chmodSync(file, mode);
    return readSettings(readSources({ file, others: settingNames }));
  };
  const whole = {
    accounts: [['AKIDEXAMPLE', 'canary']],
    filters: { 'instance-state-name': 'running', 'tag:role': ['web', 'db'] },
    dryRun: true,
    force: ['i-1'],
    regions: ['us-west-1'],
    etcd: { prefix: 'discover', host: '127.0.0.1', port: 4001 },
  };

  test("is read as it is: what it says of etcd are options, the rest is the reaper's", () => {
    const { settings, warnings } = read(whole);
    const { etcd, ...rest } = whole;
    assert.deepEqual([settings, warnings], [rest, []]);
    const layers = readSources({ file, others: settingNames, argv: { 'etcd.port': '2379' } });
    assert.deepEqual(layers.problems, []);
    assert.deepEqual(resolveEtcd(layers).etcd.endpoints, ['http://127.0.0.1:2379']);
    assert.equal(resolveEtcd(layers).etcd.prefix, `/${etcd.prefix}`);
  });

  test("that holds keys should be its owner's alone, and is none of the agent's", () => {
    assert.match(read(whole, 0o640).warnings.map(problemText).join(), /reap\.json holds keys and others may read it/);
    assert.deepEqual(read({ regions: ['x'] }, 0o644).warnings, []);
    assert.match(readSources({ file }).problems.map(problemText).join('\n'), /^regions \(file .*\) is not an option/);
  });

  test('with mistakes is refused, all of them named and no key shown', () => {
    const wrong = { accounts: ['canary'], filters: 'canary', dryRun: 'no', force: 'i-1', regions: [1] };
    assert.throws(
      () => read(wrong),
      (error: Error) => {
        assert.equal(codeOf(error), 'CONFIG_INVALID');
        for (const name of settingNames) assert.match(error.message, new RegExp(`\\n  ${name} must be `));
        return !error.message.includes('canary');
      },
    );
  });
});

describe('the command line', () => {
  const flagsOf = async (...argv: string[]) => (await parseArguments(['reap', ...argv])).flags;

  test('has the names of the original, beside those of the configuration', async () => {
    const argv = ['-n', '-H', 'a', '-P', '4001', '-p', 'x', '-c', 'reap.json', '--force', 'i-1', '--force=i-2,i-3'];
    const { flags, options, configFile } = await parseArguments(['reap', ...argv]);
    assert.deepEqual(flags, { 'dry-run': true, force: ['i-1', 'i-2', 'i-3'] });
    assert.deepEqual(options, { 'etcd.host': 'a', 'etcd.port': '4001', 'etcd.prefix': 'x' });
    assert.equal(configFile, 'reap.json');
    const long = await parseArguments(['reap', '--host=a', '--port', '4001', '--prefix', 'x']);
    assert.deepEqual(long.options, options);
  });

  test('says no to a dry run in one way only', async () => {
    assert.deepEqual(await flagsOf('--no-dry-run'), { 'dry-run': false });
    assert.deepEqual(await flagsOf('--dry-run=false'), { 'dry-run': false });
    await assert.rejects(flagsOf('--yes'), /--yes (?:is not an option|belongs to discover init)/);
  });

  const wrong: [argv: string[], said: RegExp][] = [
    [['--source', 'consul'], /--source must be lease or ec2 or file or stdin, got "consul"/],
    [['--max-percent', '101'], /--max-percent must be an integer from 0 to 100, got "101"/],
    [['--max-percent', '-1'], /--max-percent must be an integer from 0 to 100, got "-1"/],
    [['--max-percent'], /--max-percent must be an integer/],
    [['--force', 'i-1,'], /--force must be text that is not empty/],
    [['--force'], /--force must be text that is not empty/],
    [['--no-force'], /--force must be text/],
    [['--file', ''], /--file must be text that is not empty/],
    [['i-1'], /unexpected argument "i-1"/],
  ];
  for (const [argv, said] of wrong) {
    test(`${argv.join(' ')} is refused`, async () => assert.rejects(flagsOf(...argv), said));
  }
});

describe('the report', () => {
  const plan = planOf([
    ...nine,
    ['i-1', { keys: [keyRevision('/p/host/i-1/a'), keyRevision('/p/host/i-1/\u001b[2J')] }],
  ]);
  const report = { plan, source: 'lease', isDryRun: true, deleted: new Map<string, string[]>() };

  test('of a dry run names every key that would go, and spells out what would steer a terminal', () =>
    assert.deepEqual(asText(report).split('\n'), [
      'i-1: no lease',
      '  would delete /p/host/i-1/a',
      '  would delete /p/host/i-1/\\u001b[2J',
      '2 keys of 1 of 10 hosts would be deleted; --no-dry-run deletes them',
    ]));

  test('tells what was deleted from what was left', () => {
    const deleted = new Map([['i-1', ['/p/host/i-1/a']]]);
    const lines = asText({ ...report, isDryRun: false, deleted }).split('\n');
    assert.deepEqual(lines.slice(1), [
      '  deleted /p/host/i-1/a',
      '  left /p/host/i-1/\\u001b[2J',
      'Deleted 1 of 2 keys, of 1 of 10 hosts',
    ]);
    const [row] = (JSON.parse(asJson({ ...report, isDryRun: false, deleted })) as { reaped: object[] }).reaped;
    assert.deepEqual(row, {
      host: 'i-1',
      why: 'no lease',
      keys: ['/p/host/i-1/a', '/p/host/i-1/\u001b[2J'],
      deleted: ['/p/host/i-1/a'],
    });
  });
});
