/** What a reader makes of keys and values: instances, sets, differences. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Catalogue, differenceOf } from '../../src/client/catalogue.ts';
import type { Service } from '../../src/container/container.ts';
import { parseInstance } from '../../src/layout/instance.ts';
import { keysOf, layoutOf, servicePrefixOf } from '../../src/layout/keys.ts';

const below = servicePrefixOf('/discover');
const key = (tail: string): string => below + tail;
const put = (tail: string, value = 'tcp://10.0.0.5:80') => ({ key: key(tail), value });
const gone = (tail: string) => ({ key: key(tail), value: undefined });
const meta = (tail: string, value: string | undefined) => ({ key: `/discover/meta/${tail}`, value });
/** A reading, in parts. */
function read(
  catalogue: Catalogue,
  found: readonly { readonly key: string; readonly value: string | undefined }[],
): void {
  catalogue.begin();
  for (const one of found) catalogue.add([one]);
  catalogue.adopt();
}
const [a, b] = ['web/prod/h1/aaaaaaaaaaaa', 'web/prod/h1/bbbbbbbbbbbb'];

const said = (state: string, url?: string) => JSON.stringify({ privatePort: 80, state, url });
const withheldUrl = 'tcp://10.0.0.5:81';

test('select with states has what is withheld, and without them only what has a key', () => {
  const catalogue = new Catalogue('/discover');
  const all = (selector = {}) => catalogue.select('web', { ...selector, states: true });
  read(catalogue, [meta(a, said('ready')), meta(b, said('draining', withheldUrl)), put(a)]);
  const [ready] = catalogue.select('web', {});
  assert.deepEqual([ready?.state, catalogue.select('web', {}).length], ['ready', 1]);
  const [first, second] = all();
  assert.equal(first, ready);
  assert.deepEqual([second?.state, second?.url, second?.key], ['draining', withheldUrl, key(b)]);
  assert.equal(all(), all(), 'the same array until something changes');
  assert.equal(all({ realm: 'other' }).length, 0);
  assert.deepEqual([...catalogue.counts({ states: true })], [['web', 2]]);
  assert.deepEqual([...catalogue.counts({})], [['web', 1]]);
});

test('select with states follows a container from starting to its end', () => {
  const catalogue = new Catalogue('/discover');
  const states = () => catalogue.select('web', { states: true }).map(({ state }) => state);
  read(catalogue, []);
  assert.deepEqual(states(), []);
  catalogue.apply([meta(a, said('starting', withheldUrl))]);
  assert.deepEqual(states(), ['starting']);
  catalogue.apply([put(a, withheldUrl), meta(a, said('ready'))]);
  assert.deepEqual(states(), ['ready']);
  // The watch of the service keys is ahead of that of the metas: its last state is not its state now.
  catalogue.apply([gone(a)]);
  assert.deepEqual(states(), []);
  catalogue.apply([meta(a, said('draining', withheldUrl))]);
  assert.deepEqual(states(), ['draining']);
  const [before] = catalogue.select('web', { states: true });
  read(catalogue, [meta(a, said('draining', withheldUrl))]);
  assert.equal(catalogue.select('web', { states: true })[0], before, 'the same object after another reading');
  catalogue.apply([meta(a, undefined)]);
  assert.deepEqual(states(), []);
});

test('a meta without a key is no instance unless it tells a state and an address', () => {
  const catalogue = new Catalogue('/discover');
  const odd = ['{}', 'no json', said('draining'), said('draining', 'nowhere'), said('ready', withheldUrl), 'null'];
  read(
    catalogue,
    odd.map((value, index) => meta(`web/prod/h1/00000000000${index}`, value)),
  );
  assert.deepEqual(catalogue.select('web', { states: true }), []);
});

test('parseInstance takes apart every key that the agent makes, and no record', () => {
  const offers: Service[] = [
    { name: 'web', privatePort: 80, protocol: 'tcp', address: '10.0.0.5', port: 32_768 },
    { name: 'web', privatePort: 81, protocol: 'tcp', address: '2001:db8::5', port: 32_769 },
    { name: 'web', privatePort: 82, protocol: 'udp', address: '10.0.0.5', port: 32_770 },
    { name: 'a%20b', privatePort: 80, protocol: 'sctp', address: '10.0.0.5', port: 1 },
  ];
  const keys = keysOf(layoutOf('/discover', 'prod', 'h1'), 'aaaaaaaaaaaa', offers);
  const read = [...keys].flatMap(([name, value]) => parseInstance(below, name, value) ?? []);
  const common = { realm: 'prod', host: 'h1', containerId: 'aaaaaaaaaaaa' };
  const plain = key('web/prod/h1/aaaaaaaaaaaa');
  assert.deepEqual(read, [
    {
      ...common,
      name: 'web',
      protocol: 'tcp',
      address: '10.0.0.5',
      port: 32_768,
      url: 'tcp://10.0.0.5:32768',
      key: plain,
    },
    {
      ...common,
      name: 'web',
      protocol: 'tcp',
      address: '2001:db8::5',
      port: 32_769,
      url: 'tcp://[2001:db8::5]:32769',
      key: `${plain}:81`,
    },
    {
      ...common,
      name: 'web',
      protocol: 'udp',
      address: '10.0.0.5',
      port: 32_770,
      url: 'udp://10.0.0.5:32770',
      key: `${plain}:82:udp`,
    },
    {
      ...common,
      name: 'a%20b',
      protocol: 'sctp',
      address: '10.0.0.5',
      port: 1,
      url: 'sctp://10.0.0.5:1',
      key: key('a%20b/prod/h1/aaaaaaaaaaaa'),
    },
  ]);
});

