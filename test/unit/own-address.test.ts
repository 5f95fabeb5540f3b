/** The own address of a container: which one is published, and the reason where there is none. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { addressOf } from '../../src/container/address/address.ts';
import { hostNetworkOf } from '../../src/container/address/published.ts';
import type { AddressPolicy, AddressWishes } from '../../src/container/address/wishes.ts';
import type { Entry } from '../../src/container/sources/advertisement.ts';

const WEB: Entry = { name: 'web', privatePort: 80, protocol: 'tcp' };
const PUBLISHED = { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '32768' }] };
const own: AddressPolicy = { from: 'container' };

interface Given {
  readonly networks?: unknown;
  readonly ports?: unknown;
  readonly mode?: string;
  readonly settings?: object;
  readonly hostIp?: string;
  readonly hostIp6?: string;
}

/** `<address>:<port>`, with the second address behind a comma; or the code of the refusal and its detail. */
function of(given: Given, policy: AddressPolicy = own, wishes?: AddressWishes): string {
  const {
    networks: Networks,
    ports: Ports = {},
    mode: NetworkMode = 'app',
    settings,
    hostIp = '10.1.2.3',
    hostIp6,
  } = given;
  const document = { HostConfig: { NetworkMode }, NetworkSettings: { Ports, Networks, ...settings } };
  const address = addressOf(WEB, hostNetworkOf(document, { hostIp, hostIp6 }), policy, wishes);
  if (address.kind === 'refused') return `${address.refusal.code}: ${address.refusal.detail}`;
  const { other } = address;
  return `${address.address} ${address.port}${other ? `, ${other.address} ${other.port}` : ''}`;
}

const codeOf = (...given: Parameters<typeof of>): string => of(...given).split(/[: ]/, 1)[0] as string;
const at = (IPAddress: unknown, GlobalIPv6Address: unknown = '') => ({ IPAddress, GlobalIPv6Address });

