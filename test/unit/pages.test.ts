/** How much is asked of etcd at once. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { DiscoverError } from '../../src/errors.ts';
import { etcdError } from '../../src/etcd/errors.ts';
import { AnswerSize, below, type KeyRange, Parts } from '../../src/etcd/pages.ts';

// As grpc-js says it.
const tooLarge = etcdError(
  'range',
  'http://db:2379',
  new Error('8 RESOURCE_EXHAUSTED: Received message larger than max (72800123 vs 67108864)'),
);

test('an answer that is too large is asked for in halves, and in larger parts again once they fit', async () => {
  const size = new AnswerSize(100);
  const asked: number[] = [];
  const ask = (fits: number) => async (keys: number) => {
    asked.push(keys);
    if (keys > fits) throw tooLarge;
    return keys;
  };
  assert.equal(await size.fitting(ask(30)), 25);
  assert.equal(await size.fitting(ask(30)), 25);
  assert.equal(await size.fitting(ask(1000)), 50);
  assert.equal(await size.fitting(ask(1000)), 100);
  assert.equal(await size.fitting(ask(1000)), 100);
  assert.deepEqual(asked, [100, 50, 25, 50, 25, 50, 100, 100]);
});

test('one key that is too large is an error, and so is every other failure at once', async () => {
  const asked: number[] = [];
  const failing = (error: Error) =>
    new AnswerSize(4).fitting(async (keys) => {
      asked.push(keys);
      throw error;
    });
  await assert.rejects(failing(tooLarge), /larger than max/);
  await assert.rejects(failing(new DiscoverError('ETCD_UNAVAILABLE', 'away')), /away/);
  // What etcd says of a request, which no smaller page would mend.
  const ofRequest = etcdError(
    'txn',
    'http://db:2379',
    new Error('8 RESOURCE_EXHAUSTED: grpc: received message larger than max'),
  );
  await assert.rejects(failing(ofRequest), /larger than max/);
  assert.deepEqual(asked, [4, 2, 1, 4, 4]);
});

/** The keys as etcd answers for them, page by page, until the parts are over. */
function walked(all: readonly Buffer[], range: KeyRange, limit: number) {
  const parts = new Parts(range, limit);
  const found: Buffer[] = [];
  let [pages, counted] = [0, 0];
  while (!parts.isOver) {
    const { begin, end } = parts.next;
    const there = all.filter((key) => key.compare(begin) >= 0 && key.compare(end) < 0);
    const page = there.slice(0, limit);
    found.push(...page);
    pages++;
    counted += there.length;
    parts.took({ first: page[0], last: page.at(-1), hasMore: there.length > limit, count: there.length });
  }
  return { found, pages, counted };
}

test('the parts of a range have each of its keys once and in order, whatever the keys', () => {
  const bytes = fc.uint8Array({ maxLength: 4 }).map((tail) => Buffer.concat([Buffer.from('/a/'), tail]));
  const clumped = fc
    .tuple(
      fc.constantFrom('/a/', '/a/b', '/a/bc/', '/a/\u00ff'),
      fc.string({ unit: fc.constantFrom('a', 'b', '\u00ff'), maxLength: 5 }),
    )
    .map((texts) => Buffer.from(texts.join(''), 'latin1'));
  const keys = fc.array(fc.oneof(bytes, clumped), { maxLength: 120 });
  fc.assert(
    fc.property(keys, fc.integer({ min: 1, max: 9 }), (some, limit) => {
      const all = [...new Map(some.map((key) => [key.toString('latin1'), key])).values()].sort(Buffer.compare);
      const { found } = walked(all, below('/a/'), limit);
      assert.deepEqual(
        found.map((key) => key.toString('latin1')),
        all.map((key) => key.toString('latin1')),
      );
    }),
    { numRuns: 500 },
  );
});

test('many keys are read in few pages, and etcd counts each a few times only', () => {
  const shapes: Readonly<Record<string, (index: number) => string>> = {
    'few services': (index) => `service-${index % 5}/default/host-${index % 40}/${index}`,
    'many services': (index) => `service-${index}/default/host-${index % 40}/a`,
    'names without a pattern': (index) => `${createHash('sha1').update(String(index)).digest('base64url')}/default/h/a`,
    'one service on one host': (index) =>
      `web/default/host-1/${createHash('sha1').update(String(index)).digest('hex')}`,
    'one large and many small': (index) => (index % 2 ? `web/d/h/${index}` : `${index.toString(36)}/d/h/a`),
  };
  for (const [name, shape] of Object.entries(shapes)) {
    const all = Array.from({ length: 6_000 }, (_, index) => Buffer.from(`/a/${shape(index)}`)).sort(Buffer.compare);
    const { found, pages, counted } = walked(all, below('/a/'), 50);
    assert.equal(found.length, all.length, name);
    // Page after page of the whole would count 60 times the keys.
    assert.ok(pages <= 120 * 4, `${name}: ${pages} pages`);
    assert.ok(counted <= 6_000 * 12, `${name}: ${counted} counted`);
  }
});

test('what fits one page is asked for once', () => {
  const all = Array.from({ length: 50 }, (_, index) => Buffer.from(`/a/${index}`)).sort(Buffer.compare);
  assert.deepEqual([walked(all, below('/a/'), 50).pages, walked([], below('/a/'), 50).pages], [1, 1]);
});
