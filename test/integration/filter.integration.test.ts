/** `docker.filter`: which containers an agent takes, also where several agents share a host. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { runCommand } from '../helpers/command.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { connectionOf, fromDockerd, type Host, removeAll, startHost } from '../helpers/host.ts';
import { needs, stateOf } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

// A list would hide an event that was not understood.
const noResync = ['--resync', '86400'];
const filterOf = (...lines: string[]): string[] => lines.flatMap((line) => ['--docker:filter', line]);
const web = { env: { DISCOVER: 'web:80' }, ports: [80] };

describe('docker.filter', { skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root') }, () => {
  let dockerd: Dockerd;
  before(async () => {
    dockerd = await startDockerd();
  });
  beforeEach(() => removeAll(dockerd));
  after(() => dockerd?.close());

  const published = async (etcd: EtcdServer): Promise<string[]> =>
    [...(await etcd.get('/discover/service/')).keys()].filter((key) => !/\/\S+x\/0123456789ab$/.test(key)).sort();
  const holds = (etcd: EtcdServer, keys: readonly string[]): Promise<void> =>
    eventually(async () => assert.deepEqual(await published(etcd), [...keys].sort()));

  test('two agents on one host, each with its filter and its realm, publish exactly their own (real dockerd, real etcd)', async () => {
    await using etcd = await startEtcd();
    const agent = (tier: string): Promise<Host> =>
      startHost({
        ...{ source: fromDockerd(dockerd), etcd, record: false, names: { id: `h1-${tier}`, realm: tier } },
        args: [...noResync, ...filterOf(`label=tier=${tier}`)],
      });
    const run = (tier?: string): Promise<string> => dockerd.run({ ...web, ...(tier && { labels: { tier } }) });
    const keyOf = (tier: string, id: string): string => `/discover/service/web/${tier}/h1-${tier}/${id.slice(0, 12)}`;
    const [before, none] = [await run('blue'), await run()];
    await using blue = await agent('blue');
    await using green = await agent('green');
    await holds(etcd, [keyOf('blue', before)]);

    const first = await run('blue');
    await holds(etcd, [keyOf('blue', before), keyOf('blue', first)]);
    const { inspections } = await stateOf(blue.discover);
    const [other, second] = [await run('red'), await run('green')];
    await holds(etcd, [keyOf('blue', before), keyOf('blue', first), keyOf('green', second)]);
    // The engine tells an agent nothing of the starts that are not for it.
    assert.equal((await stateOf(blue.discover)).inspections, inspections);

    for (const [host, container, reasons] of [
      [blue, none, ['filtered']],
      [blue, other, ['filtered']],
      [blue, second, ['filtered']],
      [green, second, []],
    ] as const) {
      const filter = filterOf(`label=tier=${host.names.realm}`);
      const args = [...connectionOf(host, dockerd), ...filter];
      const why = await runCommand(['why', container.slice(0, 12), ...args, '-o', 'json']);
      assert.deepEqual((JSON.parse(why.out) as { reasons: string[] }).reasons, reasons);
      const verified = await runCommand(['verify', ...args]);
      assert.equal(verified.code, 0, verified.out + verified.err);
    }

    await dockerd.docker('rm', '--force', before, second);
    await holds(etcd, [keyOf('blue', first)]);
  });

  testInFull(
    'one that is renamed or moved to another network is withdrawn and taken at once (real dockerd, real etcd)',
    async () => {
      await dockerd.docker('network', 'create', 'front');
      try {
        await using host = await startHost({
          ...{ source: fromDockerd(dockerd), record: false },
          args: [...noResync, ...filterOf('name=^web-', 'name=^shop-', 'network=front')],
        });
        const keyOf = (id: string): string => `/discover/service/web/default/h1/${id.slice(0, 12)}`;
        const [shown, other, apart] = [
          await dockerd.run({ ...web, name: 'web-1', network: 'front' }),
          await dockerd.run({ ...web, name: 'api-1', network: 'front' }),
          await dockerd.run({ ...web, name: 'web-2' }),
        ];
        await holds(host.etcd, [keyOf(shown)]);
        const steps: [words: string[], keys: string[]][] = [
          [['rename', 'web-1', 'db-1'], []],
          [['rename', 'api-1', 'shop-1'], [keyOf(other)]],
          [
            ['rename', 'db-1', 'web-1'],
            [keyOf(shown), keyOf(other)],
          ],
          [
            ['network', 'connect', 'front', 'web-2'],
            [keyOf(shown), keyOf(other), keyOf(apart)],
          ],
          [
            ['network', 'disconnect', 'front', 'web-2'],
            [keyOf(shown), keyOf(other)],
          ],
          [['network', 'disconnect', 'front', 'web-1'], [keyOf(other)]],
          [
            ['network', 'connect', 'front', 'web-1'],
            [keyOf(shown), keyOf(other)],
          ],
          [['stop', '--time=0', 'web-1'], [keyOf(other)]],
          [
            ['start', 'web-1'],
            [keyOf(shown), keyOf(other)],
          ],
        ];
        for (const [words, keys] of steps) {
          await dockerd.docker(...words);
          await holds(host.etcd, keys);
        }
      } finally {
        await removeAll(dockerd);
        await dockerd.docker('network', 'rm', 'front');
      }
    },
  );

  testInFull(
    'by a label leaves deaths and networks followed, and a list of before and after agrees (real dockerd, real etcd)',
    async () => {
      await dockerd.docker('network', 'create', 'inner');
      try {
        await using host = await startHost({
          ...{ source: fromDockerd(dockerd), record: false },
          // The slash is the engine's own, as docker ps takes it.
          args: [...noResync, ...filterOf('label=tier=web', 'label=shown', 'name=^/web-1$')],
        });
        const id = await dockerd.run({ ...web, name: 'web-1', network: 'inner', labels: { tier: 'web', shown: '' } });
        await dockerd.run({ ...web, name: 'web-11', labels: { tier: 'web', shown: '' } });
        await dockerd.run({ ...web, name: 'web-12', labels: { tier: 'web' } });
        const key = `/discover/service/web/default/h1/${id.slice(0, 12)}`;
        await holds(host.etcd, [key]);
        await dockerd.docker('network', 'disconnect', 'inner', id);
        await holds(host.etcd, []);
        await dockerd.docker('network', 'connect', 'inner', id);
        await holds(host.etcd, [key]);
        // The first list of the next process shows what the events led to.
        await host.terminate();
        await host.launch();
        await holds(host.etcd, [key]);
        await dockerd.docker('kill', id);
        await holds(host.etcd, []);
      } finally {
        await removeAll(dockerd);
        await dockerd.docker('network', 'rm', 'inner');
      }
    },
  );
});
