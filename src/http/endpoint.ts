/**
 * The HTTP endpoint: the paths and their answers.
 *
 *     /healthz      200 while the event loop turns and the agent's parts are kept running
 *     /readyz       200 once Docker was listed, while the event stream and the lease live and no change waits for long; ?verbose
 *     /metrics      for Prometheus
 *     /status       what this host publishes, what it does not, and what is known of Docker, etcd and the lease; ?watch
 *     /v1/services  the services in etcd, of all hosts: names, or /<name> with its instances; ?watch
 *     /v1/hosts     the hosts (?watch), or /<host> with its instances
 *     /sd           the same for Prometheus's http_sd
 *     /             the page
 *
 * `?watch` makes an answer a stream of server-sent events. A stream takes one of 32 places from the arrival of the request
 * until its response is closed, however it ends.
 */

import type { ServerResponse } from 'node:http';
import type { Agent } from '../agent.ts';
import type { Selector } from '../client/catalogue.ts';
import { couldBeName } from '../container/sources/advertisement.ts';
import type { Instance } from '../layout/instance.ts';
import { type Body, jsonBody, listBody, SharedAnswers } from './answers.ts';
import { assets } from './assets.ts';
import { Fleet } from './fleet.ts';
import { Live } from './live.ts';
import { Poll } from './poll.ts';
import { type Exposition, exposition } from './prometheus.ts';
import type { HttpListener, Request } from './server.ts';
import { checksOf, containersOf, summaryOf } from './status.ts';
import { Stream } from './streams.ts';
import { targetOf, type Wanted, wantedOf } from './targets.ts';

/** Streams at a time; each is a connection that stays. */
const streamsMax = 32;
const namesEveryMs = 1_000;
const hostsEveryMs = 5_000;

const json = 'application/json; charset=utf-8';
const text = 'text/plain';

/** Whether the configuration was usable when it was last read, and when one was last accepted, in ms since the epoch. */
export interface Reload {
  readonly isSuccessful: boolean;
  readonly at: number;
}

/** A request whose path is known: `name` is the last segment, decoded. */
interface Asked extends Request {
  readonly name: string;
  readonly selector: Selector;
}

interface Route {
  answer(asked: Asked, response: ServerResponse): Promise<void> | void;
  /** Answers `?watch`; without it the query is ignored. */
  watch?(asked: Asked, response: ServerResponse): Promise<void>;
}

export class Endpoint {
  readonly #agent: Agent;
  readonly #listener: HttpListener;
  readonly #fleet: Fleet;
  readonly #live: Live;
  readonly #exposition: Exposition;
  readonly #answers = new SharedAnswers();
  readonly #polls = new Map<string, Poll>();
  /** Responses that have a place among the streams. */
  readonly #watching = new Set<ServerResponse>();
  readonly #streams = new Set<Stream>();

