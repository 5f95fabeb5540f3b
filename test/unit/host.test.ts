/** The machine facts: which address and which id are found, on machines made of a few strings. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP } from 'node:net';
import { after, describe, test } from 'node:test';
import { problemText } from '../../src/errors.ts';
import { detectHost, type HostFacts, type WantedHost } from '../../src/host.ts';
import { containerAddresses, type Machine, realMachine } from '../../src/host-address.ts';

interface Given {
  /** By interface, its addresses. */
  readonly interfaces?: Readonly<Record<string, readonly string[]>>;
  readonly files?: Readonly<Record<string, string>>;
  readonly hostname?: string;
  readonly metadataUrl?: string;
  /** From where the kernel would send along the default route: by IPv4, by IPv6, or by both. */
  readonly source?: string | readonly string[] | undefined;
}

function machineOf({
  interfaces = { eth0: ['10.0.0.5'] },
  files = {},
  hostname = 'host-1',
  metadataUrl,
  source,
}: Given): Machine {
  const described = (name: string, address: string) => {
    const family = address.includes(':') ? { family: 'IPv6' as const, scopeid: 0 } : { family: 'IPv4' as const };
    const [bare = '', length] = address.split('/');
    const cidr = length === undefined ? null : address;
    return { address: bare, internal: name === 'lo', netmask: '', mac: '', cidr, ...family };
  };
  return {
    cores: 2,
    hostname,
    // Nothing listens there; a test that gets so far without a server of its own fails.
    metadataUrl: metadataUrl ?? 'http://127.0.0.1:1',
    interfaces: () =>
      Object.fromEntries(
        Object.entries(interfaces).map(([name, list]) => [name, list.map((address) => described(name, address))]),
      ),
    sourceAddress: async (family) => [source ?? []].flat().find((one) => one.includes(':') === (family === 'IPv6')),
    read: (path) => files[path],
  };
}

const detect = (given: Given, wanted: WantedHost = {}): Promise<HostFacts> => detectHost(wanted, machineOf(given));

/** The one thing that is wrong. */
async function refusal(given: Given, wanted: WantedHost = {}): Promise<string> {
  const [problem, ...more] = (await detect(given, wanted)).problems;
  assert.deepEqual(more, []);
  return problemText(problem ?? assert.fail('nothing is wrong'));
}

/** /proc/net/route with a default route for each of these. */
function routes(...defaults: [name: string, metric: number, flags?: string][]): Record<string, string> {
  const rows = defaults.map(([name, metric, flags = '0003']) =>
    [name, '00000000', '0100000A', flags, 0, 0, metric, '00000000', 0, 0, 0].join('\t'),
  );
  const header = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT';
  const local = 'ens9\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0';
  return { '/proc/net/route': [header, local, ...rows, ''].join('\n') };
}

/** /proc/net/ipv6_route likewise; metric and flags in hexadecimal, as the kernel has them. */
function routes6(...defaults: [name: string, metric: string, flags: string][]): Record<string, string> {
  const zero = '0'.repeat(32);
  const rows = defaults.map(
    ([name, metric, flags]) =>
      `${zero} 00 ${zero} 00 fe800000000000000000000000000001 ${metric} 00000001 00000000 ${flags}     ${name}`,
  );
  return { '/proc/net/ipv6_route': rows.join('\n') };
}

