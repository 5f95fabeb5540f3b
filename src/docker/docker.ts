/**
 * The Docker Engine as the main thread sees it: negotiate, list, follow events.
 *
 * Every request passes `#get`, and its path `request-path.ts`, as that of the pool threads' inspections
 * does: a socket that could start containers is only ever used to look. Answers are taken as streams, because a body that is cut
 * short never settles in dockerode's own reading, and a list is handed on unparsed: what it costs
 * to parse is paid in a pool thread.
 */

import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as plainRequest,
  type RequestOptions,
} from 'node:http';
import { request as tlsRequest } from 'node:https';
import Dockerode from 'dockerode';
import { type Clock, deadline } from '../actor/clock.ts';
import { DiscoverError, detailsOf, type Failure, messageOf } from '../errors.ts';
import { handshakeFailure, tlsFailure } from '../net/socket.ts';
import { requestPath } from './request-path.ts';

export type DockerEndpoint =
  | { readonly kind: 'socket'; readonly path: string }
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      readonly tls?: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
    };

/** What negotiation found out. */
export interface EngineInfo {
  /** As in a path: `/v1.41`, or empty where the engine does not say what it speaks. */
  readonly versionPrefix: string;
  readonly serverVersion: string;
  /** Podman names some events its own way and knows no filter by event. */
  readonly isPodman: boolean;
  /** The engine's clock when it answered, in whole seconds since the epoch. */
  readonly engineSeconds: number;
}

export interface EventStream {
  /** Resolves when the stream is over, whatever ended it. */
  readonly ended: Promise<void>;
  close(): void;
}

/** The calls that discover makes of an engine; the simulation has its own. */
export interface Docker {
  /** Finds out what the engine speaks. `CONFIG_INVALID` when a pinned version is refused. */
  negotiate(): Promise<EngineInfo>;
  /** The body of a complete list of running containers. */
  list(engine: EngineInfo): Promise<Uint8Array<ArrayBuffer>>;
  /** Follows container and network events from `sinceSeconds` on. Resolves once the engine has answered. */
  events(engine: EngineInfo, sinceSeconds: number, onChunk: (chunk: Buffer) => void): Promise<EventStream>;
}

/** The newest version whose answers we know. An engine that has moved on still speaks it. */
const newestVersion = '1.52';
const callTimeoutMs = 5_000;
/** A list of 10,000 containers takes longer than a ping. */
const listTimeoutMs = 15_000;
const listBytesMax = 256 << 20;
const refusalBytesMax = 64 << 10;

/** The actions that can change what is published; the engine sends no others (exec and health are many). */
const followed = ['start', 'die', 'destroy', 'connect', 'disconnect'];

export class DockerClient implements Docker {
  readonly #modem: Modem;
  readonly #clock: Clock;
  readonly #pinned: string | undefined;

  constructor(endpoint: DockerEndpoint, pinnedVersion: string | undefined, clock: Clock) {
    // Everything is given, even as undefined, so that dockerode's own reading of the environment has no
    // say.
    const socketPath = endpoint.kind === 'socket' ? endpoint.path : undefined;
    const { host, port, tls } = endpoint.kind === 'tcp' ? endpoint : {};
    const options = {
      socketPath,
      host,
      port,
      protocol: tls ? 'https' : 'http',
      pathPrefix: '/',
      ca: tls?.ca,
      cert: tls?.cert,
      key: tls?.key,
      timeout: undefined,
    };
    this.#modem = new Dockerode(options as unknown as Dockerode.DockerOptions).modem as unknown as Modem;
    // Its own way follows redirects, to any path of any server, and reads and quotes whatever a refusal holds.
    this.#modem.buildRequest = (request, _context, _data, callback) => {
      const open = tls ? tlsRequest : plainRequest;
      open(request, (response) => callback(null, response))
        .on('error', (error) => callback(error, null))
        .end();
    };
    this.#clock = clock;
    this.#pinned = pinnedVersion;
  }

  async negotiate(): Promise<EngineInfo> {
    // Either answer is enough, and none will do: a proxy may withhold them.
    const [ping, version] = await Promise.allSettled([
      this.#get('/_ping', callTimeoutMs, async (response) => response.resume().headers),
      this.#get('/version', callTimeoutMs, readVersion),
    ]);
    if (ping.status === 'rejected' && version.status === 'rejected' && !isWithheld(ping.reason)) throw ping.reason;
    const headers: IncomingHttpHeaders = ping.status === 'fulfilled' ? ping.value : {};
    const about: EngineVersion = version.status === 'fulfilled' ? version.value : {};
    const supported = versionIn(headers['api-version']) ?? versionIn(about.ApiVersion);
    if (this.#pinned !== undefined) refuseOldPin(this.#pinned, versionIn(about.MinAPIVersion));
    const spoken = this.#pinned ?? (supported && lowerVersion(supported, newestVersion));
    return {
      versionPrefix: spoken ? `/v${spoken}` : '',
      serverVersion: text(about.Version) ?? 'unknown',
      isPodman: JSON.stringify(about.Components ?? '').includes('Podman'),
      engineSeconds: Math.floor((Date.parse(headers.date ?? '') || this.#clock.wall()) / 1000),
    };
  }

  /** Those that do not run as well, where `all` is true. */
  list(engine: EngineInfo, all = false): Promise<Uint8Array<ArrayBuffer>> {
    return this.#get(
      `/containers/json${all ? '?all=1' : ''}`,
      listTimeoutMs,
      (response) => collect(response, listBytesMax),
      engine,
    );
  }

  async events(engine: EngineInfo, sinceSeconds: number, onChunk: (chunk: Buffer) => void): Promise<EventStream> {
    const filters = engine.isPodman
      ? { type: ['container', 'network'] }
      : { type: ['container', 'network'], event: followed };
    const query = `since=${sinceSeconds}&filters=${encodeURIComponent(JSON.stringify(filters))}`;
    const open = async (response: IncomingMessage, ended: Promise<void>): Promise<EventStream> => {
      response.on('data', onChunk);
      return { ended, close: () => response.destroy() };
    };
    return this.#get(`/events?${query}`, callTimeoutMs, open, engine);
  }

  /**
   * The one way out to the engine: GET, a path that is allowed, a status of 200. The time limit is on
   * all of it, `take` included, and ends the request.
   */
  #get<Taken>(
    path: string,
    timeoutMs: number,
    take: (response: IncomingMessage, ended: Promise<void>) => Promise<Taken>,
    engine?: EngineInfo,
  ): Promise<Taken> {
    const target = requestPath(engine?.versionPrefix ?? '', path);
    const abort = new AbortController();
    const answer = new Promise<Taken>((resolve, reject) => {
      const request = {
        method: 'GET',
        // docker-modem takes the last character off a path with a query that has no parameters of its own.
        path: `${target}${path.includes('?') ? '&' : ''}`,
        isStream: true,
        abortSignal: abort.signal,
      };
      this.#modem.dial(request, (error, response) => {
        if (error || !response) return reject(unavailable(messageOf(error), error));
        // An error after the answer has begun shows as an early end; without a listener it would be thrown.
        response.on('error', () => {});
        // Listened for at once: an answer that is cut short can be over before a promise is heard of.
        const ended = new Promise<void>((over) => response.once('close', over));
        if (response.statusCode === 200) take(response, ended).then(resolve, reject);
        else void readRefusal(response).then(reject);
      });
    });
    return deadline(this.#clock, timeoutMs, answer, () => {
      abort.abort();
      return unavailable(`no answer to ${path.split('?', 1)[0]} within ${timeoutMs} ms`);
    });
  }
}

