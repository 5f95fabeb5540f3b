/**
 * Unary gRPC calls over an HTTP/2 connection of our own, lean.
 *
 * A commit is the one call made for every change of a container. Through etcd3 and grpc-js it costs
 * nearly three times the CPU that it costs here, and through node:http2 twice: layers for load
 * balancing, retries and interception, and a stream object with its queues and events for a request
 * of one piece and an answer of one piece. So this call alone has a client of its own, and etcd3 has
 * all others.
 */

import { GrpcConnection, GrpcError, unavailable } from '../net/http2/connection.ts';
import { encodeHeaders } from '../net/http2/hpack.ts';
import type { Address, TlsOptions } from '../net/socket.ts';

export class GrpcCaller {
  readonly #address: Address;
  readonly #origin: { readonly scheme: string; readonly authority: string };
  #connection: GrpcConnection | undefined;
  /** The headers of the last call: they change with the token only. */
  #headers: { readonly of: string; readonly block: Buffer } | undefined;

  /** `endpoint` is an URL of http or https. */
  constructor(endpoint: string, tls: TlsOptions | undefined) {
    const { hostname, port, protocol, host } = new URL(endpoint);
    const isSecure = protocol === 'https:';
    this.#origin = { scheme: isSecure ? 'https' : 'http', authority: host };
    this.#address = {
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port: Number(port) || (isSecure ? 443 : 80),
      tls: isSecure ? { ...tls, ALPNProtocols: ['h2'] } : undefined,
    };
  }

  /** Resolves with the response message. Rejects with a `GrpcError`, whatever went wrong. */
  call(path: string, message: Buffer, timeoutMs: number, token: string | undefined): Promise<Buffer> {
    if (!this.#connection?.isOpen) this.#connection = new GrpcConnection(this.#address);
    return this.#connection.call(this.#headersOf(path, timeoutMs, token), message, timeoutMs);
  }

  close(): void {
    this.#connection?.fail(new GrpcError(unavailable, 'closed'));
  }

  #headersOf(path: string, timeoutMs: number, token: string | undefined): Buffer {
    const of = `${path} ${timeoutMs} ${token}`;
    if (this.#headers?.of !== of) {
      const block = encodeHeaders([
        [':method', 'POST'],
        [':scheme', this.#origin.scheme],
        [':path', path],
        [':authority', this.#origin.authority],
        ['content-type', 'application/grpc'],
        ['te', 'trailers'],
        ['grpc-timeout', `${timeoutMs}m`],
        ...(token === undefined ? [] : [['token', token] as const]),
      ]);
      this.#headers = { of, block };
    }
    return this.#headers.block;
  }
}