describe('the address', () => {
  const cases: [name: string, given: Given, wanted: WantedHost, ip: string, origin: string][] = [
    ['configured counts before all', {}, { ip: '10.9.9.9', interface: 'eth0' }, '10.9.9.9', 'configured'],
    ['eth0', { interfaces: { ens5: ['10.0.0.7'], eth0: ['10.0.0.5'] } }, {}, '10.0.0.5', 'interface eth0'],
    [
      'the one that the kernel speaks from, of all that its interface has',
      { interfaces: { ens4: ['10.0.0.6'], ens5: ['10.0.0.7', '10.0.0.8'] }, source: '10.0.0.8' },
      {},
      '10.0.0.8',
      'interface ens5',
    ],
    [
      'a bridge of another kind that has the default route',
      { interfaces: { 'br-ex': ['10.0.0.5'], 'br-0123456789ab': ['172.18.0.1'] }, source: '10.0.0.5' },
      {},
      '10.0.0.5',
      'interface br-ex',
    ],
    [
      'a bridge of another kind, where the kernel does not tell',
      { interfaces: { 'br-lan': ['10.0.0.5'] }, files: routes(['br-lan', 0]) },
      {},
      '10.0.0.5',
      'interface br-lan',
    ],
    [
      'the IPv6 address that the kernel speaks from, where it has no IPv4 route',
      { interfaces: { ens5: ['2001:db8::4', '2001:db8::5'] }, source: '2001:db8::5' },
      {},
      '2001:db8::5',
      'interface ens5',
    ],
    [
      'none of a network of containers, even if the kernel would speak from it',
      { interfaces: { docker0: ['172.17.0.1'], eth0: ['10.0.0.5'] }, source: '172.17.0.1' },
      {},
      '10.0.0.5',
      'interface eth0',
    ],
    [
      'the default route without eth0',
      { interfaces: { ens4: ['10.0.0.6'], ens5: ['10.0.0.7'] }, files: routes(['ens5', 100]) },
      {},
      '10.0.0.7',
      'interface ens5',
    ],
    [
      'the default route of the lowest metric',
      { interfaces: { ens4: ['10.0.0.6'], ens5: ['10.0.0.7'] }, files: routes(['ens4', 600], ['ens5', 100]) },
      {},
      '10.0.0.7',
      'interface ens5',
    ],
    [
      'a default route that is down or refuses is none',
      {
        interfaces: { a: ['10.0.0.1'], b: ['10.0.0.2'], c: ['10.0.0.3'] },
        files: routes(['a', 0, '0002'], ['b', 1, '0201'], ['c', 2]),
      },
      {},
      '10.0.0.3',
      'interface c',
    ],
    [
      'an eth0 that has only link-local addresses does not count',
      { interfaces: { eth0: ['169.254.7.7', 'fe80::1'], ens5: ['10.0.0.7'] }, files: routes(['ens5', 0]) },
      {},
      '10.0.0.7',
      'interface ens5',
    ],
    [
      'the IPv4 address of a route counts before its IPv6 address',
      {
        interfaces: { ens5: ['2001:db8::5', '10.0.0.7'] },
        files: { ...routes(['ens5', 0]), ...routes6(['ens5', '00000400', '00000003']) },
      },
      {},
      '10.0.0.7',
      'interface ens5',
    ],
    [
      'IPv6 where there is no IPv4, never link-local',
      { interfaces: { ens5: ['fe80::1', '2001:db8::5'] }, files: routes6(['ens5', '00000400', '00000003']) },
      {},
      '2001:db8::5',
      'interface ens5',
    ],
    [
      'the IPv6 route of the lowest metric, the unreachable one left out',
      {
        interfaces: { lo: ['::1'], a: ['2001:db8::a'], b: ['2001:db8::b'] },
        files: routes6(['lo', 'ffffffff', '00200200'], ['a', '00000400', '00000003'], ['b', '00000064', '00000003']),
      },
      {},
      '2001:db8::b',
      'interface b',
    ],
    [
      'a default route through a network of containers does not count',
      { interfaces: { docker0: ['172.17.0.1'], ens5: ['10.0.0.7'] }, files: routes(['docker0', 0], ['ens5', 1]) },
      {},
      '10.0.0.7',
      'interface ens5',
    ],
    [
      'the default route through a network of containers, where there is no other way out',
      { interfaces: { 'cni-uplink': ['10.0.0.7'], docker0: ['172.17.0.1'] }, files: routes(['cni-uplink', 0]) },
      {},
      '10.0.0.7',
      'interface cni-uplink',
    ],
    [
      'an end of a pair that was not named by an engine',
      { interfaces: { ens4: ['10.9.0.5'], veth0: ['10.0.0.7'] }, source: '10.0.0.7' },
      {},
      '10.0.0.7',
      'interface veth0',
    ],
    [
      'an interface that is named',
      { interfaces: { eth0: ['10.0.0.5'], wg0: ['10.8.0.1'] } },
      { interface: 'wg0' },
      '10.8.0.1',
      'interface wg0',
    ],
    [
      'the IPv6 address of a named interface',
      { interfaces: { wg0: ['fd00::1'] } },
      { interface: 'wg0' },
      'fd00::1',
      'interface wg0',
    ],
  ];
  for (const [name, given, wanted, ip, origin] of cases) {
    test(name, async () => {
      const observations = await detect(given, wanted);
      assert.deepEqual([observations.ip, observations.origins.ip], [ip, origin]);
      assert.deepEqual(observations.warnings, []);
    });
  }

  test('of the default route is taken before eth0, with a warning where eth0 has another', async () => {
    const interfaces = { ens5: ['10.0.0.7'], eth0: ['192.168.0.5'] };
    const { ip, warnings } = await detect({ interfaces, source: '10.0.0.7' });
    assert.equal(ip, '10.0.0.7');
    assert.match(warnings.map(problemText).join(), /^host\.ip is 10\.0\.0\.7 of ens5, .* not 192\.168\.0\.5 of eth0/);
    assert.deepEqual((await detect({ interfaces, source: '10.0.0.7' }, { interface: 'ens5' })).warnings, []);
    assert.deepEqual((await detect({ interfaces: { eth0: ['10.0.0.5'] }, source: '10.0.0.5' })).warnings, []);
  });

  test('is asked of the kernel of this machine without an error', async () => {
    const found = await realMachine.sourceAddress('IPv4');
    assert.ok(found === undefined || isIP(found) === 4, String(found));
    const found6 = await realMachine.sourceAddress('IPv6');
    assert.ok(found6 === undefined || isIP(found6) === 6, String(found6));
  });

  test('of interfaces that lead to containers are told apart', () => {
    const interfaces = {
      ...{ eth0: ['10.0.0.5'], docker0: ['172.17.0.1', 'fd00::1'], 'br-0123456789ab': ['172.18.0.1'] },
      ...{
        'br-lan': ['10.0.0.6'],
        'cni-podman0': ['10.88.0.1'],
        podman1: ['10.89.0.1'],
        docker_gwbridge: ['172.19.0.1'],
      },
      ...{ virbr0: ['192.168.122.1'], lxdbr0: ['10.1.0.1'], virtual0: ['10.0.0.7'], veth0: ['10.0.0.8'] },
      veth12ab3cd: ['172.20.0.1'],
    };
    const docker = ['172.17.0.1', 'fd00::1', '172.18.0.1', '10.88.0.1', '10.89.0.1', '172.19.0.1'];
    const expected = [...docker, '192.168.122.1', '10.1.0.1', '172.20.0.1'];
    assert.deepEqual(containerAddresses(machineOf({ interfaces })), expected);
  });

  test('that leads to containers of this host earns a warning, though it was configured', async () => {
    const interfaces = { eth0: ['10.0.0.5'], docker0: ['172.17.0.1'] };
    for (const wanted of [{ ip: '172.17.0.1' }, { interface: 'docker0' }]) {
      const { ip, warnings } = await detect({ interfaces }, wanted);
      const option = 'ip' in wanted ? 'host.ip' : 'host.interface';
      assert.equal(ip, '172.17.0.1');
      assert.match(
        warnings.map(problemText).join('\n'),
        new RegExp(`^${option} 172.17.0.1 is the address of docker0, which leads to containers of this host`),
      );
    }
    assert.deepEqual((await detect({ interfaces }, { ip: '10.0.0.5' })).warnings, []);
  });

  const unreachable = ['127.0.0.1', '127.1.2.3', '169.254.1.1', '::1', 'fe80::1', 'FEBF::1', '::FFFF:127.0.0.1'];
  for (const ip of [...unreachable, '224.0.0.1', '255.255.255.255', 'ff02::1']) {
    test(`${ip} is taken as configured, with one warning`, async () => {
      const observations = await detect({}, { ip });
      assert.equal(observations.ip, ip);
      assert.deepEqual(observations.warnings, [
        { path: 'host.ip', reason: `${ip} cannot be reached from other machines` },
      ]);
    });
  }

  test('is never guessed to be loopback: the error lists the candidates without those of containers', async () => {
    const interfaces = {
      lo: ['127.0.0.1', '::1'],
      ens4: ['10.0.0.6', 'fe80::1'],
      ens5: ['2001:db8::5'],
      docker0: ['172.17.0.1'],
      'br-0123456789ab': ['172.18.0.1'],
      veth12ab3cd: ['172.19.0.1'],
      cni0: ['10.42.0.1'],
    };
    assert.match(
      await refusal({ interfaces }),
      /^host\.ip or host\.interface must be set: .*; there is: ens4 10\.0\.0\.6, ens5 2001:db8::5$/,
    );
  });

  test('of a machine with loopback only is an error that says that there are no candidates', async () => {
    assert.match(await refusal({ interfaces: { lo: ['127.0.0.1'] } }), /there is: none$/);
  });

  for (const name of ['ens9', 'lo']) {
    test(`of ${name} is refused with the interfaces that there are`, async () => {
      const given = { interfaces: { lo: ['127.0.0.1'], eth0: ['10.0.0.5'], docker0: ['172.17.0.1'] } };
      const expected = new RegExp(
        `^host\\.interface must be .*, got "${name}"; there is: eth0 10\\.0\\.0\\.5, docker0 172\\.17\\.0\\.1$`,
      );
      assert.match(await refusal(given, { interface: name }), expected);
    });
  }

  test('that may be the address of a container earns a warning', async () => {
    const inContainer = { hostname: '0123456789ab', files: { '/.dockerenv': '' } };
    const observations = await detect(inContainer, { id: 'host-1' });
    assert.match(
      observations.warnings.map(problemText).join(),
      /^host\.ip 10\.0\.0\.5 may be the address of a container/,
    );
    assert.deepEqual((await detect(inContainer, { id: 'host-1', ip: '10.0.0.5' })).warnings, []);
  });
});

