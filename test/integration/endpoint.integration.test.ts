/** The HTTP endpoint: what it tells is what is, it tells it to whom it should, and asking too much costs the asker. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import type { Container, Summary } from '../../src/http/shapes.ts';
import type { Instance } from '../../src/layout/instance.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

type Status = Summary & { readonly containers: readonly Container[] };

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

interface Ask extends http.RequestOptions {
  readonly body?: string;
}

function ask(where: http.RequestOptions, options: Ask = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { body: sent, ...rest } = options;
    const request = http.request({ agent: false, ...where, ...rest }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      response.on('error', reject);
    });
    request.on('error', reject).end(sent);
  });
}

/** The events of a stream as they come. */
function follow(port: number, path: string) {
  const events: { readonly event: string; readonly data: unknown }[] = [];
  let isOver = false;
  const request = http.get({ agent: false, port, path }, (response) => {
    let rest = '';
    response.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n\n');
      rest = parts.pop() ?? '';
      for (const part of parts) {
        const [, event = '', data = ''] = /^(?:id: .*\n)?event: (.*)\ndata: (.*)$/.exec(part) ?? [];
        if (event !== '') events.push({ event, data: JSON.parse(data) });
      }
    });
    response.on('close', () => {
      isOver = true;
    });
  });
  request.on('error', () => {
    isOver = true;
  });
  return {
    events,
    get isOver() {
      return isOver;
    },
    close: () => request.destroy(),
    [Symbol.dispose]: () => request.destroy(),
  };
}

const web = { env: ['DISCOVER=web:80, dns:53/udp'], ports: [{ container: '80/tcp' }, { container: '53/udp' }] };

async function withHost(
  containers: number,
  body: (host: Host, port: number, engine: Awaited<ReturnType<typeof forkEngine>>) => Promise<void>,
  args: readonly string[] = [],
): Promise<void> {
  const port = await freePort();
  await using engine = await forkEngine({ containers });
  await using host = await startHost({ source: fromEngine(engine), args: ['--http:listen', String(port), ...args] });
  await host.converged();
  await body(host, port, engine);
}

const json = async <T>(port: number, path: string): Promise<T> => {
  const { status, body } = await ask({ port }, { path });
  assert.equal(status, 200, body);
  return JSON.parse(body) as T;
};

