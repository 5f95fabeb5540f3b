/** Where in etcd a container's services stand, and whose a key is. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Protocol, Service } from '../../src/container/container.ts';
import { parseInstance } from '../../src/layout/instance.ts';
import { keysOf, layoutOf } from '../../src/layout/keys.ts';

const shortId = '0123456789ab';
const layout = layoutOf('/discover', 'default', 'host-1');

function service(name: string, privatePort = 80, protocol: Protocol = 'tcp', port = 32_768): Service {
  return { name, privatePort, protocol, address: '10.0.0.1', port };
}

describe('layoutOf', () => {
  test('puts owner, records and services below the prefix', () => {
    assert.equal(layout.ownerKey, '/discover/owner/host-1');
    assert.equal(layout.recordPrefix, '/discover/host/host-1/');
    assert.equal(layout.recordKey(shortId), `/discover/host/host-1/${shortId}`);
    assert.equal(layout.serviceKey('web', shortId), `/discover/service/web/default/host-1/${shortId}`);
  });

  test('keeps a prefix of several parts, and one that is empty', () => {
    assert.equal(layoutOf('/a/b', 'r', 'h').serviceKey('web', shortId), `/a/b/service/web/r/h/${shortId}`);
    assert.equal(layoutOf('', 'r', 'h').ownerKey, '/owner/h');
  });

  test('names the service of a service key', () => {
    assert.equal(layout.nameOf(layout.serviceKey('web', shortId)), 'web');
    assert.equal(layout.nameOf(`${layout.serviceKey('web', shortId)}:443`), 'web');
    assert.equal(layout.nameOf(layout.recordKey(shortId)), undefined);
    assert.equal(layout.nameOf(layout.ownerKey), undefined);
  });
});

describe('containerOf', () => {
  const record = `/discover/host/host-1/${shortId}`;
  const plain = `/discover/service/web/default/host-1/${shortId}`;

  test('knows the container of its keys', () => {
    for (const key of [record, plain, `${plain}:80`, `${plain}:65535`, `${plain}:53:udp`, `${plain}:9:sctp`]) {
      assert.equal(layout.containerOf(key), shortId, key);
    }
  });

  test('knows its containers in any realm', () => {
    assert.equal(layout.containerOf(`/discover/service/web/other/host-1/${shortId}`), shortId);
  });

  const nearMisses: [string, string[]][] = [
    ['another host', [plain.replace('host-1', 'host-2'), record.replace('host-1', 'host-2')]],
    ['a host that begins alike', [plain.replace('host-1', 'host-10'), record.replace('host-1', 'host-10')]],
    ['a host that ends alike', [plain.replace('host-1', 'my-host-1'), record.replace('host-1', 'my-host-1')]],
    ['a realm of that name', [`/discover/service/web/host-1/other/${shortId}`]],
    ['upper-case digits', [plain.replace('ab', 'AB'), record.replace('ab', 'AB')]],
    ['11 digits', [plain.slice(0, -1), record.slice(0, -1)]],
    ['13 digits', [`${plain}c`, `${record}c`]],
    ['another prefix', [plain.replace('/discover', '/discover2'), `/x${record}`, plain.slice(1), record.slice(1)]],
    ['a deeper path', [`${plain}/x`, `${record}/x`, plain.replace('web', 'web/x'), `${plain}:80/x`]],
    ['a shorter path', [`/discover/service/web/host-1/${shortId}`, `/discover/host/${shortId}`]],
    ['an empty part', [plain.replace('/web/', '//'), plain.replace('/default/', '//')]],
    ['something other than a port', [`${plain}:`, `${plain}:x`, `${plain}:123456`, `${plain}:80:`, `${plain}:80:UDP`]],
    ['a record with a port', [`${record}:80`]],
    ['a key that goes on behind a newline', [`${plain}\n`, `${record}\n`, `\n${plain}`]],
    ['the owner, the prefixes and nothing', [layout.ownerKey, layout.recordPrefix, '/discover/service/', '']],
  ];
  for (const [name, keys] of nearMisses) {
    test(`refuses ${name}`, () => {
      for (const key of keys) assert.equal(layout.containerOf(key), undefined, key);
    });
  }

  test('takes a host for text, not for a pattern', () => {
    const dotted = layoutOf('/discover', 'default', 'a.b+c');
    assert.equal(dotted.containerOf(`/discover/service/web/default/a.b+c/${shortId}`), shortId);
    assert.equal(dotted.containerOf(`/discover/service/web/default/aXb+c/${shortId}`), undefined);
  });
});

describe('keysOf', () => {
  test('gives a service its plain key and the container its record', () => {
    assert.deepEqual(
      [...keysOf(layout, shortId, [service('web')])],
      [
        [`/discover/service/web/default/host-1/${shortId}`, 'tcp://10.0.0.1:32768'],
        [`/discover/host/host-1/${shortId}`, `{"web":"/discover/service/web/default/host-1/${shortId}"}`],
      ],
    );
  });

  test('gives nothing to a container that offers nothing, not even a record', () => {
    assert.equal(keysOf(layout, shortId, []).size, 0);
  });

  test('gives the first port of a name the plain key and each further one a key of its own', () => {
    const services = [
      service('dns', 53, 'udp', 1),
      service('dns', 53, 'tcp', 2),
      service('dns', 54, 'udp', 3),
      service('web', 80, 'tcp', 4),
    ];
    const plain = `/discover/service/dns/default/host-1/${shortId}`;
    const web = `/discover/service/web/default/host-1/${shortId}`;
    assert.deepEqual(
      [...keysOf(layout, shortId, services)],
      [
        [plain, 'udp://10.0.0.1:1'],
        [`${plain}:53`, 'tcp://10.0.0.1:2'],
        [`${plain}:54:udp`, 'udp://10.0.0.1:3'],
        [web, 'tcp://10.0.0.1:4'],
        [`/discover/host/host-1/${shortId}`, JSON.stringify({ dns: plain, web })],
      ],
    );
  });

  test('gives the second address of an instance a key of its own beside the first, with the same meta', () => {
    const other = { address: '2001:db8::5', port: 9 };
    const services = [
      { ...service('dns', 53, 'tcp', 2), other },
      { ...service('dns', 53, 'udp', 1), other, meta: '{}' },
      { ...service('web', 80, 'tcp', 4), address: '2001:db8::1', other: { address: '10.0.0.1', port: 4 } },
    ];
    const dns = `dns/default/host-1/${shortId}`;
    const web = `/discover/service/web/default/host-1/${shortId}`;
    const expected = [
      [`/discover/service/${dns}`, 'tcp://10.0.0.1:2'],
      [`/discover/service/${dns}:ip6`, 'tcp://[2001:db8::5]:9'],
      [`/discover/service/${dns}:53:udp`, 'udp://10.0.0.1:1'],
      [`/discover/meta/${dns}:53:udp`, '{}'],
      [`/discover/service/${dns}:53:udp:ip6`, 'udp://[2001:db8::5]:9'],
      [`/discover/meta/${dns}:53:udp:ip6`, '{}'],
      [web, 'tcp://[2001:db8::1]:4'],
      [`${web}:ip4`, 'tcp://10.0.0.1:4'],
    ];
    const keys = keysOf(layout, shortId, services);
    assert.deepEqual([...keys].slice(0, -1), expected);
    for (const key of keys.keys()) assert.equal(layout.containerOf(key), shortId, key);
    for (const [key = '', url = ''] of expected.filter(([one]) => !one?.includes('/meta/'))) {
      assert.equal(layout.plainKeyOf(key)?.endsWith(shortId), true, key);
      assert.equal(parseInstance('/discover/service/', key, url)?.containerId, shortId, key);
    }
    for (const odd of [':ip6:80', ':ip5', ':ip', ':80:ip', ':ip6:ip4', 'ip6']) {
      assert.equal(layout.plainKeyOf(`${web}${odd}`) === web, odd === ':80:ip', odd);
    }
  });

  test('takes __proto__ and its like for names like any other', () => {
    for (const name of Object.getOwnPropertyNames(Object.prototype)) {
      const keys = keysOf(layout, shortId, [service(name), service('web')]);
      const record = JSON.parse(keys.get(layout.recordKey(shortId)) ?? '') as object;
      assert.deepEqual(new Set(Object.keys(record)), new Set([name, 'web']), name);
      assert.equal(Object.getOwnPropertyDescriptor(record, name)?.value, layout.serviceKey(name, shortId));
      assert.equal(keys.size, 3);
    }
  });

  const part = fc.stringMatching(/^[A-Za-z0-9._~-]{1,12}$/);
  const anyService = fc.record({
    name: fc.oneof(part, fc.constantFrom('__proto__', 'constructor', 'a%2Fb', 'größe', ' ')),
    privatePort: fc.integer({ min: 1, max: 65_535 }),
    protocol: fc.constantFrom<Protocol>('tcp', 'udp', 'sctp'),
    address: fc.constant('10.0.0.1'),
    port: fc.constant(1),
    other: fc.constant({ address: '2001:db8::5', port: 1 }),
  });

  test('never leaves its own container, whatever is advertised', () => {
    const shortIds = fc.stringMatching(/^[0-9a-f]{12}$/);
    fc.assert(
      fc.property(part, part, shortIds, fc.array(anyService, { maxLength: 20 }), (realm, host, own, services) => {
        const here = layoutOf('/p', realm, host);
        const other = layoutOf('/p', realm, `${host}x`);
        const keys = keysOf(here, own, services);
        for (const key of keys.keys()) {
          assert.equal(here.containerOf(key), own);
          assert.equal(other.containerOf(key), undefined);
          assert.notEqual(key, here.ownerKey);
        }
        const names = new Set(services.map(({ name }) => name));
        assert.deepEqual(
          new Set([...keys.keys()].map(here.nameOf)),
          new Set(services.length ? [...names, undefined] : []),
        );
      }),
    );
  });
});
