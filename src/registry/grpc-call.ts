/**
 * A unary gRPC call over an HTTP/2 session of our own, lean.
 *
 * A commit is the one call made for every change of a container. Through etcd3 and grpc-js it costs
 * about twice the CPU that it costs here, mostly in layers for load balancing, retries and
 * interception of which there are none; so this call alone has a client of its own, and etcd3 has
 * all others. The protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */

import {
  type ClientHttp2Session,
  connect,
  constants,
  type IncomingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';

/** What the server said no with: a status of gRPC and its text. */
export class GrpcError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = 'GrpcError';
    this.code = code;
  }
}

const deadlineExceeded = 4;
const unavailable = 14;
const headerBytes = 5;

export class GrpcCaller {
  readonly #endpoint: string;
  readonly #options: SecureClientSessionOptions;
  #session: ClientHttp2Session | undefined;

  constructor(endpoint: string, tls: { ca?: Buffer; cert?: Buffer; key?: Buffer } | undefined) {
    this.#endpoint = endpoint;
    this.#options = { ...tls };
  }

  /** Resolves with the response message. Rejects with a `GrpcError`, whatever went wrong. */
  call(path: string, message: Buffer, timeoutMs: number, token: string | undefined): Promise<Buffer> {
    const session = this.#open();
    return new Promise((resolve, reject) => {
      const stream = session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
        'grpc-timeout': `${timeoutMs}m`,
        ...(token !== undefined && { token }),
      });
      const timer = setTimeout(() => {
        fail(new GrpcError(deadlineExceeded, 'no answer in time'));
        // A server that hangs may hang for all streams of the connection.
        this.#drop(session);
      }, timeoutMs);
      const fail = (error: Error) => {
        clearTimeout(timer);
        reject(error);
        stream.close(constants.NGHTTP2_CANCEL);
      };
      const chunks: Buffer[] = [];
      let status: IncomingHttpHeaders = {};
      stream.on('response', (headers) => {
        status = headers;
      });
      stream.on('trailers', (headers) => {
        status = headers;
      });
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('error', (error) => fail(new GrpcError(unavailable, error.message)));
      stream.on('close', () => {
        clearTimeout(timer);
        const body = Buffer.concat(chunks);
        const code = Number(status['grpc-status'] ?? unavailable);
        if (code === 0 && body.length >= headerBytes) resolve(body.subarray(headerBytes));
        else
          reject(new GrpcError(code, decodeURIComponentSafely(String(status['grpc-message'] ?? 'connection closed'))));
      });
      const header = Buffer.alloc(headerBytes);
      header.writeUInt32BE(message.length, 1);
      stream.end(Buffer.concat([header, message]));
    });
  }

  close(): void {
    if (this.#session !== undefined) this.#drop(this.#session);
  }

  #open(): ClientHttp2Session {
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed) return this.#session;
    const session = connect(this.#endpoint, this.#options);
    // Its streams report what happened; without a listener it would be thrown.
    session.on('error', () => {});
    session.on('goaway', () => this.#drop(session));
    this.#session = session;
    return session;
  }

  #drop(session: ClientHttp2Session): void {
    if (this.#session === session) this.#session = undefined;
    session.destroy();
  }
}

function decodeURIComponentSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
