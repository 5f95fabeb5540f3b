/**
 * What containers do on a sound engine that is hard on a reader of events: over before they are looked at,
 * in a crash loop, on the port that another has just left, unable to start; and what is no news at all.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  expected,
  freePort,
  fromDockerd,
  type Host,
  knownOf,
  removeAll,
  revisionsOf,
  startHost,
} from '../helpers/host.ts';
import { listsOf, needs } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const noResync = ['--resync', '86400'];
const web = { env: { DISCOVER: 'web:80' }, ports: [80] };
const shortOf = (id: string): string => id.slice(0, 12);

function assertQuiet(host: Host): void {
  const loud = host.discover.logs.filter(({ level }) => level === 'warn' || level === 'error');
  assert.deepEqual(loud, []);
}

/** Waits until so many more lists have been taken in. */
async function listed(host: Host, more: number): Promise<void> {
  const before = await listsOf(host.discover);
  await eventually(async () => assert.ok((await listsOf(host.discover)) >= before + more, 'Not yet'));
}

describe('lives of containers', {
  skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root'),
}, () => {
  let dockerd: Dockerd;
  before(async () => {
    dockerd = await startDockerd();
    await dockerd.image();
  });
  beforeEach(() => removeAll(dockerd));
  after(() => dockerd.close());
  const start = (args: readonly string[] = noResync): Promise<Host> =>
    startHost({ source: fromDockerd(dockerd), args });

  test('with no container ever, nothing but the owner key is written, list after list (real dockerd, real etcd)', async () => {
    await using host = await start(['--resync', '1']);
    await host.converged();
    const revision = await host.etcd.revision();
    await listed(host, 3);
    assert.equal(await host.etcd.revision(), revision);
    assert.deepEqual([...new Set(host.recorder.changes.map(({ key }) => key))], ['/discover/owner/h1']);
  });

  test('containers that are over as soon as they start leave nothing behind, and no word in the log (real dockerd, real etcd)', async () => {
    await using host = await start();
    const numbers = Array.from({ length: amount(6, 18) }, (_, number) => number);
    const lane = async (): Promise<void> => {
      for (let number = numbers.pop(); number !== undefined; number = numbers.pop()) {
        await dockerd.run({ ...web, rm: number % 2 === 0, command: ['true'] });
      }
    };
    await Promise.all([lane(), lane(), lane()]);
    await eventually(async () => assert.equal(await dockerd.docker('ps', '--quiet'), ''));
    const lasts = await dockerd.run(web);
    await host.converged();
    const changes = await host.changesSince(0);
    const shortId = changes.filter(({ key }) => !key.endsWith(shortOf(lasts)));
    const puts = shortId.filter(({ kind }) => kind === 'put').length;
    assert.equal(shortId.length, 2 * puts, 'What was published has to be taken back');
    assertQuiet(host);
  });

  test('containers in a crash loop hold up nobody, and leave nothing when they are removed (real dockerd, real etcd)', async () => {
    await using host = await start();
    const loops = await Promise.all(
      Array.from({ length: amount(2, 4) }, () =>
        dockerd.run({ ...web, args: ['--restart=always'], command: ['false'] }),
      ),
    );
    for (let round = 0; round < amount(1, 4); round++) {
      const healthy = await dockerd.run(web);
      const isPublished = async (): Promise<boolean> =>
        [...(await host.held()).keys()].some((key) => key.endsWith(shortOf(healthy)));
      await eventually(async () => assert.ok(await isPublished(), 'Not published yet'));
      await dockerd.docker('stop', healthy);
      await eventually(async () => assert.ok(!(await isPublished()), 'Still published'));
    }
    await eventually(async () => {
      const restarts = await Promise.all(
        loops.map(async (id) => Number(await dockerd.docker('inspect', '--format={{.RestartCount}}', id))),
      );
      assert.ok(Math.min(...restarts) > 1, `Restarted only ${restarts} times`);
    });
    await dockerd.docker('rm', '--force', ...loops);
    await dockerd.run(web);
    await host.converged();
    assertQuiet(host);
  });

  testInFull(
    'a port that goes from hand to hand is in etcd under one container at a time (real dockerd, real etcd)',
    async () => {
      await using host = await start();
      const first = await freePort();
      const made: { id: string; env: string[] }[] = [];
      const numbers = Array.from({ length: amount(6, 18) }, (_, number) => number);
      const lane = async (): Promise<void> => {
        for (let number = numbers.pop(); number !== undefined; number = numbers.pop()) {
          const id = await dockerd.run({ ...web, ports: [`${first}-${first + 2}:80`] });
          made.push({ id, env: ['DISCOVER=web:80'] });
          if (number % 3 === 0) await dockerd.docker('restart', '--time=0', id);
          await dockerd.docker('rm', '--force', id);
        }
      };
      await Promise.all([lane(), lane(), lane()]);
      const id = await dockerd.run({ ...web, ports: [`${first}-${first + 2}:80`] });
      await host.converged(knownOf([...made, { id, env: ['DISCOVER=web:80'] }]));

      const holders = new Map<string, string>();
      const users = new Map<string, Set<string>>();
      const { changes } = host.recorder;
      for (const [index, { kind, key, value, previous = '', revision }] of changes.entries()) {
        if (!key.startsWith('/discover/service/')) continue;
        if (holders.get(previous) === key) holders.delete(previous);
        if (kind === 'put') {
          // Who lets go of it in the same revision may stand behind.
          const other = holders.get(value);
          const isLeft = changes.slice(index).some((later) => later.revision === revision && later.key === other);
          assert.ok(other === undefined || isLeft, `${value} is of ${other} and of ${key} at revision ${revision}`);
          holders.set(value, key);
          users.set(value, (users.get(value) ?? new Set()).add(key));
        }
      }
      assert.ok(
        [...users.values()].some((keys) => keys.size > 2),
        'No port has gone from hand to hand',
      );
    },
  );

  testInFull(
    'a container that cannot start for its port is not there, until it can (real dockerd, real etcd)',
    async () => {
      await using host = await start();
      const port = await freePort();
      const squatter = net.createServer();
      await new Promise<void>((resolve) => squatter.listen(port, '0.0.0.0', resolve));
      const image = await dockerd.image();
      const id = await dockerd.docker(
        'create',
        '--env=DISCOVER=web:80',
        `--publish=${port}:80`,
        image,
        'sleep',
        '1000',
      );
      try {
        await assert.rejects(dockerd.docker('start', id), /address already in use/);
        await dockerd.run(web);
        await host.converged();
        const changes = (await host.changesSince(0)).filter(({ key }) => key.endsWith(shortOf(id)));
        assert.deepEqual(changes, []);
      } finally {
        await new Promise((resolve) => squatter.close(resolve));
      }
      await dockerd.docker('start', id);
      await host.converged();
      assert.equal((await host.held()).size, 4);
    },
  );

  testInFull('a rename, an update, a pause and an exec are no news (real dockerd, real etcd)', async () => {
    await using host = await start(['--resync', '1']);
    const id = await dockerd.run(web);
    await host.converged();
    const revision = await host.etcd.revision();
    await dockerd.docker('rename', id, 'renamed');
    await dockerd.docker('update', '--cpu-shares=512', '--restart=no', id);
    await dockerd.docker('pause', id);
    await listed(host, 2); // one begun since shows it paused
    await dockerd.docker('unpause', id);
    await dockerd.docker('exec', id, '/bin/busybox', 'true');
    // It comes after them, and takes the next revision: so they took none.
    const other = await dockerd.run(web);
    await host.converged();
    const changes = host.recorder.changes.filter((change) => change.revision > revision);
    assert.equal(changes.length, 2);
    assert.ok(changes.every(({ key, revision: at }) => key.endsWith(shortOf(other)) && at === revision + 1));
  });

  test('a container in the network of another has the ports of that one, as long as it lives (real dockerd, real etcd)', async () => {
    await using host = await start();
    const owner = await dockerd.run(web);
    const guest = await dockerd.run({ env: { DISCOVER: 'guest:80' }, network: `container:${owner}` });
    await eventually(async () => {
      const urls = [...(await host.held())].filter(([key]) => key.includes('/service/'));
      assert.deepEqual(urls.map(([key]) => key.split('/')[3]).sort(), ['guest', 'web']);
      assert.equal(new Set(urls.map(([, url]) => url)).size, 1);
    });
    await dockerd.docker('stop', owner);
    await eventually(async () => assert.equal((await host.held()).size, 0));
    assert.equal((await dockerd.inspect(guest)).State.Running, true);
    await host.discover.waitForLog((line) => line.msg === 'advertisement refused' && line.container === shortOf(guest));
  });

  testInFull(
    'under another host id what was published as the old one goes with its lease, at once and by nobody’s hand (real dockerd, real etcd)',
    async () => {
      await using host = await startHost({ source: fromDockerd(dockerd), ttl: 3 });
      await dockerd.run(web);
      await dockerd.run(web);
      await host.converged();
      const count = host.recorder.changes.length;
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      await host.launch(['--host:id', 'h2']);
      const running = await fromDockerd(dockerd).running();
      await eventually(async () => {
        const held = [...(await host.held())].filter(([key]) => key !== '/discover/owner/h2');
        assert.deepEqual(new Map(held.sort()), new Map([...expected(running, { ...host.names, id: 'h2' })].sort()));
      });
      const old = (await host.changesSince(count)).filter(({ key }) => /\/h1(\/|$)/.test(key));
      assert.equal(old.length, 4);
      assert.ok(old.every(({ kind }) => kind === 'delete'));
      assert.equal(revisionsOf(old).length, 1, 'They did not go together');
    },
  );
});
