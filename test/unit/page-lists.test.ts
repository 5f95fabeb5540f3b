/** The lists of the page without a browser: their order, their filter, and the URL that has both. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Container } from '../../src/http/shapes.ts';
import { Containers } from '../../src/page/containers.ts';
import { type Arrangement, Listing, matcher } from '../../src/page/listing.ts';
import { hashOf, hrefOf, placeOf, searchOf } from '../../src/page/place.ts';
import { offersOf, textsOf } from '../../src/page/rows.ts';

interface Row {
  readonly name: string;
  readonly size: number;
}

const byName = (rest: Partial<Arrangement<Row>> = {}): Arrangement<Row> => ({
  ...{ fits: () => true, by: ({ name }) => name, descending: false, next: () => '' },
  ...rest,
});
const listingOf = (rows: readonly Row[], arrangement: Arrangement<Row>): Listing<Row> => {
  const listing = new Listing(arrangement);
  listing.change(rows.map((row, index) => [String(index), row]));
  return listing;
};
const namesOf = (listing: Listing<Row>): string[] => listing.shown.slice().map(({ name }) => name);

describe('Listing', () => {
  const rows = ['b-10', 'B-9', 'a', 'b-9'].map((name) => ({ name, size: 0 }));

  test('sorts numbers in names by value, both ways, and by key where all else is the same', () => {
    const listing = listingOf(rows, byName());
    assert.deepEqual(namesOf(listing), ['a', 'B-9', 'b-9', 'b-10']);
    listing.arrange(byName({ descending: true }));
    assert.deepEqual(namesOf(listing), ['b-10', 'B-9', 'b-9', 'a']);
    listing.arrange(byName({ by: () => 0, next: ({ name }) => name, isFirst: ({ name }) => name === 'b-10' }));
    assert.deepEqual(namesOf(listing), ['b-10', 'a', 'B-9', 'b-9']);
  });

  test('has after any changes what a sort of everything has', () => {
    // A generator of its own, so that a failure comes again.
    let state = 7;
    const random = (below: number): number => {
      state = (state * 48_271) % 2_147_483_647;
      return state % below;
    };
    const arrangement = byName({ fits: ({ size }) => size % 3 > 0, by: ({ size }) => size, next: ({ name }) => name });
    const listing = new Listing(arrangement);
    const all = new Map<string, Row>();
    for (let turn = 0; turn < 300; turn++) {
      const set = Array.from({ length: random(turn % 50 === 0 ? 60 : 4) }, () => {
        const row = { name: `n-${random(20)}`, size: random(12) };
        return [String(random(100)), row] as const;
      });
      const gone = Array.from({ length: random(3) }, () => String(random(100)));
      listing.change(set, gone);
      for (const key of gone) all.delete(key);
      for (const [key, row] of set) all.set(key, row);
      const anew = new Listing(arrangement);
      anew.change(all);
      assert.deepEqual(listing.shown.slice(), anew.shown.slice(), `turn ${turn}`);
      assert.equal(listing.size, all.size);
    }
  });

  test('looks at few rows of 10,000 when one changes', () => {
    let looks = 0;
    const counted = byName({
      by: ({ size }) => {
        looks++;
        return size;
      },
    });
    const many = Array.from({ length: 10_000 }, (_, size) => ({ name: `n-${size}`, size }));
    const listing = listingOf(many, counted);
    looks = 0;
    listing.change([['5', { name: 'n-5', size: 20_000 }]], ['7']);
    assert.ok(looks <= 2, `${looks} rows were looked at`);
    assert.deepEqual([listing.shown.length, listing.shown.slice(-1)[0]?.size, listing.size], [9_999, 20_000, 9_999]);
  });
});

test('a filter wants each of its words, wherever it is and however it is written', () => {
  const fits = matcher('  WEB 10.0 ');
  assert.deepEqual(
    [fits('my-web', 'tcp://10.0.0.5:80'), fits('web', 'tcp://192.0.2.1:80'), matcher(' ')('x')],
    [true, false, true],
  );
});

const container = (id: string, rest: Partial<Container>): Container => ({
  ...{ id, name: null, image: null, compose: null, state: 'published', lifecycle: 'ready' },
  ...{ services: [], refusals: [], traffic: null, outage: null },
  ...rest,
});
const service = (name: string, key: string, published = true) => ({
  name,
  key,
  url: `tcp://10.0.0.5${key}`,
  published,
});
const refusal = (code: string, entry: string) => ({ code, entry, detail: 'd', remedy: `mend ${code}` });
const worst = { by: ({ state }: { readonly state: string }) => (state === 'published' ? 1 : 0), descending: false };

describe('Containers', () => {
  test('each service of a container is a row, and what is not there yet has the state of its container', () => {
    const containers = new Containers();
    const services = [service('web', '/a'), service('api', '/b', false)];
    containers.take({ reset: true, set: [container('c1', { state: 'quarantined', services })], gone: [] });
    containers.arrange('', worst);
    assert.deepEqual(
      containers.offers.slice().map(({ name, state }) => [name, state]),
      [
        ['api', 'quarantined'],
        ['web', 'published'],
      ],
    );
  });

  test('what is not published is below its reason, the most frequent first, one that is not known by its code', () => {
    const containers = new Containers();
    const set = [
      container('c1', { refusals: [refusal('loopback', 'a:1'), refusal('not-published', 'b:1')] }),
      container('c2', { refusals: [refusal('not-published', 'b:2'), refusal('constructor', 'c:1')] }),
      container('c3', { state: 'failing', outage: { detail: 'no answer', remedy: 'ask' } }),
    ];
    containers.take({ reset: true, set, gone: [] });
    const told = () =>
      containers.problems.map(({ title, remedy, entries }) => [
        ...[title, remedy],
        entries.slice().map((one) => `${one.container} ${one.entry}`),
      ]);
    assert.deepEqual(told(), [
      ['The port is not published', 'mend not-published', ['c1 b:1', 'c2 b:2']],
      ['constructor', 'mend constructor', ['c2 c:1']],
      ['The container cannot be inspected', 'ask', ['c3 ']],
      ['Only the host itself can reach it', 'mend loopback', ['c1 a:1']],
    ]);
    containers.take({ reset: false, set: [container('c1', { services: [service('web', '/a')] })], gone: ['c3'] });
    assert.deepEqual(
      told().map(([title]) => title),
      ['constructor', 'The port is not published'],
    );
    assert.deepEqual([containers.offersInAll, containers.problemsInAll], [1, 2]);
    containers.take({ reset: true, set: [], gone: [] });
    assert.deepEqual([containers.offers.length, containers.problems, containers.problemsInAll], [0, [], 0]);
  });

  test('a filter finds rows and problems by the names of their container, also those that come later', () => {
    const names = { name: 'web-1', image: 'nginx:1.27', compose: { project: 'shop' } };
    const containers = new Containers();
    containers.arrange('SHOP nginx', worst);
    const take = (id: string, rest: Partial<Container>): void =>
      containers.take({ reset: false, set: [container(id, rest)], gone: [] });
    take('c1', { ...names, services: [service('web', '/a')] });
    take('c2', { ...names, refusals: [refusal('loopback', 'a:1')] });
    take('c3', { services: [service('web', '/c')], refusals: [refusal('loopback', 'a:1')] });
    assert.deepEqual(
      [containers.offers.slice().map(({ key }) => key), containers.problems.map(({ entries }) => entries.length)],
      [['/a'], [1]],
    );
    containers.arrange('', worst);
    assert.deepEqual([containers.offers.length, containers.problems[0]?.entries.length], [2, 2]);
    const [row] = offersOf(container('c1', { ...names, services: [service('web', '/a')] }));
    assert.deepEqual(textsOf(row?.names ?? {}), ['web-1', 'nginx:1.27', 'shop', '']);
    assert.deepEqual(textsOf({ name: null, image: null, compose: null }), ['', '', '', '']);
  });
});

test('a URL has the view, what it is of, the filter and the order', () => {
  for (const of of ['checkout', 'a/b?c#d', '<i>\u202e', undefined]) {
    assert.deepEqual(placeOf(hrefOf('services', of)), { view: 'services', of });
  }
  const search = { filter: 'a & b?', order: { column: 'instances', descending: true } };
  const hash = hashOf('#services/a%3Fb', search);
  assert.deepEqual([placeOf(hash), searchOf(hash)], [{ view: 'services', of: 'a?b' }, search]);
  assert.equal(hashOf(hash, { filter: '', order: undefined }), '#services/a%3Fb');
  assert.equal(hashOf('', { filter: 'x', order: { column: 'state', descending: false } }), '#here?q=x&sort=state');
  for (const odd of ['', '#', '#no/such', '#here/x']) {
    assert.deepEqual(placeOf(odd), { view: 'here', of: undefined });
    assert.deepEqual(searchOf(odd), { filter: '', order: undefined });
  }
  assert.deepEqual(placeOf('#fleet/%E0%A4%A'), { view: 'fleet', of: undefined });
});
