/** The overview of services: what a row says, and that only the services that changed are told again. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { Catalogue } from '../../src/client/catalogue.ts';
import { WaitingBytes } from '../../src/http/answers.ts';
import type { Fleet } from '../../src/http/fleet.ts';
import { Overview, serviceRowOf } from '../../src/http/overview.ts';
import type { ServicesEvent, Stale } from '../../src/http/shapes.ts';
import { Stream } from '../../src/http/streams.ts';
import { parseInstance } from '../../src/layout/instance.ts';

const below = '/discover/service/';
const id = (number: number): string => String(number).padStart(12, '0');
const put = (service: string, host: string, number: number) => ({
  key: `${below}${service}/prod/${host}/${id(number)}`,
  value: `tcp://10.0.0.5:${number}`,
});

class Response extends EventEmitter {
  readonly events: ServicesEvent[] = [];
  closed = false;
  writableLength = 0;
  writableNeedDrain = false;
  writeHead(): void {}
  write(bytes: Buffer): void {
    const [, json] = /^event: services\ndata: (.*)\n\n$/.exec(String(bytes)) ?? [];
    if (json !== undefined) this.events.push(JSON.parse(json));
  }
  end(): void {
    this.closed = true;
    this.emit('close');
  }
}

/** A fleet of a catalogue alone. */
class Known {
  readonly catalogue = new Catalogue('/discover');
  stale: Stale | undefined;
  held = 0;
  async known(): Promise<Catalogue> {
    return this.catalogue;
  }
  hold(): () => void {
    this.held++;
    return () => void this.held--;
  }
  read(...found: readonly { readonly key: string; readonly value: string }[]): void {
    this.catalogue.begin();
    this.catalogue.add(found);
    this.catalogue.adopt();
  }
}

const rowOf = (events: readonly ServicesEvent[]) =>
  events.flatMap(({ set, gone }) => [...set.map(({ name, instances }) => `${name} ${instances}`), ...gone]);

test('a row says where a service runs, in which states and with which weights', () => {
  const instance = (host: string, number: number, meta?: object) => {
    const { key, value } = put('web', host, number);
    const parsed = parseInstance(below, key, value, meta && JSON.stringify(meta));
    assert.ok(parsed);
    return parsed;
  };
  const hosts = ['h4', 'h1', 'h3', 'h2', 'h1'];
  const instances = hosts.map((host, number) =>
    instance(host, number + 1, number > 2 ? undefined : { weight: number }),
  );
  instances.push(instance('h1', 9, { state: 'draining' }));
  assert.deepEqual(serviceRowOf('web', instances), {
    name: 'web',
    realms: ['prod'],
    instances: 6,
    hosts: 4,
    someHosts: ['h1', 'h2', 'h3'],
    states: { ready: 5, draining: 1 },
    weights: [0, 2],
  });
  assert.equal(serviceRowOf('web', instances.slice(3, 5)).weights, null);
});

test('a stream has all services, then those that changed, and says when they are stale', async () => {
  const fleet = new Known();
  fleet.read(put('web', 'h1', 1), put('web', 'h2', 2), put('api', 'h1', 3));
  let goOn = (): void => {};
  const rest = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      goOn = resolve;
      signal.addEventListener('abort', () => resolve());
    });
  const overview = new Overview(fleet as unknown as Fleet, rest);
  const follow = (): Response => {
    const response = new Response();
    overview.follow(new Stream(response as unknown as ServerResponse, new WaitingBytes()));
    return response;
  };
  const tick = async (): Promise<void> => {
    goOn();
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
  };
  const one = follow();
  await tick();
  assert.deepEqual([one.events[0]?.reset, rowOf(one.events)], [true, ['web 2', 'api 1']]);
  assert.equal(fleet.held, 1);

  one.events.length = 0;
  fleet.catalogue.apply([put('web', 'h3', 4)]);
  fleet.catalogue.apply([{ key: put('api', 'h1', 3).key, value: undefined }]);
  await tick();
  assert.deepEqual(rowOf(one.events), ['web 3', 'api']);
  await tick();
  assert.equal(one.events.length, 1, 'nothing has changed');

  // Everything is read anew, and one service differs.
  fleet.read(put('web', 'h1', 1), put('web', 'h2', 2), put('web', 'h3', 4), put('new', 'h1', 5));
  await tick();
  assert.deepEqual(rowOf(one.events.slice(1)), ['new 1']);
  const later = follow();
  assert.deepEqual([later.events[0]?.reset, rowOf(later.events)], [true, ['web 3', 'new 1']]);

  fleet.stale = { since: 'then', ageMs: 1, cause: 'away' };
  await tick();
  await tick();
  assert.deepEqual(
    later.events.map(({ stale }) => stale?.since),
    [undefined, 'then'],
  );
  const { services, stale } = JSON.parse(Buffer.concat([...(await overview.answer())]).toString());
  assert.deepEqual([services.map(({ name }: { name: string }) => name), stale.since], [['web', 'new'], 'then']);

  one.end();
  later.end();
  assert.equal(fleet.held, 0);
  await tick();
  fleet.read(put('again', 'h1', 6));
  const again = follow();
  await tick();
  assert.deepEqual(rowOf(again.events), ['again 1']);
  again.end();
});
