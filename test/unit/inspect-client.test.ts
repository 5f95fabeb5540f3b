import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import http, { type RequestListener } from 'node:http';
import net, { type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import type { ContainerId } from '../../src/container/container.ts';
import { InspectClient } from '../../src/docker/inspect-client.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'discover-inspect-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const id = (digit: string) => digit.repeat(64) as ContainerId;
let sockets = 0;

interface Engine extends AsyncDisposable {
  readonly client: InspectClient;
  readonly connections: Socket[];
}

async function listen(server: net.Server): Promise<Engine> {
  const connections: Socket[] = [];
  server.on('connection', (socket: Socket) => connections.push(socket.on('error', () => {})));
  const socketPath = path.join(folder, `${++sockets}.sock`);
  server.listen(socketPath);
  await once(server, 'listening');
  const client = new InspectClient({ kind: 'socket', path: socketPath });
  return {
    client,
    connections,
    async [Symbol.asyncDispose]() {
      await client.close();
      for (const socket of connections) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** What an engine says of the container that is asked for. */
const about = (request: http.IncomingMessage) => JSON.stringify({ Id: request.url?.split('/').at(-2) });
const serve = (answer: RequestListener) => listen(http.createServer(answer));

describe('the inspect client, before a server of node:http', () => {
  test('asks for the full id in the negotiated version, and keeps its connection', async () => {
    const asked: unknown[] = [];
    await using engine = await serve((request, response) => {
      asked.push([request.method, request.url, request.headers]);
      response.end(about(request));
    });
    for (let turn = 0; turn < 3; turn++) {
      assert.deepEqual(await engine.client.inspect('/v1.41', id('a')), { kind: 'document', document: { Id: id('a') } });
    }
    assert.deepEqual(asked, Array(3).fill(['GET', `/v1.41/containers/${id('a')}/json`, { host: 'docker' }]));
    assert.equal(engine.connections.length, 1);
  });

  test('reads a document of many chunks and megabytes as it is', async () => {
    const document = { Id: id('a'), labels: 'äöü'.repeat(1_000_000) };
    const text = JSON.stringify(document);
    await using engine = await serve((_, response) => {
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; at += 100_001) response.write(bytes.subarray(at, at + 100_001));
      response.end();
    });
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'document', document });
  });

  test('takes for absence only what the engine itself says of a container', async () => {
    const answers = [
      '{"message":"No such container: x"}',
      '{"message":"no container with name or ID"}',
      'page not found',
    ];
    await using engine = await serve((_, response) => void response.writeHead(404).end(answers.shift()));
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'absent' });
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'absent' });
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'failed', detail: 'status 404', status: 404 });
  });

  test('has at most 32 connections, and asks the rest when one is free', async () => {
    const held: (() => void)[] = [];
    await using engine = await serve((request, response) => void held.push(() => response.end(about(request))));
    const answers = Array.from({ length: 40 }, () => engine.client.inspect('', id('a')));
    while (held.length < 32) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(engine.connections.length, 32);
    for (let index = 0; index < 40; index++) {
      while (held[index] === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
      held[index]?.();
    }
    assert.deepEqual(new Set((await Promise.all(answers)).map(({ kind }) => kind)), new Set(['document']));
    assert.equal(engine.connections.length, 32);
  });

  test('asks again where the engine had closed the connection that it kept', async () => {
    await using engine = await serve((request, response) => {
      response.end(about(request));
    });
    await engine.client.inspect('', id('a'));
    // Closed, but the client has not been told when it asks.
    const asking = engine.client.inspect('', id('b'));
    engine.connections[0]?.destroy();
    assert.deepEqual(await asking, { kind: 'document', document: { Id: id('b') } });
    assert.equal(engine.connections.length, 2);
  });

  test('follows an answer that ends the connection with a new one', async () => {
    await using engine = await serve(
      (request, response) => void response.setHeader('connection', 'close').end(about(request)),
    );
    for (let turn = 0; turn < 3; turn++) assert.equal((await engine.client.inspect('', id('a'))).kind, 'document');
    assert.equal(engine.connections.length, 3);
  });

  test('says what went wrong, and goes on', async () => {
    let turn = 0;
    await using engine = await serve((request, response) => {
      turn++;
      if (turn === 1) request.socket.destroy();
      else if (turn === 2)
        response.writeHead(200, { 'content-length': 100 }).write('{"a":', () => request.socket.destroy());
      else if (turn === 3) request.socket.end('nonsense\r\n\r\n');
      else response.end(about(request));
    });
    assert.equal((await engine.client.inspect('', id('a'))).kind, 'failed', 'no answer on a new connection');
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'failed', detail: 'connection closed' });
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'failed', detail: 'answer is not HTTP/1.1' });
    assert.equal((await engine.client.inspect('', id('a'))).kind, 'document');
  });

  test('never takes what is said of one container for another, where each response is said twice', async () => {
    /** A proxy that says a response twice: at once, in a piece of its own, or after a moment. */
    const seconds: Record<string, (socket: Socket, response: string) => void> = {
      'at once': (socket, response) => void socket.write(response + response),
      'in a piece of its own': (socket, response) => void socket.write(response, () => socket.write(response)),
      'after a moment': (socket, response) => {
        socket.write(response);
        setImmediate(() => socket.write(response));
      },
    };
    for (const [when, say] of Object.entries(seconds)) {
      await using engine = await listen(
        net.createServer((socket) => {
          socket.on('data', (request) => {
            const asked = /containers\/(\w+)\/json/.exec(String(request))?.[1];
            const body = JSON.stringify({ Id: asked });
            say(socket, `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
          });
        }),
      );
      for (let turn = 0; turn < 40; turn++) {
        const ids = ['a', 'b', 'c', 'd'].map(id);
        const answers = await Promise.all(ids.map((one) => engine.client.inspect('', one)));
        for (const [at, answer] of answers.entries()) {
          if (answer.kind === 'document') assert.deepEqual(answer.document, { Id: ids[at] }, when);
          else assert.equal(answer.kind, 'failed', when);
        }
      }
    }
  });

  test('closes a connection on which an answer was about another container', async () => {
    // The answer before it, said again when the next is asked for.
    let before = '';
    await using engine = await serve((request, response) => {
      const own = about(request);
      response.end(before === '' ? own : before);
      before = before === '' ? own : '';
    });
    assert.equal((await engine.client.inspect('', id('a'))).kind, 'document');
    const detail = 'inspect answer is about another container, or about none';
    assert.deepEqual(await engine.client.inspect('', id('b')), { kind: 'failed', detail });
    assert.deepEqual(await engine.client.inspect('', id('b')), { kind: 'document', document: { Id: id('b') } });
    assert.equal(engine.connections.length, 2);
  });

  test('takes no document that is none, or that does not say whose it is', async () => {
    const bodies = ['', 'null', '[]', '7', '{}', `{"Id":"${'a'.repeat(63)}"}`, '{"Id":7}', '{"Id":'];
    await using engine = await serve((_, response) => void response.end(bodies.shift()));
    while (bodies.length > 0) assert.equal((await engine.client.inspect('', id('a'))).kind, 'failed', bodies[0]);
  });

  test('gives up on an engine that takes the request and says nothing', async () => {
    await using engine = await listen(net.createServer());
    const answer = await engine.client.inspect('', id('a'));
    assert.deepEqual(answer, { kind: 'failed', detail: 'no answer within 5000 ms' });
  });

  test('says so where nobody listens', async () => {
    const client = new InspectClient({ kind: 'socket', path: path.join(folder, 'nobody.sock') });
    const answers = await Promise.all(Array.from({ length: 40 }, () => client.inspect('', id('a'))));
    for (const answer of answers) assert.match((answer as { detail: string }).detail, /ENOENT/);
    await client.close();
  });

  test('names the host in a request over TCP', async () => {
    let host: string | undefined;
    const server = http.createServer((request, response) => {
      host = request.headers.host;
      response.end(about(request));
    });
    server.listen(0, '::1');
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    const client = new InspectClient({ kind: 'tcp', host: '::1', port });
    assert.equal((await client.inspect('', id('a'))).kind, 'document');
    assert.equal(host, `[::1]:${port}`);
    await client.close();
    server.close();
  });
});
