/**
 * The listener of the HTTP endpoint: which requests are accepted, how many and how large. `endpoint.ts` answers them.
 *
 * The endpoint is read-only: GET and HEAD are the only methods. A Host header that is neither an address nor a known name
 * is refused. Otherwise a foreign web page, opened in a browser on this machine, could read the endpoint through a DNS
 * name that points here. Headers, time, connections (`connections.ts`) and bytes (`answers.ts`) are limited.
 *
 * The listener opens before there is an answer, so that a process that cannot listen ends before it claims its host.
 * Requests wait until `serve` is called. Another `serve` takes over, and the listener stays open all the time.
 */

import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, isIP } from 'node:net';
import { hostname } from 'node:os';
import type { Config } from '../config/options.ts';
import { DiscoverError, messageOf } from '../errors.ts';
import { type Body, bytesOf, jsonBody, WaitingBytes, writeBody } from './answers.ts';
import { Connections } from './connections.ts';
import { acceptsGzip, gzipBytesMin, gzipOf } from './gzip.ts';

export type Listen = NonNullable<Config['http']>['listen'];

const headerBytesMax = 8 << 10;
const requestTimeoutMs = 5_000;
const keepAliveMs = 30_000;

const headers = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
};

/** A request that is accepted: its path without the query, not decoded. */
export interface Request {
  readonly path: string;
  readonly query: URLSearchParams;
  /** Only the headers of the answer are wanted. */
  readonly isHead: boolean;
  /** The event that a reader of a stream had last. */
  readonly lastEventId: string | undefined;
}

export interface ListenOptions {
  /** The option that names the address. */
  readonly option?: string;
  /** Of a socket: users who may write to it may ask. By default its owner and its group. */
  readonly mode?: number;
  readonly connectionsMax?: number;
}

export type Handler = (request: Request, response: ServerResponse) => Promise<void>;

export class HttpListener {
  readonly connections: Connections;
  /** The bytes that wait for all readers together. */
  readonly waiting = new WaitingBytes();
  readonly #where: Listen;
  readonly #server: Server;
  #names: ReadonlySet<string> = new Set();
  #handler: Handler | undefined;
  #unanswered: (() => void)[] = [];

  private constructor(where: Listen, connectionsMax?: number) {
    this.#where = where;
    this.connections = new Connections(connectionsMax);
    this.#server = createServer(
      {
        maxHeaderSize: headerBytesMax,
        headersTimeout: requestTimeoutMs,
        requestTimeout: requestTimeoutMs,
        keepAliveTimeout: keepAliveMs,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => this.#accept(request, response),
    );
    this.#server.on('connection', (socket) => this.connections.add(socket));
  }

  /** Rejects with `LISTEN_FAILED`, which names the option. */
  static async open(where: Listen, options: ListenOptions = {}): Promise<HttpListener> {
    const { option = 'http.listen', mode = 0o660, connectionsMax } = options;
    const listener = new HttpListener(where, connectionsMax);
    const server = listener.#server;
    try {
      if ('path' in where) await clear(where.path);
      await listening(server, where);
      if ('path' in where) chmodSync(where.path, mode);
    } catch (error) {
      server.close();
      throw new DiscoverError('LISTEN_FAILED', `${option}: cannot listen at ${nameOf(where)}: ${messageOf(error)}`);
    }
    return listener;
  }

  get name(): string {
    return nameOf(this.#where);
  }

  /** The address at which it listens, as the system reports it. */
  get address(): ReturnType<Server['address']> {
    return this.#server.address();
  }

  /** From now on `handler` answers, to requests for this machine and for `hosts`. */
  serve(hosts: readonly string[], handler: Handler): void {
    this.#names = new Set(['localhost', hostname(), ...hosts].map((name) => name.toLowerCase()));
    this.#handler = handler;
    const unanswered = this.#unanswered;
    this.#unanswered = [];
    for (const answer of unanswered) answer();
  }

  /** Ends all connections. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #accept(request: IncomingMessage, response: ServerResponse): void {
    const answer = (): void => {
      if (this.#handler === undefined) this.#unanswered.push(answer);
      else this.#answer(request, response, this.#handler);
    };
    this.connections.inTurn(request.socket, response, answer);
  }

  #answer(request: IncomingMessage, response: ServerResponse, handler: Handler): void {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    // The body of a request is not read, so no other request can follow it.
    if (hasBody(request)) response.setHeader('Connection', 'close');
    const isHead = request.method === 'HEAD';
    if (request.method !== 'GET' && !isHead) {
      response.setHeader('Allow', 'GET, HEAD');
      void this.fail(response, 405, 'Only GET and HEAD are answered here');
      return;
    }
    const host = hostOf(request);
    if (!('path' in this.#where) && isIP(host) === 0 && !this.#names.has(host)) {
      void this.fail(response, 403, 'The Host header is not a known name: set http.hosts');
      return;
    }
    const [path = '/', query = ''] = (request.url ?? '/').split('?', 2);
    const { 'last-event-id': lastId } = request.headers;
    const lastEventId = typeof lastId === 'string' ? lastId : undefined;
    handler({ path, query: new URLSearchParams(query), isHead, lastEventId }, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else void this.fail(response, 503, messageOf(error));
    });
  }

  fail(response: ServerResponse, status: number, error: string): Promise<void> {
    return this.send(response, 'application/json; charset=utf-8', jsonBody({ error }), status);
  }

  /** Resolves when the answer is sent, or its reader has gone. */
  async send(response: ServerResponse, type: string, body: Body, status = 200): Promise<void> {
    if (!this.waiting.hold(body)) return this.fail(response, 503, 'Too many large answers wait for their readers');
    try {
      const isSmaller = bytesOf(body) >= gzipBytesMin && acceptsGzip(response.req);
      const sent = isSmaller ? await gzipOf(body) : body;
      if (isSmaller) response.setHeader('Content-Encoding', 'gzip');
      response.writeHead(status, { 'Content-Type': type, 'Content-Length': bytesOf(sent) });
      await writeBody(response, sent);
    } finally {
      this.waiting.release(body);
    }
  }
}

const nameOf = (where: Listen): string =>
  'path' in where ? where.path : `http://${where.host.includes(':') ? `[${where.host}]` : where.host}:${where.port}`;

/** The host of the request, in lower case, without port and brackets; empty if there is none. */
function hostOf({ headers: { host = '' } }: IncomingMessage): string {
  return (/^(?:\[([^\]]*)\]|([^:]*))(?::\d+)?$/.exec(host.toLowerCase())?.slice(1) ?? []).join('');
}

function hasBody({ headers: given }: IncomingMessage): boolean {
  return given['transfer-encoding'] !== undefined || Number(given['content-length'] ?? 0) > 0;
}

/** Connections that wait to be accepted: all readers of a relay come at once after its restart. The kernel allows as many (somaxconn). */
const backlog = 4_096;

function listening(server: Server, where: Listen): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ ...where, backlog }, () => {
      server.off('error', reject);
      // An error such as a lack of descriptors concerns one client, and is over in a moment.
      server.on('error', () => {});
      resolve();
    });
  });
}

/**
 * Removes the socket of a process that is gone. A socket that answers stays, and listening fails. A file that is not a
 * socket is never touched.
 */
async function clear(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new Error(`a ${found.isDirectory() ? 'directory' : 'file that is not a socket'} is there, and stays`);
  }
  await new Promise<void>((resolve, reject) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      try {
        if (error.code === 'ECONNREFUSED') unlinkSync(path);
        resolve();
      } catch (failure) {
        reject(failure);
      }
    });
  });
}
