/** The relay: what the readers of one agent are told, and what they cost etcd. */
import assert from 'node:assert/strict';
import { rmSync, statSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, type Host, startHost } from '../helpers/host.ts';
import { needs, scratchDirectory } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

interface Event {
  readonly id: string;
  readonly event: string;
  readonly data: {
    readonly name?: string;
    readonly instances?: readonly { readonly url: string }[];
    readonly stale?: object;
  };
}

describe('the relay', { skip: needs('etcd') }, () => {
  let engine: EngineHandle;
  let host: Host;
  let directory: string;
  let socketPath: string;
  before(async () => {
    directory = scratchDirectory('relay', os.tmpdir());
    socketPath = path.join(directory, 'services.sock');
    engine = await forkEngine({ containers: 0 });
    host = await startHost({ source: fromEngine(engine), idle: true, record: false });
    await put('a', 1);
    const running = await host.launch(['--http:relay', socketPath]);
    await running.waitForLog(({ msg }) => msg === 'relaying over HTTP');
  });
  after(async () => {
    await host?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  const put = (name: string, port: number): Promise<void> =>
    host.etcd.put(new Map([[`/discover/service/${name}/default/h2/0123456789ab`, `tcp://10.0.0.1:${port}`]]));

  const ask = (url: string): Promise<{ status: number; index: string; body: string }> =>
    new Promise((resolve, reject) => {
      const request = http.get({ agent: false, socketPath, path: url }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        const index = String(response.headers['x-discover-index']);
        response.on('end', () => resolve({ status: response.statusCode ?? 0, index, body }));
      });
      request.on('error', reject);
    });

  const follow = (url: string, lastEventId?: string) => {
    const events: Event[] = [];
    const headers = lastEventId === undefined ? {} : { 'Last-Event-ID': lastEventId };
    let isOpen = false;
    const request = http.get({ agent: false, socketPath, path: url, headers }, (response) => {
      isOpen = true;
      let rest = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        const parts = (rest + text).split('\n\n');
        rest = parts.pop() ?? '';
        for (const part of parts) {
          const [, id = '', event = '', data = ''] = /^id: (.*)\nevent: (.*)\ndata: (.*)$/.exec(part) ?? [];
          if (id !== '') events.push({ id, event, data: JSON.parse(data) });
        }
      });
      response.on('error', () => {});
    });
    request.on('error', () => {});
    return {
      events,
      get isOpen() {
        return isOpen;
      },
      urls: () => events.map(({ data }) => data.instances?.map(({ url }) => url).join()),
      [Symbol.dispose]: () => request.destroy(),
    };
  };

  test('answers at a socket that every user may ask, about services alone (real etcd)', async () => {
    assert.equal(statSync(socketPath).mode & 0o777, 0o666);
    assert.deepEqual(JSON.parse((await ask('/v1/services/a')).body).instances.length, 1);
    assert.match((await ask('/v1/services')).body, /"name":"a"/);
    for (const other of [
      '/',
      '/status',
      '/metrics',
      '/v1/hosts',
      '/v1/services/',
      '/v1/services/a/b',
      '/v1/servicesx',
    ]) {
      assert.equal((await ask(other)).status, 404, other);
    }
    assert.equal((await ask('/v1/services/%ff')).status, 400);
  });

  test('a reader that comes back with the id of its last event is sent only what is new (real etcd)', async () => {
    using first = follow('/v1/services/a?watch');
    await eventually(() => assert.deepEqual(first.urls(), ['tcp://10.0.0.1:1']));
    const { id = '' } = first.events[0] ?? {};
    using same = follow('/v1/services/a?watch', id);
    using other = follow('/v1/services/a?watch', 'another');
    await eventually(() => assert.deepEqual([same.isOpen, other.urls()], [true, ['tcp://10.0.0.1:1']]));
    await put('a', 2);
    await eventually(() => assert.deepEqual(same.urls(), ['tcp://10.0.0.1:2']));
    using late = follow('/v1/services/a?watch', id);
    await eventually(() => assert.deepEqual(late.urls(), ['tcp://10.0.0.1:2']));
    await put('a', 1);
    await eventually(() => assert.equal(late.events.at(-1)?.id, id, 'the same instances have the same id'));
  });

  test('`?index=` answers once there is something else, or after `wait` (real etcd)', async () => {
    await put('b', 1);
    await eventually(async () => assert.match((await ask('/v1/services/b')).body, /:1"/));
    const first = await ask('/v1/services/b?index=');
    assert.match(first.body, /:1"/);
    const waited = ask(`/v1/services/b?index=${first.index}&wait=10m`);
    const unchanged = await ask(`/v1/services/b?index=${first.index}&wait=50ms`);
    assert.deepEqual([unchanged.index, unchanged.body], [first.index, first.body]);
    await put('b', 2);
    const changed = await waited;
    assert.match(changed.body, /:2"/);
    assert.notEqual(changed.index, first.index);
    assert.equal((await ask('/v1/services/none?index=x&wait=0s')).status, 200);
    for (const wait of ['1h', '11m', '-1s', '1', '']) {
      assert.equal((await ask(`/v1/services/b?index=x&wait=${wait}`)).status, 400, wait);
    }
    const names = await ask('/v1/services?index=');
    const more = ask(`/v1/services?index=${names.index}&wait=10m`);
    await put('c', 1);
    assert.match((await more).body, /"name":"c"/);
  });

  const count = amount(150, 1_000);
  test(`${count} readers cost etcd one watch, and all of them are told of a change (real etcd)`, async (t) => {
    const watches = async (): Promise<number> => {
      const text = await (await fetch(`${host.etcd.endpoint}/metrics`)).text();
      return Number(/^etcd_debugging_mvcc_watcher_total (\d+)$/m.exec(text)?.[1]);
    };
    await ask('/v1/services');
    const before = await watches();
    const readers = Array.from({ length: count }, (_, at) =>
      follow(`/v1/services/${at % 2 === 0 ? 'a' : 'many'}?watch`),
    );
    try {
      await put('many', 1);
      await eventually(() =>
        assert.ok(
          readers.every(({ events }, at) =>
            at % 2 === 0 ? events.length > 0 : events.at(-1)?.data.instances?.length === 1,
          ),
        ),
      );
      assert.equal(await watches(), before);
      const beganMs = performance.now();
      await put('many', 2);
      await eventually(
        () => assert.ok(readers.every(({ urls }, at) => at % 2 === 0 || urls().at(-1) === 'tcp://10.0.0.1:2')),
        { everyMs: 2 },
      );
      t.diagnostic(`the last reader was told after ${(performance.now() - beganMs).toFixed(0)} ms`);
      host.etcd.pause();
      await eventually(() => assert.ok(readers.every(({ events }) => events.at(-1)?.data.stale !== undefined)));
      host.etcd.resume();
      await eventually(() => assert.ok(readers.every(({ events }) => events.at(-1)?.data.stale === undefined)));
    } finally {
      for (const reader of readers) reader[Symbol.dispose]();
    }
  });
});
