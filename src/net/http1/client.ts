/**
 * GET over kept-alive connections of HTTP/1.1, a request at a time on each.
 *
 * Each request has a time limit. It is sent again, once, if an idle connection turns out to have been closed
 * before the other side began to answer. A connection ends as soon as its responses may no longer match its
 * requests: after bytes without a request, or after a response that `read` rejects as not for its request. On
 * such a connection every later response would be for another request.
 */

import type { Socket } from 'node:net';
import { messageOf } from '../../errors.ts';
import { type Address, openSocket } from '../socket.ts';
import { type Response, ResponseReader } from './response.ts';

export interface Http1Options {
  readonly address: Address;
  /** The Host field. */
  readonly host: string;
  readonly timeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly connectionsMax: number;
  readonly bodyBytesMax: number;
  /** Room for an ordinary response as a whole; a larger one comes in pieces. */
  readonly readBytes: number;
}

interface Exchange {
  readonly request: string;
  /** Takes the response. Throws if it is not for this request. */
  readonly answered: (response: Response) => void;
  readonly failed: (detail: string) => void;
  /** Sent again once already. */
  isRepeated: boolean;
}

export class Http1Client {
  readonly #options: Http1Options;
  readonly #connections = new Set<Connection>();
  /** The connection that was used last is used next, so that the others can time out. */
  readonly #idle: Connection[] = [];
  readonly #waiting: Exchange[] = [];

  constructor(options: Http1Options) {
    this.#options = options;
  }

  /** `path` is sent as it is. `read` makes the result of the response, and throws if it is not for this request. */
  get<Result>(path: string, read: (response: Response) => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#send({
        request: `GET ${path} HTTP/1.1\r\nHost: ${this.#options.host}\r\n\r\n`,
        answered: (response) => resolve(read(response)),
        failed: (detail) => reject(new Error(detail)),
        isRepeated: false,
      });
    });
  }

  close(): void {
    for (const exchange of this.#waiting.splice(0)) exchange.failed('closed');
    for (const connection of this.#connections) connection.close();
  }

  #send(exchange: Exchange): void {
    const idle = this.#idle.pop();
    if (idle !== undefined) idle.ask(exchange);
    else if (this.#connections.size < this.#options.connectionsMax) this.#open().ask(exchange);
    else this.#waiting.push(exchange);
  }

  #open(): Connection {
    const connection = new Connection(this.#options, {
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
        const next = this.#connections.size < this.#options.connectionsMax ? this.#waiting.shift() : undefined;
        if (next !== undefined) this.#send(next);
      },
    });
    this.#connections.add(connection);
    return connection;
  }
}

interface ConnectionEvents {
  readonly onIdle: () => void;
  /** Called with the request that the other side had not begun to answer, if it may be sent again. */
  readonly onClosed: (unheard: Exchange | undefined) => void;
}

class Connection {
  readonly #timeoutMs: number;
  readonly #socket: Socket;
  readonly #reader: ResponseReader;
  readonly #events: ConnectionEvents;
  #exchange: Exchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isUsed = false;
  #isFailed = false;
  #failure = 'connection closed';

  constructor({ address, bodyBytesMax, idleTimeoutMs, readBytes, timeoutMs }: Http1Options, events: ConnectionEvents) {
    this.#timeoutMs = timeoutMs;
    this.#events = events;
    this.#reader = new ResponseReader(bodyBytesMax);
    this.#socket = openSocket(address, readBytes, (bytes) => this.#read(bytes));
    this.#socket.setTimeout(idleTimeoutMs, () => this.close());
    this.#socket.on('error', (error) => {
      this.#failure = messageOf(error);
    });
    this.#socket.on('close', () => this.#closed());
  }

  ask(exchange: Exchange): void {
    this.#exchange = exchange;
    this.#timer = setTimeout(() => this.#fail(`no answer within ${this.#timeoutMs} ms`), this.#timeoutMs);
    this.#socket.write(exchange.request, 'latin1');
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(bytes: Buffer): void {
    // More can come between the end of a connection and its close.
    if (this.#isFailed || this.#socket.destroyed) return;
    try {
      if (this.#exchange === undefined) throw new Error('answer to nothing that was asked');
      const response = this.#reader.push(bytes);
      if (response !== undefined) this.#answered(response);
    } catch (error) {
      this.#fail(messageOf(error));
    }
  }

  /** Ends the connection and its request; a request with a wrong answer is not sent again. */
  #fail(detail: string): void {
    this.#failure = detail;
    this.#isFailed = true;
    this.#socket.destroy();
  }

  #answered(response: Response): void {
    this.#exchange?.answered(response);
    clearTimeout(this.#timer);
    this.#exchange = undefined;
    this.#isUsed = true;
    if (response.isKept) this.#events.onIdle();
    else this.#socket.destroy();
  }

  #closed(): void {
    clearTimeout(this.#timer);
    const last = this.#isFailed ? undefined : this.#reader.end();
    if (last !== undefined) this.#answeredByEnd(last);
    const exchange = this.#exchange;
    this.#exchange = undefined;
    const isUnheard = this.#isUsed && !this.#isFailed && !this.#reader.isReading && exchange?.isRepeated === false;
    if (isUnheard) exchange.isRepeated = true;
    else exchange?.failed(this.#failure);
    this.#events.onClosed(isUnheard ? exchange : undefined);
  }

  #answeredByEnd(response: Response): void {
    try {
      this.#exchange?.answered(response);
      this.#exchange = undefined;
    } catch (error) {
      this.#isFailed = true;
      this.#failure = messageOf(error);
    }
  }
}