/** Series of a scrape: name and labels to value. */
async function scrape(port: number): Promise<Map<string, number>> {
  const { body } = await ask({ port }, { path: '/metrics' });
  const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

const ours = (series: ReadonlyMap<string, number>): string[] =>
  [...series.keys()].filter((name) => name.startsWith('discover_')).sort();

describe('the endpoint (simulated engine, real etcd)', { skip: needs('etcd', 'etcdctl') }, () => {
  test('is ready while it lists, follows and holds a lease, and alive whatever is away', async () => {
    await withHost(
      0,
      async (host, port, engine) => {
        assert.deepEqual((await ask({ port }, { path: '/readyz' })).body, 'ok\n');
        await engine.leave('refusing');
        await eventually(async () => {
          const { status, body } = await ask({ port }, { path: '/readyz?verbose' });
          assert.equal(status, 503);
          const { checks } = JSON.parse(body) as Summary;
          assert.deepEqual(
            checks.map(({ name, ok }) => [name, ok]),
            [
              ['docker', false],
              ['listed', true],
              ['lease', true],
              ['settled', true],
            ],
          );
        });
        assert.equal((await ask({ port }, { path: '/readyz' })).body, 'not ready: docker\n');
        assert.equal((await ask({ port }, { path: '/healthz' })).status, 200);
        await engine.comeBack({});
        await eventually(async () => assert.equal((await ask({ port }, { path: '/readyz' })).status, 200));
        // Etcd away: ready for as long as the lease may live, then not.
        await host.etcd.kill();
        await eventually(async () =>
          assert.equal((await ask({ port }, { path: '/readyz' })).body, 'not ready: lease\n'),
        );
        assert.equal((await scrape(port)).get('discover_etcd_connected'), 0);
        assert.equal((await ask({ port }, { path: '/healthz' })).status, 200);
      },
      ['--etcd:ttl', '2'],
    );
  });

  test('tells what is published and what is not, with the reason and the way to mend it', async () => {
    await withHost(0, async (host, port, engine) => {
      const [both] = await engine.run([
        web,
        { env: ['DISCOVER=up:80, <b>:80, gone:81'], ports: [{ container: '80/tcp' }] },
      ]);
      await host.converged();
      const status = await json<Status>(port, '/status');
      assert.deepEqual(
        [status.ready, status.host.id, status.counts.running, status.counts.services],
        [true, 'h1', 2, 3],
      );
      assert.deepEqual(status.counts.refused, 2);
      const [first, second] = [status.containers[0], status.containers[1]];
      assert.equal(first?.id, both?.slice(0, 12));
      const held = await host.held();
      for (const { key, url, published } of first?.services ?? [])
        assert.deepEqual([held.get(key), published], [url, true]);
      assert.deepEqual(
        first?.services.map(({ name }) => name),
        ['web', 'dns'],
      );
      assert.deepEqual(
        [second?.state, second?.refusals.map(({ code, entry }) => [code, entry])],
        [
          'published',
          [
            ['name-invalid', '<b>:80'],
            ['not-published', 'gone:81/tcp'],
          ],
        ],
      );
      for (const { remedy } of second?.refusals ?? []) assert.ok(remedy.length > 10, remedy);
      await engine.apply('kill', [both as string]);
      await eventually(async () => assert.equal((await json<Status>(port, '/status')).containers.length, 1));
    });
  });

  test('has every series from the start, at zero, and never an id in a label', async () => {
    await withHost(0, async (host, port, engine) => {
      const before = await scrape(port);
      for (const name of ours(before)) {
        if (/_total|_count|_bucket/.test(name) && !/etcd_request|reconcile|claims|event_loop/.test(name)) {
          assert.equal(before.get(name), 0, name);
        }
      }
      const ids = await engine.run(Array.from({ length: 5 }, () => web));
      await host.converged();
      await engine.apply('kill', ids.slice(0, 2));
      await host.converged();
      const after = await scrape(port);
      assert.deepEqual(ours(after), ours(before));
      const text = ours(after).join('\n');
      for (const id of [...ids, 'h1']) assert.ok(!text.includes(id.slice(0, 12)), `${id} in a label`);
      const value = (name: string) => after.get(`discover_${name}`);
      assert.equal(value('publish_latency_seconds_count'), 7);
      assert.equal(value('publish_latency_seconds_bucket{le="60"}'), 7);
      assert.equal(value('docker_events_total{action="start"}'), 5);
      assert.equal(value('docker_events_total{action="stop"}'), 2);
      assert.equal(value('services_published'), 6);
      assert.equal(value('services_desired'), 6);
      assert.equal(value('containers{state="running"}'), 3);
      assert.deepEqual([value('published_total'), value('unpublished_total')], [5, 2]);
      assert.equal(value('operations_total{op="put"}'), 15);
      assert.equal(value('operations_total{op="delete"}'), 6);
      assert.deepEqual([value('docker_connected'), value('etcd_connected')], [1, 1]);
      assert.ok((value('lease_remaining_seconds') ?? 0) > 0, 'no lease is left');
      assert.ok(
        [...after.keys()].some((name) => name.startsWith('process_cpu_seconds_total')),
        'nothing of the process',
      );
    });
  });

  test('answers to names it knows, GET and small questions alone', async () => {
    await withHost(
      0,
      async (_host, port) => {
        const at = (host: string) => ask({ port }, { path: '/healthz', headers: { Host: host } });
        for (const host of ['localhost', '127.0.0.1:1', '[::1]', 'web.example', 'WEB.example:80', os.hostname()]) {
          assert.equal((await at(host)).status, 200, host);
        }
        for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', '[::1', 'a:b:c']) {
          assert.equal((await at(host)).status, 403, host);
        }
        for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
          const { status, headers } = await ask({ port }, { method, path: '/healthz' });
          assert.deepEqual([status, headers.allow], [405, 'GET, HEAD'], method);
        }
        assert.equal((await ask({ port }, { path: '/healthz', headers: { Big: 'x'.repeat(9_000) } })).status, 431);
        assert.equal((await ask({ port }, { path: '/%ff' })).status, 400);
        assert.equal((await ask({ port }, { path: '/../package.json' })).status, 404);
        assert.equal((await ask({ port }, { path: '/__proto__' })).status, 404);
        const { headers } = await ask({ port }, { path: '/status' });
        assert.match(String(headers['content-security-policy']), /default-src 'none'/);
        assert.deepEqual([headers['x-content-type-options'], headers['cache-control']], ['nosniff', 'no-store']);
        // A question that does not come to its end is ended.
        const slow = net.connect(port, '127.0.0.1');
        slow.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n');
        let text = '';
        slow.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        await eventually(() => assert.match(text, /^HTTP\/1\.1 408 /));
      },
      ['--http:hosts', 'web.example'],
    );
  });

  test('lets so many connect and so many follow, and the agent goes on', async () => {
    await withHost(0, async (host, port, engine) => {
      const followers = Array.from({ length: 32 }, () => follow(port, '/status?watch'));
      await eventually(async () => assert.equal((await scrape(port)).get('discover_http_streams'), 32));
      const { status, body } = await ask({ port }, { path: '/status?watch' });
      assert.deepEqual([status, JSON.parse(body)], [503, { error: 'At most 32 may watch' }]);
      const idle = Array.from({ length: 60 }, () => net.connect(port, '127.0.0.1').on('error', () => {}));
      await eventually(() =>
        assert.ok(
          idle.some((socket) => socket.destroyed || socket.readyState === 'closed'),
          'no idle connection is closed',
        ),
      );
      await engine.run([web]);
      await host.converged();
      for (const socket of idle) socket.destroy();
      for (const follower of followers) follower.close();
      await eventually(async () => assert.equal((await scrape(port)).get('discover_http_streams'), 0));
    });
  });

  testInFull(
    'gives back the place of a stream whose reader leaves before the first answer (simulated engine, real etcd)',
    async () => {
      await withHost(0, async (host, port) => {
        host.etcd.pause();
        for (let round = 0; round < 2; round++) {
          const paths = ['/v1/services/web?watch', '/v1/services?watch', '/v1/hosts?watch', '/status?watch'];
          const left = Array.from({ length: 32 }, (_, index) => follow(port, paths[index % paths.length] as string));
          await eventually(async () => assert.equal((await scrape(port)).get('discover_http_streams'), 32));
          for (const stream of left) stream.close();
          await eventually(async () => assert.equal((await scrape(port)).get('discover_http_streams'), 0));
        }
        host.etcd.resume();
        using stream = follow(port, '/v1/hosts?watch');
        await eventually(() => assert.ok(stream.events.length > 0, 'nothing is told any more'));
        assert.equal((await scrape(port)).get('discover_http_streams'), 1);
      });
    },
  );

  test('costs etcd one watch however many names are asked for, known or made up (simulated engine, real etcd)', async () => {
    await withHost(1, async (host, port) => {
      const watchers = async (): Promise<number> => {
        const text = await (await fetch(`${host.etcd.endpoint}/metrics`)).text();
        return Number(/^etcd_debugging_mvcc_watcher_total (\d+)$/m.exec(text)?.[1]);
      };
      const before = await watchers();
      for (let at = 0; at < 1_000; at += 50) {
        const names = Array.from({ length: 50 }, (_, index) => `made-up-${at + index}`);
        const answers = await Promise.all(names.map((name) => ask({ port }, { path: `/v1/services/${name}` })));
        assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
      }
      assert.ok((await watchers()) <= before + 1, `${await watchers()} watches, ${before} before`);
      const { instances } = await json<{ instances: unknown[] }>(port, '/v1/services/service-0');
      assert.ok(instances.length > 0, 'a known name has no instance');
    });
  });

  test('tells in every answer and stream about the fleet since when it is stale, and why (simulated engine, real etcd)', async () => {
    await withHost(0, async (host, port, engine) => {
      await engine.run([web]);
      await host.converged();
      const paths = ['/v1/hosts', '/v1/services', '/v1/services/web'];
      const streams = paths.map((path) => follow(port, `${path}?watch`));
      for (const path of [...paths, '/v1/hosts/h1']) await json(port, path);
      await eventually(() =>
        assert.ok(
          streams.every(({ events }) => events.length > 0),
          'a stream says nothing',
        ),
      );
      host.etcd.pause();
      const isStale = (data: unknown): void => {
        const { stale } = data as { stale?: { since: string; cause: string } };
        assert.ok(stale !== undefined && stale.cause !== '', 'it is not said to be stale');
        assert.ok(Date.parse(stale.since) < Date.now(), stale.since);
      };
      await eventually(async () => {
        for (const { events } of streams) isStale(events.at(-1)?.data);
        for (const path of [...paths, '/v1/hosts/h1']) isStale(await json(port, path));
      });
      host.etcd.resume();
      await eventually(async () => {
        for (const { events } of streams) {
          const last = events.at(-1)?.data as { stale?: object } | undefined;
          assert.equal(last?.stale, undefined);
        }
      });
      for (const stream of streams) stream.close();
    });
  });

  test('says what is known in one object, the same in /status and /readyz?verbose (simulated engine, real etcd)', async () => {
    await withHost(0, async (host, port, engine) => {
      await engine.leave('refusing');
      await eventually(async () => {
        const status = await json<Status>(port, '/status');
        const ready = JSON.parse((await ask({ port }, { path: '/readyz?verbose' })).body) as Pick<Status, 'health'>;
        assert.deepEqual(status.health.docker, ready.health.docker);
        assert.deepEqual([status.health.docker.state, status.health.etcd.state], ['stale', 'known']);
        assert.ok(
          status.health.docker.since && status.health.docker.cause && status.health.docker.remedy,
          'unexplained',
        );
      });
      const line = await host.discover.waitForLog(({ msg }) => String(msg).startsWith('Docker: not connected'));
      const { consequence } = (await json<Status>(port, '/status')).health.docker;
      assert.equal(line.consequence, consequence);
    });
  });

  test('shows what changes to whoever follows', async () => {
    await withHost(0, async (host, port, engine) => {
      const [id = ''] = await engine.run([web]);
      await host.converged();
      using status = follow(port, '/status?watch');
      using service = follow(port, '/v1/services/web?watch');
      using names = follow(port, '/v1/services?watch');
      const containers = () => status.events.filter(({ event }) => event === 'containers').map(({ data }) => data);
      await eventually(() => {
        const [first] = containers() as { reset: boolean; set: Container[] }[];
        assert.deepEqual([first?.reset, first?.set.map((one) => one.id)], [true, [id.slice(0, 12)]]);
        assert.equal(service.events.length, 1);
        const named = names.events[0]?.data as { services: { name: string }[] } | undefined;
        assert.ok(
          named?.services.some(({ name }) => name === 'dns'),
          'dns is not named',
        );
      });
      const [other = ''] = await engine.run([web]);
      await engine.apply('kill', [id]);
      await eventually(() => {
        const later = containers().slice(1) as { set: Container[]; gone: string[] }[];
        assert.ok(
          later.some(({ set }) => set.some((one) => one.id === other.slice(0, 12))),
          'the new one is not told',
        );
        assert.ok(
          later.some(({ gone }) => gone.includes(id.slice(0, 12))),
          'the one that is gone is not told',
        );
        const last = service.events.at(-1)?.data as { instances: Instance[] } | undefined;
        const instances = (last?.instances ?? []).filter(({ host: name }) => name === 'h1');
        assert.deepEqual(
          instances.map(({ containerId }) => containerId),
          [other.slice(0, 12)],
        );
        assert.ok(status.events.filter(({ event }) => event === 'status').length >= 2, 'one summary at most');
      });
      assert.equal((await host.terminate()).code, 0);
      await eventually(() => assert.ok(status.isOver && service.isOver && names.isOver, 'a stream goes on'));
    });
  });

  test('tells of all hosts what stands in etcd, to scripts and to Prometheus', async () => {
    await withHost(0, async (host, port, engine) => {
      const key = '/discover/service/web/default/by-hand/0123456789ab';
      const [id = ''] = await engine.run([web]);
      await host.converged();
      await host.etcd.ctl('put', key, 'tcp://[fd00::1]:80');
      type Targets = { targets: string[]; labels: Record<string, string> }[];
      await eventually(async () => {
        const found = await json<Targets>(port, '/sd?service=web');
        const all = found.filter(({ labels }) => ['h1', 'by-hand'].includes(String(labels.__meta_discover_host)));
        const shown = all.map(({ targets, labels }) => [targets[0]?.replace(/:\d+$/, ''), labels.__meta_discover_host]);
        assert.deepEqual(shown.sort(), [
          ['10.0.0.5', 'h1'],
          ['[fd00::1]', 'by-hand'],
        ]);
      });
      assert.deepEqual((await json<Targets>(port, '/sd?service=web&host=h1'))[0]?.labels, {
        __meta_discover_service: 'web',
        __meta_discover_realm: 'default',
        __meta_discover_host: 'h1',
        __meta_discover_container: id.slice(0, 12),
        __meta_discover_protocol: 'tcp',
      });
      const attributes = { version: '2', 'a-b': 'cleaned', a_b: 'own', 'metrics-path': '/m', scheme: 'https' };
      const said = { weight: 3, tags: ['a', 'b'], zone: 'z', container: 'web-1', image: 'nginx', attributes };
      const meta = JSON.stringify({ ...said, compose: { project: 'shop', service: 'front' } });
      await host.etcd.ctl('put', key.replace('/service/', '/meta/'), meta);
      await eventually(async () =>
        assert.deepEqual((await json<Targets>(port, '/sd?service=web&host=by-hand'))[0]?.labels, {
          ...{ __meta_discover_service: 'web', __meta_discover_realm: 'default', __meta_discover_host: 'by-hand' },
          ...{
            __meta_discover_container: '0123456789ab',
            __meta_discover_protocol: 'tcp',
            __meta_discover_weight: '3',
          },
          ...{ __meta_discover_tags: ',a,b,', __meta_discover_zone: 'z', __meta_discover_container_name: 'web-1' },
          ...{ __meta_discover_image: 'nginx', __meta_discover_compose_project: 'shop' },
          ...{ __meta_discover_compose_service: 'front', __meta_discover_attribute_version: '2' },
          ...{ __meta_discover_attribute_a_b: 'own', __meta_discover_attribute_metrics_path: '/m' },
          ...{ __meta_discover_attribute_scheme: 'https', __metrics_path__: '/m', __scheme__: 'https' },
        }),
      );
      const { instances } = await json<{ instances: Instance[] }>(port, '/v1/services/web');
      const byHand = instances.find((one) => one.host === 'by-hand');
      assert.deepEqual([byHand?.weight, byHand?.attributes?.version, byHand?.compose?.service], [3, '2', 'front']);
      assert.deepEqual(await json(port, '/sd?realm=none'), []);
      const { hosts } = await json<{ hosts: { host: string; alive: boolean; instances: number }[] }>(port, '/v1/hosts');
      assert.deepEqual(
        hosts
          .filter((one) => ['by-hand', 'h1'].includes(one.host))
          .map(({ host: name, alive, instances }) => [name, alive, instances]),
        [
          ['by-hand', false, 1],
          ['h1', true, 2],
        ],
      );
      const of = await json<{ instances: { key: string }[] }>(port, '/v1/hosts/by-hand');
      assert.deepEqual(
        of.instances.map((one) => one.key),
        [key],
      );
      assert.deepEqual((await json<{ instances: unknown[] }>(port, '/v1/services/nobody')).instances, []);
      for (const name of ['a%2fb', '%00', '..', '', 'x'.repeat(400)]) {
        assert.equal((await ask({ port }, { path: `/v1/services/${name}` })).status, 404, name);
      }
      // What was known stays known, and says how old it is.
      await host.etcd.kill();
      await eventually(async () => {
        const { instances, stale } = await json<{ instances: unknown[]; stale?: { since: string; cause: string } }>(
          port,
          '/v1/services/web',
        );
        assert.ok(instances.length >= 2, 'what was known is gone');
        assert.ok(Date.parse(stale?.since ?? '') < Date.now(), 'it is not said to be old');
        assert.ok((stale?.cause ?? '').length > 0, 'no cause is told');
      });
    });
  });

  test('listens at a socket for its owner and group, which one that is gone may have left', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-http-'));
    const socketPath = path.join(directory, 'http.sock');
    try {
      await using engine = await forkEngine({ containers: 0 });
      await using host = await startHost({ source: fromEngine(engine), args: ['--http:listen', socketPath] });
      await host.converged();
      const any = { path: '/healthz', headers: { Host: 'anything.example' } };
      await eventually(async () => assert.equal((await ask({ socketPath }, any)).status, 200));
      assert.equal(statSync(socketPath).mode & 0o777, 0o660);
      await host.discover.close();
      assert.ok(statSync(socketPath).isSocket(), 'it is no socket');
      await host.launch(['--http:listen', socketPath]);
      await eventually(async () => assert.equal((await ask({ socketPath }, any)).status, 200));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('ends with 69 and names the option where something else listens already', async () => {
    const other = net.createServer().listen(0, '127.0.0.1');
    try {
      await using engine = await forkEngine({ containers: 0 });
      const port = (other.address() as net.AddressInfo).port;
      await using host = await startHost({ source: fromEngine(engine), idle: true });
      await host.launch(['--http:listen', `127.0.0.1:${port}`], { wait: false });
      assert.equal((await host.discover.exit).code, 69);
      assert.match(
        host.discover.output,
        new RegExp(`http\\.listen: cannot listen at http://127\\.0\\.0\\.1:${port}: .*EADDRINUSE`),
      );
      // It never claimed the host.
      assert.ok(!(await host.etcd.get('/discover/owner/h1')).has('/discover/owner/h1'), 'it claimed the host');
    } finally {
      other.close();
    }
  });
});
