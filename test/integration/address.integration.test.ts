/**
 * Where containers are reached: each address that is published is dialled from where a reader would stand, a network
 * namespace of its own, and each one that is refused names its reason. dockerd, etcd and discover run in a namespace that
 * stands for the host.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findAddress } from '../../src/host-address.ts';
import { type Agent, type Options, startAgent } from '../../src/index.ts';
import { runCommand } from '../helpers/command.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { inOwnNamespace, ip, type Station, startStation } from '../helpers/namespace.ts';
import { startPodman } from '../helpers/podman.ts';
import { recordingLog } from '../helpers/recording-log.ts';
import { needs } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const title = 'What is published is reached from the namespace of a reader (real dockerd, real etcd)';
if (inOwnNamespace(title, import.meta.url, 'etcd', 'dockerd', 'docker', 'busybox')) {
  describe('in a namespace', () => {
    let dockerd: Dockerd;
    let etcd: EtcdServer;
    let reader: Station;
    before(async () => {
      reader = await startStation();
      wire('up0', 'rd0', ['198.18.0.1/24', 'fd00:18::1/64'], ['198.18.0.2/24', 'fd00:18::2/64']);
      wire('mv0', 'mv1', [], ['198.18.1.2/24']);
      restoreRoutes();
      for (const via of ['198.18.0.1', 'fd00:18::1']) reader.ip('route', 'add', 'default', 'via', via);
      for (const file of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding']) writeFileSync(`/proc/sys/net/${file}`, '1');
      dockerd = await startDockerd();
      etcd = await startEtcd();
    });
    after(async () => {
      await dockerd?.docker('swarm', 'leave', '--force').catch(() => {});
      await Promise.all([dockerd?.close(), etcd?.close(), reader?.[Symbol.asyncDispose]()]);
    });

    /** A link between the host and the reader. */
    function wire(here: string, there: string, ours: readonly string[], theirs: readonly string[]): void {
      ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', String(reader.pid));
      // An address that is not verified yet cannot be used: `nodad`.
      const flags = (address: string) => (address.includes(':') ? ['nodad'] : []);
      for (const address of ours) ip('address', 'add', address, 'dev', here, ...flags(address));
      for (const address of theirs) reader.ip('address', 'add', address, 'dev', there, ...flags(address));
      ip('link', 'set', here, 'up');
      reader.ip('link', 'set', there, 'up');
    }

    /** The addresses of the host, as they were, and its way out. */
    function restore(link = 'up0', v4 = '198.18.0.1'): void {
      ip('address', 'add', `${v4}/24`, 'dev', link);
      ip('address', 'replace', 'fd00:18::1/64', 'dev', link, 'nodad');
      restoreRoutes();
    }

    function restoreRoutes(): void {
      for (const via of ['198.18.0.2', 'fd00:18::2']) ip('route', 'replace', 'default', 'via', via);
    }

    const answering = (text: string, port = 80) => [
      'nc',
      '-ll',
      '-p',
      String(port),
      '-e',
      '/bin/busybox',
      'echo',
      text,
    ];
    const agentOf = async (id: string, options: Options = {}) => {
      const log = recordingLog();
      const agent: Agent = await startAgent(
        {
          ...{ workers: 0, resync: 86_400, docker: { socketPath: dockerd.socketPath } },
          ...options,
          etcd: { endpoints: [etcd.endpoint] },
          host: { id, ip: '198.18.0.1', ...options.host },
        },
        { log },
      );
      return Object.assign(agent, { log });
    };
    /** The URLs of a container, and the reasons that the log has for what it does not publish. */
    const urlsOf = async (host: string, id: string): Promise<string[]> => {
      const entries = await etcd.entries('/discover/service/');
      return entries.filter(({ key }) => key.includes(`/${host}/${id.slice(0, 12)}`)).map(({ value }) => value);
    };
    const published = (host: string, id: string, count = 1): Promise<string[]> =>
      eventually(async () => {
        const urls = await urlsOf(host, id);
        assert.equal(urls.length, count, `${urls}`);
        return urls;
      });
    const refusalOf = (
      agent: Awaited<ReturnType<typeof agentOf>>,
      id: string,
    ): Promise<{ reason?: string; detail?: string }> =>
      eventually(() => {
        const found = agent.log.entries.find(
          ({ fields, message }) =>
            message === 'advertisement refused' && (fields as { container?: string }).container === id.slice(0, 12),
        );
        assert.ok(found, `nothing is refused of ${id.slice(0, 12)}`);
        return found.fields as { reason?: string; detail?: string };
      });
    const refusedWith = async (agent: Awaited<ReturnType<typeof agentOf>>, id: string): Promise<unknown> =>
      (await refusalOf(agent, id)).reason;
    const answers = async (station: Station, url: string, text: string): Promise<void> => {
      await eventually(async () => assert.deepEqual(await station.dial(url), { answer: text }, url));
    };

    test('at its own address on a bridge and on macvlan, on the host, and with another container', async () => {
      await using agent = await agentOf('own', { address: { from: 'container', networks: ['front'] } });
      await dockerd.docker('network', 'create', '--ipv6', '--subnet=fd00:31::/64', 'front');
      await dockerd.docker('network', 'create', 'back');
      const flags = ['--subnet=198.18.1.0/24', '--gateway=198.18.1.2', '--ip-range=198.18.1.128/25'];
      await dockerd.docker('network', 'create', '--driver=macvlan', ...flags, '--opt=parent=mv0', 'lan');
      const env = { DISCOVER: 'web:80,dns:53/udp' };

      const bridged = await dockerd.run({ env, network: 'front', command: answering('bridged') });
      await using inside = await startStation((await dockerd.inspect(bridged)).State.Pid);
      await inside.serve(53, 'bridged');
      for (const url of await published('own', bridged, 2)) await answers(reader, url, 'bridged');

      const lan = await dockerd.run({ env: { DISCOVER: 'web:80' }, network: 'lan', command: answering('lan') });
      const [lanUrl = ''] = await published('own', lan);
      assert.match(lanUrl, /^tcp:\/\/198\.18\.1\.\d+:80$/);
      await answers(reader, lanUrl, 'lan');

      const onHost = await dockerd.run({
        env: { DISCOVER: 'web:8099' },
        network: 'host',
        command: answering('host', 8099),
      });
      const [hostUrl = ''] = await published('own', onHost);
      await answers(reader, hostUrl, 'host');
      const none = await dockerd.run({ env, network: 'none' });
      assert.equal(await refusedWith(agent, none), 'no-network');

      // A second network that is not named changes nothing; the one that is named counts before the only one.
      await dockerd.docker('network', 'connect', 'back', lan);
      await eventually(async () => assert.deepEqual(await urlsOf('own', lan), []));
      assert.equal(await refusedWith(agent, lan), 'network-ambiguous');
      await dockerd.docker('network', 'disconnect', 'back', lan);
      assert.deepEqual(await published('own', lan), [lanUrl]);
      await dockerd.docker('network', 'connect', 'front', lan);
      const [moved = ''] = await eventually(async () => {
        const urls = await urlsOf('own', lan);
        assert.notDeepEqual(urls, [lanUrl]);
        return urls;
      });
      await answers(reader, moved, 'lan');

      await dockerd.docker('rm', '--force', bridged, lan, onHost, none);
    });

    /** Why this kernel makes no ipvlan: many are built without it. */
    function whyNoIpvlan(): string | undefined {
      try {
        ip('link', 'add', 'try0', 'link', 'up0', 'type', 'ipvlan');
        ip('link', 'del', 'try0');
        return undefined;
      } catch (error) {
        return `the kernel makes no ipvlan (${String(error).trim()}): npm run test:engines -- --set ipvlan boots one that does`;
      }
    }

    /** In mode l2 the containers are in the network of the wire; in mode l3 the reader has a route to theirs. */
    const ipvlans = {
      l2: {
        ...{ ours: ['198.18.2.1/24'], theirs: '198.18.2.2', inside: /^tcp:\/\/198\.18\.2\.\d+:80$/ },
        subnet: ['--subnet=198.18.2.0/24', '--gateway=198.18.2.2', '--ip-range=198.18.2.128/25'],
      },
      l3: {
        ...{ ours: ['198.18.3.1/24'], theirs: '198.18.3.2', inside: /^tcp:\/\/198\.18\.4\.\d+:80$/ },
        subnet: ['--subnet=198.18.4.0/24'],
      },
    } as const;

    for (const [mode, { ours, theirs, inside, subnet }] of Object.entries(ipvlans)) {
      test(`at its own address on ipvlan in mode ${mode}, from the other end of the wire`, async (context) => {
        const missing = whyNoIpvlan();
        if (missing !== undefined) return context.skip(missing);
        wire(`${mode}-0`, `${mode}-1`, ours, [`${theirs}/24`]);
        if (mode === 'l3') reader.ip('route', 'add', '198.18.4.0/24', 'via', '198.18.3.1');
        const network = `wire-${mode}`;
        const driver = ['--driver=ipvlan', `--opt=ipvlan_mode=${mode}`, `--opt=parent=${mode}-0`];
        await dockerd.docker('network', 'create', ...driver, ...subnet, network);
        await using own = await agentOf(`own-${mode}`, { address: { from: 'container' } });
        await using _named = await agentOf(`named-${mode}`, { address: { from: 'container', networks: ['wire-*'] } });
        await using _either = await agentOf(`either-${mode}`, { address: { from: 'either' } });
        await using strict = await agentOf(`strict-${mode}`);

        const env = { DISCOVER: 'web:80' };
        const plain = await dockerd.run({ env, network, command: answering('plain') });
        const asked = await dockerd.run({ env, network, command: answering('asked'), ports: [80] });
        const urls = new Map<string, string>();
        for (const [id, text] of [
          [plain, 'plain'],
          [asked, 'asked'],
        ] as const) {
          const [url = ''] = await published(`own-${mode}`, id);
          assert.match(url, inside);
          for (const host of ['named', 'either']) assert.deepEqual(await published(`${host}-${mode}`, id), [url]);
          await answers(reader, url, text);
          urls.set(id, url);
        }
        // The kernel keeps the host itself apart from them.
        const verify = await runCommand([
          ...['verify', '--dial', '-o', 'json', '--host:ip', '198.18.0.1', '--host:id', `own-${mode}`],
          ...['--docker:socketPath', dockerd.socketPath, '--etcd:endpoints', etcd.endpoint],
          ...['--address:from', 'container'],
        ]);
        const seen = JSON.parse(verify.out) as { exact: boolean; dialled: { url: string; outcome: string }[] };
        assert.equal(seen.exact, true, verify.out);
        assert.deepEqual(seen.dialled.map(({ url }) => url).sort(), [...urls.values()].sort());
        for (const { outcome } of seen.dialled) assert.match(outcome, /^(timed-out|unreachable)$/);
        // Docker binds no port of the host on this network, whatever `-p` says.
        assert.equal(await refusedWith(strict, plain), 'not-published');
        assert.equal(await refusedWith(strict, asked), 'not-bound');

        await dockerd.docker('rm', '--force', plain, asked);
        // dockerd 20.10 has no second network for a container on l3: each would be its way out.
        if (mode === 'l3') return;

        // With a second network the own address is that on the network that is named, or none.
        await dockerd.docker('network', 'create', 'beside');
        const both = await dockerd.run({ env, network: 'beside', command: answering('both'), ports: [80] });
        await dockerd.docker('network', 'connect', network, both);
        const named = await eventually(async () => {
          const [url = ''] = await urlsOf(`named-${mode}`, both);
          assert.match(url, inside);
          return url;
        });
        await answers(reader, named, 'both');
        await eventually(async () => assert.deepEqual(await urlsOf(`own-${mode}`, both), []));
        const { reason, detail = '' } = await refusalOf(own, both);
        assert.equal(reason, 'network-ambiguous');
        const [listed, other] = [named.slice('tcp://'.length, -':80'.length), '172\\.31\\.[\\d.]+'];
        const expected = `is open on beside \\(${other}\\), wire-${mode} \\(${listed}\\), and none of them is named`;
        assert.match(detail, new RegExp(expected));
        // The port is bound on the bridge.
        const [bound = ''] = await published(`strict-${mode}`, both);
        assert.match(bound, /^tcp:\/\/198\.18\.0\.1:\d+$/);
        assert.deepEqual(await published(`either-${mode}`, both), [bound]);
        await answers(reader, bound, 'both');
        await dockerd.docker('rm', '--force', both);
      });
    }

    test('at its own address on ipvlan without a parent, for containers of this host alone', async (context) => {
      const missing = whyNoIpvlan();
      if (missing !== undefined) return context.skip(missing);
      await dockerd.docker('network', 'create', '--driver=ipvlan', '--subnet=198.18.5.0/24', 'inner');
      await using _agent = await agentOf('inner', { address: { from: 'container' } });
      const options = { env: { DISCOVER: 'web:80' }, network: 'inner', command: answering('inner') };
      const [id, other] = [await dockerd.run(options), await dockerd.run({ network: 'inner' })];
      const [url = ''] = await published('inner', id);
      assert.match(url, /^tcp:\/\/198\.18\.5\.\d+:80$/);
      await using neighbour = await startStation((await dockerd.inspect(other)).State.Pid);
      await answers(neighbour, url, 'inner');
      // No document of a container tells of the parent of its network: the README says that there has to be one.
      const dialled = await reader.dial(url);
      assert.ok('failure' in dialled, JSON.stringify(dialled));
      await dockerd.docker('rm', '--force', id, other);
    });

    test('with the ports and the address of the container whose network it uses, through its restart and its death', async () => {
      await using agent = await agentOf('shared', { address: { from: 'either' } });
      const owner = await dockerd.run({ ports: [80], command: answering('owner') });
      const env = { DISCOVER: 'web:80,own:81' };
      const member = await dockerd.run({ env, network: `container:${owner}`, command: answering('member', 81) });
      const urls = await published('shared', member, 2);
      for (const url of urls) await answers(reader, url, url.endsWith(':81') ? 'member' : 'owner');
      const why = await runCommand([
        ...['why', member.slice(0, 12), '--docker:socketPath', dockerd.socketPath, '--etcd:endpoints', etcd.endpoint],
        ...['--host:ip', '198.18.0.1', '--host:id', 'shared', '--address:from', 'either'],
      ]);
      assert.equal(why.code, 0, why.out);

      // Nothing listens behind the port that is published of this one.
      const deaf = await dockerd.run({ env: { DISCOVER: 'deaf:80' }, ports: [80] });
      const [deafUrl] = await published('shared', deaf);
      const here = [
        ...['--docker:socketPath', dockerd.socketPath, '--etcd:endpoints', etcd.endpoint, '--address:from', 'either'],
        ...['--host:ip', '198.18.0.1', '--host:id', 'shared'],
      ];
      const verify = await runCommand(['verify', '--dial', '-o', 'json', ...here]);
      const { exact, dialled } = JSON.parse(verify.out) as {
        exact: boolean;
        dialled: { url: string; outcome: string }[];
      };
      assert.deepEqual([verify.code, exact, dialled.length], [1, true, 3]);
      for (const { url, outcome } of dialled) assert.equal(outcome, url === deafUrl ? 'closed' : 'fine', url);
      const doctor = await runCommand(['doctor', '--dial', ...here]);
      assert.match(doctor.out, /dial +1 closed, 2 fine: tcp:/);
      await dockerd.docker('rm', '--force', deaf);

      await dockerd.docker('restart', '--time=0', owner);
      await eventually(async () => assert.deepEqual(await urlsOf('shared', member), []));
      assert.equal(await refusedWith(agent, member), 'network-ended');
      // It is right to publish nothing: the member is in a network that has ended.
      const [port] = Object.values((await dockerd.inspect(owner)).NetworkSettings.Ports).flatMap((one) => one ?? []);
      await answers(reader, `tcp://198.18.0.1:${port?.HostPort}`, 'owner');
      for (const url of urls.filter((one) => one.endsWith(':81'))) {
        const dialled = await reader.dial(url);
        assert.ok('failure' in dialled, JSON.stringify(dialled));
      }
      await dockerd.docker('restart', '--time=0', member);
      for (const url of await published('shared', member, 2))
        await answers(reader, url, url.endsWith(':81') ? 'member' : 'owner');

      await dockerd.docker('kill', owner);
      await eventually(async () => assert.deepEqual(await urlsOf('shared', member), []));
      await dockerd.docker('rm', '--force', owner, member);
    });

    test('by IPv4 and IPv6, for every combination of bindings and addresses of the host', async () => {
      const bindings: Record<string, string> = {
        ...{ both: '80', v6: '[::]::80', l4: '127.0.0.1::80' },
        ...amount({}, { v4: '0.0.0.0::80', a4: '198.18.0.1::80', a6: '[fd00:18::1]::80', l6: '[::1]::80' }),
      };
      const hosts = {
        'f-v4': { ip: '198.18.0.1' },
        'f-v6': { ip: 'fd00:18::1' },
        'f-both': { ip: '198.18.0.1', ip6: 'fd00:18::1' },
      };
      const started = await Promise.all(
        Object.entries(bindings).map(async ([name, port]) => {
          return [
            name,
            await dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [port], command: answering(name) }),
          ] as const;
        }),
      );
      for (const [host, addresses] of Object.entries(hosts)) {
        const families = host === 'f-both' ? 'both' : 'one';
        await using agent = await agentOf(host, { host: addresses, address: { families } });
        for (const [name, id] of started) {
          const bound = Object.values((await dockerd.inspect(id)).NetworkSettings.Ports).flatMap((one) => one ?? []);
          const opens = (address: string): boolean =>
            bound.some(({ HostIp }) => HostIp === address || HostIp === (address.includes(':') ? '::' : '0.0.0.0'));
          // A binding to an address of the host is published whatever the host's address is.
          const reached = [
            ...new Set([...Object.values(addresses), ...(/^a/.test(name) ? bound.map(({ HostIp }) => HostIp) : [])]),
          ];
          const expected = reached.filter(opens);
          if (expected.length === 0) {
            assert.match(String(await refusedWith(agent, id)), name.startsWith('l') ? /^loopback$/ : /^other-family$/);
          }
          const urls = await published(host, id, expected.length);
          for (const url of urls) await answers(reader, url, name);
          const published4 = urls.map((url) => new URL(url.replace('tcp:', 'http:')).hostname.replaceAll(/[[\]]/g, ''));
          assert.deepEqual(published4.sort(), expected.sort(), `${name} on ${host}`);
          for (const address of Object.values(addresses).filter((one) => !expected.includes(one))) {
            const at = address.includes(':') ? `[${address}]` : address;
            for (const { HostPort } of bound) {
              // The other family can have the same port for another container.
              const dialled = await reader.dial(`tcp://${at}:${HostPort}`);
              assert.notDeepEqual(dialled, { answer: name }, `${name} at ${at}:${HostPort}`);
            }
          }
        }
      }
      await dockerd.docker('rm', '--force', ...started.map(([, id]) => id));
    });

    testInFull('at its own address on a bridge that the engine routes, through its firewall', async (context) => {
      await using walled = await startDockerd({ args: ['--iptables=true', '--ip6tables=false'] });
      const version = await walled.docker('version', '--format', '{{.Server.Version}}');
      if (Number.parseInt(version, 10) < 27) return context.skip(`dockerd ${version}: routed networks came with 27`);
      await walled.docker('network', 'create', '--opt=com.docker.network.bridge.gateway_mode_ipv4=routed', 'routed');
      const docker = { socketPath: walled.socketPath };
      await using _agent = await agentOf('routed', { docker, address: { from: 'either' } });
      await using strict = await agentOf('routed-published', { docker });
      const options = { env: { DISCOVER: 'web:80' }, network: 'routed', command: answering('routed') };
      const [open, closed] = [await walled.run({ ...options, ports: [80] }), await walled.run(options)];
      const [url = ''] = await published('routed', open);
      await answers(reader, url, 'routed');
      assert.equal(await refusedWith(strict, open), 'not-bound');
      // No document of a container tells that its network is routed: the README says that the port has to be published.
      const [closedUrl = ''] = await published('routed', closed);
      assert.deepEqual(await reader.dial(closedUrl), { failure: 'timed out' });
    });

    testInFull(
      'in a swarm: on the overlay for its members, in mode host for all, and never at the ingress',
      async () => {
        await dockerd.docker('swarm', 'init', '--advertise-addr=198.18.0.1', '--listen-addr=198.18.0.1:2377');
        await dockerd.docker('network', 'create', '--driver=overlay', '--attachable', 'mesh');
        await using agent = await agentOf('swarm', { address: { from: 'either' } });
        const member = await dockerd.run({
          env: { DISCOVER: 'web:80' },
          network: 'mesh',
          command: answering('overlay'),
        });
        const other = await dockerd.run({ network: 'mesh' });
        const [url = ''] = await published('swarm', member);
        await using station = await startStation((await dockerd.inspect(other)).State.Pid);
        await answers(station, url, 'overlay');

        const image = await dockerd.image();
        const create = (name: string, publish: string) => {
          const flags = [
            '--detach',
            '--no-resolve-image',
            '--stop-signal=KILL',
            `--name=${name}`,
            `--publish=${publish}`,
          ];
          return dockerd.docker('service', 'create', ...flags, `--env=DISCOVER=${name}:80`, image, ...answering(name));
        };
        const taskOf = (name: string): Promise<string> =>
          eventually(async () => {
            const filter = `--filter=label=com.docker.swarm.service.name=${name}`;
            const id = await dockerd.docker('ps', '--quiet', '--no-trunc', filter);
            assert.match(id, /^[0-9a-f]{64}$/);
            return id;
          });
        await create('hosted', 'mode=host,target=80');
        await create('routed', 'mode=ingress,target=80');
        const [hosted = ''] = await published('swarm', await taskOf('hosted'));
        assert.match(hosted, /^tcp:\/\/198\.18\.0\.1:/);
        await answers(reader, hosted, 'hosted');
        assert.equal(await refusedWith(agent, await taskOf('routed')), 'swarm-ingress');
        await dockerd.docker('service', 'rm', 'hosted', 'routed');
        await dockerd.docker('rm', '--force', member, other);
      },
    );

    test('at the address that the kernel sends from, whatever else the interfaces have', async () => {
      const found = async () => {
        const { ip: v4, ip6: v6, isCertain, origins } = await findAddress({ wantsBoth: true });
        return [v4, v6, isCertain, origins.ip];
      };
      const usual = ['198.18.0.1', 'fd00:18::1', true, 'interface up0'];
      assert.deepEqual(await found(), usual);
      // A backplane with the name that many take for the way out.
      wire('eth0', 'bp1', ['10.77.0.1/24'], ['10.77.0.2/24']);
      assert.deepEqual(await found(), usual);
      const { warnings } = await findAddress({});
      assert.match(JSON.stringify(warnings), /198\.18\.0\.1 of up0, .* not 10\.77\.0\.1 of eth0/);
      // Addresses that float, and such as are not to be used any more, before the own one.
      ip('address', 'flush', 'dev', 'up0');
      ip('address', 'add', '198.18.0.99/32', 'dev', 'up0');
      ip('address', 'add', 'fd00:18::99/64', 'dev', 'up0', 'preferred_lft', '0', 'nodad');
      restore();
      assert.deepEqual(await found(), usual);
      assert.equal((await findAddress({ interface: 'up0' })).ip, '198.18.0.1');
      ip('address', 'del', '198.18.0.99/32', 'dev', 'up0');
      ip('address', 'del', 'fd00:18::99/64', 'dev', 'up0');
      // The uplink is a port of a bridge.
      ip('link', 'add', 'br-ex', 'type', 'bridge');
      ip('link', 'set', 'br-ex', 'up');
      ip('address', 'flush', 'dev', 'up0');
      ip('link', 'set', 'up0', 'master', 'br-ex');
      restore('br-ex');
      assert.deepEqual(await found(), [...usual.slice(0, -1), 'interface br-ex']);
      ip('link', 'del', 'br-ex');
      restore();
      assert.deepEqual(await found(), usual);
      ip('link', 'del', 'eth0');
    });

    test('at the address that the host has, through its change and through a gap', async () => {
      const count = amount(3, 50);
      const log = recordingLog();
      await using _agent = await startAgent(
        {
          ...{ workers: 1, resync: 1, docker: { socketPath: dockerd.socketPath } },
          ...{ etcd: { endpoints: [etcd.endpoint] }, host: { id: 'moves' } },
        },
        { log },
      );
      const run = () => dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [80], command: answering('moved') });
      const ids: string[] = [];
      for (let index = 0; index < count; index++) ids.push(await run());
      // Keys of the tests before go with their leases.
      const own = async () => (await etcd.entries('/discover/service/')).filter(({ key }) => key.includes('/moves/'));
      const urls = async (): Promise<string[]> => (await own()).map(({ value }) => value);
      const allAt = (address: string): Promise<string[]> =>
        eventually(async () => {
          const all = await urls();
          assert.deepEqual([all.length, all.filter((url) => !url.includes(`//${address}:`))], [count, []]);
          return all;
        });
      const said = (message: string) => log.entries.filter((entry) => entry.message === message).length;
      const revisions = async () => (await own()).map(({ modRevision }) => modRevision);
      await allAt('198.18.0.1');

      ip('address', 'flush', 'dev', 'up0');
      restore('up0', '198.18.0.7');
      const since = performance.now();
      const moved = await allAt('198.18.0.7');
      const tookMs = Math.round(performance.now() - since);
      for (const url of moved) await answers(reader, url, 'moved');
      assert.equal(said('the address of this host has changed: everything is written anew'), 1);
      const owner = JSON.parse((await etcd.entries('/discover/owner/moves'))[0]?.value ?? '{}') as { ip?: string };
      assert.equal(owner.ip, '198.18.0.7');

      // eth0 has an address all the while, and no default route leads to it.
      wire('eth0', 'bp1', ['10.77.0.1/24'], ['10.77.0.2/24']);
      const before = await revisions();
      ip('address', 'flush', 'dev', 'up0');
      await eventually(() => assert.equal(said('the address of this host is not found: it is kept for a while'), 1));
      await sleep(amount(0, 20_000));
      restore('up0', '198.18.0.7');
      await eventually(() => assert.equal(said('the address of this host is found again'), 1));
      assert.deepEqual(await revisions(), before);
      ip('link', 'del', 'eth0');
      ip('address', 'flush', 'dev', 'up0');
      restore();
      await allAt('198.18.0.1');
      console.log(`${count} containers: written anew ${tookMs} ms after the change of the address`);
      await dockerd.docker('rm', '--force', ...ids);
    });

    testInFull(
      "at its own address on Podman's network, in a pod, and with another container",
      { skip: needs('podman') },
      async () => {
        await using podman = await startPodman();
        const log = recordingLog();
        await using _agent = await startAgent(
          {
            ...{ workers: 0, resync: 86_400, docker: { socketPath: podman.socketPath } },
            ...{ etcd: { endpoints: [etcd.endpoint] }, host: { id: 'podman', ip: '198.18.0.1' } },
            address: { from: 'container' },
          },
          { log },
        );
        const env = { DISCOVER: 'web:80' };
        const own = await podman.run({ env, command: answering('own') });
        const [url = ''] = await published('podman', own);
        await answers(reader, url, 'own');

        const member = await podman.run({
          env: { DISCOVER: 'api:81' },
          network: `container:${own}`,
          command: answering('member', 81),
        });
        const [second = ''] = await published('podman', member);
        assert.equal(second, url.replace(/80$/, '81'));
        await answers(reader, second, 'member');
        await podman.podman('kill', own);
        await eventually(async () => assert.deepEqual(await urlsOf('podman', member), []));

        const image = await podman.image();
        const infra = [`--infra-image=${image}`, '--infra-command=/bin/busybox sleep 1000000'];
        await podman.podman('pod', 'create', '--name=shop', ...infra);
        const inPod = await podman.podman(
          'run',
          '--detach',
          '--pod=shop',
          '--env=DISCOVER=web:80',
          image,
          ...answering('pod'),
        );
        const [podUrl = ''] = await published('podman', inPod);
        await answers(reader, podUrl, 'pod');
        await podman.podman('pod', 'stop', '--time=0', 'shop');
        await eventually(async () => assert.deepEqual(await urlsOf('podman', inPod), []));
        await podman.podman('pod', 'rm', '--force', 'shop');
      },
    );

    testInFull(
      "at its own address on Podman's ipvlan, from the other end of the wire",
      { skip: needs('podman') },
      async (context) => {
        const missing = whyNoIpvlan();
        if (missing !== undefined) return context.skip(missing);
        await using podman = await startPodman();
        if (Number.parseInt(podman.version, 10) < 5) {
          return context.skip(`Podman ${podman.version}: its plugins take no parent for ipvlan`);
        }
        wire('pod-0', 'pod-1', [], ['198.18.6.2/24']);
        const subnet = ['--subnet=198.18.6.0/24', '--gateway=198.18.6.2', '--ip-range=198.18.6.128/25'];
        await podman.podman('network', 'create', '--driver=ipvlan', '--opt=parent=pod-0', ...subnet, 'wire');
        const docker = { socketPath: podman.socketPath };
        await using _agent = await agentOf('podman-wire', { docker, address: { from: 'either' } });
        const env = { DISCOVER: 'web:80' };
        const id = await podman.run({ env, network: 'wire', command: answering('podman') });
        const [url = ''] = await published('podman-wire', id);
        assert.match(url, /^tcp:\/\/198\.18\.6\.\d+:80$/);
        await answers(reader, url, 'podman');
      },
    );
  });
}