describe('the address of a container itself', () => {
  test('is the one on its only network, with the private port, whatever is published', () => {
    assert.equal(of({ networks: { app: at('10.88.0.5') }, ports: PUBLISHED }), '10.88.0.5 80');
    assert.equal(of({ networks: { app: at('10.88.0.5'), empty: at('') } }), '10.88.0.5 80');
  });

  test('is taken on a network that the engine routes, where either is asked for and the other family is no way in', () => {
    const ports = {
      '80/tcp': [
        { HostIp: '0.0.0.0', HostPort: '' },
        { HostIp: '::', HostPort: '32769' },
      ],
    };
    const networks = { app: at('10.88.0.5') };
    assert.equal(of({ networks, ports }, { from: 'either' }), '10.88.0.5 80');
    assert.equal(of({ networks, ports, hostIp: 'fd00::1' }, { from: 'either' }), 'fd00::1 32769');
    const detail = "not-bound: 80/tcp is open at the container's own address: its network is routed";
    assert.equal(of({ networks, ports }, { from: 'published' }), detail);
    assert.equal(of({ networks, ports: { '80/tcp': ports['80/tcp'].slice(0, 1) } }, { from: 'published' }), detail);
    // Who publishes for one family alone means it.
    const narrow = { '80/tcp': [{ HostIp: '::', HostPort: '32769' }] };
    assert.equal(codeOf({ networks, ports: narrow }, { from: 'either' }), 'other-family');
  });

  test('on several networks is refused with the list of them, in whatever order the engine lists them', () => {
    const detail = 'network-ambiguous: 80/tcp is open on back (10.2.0.5), front (10.1.0.5), and none of them is named';
    assert.equal(of({ networks: { front: at('10.1.0.5'), back: at('10.2.0.5') } }), detail);
    assert.equal(of({ networks: { back: at('10.2.0.5'), front: at('10.1.0.5') } }), detail);
  });

  test('is on the network that is named, the first in the order of preference that it is on', () => {
    const networks = {
      front: at('10.1.0.5'),
      back: at('10.2.0.5'),
      'side-1': at('10.3.0.5'),
      'side-2': at('10.4.0.5'),
    };
    const named = (...names: string[]) => of({ networks }, { from: 'container', networks: names });
    assert.equal(named('back', 'front'), '10.2.0.5 80');
    assert.equal(named('absent', 'f*'), '10.1.0.5 80');
    assert.equal(named('side-?', 'front').slice(0, 17), 'network-ambiguous');
    assert.equal(named('side-*').includes('side-1 (10.3.0.5), side-2 (10.4.0.5),'), true);
    assert.equal(named('absent').slice(0, 17), 'network-ambiguous');
  });

  test('on a network that none names is taken where there is no choice, but not against the label', () => {
    const networks = { back: at('10.2.0.5') };
    assert.equal(of({ networks }, { from: 'container', networks: ['front'] }), '10.2.0.5 80');
    assert.equal(
      of({ networks }, own, { networks: ['front'] }),
      'network-missing: 80/tcp should be published on front, but the container is on back (10.2.0.5)',
    );
  });

  test('by label counts before the policy of the host', () => {
    const networks = { front: at('10.1.0.5'), back: at('10.2.0.5') };
    const policy: AddressPolicy = { from: 'published', networks: ['front'] };
    assert.equal(of({ networks, ports: PUBLISHED }, policy), '10.1.2.3 32768');
    assert.equal(of({ networks, ports: PUBLISHED }, policy, { from: 'container' }), '10.1.0.5 80');
    assert.equal(of({ networks, ports: PUBLISHED }, policy, { from: 'container', networks: ['back'] }), '10.2.0.5 80');
    assert.equal(of({ networks, ports: PUBLISHED }, own, { from: 'published' }), '10.1.2.3 32768');
  });

  test('either: the published one where there is a binding, else its own', () => {
    const networks = { app: at('10.88.0.5') };
    const either: AddressPolicy = { from: 'either' };
    assert.equal(of({ networks, ports: PUBLISHED }, either), '10.1.2.3 32768');
    assert.equal(of({ networks }, either), '10.88.0.5 80');
    assert.equal(of({ networks, ports: { '80/tcp': null, '81/tcp': PUBLISHED['80/tcp'] } }, either), '10.88.0.5 80');
    // A binding to loopback was asked for, so that others do not come in.
    assert.equal(
      codeOf({ networks, ports: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '1' }] } }, either),
      'loopback',
    );
    assert.equal(codeOf({ networks: {} }, either), 'not-published');
    assert.equal(codeOf({ networks: {}, mode: 'none' }, either), 'no-network');
  });

  test('of a form that no other machine can use counts as none', () => {
    const v4 = [
      ...[
        '',
        '0.0.0.0',
        '127.0.0.1',
        '169.254.1.1',
        '224.0.0.1',
        '255.255.255.255',
        '10.0.0.5/16',
        '10.0.0',
        ' 10.0.0.5',
      ],
      ...['2001:db8::5', undefined, null, 5, {}, ['10.0.0.5']],
    ];
    for (const one of v4) assert.equal(codeOf({ networks: { app: at(one) } }), 'no-address', String(one));
    const v6 = ['10.0.0.5', '::', '::1', 'fe80::5', 'fe80::5%eth0', '2001:db8::5/64', '2001:db8::5%1', 'ff02::1'];
    for (const one of v6) {
      assert.equal(codeOf({ networks: { app: at('', one) } }), 'no-address', one);
      assert.equal(of({ networks: { app: at('10.0.0.5', one) } }), '10.0.0.5 80', one);
    }
    for (const odd of [undefined, null, 1, 'x', [], { app: null }, { app: 1 }, { app: [] }]) {
      assert.equal(codeOf({ networks: odd }), 'no-address', JSON.stringify(odd));
    }
  });

  test('of both families begins with that of the host', () => {
    const networks = { app: at('10.88.0.5', '2001:DB8:0::5') };
    assert.equal(of({ networks }), '10.88.0.5 80, 2001:db8::5 80');
    assert.equal(of({ networks, hostIp: '2001:db8::1' }), '2001:db8::5 80, 10.88.0.5 80');
    assert.equal(of({ networks: { app: at('', '2001:db8::5') } }), '2001:db8::5 80');
  });

  test('in the ingress network of a swarm counts only if it is named', () => {
    const networks = { ingress: at('10.0.0.9'), app: at('10.88.0.5') };
    assert.equal(of({ networks }), '10.88.0.5 80');
    assert.equal(codeOf({ networks: { ingress: at('10.0.0.9') } }), 'swarm-ingress');
    assert.equal(of({ networks }, { from: 'container', networks: ['*'] }), '10.88.0.5 80');
    assert.equal(of({ networks }, { from: 'container', networks: ['ingress'] }), '10.0.0.9 80');
  });

  test('is that of the host on the network of the host, and none without a network or in a rootless engine', () => {
    assert.equal(of({ networks: { host: at('') }, mode: 'host' }), '10.1.2.3 80');
    assert.equal(
      of({ networks: { host: at('') }, mode: 'host', hostIp6: '2001:db8::1' }),
      '10.1.2.3 80, 2001:db8::1 80',
    );
    assert.equal(codeOf({ networks: { none: at('') }, mode: 'none' }), 'no-network');
    assert.equal(codeOf({ networks: {}, mode: `container:${'a'.repeat(64)}` }), 'shared-network');
    const settings = { SandboxKey: '/run/user/1000/docker/netns/x' };
    assert.equal(codeOf({ networks: { app: at('172.17.0.2') }, settings }), 'rootless-network');
    assert.equal(codeOf({ networks: { host: at('') }, mode: 'host', settings }), 'rootless-host-network');
  });
});