test('parseInstance takes nothing else for an instance', () => {
  const good = 'tcp://10.0.0.5:80';
  const keys = [
    ...['', 'web', 'web/prod', 'web/prod/h1', 'web/prod/h1/', '/prod/h1/aaaaaaaaaaaa', 'web//h1/aaaaaaaaaaaa'],
    ...['web/prod/h1/aaaaaaaaaaa', 'web/prod/h1/aaaaaaaaaaaaa', 'web/prod/h1/AAAAAAAAAAAA', 'web/prod/h1/gggggggggggg'],
    ...[`${a}/more`, `${a}:`, `${a}:0`, `${a}:123456`, `${a}:80:`, `${a}:80:UDP`, `${a}:80:udp:x`, `${a}\n`],
  ];
  for (const tail of keys) assert.equal(parseInstance(below, key(tail), good), undefined, tail);
  const values = [
    ...['', '10.0.0.5:80', 'tcp://10.0.0.5', 'tcp://10.0.0.5:0', 'tcp://10.0.0.5:65536', 'tcp://10.0.0.5:080'],
    ...['tcp://2001:db8::5:80', 'tcp://[10.0.0.5]:80', 'tcp://[2001:db8::]', 'tcp://10.0.0:80', 'tcp://host:80'],
    ...['http://10.0.0.5:80', 'tcp://10.0.0.5:80/', 'tcp://10.0.0.5:80\n', '{"Op":0}', ' tcp://10.0.0.5:80'],
  ];
  for (const value of values) assert.equal(parseInstance(below, key(a), value), undefined, value);
  assert.equal(parseInstance(servicePrefixOf('/other'), key(a), good), undefined);
});

test('Catalogue gives the same set until its service changes, and never one that can be altered', () => {
  const catalogue = new Catalogue('/discover');
  catalogue.apply([put(a), put(b), put('db/prod/h1/aaaaaaaaaaaa')]);
  const set = catalogue.select('web', {});
  assert.deepEqual(
    set.map((one) => one.key),
    [key(a), key(b)],
  );
  catalogue.apply([put(a), put('db/prod/h1/bbbbbbbbbbbb'), gone('db/prod/h1/aaaaaaaaaaaa')]);
  assert.equal(catalogue.select('web', {}), set);
  assert.throws(() => (set as unknown[]).pop(), TypeError);
  catalogue.apply([gone(a)]);
  assert.deepEqual(
    catalogue.select('web', {}).map((one) => one.key),
    [key(b)],
  );
  assert.equal(set.length, 2);
});

test('Catalogue selects by realm and protocol, and counts the same', () => {
  const catalogue = new Catalogue('/discover');
  const udp = 'udp://10.0.0.5:53';
  catalogue.apply([put(a), put(`${a}:53:udp`, udp), put('web/test/h1/aaaaaaaaaaaa'), put('db/test/h1/aaaaaaaaaaaa')]);
  const lengths = [{}, { realm: 'prod' }, { protocol: 'udp' }, { realm: 'test', protocol: 'udp' }, { realm: 'pro' }];
  assert.deepEqual(
    lengths.map((selector) => catalogue.select('web', selector).length),
    [3, 2, 1, 0, 0],
  );
  assert.deepEqual(
    [...catalogue.counts({ realm: 'test' })],
    [
      ['web', 1],
      ['db', 1],
    ],
  );
  assert.deepEqual([...catalogue.counts({ protocol: 'udp' })], [['web', 1]]);
});

test('Catalogue takes an empty realm or protocol for one that nothing has, not for all', () => {
  for (const [realm, protocol] of [
    ['', undefined],
    [undefined, ''],
    ['', ''],
  ]) {
    const catalogue = new Catalogue('/discover');
    read(catalogue, [put(a)]);
    assert.equal(catalogue.select('web', {}).length, 1);
    assert.equal(catalogue.select('web', { realm, protocol }).length, 0, `${realm} ${protocol}`);
    assert.equal(catalogue.counts({ realm, protocol }).size, 0);
  }
});

test('Catalogue after a reading holds that and nothing else, and keeps the objects that are as they were', () => {
  const catalogue = new Catalogue('/discover');
  read(catalogue, [put(a), put(b), put('no/instance', 'x'), put('db/prod/h1/aaaaaaaaaaaa')]);
  const [first] = catalogue.select('web', {});
  read(catalogue, [put(a), put('web/prod/h1/cccccccccccc')]);
  assert.equal(catalogue.select('web', {})[0], first);
  assert.deepEqual(
    catalogue.select('web', {}).map((one) => one.containerId),
    ['aaaaaaaaaaaa', 'cccccccccccc'],
  );
  assert.deepEqual([...catalogue.counts({})], [['web', 2]]);
  assert.equal(catalogue.skipped, 0);
});

