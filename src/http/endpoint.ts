/**
 * The HTTP endpoint: what is answered at which path.
 *
 *     /healthz      200 while the event loop turns and the agent's parts are kept running
 *     /readyz       200 once what runs was listed, and while the event stream and the lease live; ?verbose
 *     /metrics      for Prometheus
 *     /status       what this host publishes and what it does not, as JSON; ?watch
 *     /v1/services  what stands in etcd, of all hosts: names, or /<name> with its instances; ?watch
 *     /v1/hosts     the hosts, or /<host> with its instances; ?watch
 *     /sd           the same for Prometheus's http_sd
 *     /             the page
 *
 * `?watch` makes of an answer a stream of server-sent events.
 */

import { readFileSync } from 'node:fs';
import type { Server, ServerResponse } from 'node:http';
import type { Agent } from '../agent.ts';
import type { Config } from '../config/options.ts';
import { codeOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { inPackage } from '../version.ts';
import { Fleet, targetsOf } from './fleet.ts';
import { Live } from './live.ts';
import { type Exposition, exposition } from './prometheus.ts';
import { fail, listen, nameOf, type Request, send, sendJson } from './server.ts';
import type { HostAnswer, HostsAnswer } from './shapes.ts';
import { checksOf, containersOf, summaryOf } from './status.ts';
import { Stream } from './streams.ts';

/** Readers of streams at a time; each is a connection that stays. */
const streamsMax = 32;
const namesEveryMs = 1_000;
const hostsEveryMs = 5_000;

/** Whether the configuration could be used when it was last read, and when one was last taken, in ms since the epoch. */
export interface Reload {
  readonly isSuccessful: boolean;
  readonly at: number;
}

export class Endpoint {
  readonly #agent: Agent;
  readonly #fleet: Fleet;
  readonly #live: Live;
  readonly #exposition: Exposition;
  readonly #streams = new Set<Stream>();
  #server: Server | undefined;

  private constructor(agent: Agent, reload: Reload) {
    const { etcd } = agent.config;
    this.#agent = agent;
    this.#fleet = new Fleet(etcd, () => agent.registry.readPrefix(`${etcd.prefix}/owner/`));
    this.#live = new Live(agent);
    this.#exposition = exposition(agent, { streams: () => this.#streams.size, reload });
  }

  /** Listens where the configuration says. Rejects with `LISTEN_FAILED`. */
  static async open(
    { listen: where, hosts }: NonNullable<Config['http']>,
    agent: Agent,
    log: Log,
    reload: Reload = { isSuccessful: true, at: agent.startedAt },
  ): Promise<Endpoint> {
    const endpoint = new Endpoint(agent, reload);
    try {
      endpoint.#server = await listen(where, hosts, (request, response) => endpoint.#answer(request, response));
    } catch (error) {
      await endpoint.close();
      throw error;
    }
    log.info({ listen: nameOf(where) }, 'answering over HTTP');
    return endpoint;
  }

  /** Where it listens, as the system sees it. */
  get address(): ReturnType<Server['address']> {
    return this.#server?.address() ?? null;
  }

  /** Ends all streams and connections. */
  async close(): Promise<void> {
    this.#exposition.close();
    for (const stream of this.#streams) stream.end();
    const server = this.#server;
    await new Promise<void>((resolve) => {
      if (server === undefined) return resolve();
      server.close(() => resolve());
      server.closeAllConnections();
    });
    await this.#fleet.close();
  }

  async #answer({ path, query }: Request, response: ServerResponse): Promise<void> {
    const agent = this.#agent;
    const isWatch = query.has('watch');
    if (isWatch && this.#streams.size >= streamsMax) return fail(response, 503, `At most ${streamsMax} may watch`);
    const segment = lastSegment(path);
    if (segment === undefined) return fail(response, 400, 'The path is not UTF-8');
    switch (path) {
      case '/healthz':
        return send(
          response,
          'text/plain',
          agent.state.isAlive ? 'ok\n' : 'stopping\n',
          agent.state.isAlive ? 200 : 503,
        );
      case '/readyz':
        return this.#readyz(query.has('verbose'), response);
      case '/metrics':
        return send(response, this.#exposition.contentType, await this.#exposition.text());
      case '/status':
        if (isWatch) this.#live.follow(this.#stream(response));
        else sendJson(response, { ...summaryOf(agent), containers: [...containersOf(agent)] });
        return;
      case '/sd':
        return sendJson(response, targetsOf(await this.#instances(query)));
      case '/v1/services':
        if (isWatch) return this.#poll('services', namesEveryMs, () => this.#services(query), response);
        return sendJson(response, await this.#services(query));
      case '/v1/hosts':
        if (isWatch) return this.#poll('hosts', hostsEveryMs, () => this.#hosts(), response);
        return sendJson(response, await this.#hosts());
    }
    if (path === `/v1/services/${path.split('/')[3]}`) return this.#service(segment, query, isWatch, response);
    if (path === `/v1/hosts/${path.split('/')[3]}`) return this.#host(segment, response);
    const asset = assets[path];
    if (asset === undefined) return fail(response, 404, 'There is nothing here: see /');
    send(response, asset.type, asset.read());
  }

  #readyz(isVerbose: boolean, response: ServerResponse): void {
    const checks = checksOf(this.#agent);
    const isReady = checks.every(({ ok }) => ok);
    const status = isReady ? 200 : 503;
    if (isVerbose) {
      sendJson(response, { ready: isReady, checks }, status);
      return;
    }
    const missing = checks.filter(({ ok }) => !ok).map(({ name }) => name);
    send(response, 'text/plain', isReady ? 'ok\n' : `not ready: ${missing.join(', ')}\n`, status);
  }

  async #instances(query: URLSearchParams) {
    const wanted = (['name', 'realm', 'host', 'protocol'] as const).map(
      (field) => [field, query.get(field === 'name' ? 'service' : field)] as const,
    );
    const instances = await this.#fleet.instances();
    return instances.filter((one) => wanted.every(([field, value]) => value === null || one[field] === value));
  }

  async #services(query: URLSearchParams): Promise<object> {
    const counts = await this.#fleet.client.services(selectorOf(query));
    const services = [...counts].map(([name, instances]) => ({ name, instances }));
    return { services: services.sort((one, other) => (one.name < other.name ? -1 : 1)), stale: this.#fleet.stale };
  }

  async #service(name: string, query: URLSearchParams, isWatch: boolean, response: ServerResponse): Promise<void> {
    const { client } = this.#fleet;
    try {
      const instances = await client.resolve(name, selectorOf(query));
      if (!isWatch) return sendJson(response, { name, instances, stale: this.#fleet.stale });
    } catch (error) {
      if (codeOf(error) !== 'NAME_INVALID') throw error;
      return fail(response, 400, (error as Error).message);
    }
    const stream = this.#stream(response);
    for await (const { instances } of client.watch(name, { ...selectorOf(query), signal: stream.signal })) {
      stream.send('instances', JSON.stringify({ name, instances }));
    }
    stream.end();
  }

  async #hosts(): Promise<HostsAnswer> {
    return { hosts: await this.#fleet.hosts(), stale: this.#fleet.stale };
  }

  async #host(host: string, response: ServerResponse): Promise<void> {
    const instances = (await this.#fleet.instances()).filter((one) => one.host === host);
    const answer: HostAnswer = { host, instances, stale: this.#fleet.stale };
    sendJson(response, answer);
  }

  #stream(response: ServerResponse): Stream {
    const stream = new Stream(response);
    this.#streams.add(stream);
    stream.signal.addEventListener('abort', () => this.#streams.delete(stream));
    return stream;
  }

  /** Sends what `read` finds at once, and again whenever it has found something else. */
  async #poll(event: string, everyMs: number, read: () => Promise<object>, response: ServerResponse): Promise<void> {
    // Whoever cannot be told anything is told so with a status.
    let last = JSON.stringify(await read());
    const stream = this.#stream(response);
    stream.send(event, last);
    const timer = setInterval(async () => {
      const next = await read().then(JSON.stringify, () => last);
      if (next !== last && !stream.signal.aborted) stream.send(event, next);
      last = next;
    }, everyMs);
    stream.signal.addEventListener('abort', () => clearInterval(timer));
  }
}

function selectorOf(query: URLSearchParams): { realm?: string; protocol?: string } {
  const [realm, protocol] = [query.get('realm'), query.get('protocol')];
  return { ...(realm !== null && { realm }), ...(protocol !== null && { protocol }) };
}

/** Undefined: it cannot be decoded. */
function lastSegment(path: string): string | undefined {
  try {
    return decodeURIComponent(path.slice(path.lastIndexOf('/') + 1));
  } catch {
    return undefined;
  }
}

/** The page is built: it lies in `dist`, also when this file runs from `src`. */
function asset(name: string, type: string) {
  const read = (): Buffer => {
    try {
      return readFileSync(inPackage(`dist/page/${name}`));
    } catch {
      return Buffer.from('The page has not been built.\n');
    }
  };
  let content: Buffer | undefined;
  return { type, read: () => (content ??= read()) };
}

const assets: Readonly<Record<string, ReturnType<typeof asset>>> = {
  __proto__: null as never,
  '/': asset('index.html', 'text/html; charset=utf-8'),
  '/page.js': asset('page.js', 'text/javascript; charset=utf-8'),
  '/page.css': asset('page.css', 'text/css; charset=utf-8'),
};
