import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import http2, { type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { GrpcCaller, type GrpcError } from '../../src/etcd/commit-call.ts';

const path = '/etcdserverpb.KV/Txn';

/** A gRPC message with its prefix. */
function framed(message: Buffer): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

interface Server extends AsyncDisposable {
  readonly caller: GrpcCaller;
  readonly sessions: ServerHttp2Session[];
  call(message: Buffer, timeoutMs?: number, token?: string): Promise<Buffer>;
}

type Handler = (stream: ServerHttp2Stream, request: Buffer, headers: http2.IncomingHttpHeaders) => void;

async function serve(handler: Handler, options: http2.ServerOptions = {}): Promise<Server> {
  const sessions: ServerHttp2Session[] = [];
  const server = http2.createServer(options);
  server.on('session', (session) => sessions.push(session));
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => handler(stream, Buffer.concat(chunks), headers));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const caller = new GrpcCaller(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, undefined);
  return {
    caller,
    sessions,
    call: (message, timeoutMs = 5_000, token = undefined) => caller.call(path, message, timeoutMs, token),
    async [Symbol.asyncDispose]() {
      caller.close();
      for (const session of sessions) session.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Answers as a gRPC server does: headers, one message, trailers. */
function answer(
  stream: ServerHttp2Stream,
  message: Buffer,
  pieces = 1,
  trailers: object = { 'grpc-status': '0' },
): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers as http2.OutgoingHttpHeaders));
  const all = framed(message);
  const size = Math.ceil(all.length / pieces);
  for (let at = 0; at < all.length; at += size) stream.write(all.subarray(at, at + size));
  stream.end();
}

const echo: Handler = (stream, request) => answer(stream, request.subarray(5));
const fails = (code: number, message: RegExp) => (error: GrpcError) =>
  error.code === code && message.test(error.message);