test('Catalogue counts what is no instance for as long as it is there', () => {
  const catalogue = new Catalogue('/discover');
  catalogue.apply([put(a), put(b, 'nonsense'), put('web', 'x')]);
  catalogue.apply([put(b, 'more nonsense')]);
  assert.equal(catalogue.skipped, 2);
  // A key that was an instance and is none any more is gone from its service.
  catalogue.apply([put(a, 'nonsense')]);
  assert.deepEqual([catalogue.skipped, catalogue.select('web', {}).length], [3, 0]);
  catalogue.apply([put(b), gone('web'), gone(a)]);
  assert.deepEqual([catalogue.skipped, catalogue.select('web', {}).length], [0, 1]);
});

test('differenceOf tells what was added, removed and changed', () => {
  const catalogue = new Catalogue('/discover');
  catalogue.apply([put(a), put(b)]);
  const before = catalogue.select('web', {});
  catalogue.apply([gone(a), put(b, 'tcp://10.0.0.5:81'), put('web/prod/h1/cccccccccccc')]);
  const { added, removed, changed } = differenceOf(before, catalogue.select('web', {}));
  assert.deepEqual(
    added.map((one) => one.containerId),
    ['cccccccccccc'],
  );
  assert.deepEqual(removed, [before[0]]);
  assert.deepEqual(
    changed.map((one) => one.port),
    [81],
  );
});

test('Catalogue puts a meta to its instance, wherever it came first, and takes it away', () => {
  const catalogue = new Catalogue('/discover');
  const [one, other] = ['{"weight":3}', '{"weight":3,"zone":"z"}'];
  const seen = () => catalogue.select('web', {}).map(({ weight, zone }) => [weight, zone]);
  catalogue.apply([meta(a, one)]);
  assert.deepEqual([catalogue.skipped, catalogue.select('web', {}).length], [0, 0]);
  catalogue.apply([put(a)]);
  assert.deepEqual(seen(), [[3, undefined]]);
  catalogue.apply([meta(a, other), put(a, 'tcp://10.0.0.6:80')]);
  assert.deepEqual(seen(), [[3, 'z']]);
  assert.equal(catalogue.select('web', {})[0]?.address, '10.0.0.6');
  const set = catalogue.select('web', {});
  catalogue.apply([meta(a, '{"zone":"z","weight":3,"later":true}')]);
  assert.equal(catalogue.select('web', {}), set, 'A meta that says the same is no change');
  catalogue.apply([meta(a, undefined)]);
  assert.deepEqual(Object.keys(catalogue.select('web', {})[0] ?? {}).includes('weight'), false);
  catalogue.apply([gone(a)]);
  assert.deepEqual(catalogue.select('web', {}), []);
  catalogue.apply([put(a)]);
  assert.deepEqual(seen(), [[undefined, undefined]]);
});

test('Catalogue after a reading has its metas, and keeps the sets that say the same', () => {
  const catalogue = new Catalogue('/discover');
  read(catalogue, [meta(a, '{"weight":3}'), put(a), put(b), put('db/prod/h1/aaaaaaaaaaaa')]);
  const [web, db] = [catalogue.select('web', {}), catalogue.select('db', {})];
  read(catalogue, [meta(a, '{"weight":3}'), put(a), put(b), put('db/prod/h1/aaaaaaaaaaaa')]);
  assert.equal(catalogue.select('web', {}), web);
  read(catalogue, [put(a), put(b), put('db/prod/h1/aaaaaaaaaaaa')]);
  assert.equal(catalogue.select('db', {}), db);
  const { changed, added, removed } = differenceOf(web, catalogue.select('web', {}));
  assert.deepEqual([changed.map(({ key }) => key), added, removed], [[key(a)], [], []]);
  // Until it is adopted, a reading shows nowhere.
  const before = catalogue.select('web', {});
  catalogue.begin();
  catalogue.add([put(a)]);
  assert.equal(catalogue.select('web', {}), before);
});

test('Catalogue knows the instances of each host', () => {
  const catalogue = new Catalogue('/discover');
  catalogue.apply([put(a), put(b), put('db/prod/h2/aaaaaaaaaaaa')]);
  assert.deepEqual(Object.fromEntries(catalogue.hosts()), { h1: 2, h2: 1 });
  catalogue.apply([put(b, 'udp://10.0.0.5:80'), gone('db/prod/h2/aaaaaaaaaaaa')]);
  assert.deepEqual(Object.fromEntries(catalogue.hosts()), { h1: 2 });
  assert.deepEqual(
    catalogue.instancesOn('h1').map(({ protocol }) => protocol),
    ['tcp', 'udp'],
  );
  assert.deepEqual(catalogue.instancesOn('h2'), []);
  assert.deepEqual([...catalogue.counts({ protocol: 'udp' })], [['web', 1]]);
});
