/**
 * The port of unary HTTP/2 calls on `node:http2`: the oracle of the differential test and the rival in the benchmark.
 *
 * It does what `Http2Client` promises in as few lines as can be, so it is also the way back: with it in
 * place of ours the agent works the same and uses more CPU.
 */
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import { type Answer, CallError, type RequestHead, type UnaryClient } from '../../src/net/http2/port.ts';
import type { TlsOptions } from '../../src/net/socket.ts';

const bodyBytesMax = 1 << 20;
const connectionWindowBytes = 1 << 30;
const lingerMs = 1_000;

export class NodeHttp2Client implements UnaryClient {
  readonly #endpoint: string;
  readonly #options: http2.ClientSessionOptions & http2.SecureClientSessionOptions;
  readonly #sessions = new Set<ClientHttp2Session>();
  #session: ClientHttp2Session | undefined;
  #encoded: { readonly head: RequestHead; readonly headers: http2.OutgoingHttpHeaders } | undefined;

  constructor(endpoint: string, tls?: TlsOptions) {
    this.#endpoint = endpoint;
    this.#options = { ...tls, settings: { enablePush: false, initialWindowSize: bodyBytesMax } };
  }

  call(head: RequestHead, body: Buffer, timeoutMs: number): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#session === undefined || this.#session.closed || this.#session.destroyed) this.#session = this.#open();
      const session = this.#session;
      let timer: NodeJS.Timeout | undefined;
      const settle = (error: CallError | undefined, answer?: Answer): void => {
        clearTimeout(timer);
        if (answer !== undefined) resolve(answer);
        else reject(error);
      };
      timer = setTimeout(() => {
        settle(new CallError('timeout', `no answer within ${timeoutMs} ms`));
        session.destroy();
      }, timeoutMs);
      try {
        const stream = session.request(this.#headersOf(head));
        readAnswer(stream, settle);
        stream.end(body);
      } catch (error) {
        settle(new CallError('connection', (error as Error).message, true));
      }
    });
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
  }

  #open(): ClientHttp2Session {
    const session = http2.connect(this.#endpoint, this.#options);
    this.#sessions.add(session);
    // The streams have the error as well.
    session.on('error', () => {});
    session.on('close', () => this.#sessions.delete(session));
    session.on('connect', () => {
      if (!session.destroyed) session.setLocalWindowSize(connectionWindowBytes);
    });
    session.on('goaway', () => {
      session.close();
      setTimeout(() => session.destroy(), 20 * lingerMs).unref();
    });
    return session;
  }

  #headersOf(head: RequestHead): http2.OutgoingHttpHeaders {
    if (this.#encoded?.head !== head) {
      const headers = { ':method': head.method, ':path': head.path, ...Object.fromEntries(head.fields) };
      this.#encoded = { head, headers };
    }
    return this.#encoded.headers;
  }
}

function readAnswer(stream: ClientHttp2Stream, settle: (error: CallError | undefined, answer?: Answer) => void): void {
  const body: Buffer[] = [];
  let bodyBytes = 0;
  let headers: IncomingHttpHeaders | undefined;
  let trailers: IncomingHttpHeaders | undefined;
  stream.on('response', (fields) => {
    headers = fields;
  });
  stream.on('trailers', (fields) => {
    trailers = fields;
  });
  stream.on('data', (chunk: Buffer) => {
    bodyBytes += chunk.length;
    if (bodyBytes <= bodyBytesMax) body.push(chunk);
    else stream.close(http2.constants.NGHTTP2_CANCEL);
  });
  stream.on('error', () => {});
  stream.on('close', () => {
    const code = stream.rstCode;
    // Reset with NO_ERROR or CANCEL, a stream of Node ends like a whole one. The status of gRPC tells them apart: it comes
    // last, in the trailers or, without a body, in the headers.
    const isWhole = (trailers ?? headers)?.['grpc-status'] !== undefined && bodyBytes <= bodyBytesMax;
    if (isWhole && (code === http2.constants.NGHTTP2_NO_ERROR || code === http2.constants.NGHTTP2_CANCEL)) {
      const status = Number(headers?.[':status']);
      settle(undefined, { status, headers: mapOf(headers), trailers: mapOf(trailers), body: Buffer.concat(body) });
    } else {
      settle(
        new CallError('reset', `stream closed with code ${code}`, code === http2.constants.NGHTTP2_REFUSED_STREAM),
      );
    }
  });
}

function mapOf(headers: IncomingHttpHeaders | undefined): Map<string, string> {
  const entries = Object.entries(headers ?? {}).filter(([name]) => !name.startsWith(':'));
  return new Map(entries.map(([name, value]) => [name, Array.isArray(value) ? (value.at(-1) ?? '') : String(value)]));
}