describe('an address that a label names', () => {
  const networks = {
    app: { IPAddress: '10.88.0.5', IPPrefixLen: 24 },
    odd: { IPAddress: '10.99.0.5', IPPrefixLen: '0' },
  };
  const named = (host: string, allowLabel?: string[]) => of({ networks }, { ...own, allowLabel }, { host });

  test('is published with the private port where the host allows its network', () => {
    assert.equal(named('10.9.0.7', ['10.9.0.0/16']), '10.9.0.7 80');
    assert.equal(named('[2001:db8::7]', ['10.0.0.0/8', '2001:db8::/32']), '2001:db8::7 80');
    assert.equal(named('10.88.0.77', ['a*']), '10.88.0.77 80');
  });

  test('is refused elsewhere, and everywhere unless something is allowed', () => {
    assert.equal(
      named('10.9.0.7'),
      'address-not-allowed: 10.9.0.7 is not allowed: the host allows no address by label',
    );
    assert.equal(named('10.8.0.7', ['10.9.0.0/16', 'app']).startsWith('address-not-allowed'), true);
    assert.equal(named('[2001:db8::7]', ['0.0.0.0/0']).startsWith('address-not-allowed'), true);
    assert.equal(named('10.88.1.7', ['app']).startsWith('address-not-allowed'), true);
  });
});

describe('the address of the host', () => {
  const ports = (...HostIps: string[]) => ({
    '80/tcp': HostIps.map((HostIp, index) => ({ HostIp, HostPort: `${8001 + index}` })),
  });
  const published: AddressPolicy = { from: 'published' };
  const both: AddressPolicy = { from: 'published', families: 'both' };
  const hosts = {
    v4: { hostIp: '10.1.2.3' },
    v6: { hostIp: '2001:db8::1' },
    both: { hostIp: '10.1.2.3', hostIp6: '2001:db8::1' },
  };

  test('of each family, for every combination of wildcards, addresses and loopback', () => {
    const cases: [HostIps: string[], v4: string, v6: string, both: string][] = [
      [['0.0.0.0'], '10.1.2.3 8001', 'other-family', '10.1.2.3 8001'],
      [['::'], 'other-family', '2001:db8::1 8001', '2001:db8::1 8001'],
      [['0.0.0.0', '::'], '10.1.2.3 8001', '2001:db8::1 8002', '10.1.2.3 8001, 2001:db8::1 8002'],
      [['10.1.2.3'], '10.1.2.3 8001', '10.1.2.3 8001', '10.1.2.3 8001'],
      [['2001:db8::1'], '2001:db8::1 8001', '2001:db8::1 8001', '2001:db8::1 8001'],
      [
        ['0.0.0.0', '2001:db8::1'],
        '10.1.2.3 8001, 2001:db8::1 8002',
        '2001:db8::1 8002',
        '10.1.2.3 8001, 2001:db8::1 8002',
      ],
      [['127.0.0.1', '::'], 'other-family', '2001:db8::1 8002', '2001:db8::1 8002'],
      [['0.0.0.0', '::1'], '10.1.2.3 8001', 'other-family', '10.1.2.3 8001'],
      [['127.0.0.1', '::1'], 'loopback', 'loopback', 'loopback'],
    ];
    for (const [HostIps, ...expected] of cases) {
      for (const order of [HostIps, HostIps.toReversed()]) {
        const listed = ports(...HostIps)['80/tcp'];
        const Ports = { '80/tcp': order.map((HostIp) => listed.find((one) => one.HostIp === HostIp)) };
        for (const [index, host] of Object.values(hosts).entries()) {
          const found = of({ ...host, ports: Ports }, both).replace(/^([a-z]+-?[a-z]+): .*/, '$1');
          assert.equal(found, expected[index], `${order} on ${JSON.stringify(host)}`);
        }
      }
    }
  });

  test('of two ports for the other family, the same as for the first', () => {
    const on = (HostIp: string, HostPort: string) => ({ HostIp, HostPort });
    const twice = { '80/tcp': [on('0.0.0.0', '9000'), on('::', '8000'), on('::', '9000')] };
    assert.equal(of({ ...hosts.both, ports: twice }, published), '10.1.2.3 9000, 2001:db8::1 9000');
  });

  test('in the network of the host counts before other addresses', () => {
    const document = { NetworkSettings: { Ports: ports('10.0.0.9', '10.1.7.7', '192.168.0.1') } };
    const network = hostNetworkOf(document, { hostIp: '10.1.2.3', hostNetworks: ['2001:db8::/64', '10.1.0.0/16'] });
    assert.deepEqual(addressOf(WEB, network), { kind: 'reached', address: '10.1.7.7', port: 8002 });
  });

  test('is missing for a while: what needs it is refused, and nothing else', () => {
    assert.equal(codeOf({ hostIp: '', ports: PUBLISHED }, published), 'no-host-address');
    assert.equal(codeOf({ hostIp: '', ports: ports('') }, published), 'no-host-address');
    assert.equal(codeOf({ hostIp: '', mode: 'host' }, published), 'no-host-address');
    assert.equal(of({ hostIp: '', ports: ports('10.0.0.9', '0.0.0.0') }, published), '10.0.0.9 8001');
    assert.equal(of({ hostIp: '', hostIp6: '2001:db8::1', ports: ports('::') }, published), '2001:db8::1 8001');
    assert.equal(of({ hostIp: '', networks: { app: at('10.88.0.5') } }), '10.88.0.5 80');
  });
});
