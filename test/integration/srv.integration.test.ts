/**
 * SRV records by RFC 2782 and by the plain name, from the view for CoreDNS: read by a real HAProxy through a small DNS
 * server that keeps to the rules of CoreDNS's etcd plugin.
 */
import assert from 'node:assert/strict';
import dns from 'node:dns/promises';
import { mkdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { answerAt, freePort, fromDockerd, type Host, startHost } from '../helpers/host.ts';
import { type ProxyProgram, startHaproxy } from '../helpers/proxy-programs.ts';
import { needs, scratchDirectory } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';
import { type SkyDns, startSkyDns } from '../helpers/skydns.ts';

const parts = ['haproxy', 'etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root'];

describe('SRV records of the view for CoreDNS', { skip: needs(...parts) }, () => {
  let dockerd: Dockerd;
  let host: Host;
  let directory: string;
  const ids = new Map<string, string>();
  before(async () => {
    directory = scratchDirectory('srv', os.tmpdir());
    dockerd = await startDockerd();
    host = await startHost({
      ...{ source: fromDockerd(dockerd), names: { ip: '127.0.0.1' } },
      args: ['--views:skydns', 'discover.local'],
    });
    for (const [name, weight] of [
      ['heavy', '768'],
      ['light', '256'],
    ] as const) {
      const labels = { discover: 'web:80, dns:53/udp', 'discover.web.weight': weight };
      const command = ['nc', '-ll', '-p', '80', '-e', 'echo', name];
      ids.set(name, (await dockerd.run({ labels, command, ports: [80, '53/udp'] })).slice(0, 12));
    }
    // Two services of each, each below two names.
    await eventually(async () => assert.equal((await host.etcd.get('/skydns/')).size, 8));
  });
  after(async () => {
    await host?.[Symbol.asyncDispose]();
    await dockerd?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const resolverOf = ({ port }: SkyDns): dns.Resolver => {
    const resolver = new dns.Resolver();
    resolver.setServers([`127.0.0.1:${port}`]);
    return resolver;
  };

  test('have a target, a port, a priority and a scaled weight for each instance, by either name (real dockerd, real etcd)', async () => {
    await using server = await startSkyDns(host.etcd);
    const resolver = resolverOf(server);
    for (const [name, weights, port] of [
      ['_web._tcp.default.discover.local', { heavy: 75, light: 25 }, '80/tcp'],
      ['web.default.discover.local', { heavy: 75, light: 25 }, '80/tcp'],
      ['_dns._udp.default.discover.local', { heavy: 50, light: 50 }, '53/udp'],
    ] as const) {
      const wanted = await Promise.all(
        Object.entries(weights).map(async ([container, weight]) => {
          const id = ids.get(container) ?? '';
          const target = `${id}-${port.split('/')[0]}.${name}`;
          return { name: target, port: await dockerd.hostPort(id, port), priority: 10, weight };
        }),
      );
      const found = await resolver.resolveSrv(name);
      const order = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
      assert.deepEqual(
        found.map(({ name, port, priority, weight }) => ({ name, port, priority, weight })).sort(order),
        wanted.sort(order),
      );
      assert.deepEqual(await resolver.resolve4(found[0]?.name ?? ''), ['127.0.0.1']);
    }
    for (const name of ['_web._udp.default.discover.local', '_dns._tcp.default.discover.local', '_web._tcp.x.y']) {
      await assert.rejects(resolver.resolveSrv(name), /ENOTFOUND/);
    }
  });

  /** HAProxy in front of all instances; `use` gets the port. */
  const throughHaproxy = async (
    server: SkyDns,
    use: (port: number, proxy: ProxyProgram) => Promise<void>,
  ): Promise<void> => {
    const port = await freePort();
    const own = path.join(directory, String(port));
    mkdirSync(own);
    const configuration = `
resolvers skydns
    nameserver one 127.0.0.1:${server.port}
    accepted_payload_size 8192
    timeout resolve 200ms
    timeout retry 200ms
    hold valid 200ms
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen web
    bind 127.0.0.1:${port}
    balance roundrobin
    server-template web 4 _web._tcp.default.discover.local resolvers skydns init-addr none
`;
    await using proxy = await startHaproxy(own, configuration, [`127.0.0.1:${port}`]);
    await eventually(async () => {
      const seen = new Set<string>();
      for (let turn = 0; turn < 8; turn++) seen.add((await answerAt(port)).trim());
      assert.deepEqual([...seen].filter(Boolean).sort(), ['heavy', 'light']);
    });
    await use(port, proxy);
  };
  const shareOfHeavy = async (port: number): Promise<number> => {
    let heavy = 0;
    const all = 200;
    for (let turn = 0; turn < all; turn++) if (/heavy/.test(await answerAt(port))) heavy++;
    return heavy / all;
  };

  test('split the connections of HAProxy 3 to 1 where their weights are as written (real haproxy, real dockerd, real etcd)', async () => {
    await using server = await startSkyDns(host.etcd, { isUnscaled: true });
    await throughHaproxy(server, async (port) => {
      const share = await shareOfHeavy(port);
      assert.ok(Math.abs(share - 0.75) <= 0.05 * 0.75, `${share} of the connections`);
    });
  });

  testInFull(
    'give HAProxy equal weights where CoreDNS has scaled them, because it takes a 256th (real haproxy, real dockerd, real etcd)',
    async () => {
      await using server = await startSkyDns(host.etcd);
      await throughHaproxy(server, async (port) => {
        const share = await shareOfHeavy(port);
        assert.ok(Math.abs(share - 0.5) <= 0.05, `${share} of the connections`);
      });
    },
  );
});