/** /proc/net/if_inet6 with these addresses, each in full and with its flags. */
function inet6(...rows: [address: string, flags: string][]): Record<string, string> {
  const text = rows.map(([address, flags]) => `${address.replaceAll(':', '')} 02 40 00 ${flags}     eth0`);
  return { '/proc/net/if_inet6': text.join('\n') };
}

describe('of several addresses of one interface', () => {
  const full = (last: string) => `2001:0db8:0000:0000:0000:0000:0000:000${last}`;

  test('one that moves between hosts comes last, and one that is not to be used does not count', async () => {
    const vip = { interfaces: { eth0: ['10.0.0.200/32', '10.0.0.5/24'] } };
    assert.equal((await detect(vip)).ip, '10.0.0.5');
    assert.equal((await detect(vip, { interface: 'eth0' })).ip, '10.0.0.5');
    assert.equal((await detect({ interfaces: { eth0: ['10.0.0.200/32'] } })).ip, '10.0.0.200');
    const interfaces = { eth0: ['2001:db8::1/64', '2001:db8::2/64', '2001:db8::3/64', '2001:db8::4/64'] };
    const files = inet6([full('1'), 'a0'], [full('2'), '40'], [full('3'), '08'], [full('4'), '80']);
    assert.equal((await detect({ interfaces, files }, { interface: 'eth0' })).ip, '2001:db8::4');
  });

  test('the one that stays counts before a temporary one, even if the kernel would speak from that', async () => {
    const interfaces = { eth0: ['2001:db8::1/64', '2001:db8::2/64'] };
    const files = inet6([full('1'), '01'], [full('2'), '80']);
    assert.equal((await detect({ interfaces, files, source: '2001:db8::1' })).ip, '2001:db8::2');
    // No other one is in its network.
    const apart = { eth0: ['2001:db8::1/64', '2001:db8:1::2/64'] };
    assert.equal((await detect({ interfaces: apart, files, source: '2001:db8::1' })).ip, '2001:db8::1');
  });
});

