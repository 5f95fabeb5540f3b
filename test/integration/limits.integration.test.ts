/** Much at once, and names that are not plain: what etcd takes in one transaction, and in which bytes. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { runCommand } from '../helpers/command.ts';
import { startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { ended, fromEngine, revisionsOf, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const port = { container: '8080/tcp' };

describe('limits', { skip: needs('etcd', 'etcdctl'), concurrency: 2 }, () => {
  test('a container of 100 long names appears in one revision and goes in one, also beside others (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine();
    await using host = await startHost({ source: fromEngine(engine) });
    const long = (number: number): string => `${String(number).padStart(3, '0')}-${'x'.repeat(124)}`;
    const names = Array.from({ length: 100 }, (_, number) => long(number));
    const env = [`DISCOVER=${names.map((name) => `${name}:8080`).join(',')}`];
    const large = await engine.run(Array.from({ length: 10 }, () => ({ env, ports: [port] })));
    await host.converged();
    assert.equal((await host.held()).size, 10 * 101);
    await engine.apply('stop', large);
    await host.converged();
    for (const id of large) {
      const changes = (await host.changesSince(0)).filter(({ key }) => key.endsWith(id.slice(0, 12)));
      assert.equal(changes.length, 202);
      assert.equal(revisionsOf(changes).length, 2);
    }
  });

  testInFull(
    'keys of another program whose values are together larger than an answer hide no service (real etcd)',
    async () => {
      await using etcd = await startEtcd();
      const long = 'x'.repeat(1_300_000);
      for (let port = 1; port <= 55; port++) {
        await etcd.put(new Map([[`/discover/service/long/default/h9/aaaaaaaaaaaa:${port}`, long]]));
      }
      await etcd.put(new Map([['/discover/service/web/default/h9/bbbbbbbbbbbb', 'tcp://10.0.0.9:80']]));
      const { code, err, out } = await runCommand(['ls', 'web', '--etcd:endpoints', etcd.endpoint]);
      assert.equal(code, 0, err);
      assert.match(out, /^web .* tcp:\/\/10\.0\.0\.9:80$/m);
    },
  );

  testInFull(
    'a thousand containers that run already are published, kept over a restart, and go by the hundred (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 1000 });
      await using host = await startHost({ source: fromEngine(engine), ttl: 30, args: ['--resync', '5'] });
      await host.converged();
      assert.equal((await host.held()).size, 2000);
      const count = await host.mark();
      host.discover.signal('SIGKILL');
      await ended(host.discover);
      await host.launch();
      await host.converged();
      assert.deepEqual(await host.changesSince(count), []);
      const ids = (await engine.snapshot()).map(({ id }) => id);
      while (ids.length > 0) {
        // A stream holds as much as dockerd's: of a thousand ends at once it would lose a part.
        await engine.apply('remove', ids.splice(0, 20));
        await host.converged();
      }
      assert.equal((await host.held()).size, 0);
    },
  );

  const odd = 'grüße 東京 😀';
  const encoded = encodeURIComponent(odd);
  for (const [policy, segment] of [
    ['raw', odd],
    ['encode', encoded],
  ] as const) {
    testInFull(
      `with the name policy ${policy} a name beyond ASCII is a key of the right bytes, and stays over a restart (simulated engine, real etcd)`,
      async () => {
        await using engine = await forkEngine();
        const args = ['--discover:namePolicy', policy];
        await using host = await startHost({ source: fromEngine(engine), args });
        const [id = ''] = await engine.run([{ env: [`DISCOVER=${odd}:8080`], ports: [port] }]);
        const key = `/discover/service/${segment}/default/h1/${id.slice(0, 12)}`;
        const wanted = new Map<string, unknown>([
          [key, 'tcp://10.0.0.5:32768'],
          [`/discover/host/h1/${id.slice(0, 12)}`, { [segment]: key }],
        ]);
        const exact = async (): Promise<void> => assert.deepEqual(await host.held(), wanted);
        await eventually(exact);
        const count = await host.mark();
        await host.terminate();
        await host.launch();
        await exact();
        assert.deepEqual(await host.changesSince(count), []);
        await engine.apply('stop', [id]);
        await host.converged();
      },
    );
  }
});
