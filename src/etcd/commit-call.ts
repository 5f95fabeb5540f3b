/**
 * Unary gRPC calls over the HTTP/2 client of `net/`: the head of a request, the prefix of a message,
 * the status of an answer.
 *
 * A commit is the one call that is made for every change of a container, and the only call of this file;
 * etcd3 makes all others. `net/README.md` gives the savings.
 *
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */

import { Http2Client } from '../net/http2/client.ts';
import { type Answer, CallError, type RequestHead, type UnaryClient } from '../net/http2/port.ts';
import type { TlsOptions } from '../net/socket.ts';

/** A refusal by the server: a status of gRPC and its text. Without an answer it is 4 or 14. */
export class GrpcError extends Error {
  readonly code: number;

  constructor(code: number, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'GrpcError';
    this.code = code;
  }
}

const deadlineExceeded = 4;
const unavailable = 14;
/** One byte for the compression of the message, four bytes for its length. */
const prefixBytes = 5;

export class GrpcCaller {
  readonly #client: UnaryClient;
  /** The head of the last call: it changes with the token only. */
  #last: { readonly key: string; readonly head: RequestHead } | undefined;

  /** `endpoint` is an URL of http or https. */
  constructor(endpoint: string, tls: TlsOptions | undefined, client: UnaryClient = new Http2Client(endpoint, tls)) {
    this.#client = client;
  }

  /** Resolves with the response message. Rejects with a `GrpcError` only. */
  async call(path: string, message: Buffer, timeoutMs: number, token: string | undefined): Promise<Buffer> {
    const body = Buffer.allocUnsafe(prefixBytes + message.length);
    body[0] = 0;
    body.writeUInt32BE(message.length, 1);
    message.copy(body, prefixBytes);
    try {
      return messageOf(await this.#client.call(this.#headOf(path, timeoutMs, token), body, timeoutMs));
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      const code = error.failure === 'timeout' ? deadlineExceeded : unavailable;
      throw new GrpcError(code, error.message, { cause: error });
    }
  }

  close(): void {
    this.#client.close();
  }

  #headOf(path: string, timeoutMs: number, token: string | undefined): RequestHead {
    const key = `${path} ${timeoutMs} ${token}`;
    if (this.#last?.key !== key) {
      const fields = [
        ['content-type', 'application/grpc'],
        ['te', 'trailers'],
        ['grpc-timeout', `${timeoutMs}m`],
        ...(token === undefined ? [] : [['token', token] as const]),
      ] as const;
      this.#last = { key, head: { method: 'POST', path, fields } };
    }
    return this.#last.head;
  }
}

/** The message of an answer. Throws its status if that is not 0. */
function messageOf({ body, headers, status, trailers }: Answer): Buffer {
  // A server that has begun no answer says its status in the headers, and ends with them.
  const code = Number(trailers.get('grpc-status') ?? headers.get('grpc-status') ?? unavailable);
  if (code !== 0) {
    const text = trailers.get('grpc-message') ?? headers.get('grpc-message');
    throw new GrpcError(code, text === undefined ? `no status of gRPC, and of HTTP ${status}` : decoded(text));
  }
  const isWhole = body.length >= prefixBytes && body.readUInt32BE(1) === body.length - prefixBytes;
  if (!isWhole || body[0] !== 0) throw new GrpcError(unavailable, 'answer is not one whole message');
  return body.subarray(prefixBytes);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