describe('a unary call, to a server of node:http2', () => {
  test('is a POST of one message, with a deadline and the token', async () => {
    let seen: http2.IncomingHttpHeaders = {};
    await using server = await serve((stream, request, headers) => {
      seen = headers;
      echo(stream, request, headers);
    });
    assert.equal((await server.call(Buffer.from('hello'), 1_234, 'tök')).toString(), 'hello');
    const { ':method': method, ':path': asked, ':scheme': scheme, 'content-type': type, te } = seen;
    assert.deepEqual([method, asked, scheme, type, te], ['POST', path, 'http', 'application/grpc', 'trailers']);
    assert.deepEqual([seen['grpc-timeout'], seen.token], ['1234m', 'tök']);
    assert.equal(seen[':authority'], `127.0.0.1:${server.sessions[0]?.socket.localPort}`);
  });

  test('goes over one connection, one after the other and at the same time', async () => {
    await using server = await serve(echo);
    for (let turn = 0; turn < 50; turn++) {
      const messages = Array.from({ length: turn % 5 }, (_, index) => Buffer.from(`${turn} ${index}`));
      assert.deepEqual(await Promise.all(messages.map((message) => server.call(message))), messages);
    }
    assert.equal(server.sessions.length, 1);
  });

  test('takes no more than the windows of the server let through, and all of it in the end', async () => {
    // 64 KiB of window and 16 KiB of frame are the defaults of HTTP/2; etcd takes 1.5 MiB.
    const settings = [{}, { initialWindowSize: 10_000 }, { initialWindowSize: 1 << 20, maxFrameSize: 1 << 20 }];
    for (const of of settings) {
      await using server = await serve((stream, request) => answer(stream, Buffer.from(String(request.length - 5))), {
        settings: of,
      });
      const sizes = [0, 1, 16_379, 16_380, 65_530, 65_531, 1_500_000];
      const answers = await Promise.all(sizes.map((size) => server.call(Buffer.alloc(size, 'x'))));
      assert.deepEqual(answers.map(String), sizes.map(String));
    }
  });

  test('gives the server room for more than one window of answers', async () => {
    await using server = await serve((stream) => answer(stream, Buffer.alloc(500_000)));
    for (let turn = 0; turn < 20; turn++) assert.equal((await server.call(Buffer.from('x'))).length, 500_000);
  });

  test('is read from frames that are cut, joined and padded', async () => {
    const paddingStrategy = http2.constants.PADDING_STRATEGY_MAX;
    await using server = await serve((stream, request) => answer(stream, request.subarray(5), 100), {
      paddingStrategy,
    });
    const message = Buffer.from(Array.from({ length: 20_000 }, (_, index) => index & 0xff));
    const answers = await Promise.all(Array.from({ length: 5 }, () => server.call(message)));
    for (const echoed of answers) assert.ok(echoed.equals(message));
  });

  test('is read byte by byte', async () => {
    await using server = await serve(echo);
    const upstream = new URL(`http://127.0.0.1:${await portOf(server)}`);
    await using slow = await relay(
      (toClient) => async (bytes) => {
        for (const byte of bytes) {
          toClient.write(Buffer.from([byte]));
          await sleep(0);
        }
      },
      Number(upstream.port),
    );
    const caller = new GrpcCaller(`http://127.0.0.1:${slow.port}`, undefined);
    assert.equal((await caller.call(path, Buffer.from('hello'), 5_000, undefined)).toString(), 'hello');
    caller.close();
  });

  test('tells of a refusal by its code and its text', async () => {
    const printable = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).join('');
    const refusals: [code: number, sent: string, text: string][] = [
      [8, 'etcdserver: mvcc: database space exceeded', 'etcdserver: mvcc: database space exceeded'],
      [16, encodeURIComponent('not äuthorized'), 'not äuthorized'],
      [2, printable.replace('%', ''), printable.replace('%', '')],
      [3, '100% wrong', '100% wrong'],
      [5, `${'x'.repeat(40_000)}`, 'x'.repeat(40_000)],
    ];
    for (const [code, sent, text] of refusals) {
      const headers = {
        ':status': 200,
        'content-type': 'application/grpc',
        'grpc-status': String(code),
        'grpc-message': sent,
      };
      // At once, as a server does that has not begun to answer, and after a beginning.
      for (const handler of [
        (stream: ServerHttp2Stream) => stream.respond(headers, { endStream: true }),
        (stream: ServerHttp2Stream) =>
          answer(stream, Buffer.alloc(0), 1, { 'grpc-status': String(code), 'grpc-message': sent }),
      ]) {
        await using server = await serve(handler, { maxSendHeaderBlockLength: 1 << 20 });
        await assert.rejects(server.call(Buffer.from('x')), (error: GrpcError) => {
          assert.deepEqual([error.code, error.message], [code, text]);
          return true;
        });
      }
    }
  });

  test('has no answer where there is no whole message', async () => {
    const handlers: Handler[] = [
      (stream) => stream.respond({ ':status': 503 }, { endStream: true }),
      (stream) => stream.respond({ ':status': 200, 'grpc-status': '0' }, { endStream: true }),
      (stream) => {
        stream.respond({ ':status': 200 }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
        stream.end(framed(Buffer.from('hello')).subarray(0, 8));
      },
      (stream) => {
        stream.respond({ ':status': 200 });
        stream.end(framed(Buffer.from('hello')));
      },
      (stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
    ];
    for (const handler of handlers) {
      await using server = await serve(handler);
      await assert.rejects(server.call(Buffer.from('x')), fails(14, /./));
    }
  });

  test('has no answer where the connection ends, and the next goes over a new one', async () => {
    let turn = 0;
    await using server = await serve((stream, request, headers) => {
      if (++turn === 1) stream.session?.destroy();
      else echo(stream, request, headers);
    });
    await assert.rejects(server.call(Buffer.from('x')), fails(14, /closed|reset|hang up/));
    assert.equal((await server.call(Buffer.from('y'))).toString(), 'y');
    assert.equal(server.sessions.length, 2);
  });

  test('that is under way is still answered by a server that takes no more', async () => {
    const held: (() => void)[] = [];
    await using server = await serve((stream, request, headers) => {
      if (server.sessions.length > 1) echo(stream, request, headers);
      else held.push(() => echo(stream, request, headers));
    });
    const first = server.call(Buffer.from('first'));
    while (held.length === 0) await sleep(5);
    server.sessions[0]?.goaway(0, 1);
    await sleep(50);
    assert.equal((await server.call(Buffer.from('second'))).toString(), 'second');
    assert.equal(server.sessions.length, 2);
    held[0]?.();
    assert.equal((await first).toString(), 'first');
  });

  test('that a server will not take any more has no answer', async () => {
    let turn = 0;
    await using server = await serve((stream, request, headers) => {
      if (++turn === 1) echo(stream, request, headers);
      else stream.session?.goaway(0, 1);
    });
    await server.call(Buffer.from('x'));
    await assert.rejects(server.call(Buffer.from('y')), fails(14, /going away/));
  });

  test('is given up at its deadline, with the connection', async () => {
    await using server = await serve((stream, request, headers) => {
      if (request.subarray(5).toString() !== 'x') echo(stream, request, headers);
    });
    // On a busy machine the connection alone would take longer than the deadline.
    assert.equal((await server.call(Buffer.from('y'))).toString(), 'y');
    await assert.rejects(server.call(Buffer.from('x'), 50), fails(4, /no answer within 50 ms/));
    assert.equal((await server.call(Buffer.from('y'))).toString(), 'y');
    assert.equal(server.sessions.length, 2);
  });

  test('answers a ping', async () => {
    await using server = await serve(echo);
    await server.call(Buffer.from('x'));
    const echoed = await new Promise<Buffer>((resolve, reject) => {
      server.sessions[0]?.ping(Buffer.from('12345678'), (error, _, payload) =>
        error ? reject(error) : resolve(payload),
      );
    });
    assert.equal(echoed.toString(), '12345678');
  });

  test('answers a ping later than the calls that follow it, since each such answer brings another ping', async () => {
    await using server = await serve(echo);
    await server.call(Buffer.from('x'));
    const order: string[] = [];
    const ponged = new Promise<void>((resolve) => {
      server.sessions[0]?.ping(Buffer.from('12345678'), () => resolve(void order.push('pong')));
    });
    // The ping has come before the answer to the first, so the second could take its answer along.
    for (const call of ['first', 'second']) order.push((await server.call(Buffer.from(call))).toString());
    await ponged;
    assert.deepEqual(order, ['first', 'second', 'pong']);
  });

  test('passes over what it does not know', async () => {
    await using server = await serve((stream, request, headers) => {
      stream.additionalHeaders({ ':status': 103, link: '<x>' });
      server.sessions[0]?.altsvc('h2=":8000"', 'https://example.org');
      echo(stream, request, headers);
    });
    assert.equal((await server.call(Buffer.from('x'))).toString(), 'x');
  });

  test('is refused by a server of HTTP/1.1, and where nobody listens', async () => {
    const server = http.createServer((_, response) => response.end('hello'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const caller = new GrpcCaller(`http://127.0.0.1:${port}`, undefined);
    await assert.rejects(caller.call(path, Buffer.from('x'), 5_000, undefined), fails(14, /not HTTP\/2|closed/));
    server.close();
    await once(server, 'close');
    await assert.rejects(caller.call(path, Buffer.from('x'), 5_000, undefined), fails(14, /ECONNREFUSED/));
    caller.close();
  });
});

async function portOf(server: Server): Promise<number> {
  await server.call(Buffer.from('x'));
  return server.sessions[0]?.socket.localPort ?? 0;
}

/** A relay to `port`, with a way of its own to hand on what the server says. */
async function relay(
  toClient: (client: net.Socket) => (bytes: Buffer) => Promise<void>,
  port: number,
): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets: net.Socket[] = [];
  const server = net.createServer((client) => {
    const upstream = net.connect(port, '127.0.0.1');
    sockets.push(
      client.on('error', () => {}),
      upstream.on('error', () => {}),
    );
    client.setNoDelay(true).pipe(upstream);
    const send = toClient(client);
    let last = Promise.resolve();
    upstream.on('data', (bytes: Buffer) => {
      last = last.then(() => send(bytes));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
