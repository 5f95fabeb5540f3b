/**
 * `/v1/services` and `/v1/services/<name>`: the services in etcd, of all hosts, for the endpoint and the relay.
 *
 *     ?realm=, ?protocol=   only those instances
 *     ?states               also instances that deserve no traffic, with the state of each, where their hosts tell it
 *     ?watch                server-sent events: the answer, and again whenever it has changed. An event has an id, and a
 *                           reader that comes back with it (`Last-Event-ID`) is sent only what is new
 *     ?index=<id>&wait=30s  the answer once its id, which is the header X-Discover-Index, is another one; or after that time
 *
 * All readers of one answer share one topic, and all topics one watch of etcd.
 */
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Selector } from '../client/catalogue.ts';
import { couldBeName } from '../container/sources/advertisement.ts';
import type { Instance } from '../layout/instance.ts';
import { type Body, listBody, SharedAnswers } from './answers.ts';
import type { Fleet } from './fleet.ts';
import type { HttpListener, Request } from './server.ts';
import { Stream } from './streams.ts';
import { idOf, Topic, type Version } from './topic.ts';

const json = 'application/json; charset=utf-8';
const namesEveryMs = 1_000;
const waitDefaultMs = 60_000;
const waitMaxMs = 600_000;

/** What is asked for: the names of all services, or one service. */
export interface Asked extends Request {
  readonly name: string | undefined;
}

/** Readers that stay, at one listener. */
export class Places {
  readonly max: number;
  readonly #taken = new Set<ServerResponse>();

  constructor(max: number) {
    this.max = max;
  }

  get size(): number {
    return this.#taken.size;
  }

