/** Which instances come into question, and their turns. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Instance, Place, Preference } from '../../src/client/index.ts';
import { nearestOf, rankedOf, Turns } from '../../src/client/pick.ts';

const instance = (name: string, given: Partial<Instance> = {}): Instance => ({
  ...{ name, realm: 'default', host: 'h1', containerId: '000000000001', protocol: 'tcp', address: '10.0.0.1' },
  ...{ port: 80, url: `tcp://${name}`, key: name },
  ...given,
});
const never = (): boolean => false;
const named = (instances: readonly Instance[]): string => instances.map(({ name }) => name).join('');

function counts<Item>(turns: Turns<Item>, length: number): Map<Item, number> {
  const found = new Map<Item, number>();
  for (let turn = 0; turn < length; turn++) {
    const item = turns.next();
    found.set(item, (found.get(item) ?? 0) + 1);
  }
  return found;
}

test('Turns gives each item exactly its share of a round, wherever it begins', () => {
  const cases: readonly (readonly number[])[] = [
    [1],
    [3, 1],
    [1, 1, 1],
    [2, 2, 2],
    [5, 0, 7],
    [0, 0],
    [100, 100, 50],
    [65_535, 1],
  ];
  for (const weights of cases) {
    const sum = weights.reduce((one, other) => one + other, 0);
    for (const begin of [0, 0.3, 0.999_999]) {
      const found = counts(
        new Turns(
          [...weights.keys()],
          (index) => weights[index] ?? 0,
          () => begin,
        ),
        sum || weights.length,
      );
      const wanted = weights.map((weight) => (sum === 0 ? 1 : weight));
      assert.deepEqual(
        wanted.map((_, index) => found.get(index) ?? 0),
        wanted,
        `${weights} from ${begin}`,
      );
    }
  }
});

test('Turns begins at random in proportion to the weights, and is the same for the same chance', () => {
  const begin = (chance: number): string =>
    new Turns(
      ['a', 'b'],
      (one) => (one === 'a' ? 3 : 1),
      () => chance,
    ).next();
  assert.deepEqual([0, 0.25, 0.5, 0.74, 0.75, 0.99].map(begin), ['a', 'a', 'a', 'a', 'b', 'b']);
  const [one, other] = [0, 1].map(
    () =>
      new Turns(
        [1, 2, 3],
        (weight) => weight,
        () => 0.4,
      ),
  );
  for (let turn = 0; turn < 20; turn++) assert.equal(one?.next(), other?.next());
});

test('Turns of any length are within 5 % of 3 to 1 after a hundred', () => {
  for (const weights of [
    [3, 1],
    [300, 100],
    [30_001, 10_000],
  ]) {
    const found = counts(
      new Turns(
        [0, 1],
        (index) => weights[index] ?? 0,
        () => 0.5,
      ),
      100,
    );
    assert.ok(Math.abs((found.get(0) ?? 0) - 75) <= 3, `${weights}: ${found.get(0)}`);
  }
});

test('an instance of weight 0 comes into question only where all are of weight 0 or reported', () => {
  const [zero, one, plain] = [instance('z', { weight: 0 }), instance('o', { weight: 1 }), instance('p')];
  assert.equal(named(nearestOf([zero, one, plain], never, undefined, {})), 'op');
  assert.equal(named(nearestOf([zero], never, undefined, {})), 'z');
  assert.equal(named(nearestOf([zero, one], (it) => it === one, undefined, {})), 'z');
  assert.equal(named(nearestOf([zero, one], () => true, undefined, {})), 'o');
});

test('the lowest priority comes first, absent means 10, and a higher one follows where the lowest is reported', () => {
  const all = [
    instance('a'),
    instance('b', { priority: 20 }),
    instance('c', { priority: 10 }),
    instance('d', { priority: 11 }),
  ];
  assert.equal(named(rankedOf(all)), 'ac');
  assert.equal(named(nearestOf(all, ({ name }) => 'ac'.includes(name), undefined, {})), 'd');
  assert.equal(named(rankedOf([...all, instance('e', { priority: 0 })])), 'e');
});

test('a preference falls back outward, from the host to the zone to all', () => {
  const all = [
    instance('a', { host: 'h1', zone: 'x' }),
    instance('b', { host: 'h2', zone: 'x' }),
    instance('c', { host: 'h3' }),
  ];
  const here: Place = { host: 'h1', zone: 'x' };
  const near = (prefer: Preference | undefined, place: Place = here, gone = '') =>
    named(nearestOf(all, ({ name }) => gone.includes(name), prefer, place));
  assert.deepEqual([near('host'), near('zone'), near(undefined)], ['a', 'ab', 'abc']);
  assert.deepEqual([near('host', here, 'a'), near('host', here, 'ab'), near('zone', here, 'ab')], ['b', 'c', 'c']);
  assert.deepEqual(
    [near('zone', { zone: 'y' }), near('host', { host: 'h9' }), near('host', { host: 'h3' })],
    ['abc', 'abc', 'c'],
  );
});
