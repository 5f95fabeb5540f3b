/** One stream for all tabs of a browser: what a tab is told that comes later, and when the stream ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Listener } from '../../src/page/feed.ts';
import { Hub, type News } from '../../src/page/hub.ts';
import { Retained } from '../../src/page/retained.ts';
import { topics } from '../../src/page/topics.ts';

interface Connection {
  readonly path: string;
  readonly listener: Listener;
  isOpen: boolean;
}

function hubOf(): { readonly hub: Hub; readonly connections: Connection[] } {
  const connections: Connection[] = [];
  const hub = new Hub(({ path }, listener) => {
    const connection: Connection = { path, listener, isOpen: true };
    connections.push(connection);
    return () => {
      connection.isOpen = false;
    };
  });
  return { hub, connections };
}

const tabOf = () => {
  const told: News[] = [];
  return { told, tell: (news: News) => void told.push(news) };
};
const rowsIn = (told: readonly News[]): unknown[] =>
  told.flatMap((news) => (news.kind === 'event' ? [(news.data as { readonly set: unknown }).set] : []));

test('tabs share a connection, which is open as long as one of them follows', () => {
  const { hub, connections } = hubOf();
  const [one, other] = [tabOf(), tabOf()];
  hub.wish({ kind: 'follow', topic: 'hosts' }, one.tell);
  hub.wish({ kind: 'follow', topic: 'hosts' }, other.tell);
  hub.wish({ kind: 'follow', topic: 'hosts' }, other.tell);
  hub.wish({ kind: 'follow', topic: 'services' }, other.tell);
  assert.deepEqual(
    connections.map(({ path }) => path),
    ['v1/hosts?watch', 'v1/overview?watch'],
  );
  const [hosts] = connections;
  hosts?.listener.event('hosts', { hosts: [] });
  assert.deepEqual(one.told, [
    { kind: 'link', topic: 'hosts', link: { kind: 'connecting' } },
    { kind: 'event', topic: 'hosts', name: 'hosts', data: { hosts: [] } },
  ]);
  hub.wish({ kind: 'leave', topic: 'hosts' }, one.tell);
  assert.ok(hosts?.isOpen, 'the other one follows');
  hub.forget(other.tell);
  assert.ok(connections.every(({ isOpen }) => !isOpen));
  hub.wish({ kind: 'follow', topic: 'hosts' }, one.tell);
  assert.equal(connections.length, 3);
});

test('a tab that comes later is told the state of the connection and all that is known', () => {
  const { hub, connections } = hubOf();
  const [first, later] = [tabOf(), tabOf()];
  hub.wish({ kind: 'follow', topic: 'services' }, first.tell);
  const { listener } = connections[0] as Connection;
  listener.link({ kind: 'live' });
  listener.event('services', { reset: true, set: [{ name: 'old' }], gone: [] });
  listener.event('services', { reset: true, set: [{ name: 'a' }, { name: 'b', instances: 1 }], gone: [] });
  listener.event('services', { reset: false, set: [{ name: 'b', instances: 2 }, { name: 'c' }], gone: ['a'] });
  listener.link({ kind: 'lost', sinceMs: 7 });
  hub.wish({ kind: 'follow', topic: 'services' }, later.tell);
  assert.deepEqual(later.told[0], { kind: 'link', topic: 'services', link: { kind: 'lost', sinceMs: 7 } });
  assert.deepEqual(rowsIn(later.told), [[{ name: 'b', instances: 2 }, { name: 'c' }]]);
  listener.event('services', { reset: false, set: [], gone: ['c'] });
  assert.deepEqual(later.told.at(-1), first.told.at(-1));
});

test('a connection that is lost again and again is told once', () => {
  const { hub, connections } = hubOf();
  const tab = tabOf();
  hub.wish({ kind: 'follow', topic: 'hosts' }, tab.tell);
  for (let times = 0; times < 3; times++) connections[0]?.listener.link({ kind: 'lost', sinceMs: 7 });
  assert.equal(tab.told.filter(({ kind }) => kind === 'link').length, 2);
});

test('the samples go on with the summaries, and many items come in several events', () => {
  const retained = new Retained(topics.status.events);
  const summary = (second: number) => ({
    now: new Date(second * 1000).toISOString(),
    startedAt: 'run',
    totals: { published: second, unpublished: 0 },
    latency: { buckets: [], count: 0 },
  });
  assert.deepEqual([...retained.replay()], [['samples', { samples: [] }]]);
  retained.take('samples', { samples: [summary(5), summary(10)] });
  retained.take('status', summary(16));
  const set = Array.from({ length: 2_500 }, (_, id) => ({ id: String(id) }));
  retained.take('containers', { reset: true, set, gone: [] });
  const [samples, status, ...containers] = [...retained.replay()];
  assert.deepEqual(samples, ['samples', { samples: [summary(5), summary(10), summary(16)] }]);
  assert.deepEqual(status, ['status', summary(16)]);
  assert.deepEqual(
    containers.map(([, data]) => {
      const { reset, set } = data as { readonly reset: boolean; readonly set: readonly object[] };
      return [reset, set.length];
    }),
    [
      [true, 1_000],
      [false, 1_000],
      [false, 500],
    ],
  );
});
