/** A real Podman in the place of Docker: lives, pauses, networks, pods, and a service that ends while containers run on. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { runCommand } from '../helpers/command.ts';
import { eventually } from '../helpers/eventually.ts';
import { answerAt, connectionOf, fromDockerd, type Host, removeAll, startHost } from '../helpers/host.ts';
import { type Podman, startPodman } from '../helpers/podman.ts';
import { listsOf, needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

// A list would hide an event that was not understood.
const noResync = ['--resync', '86400'];
const web = { env: { DISCOVER: 'web:80' }, ports: [80] };

describe('Podman', { skip: needs('etcd', 'etcdctl', 'podman', 'docker', 'busybox', 'ip', 'root') }, () => {
  let podman: Podman;
  before(async () => {
    podman = await startPodman();
  });
  beforeEach(async () => {
    await podman.podman('pod', 'rm', '--all', '--force', '--time=0');
    // Again where one has not gone, because another one that was on its network was still there.
    await eventually(() => removeAll(podman));
  });
  after(() => podman?.[Symbol.asyncDispose]());

  const start = (args: readonly string[] = noResync): Promise<Host> => startHost({ source: fromDockerd(podman), args });
  const keysOf = async (host: Host, id: string): Promise<number> =>
    [...(await host.held()).keys()].filter((key) => key.includes(id.slice(0, 12))).length;

  test('a container is published while it runs: start, stop, kill, restart, removal (real Podman, real etcd)', async (t) => {
    t.diagnostic(`Podman ${podman.version}`);
    await using host = await start();
    const image = await podman.image(['ENV DISCOVER=web:80,dns:53/udp']);
    const id = await podman.run({ image, ports: [80, '53/udp'] });
    await host.converged();
    assert.equal(await keysOf(host, id), 3);
    const connected = await host.discover.waitForLog(({ msg }) => msg === 'connected to docker');
    assert.equal(connected.engine, podman.version);
    for (const [words, keys] of [
      [['stop', '--time=0'], 0],
      [['start'], 3],
      [['restart', '--time=0'], 3],
      [['kill'], 0],
      [['start'], 3],
      [['rm', '--force'], 0],
    ] as const) {
      await podman.docker(...words, id);
      await eventually(async () => assert.equal(await keysOf(host, id), keys, words.join(' ')));
      await host.converged();
    }
  });

  testInFull(
    'a container that ends by itself, and one that is removed with its end, leave nothing (real Podman, real etcd)',
    async () => {
      await using host = await start();
      const stays = await podman.run(web);
      await podman.run({ ...web, command: ['sleep', '1'] });
      await podman.run({ ...web, command: ['sleep', '1'], rm: true });
      await eventually(async () => assert.equal(await podman.docker('ps', '--quiet'), stays.slice(0, 12)));
      await host.converged();
      assert.equal((await host.held()).size, 2);
    },
  );

  testInFull(
    'a paused container keeps its keys, as with Docker, also over a list and a restart of discover (real Podman, real etcd)',
    async () => {
      await using host = await start(['--resync', '1']);
      const id = await podman.run(web);
      await host.converged();
      const revision = await host.etcd.revision();
      await podman.docker('pause', id);
      const isPaused = async (): Promise<void> => assert.equal(await keysOf(host, id), 2);
      const lists = await listsOf(host.discover);
      await eventually(async () => assert.ok((await listsOf(host.discover)) > lists + 2, 'No list yet'));
      await isPaused();
      assert.equal(await host.etcd.revision(), revision);
      const told = await runCommand(['verify', ...connectionOf(host, podman)]);
      assert.equal(told.code, 0, told.out + told.err);
      await host.terminate();
      await host.launch();
      await isPaused();
      await podman.docker('unpause', id);
      await host.converged();
    },
  );

  testInFull(
    'a container is withdrawn while its health check fails, and while it is paused where asked for; a signal that does not end it changes nothing, and a stop withdraws it (real Podman, real etcd)',
    async () => {
      await using host = await start([...noResync, '--publish:paused', 'withdraw']);
      // The test runs the check itself: by itself Podman needs systemd for that.
      const check = [
        '--health-cmd',
        '/bin/busybox test -e /ok',
        '--health-interval',
        'disable',
        '--health-retries',
        '1',
      ];
      const shell =
        'ln -sf /bin/busybox /bin/sh; touch /ok; trap : HUP; trap "sleep 1; exit 0" TERM; while :; do sleep 1; done';
      const id = await podman.podman(
        ...['run', '--detach', ...check, '--publish', '80', '--env', 'DISCOVER=web:80', '--stop-signal', 'TERM'],
        ...[await podman.image(), 'sh', '-c', shell],
      );
      const has = (keys: number, after: string) =>
        eventually(async () => assert.equal(await keysOf(host, id), keys, after));
      // Podman 4 tells what the health was before a check, so its result is heard of with the next one.
      const checked = async (): Promise<void> => {
        for (const _ of [1, 2]) await podman.podman('healthcheck', 'run', id).catch(() => 'unhealthy');
      };
      await has(2, 'its start');
      await podman.podman('exec', id, '/bin/busybox', 'rm', '/ok');
      await checked();
      await has(0, 'a check that fails');
      await podman.podman('exec', id, '/bin/busybox', 'touch', '/ok');
      await checked();
      await has(2, 'a check that succeeds');
      await podman.docker('pause', id);
      await has(0, 'a pause');
      await podman.docker('unpause', id);
      await has(2, 'its end');
      const revision = await host.etcd.revision();
      await podman.docker('kill', '--signal', 'HUP', id);
      await podman.docker('exec', id, '/bin/busybox', 'true');
      assert.equal(await host.etcd.revision(), revision);
      await podman.docker('stop', id);
      await has(0, 'a stop');
      await podman.docker('start', id);
      await has(2, 'another start');
    },
  );

  testInFull(
    'a container loses its keys with its network and has them again with it (real Podman, real etcd)',
    async () => {
      await using host = await start();
      await podman.docker('network', 'create', 'inner');
      try {
        const id = await podman.run({ ...web, network: 'inner' });
        await host.converged();
        assert.equal(await keysOf(host, id), 2);
        await podman.docker('network', 'disconnect', 'inner', id);
        // The document still shows its ports.
        await eventually(async () => assert.equal(await keysOf(host, id), 0));
        assert.notEqual(await podman.hostPort(id, '80/tcp'), undefined);
        const why = await runCommand(['why', id.slice(0, 12), ...connectionOf(host, podman)]);
        assert.match(why.out, /not-bound/);
        await podman.docker('network', 'connect', 'inner', id);
        await eventually(async () => assert.equal(await keysOf(host, id), 2));
        await host.converged();
        await podman.docker('rm', '--force', id);
        await eventually(async () => assert.equal(await keysOf(host, id), 0));
      } finally {
        await podman.docker('network', 'rm', 'inner');
      }
    },
  );

  testInFull(
    'a container of a pod is published at the port of the pod, which its document shows (real Podman, real etcd)',
    async () => {
      await using host = await start();
      const image = await podman.image();
      const infra = [`--infra-image=${image}`, '--infra-command=/bin/busybox sleep 1000000'];
      await podman.podman('pod', 'create', '--name=shop', '--publish=80', ...infra);
      const answer = ['nc', '-ll', '-p', '80', '-e', 'echo', 'it is me'];
      const id = await podman.podman('run', '--detach', '--pod=shop', '--env=DISCOVER=web:80', image, ...answer);
      const key = `/discover/service/web/default/h1/${id.slice(0, 12)}`;
      const portOf = async (): Promise<number> =>
        Number(/^tcp:\/\/.*:(\d+)$/.exec(String((await host.held()).get(key)))?.[1]);
      await eventually(async () => assert.match(await answerAt(await portOf()), /it is me/));
      assert.equal((await host.held()).size, 2, 'The container that holds the network advertises nothing');
      await podman.podman('pod', 'stop', '--time=0', 'shop');
      await eventually(async () => assert.equal(await keysOf(host, id), 0));
      await podman.podman('pod', 'start', 'shop');
      await eventually(async () => assert.match(await answerAt(await portOf()), /it is me/));
      await host.converged();
    },
  );

  testInFull(
    'a container on the network of another one that publishes nothing is refused with the reason (real Podman, real etcd)',
    async () => {
      await using host = await start();
      const owner = await podman.run();
      const id = await podman.run({ env: { DISCOVER: 'web:80' }, network: `container:${owner}` });
      const refused = await host.discover.waitForLog(({ msg }) => msg === 'advertisement refused');
      assert.equal(refused.reason, 'shared-network');
      const why = await runCommand(['why', id.slice(0, 12), ...connectionOf(host, podman)]);
      assert.match(why.out, /shared-network/);
      await host.converged();
    },
  );

  testInFull(
    'while no service answers, what runs keeps its keys and what has ended goes (real Podman, real etcd)',
    async () => {
      await using host = await start();
      const [stays, ends] = [await podman.run(web), await podman.run(web)];
      await host.converged();
      const count = await host.mark();
      await podman.kill();
      await host.discover.waitForLog(({ msg }) => msg === 'docker unavailable');
      await podman.podman('kill', ends);
      // Its process is missed: nothing else tells.
      await eventually(async () => assert.equal(await keysOf(host, ends), 0));
      await podman.restart();
      await host.converged();
      const touched = (await host.changesSince(count)).filter(({ key }) => key.includes(stays.slice(0, 12)));
      assert.deepEqual(touched, []);
    },
  );

  test('a container of an image with labels alone is in etcd, with its meta and in each view, at one revision, and gone at one (real Podman, real etcd)', async () => {
    const views = ['--views:skydns', 'discover.local', '--views:grpc', 'grpc', '--views:traefik', 'traefik'];
    const custom = ['--views:registrator', '/services', '--views:custom', 'tcp: /c/{{id}}-{{privatePort}} = {{image}}'];
    await using host = await start([...noResync, ...views, ...custom]);
    await using everything = await host.etcd.record('');
    const labels = ['discover=web:80', 'discover.web.weight=3', 'discover.web.version=2'];
    const image = await podman.image(labels.map((label) => `LABEL ${label}`));
    const id = await podman.run({ image, ports: [80], name: 'shop-1' });
    const own = async () => {
      const all = await host.etcd.entries('');
      return all.filter(({ key, value }) => key.includes(id.slice(0, 12)) || /^3$|http:/.test(value));
    };
    // Key, record, meta, two for CoreDNS, two for Traefik, and one for each other view.
    const entries = await eventually(async () => {
      const found = await own();
      assert.equal(found.length, 10, found.map(({ key }) => key).join());
      return found;
    });
    assert.equal(new Set(entries.map(({ modRevision }) => modRevision)).size, 1);
    assert.equal(new Set(entries.map(({ lease }) => lease)).size, 1);
    const meta = entries.find(({ key }) => key.startsWith('/discover/meta/web/default/h1/'));
    const { container, weight } = JSON.parse(meta?.value ?? '{}') as { container?: string; weight?: number };
    assert.deepEqual([container, weight], ['shop-1', 3]);
    await podman.docker('rm', '--force', id);
    await eventually(async () => assert.deepEqual(await own(), []));
    await everything.settled();
    const gone = everything.changes.filter(({ kind }) => kind === 'delete');
    assert.equal(gone.length, entries.length);
    assert.equal(new Set(gone.map(({ revision }) => revision)).size, 1);
  });

  testInFull(
    'docker.filter takes those with a label and a name, follows a rename, and misses no end (real Podman, real etcd)',
    async () => {
      const filter = ['label=tier=web', 'label=shown', 'name=^/web-', 'network=podman', 'network=nowhere'];
      await using host = await startHost({
        ...{ source: fromDockerd(podman), record: false },
        args: [...noResync, ...filter.flatMap((line) => ['--docker:filter', line])],
      });
      const labels = { tier: 'web', shown: '' };
      const id = await podman.run({ ...web, name: 'web-1', labels });
      await podman.run({ ...web, name: 'web-2', labels: { tier: 'db', shown: '' } });
      await podman.run({ ...web, name: 'web-3', labels: { tier: 'web' } });
      await podman.run({ ...web, name: 'api-1', labels });
      const holds = (keys: number): Promise<void> =>
        eventually(async () => {
          assert.equal((await host.held()).size, keys);
          assert.equal(await keysOf(host, id), keys);
        });
      await holds(2);
      await podman.docker('rename', 'web-1', 'db-1');
      await holds(0);
      await podman.docker('rename', 'db-1', 'web-1');
      await holds(2);
      // The list of the next process agrees with what the events led to.
      await host.terminate();
      await host.launch();
      await holds(2);
      await podman.docker('kill', id);
      await holds(0);
      await podman.docker('start', id);
      await holds(2);
    },
  );

  testInFull('doctor, why and verify are right on it (real Podman, real etcd)', async () => {
    await using host = await start();
    const id = await podman.run(web);
    const silent = await podman.run({ env: { DISCOVER: 'web:81' }, ports: [80] });
    await host.converged();
    const args = connectionOf(host, podman);
    const [doctor, verify, why, refused] = await Promise.all([
      runCommand(['doctor', ...args]),
      runCommand(['verify', ...args]),
      runCommand(['why', id.slice(0, 12), ...args]),
      runCommand(['why', silent.slice(0, 12), ...args]),
    ]);
    assert.equal(doctor.code, 0, doctor.out + doctor.err);
    assert.match(doctor.out, new RegExp(`Podman ${podman.version.replaceAll('.', '\\.')}`));
    assert.equal(verify.code, 0, verify.out + verify.err);
    assert.equal(why.code, 0, why.out + why.err);
    assert.match(refused.out, /81\/tcp is not published; published are 80\/tcp/);
  });
});