  /** Answers at the listener from now on. */
  constructor(
    listener: HttpListener,
    hosts: readonly string[],
    agent: Agent,
    reload: Reload = { isSuccessful: true, at: agent.startedAt },
  ) {
    const { etcd } = agent.config;
    this.#agent = agent;
    this.#listener = listener;
    this.#fleet = new Fleet(etcd, () => agent.registry.readPrefix(`${etcd.prefix}/owner/`));
    this.#live = new Live(agent);
    this.#exposition = exposition(agent, { streams: () => this.#watching.size, reload });
    listener.serve(hosts, (request, response) => this.#answer(request, response));
  }

  /** Ends its streams. The listener stays, for another endpoint or to be closed. */
  async close(): Promise<void> {
    this.#exposition.close();
    for (const stream of this.#streams) stream.end();
    await this.#fleet.close();
  }

  /** By the path; `*` means any last segment. */
  readonly #routes: ReadonlyMap<string, Route> = new Map<string, Route>([
    ['/healthz', { answer: (_asked, response) => this.#healthz(response) }],
    ['/readyz', { answer: ({ query }, response) => this.#readyz(query.has('verbose'), response) }],
    ['/metrics', { answer: (_asked, response) => this.#metrics(response) }],
    [
      '/status',
      {
        answer: (_asked, response) => this.#shared('status', () => this.#status(), response),
        watch: async (_asked, response) => this.#live.follow(this.#stream(response)),
      },
    ],
    [
      '/v1/services',
      {
        answer: ({ selector }, response) =>
          this.#shared(`services ${textOf(selector)}`, () => this.#services(selector), response),
        watch: ({ selector }, response) =>
          this.#poll('services', textOf(selector), namesEveryMs, () => this.#services(selector), response),
      },
    ],
    [
      '/v1/services/*',
      {
        answer: (asked, response) => this.#service(asked, response),
        watch: (asked, response) => this.#watchService(asked, response),
      },
    ],
    [
      '/v1/hosts',
      {
        answer: (_asked, response) => this.#shared('hosts', () => this.#hosts(), response),
        watch: (_asked, response) => this.#poll('hosts', '', hostsEveryMs, () => this.#hosts(), response),
      },
    ],
    ['/v1/hosts/*', { answer: ({ name }, response) => this.#shared(`host ${name}`, () => this.#host(name), response) }],
    [
      '/sd',
      {
        answer: ({ query }, response) => {
          // Not by the text of the query: a client could ask for the same long list in any number of ways.
          const wanted = wantedOf(query);
          return this.#shared(`sd ${JSON.stringify(wanted)}`, () => this.#targets(wanted), response);
        },
      },
    ],
  ]);

  async #answer(request: Request, response: ServerResponse): Promise<void> {
    const { path, query, isHead } = request;
    const name = lastSegment(path);
    if (name === undefined) return this.#listener.fail(response, 400, 'The path is not UTF-8');
    const route = this.#routes.get(path) ?? this.#routes.get(`${path.slice(0, path.lastIndexOf('/'))}/*`);
    if (route === undefined) return this.#asset(path, response);
    const asked: Asked = { ...request, name, selector: selectorOf(query) };
    if (!query.has('watch') || route.watch === undefined) return route.answer(asked, response);
    if (isHead) return this.#listener.send(response, 'text/event-stream; charset=utf-8', []);
    if (this.#watching.size >= streamsMax) {
      return this.#listener.fail(response, 503, `At most ${streamsMax} may watch`);
    }
    this.#watching.add(response);
    response.once('close', () => this.#watching.delete(response));
    return route.watch(asked, response);
  }

  #asset(path: string, response: ServerResponse): Promise<void> {
    const asset = assets.get(path);
    if (asset === undefined) return this.#listener.fail(response, 404, 'There is nothing here: see /');
    return this.#listener.send(response, asset.type, asset.body());
  }

  #healthz(response: ServerResponse): Promise<void> {
    const { isAlive } = this.#agent.state;
    const body = [Buffer.from(isAlive ? 'ok\n' : 'stopping\n')];
    return this.#listener.send(response, text, body, isAlive ? 200 : 503);
  }

  #readyz(isVerbose: boolean, response: ServerResponse): Promise<void> {
    const checks = checksOf(this.#agent);
    const missing = checks.filter(({ ok }) => !ok).map(({ name }) => name);
    const ready = missing.length === 0;
    const status = ready ? 200 : 503;
    if (isVerbose) {
      const body = jsonBody({
        ready,
        checks,
        health: this.#agent.health,
        oldestUnsettledSeconds: this.#agent.ledger.oldestUnsettledSeconds(),
      });
      return this.#listener.send(response, json, body, status);
    }
    const line = ready ? 'ok\n' : `not ready: ${missing.join(', ')}\n`;
    return this.#listener.send(response, text, [Buffer.from(line)], status);
  }

  async #metrics(response: ServerResponse): Promise<void> {
    const body = await this.#answers.get('metrics', async () => [Buffer.from(await this.#exposition.text())]);
    await this.#listener.send(response, this.#exposition.contentType, body);
  }

  async #shared(key: string, make: () => Promise<Body>, response: ServerResponse): Promise<void> {
    await this.#listener.send(response, json, await this.#answers.get(key, make));
  }

  #status(): Promise<Body> {
    const summary = JSON.stringify(summaryOf(this.#agent));
    return listBody(`${summary.slice(0, -1)},"containers":`, containersOf(this.#agent), (container) => container, '}');
  }

  async #services(selector: Selector): Promise<Body> {
    const services = [...(await this.#fleet.services(selector))].sort(([one], [other]) => (one < other ? -1 : 1));
    return listBody('{"services":', services, ([name, instances]) => ({ name, instances }), this.#staleEnd());
  }

  async #service({ name, selector }: Asked, response: ServerResponse): Promise<void> {
    if (!couldBeName(name)) return this.#noSuchName(response);
    const make = async (): Promise<Body> => this.#instances(name, await this.#fleet.instancesOf(name, selector));
    await this.#shared(`service ${JSON.stringify(name)} ${textOf(selector)}`, make, response);
  }

  async #watchService({ name, selector }: Asked, response: ServerResponse): Promise<void> {
    if (!couldBeName(name)) return this.#noSuchName(response);
    // Before the stream begins: without any answer, the client gets an HTTP status.
    await this.#fleet.instancesOf(name, selector);
    const stream = this.#stream(response);
    for await (const instances of this.#fleet.follow(name, selector, stream.signal)) {
      stream.sendBody('instances', await this.#instances(name, instances));
    }
    stream.end();
  }

  #instances(name: string, instances: readonly Instance[]): Promise<Body> {
    return listBody(`{"name":${JSON.stringify(name)},"instances":`, instances, same, this.#staleEnd());
  }

  #noSuchName(response: ServerResponse): Promise<void> {
    return this.#listener.fail(response, 404, 'No service can have this name');
  }

  async #hosts(): Promise<Body> {
    const { hosts, stale } = await this.#fleet.hosts();
    return listBody('{"hosts":', hosts, same, endOf(stale));
  }

  async #host(host: string): Promise<Body> {
    const instances = await this.#fleet.instancesOn(host);
    return listBody(`{"host":${JSON.stringify(host)},"instances":`, instances, same, this.#staleEnd());
  }

  async #targets(wanted: Wanted): Promise<Body> {
    const isWanted = (one: Parameters<typeof targetOf>[0]): boolean =>
      wanted.every(([field, value]) => value === null || one[field] === value);
    return listBody('', await this.#fleet.all(), (one) => (isWanted(one) ? targetOf(one) : undefined), '');
  }

  /** The end of an answer about the fleet: with `stale` while etcd cannot be followed. */
  #staleEnd(): string {
    return endOf(this.#fleet.stale);
  }

  #stream(response: ServerResponse): Stream {
    const stream = new Stream(response, this.#listener.waiting);
    if (stream.signal.aborted) return stream;
    this.#listener.connections.markStream(response);
    this.#streams.add(stream);
    stream.signal.addEventListener('abort', () => this.#streams.delete(stream));
    return stream;
  }

  /** Sends the answer at once, and again whenever it has changed. */
  async #poll(
    event: string,
    selection: string,
    everyMs: number,
    read: () => Promise<Body>,
    response: ServerResponse,
  ): Promise<void> {
    const key = `${event} ${selection}`;
    // Before the stream begins: without any answer, the client gets an HTTP status.
    const first = await this.#answers.get(key, read);
    const stream = this.#stream(response);
    if (stream.signal.aborted) return;
    let poll = this.#polls.get(key);
    if (poll === undefined) {
      poll = new Poll(event, everyMs, read, () => this.#polls.delete(key));
      this.#polls.set(key, poll);
    }
    poll.follow(stream, first);
  }
}

const same = <Value extends object>(value: Value): Value => value;

const endOf = (stale: object | undefined): string => (stale === undefined ? '}' : `,"stale":${JSON.stringify(stale)}}`);

const textOf = ({ realm, protocol, states }: Selector): string => JSON.stringify([realm, protocol, states]);

function selectorOf(query: URLSearchParams): Selector {
  const [realm, protocol] = [query.get('realm') ?? undefined, query.get('protocol') ?? undefined];
  return { realm, protocol, states: query.has('states') };
}

/** Undefined: it cannot be decoded. */
function lastSegment(path: string): string | undefined {
  try {
    return decodeURIComponent(path.slice(path.lastIndexOf('/') + 1));
  } catch {
    return undefined;
  }
}