describe('host.cidr', () => {
  const interfaces = {
    eth0: ['192.168.7.5/24'],
    ens5: ['10.0.0.7/24', '10.1.0.7/24', '2001:db8::7/64'],
    docker0: ['172.17.0.1/16'],
  };
  const chosen = async (cidr: string[], more: WantedHost = {}, source?: string) => {
    return (await detect({ interfaces, source }, { ...more, cidr })).ip;
  };

  test('chooses by network, the first in the list that this host is in', async () => {
    assert.equal(await chosen(['10.0.0.0/8']), '10.0.0.7');
    assert.equal(await chosen(['10.0.0.0/8'], {}, '10.1.0.7'), '10.1.0.7');
    assert.equal(await chosen(['172.31.0.0/16', '2001:db8::/32', '10.0.0.0/8']), '2001:db8::7');
    assert.equal(await chosen(['0.0.0.0/0'], { interface: 'ens5' }), '10.0.0.7');
  });

  test('warns of a network of containers, and refuses one that this host is not in', async () => {
    const { ip, warnings } = await detect({ interfaces }, { cidr: ['172.16.0.0/12'] });
    assert.equal(ip, '172.17.0.1');
    assert.match(warnings.map(problemText).join(), /^host\.cidr 172\.17\.0\.1 is the address of docker0/);
    assert.match(
      await refusal({ interfaces }, { cidr: ['172.31.0.0/16', '10.9.0.0/16'] }),
      /^host\.cidr must be a network with an address, got "172\.31\.0\.0\/16,10\.9\.0\.0\/16"; there is: eth0 192\.168\.7\.5, /,
    );
  });
});