  /** From now until the response is closed, however it ends. False: there is none left. */
  take(response: ServerResponse): boolean {
    if (this.#taken.size >= this.max) return false;
    this.#taken.add(response);
    response.once('close', () => this.#taken.delete(response));
    return true;
  }
}

export class Services {
  readonly #fleet: Fleet;
  readonly #listener: HttpListener;
  readonly #places: Places;
  readonly #answers = new SharedAnswers();
  readonly #topics = new Map<string, Topic>();
  readonly #streams = new Set<Stream>();

  constructor(fleet: Fleet, listener: HttpListener, places: Places) {
    this.#fleet = fleet;
    this.#listener = listener;
    this.#places = places;
  }

  close(): void {
    for (const topic of this.#topics.values()) topic.close();
    for (const stream of this.#streams) stream.end();
  }

  async answer(asked: Asked, response: ServerResponse): Promise<void> {
    const { name, query } = asked;
    if (name !== undefined && !couldBeName(name)) {
      return this.#listener.fail(response, 404, 'No service can have this name');
    }
    const selector = selectorOf(query);
    if (query.has('watch')) return this.#watch(asked, selector, response);
    if (query.has('index') || query.has('wait')) return this.#wait(asked, selector, response);
    const make = async (): Promise<Body> => (await this.#version(name, selector)).body;
    await this.#listener.send(response, json, await this.#answers.get(keyOf(name, selector), make));
  }

  async #watch({ isHead, lastEventId, name }: Asked, selector: Selector, response: ServerResponse): Promise<void> {
    if (isHead) return this.#listener.send(response, 'text/event-stream; charset=utf-8', []);
    if (!this.#places.take(response)) return this.#full(response);
    // Before the stream begins: without any answer, the client gets an HTTP status.
    await this.#fleet.instancesOf('', selector);
    const stream = new Stream(response, this.#listener.waiting);
    if (stream.signal.aborted) return;
    this.#listener.connections.markStream(response);
    this.#streams.add(stream);
    stream.signal.addEventListener('abort', () => this.#streams.delete(stream));
    this.#topicOf(name, selector).follow(stream, lastEventId);
  }

  async #wait({ name, query }: Asked, selector: Selector, response: ServerResponse): Promise<void> {
    const waitMs = waitOf(query.get('wait'));
    if (waitMs === undefined) return this.#listener.fail(response, 400, 'wait must be a time up to 10m, such as 30s');
    const index = query.get('index') ?? '';
    let version = await this.#version(name, selector);
    if (version.id === index && waitMs > 0) {
      if (!this.#places.take(response)) return this.#full(response);
      const gone = new AbortController();
      response.once('close', () => gone.abort());
      const over = AbortSignal.any([gone.signal, AbortSignal.timeout(waitMs)]);
      version = (await this.#topicOf(name, selector).other(index, over)) ?? version;
      if (gone.signal.aborted) return;
    }
    response.setHeader('X-Discover-Index', version.id);
    await this.#listener.send(response, json, version.body);
  }

  #full(response: ServerResponse): Promise<void> {
    return this.#listener.fail(response, 503, `At most ${this.#places.max} may watch`);
  }

  #topicOf(name: string | undefined, selector: Selector): Topic {
    const key = keyOf(name, selector);
    const known = this.#topics.get(key);
    if (known !== undefined) return known;
    const produce = (signal: AbortSignal): AsyncIterable<Version> =>
      name === undefined ? this.#names(selector, signal) : this.#instances(name, selector, signal);
    const topic: Topic = new Topic(name === undefined ? 'services' : 'instances', produce, () => {
      if (this.#topics.get(key) === topic) this.#topics.delete(key);
    });
    this.#topics.set(key, topic);
    return topic;
  }

  async *#instances(name: string, selector: Selector, signal: AbortSignal): AsyncGenerator<Version> {
    for await (const instances of this.#fleet.follow(name, selector, signal)) {
      yield await this.#versionOf(name, instances);
    }
  }

  /** The names change with any instance, so they are compared once a second. */
  async *#names(selector: Selector, signal: AbortSignal): AsyncGenerator<Version> {
    let last: Version | undefined;
    while (!signal.aborted) {
      const version = await this.#version(undefined, selector);
      if (version.id !== last?.id || version.isStale !== last.isStale) yield version;
      last = version;
      await sleep(namesEveryMs, undefined, { signal }).catch(() => {});
    }
  }

  async #version(name: string | undefined, selector: Selector): Promise<Version> {
    if (name !== undefined) return this.#versionOf(name, await this.#fleet.instancesOf(name, selector));
    const services = [...(await this.#fleet.services(selector))].sort(([one], [other]) => (one < other ? -1 : 1));
    return this.#ended(await listBody('{"services":', services, ([name, instances]) => ({ name, instances }), ''));
  }

  /** In the order of their keys, so that the same instances have the same id at every agent. */
  async #versionOf(name: string, instances: readonly Instance[]): Promise<Version> {
    const sorted = [...instances].sort((one, other) => (one.key < other.key ? -1 : 1));
    return this.#ended(await listBody(`{"name":${JSON.stringify(name)},"instances":`, sorted, (one) => one, ''));
  }

  /** An answer about the fleet says when etcd cannot be followed; its id does not. */
  #ended(parts: Body): Version {
    const { stale } = this.#fleet;
    const end = stale === undefined ? ']}\n' : `],"stale":${JSON.stringify(stale)}}\n`;
    return { id: idOf(parts), body: [...parts.slice(0, -1), Buffer.from(end)], isStale: stale !== undefined };
  }
}

const keyOf = (name: string | undefined, { realm, protocol, states }: Selector): string =>
  JSON.stringify([name, realm, protocol, states]);

function selectorOf(query: URLSearchParams): Selector {
  const [realm, protocol] = [query.get('realm') ?? undefined, query.get('protocol') ?? undefined];
  return { realm, protocol, states: query.has('states') };
}

/** In ms; undefined: it is no time, or too long. */
function waitOf(text: string | null): number | undefined {
  if (text === null) return waitDefaultMs;
  const [, digits, unit] = /^(\d{1,9})(ms|s|m)$/.exec(text) ?? [];
  const ms = Number(digits) * { ms: 1, s: 1_000, m: 60_000 }[unit as 'ms' | 's' | 'm'];
  return ms <= waitMaxMs ? ms : undefined;
}
