/** What a container declares by its labels beside, or instead of, its environment. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { matchesGlob } from '../../src/container/glob.ts';
import { type DeclarationOptions, readDeclaration } from '../../src/container/sources/declaration.ts';

const defaults: DeclarationOptions = { serviceVariable: 'DISCOVER', namePolicy: 'compat' };

function declared(config: object, options: Partial<DeclarationOptions> = {}) {
  const { entries, refusals, source, realm } = readDeclaration({ Config: config }, { ...defaults, ...options });
  return {
    names: entries.map(({ name, privatePort }) => `${name}:${privatePort}`),
    codes: refusals.map(({ code }) => code),
    refusals,
    source,
    realm,
  };
}

const namesOf = (Labels: object, Env: string[] = [], options: Partial<DeclarationOptions> = {}) =>
  declared({ Labels, Env }, options).names;
const codesOf = (Labels: object, options: Partial<DeclarationOptions> = {}) =>
  declared({ Labels, Env: ['DISCOVER=web:80'] }, options).codes;

describe('The label', () => {
  test('advertises without a variable', () => {
    const found = declared({ Labels: { discover: 'web:80, dns:53/udp' } });
    assert.deepEqual([found.names, found.source, found.codes], [['web:80', 'dns:53'], 'label', []]);
  });

  test('takes the place of the variable, also where it is empty', () => {
    assert.deepEqual(namesOf({ discover: 'api:81' }, ['DISCOVER=web:80']), ['api:81']);
    assert.deepEqual(namesOf({ discover: '' }, ['DISCOVER=web:80']), []);
    assert.deepEqual(namesOf({ discover: 'bad/name:80' }, ['DISCOVER=web:80']), []);
  });

  test('is not there: the variable counts, and nothing is refused', () => {
    for (const Labels of [
      {},
      null,
      undefined,
      [],
      'discover',
      { discovery: 'x:1', 'com.discover': 'x:1' },
      { discover: 7 },
    ]) {
      const found = declared({ Labels, Env: ['DISCOVER=web:80'] });
      assert.deepEqual([found.names, found.source, found.codes], [['web:80'], 'variable', []], JSON.stringify(Labels));
    }
  });

  test('has the prefix that is configured, in any case, and no other', () => {
    const own = { label: 'org.example.sd' };
    assert.deepEqual(namesOf({ 'org.example.sd': 'web:80', discover: 'no:1' }, [], own), ['web:80']);
    assert.deepEqual(namesOf({ 'Org.Example.SD': 'web:80' }, [], own), ['web:80']);
    assert.deepEqual(codesOf({ 'discover.x': '1' }, own), []);
  });

  test('counts where it is a source, as the variable does', () => {
    assert.deepEqual(namesOf({ discover: 'api:81' }, ['DISCOVER=web:80'], { sources: ['variable'] }), ['web:80']);
    assert.deepEqual(namesOf({}, ['DISCOVER=web:80'], { sources: ['label'] }), []);
    assert.deepEqual(namesOf({ discover: 'api:81' }, ['DISCOVER=web:80'], { sources: ['label'] }), ['api:81']);
  });

  test('obeys the grammar, the name policy and the limits of an advertisement', () => {
    assert.deepEqual(codesOf({ discover: 'web:0,a b:80,x:80/gopher' }), [
      'port-invalid',
      'name-invalid',
      'protocol-invalid',
    ]);
    assert.deepEqual(codesOf({ discover: 'Web:80' }, { namePolicy: 'strict' }), ['name-invalid']);
    const many = Array.from({ length: 300 }, (_, index) => `s${index}:80`).join();
    assert.deepEqual(codesOf({ discover: many }), ['too-many']);
    assert.deepEqual(codesOf({ discover: 'web:80\nx:81' }), ['multiline']);
  });
});

describe('discover.enable', () => {
  test('false: nothing is published, and the reason is said where there would have been something', () => {
    for (const value of ['false', 'FALSE', ' false ']) {
      const found = declared({ Labels: { 'discover.enable': value }, Env: ['DISCOVER=web:80'] });
      assert.deepEqual([found.names, found.codes], [[], ['disabled']]);
    }
    assert.deepEqual(declared({ Labels: { 'discover.enable': 'false' }, Env: [] }).codes, []);
  });

  test('true is the same as no label; another value is refused, and what is published stays', () => {
    assert.deepEqual(codesOf({ 'discover.enable': 'true' }), []);
    const found = declared({ Labels: { 'discover.enable': 'no' }, Env: ['DISCOVER=web:80'] });
    assert.deepEqual([found.names, found.codes], [['web:80'], ['label-invalid']]);
    assert.equal(found.refusals[0]?.entry, 'discover.enable=no');
  });
});

describe('discover.realm', () => {
  test('is taken where the host allows it, and else nothing of the container is published', () => {
    const blue = { Labels: { 'discover.realm': 'blue' }, Env: ['DISCOVER=web:80'] };
    assert.equal(declared(blue, { realms: ['default', 'blue'] }).realm, 'blue');
    for (const realms of [undefined, [], ['default']]) {
      const found = declared(blue, { realms });
      assert.deepEqual([found.names, found.codes, found.realm], [[], ['realm-not-allowed'], undefined]);
    }
  });

  test('reaches no other key, whatever it says', () => {
    for (const realm of ['../x', 'a/b', '', '.', 'blue/h2/0123456789ab']) {
      const found = declared(
        { Labels: { 'discover.realm': realm, discover: 'web:80' } },
        { realms: ['default', 'blue'] },
      );
      assert.deepEqual([found.names, found.codes], [[], ['realm-not-allowed']], realm);
    }
  });
});

describe('discover.allow', () => {
  const allow = ['web* registry.example/*', 'dns nginx:1.2?'];
  const from = (Image: unknown, text = 'web:80,web-api:81,dns:53,admin:82') =>
    declared({ Image, Env: [`DISCOVER=${text}`] }, { allow });

  test('lets an image use the names of its lines, and refuses each other name', () => {
    assert.deepEqual(from('registry.example/team/shop:1').names, ['web:80', 'web-api:81']);
    assert.deepEqual(from('nginx:1.27').names, ['dns:53']);
    assert.deepEqual(from('nginx:1.27').codes, ['name-not-allowed', 'name-not-allowed', 'name-not-allowed']);
    assert.deepEqual(from('nginx:1.2').names, []);
    assert.deepEqual(from('xregistry.example/shop').names, []);
    for (const image of [undefined, null, 7, '']) assert.deepEqual(from(image).names, []);
  });

  test('means a dot as a dot', () => assert.deepEqual(from('registryxexample/shop').names, []));
});

describe('A label below the prefix', () => {
  test('that is unknown is refused with the nearest name, and costs nothing else', () => {
    const found = declared({ Labels: { 'discover.enabel': 'false' }, Env: ['DISCOVER=web:80'] });
    assert.deepEqual([found.names, found.codes], [['web:80'], ['label-unknown']]);
    assert.deepEqual(found.refusals[0], {
      code: 'label-unknown',
      entry: 'discover.enabel',
      detail: 'Did you mean discover.enable?',
    });
    assert.match(
      declared({ Labels: { 'discover.zzz': '' } }).refusals[0]?.detail ?? '',
      /labels are discover, discover\.enable/,
    );
  });

  test('that is the prefix and a dot is no advertisement', () => {
    const found = declared({ Labels: { 'discover.': 'api:81' }, Env: ['DISCOVER=web:80'] });
    assert.deepEqual([found.names, found.codes], [['web:80'], ['label-unknown']]);
    assert.deepEqual(codesOf({ discover: 'web:80', 'discover.': 'x' }), ['label-unknown']);
  });

  test('that differs from another in case only: both are named, and the first in order counts', () => {
    const found = declared({
      Labels: { 'discover.enable': 'true', 'discover.Enable': 'false' },
      Env: ['DISCOVER=web:80'],
    });
    assert.deepEqual(found.codes, ['label-twice', 'disabled']);
    const [twice] = found.refusals;
    assert.equal(twice?.entry, 'discover.enable');
    assert.match(twice?.detail ?? '', /discover\.Enable/);
    assert.deepEqual(namesOf({ discover: 'b:1', Discover: 'a:1' }), ['a:1']);
  });

  test('steers no reader of the log, and there may be any number', () => {
    const { refusals } = declared({ Labels: { 'discover.\u001b[2J\u202e': '' } });
    assert.equal(refusals[0]?.entry, 'discover.\ufffd[2J\ufffd');
    const stray = declared({ Labels: { 'discover.\u001b\u202e.weight': '1' }, Env: ['DISCOVER=web:80'] }).refusals[0];
    assert.equal(stray?.detail, 'The container advertises no service \ufffd\ufffd');
    const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`discover.x${index}`, '']));
    const found = declared({ Labels: many, Env: ['DISCOVER=web:80'] });
    assert.deepEqual(found.names, ['web:80']);
    assert.ok(found.refusals.length <= 21, `${found.refusals.length} refusals`);
    assert.equal(found.codes.at(-1), 'too-many');
  });
});

describe('An attribute', () => {
  const offering = (Labels: object, text = 'web:80,web:81,shop.api:82', options: Partial<DeclarationOptions> = {}) => {
    const config = { Config: { Labels: { discover: text, ...Labels } } };
    const { attributes, entries, refusals } = readDeclaration(config, { ...defaults, ...options });
    return { attributes: Object.fromEntries(attributes), entries, refusals, codes: refusals.map(({ code }) => code) };
  };

  test('is of the service that its label names, which may have dots', () => {
    const found = offering({
      'discover.web.weight': '10',
      'discover.web.priority': '0',
      'discover.web.tags': 'a, b,,c ',
      'discover.web.version': '2 = x',
      'discover.shop.api.Owner': 'me',
    });
    assert.deepEqual(found.attributes, {
      web: { weight: 10, priority: 0, tags: ['a', 'b', 'c'], others: { version: '2 = x' } },
      'shop.api': { others: { owner: 'me' } },
    });
    assert.deepEqual([found.codes, found.entries.length], [[], 3]);
  });

  test('is refused with its reason where it is wrong, and its service is published', () => {
    for (const [label, value, code] of [
      ['discover.other.weight', '1', 'attribute-stray'],
      ['discover.WEB.weight', '1', 'attribute-stray'],
      ['discover.web.weight', 'ten', 'attribute-invalid'],
      ['discover.web.weight', '65536', 'attribute-invalid'],
      ['discover.web.weight', '-1', 'attribute-invalid'],
      ['discover.web.weight', '', 'attribute-invalid'],
      ['discover.web.9th', 'x', 'attribute-invalid'],
      ['discover.web.a b', 'x', 'attribute-invalid'],
      ['discover.web.x', 'a\nb', 'attribute-invalid'],
      ['discover.web.x', '\u202e', 'attribute-invalid'],
      ['discover.web.x', 'y'.repeat(5_000), 'attribute-too-many'],
      ['discover.web.', 'x', 'attribute-invalid'],
      [`discover.web.${'x'.repeat(65)}`, 'x', 'attribute-invalid'],
    ] as const) {
      const found = offering({ [label]: value, 'discover.web.version': '2' });
      assert.deepEqual(found.codes, [code], `${label}=${value.slice(0, 20)}`);
      assert.deepEqual([found.entries.length, found.attributes], [3, { web: { others: { version: '2' } } }], label);
    }
  });

  test('is one of 32 and of 4 KiB of its service', () => {
    const many = Object.fromEntries(
      Array.from({ length: 40 }, (_, n) => [`discover.web.a${String(n).padStart(2, '0')}`, 'x']),
    );
    const found = offering(many);
    assert.equal(Object.keys(found.attributes.web?.others ?? {}).length, 32);
    assert.deepEqual([...new Set(found.codes)], ['attribute-too-many']);
    const large = Object.fromEntries(Array.from({ length: 5 }, (_, n) => [`discover.web.b${n}`, 'x'.repeat(1_000)]));
    assert.equal(Object.keys(offering(large).attributes.web?.others ?? {}).length, 4);
  });

  test('named as a part of every object is an attribute like any other', () => {
    const found = offering({ 'discover.web.constructor': 'x', 'discover.web.__proto__': 'y' });
    assert.equal(JSON.stringify(found.attributes.web), '{"others":{"constructor":"x"}}');
    assert.deepEqual(found.codes, ['attribute-invalid']);
  });

  test('of a name beyond the characters of a key is found under the policy that encodes it', () => {
    const found = offering({ 'discover.caf\u00e9.weight': '3' }, 'caf\u00e9:80', { namePolicy: 'encode' });
    assert.deepEqual(found.attributes, { 'caf%C3%A9': { weight: 3 } });
  });
});

describe('The labels of addresses', () => {
  const addressOf = (Labels: object) => {
    const { address, refusals } = readDeclaration({ Config: { Labels, Env: ['DISCOVER=web:80'] } }, defaults);
    return [address, refusals.map(({ code, entry }) => `${code} ${entry}`)];
  };

  test('name a source, an address, or networks', () => {
    assert.deepEqual(addressOf({ 'discover.address': ' Container ' }), [{ from: 'container' }, []]);
    assert.deepEqual(addressOf({ 'Discover.Address': '10.9.0.7' }), [{ host: '10.9.0.7' }, []]);
    assert.deepEqual(addressOf({ 'discover.address': '2001:DB8::7' }), [{ host: '[2001:db8::7]' }, []]);
    const both = { 'discover.address': 'either', 'discover.network': 'front-*, back' };
    assert.deepEqual(addressOf(both), [{ from: 'either', networks: ['front-*', 'back'] }, []]);
    assert.deepEqual(addressOf({ 'discover.address': 'published', 'discover.realm': '' })[0], undefined);
  });

  test('with a value that is not allowed leave the policy of the host, and say so', () => {
    for (const value of ['', 'host', '10.0.0', '10.0.0.7/8', '127.0.0.1', 'fe80::1', '::', 'web']) {
      assert.deepEqual(addressOf({ 'discover.address': value }), [
        undefined,
        [`label-invalid discover.address=${value}`],
      ]);
    }
    for (const value of ['', 'a,,b', 'a b', 'x'.repeat(129), Array(33).fill('a').join()]) {
      const [wishes, codes] = addressOf({ 'discover.network': value });
      assert.equal(wishes, undefined);
      assert.match(String(codes), /^label-invalid discover.network=/);
    }
  });
});

test('globs match as they are read, and many stars cost no more than their length', () => {
  const matching: [glob: string, text: string][] = [
    ...([
      ['*', ''],
      ['a*', 'a'],
      ['*b', 'ab'],
      ['a?c', 'abc'],
      ['a*b*c', 'a-b-b-c'],
      ['**', 'x'],
      ['a.c', 'a.c'],
    ] as const),
  ].map(([glob, text]) => [glob, text]);
  for (const [glob, text] of matching) assert.equal(matchesGlob(glob, text), true, glob);
  for (const [glob, text] of [
    ['', 'a'],
    ['a', ''],
    ['a?', 'a'],
    ['a*b', 'abc'],
    ['a.c', 'abc'],
    ['*a', 'ab'],
  ] as const) {
    assert.equal(matchesGlob(glob, text), false, glob);
  }
  assert.equal(matchesGlob(`${'*a'.repeat(64)}b`, 'a'.repeat(4_096)), false);
});