describe('the second address', () => {
  const interfaces = { eth0: ['192.168.7.5', '2001:db8:7::5'], ens5: ['10.0.0.7', '2001:db8::7', 'fe80::7'] };
  const both = async (wanted: WantedHost, source?: readonly string[]) => {
    const { ip, ip6, problems } = await detect({ interfaces, source }, wanted);
    return problems.length > 0 ? problems.map(problemText).join() : [ip, ip6];
  };

  test('is that of the default route by IPv6, only where both are wanted', async () => {
    const source = ['10.0.0.7', '2001:db8:7::5'];
    assert.deepEqual(await both({}, source), ['10.0.0.7', undefined]);
    assert.deepEqual(await both({ wantsBoth: true }, source), ['10.0.0.7', '2001:db8:7::5']);
    assert.deepEqual(await both({ wantsBoth: true }, ['10.0.0.7']), ['10.0.0.7', '2001:db8::7']);
    assert.deepEqual(await both({ wantsBoth: true, interface: 'ens5' }, source), ['10.0.0.7', '2001:db8::7']);
    assert.deepEqual(await both({ wantsBoth: true, ip: '10.9.9.9' }, source), ['10.9.9.9', '2001:db8:7::5']);
  });

  test('is as configured, and no second one beside IPv6', async () => {
    assert.deepEqual(await both({ ip6: '2001:db8::99' }, ['10.0.0.7']), ['10.0.0.7', '2001:db8::99']);
    assert.deepEqual(await both({ wantsBoth: true, ip: '2001:db8::1' }), ['2001:db8::1', undefined]);
    assert.match(
      String(await both({ ip: '2001:db8::1', ip6: '2001:db8::2' })),
      /^host\.ip6 must be left out where host\.ip is/,
    );
  });
});

