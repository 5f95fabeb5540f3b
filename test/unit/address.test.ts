/** Which of Docker's bindings is published, and what is said where none is. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bindingsOf, publicUrl } from '../../src/container/address/published.ts';
import type { Entry } from '../../src/container/sources/variable.ts';

const WEB: Entry = { name: 'web', privatePort: 80, protocol: 'tcp' };

function publish(bindings: unknown, hostIp = '10.1.2.3', entry = WEB) {
  return publicUrl(entry, { hostIp, networkMode: 'bridge', published: bindingsOf({ '80/tcp': bindings }) });
}

function urlOf(bindings: unknown, hostIp?: string): string | undefined {
  const address = publish(bindings, hostIp);
  return address.kind === 'url' ? address.url : undefined;
}

function on(HostIp: string, port: number) {
  return { HostIp, HostPort: `${port}` };
}

function orders<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, index) => orders(items.toSpliced(index, 1)).map((rest) => [item, ...rest]));
}

describe('publicUrl', () => {
  test('a wildcard, an empty and a missing address mean the address of the host', () => {
    for (const wildcard of ['0.0.0.0', '', '::', undefined, null]) {
      assert.equal(urlOf([{ HostIp: wildcard, HostPort: '8080' }]), 'tcp://10.1.2.3:8080', String(wildcard));
    }
  });

  test('the best binding wins in whatever order Docker lists them', () => {
    const ranked = [
      on('0.0.0.0', 1),
      on('', 2),
      on('::', 3),
      on('10.1.2.3', 4),
      on('10.0.0.1', 5),
      on('127.0.0.1', 7),
    ] as const;
    const expected = ['10.1.2.3:1', '10.1.2.3:2', '10.1.2.3:3', '10.1.2.3:4', '10.0.0.1:5'];
    for (const [first, url] of expected.entries()) {
      for (const order of orders(ranked.slice(first))) assert.equal(urlOf(order), `tcp://${url}`);
    }
  });

  test('an IPv6 host prefers its own wildcard, then an empty one, then the IPv4 one', () => {
    const ranked = [on('::', 1), on('', 2), on('0.0.0.0', 3), on('2001:db8::7', 4), on('10.0.0.1', 5)] as const;
    for (const first of [0, 1, 2, 3]) {
      for (const order of orders(ranked.slice(first))) {
        assert.equal(urlOf(order, '2001:db8::7'), `tcp://[2001:db8::7]:${first + 1}`);
      }
    }
  });

  test('among other addresses the lowest text wins, and of one address the lowest port', () => {
    for (const order of orders([on('10.0.0.2', 1), on('10.0.0.1', 9), on('10.0.0.1', 10), on('2001:db8::1', 2)])) {
      assert.equal(urlOf(order), 'tcp://10.0.0.1:9');
    }
  });

  test('two bindings to the same wildcard keep the order of Docker, as in the original', () => {
    assert.equal(urlOf([on('0.0.0.0', 9090), on('0.0.0.0', 8080)]), 'tcp://10.1.2.3:9090');
    assert.equal(urlOf([on('0.0.0.0', 8080), on('0.0.0.0', 9090)]), 'tcp://10.1.2.3:8080');
  });

  test('IPv6 addresses are written canonically and in brackets', () => {
    assert.equal(urlOf([on('2001:DB8:0:0::9', 8080)]), 'tcp://[2001:db8::9]:8080');
    assert.equal(urlOf([on('::', 8080)], '2001:DB8:0::7'), 'tcp://[2001:db8::7]:8080');
    assert.equal(urlOf([on('10.0.0.1', 1), on('2001:DB8:0::7', 2)], '2001:db8::7'), 'tcp://[2001:db8::7]:2');
  });

  test('a host given by name is published by name', () => {
    assert.equal(urlOf([on('0.0.0.0', 8080)], 'host.example'), 'tcp://host.example:8080');
  });

  test('loopback in every spelling is refused with the address it is bound to', () => {
    for (const loopback of ['127.0.0.1', '127.255.0.9', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1']) {
      const address = publish([on(loopback, 8080)]);
      assert.ok(address.kind === 'refused' && address.refusal.code === 'loopback', loopback);
      assert.equal(address.refusal.entry, 'web:80/tcp');
      assert.match(address.refusal.detail, /^80\/tcp is bound to (127\.|\[::).* only; publish it on an address/);
    }
  });

  test('a loopback address is not published even where the host is said to have it', () => {
    assert.equal(urlOf([on('127.0.0.1', 8080)], '127.0.0.1'), undefined);
  });

  test('the protocol is part of what is looked up and of the URL', () => {
    const published = bindingsOf({ '53/udp': [on('0.0.0.0', 1053)], '53/tcp': [on('0.0.0.0', 2053)] });
    const network = { hostIp: '10.1.2.3', networkMode: 'bridge', published };
    assert.deepEqual(publicUrl({ name: 'dns', privatePort: 53, protocol: 'udp' }, network), {
      kind: 'url',
      url: 'udp://10.1.2.3:1053',
    });
  });

  test('on the host network the advertised port is published, whatever Docker maps', () => {
    const published = bindingsOf({ '80/tcp': [on('0.0.0.0', 8080)] });
    for (const [hostIp, host] of [
      ['10.1.2.3', '10.1.2.3'],
      ['2001:db8::7', '[2001:db8::7]'],
    ] as const) {
      const address = publicUrl(WEB, { hostIp, networkMode: 'host', published });
      assert.deepEqual(address, { kind: 'url', url: `tcp://${host}:80` });
    }
  });

  test('a port that is not published is refused with those that are', () => {
    const published = bindingsOf({ '80/tcp': null, '443/tcp': [on('0.0.0.0', 1)], '53/udp': [on('127.0.0.1', 2)] });
    assert.deepEqual(publicUrl(WEB, { hostIp: '10.1.2.3', networkMode: 'bridge', published }), {
      kind: 'refused',
      refusal: {
        code: 'not-published',
        entry: 'web:80/tcp',
        detail: '80/tcp is not published; published are 443/tcp, 53/udp',
      },
    });
  });

  test('a thousand published ports are named by the first five', () => {
    const ports = Array.from({ length: 1000 }, (_, index) => [`${index + 1000}/tcp`, [on('0.0.0.0', index + 1)]]);
    const published = bindingsOf(Object.fromEntries(ports));
    const address = publicUrl(WEB, { hostIp: '10.1.2.3', networkMode: 'bridge', published });
    assert.ok(address.kind === 'refused');
    assert.equal(
      address.refusal.detail,
      '80/tcp is not published; published are 1000/tcp, 1001/tcp, 1002/tcp, 1003/tcp, 1004/tcp and 995 more',
    );
  });

  test('a container that publishes nothing is told of -p', () => {
    const address = publish(null);
    assert.ok(address.kind === 'refused' && address.refusal.code === 'not-published');
    assert.match(address.refusal.detail, /run the container with -p$/);
  });

  test('the refused entry is cut to 64 characters', () => {
    const address = publish(null, undefined, { ...WEB, name: 'n'.repeat(128) });
    assert.ok(address.kind === 'refused');
    assert.equal(address.refusal.entry, 'n'.repeat(64));
  });
});

describe('bindingsOf', () => {
  test('what has not the shape of a port map has no ports', () => {
    for (const ports of [undefined, null, 1, 'x', true, [], [[on('0.0.0.0', 1)]]]) {
      assert.equal(bindingsOf(ports).size, 0, JSON.stringify(ports));
    }
  });

  test('a malformed binding is left out and its neighbours stay', () => {
    const malformed = [
      null,
      'x',
      [],
      {},
      { HostIp: '0.0.0.0' },
      { HostIp: 1, HostPort: '80' },
      { HostIp: '0.0.0.0', HostPort: 80 },
      ...['', '0', '65536', '080', '8o', '-1', ' 80', '80\n'].map((HostPort) => ({ HostIp: '0.0.0.0', HostPort })),
      ...['localhost', '10.0.0', '1.2.3.4:5', 'fe80::1%eth0', '[::]'].map((HostIp) => ({ HostIp, HostPort: '80' })),
    ];
    assert.deepEqual(
      [...bindingsOf({ '80/tcp': [...malformed, on('', 1), on('::', 2)] })],
      [
        [
          '80/tcp',
          [
            { host: '', port: 1 },
            { host: '[::]', port: 2 },
          ],
        ],
      ],
    );
    assert.equal(bindingsOf({ '80/tcp': malformed, '81/tcp': {}, '82/tcp': 'x' }).size, 0);
  });

  test('a port map parsed from JSON may use any key', () => {
    const ports: unknown = JSON.parse('{"__proto__": [{"HostIp": "", "HostPort": "1"}], "80/tcp": []}');
    assert.deepEqual([...bindingsOf(ports).keys()], ['__proto__']);
  });
});
