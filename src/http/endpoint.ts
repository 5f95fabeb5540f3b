/**
 * The HTTP endpoint: the paths and their answers.
 *
 *     /healthz      200 while the event loop turns and the agent's parts are kept running
 *     /readyz       200 once Docker was listed, while the event stream and the lease live and no change waits for long; ?verbose
 *     /metrics      for Prometheus
 *     /status       what this host publishes, what it does not, and what is known of Docker, etcd and the lease; ?watch
 *     /v1/services  the services in etcd, of all hosts: names, or /<name> with its instances; ?watch
 *     /v1/overview  each service with its realms, hosts, states and weights; ?watch
 *     /v1/history   what this host published and withdrew lately
 *     /v1/hosts     the hosts (?watch), or /<host> with its instances
 *     /sd           the same for Prometheus's http_sd
 *     /             the page
 *
 * `?watch` makes an answer a stream of server-sent events. A stream takes one of 32 places from the arrival of the request
 * until its response is closed, however it ends.
 */

import type { ServerResponse } from 'node:http';
import type { Agent } from '../agent.ts';
import { type Body, listBody, SharedAnswers } from './answers.ts';
import { assets } from './assets.ts';
import type { Fleet } from './fleet.ts';
import { acceptsGzip } from './gzip.ts';
import { isWanted, Recorder, type Ring, wantedHistoryOf } from './history.ts';
import { Live } from './live.ts';
import { Overview } from './overview.ts';
import { Poll } from './poll.ts';
import { healthOf, type Probe, readinessOf } from './probes.ts';
import { type Exposition, exposition } from './prometheus.ts';
import type { Samples } from './samples.ts';
import type { HttpListener, Request } from './server.ts';
import { Places, Services } from './services.ts';
import type { HistoryEntry, Summary } from './shapes.ts';
import { containersOf, summaryOf } from './status.ts';
import { Stream } from './streams.ts';
import { targetOf, type Wanted, wantedOf } from './targets.ts';

/** Streams at a time; each is a connection that stays. */
const streamsMax = 32;
const hostsEveryMs = 5_000;

const json = 'application/json; charset=utf-8';

/** Whether the configuration was usable when it was last read, and when one was last accepted, in ms since the epoch. */
export interface Reload {
  readonly isSuccessful: boolean;
  readonly at: number;
}

/** Facts of the process that the agent does not have. */
export interface Surroundings {
  readonly reload?: Reload | undefined;
  /** The history goes on over reloads, and so do the samples. */
  readonly ring: Ring;
  readonly samples: Samples;
  /** The answers over DNS by their outcome; undefined: DNS is off. */
  readonly dns: () => NonNullable<Summary['dns']> | undefined;
}

/** A request whose path is known: `name` is the last segment, decoded. */
interface Asked extends Request {
  readonly name: string;
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
  readonly #ring: Ring;
  readonly #recorder: Recorder;
  readonly #live: Live;
  readonly #summary: () => Summary;
  readonly #exposition: Exposition;
  readonly #stopSampling: () => void;
  readonly #answers = new SharedAnswers();
  readonly #polls = new Map<string, Poll>();
  readonly #places = new Places(streamsMax);
  readonly #services: Services;
  readonly #overview: Overview;
  readonly #streams = new Set<Stream>();

