/** Which of Docker's bindings is published, and what is said where none is. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bindingsOf, type HostNetwork, hostNetworkOf, publicAddress } from '../../src/container/address/published.ts';
import { urlOf } from '../../src/container/container.ts';
import type { Entry } from '../../src/container/sources/advertisement.ts';

const WEB: Entry = { name: 'web', privatePort: 80, protocol: 'tcp' };

/** A document with these ports, and more of `NetworkSettings` and `HostConfig`. */
function networkOf(Ports: unknown, hostIp = '10.1.2.3', settings = {}, config = {}): HostNetwork {
  const document = {
    HostConfig: { NetworkMode: 'bridge', ...config },
    NetworkSettings: { Ports, ...settings },
  };
  return hostNetworkOf(document, { hostIp });
}

function publish(bindings: unknown, hostIp?: string, entry = WEB) {
  return publicAddress(entry, networkOf({ '80/tcp': bindings }, hostIp));
}

function reachedAt(bindings: unknown, hostIp?: string): string | undefined {
  const address = publish(bindings, hostIp);
  return address.kind === 'reached' ? urlOf({ protocol: 'tcp', ...address }) : undefined;
}

function on(HostIp: string, port: number) {
  return { HostIp, HostPort: `${port}` };
}

function orders<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, index) => orders(items.toSpliced(index, 1)).map((rest) => [item, ...rest]));
}