type Answered = (error: Error | null, response: IncomingMessage | null) => void;

/** What of docker-modem is used, in the shape it has: `dial` says where to, `buildRequest` is ours. */
interface Modem {
  dial(
    request: { method: string; path: string; isStream: boolean; abortSignal: AbortSignal },
    callback: Answered,
  ): void;
  buildRequest(request: RequestOptions, context: unknown, data: unknown, callback: Answered): void;
}

/** What `/version` may say; every field is foreign. */
interface EngineVersion {
  readonly Version?: unknown;
  readonly ApiVersion?: unknown;
  readonly MinAPIVersion?: unknown;
  readonly Components?: unknown;
}

function unavailable(detail: string, cause?: unknown, status?: number): DiscoverError {
  return new DiscoverError('DOCKER_UNAVAILABLE', `Docker Engine: ${handshakeFailure(detail, 'docker')}${detail}`, {
    cause,
    details: { status, failure: tlsFailure(detail) ?? failures.get(systemCodeOf(cause)) },
  });
}

/** What the system says of a connection. */
const failures: ReadonlyMap<string, Failure> = new Map([
  ['ENOENT', 'socket-missing'],
  ['EACCES', 'socket-denied'],
  ['ECONNREFUSED', 'connection-refused'],
  ['ECONNRESET', 'connection-closed'],
  ['ENOTFOUND', 'name-unknown'],
]);

function systemCodeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : '';
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** It becomes part of a path, so it has to look like a version. */
function versionIn(value: unknown): string | undefined {
  return /^\d+\.\d+$/.test(String(value)) ? String(value) : undefined;
}

async function readVersion(response: IncomingMessage): Promise<EngineVersion> {
  const body = await collect(response, 1 << 20);
  try {
    const version: unknown = JSON.parse(Buffer.from(body).toString());
    return typeof version === 'object' && version !== null ? (version as EngineVersion) : {};
  } catch {
    throw unavailable('version is not JSON');
  }
}

/** The engine's own word on why it will not; what else such a body may hold is not for a log. */
async function readRefusal(response: IncomingMessage): Promise<DiscoverError> {
  let said: unknown;
  try {
    const body = await collect(response, refusalBytesMax);
    said = (JSON.parse(Buffer.from(body).toString()) as { message?: unknown }).message;
  } catch {
    // Not from an engine: the status says what there is to say.
  }
  return unavailable(
    `status ${response.statusCode}${text(said) ? `: ${text(said)}` : ''}`,
    undefined,
    response.statusCode,
  );
}

/** Whoever has answered so is there, and does not tell. */
function isWithheld(error: unknown): boolean {
  const { status } = detailsOf(error);
  return status === 403 || status === 404;
}

/** The whole body, or an error: never a part of it. */
async function collect(response: IncomingMessage, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw unavailable(`answer is larger than ${bytesMax} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof DiscoverError ? error : unavailable(`answer was cut short: ${messageOf(error)}`, error);
  }
  if (!response.complete) throw unavailable('answer was cut short');
  const body = new Uint8Array(bytes);
  let offset = 0;
  for (const chunk of chunks) {
    body.set(chunk, offset);
    offset += chunk.length;
  }
  return body;
}

function compareVersions(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split('.').map(Number);
  const [bMajor = 0, bMinor = 0] = b.split('.').map(Number);
  return aMajor - bMajor || aMinor - bMinor;
}

function lowerVersion(a: string, b: string): string {
  return compareVersions(a, b) <= 0 ? a : b;
}

function refuseOldPin(pinned: string, minimum: string | undefined): void {
  if (minimum === undefined || compareVersions(pinned, minimum) >= 0) return;
  throw new DiscoverError(
    'CONFIG_INVALID',
    `docker.version: this engine speaks ${minimum} or newer, got "${pinned}"; leave it out to negotiate`,
  );
}
