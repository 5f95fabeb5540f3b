/** discover as a part of another program: the built package, by its file and by its name. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import type { Agent, DiscoverError, Options, Publication } from '../../src/index.ts';
import { eventually } from '../helpers/eventually.ts';
import { defaultNames, freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

// By a name that is worked out, so that the types do not need a build.
const built = new URL('../../dist/index.js', import.meta.url).href;
const load = async (name: string): Promise<typeof import('../../src/index.ts')> => import(name);

const here = { skip: needs('etcd', 'etcdctl') };
const web = { env: ['DISCOVER=web:8080,admin:9090'], ports: [{ container: '8080/tcp' }, { container: '9090/tcp' }] };

function optionsOf(host: Host, socketPath: string): Options {
  const { id, ip, realm } = defaultNames;
  return { docker: { socketPath }, etcd: { endpoints: [...host.etcd.endpoints], ttl: 5 }, host: { id, ip, realm } };
}

test(
  'an agent tells of connect, start, publish and unpublish, with ids and services (simulated engine, real etcd)',
  here,
  async () => {
    const { startAgent } = await load(built);
    await using engine = await forkEngine();
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    const told: (readonly [name: string, publication?: Publication])[] = [];
    const agent: Agent = await startAgent(optionsOf(host, engine.socketPath));
    agent.on('connect', () => told.push(['connect']));
    agent.on('start', () => told.push(['start']));
    agent.on('publish', (publication) => told.push(['publish', publication]));
    agent.on('unpublish', (publication) => told.push(['unpublish', publication]));
    try {
      await eventually(() => assert.deepEqual(told.map(([name]) => name).sort(), ['connect', 'start']));
      const [id = ''] = await engine.run([web]);
      const shortId = id.slice(0, 12);
      await eventually(() => assert.equal(told.length, 3));
      await host.converged();
      const services = {
        web: `/discover/service/web/default/h1/${shortId}`,
        admin: `/discover/service/admin/default/h1/${shortId}`,
      };
      const [, published] = told[2] ?? [];
      assert.equal(told[2]?.[0], 'publish');
      assert.equal(published?.id, shortId);
      assert.deepEqual({ ...published?.services }, services);
      const held = await host.held();
      assert.deepEqual(
        [...(published?.addresses ?? [])].sort(),
        Object.values(services)
          .map((key) => [key, held.get(key)])
          .sort(),
      );

      await engine.apply('stop', [id]);
      await eventually(() => assert.equal(told.length, 4));
      await host.converged();
      const [name, gone] = told[3] ?? [];
      assert.deepEqual(
        [name, gone?.id, { ...gone?.services }, gone?.addresses.size],
        ['unpublish', shortId, services, 0],
      );

      // Again after each time the engine was lost.
      await engine.leave('missing');
      await engine.comeBack({});
      await eventually(() => assert.equal(told.filter(([event]) => event === 'connect').length, 2));
      await host.converged();
    } finally {
      await agent.stop();
    }
    assert.equal(await agent.ended, undefined);
    assert.equal(told.filter(([event]) => event === 'start').length, 1);
  },
);

test(
  'an agent stops when its scope ends, and another takes over without a write (simulated engine, real etcd)',
  here,
  async () => {
    const { startAgent } = await load('docker-discover');
    await using engine = await forkEngine({ containers: 3 });
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    const options = optionsOf(host, engine.socketPath);
    let ended: Promise<unknown>;
    {
      await using agent = await startAgent(options);
      ended = agent.ended;
      await host.converged();
    }
    assert.equal(await ended, undefined);
    const count = await host.mark();
    await using next = await startAgent(options);
    await new Promise<void>((resolve) => next.once('start', resolve));
    await host.converged();
    assert.deepEqual(await host.changesSince(count), []);
  },
);

test('stopping an agent resolves while neither engine nor etcd is there (nothing but discover is real)', async () => {
  const { startAgent } = await load(built);
  const { id, ip } = defaultNames;
  const agent = await startAgent({
    docker: { socketPath: '/nonexistent/docker.sock' },
    etcd: { endpoints: ['127.0.0.1:1'] },
    host: { id, ip },
  });
  await agent.stop();
  await agent.stop();
  assert.equal(await agent.ended, undefined);
});

test(
  'an agent ends with HOST_ID_TAKEN where another has its place, and does not throw (simulated engine, real etcd)',
  here,
  async () => {
    const { startAgent } = await load(built);
    await using engine = await forkEngine({ containers: 3 });
    await using host = await startHost({ source: fromEngine(engine) });
    await host.converged();
    const agent = await startAgent(optionsOf(host, engine.socketPath));
    assert.equal((await agent.ended)?.code, 'HOST_ID_TAKEN');
    await host.converged();
  },
);

test('a bad option rejects with CONFIG_INVALID, names itself and makes no connection (nothing but discover is real)', async () => {
  const { startAgent } = await load(built);
  const server = net.createServer().listen(0, '127.0.0.1');
  let connections = 0;
  server.on('connection', () => connections++);
  try {
    await eventually(() => assert.ok(server.address(), 'Not yet'));
    const { port } = server.address() as net.AddressInfo;
    const bad: readonly Options[] = [
      { etcd: { ttl: 0 } },
      { host: { id: 'a/b' } },
      { resync: 1.5 },
      { unknown: true } as Options,
    ];
    for (const options of bad) {
      const path = Object.keys(options)[0] ?? '';
      const endpoints = { etcd: { endpoints: [`127.0.0.1:${port}`], ...options.etcd } };
      await assert.rejects(startAgent({ ...options, ...endpoints }), (error: DiscoverError) => {
        assert.equal(error.code, 'CONFIG_INVALID');
        assert.equal(error.name, 'DiscoverError');
        assert.match(error.message, new RegExp(`${path}[. ]`));
        return true;
      });
    }
    assert.equal(connections, 0);
  } finally {
    server.close();
  }
});

test(
  'an agent in another program answers over HTTP for as long as it runs (simulated engine, real etcd)',
  here,
  async () => {
    const { startAgent } = await load(built);
    await using engine = await forkEngine();
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    const listen = await freePort();
    const options = { ...optionsOf(host, engine.socketPath), http: { listen } };
    const agent = await startAgent(options);
    const url = `http://127.0.0.1:${listen}/healthz`;
    try {
      assert.equal(await (await fetch(url)).text(), 'ok\n');
      const other = { ...options, host: { ...options.host, id: 'h2' } };
      await assert.rejects(startAgent(other), (error: DiscoverError) => error.code === 'LISTEN_FAILED');
    } finally {
      await agent.stop();
    }
    await eventually(() => assert.rejects(fetch(url)));
  },
);
