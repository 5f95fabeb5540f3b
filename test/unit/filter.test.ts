/** `docker.filter`: which lines are taken, what the engine is asked with, and which documents match. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readInspection } from '../../src/container/document.ts';
import {
  canChange,
  eventLabels,
  type Filter,
  listFilters,
  mismatchOf,
  parseFilter,
} from '../../src/container/filter.ts';
import { explainContainer } from '../../src/why/explain.ts';

const filtersOf = (...lines: string[]): Filter[] => lines.map(parseFilter);
const document = {
  Name: '/shop-web-1',
  State: { Running: true, StartedAt: '2026-01-01T00:00:00Z' },
  Config: { Labels: { tier: 'web', empty: '', 'a=b': 'c' }, Env: ['DISCOVER=web:80'] },
  HostConfig: { NetworkMode: 'front' },
  NetworkSettings: {
    Networks: { front: { NetworkID: 'abcdef0123' }, none: null },
    Ports: { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '49153' }] },
  },
};
const matches = (...lines: string[]): boolean => mismatchOf(document, filtersOf(...lines)) === undefined;

describe('A line of docker.filter', () => {
  const wrong: [line: string, message: RegExp][] = [
    ['status=running', /must filter by label, name or network, as in "label=tier=web"/],
    ['tier=web', /must filter by label, name or network/],
    ['', /must filter by label, name or network/],
    ['Label=tier', /must filter by label, name or network/],
    ['label', /must have a value behind label=/],
    ['label=', /must have a value behind label=/],
    ['label==web', /must have a value behind label=/],
    ['name= ', /must have a value behind name=/],
    ['name=(', /regular expression that Go and JavaScript read alike/],
    ['name=(?i)web', /regular expression/],
    ['name=^(?!test)', /regular expression/],
    ['name=(a)\\1', /regular expression/],
    ['name=[[:alpha:]]', /regular expression/],
    ['name=\\Aweb', /regular expression/],
  ];
  for (const [line, message] of wrong) {
    test(`such as ${JSON.stringify(line)} is refused`, () => assert.throws(() => parseFilter(line), message));
  }

  test('is taken as docker ps takes it, a name without its slash', () => {
    assert.deepEqual(filtersOf('label=tier=web', ' name=^/web$', 'name=/api', 'network=front', 'label=a'), [
      { key: 'label', value: 'tier=web' },
      { key: 'name', value: '^web$' },
      { key: 'name', value: 'api' },
      { key: 'network', value: 'front' },
      { key: 'label', value: 'a' },
    ]);
  });
});

describe('The engine is asked', () => {
  test('for a list with every line', () => {
    assert.deepEqual(listFilters(filtersOf('label=a', 'name=x', 'label=b=c')), { label: ['a', 'b=c'], name: ['x'] });
    assert.deepEqual(listFilters([]), {});
  });

  test('for starts with the labels that no engine takes for something else', () => {
    const lines = [
      'label=tier=web',
      'label=tier',
      'label=tier=',
      'label=name=x',
      'label=image=x',
      'name=x',
      'network=y',
    ];
    assert.deepEqual(eventLabels(filtersOf(...lines)), ['tier=web']);
  });
});

describe('A document matches', () => {
  test('where it has each label, with the value if one is asked for', () => {
    assert.ok(matches('label=tier'));
    assert.ok(matches('label=tier=web', 'label=empty='));
    assert.ok(!matches('label=tier=w'));
    assert.ok(!matches('label=tier=web', 'label=other'));
    assert.ok(!matches('label=empty=x'));
    assert.ok(!matches('label=toString'));
    assert.ok(!matches('label=a=b=c'), 'The first = ends the name, as with the engine');
  });

  test('where one of the names is in its own', () => {
    for (const line of ['name=web', 'name=^shop-', 'name=^/shop-web-1$', 'name=shop.web'])
      assert.ok(matches(line), line);
    assert.ok(matches('name=nothing', 'name=web'));
    for (const line of ['name=^web', 'name=Web', 'name=shop-web-11']) assert.ok(!matches(line), line);
  });

  test('where it is on one of the networks, by name or by the beginning of the id', () => {
    for (const line of ['network=front', 'network=abcdef']) assert.ok(matches(line), line);
    assert.ok(matches('network=back', 'network=front'));
    for (const line of ['network=fron', 'network=back', 'network=none']) assert.ok(!matches(line), line);
  });

  test('where each kind of line matches, and the lines that do not are named', () => {
    assert.ok(matches('label=tier=web', 'name=web', 'network=front'));
    assert.equal(mismatchOf(document, filtersOf('label=tier', 'name=x', 'name=y')), 'name=x or name=y');
    assert.equal(mismatchOf(document, filtersOf('name=x', 'label=x=y')), 'label=x=y');
  });

  test('not, whatever it is, where it says nothing', () => {
    for (const one of [null, [], 'x', {}, { Config: null, Name: 7, NetworkSettings: { Networks: [] } }]) {
      for (const line of ['label=a', 'name=.', 'network=a']) assert.equal(mismatchOf(one, filtersOf(line)), line);
    }
  });
});

test('What can begin to match while it runs is a name or a network', () => {
  assert.equal(canChange(filtersOf('label=a', 'label=b=c')), false);
  assert.equal(canChange(filtersOf('label=a', 'name=x')), true);
  assert.equal(canChange(filtersOf('network=x')), true);
});

test('A container that does not match is as good as none, and why says which line', () => {
  const options = { hostIp: '10.1.2.3', serviceVariable: 'DISCOVER', namePolicy: 'compat' } as const;
  assert.equal(readInspection(document, { ...options, filter: filtersOf('name=web') }).kind, 'running');
  const other = { ...options, filter: filtersOf('label=tier=db') };
  assert.equal(readInspection(document, other).kind, 'down');
  const { steps, isRunning } = explainContainer(document, other);
  assert.deepEqual([steps.map(({ reason }) => reason), isRunning], [['filtered'], false]);
  assert.match(steps[0]?.detail ?? '', /does not match docker\.filter label=tier=db/);
});
