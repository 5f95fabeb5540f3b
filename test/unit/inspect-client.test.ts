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

const serve = (answer: RequestListener) => listen(http.createServer(answer));

describe('the inspect client, before a server of node:http', () => {
  test('asks for the full id in the negotiated version, and keeps its connection', async () => {
    const asked: unknown[] = [];
    await using engine = await serve((request, response) => {
      asked.push([request.method, request.url, request.headers]);
      response.end('{}');
    });
    for (let turn = 0; turn < 3; turn++) {
      assert.deepEqual(await engine.client.inspect('/v1.41', id('a')), { kind: 'document', body: '{}' });
    }
    assert.deepEqual(asked, Array(3).fill(['GET', `/v1.41/containers/${id('a')}/json`, { host: 'docker' }]));
    assert.equal(engine.connections.length, 1);
  });

  test('reads a document of many chunks and megabytes as it is', async () => {
    const text = JSON.stringify({ labels: 'äöü'.repeat(1_000_000) });
    await using engine = await serve((_, response) => {
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; at += 100_001) response.write(bytes.subarray(at, at + 100_001));
      response.end();
    });
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'document', body: text });
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
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'failed', detail: 'status 404' });
  });

  test('has at most 32 connections, and asks the rest when one is free', async () => {
    const held: (() => void)[] = [];
    await using engine = await serve((_, response) => void held.push(() => response.end('{}')));
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
    await using engine = await serve((_, response) => {
      response.end('{}');
    });
    await engine.client.inspect('', id('a'));
    // Closed, but the client has not been told when it asks.
    const asking = engine.client.inspect('', id('b'));
    engine.connections[0]?.destroy();
    assert.deepEqual(await asking, { kind: 'document', body: '{}' });
    assert.equal(engine.connections.length, 2);
  });

  test('follows an answer that ends the connection with a new one', async () => {
    await using engine = await serve((_, response) => void response.setHeader('connection', 'close').end('{}'));
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
      else response.end('{}');
    });
    assert.equal((await engine.client.inspect('', id('a'))).kind, 'failed', 'no answer on a new connection');
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'failed', detail: 'connection closed' });
    assert.deepEqual(await engine.client.inspect('', id('a')), { kind: 'failed', detail: 'answer is not HTTP/1.1' });
    assert.equal((await engine.client.inspect('', id('a'))).kind, 'document');
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
      response.end('{}');
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
