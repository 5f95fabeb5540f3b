/**
 * The client of unary HTTP/2 calls: a connection at a time, opened when a call needs it, with a time
 * limit for each call.
 *
 * The time limit settles the call by itself, independent of the connection, and ends the connection: a
 * server that hangs may hang for all streams of it. No call is tried twice here.
 */

import { messageOf } from '../../errors.ts';
import { type Address, openSocket, type TlsOptions } from '../socket.ts';
import { Connection } from './connection.ts';
import { encodeHeaders } from './hpack.ts';
import { type Answer, CallError, type RequestHead, type UnaryClient } from './port.ts';

/** An answer has some hundred bytes. */
const readBytes = 16 << 10;
/** The time for the peer to read the last frame, which says why the connection ends. */
const lingerMs = 1_000;

export class Http2Client implements UnaryClient {
  readonly #address: Address;
  readonly #scheme: string;
  readonly #authority: string;
  /** Open ones; all but the last take no more calls. */
  readonly #connections = new Set<Connection>();
  #connection: Connection | undefined;
  #encoded: { readonly head: RequestHead; readonly block: Buffer } | undefined;

  /** `endpoint` is an URL of http or https. */
  constructor(endpoint: string, tls?: TlsOptions) {
    const { hostname, port, protocol, host } = new URL(endpoint);
    const isSecure = protocol === 'https:';
    this.#scheme = isSecure ? 'https' : 'http';
    this.#authority = host;
    this.#address = {
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port: Number(port) || (isSecure ? 443 : 80),
      tls: isSecure ? { ...tls, ALPNProtocols: ['h2'] } : undefined,
    };
  }

  call(head: RequestHead, body: Buffer, timeoutMs: number): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (!this.#connection?.isOpen) this.#connection = this.#open();
      const connection = this.#connection;
      const timer = setTimeout(() => {
        reject(new CallError('timeout', `no answer within ${timeoutMs} ms`));
        connection.fail(new CallError('connection', 'connection ended because a call had no answer in time'));
      }, timeoutMs);
      connection.call(this.#blockOf(head), body, (error, answer) => {
        clearTimeout(timer);
        if (answer !== undefined) resolve(answer);
        else reject(error);
      });
    });
  }

  close(): void {
    for (const connection of this.#connections) connection.fail(new CallError('connection', 'client is closed'));
  }

  #open(): Connection {
    const socket = openSocket(this.#address, readBytes, (bytes) => connection.receive(bytes));
    const connection = new Connection({
      write: (bytes, onWritten) => socket.write(bytes, onWritten),
      end: (last) => {
        this.#connections.delete(connection);
        if (socket.connecting) {
          socket.destroy();
          return;
        }
        socket.end(last);
        socket.unref();
        setTimeout(() => socket.destroy(), lingerMs).unref();
      },
    });
    this.#connections.add(connection);
    let wasConnected = false;
    socket.on('connect', () => {
      wasConnected = true;
    });
    socket.on('error', (error) => connection.fail(new CallError('connection', messageOf(error), !wasConnected)));
    socket.on('close', () => connection.fail(new CallError('connection', 'connection closed')));
    return connection;
  }

  #blockOf(head: RequestHead): Buffer {
    if (this.#encoded?.head !== head) {
      const pseudo = [
        [':method', head.method],
        [':scheme', this.#scheme],
        [':path', head.path],
        [':authority', this.#authority],
      ] as const;
      this.#encoded = { head, block: encodeHeaders([...pseudo, ...head.fields]) };
    }
    return this.#encoded.block;
  }
}
