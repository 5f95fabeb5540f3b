/** The client for programs over HTTP: names in `fetch` and undici, waiting for an instance, and all services at once. */
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { DiscoverClient, discoverFetch, discoverInterceptor, type ServicesUpdate } from '../../src/client/index.ts';
import { type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { freePort } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

interface Dispatcher {
  compose(interceptor: unknown): Dispatcher;
}

describe('the client', { skip: needs('etcd') }, () => {
  let etcd: EtcdServer;
  let client: DiscoverClient;
  let servers: { readonly name: string; readonly port: number; readonly server: http.Server }[];
  before(async () => {
    etcd = await startEtcd();
    client = new DiscoverClient({ endpoints: [...etcd.endpoints] });
    servers = await Promise.all(
      ['one', 'two'].map(async (name) => {
        const server = http.createServer(async (request, response) => {
          let body = '';
          for await (const part of request) body += String(part);
          response.end(`${name} ${request.method} ${request.url} ${body}`);
        });
        await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
        const address = server.address();
        return { name, server, port: typeof address === 'object' && address !== null ? address.port : 0 };
      }),
    );
  });
  after(async () => {
    for (const { server } of servers ?? []) server.close().closeAllConnections();
    await client?.close();
    await etcd?.close();
  });

  const keyOf = (name: string, at: number): string => `/discover/service/${name}/default/h1/00000000000${at}`;
  const put = (name: string, ...ports: number[]): Promise<void> =>
    etcd.put(new Map(ports.map((port, at) => [keyOf(name, at), `tcp://127.0.0.1:${port}`])));

  test('fetch takes a name, goes to each instance in turn and to another one where nothing listens (real etcd)', async () => {
    const dead = await freePort();
    await put('web', dead, ...servers.map(({ port }) => port));
    const byName = discoverFetch(client);
    const seen = new Set<string>();
    for (let turn = 0; turn < 8; turn++) {
      seen.add(await (await byName('http://web/a?b=c', { method: 'POST', body: 'text' })).text());
    }
    assert.deepEqual([...seen].sort(), ['one POST /a?b=c text', 'two POST /a?b=c text']);
    const request = new Request('http://web/', { method: 'PUT', body: 'again' });
    assert.match(await (await byName(request)).text(), /^(one|two) PUT \/ again$/);
    // Another address, and a name with a port, stay as they are.
    const [{ port } = { port: 0 }] = servers;
    assert.match(await (await byName(`http://localhost:${port}/x`)).text(), /^one GET \/x/);
    await assert.rejects(byName('http://none/'), { code: 'NO_INSTANCE' });
    await put('dead', dead);
    await assert.rejects(byName('http://dead/'), { name: 'TypeError', message: 'fetch failed' });
    await assert.rejects(byName('http://web/', { signal: AbortSignal.abort() }), { name: 'AbortError' });
    assert.throws(() => discoverFetch(client, { retries: 3 } as object), { code: 'CONFIG_INVALID' });
    assert.throws(() => discoverFetch(client, { tries: 0 }), /tries must be an integer of at least 1, got 0/);
  });

  test("a dispatcher of undici takes a name: the one in Node, by its fetch (real etcd, Node's undici)", async () => {
    await put('both', await freePort(), ...servers.map(({ port }) => port));
    const [{ port } = { port: 0 }] = servers;
    await fetch(`http://127.0.0.1:${port}/`);
    const global = (globalThis as Record<symbol, unknown>)[Symbol.for('undici.globalDispatcher.1')] as Dispatcher;
    const dispatcher = global.compose(discoverInterceptor(client));
    const seen = new Set<string>();
    for (let turn = 0; turn < 8; turn++) {
      const init = { dispatcher, method: 'POST', body: 'text' } as RequestInit;
      seen.add(await (await fetch('http://both/a', init)).text());
    }
    assert.deepEqual([...seen].sort(), ['one POST /a text', 'two POST /a text']);
    const failing = fetch('http://none/', { dispatcher } as RequestInit);
    await assert.rejects(failing, (error: Error) => (error.cause as { code?: string }).code === 'NO_INSTANCE');
    assert.match(await (await fetch(`http://127.0.0.1:${port}/x`, { dispatcher } as RequestInit)).text(), /^one GET/);
  });

  test('pick waits for an instance if it is told to, and never picks one that is excluded (real etcd)', async () => {
    assert.equal(await client.pick('later'), undefined);
    assert.equal(await client.pick('later', { wait: 20 }), undefined);
    const waiting = client.pick('later', { wait: 100_000 });
    await put('later', 1);
    const first = await waiting;
    assert.equal(first?.port, 1);
    assert.equal(await client.pick('later', { exclude: [first] }), undefined);
    const another = client.pick('later', { exclude: [first], wait: 100_000 });
    await put('later', 1, 2);
    assert.equal((await another)?.port, 2);
    const leaving = new AbortController();
    const aborted = client.pick('never', { wait: 100_000, signal: leaving.signal });
    leaving.abort(new Error('enough'));
    await assert.rejects(aborted, /enough/);
  });

  test('a report counts for as long as it says (real etcd)', async () => {
    await put('pair', 1, 2);
    const [one, other] = [...(await client.resolve('pair'))].sort((a, b) => a.port - b.port);
    assert.ok(one !== undefined && other !== undefined);
    client.reportFailed(one, 100_000);
    for (let turn = 0; turn < 4; turn++) assert.equal((await client.pick('pair'))?.port, 2);
    client.reportFailed(one, 0);
    const ports = await Promise.all(Array.from({ length: 4 }, async () => (await client.pick('pair'))?.port));
    assert.deepEqual(new Set(ports), new Set([1, 2]));
  });

  test('options that do not exist are refused by name (real etcd)', async () => {
    const bad = [
      () => client.resolve('web', { relm: 'a' } as object),
      () => client.services({ wait: 1 } as object),
      () => client.pick('web', { prefered: 'zone' } as object),
      () => client.pick('web', { prefer: 'rack' } as object),
      () => client.pick('web', { wait: -1 }),
      () => client.pick('web', { wait: Number.NaN }),
      async () => client.watch('web', { wait: 1 } as object),
      async () => client.watchServices({ name: 'web' } as object),
      async () => client.reportFailed({ url: 'x' } as never, 'soon' as never),
    ];
    for (const call of bad) await assert.rejects(call, { code: 'CONFIG_INVALID' }, String(call));
    await assert.rejects(client.pick('web', { prefered: 'zone' } as object), {
      message: 'prefered is not an option, there are realm, protocol, signal, prefer, wait, exclude',
    });
  });

  test('watchServices gives the sets of all services, and what has changed since the last ones (real etcd)', async () => {
    const leaving = new AbortController();
    const updates = client.watchServices({ protocol: 'tcp', signal: leaving.signal });
    const next = async (): Promise<ServicesUpdate> => {
      const { value } = await updates.next();
      assert.ok(value);
      return value;
    };
    const first = await next();
    assert.ok(
      first.services.has('web') && first.changed.get('web')?.added.length === first.services.get('web')?.length,
    );
    await put('fresh', 1);
    const added = await next();
    assert.deepEqual([[...added.changed.keys()], added.services.get('fresh')?.length], [['fresh'], 1]);
    await put('fresh', 2);
    assert.deepEqual(
      (await next()).changed.get('fresh')?.changed.map(({ port }) => port),
      [2],
    );
    leaving.abort();
    assert.equal((await updates.next()).done, true);
  });
});
