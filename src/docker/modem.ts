/**
 * docker-modem, dockerode's connection to an engine, and the workarounds for its defects: they are here and nowhere
 * else.
 *
 * One `ModemCall` carries one request. It does so through the `agent` option: Node hands an agent each request before
 * it is sent and before its answer is read. So the agent is also the last gate: only GET of an allowed path leaves this
 * process, even if dockerode made another request of the call.
 *
 * Each defect below has a test in `test/unit/modem.test.ts` that fails once a release of docker-modem has fixed it; the
 * lines named here can go then. Seen in 5.0.7.
 *
 * 1. Redirect: it sends a request to the target of any redirect, on any host and any path. No issue upstream.
 * 2. Cut body: a call never settles if its answer is cut short. No issue upstream (dockerode#553 may be one case).
 * 3. Cut JSON: an answer that is not JSON becomes a Buffer instead of an error: docker-modem#69, open.
 * 4. Debug line: it formats every request, the agent included, for a line that is off. No issue upstream.
 * 5. Environment: DOCKER_HOST and its like are read, and can throw, where every option is given: docker-modem#61 and #114, open.
 */

import { Agent, type ClientRequest, IncomingMessage } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import type { Socket } from 'node:net';
import { inspect } from 'node:util';
import DockerModem from 'docker-modem';
import { ResponseReader } from '../net/http1/response.ts';
import { openSocket } from '../net/socket.ts';
import { requestPath } from './request-path.ts';

export type DockerEndpoint =
  | { readonly kind: 'socket'; readonly path: string }
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      readonly tls?: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
    };

declare module 'http' {
  interface Agent {
    /** The one method that Node asks an agent for; every agent of npm is made of it. */
    addRequest(request: ClientRequest, options: RequestOptions): void;
  }
}

/** An answer that is not 200. */
export interface Refusal {
  readonly status: number;
  /** The engine's own message; the rest of such a body does not belong in a log. */
  readonly words: string | undefined;
}

const refusalBytesMax = 64 << 10;
/** Room for what a busy engine sends of events between two turns of the loop. */
const readBytes = 64 << 10;

export interface ModemCallOptions {
  /** As in a path: `/v1.41`, or empty. */
  readonly versionPrefix: string;
  /** Bounds the body of an answer that is kept. */
  readonly bytesMax: number;
  /** Takes the body of an answer that is 200 as it comes, without a bound. The bytes may be overwritten once it returns. */
  readonly onBody?: ((bytes: Buffer) => void) | undefined;
}

export class ModemCall {
  readonly #endpoint: DockerEndpoint;
  readonly #versionPrefix: string;
  readonly #bytesMax: number;
  readonly #onBody: ((bytes: Buffer) => void) | undefined;
  #refusal: Refusal | undefined;
  #request: ClientRequest | undefined;
  #isAborted = false;
  #isOk = false;
  #end: () => void = () => {};
  /** Resolves when the answer is over, for any reason. */
  readonly ended = new Promise<void>((resolve) => {
    this.#end = resolve;
  });

  constructor(endpoint: DockerEndpoint, { bytesMax, onBody, versionPrefix }: ModemCallOptions) {
    this.#endpoint = endpoint;
    this.#versionPrefix = versionPrefix;
    this.#bytesMax = bytesMax;
    this.#onBody = onBody;
  }

  /** The reason why the call failed, if the engine has answered. */
  get refusal(): Refusal | undefined {
    return this.#refusal;
  }

  /** Ends the request, or the answer that is being read. */
  abort(): void {
    this.#isAborted = true;
    this.#request?.destroy();
  }

  /** The options for dockerode and docker-modem. Every option is given, also as undefined: see defect 5. */
  get options() {
    const socketPath = this.#endpoint.kind === 'socket' ? this.#endpoint.path : undefined;
    const { host, port, tls } = this.#endpoint.kind === 'tcp' ? this.#endpoint : {};
    const protocol: 'https' | 'http' = tls ? 'https' : 'http';
    return {
      socketPath,
      // As a URL, because a host alone would be parsed as a URL: `fe80::1` would have the scheme `fe80`.
      host: host && `${protocol}://${host.includes(':') ? `[${host}]` : host}`,
      port,
      protocol,
      pathPrefix: '/',
      ca: tls?.ca,
      cert: tls?.cert,
      key: tls?.key,
      timeout: undefined,
      version: this.#versionPrefix === '' ? undefined : this.#versionPrefix.slice(1),
      agent: this.#gate(tls ? new TlsAgent() : new Agent()),
    };
  }

