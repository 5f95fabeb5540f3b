/**
 * The one request made for every container: `GET /containers/<id>/json`, lean.
 *
 * This is the call a busy host makes thousands of times a second, so this call alone has a client of
 * its own: kept-alive connections with a request each, and nothing that an inspection does not need.
 * It costs a third of what dockerode does. It runs in the pool threads. The id is always the full
 * one: an engine also answers to a name, and any container may be named like the first twelve
 * digits of another.
 */

import type { Socket } from 'node:net';
import type { ContainerId } from '../container/container.ts';
import { messageOf } from '../errors.ts';
import { type Response, ResponseReader } from '../net/http1/response.ts';
import { openSocket } from '../net/socket.ts';
import type { DockerEndpoint } from './docker.ts';
import { requestPath } from './request-path.ts';

export type InspectAnswer =
  | { readonly kind: 'document'; readonly body: string }
  /** The engine knows no such container. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed'; readonly detail: string };

/** A container that is being stopped can hold its inspection for a while; none takes this long and answers. */
const inspectTimeoutMs = 5_000;
/** An inspect answer repeats the labels (16 MiB was accepted) and the environment. */
const documentBytesMax = 32 << 20;
const connectionsMax = 32;
const idleTimeoutMs = 60_000;
/** Room for an ordinary answer as a whole; a larger one comes in pieces. */
const readBytes = 32 << 10;

interface Exchange {
  readonly request: string;
  readonly settle: (answer: InspectAnswer) => void;
  /** Asked again once already: the engine had closed an idle connection before it heard the request. */
  isRepeated: boolean;
}

export class InspectClient {
  readonly #endpoint: DockerEndpoint;
  readonly #host: string;
  readonly #connections = new Set<Connection>();
  /** The one used last is asked first, so that the others can time out. */
  readonly #idle: Connection[] = [];
  readonly #waiting: Exchange[] = [];

  constructor(endpoint: DockerEndpoint) {
    this.#endpoint = endpoint;
    this.#host = endpoint.kind === 'socket' ? 'docker' : hostHeader(endpoint.host, endpoint.port);
  }

  /** Rejects only what may not be asked for. `versionPrefix` is that of the negotiated API, as `/v1.41`. */
  inspect(versionPrefix: string, id: ContainerId): Promise<InspectAnswer> {
    return new Promise((settle) => {
      const path = requestPath(versionPrefix, `/containers/${id}/json`);
      const request = `GET ${path} HTTP/1.1\r\nHost: ${this.#host}\r\n\r\n`;
      this.#send({ request, settle, isRepeated: false });
    });
  }

  async close(): Promise<void> {
    for (const exchange of this.#waiting.splice(0)) exchange.settle({ kind: 'failed', detail: 'closed' });
    for (const connection of this.#connections) connection.close();
  }

  #send(exchange: Exchange): void {
    const idle = this.#idle.pop();
    if (idle !== undefined) idle.ask(exchange);
    else if (this.#connections.size < connectionsMax) this.#open().ask(exchange);
    else this.#waiting.push(exchange);
  }

  #open(): Connection {
    const connection = new Connection(this.#endpoint, {
      onIdle: () => {
        const next = this.#waiting.shift();
        if (next !== undefined) connection.ask(next);
        else this.#idle.push(connection);
      },
      onClosed: (unheard) => {
        this.#connections.delete(connection);
        const index = this.#idle.indexOf(connection);
        if (index >= 0) this.#idle.splice(index, 1);
        if (unheard !== undefined) this.#open().ask(unheard);
        const next = this.#connections.size < connectionsMax ? this.#waiting.shift() : undefined;
        if (next !== undefined) this.#send(next);
      },
    });
    this.#connections.add(connection);
    return connection;
  }
}

interface ConnectionEvents {
  readonly onIdle: () => void;
  /** With the request that the other side had not begun to answer, if it is worth asking again. */
  readonly onClosed: (unheard: Exchange | undefined) => void;
}

class Connection {
  readonly #socket: Socket;
  readonly #reader: ResponseReader;
  readonly #events: ConnectionEvents;
  #exchange: Exchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isUsed = false;
  #failure = 'connection closed';

  constructor(endpoint: DockerEndpoint, events: ConnectionEvents) {
    this.#events = events;
    this.#reader = new ResponseReader((response) => this.#answered(response), documentBytesMax);
    const address = endpoint.kind === 'socket' ? { path: endpoint.path } : endpoint;
    this.#socket = openSocket(address, readBytes, (bytes) => this.#read(bytes));
    this.#socket.setTimeout(idleTimeoutMs, () => this.close());
    this.#socket.on('error', (error) => {
      this.#failure = messageOf(error);
    });
    this.#socket.on('close', () => this.#closed());
  }

  ask(exchange: Exchange): void {
    this.#exchange = exchange;
    this.#timer = setTimeout(() => this.#fail(`no answer within ${inspectTimeoutMs} ms`), inspectTimeoutMs);
    this.#socket.write(exchange.request, 'latin1');
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(bytes: Buffer): void {
    try {
      if (this.#exchange === undefined) throw new Error('answer to nothing that was asked');
      this.#reader.push(bytes);
    } catch (error) {
      this.#fail(messageOf(error));
    }
  }

  #fail(detail: string): void {
    this.#failure = detail;
    this.#isUsed = false;
    this.#socket.destroy();
  }

  #answered(response: Response): void {
    const exchange = this.#exchange;
    clearTimeout(this.#timer);
    this.#exchange = undefined;
    this.#isUsed = true;
    exchange?.settle(answerOf(response));
    if (!response.isKept) this.#socket.destroy();
    else if (!this.#socket.destroyed) this.#events.onIdle();
  }

  #closed(): void {
    this.#reader.end();
    const exchange = this.#exchange;
    this.#exchange = undefined;
    clearTimeout(this.#timer);
    const isUnheard = this.#isUsed && !this.#reader.isReading && exchange?.isRepeated === false;
    if (isUnheard) exchange.isRepeated = true;
    else exchange?.settle({ kind: 'failed', detail: this.#failure });
    this.#events.onClosed(isUnheard ? exchange : undefined);
  }
}

function hostHeader(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function answerOf({ status, body }: Response): InspectAnswer {
  if (status === 200) return { kind: 'document', body };
  if (status === 404 && isNoSuchContainer(body)) return { kind: 'absent' };
  return { kind: 'failed', detail: `status ${status}` };
}

/** A proxy that does not know the path answers 404 as well: only the engine's own word counts as absence. */
function isNoSuchContainer(body: string): boolean {
  return /no such container|no container with/i.test(body.slice(0, 1_000));
}