  /** Answers at the listener from now on. */
  constructor(
    listener: HttpListener,
    hosts: readonly string[],
    agent: Agent,
    fleet: Fleet,
    { reload = { isSuccessful: true, at: agent.startedAt }, dns, ring, samples }: Surroundings,
  ) {
    this.#agent = agent;
    this.#listener = listener;
    this.#fleet = fleet;
    this.#ring = ring;
    this.#recorder = new Recorder(agent, ring);
    this.#overview = new Overview(fleet);
    this.#services = new Services(fleet, listener, this.#places);
    this.#summary = () => ({ ...summaryOf(agent), dns: dns() ?? null });
    this.#live = new Live(agent, this.#summary, samples);
    this.#stopSampling = samples.follow(agent);
    this.#exposition = exposition(agent, { streams: () => this.#places.size, reload, dns });
    listener.serve(hosts, (request, response) => this.#answer(request, response));
  }

  /** Ends its streams. The listener stays, for another endpoint or to be closed. */
  close(): void {
    this.#stopSampling();
    this.#exposition.close();
    this.#recorder.close();
    this.#services.close();
    for (const stream of this.#streams) stream.end();
  }

  /** Watches by itself. */
  readonly #serviceRoute: Route = {
    answer: (asked, response) =>
      this.#services.answer({ ...asked, name: asked.path === '/v1/services' ? undefined : asked.name }, response),
  };

  /** By the path; `*` means any last segment. */
  readonly #routes: ReadonlyMap<string, Route> = new Map<string, Route>([
    ['/healthz', { answer: (_asked, response) => this.#probe(healthOf(this.#agent), response) }],
    [
      '/readyz',
      { answer: ({ query }, response) => this.#probe(readinessOf(this.#agent, query.has('verbose')), response) },
    ],
    ['/metrics', { answer: (_asked, response) => this.#metrics(response) }],
    [
      '/status',
      {
        answer: (_asked, response) => this.#shared('status', () => this.#status(), response),
        watch: async (_asked, response) => this.#live.follow(this.#stream(response)),
      },
    ],
    ['/v1/services', this.#serviceRoute],
    ['/v1/services/*', this.#serviceRoute],
    [
      '/v1/hosts',
      {
        answer: (_asked, response) => this.#shared('hosts', () => this.#hosts(), response),
        watch: (_asked, response) => this.#poll('hosts', '', hostsEveryMs, () => this.#hosts(), response),
      },
    ],
    ['/v1/hosts/*', { answer: ({ name }, response) => this.#shared(`host ${name}`, () => this.#host(name), response) }],
    [
      '/v1/overview',
      {
        answer: (_asked, response) => this.#shared('overview', () => this.#overview.answer(), response),
        watch: async (_asked, response) => {
          // Before the stream begins: without any answer, the client gets an HTTP status.
          await this.#fleet.known();
          this.#overview.follow(this.#stream(response));
        },
      },
    ],
    ['/v1/history', { answer: ({ query }, response) => this.#history(query, response) }],
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
    const asked: Asked = { ...request, name };
    if (!query.has('watch') || route.watch === undefined) return route.answer(asked, response);
    if (isHead) return this.#listener.send(response, 'text/event-stream; charset=utf-8', []);
    if (!this.#places.take(response)) {
      return this.#listener.fail(response, 503, `At most ${streamsMax} may watch`);
    }
    return route.watch(asked, response);
  }

  #asset(path: string, response: ServerResponse): Promise<void> {
    const asset = assets.get(path);
    if (asset === undefined) return this.#listener.fail(response, 404, 'There is nothing here: see /');
    return this.#listener.send(response, asset.type, asset.body());
  }

  #probe({ isGood, type, body }: Probe, response: ServerResponse): Promise<void> {
    return this.#listener.send(response, type, body, isGood ? 200 : 503);
  }

  async #metrics(response: ServerResponse): Promise<void> {
    const body = await this.#answers.get('metrics', async () => [Buffer.from(await this.#exposition.text())]);
    await this.#listener.send(response, this.#exposition.contentType, body);
  }

  async #shared(key: string, make: () => Promise<Body>, response: ServerResponse): Promise<void> {
    await this.#listener.send(response, json, await this.#answers.get(key, make));
  }

  #status(): Promise<Body> {
    const summary = JSON.stringify(this.#summary());
    return listBody(`${summary.slice(0, -1)},"containers":`, containersOf(this.#agent), (container) => container, '}');
  }

  async #hosts(): Promise<Body> {
    const { hosts, stale } = await this.#fleet.hosts();
    return listBody('{"hosts":', hosts, same, endOf(stale));
  }

  async #history(query: URLSearchParams, response: ServerResponse): Promise<void> {
    const wanted = wantedHistoryOf(query);
    if (wanted === undefined)
      return this.#listener.fail(response, 400, 'since must be a time such as 2026-01-31T12:00:00Z');
    const { host } = this.#agent.config;
    const before = `{"host":${JSON.stringify(host.id)},"isCut":${this.#ring.isFull},"entries":`;
    const encode = (entry: HistoryEntry) => (isWanted(wanted, entry) ? entry : undefined);
    await this.#listener.send(response, json, await listBody(before, this.#ring, encode, '}'));
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
    const stream = new Stream(response, this.#listener.waiting, { isGzip: acceptsGzip(response.req) });
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

/** Undefined: it cannot be decoded. */
function lastSegment(path: string): string | undefined {
  try {
    return decodeURIComponent(path.slice(path.lastIndexOf('/') + 1));
  } catch {
    return undefined;
  }
}
