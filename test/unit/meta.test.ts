/** The meta of an instance as readers parse it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metaOf } from '../../src/container/meta.ts';
import { namesOf } from '../../src/container/names.ts';
import { acceptName } from '../../src/container/sources/advertisement.ts';
import { parseInstance } from '../../src/layout/instance.ts';
import { parseMeta } from '../../src/layout/meta.ts';

test('parseMeta reads what the agent writes', () => {
  const document = {
    Name: '/web-1',
    Config: {
      Image: 'nginx:1.27',
      Labels: { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'web' },
    },
  };
  const attributes = { weight: 0, priority: 20, tags: ['a', 'b'], others: { version: '2' } };
  assert.deepEqual(parseMeta(metaOf(namesOf(document), 8080, attributes, { zone: 'a' })), {
    ...{ privatePort: 8080, weight: 0, priority: 20, tags: ['a', 'b'], attributes: { version: '2' }, zone: 'a' },
    ...{ container: 'web-1', image: 'nginx:1.27', compose: { project: 'shop', service: 'web' } },
  });
  assert.deepEqual(parseMeta(metaOf({}, 80, {}, {})), { privatePort: 80 });
});

test('parseMeta leaves out what does not have its form, and keeps the rest', () => {
  const good = { zone: 'a', attributes: { version: '2' } };
  const bad: readonly Record<string, unknown>[] = [
    ...[-1, 65_536, 1.5, '3', null, [3], 1e99].flatMap((number) => [{ weight: number }, { priority: number }]),
    ...[{ privatePort: 0 }, { privatePort: 65_536 }, { tags: 'a' }, { tags: [] }, { tags: [1, '', 'a\n'] }],
    ...[{ container: '' }, { container: 3 }, { image: 'a\u202eb' }, { image: 'a\u0000' }, { container: '\ud800' }],
    ...[
      { compose: 'x' },
      { compose: [] },
      { compose: { project: 3 } },
      { state: 'READY' },
      { state: 3 },
      { url: 'tcp://1.2.3.4:5' },
    ],
  ];
  for (const one of bad) assert.deepEqual(parseMeta(JSON.stringify({ ...good, ...one })), good, JSON.stringify(one));
  const names = ['', 'A', '1a', 'a b', 'a.b', `a${'b'.repeat(64)}`, '__proto__', 'a\n'];
  for (const name of names)
    assert.deepEqual(parseMeta(`{"zone":"a","attributes":{"version":"2",${JSON.stringify(name)}:"x"}}`), good);
  assert.deepEqual(parseMeta('{"attributes":{"version":"2","bad":3,"worse":"a\\u0007"},"zone":"a"}'), good);
  assert.deepEqual(parseMeta('{"tags":["a",3,"b"]}'), { tags: ['a', 'b'] });
  assert.deepEqual(parseMeta('{"attributes":{"constructor":"x"}}').attributes?.constructor, 'x');
});

test('parseMeta finds nothing in what is no such JSON, or too long', () => {
  const long = JSON.stringify({ weight: 3, image: 'x'.repeat(16 * 1024) });
  for (const text of ['', '{', 'null', '3', '"x"', '[]', '[{"weight":3}]', '{"weight":3}x', long]) {
    assert.deepEqual(parseMeta(text), {}, text.slice(0, 20));
  }
});

test('parseInstance is the same instance with a broken meta, and no member of a meta replaces one of the key', () => {
  const key = '/discover/service/web/prod/h1/aaaaaaaaaaaa';
  const parse = (meta?: string) => parseInstance('/discover/service/', key, 'tcp://10.0.0.5:80', meta);
  const plain = parse();
  for (const meta of ['', '{', '{"name":"db","host":"h2","port":1,"key":"x"}'])
    assert.deepEqual(parse(meta), plain, meta);
  assert.deepEqual(parse('{"weight":3}'), { ...plain, weight: 3 });
});

test('parseInstance takes every name that an agent can write, and none with control characters', () => {
  const below = '/a b/service/';
  const parse = (names: string) => parseInstance(below, `${below}${names}/aaaaaaaaaaaa`, 'tcp://10.0.0.5:80');
  // These are taken with `discover.namePolicy` set to `raw`.
  for (const name of ['my app', 'café', 'a\u00a0b', 'a\u200bb']) {
    assert.equal(acceptName(name, 'raw'), name);
    assert.equal(parse(`${name}/prod/h1`)?.name, name);
  }
  for (const odd of ['a\nb', 'a\u0000', '\u001b[2Ja', 'a\u0085', 'a\u2028b']) {
    assert.equal(acceptName(odd, 'raw'), undefined);
    for (const names of [`${odd}/prod/h1`, `web/${odd}/h1`, `web/prod/${odd}`])
      assert.equal(parse(names), undefined, JSON.stringify(names));
  }
});
