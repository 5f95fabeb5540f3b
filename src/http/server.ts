/**
 * The HTTP endpoint's door: who may ask, how much and how long. What is answered is `endpoint.ts`'s.
 *
 * It only ever tells. GET is the one method; a Host header that is neither an address nor a name of this machine is
 * refused, which keeps the page of a stranger, opened in a browser beside us, from reading what is here by way of a
 * name that it points at us. Headers, time and connections are limited, so that whoever asks too much
 * costs the agent nothing.
 */

import { chmodSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, isIP } from 'node:net';
import { hostname } from 'node:os';
import type { Config } from '../config/options.ts';
import { DiscoverError, messageOf } from '../errors.ts';

export type Listen = NonNullable<Config['http']>['listen'];

const headerBytesMax = 8 << 10;
const requestTimeoutMs = 5_000;
const keepAliveMs = 30_000;
const connectionsMax = 64;

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

/** What was asked for: the path without its query, decoded by segments nowhere yet. */
export interface Request {
  readonly path: string;
  readonly query: URLSearchParams;
}

export type Handler = (request: Request, response: ServerResponse) => Promise<void>;

/** Begins to listen. Rejects with `LISTEN_FAILED` where that cannot be. */
export async function listen(where: Listen, hosts: readonly string[], answer: Handler): Promise<Server> {
  const names = new Set(['localhost', hostname(), ...hosts].map((name) => name.toLowerCase()));
  const mayAsk = (host: string) => 'path' in where || isIP(host) !== 0 || names.has(host);
  const server = createServer(
    {
      maxHeaderSize: headerBytesMax,
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => {
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
      // What a question brings along is not read, and so cannot be followed by another.
      if (hasBody(request)) response.setHeader('Connection', 'close');
      if (request.method !== 'GET') {
        response.setHeader('Allow', 'GET');
        return fail(response, 405, 'Only GET is answered here');
      }
      if (!mayAsk(hostOf(request))) {
        return fail(response, 403, 'Asked by a name that is not known here: set http.hosts');
      }
      const [path = '/', query = ''] = (request.url ?? '/').split('?', 2);
      answer({ path, query: new URLSearchParams(query) }, response).catch((error: unknown) => {
        if (response.headersSent) response.destroy();
        else fail(response, 503, messageOf(error));
      });
    },
  );
  server.maxConnections = connectionsMax;
  try {
    if ('path' in where) await clear(where.path);
    await listening(server, where);
    // Whoever may write to the socket may ask: its owner and its group.
    if ('path' in where) chmodSync(where.path, 0o660);
  } catch (error) {
    server.close();
    throw new DiscoverError('LISTEN_FAILED', `http.listen: cannot listen at ${nameOf(where)}: ${messageOf(error)}`);
  }
  return server;
}

export function fail(response: ServerResponse, status: number, error: string): void {
  sendJson(response, { error }, status);
}

export function sendJson(response: ServerResponse, value: unknown, status = 200): void {
  send(response, 'application/json; charset=utf-8', `${JSON.stringify(value)}\n`, status);
}

export function send(response: ServerResponse, type: string, body: string | Buffer, status = 200): void {
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}

export const nameOf = (where: Listen): string =>
  'path' in where ? where.path : `http://${where.host.includes(':') ? `[${where.host}]` : where.host}:${where.port}`;

/** The host that was asked for, in lower case, without port and brackets; empty where there is none. */
function hostOf({ headers: { host = '' } }: IncomingMessage): string {
  return (/^(?:\[([^\]]*)\]|([^:]*))(?::\d+)?$/.exec(host.toLowerCase())?.slice(1) ?? []).join('');
}

function hasBody({ headers: given }: IncomingMessage): boolean {
  return given['transfer-encoding'] !== undefined || Number(given['content-length'] ?? 0) > 0;
}

function listening(server: Server, where: Listen): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      // Such as running out of descriptors: it concerns one who asks, and is over in a moment.
      server.on('error', () => {});
      resolve();
    });
  });
}

/** Removes the socket of a process that is gone; that of one which answers stays, and listening fails. */
function clear(path: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') unlinkSync(path);
      resolve();
    });
  });
}