describe('publicAddress', () => {
  test('a wildcard, an empty and a missing address mean the address of the host', () => {
    for (const wildcard of ['0.0.0.0', '', undefined, null]) {
      assert.equal(reachedAt([{ HostIp: wildcard, HostPort: '8080' }]), 'tcp://10.1.2.3:8080', String(wildcard));
    }
  });

  test('the best binding wins in whatever order Docker lists them', () => {
    const ranked = [
      on('0.0.0.0', 1),
      on('', 2),
      on('10.1.2.3', 4),
      on('10.0.0.1', 5),
      on('::', 3),
      on('127.0.0.1', 7),
    ] as const;
    const expected = ['10.1.2.3:1', '10.1.2.3:2', '10.1.2.3:4', '10.0.0.1:5'];
    for (const [first, url] of expected.entries()) {
      for (const order of orders(ranked.slice(first))) assert.equal(reachedAt(order), `tcp://${url}`);
    }
  });

  test('an IPv6 host prefers its own wildcard, then an empty one', () => {
    const ranked = [on('::', 1), on('', 2), on('2001:db8::7', 3), on('0.0.0.0', 4)] as const;
    for (const first of [0, 1, 2]) {
      for (const order of orders(ranked.slice(first))) {
        assert.equal(reachedAt(order, '2001:db8::7'), `tcp://[2001:db8::7]:${first + 1}`);
      }
    }
  });

  test('among other addresses the lowest text wins, and of one address the lowest port', () => {
    for (const order of orders([on('10.0.0.2', 1), on('10.0.0.1', 9), on('10.0.0.1', 10), on('2001:db8::1', 2)])) {
      assert.equal(reachedAt(order), 'tcp://10.0.0.1:9');
    }
  });

  test('of two bindings to the same wildcard the lowest port wins', () => {
    assert.equal(reachedAt([on('0.0.0.0', 9090), on('0.0.0.0', 8080)]), 'tcp://10.1.2.3:8080');
    assert.equal(reachedAt([on('0.0.0.0', 8080), on('0.0.0.0', 9090)]), 'tcp://10.1.2.3:8080');
  });

  test('IPv6 addresses are written canonically and in brackets', () => {
    assert.equal(reachedAt([on('2001:DB8:0:0::9', 8080)]), 'tcp://[2001:db8::9]:8080');
    assert.equal(reachedAt([on('::', 8080)], '2001:DB8:0::7'), 'tcp://[2001:db8::7]:8080');
    assert.equal(reachedAt([on('10.0.0.1', 1), on('2001:DB8:0::7', 2)], '2001:db8::7'), 'tcp://[2001:db8::7]:2');
  });

  test('a host given by name is published by name', () => {
    assert.equal(reachedAt([on('0.0.0.0', 8080)], 'host.example'), 'tcp://host.example:8080');
  });

  test('loopback in every spelling is refused with the address it is bound to', () => {
    for (const loopback of ['127.0.0.1', '127.255.0.9', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1']) {
      const address = publish([on(loopback, 8080)]);
      assert.ok(address.kind === 'refused' && address.refusal.code === 'loopback', loopback);
      assert.equal(address.refusal.entry, 'web:80/tcp');
      assert.match(address.refusal.detail, /^80\/tcp is bound to (127\.|\[::).* only; publish it on an address/);
    }
  });

  test('an IPv4 address in the form of IPv6 is that IPv4 address', () => {
    assert.equal(reachedAt([on('::ffff:10.0.0.9', 8080)]), 'tcp://10.0.0.9:8080');
    assert.equal(reachedAt([on('::FFFF:0.0.0.0', 8080)]), 'tcp://10.1.2.3:8080');
    assert.equal(reachedAt([on('0.0.0.0', 8080)], '::ffff:10.1.2.3'), 'tcp://10.1.2.3:8080');
  });

  test('a loopback address is not published even where the host is said to have it', () => {
    assert.equal(reachedAt([on('127.0.0.1', 8080)], '127.0.0.1'), undefined);
  });

  test('the protocol is part of what is looked up and of the URL', () => {
    const network = networkOf({ '53/udp': [on('0.0.0.0', 1053)], '53/tcp': [on('0.0.0.0', 2053)] });
    assert.deepEqual(publicAddress({ name: 'dns', privatePort: 53, protocol: 'udp' }, network), {
      kind: 'reached',
      address: '10.1.2.3',
      port: 1053,
    });
  });

  test('on the host network the advertised port is published, whatever Docker maps', () => {
    const ports = { '80/tcp': [on('0.0.0.0', 8080)] };
    for (const hostIp of ['10.1.2.3', '2001:db8::7']) {
      const address = publicAddress(WEB, networkOf(ports, hostIp, {}, { NetworkMode: 'host' }));
      assert.deepEqual(address, { kind: 'reached', address: hostIp, port: 80 });
    }
  });

  test('a port that is not published is refused with those that are', () => {
    const network = networkOf({ '80/tcp': null, '443/tcp': [on('0.0.0.0', 1)], '53/udp': [on('127.0.0.1', 2)] });
    assert.deepEqual(publicAddress(WEB, network), {
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
    const address = publicAddress(WEB, networkOf(Object.fromEntries(ports)));
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

/** The code of each way to be unreachable, and the binding or the setting that is named. */
describe('publicAddress refuses with one reason', () => {
  const codeOf = (network: HostNetwork, entry = WEB): string => {
    const address = publicAddress(entry, network);
    return address.kind === 'reached' ? urlOf({ ...entry, ...address }) : address.refusal.code;
  };
  const bridge = { Networks: { bridge: { Gateway: '172.17.0.1', IPv6Gateway: '2001:db8:17::1' } } };

  test('an address that leads to containers of this host: the gateway of a network, or one of a bridge', () => {
    for (const address of [
      '172.17.0.1',
      '2001:DB8:17:0::1',
      '169.254.7.7',
      'fe80::1',
      'febf::1',
      '::ffff:169.254.1.1',
      '::ffff:172.17.0.1',
    ]) {
      assert.equal(codeOf(networkOf({ '80/tcp': [on(address, 80)] }, '10.1.2.3', bridge)), 'host-only', address);
    }
    const other = hostNetworkOf(
      { NetworkSettings: { Ports: { '80/tcp': [on('172.18.0.1', 80)] } } },
      { hostIp: '10.1.2.3', hostOnly: ['172.18.0.1', 'fd00::1'] },
    );
    assert.equal(codeOf(other), 'host-only');
  });

  test('but not an address that is configured as the host’s, nor where another binding is reached', () => {
    assert.equal(codeOf(networkOf({ '80/tcp': [on('172.17.0.1', 80)] }, '172.17.0.1', bridge)), 'tcp://172.17.0.1:80');
    for (const order of orders([on('172.17.0.1', 1), on('::', 2), on('127.0.0.1', 3), on('10.9.9.9', 4)])) {
      assert.equal(codeOf(networkOf({ '80/tcp': order }, '10.1.2.3', bridge)), 'tcp://10.9.9.9:4');
    }
  });

  test('a wildcard of the other family', () => {
    assert.equal(codeOf(networkOf({ '80/tcp': [on('::', 80)] }, '10.1.2.3')), 'other-family');
    assert.equal(codeOf(networkOf({ '80/tcp': [on('0.0.0.0', 80)] }, '2001:db8::7')), 'other-family');
  });

  test('whatever the order of bindings that are all of no use', () => {
    for (const order of orders([on('172.17.0.1', 1), on('::', 2), on('127.0.0.1', 3)])) {
      assert.equal(codeOf(networkOf({ '80/tcp': order }, '10.1.2.3', bridge)), 'other-family');
    }
  });

  test('the host network of a rootless engine', () => {
    const host = { NetworkMode: 'host' };
    for (const base of ['/run/user/1000/docker', '/var/run/user/0/docker', '/home/u/.docker/run/docker']) {
      const settings = { SandboxKey: `${base}/netns/default` };
      assert.equal(codeOf(networkOf({}, '10.1.2.3', settings, host)), 'rootless-host-network', base);
    }
    for (const base of ['/var/run/docker', '/run/docker', '/srv/exec-root', '']) {
      const settings = { SandboxKey: `${base}/netns/default` };
      assert.equal(codeOf(networkOf({}, '10.1.2.3', settings, host)), 'tcp://10.1.2.3:80', base);
    }
  });

  test('no network, another container’s network, the ingress network of a swarm, and a port that was not bound', () => {
    assert.equal(codeOf(networkOf({}, undefined, {}, { NetworkMode: 'none' })), 'no-network');
    const shared = { NetworkMode: `container:${'a'.repeat(64)}` };
    assert.equal(codeOf(networkOf({}, undefined, {}, shared)), 'shared-network');
    // As Podman has it in a pod: the ports of the network's container are told of each member.
    assert.equal(codeOf(networkOf({ '80/tcp': [on('', 8080)] }, undefined, {}, shared)), 'tcp://10.1.2.3:8080');
    const ingress = { Networks: { ingress: { Gateway: '' }, app: {} } };
    assert.equal(codeOf(networkOf({}, undefined, ingress)), 'swarm-ingress');
    assert.equal(codeOf(networkOf({ '80/tcp': [on('0.0.0.0', 8080)] }, undefined, ingress)), 'tcp://10.1.2.3:8080');
    const asked = { PortBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] } };
    assert.equal(codeOf(networkOf({ '80/tcp': null }, undefined, {}, asked)), 'not-bound');
    assert.equal(
      codeOf(networkOf({ '81/tcp': null }, undefined, {}, asked), { ...WEB, privatePort: 81 }),
      'not-published',
    );
  });

  test('and never throws for a document of another shape', () => {
    for (const odd of [
      null,
      1,
      'x',
      [],
      { NetworkSettings: null },
      { NetworkSettings: { Networks: { a: 1, b: null } } },
    ]) {
      assert.equal(codeOf(hostNetworkOf(odd, { hostIp: '10.1.2.3' })), 'not-published');
    }
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
