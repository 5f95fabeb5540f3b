/**
 * What readers are told while etcd is killed, frozen, compacted, without a leader or cut off: the last
 * that it said, with its age; never a set that it never held; and in the end exactly what it holds.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { forkEngine } from '../../bench/engine/client.ts';
import { DiscoverClient } from '../../src/client/index.ts';
import { startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, startHost } from '../helpers/host.ts';
import { startProxy } from '../helpers/proxy.ts';
import { assertExact, live, observe, startWriter } from '../helpers/reader.ts';
import { needs } from '../helpers/run.ts';

const names = ['web', 'db', 'mail', 'dns'];
const assertStale = (client: DiscoverClient): void => assert.ok(client.stale, 'Not yet');

describe('readers', { skip: needs('etcd', 'etcdctl'), concurrency: 3 }, () => {
  test('connections cut, a partition with a compaction, etcd killed and frozen: sets are true, never empty, and exact in the end (real etcd behind a proxy)', async () => {
    await using etcd = await startEtcd();
    await using recorder = await etcd.record('/discover/service/');
    await using proxy = await startProxy({ to: `127.0.0.1:${etcd.ports[0]}` });
    await using writer = startWriter(etcd.endpoint);
    await using near = new DiscoverClient({ endpoints: etcd.endpoints });
    await using far = new DiscoverClient({ endpoints: [proxy.address] });
    await using lives = live(writer, names, 100);
    await eventually(async () => assert.equal((await etcd.get('/discover/service/')).size >= names.length, true));
    await far.services();
    // One client by a watch for each name, the other by one for all.
    const observers = [near, far].flatMap((client) => names.map((name) => observe(client, name)));

    for (let cuts = 0; cuts < 10; cuts++) {
      const way = cuts % 2 === 0 ? proxy.toClient : proxy.toServer;
      way.cutAfter(1 + ((cuts * 397) % 2000));
      await sleep(150);
    }
    await eventually(() => assert.equal(far.stale, undefined));

    proxy.pause();
    proxy.cut();
    await eventually(() => assertStale(far));
    const known = await far.resolve('web');
    const before = await etcd.revision();
    await eventually(async () => assert.ok((await etcd.revision()) > before + 100, 'Not yet'));
    await recorder.settled();
    await etcd.ctl('compact', String(await etcd.revision()));
    assert.equal(await far.resolve('web'), known);
    assert.ok((far.stale?.ageMs ?? 0) > 0 && near.stale === undefined, 'Who is cut off says so, and nobody else');
    proxy.resume();
    await eventually(() => assert.equal(far.stale, undefined));

    await etcd.kill();
    await eventually(() => assert.ok(near.stale && far.stale, 'Not yet'));
    await etcd.restart();
    await eventually(() => assert.equal(near.stale ?? far.stale, undefined));

    etcd.pause();
    await sleep(1_000);
    etcd.resume();
    const seen = observers.map((one) => one.seen.length);
    await eventually(() =>
      assert.ok(
        observers.every((one, index) => one.seen.length > (seen[index] ?? 0)),
        'Not yet',
      ),
    );

    await lives.end();
    await assertExact(etcd, recorder, observers);
    assert.ok(
      observers.every((one) => one.seen.every(({ size }) => size > 0)),
      'A set was empty',
    );
    await near.close();
    await far.close();
    for (const { ended } of observers) await ended;
  });

  test('a connection that swallows everything is found out, and another member asked (real etcd behind two proxies)', async () => {
    await using etcd = await startEtcd();
    await using recorder = await etcd.record('/discover/service/');
    await using writer = startWriter(etcd.endpoint);
    const to = `127.0.0.1:${etcd.ports[0]}`;
    await using first = await startProxy({ to });
    await using second = await startProxy({ to });
    await using client = new DiscoverClient({ endpoints: [first.address, second.address] });
    await using lives = live(writer, names, 20);
    const observers = names.map((name) => observe(client, name));
    await eventually(() =>
      assert.ok(
        observers.every(({ seen }) => seen.length > 1),
        'Not yet',
      ),
    );
    const [used, other] = first.connections > 0 ? [first, second] : [second, first];
    assert.equal(other.connections, 0);
    used.pause();
    const seen = observers.map((one) => one.seen.length);
    await eventually(() =>
      assert.ok(
        observers.every((one, index) => one.seen.length > (seen[index] ?? 0)),
        'Not yet',
      ),
    );
    await lives.end();
    await assertExact(etcd, recorder, observers);
    assert.ok(other.connections > 0, 'It was not the other member that told');
  });

  test('an etcd that is silent is not believed to be quiet, though its connection lives; one that is quiet is left in peace (simulated etcd)', async () => {
    await using silent = await startStillEtcd({ answers: false });
    await using quiet = await startStillEtcd({ answers: true });
    const clients = [silent, quiet].map(({ port }) => new DiscoverClient({ endpoints: [`127.0.0.1:${port}`] }));
    for (const client of clients) assert.deepEqual(await client.resolve('web'), []);
    // Each reading is of two ranges: the meta keys and the service keys.
    await eventually(() => assert.ok(silent.readings > 2 && quiet.questions >= 3, 'Not yet'));
    assert.equal(quiet.readings, 2);
    for (const client of clients) await client.close();
  });

  test('a member that has lost its leader is not believed to be quiet, and a change of leader loses nothing (real etcd, three members)', async () => {
    await using etcd = await startEtcd({ nodes: 3 });
    await using recorder = await etcd.record('/discover/service/');
    const leader = await etcd.leader();
    const [one = 0, other = 0] = [0, 1, 2].filter((node) => node !== leader);
    const endpoint = etcd.endpoints[one] ?? '';
    await using writer = startWriter(endpoint);
    await using client = new DiscoverClient({ endpoints: [endpoint] });
    await using lives = live(writer, names, 20);
    const observers = names.map((name) => observe(client, name));
    await eventually(() =>
      assert.ok(
        observers.every(({ seen }) => seen.length > 1),
        'Not yet',
      ),
    );
    await etcd.kill(leader);
    const seen = observers.map(({ seen }) => seen.length);
    await eventually(() =>
      assert.ok(
        observers.every((one, index) => one.seen.length > (seen[index] ?? 0)),
        'Not yet',
      ),
    );
    etcd.pause(other);
    await eventually(() => assertStale(client));
    etcd.resume(other);
    await etcd.restart(leader);
    await eventually(() => assert.equal(client.stale, undefined));
    await lives.end();
    await assertExact(etcd, recorder, observers);
  });

  test('what a discover publishes under load reaches readers exactly, though etcd is killed meanwhile (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 5 });
    const shop = {
      env: ['DISCOVER=shop:8080,dns:53/udp'],
      ports: [{ container: '8080/tcp' }, { container: '53/udp' }],
    };
    await engine.run([shop]);
    await using host = await startHost({ source: fromEngine(engine), ttl: 20 });
    // A reader that comes before the first instance is rightly told that there is none.
    await host.converged();
    await using client = new DiscoverClient({ endpoints: host.etcd.endpoints });
    const observers = ['shop', 'dns'].map((name) => observe(client, name));
    await eventually(() =>
      assert.ok(
        observers.every(({ seen }) => seen.at(-1)?.size === 1),
        'Not yet',
      ),
    );
    const churned = engine.churn({
      rate: 100,
      seconds: 5,
      lifetimeMs: 300,
      survivors: 0.1,
      container: { ...shop, autoRemove: true },
    });
    await eventually(() =>
      assert.ok(
        observers.every(({ seen }) => seen.length > 50),
        'Not yet',
      ),
    );
    await host.etcd.kill();
    await host.etcd.restart();
    await churned;
    await host.converged();
    await assertExact(host.etcd, host.recorder, observers);
    assert.ok(
      observers.every((one) => one.seen.every(({ size }) => size > 0)),
      'A set was empty',
    );
    assert.equal((await client.resolve('shop')).length, 51);
  });
});

/** An etcd that holds nothing and in which nothing happens: it answers a watch when it begins, and afterwards if it is to. */
async function startStillEtcd({ answers }: { readonly answers: boolean }) {
  const raw = (bytes: Buffer): Buffer => bytes;
  const ways = { requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw };
  // All begin with a header that says revision 1; the others go on with the id of a watch, 0 or 1, and `created`.
  const header = Buffer.from('0a021801', 'hex');
  const begun = ['0a0218011801', '0a02180110011801'].map((hex) => Buffer.from(hex, 'hex'));
  let [readings, questions] = [0, 0];
  const server = new Server();
  server.addService(
    {
      range: { path: '/etcdserverpb.KV/Range', requestStream: false, responseStream: false, ...ways },
      watch: { path: '/etcdserverpb.Watch/Watch', requestStream: true, responseStream: true, ...ways },
    },
    {
      range: (_call: unknown, answer: (error: null, reading: Buffer) => void) => {
        readings++;
        answer(null, header);
      },
      watch: (stream: ServerDuplexStream<Buffer, Buffer>) => {
        let watches = 0;
        stream.on('data', () => {
          const created = begun[watches++];
          if (created === undefined) questions++;
          if (created !== undefined || answers) stream.write(created ?? header);
        });
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    const bound = (error: Error | null, port: number): void => (error ? reject(error) : resolve(port));
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), bound);
  });
  return {
    port,
    get readings() {
      return readings;
    },
    get questions() {
      return questions;
    },
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  };
}
