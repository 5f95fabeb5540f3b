/** Views: templates there and back, the layouts that are known by name, and what may not be configured. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { Service } from '../../src/container/container.ts';
import { keysOf, layoutOf } from '../../src/layout/keys.ts';
import { labelOf, parseKey, parseValue } from '../../src/layout/template.ts';
import {
  checkRule,
  customRule,
  keyMatcher,
  keysPerInstance,
  presets,
  type Rule,
  viewsOf,
} from '../../src/layout/views.ts';

const shortId = '0123456789ab';
const tcp: Service = { name: 'web_A', privatePort: 80, protocol: 'tcp', address: '10.0.0.5', port: 49_153 };
const udp: Service = { name: 'web_A', privatePort: 53, protocol: 'udp', address: '2001:db8::5', port: 49_154 };

function written(rules: readonly Rule[], ...services: Service[]): Record<string, string> {
  const layout = layoutOf('/discover', 'prod', 'h1', viewsOf(rules, 'prod', 'h1'));
  const keys = keysOf(layout, shortId, services);
  for (const key of keys.keys()) assert.equal(layout.containerOf(key), shortId, key);
  const isNative = (key: string) => /^\/discover\/(?:service|meta|host)\//.test(key);
  return Object.fromEntries([...keys].filter(([key]) => !isNative(key)));
}

describe('A view is written as its readers expect it:', () => {
  test('among others, the keys of all hosts that name their host are below these prefixes', () => {
    const rules = [
      ...presets.skydns('x.local'),
      ...presets.grpc('g'),
      ...presets.registrator('/services'),
      { key: '/by-host/{{host:dns}}/{{id}}', value: '{{url}}' },
    ];
    const { sharedPrefixes, containerOf } = layoutOf('/p', 'r', 'h1', viewsOf(rules, 'r', 'h1'));
    assert.deepEqual(sharedPrefixes, ['/p/service/', '/p/meta/', '/services/', '/by-host/']);
    assert.equal(containerOf('/services/web/h1:bbbbbbbbbbbb:80'), 'bbbbbbbbbbbb');
    assert.equal(containerOf('/services/web/h2:bbbbbbbbbbbb:80'), undefined);
  });

  test('skydns, with a label for each port and numbers as numbers', () => {
    assert.deepEqual(written(presets.skydns('Discover.local'), tcp, udp), {
      '/skydns/local/discover/prod/web-a-27379642/0123456789ab-80': '{"host":"10.0.0.5","port":49153,"ttl":10}',
      '/skydns/local/discover/prod/_tcp/_web-a-27379642/0123456789ab-80': '{"host":"10.0.0.5","port":49153,"ttl":10}',
      '/skydns/local/discover/prod/web-a-27379642/0123456789ab-53-udp': '{"host":"2001:db8::5","port":49154,"ttl":10}',
      '/skydns/local/discover/prod/_udp/_web-a-27379642/0123456789ab-53':
        '{"host":"2001:db8::5","port":49154,"ttl":10}',
    });
  });

  test('grpc, below the target that the document has for Go', () => {
    const readme = readFileSync(new URL('../../src/client/README.md', import.meta.url), 'utf8');
    const [, target = ''] = /"etcd:\/\/\/(\S+)"/.exec(readme) ?? [];
    assert.equal(target, 'discover/grpc/default/greeter:');
    const [key = ''] = Object.keys(written(presets.grpc('discover/grpc'), { ...tcp, name: 'greeter' }));
    // etcd's resolver reads what begins with the target and a slash.
    assert.ok(key.startsWith(`${target.replace('/default/', '/prod/')}/`), key);
  });

  test('grpc, with what can be dialled', () => {
    const v6: Service = { ...tcp, address: '2001:db8::5' };
    assert.deepEqual(written(presets.grpc('discover/grpc'), v6, udp), {
      'discover/grpc/prod/web_A:/0123456789ab-80': '{"Op":0,"Addr":"[2001:db8::5]:49153","Metadata":null}',
    });
  });

  test('registrator, with the protocol where it is not tcp', () => {
    assert.deepEqual(written(presets.registrator('/services'), tcp, udp), {
      '/services/web_A/h1:0123456789ab:80': '10.0.0.5:49153',
      '/services/web_A/h1:0123456789ab:53:udp': '[2001:db8::5]:49154',
    });
  });

  test('traefik, with a number for each server', () => {
    const { id, second } = { id: BigInt(`0x${shortId}`) * 100n, second: BigInt(`0x${shortId}`) * 100n + 1n };
    assert.deepEqual(written(presets.traefik('traefik'), tcp, udp), {
      [`traefik/http/services/prod-web-a-27379642/loadbalancer/servers/${id}/url`]: 'http://10.0.0.5:49153',
      [`traefik/udp/services/prod-web-a-27379642/loadbalancer/servers/${second}/address`]: '[2001:db8::5]:49154',
    });
  });

  test('traefik, with a service over TCP that is no HTTP service below tcp, without a scheme and a weight', () => {
    const index = BigInt(`0x${shortId}`) * 100n;
    const raw = { ...tcp, name: 'db', attributes: { weight: 3, others: { scheme: 'tcp' } } };
    assert.deepEqual(written(presets.traefik('traefik'), raw), {
      [`traefik/tcp/services/prod-db/loadbalancer/servers/${index}/address`]: '10.0.0.5:49153',
    });
    // Beside one of each other kind: no two kinds share a service.
    const kindsOf = (...services: Service[]) =>
      Object.keys(written(presets.traefik('t'), ...services)).map((key) => key.split('/').slice(1, 4).join('/'));
    const http = { ...tcp, name: 'db', privatePort: 81, attributes: { weight: 3, others: { scheme: 'https' } } };
    assert.deepEqual(kindsOf(raw, http, { ...udp, name: 'db', attributes: { others: { scheme: 'tcp' } } }), [
      'tcp/services/prod-db',
      ...['http/services/prod-db', 'http/services/prod-db'],
      'udp/services/prod-db',
    ]);
  });

  test('traefik, with one service for each pair of realm and name', () => {
    const serviceOf = (realm: string, name: string): string => {
      const [view] = viewsOf(presets.traefik('traefik'), realm, 'h1');
      return view?.entryOf({ ...tcp, name }, '', shortId, 0)?.[0].split('/')[3] ?? '';
    };
    const pairs = [
      ['a', 'b-c'],
      ['a-b', 'c'],
      ['a.b', 'c'],
      ['A-b', 'c'],
      ['a', 'b.c'],
    ] as const;
    const services = pairs.map(([realm, name]) => serviceOf(realm, name));
    assert.equal(new Set(services).size, pairs.length, services.join());
    assert.deepEqual(services.slice(0, 2), ['a-b-c', 'a-b_c']);
  });

  test('each with the attributes of an instance, and as without any where it has none', () => {
    const attributes = {
      weight: 3,
      priority: 5,
      tags: ['a', 'b'],
      others: { text: 'v="2"', scheme: 'https', version: '2' },
    };
    const meta = '{"privatePort":80,"weight":3}';
    const rich = { ...tcp, attributes, meta };
    const valuesOf = (...rules: Parameters<typeof written>[0]) => Object.values(written(rules, rich));
    const record = '{"host":"10.0.0.5","port":49153,"ttl":10,"weight":3,"priority":5,"text":"v=\\"2\\""}';
    assert.deepEqual(valuesOf(...presets.skydns('discover.local')), [record, record]);
    const [grpc = ''] = valuesOf(...presets.grpc('g'));
    assert.deepEqual(JSON.parse(grpc), { Op: 0, Addr: '10.0.0.5:49153', Metadata: meta });
    assert.deepEqual(valuesOf(...presets.traefik('traefik')), ['https://10.0.0.5:49153', '3']);
    const custom = customRule(
      '/b/{{id}} = {"v":"{{attr:version}}","w":"{{attr:weight}}","t":"{{attr:tags}}","n":"{{attr:no}}"}',
    );
    assert.deepEqual(valuesOf(custom), ['{"v":"2","w":"3","t":"a,b","n":""}']);
    assert.deepEqual(valuesOf(customRule('/b/{{id}} = {"v":"{{attr:text}}"}')), ['{"v":"v=\\"2\\""}']);
    assert.throws(() => customRule('/b/{{id}}/{{attr:x}} = y') && parseKey('/b/{{id}}/{{attr:x}}'), /must use name/);
  });

  test('custom, by its templates', () => {
    const rule = customRule('/b/{{host:dns}}/{{name}}/{{id}}:{{protocol}} = {"at": "{{url}}", "p": {{privatePort}}}');
    assert.deepEqual(written([rule], tcp), {
      [`/b/h1/web_A/${shortId}:tcp`]: '{"at": "tcp://10.0.0.5:49153", "p": 80}',
    });
  });

  test('custom, for one protocol alone, and with the names of the container and the zone of the host', () => {
    const layout = layoutOf(
      '/discover',
      'prod',
      'h1',
      viewsOf([customRule('udp: /b/{{id}} = {{container}} {{image}} {{zone}}')], 'prod', 'h1', 'rack-1'),
    );
    const valuesOf = (...given: Parameters<typeof keysOf>) =>
      [...keysOf(...given)].filter(([key]) => key.startsWith('/b/')).map(([, value]) => value);
    assert.deepEqual(valuesOf(layout, shortId, [tcp, udp], { name: 'web-1', image: 'nginx:1' }), [
      'web-1 nginx:1 rack-1',
    ]);
    assert.deepEqual(valuesOf(layout, shortId, [udp]), ['  rack-1']);
    assert.deepEqual(valuesOf(layout, shortId, [tcp], { name: 'web-1' }), []);
    const called = viewsOf([customRule('/b/{{zone:dns}}/{{container:dns}}/{{index}}-{{image:dns}} = x')], 'prod', 'h1');
    const [view] = called;
    const [key = ''] = view?.entryOf(tcp, '', shortId, 0, { name: '../web', image: `${'0'.repeat(12)}/a` }) ?? [];
    assert.match(key, /^\/b\/x-\w{8}\/web-\w{8}\/\d+-000000000000-a-\w{8}$/);
    assert.equal(view?.containerOf(key), shortId);
    for (const variable of ['container', 'image', 'zone']) {
      assert.throws(() => parseKey(`/b/{{id}}/{{${variable}}}`), /must use \{\{\w+:dns\}\} in a key/);
      assert.throws(() => parseKey(`/b/{{${variable}:dns}}-{{id}}`), /must have no \{\{\w+\}\} before \{\{id\}\}/);
    }
  });

  test('the first of two ports has the key that does not tell them apart', () => {
    assert.deepEqual(written([customRule('/b/{{name}}/{{id}} = {{port}}')], tcp, { ...tcp, privatePort: 81 }), {
      [`/b/web_A/${shortId}`]: '49153',
    });
  });
});

describe('A DNS label', () => {
  test('is the name itself where that is one', () => {
    for (const name of ['web', 'web-api', '0', 'a'.repeat(63)]) assert.equal(labelOf(name), name);
  });

  test('is another one for each name', () => {
    const names = [
      'web-api',
      'web.api',
      'web_api',
      'Web_API',
      'WEB-API',
      'web--api.',
      '-web-api',
      'a'.repeat(64),
      '_',
      '-',
    ];
    const labels = names.map(labelOf);
    assert.equal(new Set(labels).size, names.length, labels.join());
    for (const label of labels) assert.match(label, /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
  });
});

describe('A key template', () => {
  test('is read backwards for this host and no other', () => {
    const template = parseKey('/x/{{host}}/{{name}}/{{id}}');
    assert.equal(template.containerOf(`/x/h1/web/${shortId}`, 'h1'), shortId);
    for (const key of [
      `/x/h2/web/${shortId}`,
      `/x/h1/web/${shortId}/y`,
      `/x/h1/a/b/${shortId}`,
      '/x/h1/web/0123456789aB',
    ]) {
      assert.equal(template.containerOf(key, 'h1'), undefined, key);
    }
    assert.equal(template.containerOf(`/x/h1/web/${shortId}`, 'h.'), undefined);
  });

  test('gives the id of an index back, and none of a number that is none', () => {
    const template = parseKey('/x/{{index}}');
    const index = BigInt('0xffffffffffff') * 100n + 99n;
    assert.equal(template.containerOf(`/x/${index}`, 'h1'), 'ffffffffffff');
    assert.equal(template.containerOf('/x/99999999999999999', 'h1'), undefined);
    assert.equal(template.containerOf('/x/5', 'h1'), '000000000000');
  });

  test('leaves no name a way to pass for the id of another', () => {
    const [layout, other] = [
      layoutOf('/discover', 'prod', 'h1', viewsOf([customRule('/x/{{id}}-{{name}} = a')], 'r', 'h1')),
      'ba9876543210',
    ];
    const [key = ''] = [...keysOf(layout, shortId, [{ ...tcp, name: `${other}-web` }]).keys()];
    assert.equal(layout.containerOf(key), shortId);
    assert.throws(() => parseKey('/x/{{name}}-{{id}}'), /no \{\{name\}\} before/);
    assert.throws(() => parseKey('/x/{{service}}{{index}}'), /no \{\{service\}\} before/);
    assert.throws(() => parseKey('/x/{{name:dns}}{{index}}'), /no \{\{name\}\} before/);
  });

  const wrong: [template: string, message: RegExp][] = [
    ['/x/{{name}}', /must name the container by \{\{id\}\} or \{\{index\}\}/],
    ['/x/{{id}}/{{port}}', /must use name, realm, host, id, index, service, privatePort, protocol.* got \{\{port\}\}/],
    ['/x/{{id}}/{{nmae}}', /got \{\{nmae\}\}/],
    ['/x/{{id}}/{{name:upper}}', /got \{\{name:upper\}\}/],
    ['/x y/{{id}}', /white space/],
  ];
  for (const [template, message] of wrong) {
    test(`such as ${template} is refused`, () => assert.throws(() => parseKey(template), message));
  }
});

describe('A value template', () => {
  const instance = { name: 'a"\\', realm: 'r', host: 'h', id: shortId, ip: '::1', port: 1, privatePort: 2 };
  const whole = { ...instance, protocol: 'tcp', url: 'tcp://[::1]:1', ordinal: 0 };

  test('that is JSON escapes what is filled in, and another does not', () => {
    assert.deepEqual(JSON.parse(parseValue('{"n":"{{name}}","p":{{port}}}')(whole)), { n: 'a"\\', p: 1 });
    assert.equal(parseValue('{{name}}@{{address}}')(whole), 'a"\\@[::1]:1');
  });

  test('that is no JSON although it begins so is refused', () => {
    assert.throws(() => parseValue('{"p":{{ip}}}'), /JSON/);
  });
});

describe('A rule of a view', () => {
  test('cannot write where the native keys are', () => {
    const heads = ['/discover/service/', '/discover/host/h1/', '/discover/owner/', '/discover/', '/disc', '/', ''];
    for (const head of heads) {
      assert.throws(
        () => checkRule({ key: `${head}{{name}}/{{index}}`, value: 'x' }, '/discover'),
        /text of its own/,
        head,
      );
    }
    checkRule({ key: '/discover/views/{{name}}/{{index}}', value: 'x' }, '/discover');
    checkRule({ key: 'discover/{{name}}/{{index}}', value: 'x' }, '/discover');
  });

  test('tells the ports and the protocols of a service apart', () => {
    const problemOf = (text: string): string => {
      try {
        checkRule(customRule(`${text} = x`), '/discover');
        return '';
      } catch (error) {
        return (error as Error).message;
      }
    };
    for (const text of [
      '/x/{{id}}-{{privatePort}}-{{protocol}}',
      '/x/{{name:dns}}/{{index}}',
      '/x/{{service}}/{{index}}',
      'tcp: /x/{{id}}/{{privatePort}}',
      'sctp:  /x/{{privatePort:dns}}/{{id}}',
      'udp: /x/{{protocol}}/{{id}}-{{privatePort}}',
    ]) {
      assert.equal(problemOf(text), '', text);
    }
    assert.match(problemOf('/x/{{id}}'), /ports and protocols of a service apart: add \{\{privatePort\}\}, and add/);
    assert.match(
      problemOf('/x/{{id}}/{{privatePort}}'),
      /the protocols of a service apart: add \{\{protocol\}\}, or write "tcp: "/,
    );
    assert.match(problemOf('/x/{{index}}'), /the ports and protocols of a service apart/, 'It counts within a name');
    assert.match(problemOf('tcp: /x/{{id}}'), /the ports of a service apart: add \{\{privatePort\}\}$/);
    for (const preset of Object.values(presets)) for (const rule of preset('a')) checkRule(rule, '/discover');
    assert.throws(
      () => customRule('http: /x/{{id}} = y'),
      /must be "<key template> = <value template>", after "tcp: "/,
    );
  });

  test('counts for the protocols it names', () => {
    assert.equal(keysPerInstance([]), 0);
    assert.equal(keysPerInstance(presets.skydns('a')), 2);
    assert.equal(keysPerInstance([...presets.skydns('a'), ...presets.grpc('g'), customRule('/x/{{id}} = y')]), 4);
    assert.equal(keysPerInstance(presets.traefik('t')), 1, 'A service is below http or below tcp');
    assert.equal(keysPerInstance(presets.traefik('t'), 'weight'), 1);
  });
});

test('Templates of a predecessor that make no sense recognise nothing', () => {
  const containerOf = keyMatcher(['/x/{{id', '/y/{{name}}', '/z/{{id}}'], 'h1');
  assert.equal(containerOf(`/z/${shortId}`), shortId);
  assert.equal(containerOf(`/x/${shortId}`), undefined);
});