  /** A GET whose answer is taken whole, with its headers. */
  dial(modem: DockerModem, path: string, query?: Readonly<Record<string, unknown>>): Promise<Answer> {
    const options = { path: query ? `${path}?` : path, method: 'GET', isStream: true, statusCodes: { 200: true } };
    return new Promise((resolve, reject) => {
      modem.dial(query ? { ...options, options: query } : options, (error, response) => {
        if (response instanceof IncomingMessage) readWhole(response).then(resolve, reject);
        else reject(error ?? new Error('no answer'));
      });
    });
  }

  #gate<Kind extends Agent>(agent: Kind): Kind {
    if (this.#isTapped) agent.createConnection = () => this.#openTapped();
    const send = agent.addRequest.bind(agent);
    agent.addRequest = (request, options) => {
      if (request.method !== 'GET') throw new Error(`Method must be GET, got ${request.method}`);
      requestPath('', request.path);
      if (this.#isAborted) throw new Error('aborted');
      this.#request = request;
      request.prependOnceListener('response', (response) => this.#answered(request, response));
      send(request, options);
    };
    // Defect 4: an agent leads to every socket and listener of the process, which takes 160 times as long to format.
    return Object.assign(agent, { [inspect.custom]: () => 'agent' });
  }

  /** Over TLS the body comes by way of Node's parser: a connection of TLS has no room of ours to read into. */
  get #isTapped(): boolean {
    return this.#onBody !== undefined && !('tls' in this.#endpoint && this.#endpoint.tls);
  }

  /**
   * A connection whose body is read here. Node reads the head of the answer, for dockerode. Each event behind it would pass four
   * layers of Node, with a buffer of its own; `bench/README.md` says what that costs.
   */
  #openTapped(): Socket {
    const reader = new ResponseReader(Number.POSITIVE_INFINITY, (bytes) => {
      if (this.#isOk) this.#onBody?.(bytes);
    });
    const address = this.#endpoint.kind === 'socket' ? { path: this.#endpoint.path } : this.#endpoint;
    const socket = openSocket(address, readBytes, (bytes) => {
      // Where the head ends in these bytes, this calls `#answered`. Node keeps what it is given.
      if (!this.#isOk) socket.emit('data', Buffer.from(bytes));
      try {
        if (reader.push(bytes) !== undefined && this.#isOk) socket.destroy();
      } catch (error) {
        socket.destroy(error instanceof Error ? error : undefined);
      }
    });
    return socket;
  }

  #answered(request: ClientRequest, response: IncomingMessage): void {
    response.once('close', this.#end);
    // Defect 1: a redirect without its location is an answer like others.
    delete response.headers.location;
    // Defect 2: docker-modem listens for errors of the request alone. The listener also keeps the error from being thrown.
    response.on('error', (error) => request.emit('error', error));
    if (response.statusCode === 200) {
      this.#isOk = true;
      if (this.#isTapped) response.resume();
      else if (this.#onBody !== undefined) response.on('data', this.#onBody);
      else limit(response, this.#bytesMax);
      return;
    }
    const status = response.statusCode ?? 0;
    this.#refusal = { status, words: undefined };
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('end', () => {
      this.#refusal = { status, words: wordsOf(Buffer.concat(chunks).toString()) };
    });
    limit(response, refusalBytesMax);
  }
}

/** Makes a client of an engine that knows its options alone (defect 5). */
export function withoutEnvironment<Made>(make: () => Made): Made {
  const { env } = process;
  process.env = {};
  try {
    return make();
  } finally {
    process.env = env;
  }
}

/** docker-modem alone, for a pool thread: dockerode would bring 5 MB of gRPC along, for building images. */
export function createModem(call: ModemCall): DockerModem {
  return withoutEnvironment(() => new DockerModem(call.options));
}

export interface Answer {
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** The whole body, or an error: never a part of it. Has to be called before the answer's first byte is read. */
function readWhole(response: IncomingMessage): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('error', (error) => reject(error));
    response.on('close', () => {
      if (response.complete) resolve({ headers: response.headers, body: Buffer.concat(chunks) });
      else reject(new Error('answer was cut short'));
    });
  });
}

function limit(response: IncomingMessage, bytesMax: number): void {
  let bytes = 0;
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > bytesMax) response.destroy(new Error(`answer is larger than ${bytesMax} bytes`));
  });
}

function wordsOf(body: string): string | undefined {
  try {
    const said: unknown = JSON.parse(body);
    const message = typeof said === 'object' && said !== null && 'message' in said ? said.message : undefined;
    return typeof message === 'string' && message !== '' ? message : undefined;
  } catch {
    return undefined; // Not from an engine: the status says what there is to say.
  }
}