describe('the id', () => {
  const dmi = (name: string): string => `/sys/class/dmi/id/${name}`;

  test('configured counts before all', async () => {
    const observations = await detect({ files: { [dmi('board_asset_tag')]: 'i-0123456789abcdef0\n' } }, { id: 'mine' });
    assert.deepEqual([observations.id, observations.origins.id], ['mine', 'configured']);
  });

  for (const id of ['i-0123456789abcdef0', 'i-0123abcd']) {
    test(`${id} is read from the firmware`, async () => {
      const observations = await detect({
        files: { [dmi('board_asset_tag')]: `${id}\n`, [dmi('sys_vendor')]: 'Amazon EC2\n' },
      });
      assert.deepEqual([observations.id, observations.origins.id], [id, 'EC2 instance id']);
    });
  }

  test('of any other machine is its host name, and nobody is asked', async () => {
    const files = {
      [dmi('board_asset_tag')]: 'Not Specified\n',
      [dmi('sys_vendor')]: 'QEMU\n',
      [dmi('bios_version')]: '1.16\n',
    };
    const observations = await detect({ files });
    assert.deepEqual([observations.id, observations.origins.id, observations.warnings], ['host-1', 'host name', []]);
  });

  for (const mark of ['/.dockerenv', '/run/.containerenv']) {
    test(`is not the name of a container, known by ${mark}`, async () => {
      const given = { hostname: '0123456789ab', files: { [mark]: '' } };
      assert.match(await refusal(given), /^host\.id must be set: .*0123456789ab.* changes at each start$/);
    });
  }

  test('may be 12 digits outside a container, and any other name inside one', async () => {
    assert.equal((await detect({ hostname: '0123456789ab' })).id, '0123456789ab');
    assert.equal((await detect({ hostname: 'web-host', files: { '/.dockerenv': '' } })).id, 'web-host');
  });

  describe('by the metadata service', () => {
    const servers: Server[] = [];
    after(() => {
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
    });

    async function serve(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
      const server = createServer(handler);
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    }

    const signs: [file: string, content: string][] = [
      ['sys_vendor', 'Amazon EC2\n'],
      ['bios_vendor', 'Amazon EC2\n'],
      ['bios_version', '4.11.amazon\n'],
      ['product_uuid', 'EC2E1916-9099-7CAF-FD21-012345ABCDEF\n'],
    ];
    for (const [file, content] of signs) {
      test(`is asked with a token where ${file} says EC2`, async () => {
        const asked: string[] = [];
        const metadataUrl = await serve((request, response) => {
          asked.push(`${request.method} ${request.url}`);
          if (request.method === 'PUT') {
            assert.match(String(request.headers['x-aws-ec2-metadata-token-ttl-seconds']), /^\d+$/);
            response.end('the-token');
          } else {
            assert.equal(request.headers['x-aws-ec2-metadata-token'], 'the-token');
            response.end('i-0123456789abcdef0');
          }
        });
        const observations = await detect({ metadataUrl, files: { [dmi(file)]: content } });
        assert.deepEqual(asked, ['PUT /latest/api/token', 'GET /latest/meta-data/instance-id']);
        assert.deepEqual(
          [observations.id, observations.origins.id, observations.warnings],
          ['i-0123456789abcdef0', 'EC2 instance id', []],
        );
      });
    }

    const failures: [
      name: string,
      handler: (request: IncomingMessage, response: ServerResponse) => void,
      why: RegExp,
    ][] = [
      ['that refuses the token', (_, response) => response.writeHead(403).end(), /HTTP status 403 to PUT/],
      ['that answers with a page', (_, response) => response.end('<html>'), /not an instance id/],
      ['that redirects', (_, response) => response.writeHead(302, { location: '/elsewhere' }).end(), /host name/],
      ['that never answers', () => {}, /timeout/],
    ];
    for (const [name, handler, why] of failures) {
      test(`${name} is the host name, with a warning`, async () => {
        const metadataUrl = await serve(handler);
        const observations = await detect({ metadataUrl, files: { [dmi('sys_vendor')]: 'Amazon EC2' } });
        assert.deepEqual([observations.id, observations.origins.id], ['host-1', 'host name']);
        assert.match(observations.warnings.map(problemText).join(), why);
      });
    }
  });
});
