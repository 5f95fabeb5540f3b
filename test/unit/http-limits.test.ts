/**
 * The limits of the HTTP endpoint, at a listener of its own whose handler is the test's: what a client reaches costs that
 * client. Bounds are numbers of bytes, connections and calls, never of time; what was measured is printed.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { type Body, listBody, SharedAnswers, WaitingBytes, waitingBytesMax } from '../../src/http/answers.ts';
import { connectionsMax } from '../../src/http/connections.ts';
import { type Handler, HttpListener } from '../../src/http/server.ts';
import { wantedOf } from '../../src/http/targets.ts';
import { eventually } from '../helpers/eventually.ts';

async function serving(
  answer: (listener: HttpListener, ...asked: Parameters<Handler>) => Promise<void>,
): Promise<{ readonly listener: HttpListener; readonly port: number } & AsyncDisposable> {
  const listener = await HttpListener.open({ host: '127.0.0.1', port: 0 });
  listener.serve([], (...asked) => answer(listener, ...asked));
  const { port } = listener.address as AddressInfo;
  return { listener, port, [Symbol.asyncDispose]: () => listener.close() };
}

function get(port: number, url: string, method = 'GET'): Promise<{ status: number; length: string; body: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request({ agent: false, port, host: '127.0.0.1', path: url, method }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, length: String(response.headers['content-length']), body }),
      );
    });
    request.on('error', reject).end();
  });
}

const connected = async (port: number): Promise<net.Socket> => {
  const socket = net.connect(port, '127.0.0.1').on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
};

const isOver = (socket: net.Socket): boolean => socket.destroyed || socket.readyState === 'closed';

const big: Body = [Buffer.alloc(5_500_000, 'x')];
const small: Body = [Buffer.from('ok\n')];

describe('the listener', () => {
  test('answers one request of a connection at a time, in order, and closes one that pipelines too many', async () => {
    let inAnswer = 0;
    let inAnswerMax = 0;
    let begun = 0;
    await using server = await serving(async (listener, { path: url }, response) => {
      begun++;
      inAnswerMax = Math.max(inAnswerMax, ++inAnswer);
      await listener.send(response, 'text/plain', [Buffer.from(`<${url}>`)]);
      inAnswer--;
    });
    const socket = await connected(server.port);
    let said = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    socket.write(
      Array.from({ length: 10 }, (_, index) => `GET /${index} HTTP/1.1\r\nHost: localhost\r\n\r\n`).join(''),
    );
    await eventually(() =>
      assert.equal([...said.matchAll(/<\/\d>/g)].join(''), '</0></1></2></3></4></5></6></7></8></9>'),
    );
    assert.deepEqual([inAnswerMax, begun], [1, 10]);
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(1_000));
    await eventually(() => assert.ok(isOver(socket), 'it goes on'));
    assert.ok(begun < 100, `${begun} answers were begun`);
  });

  test('keeps a bounded number of bytes for 60 clients that pipeline and read nothing, and the health check passes', async () => {
    let begun = 0;
    // More than may wait in all, so that some are refused.
    const bodies = Array.from({ length: 15 }, (): Body => [Buffer.from(big[0] as Buffer)]);
    await using server = await serving(async (listener, { path: url }, response) => {
      if (url === '/healthz') return listener.send(response, 'text/plain', small);
      return listener.send(response, 'text/plain', bodies[begun++ % bodies.length] as Body);
    });
    const before = process.memoryUsage().rss;
    const clients = await Promise.all(Array.from({ length: 60 }, () => connected(server.port)));
    for (const client of clients) {
      client.pause();
      client.write('GET /sd HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(10));
    }
    await eventually(() => assert.ok(begun >= 60, `${begun} begun`));
    const askedAt = performance.now();
    assert.equal((await get(server.port, '/healthz')).status, 200);
    const tookMs = performance.now() - askedAt;
    const { total } = server.listener.waiting;
    console.log(
      `# 60 unread pipelines: ${begun} answers begun, ${total >> 20} MiB wait, rss grew ${(process.memoryUsage().rss - before) >> 20} MiB, health check ${Math.round(tookMs)} ms`,
    );
    assert.ok(total <= waitingBytesMax + (60 << 16), `${total} bytes wait`);
    for (const client of clients) client.destroy();
    await eventually(() => assert.equal(server.listener.waiting.total, 0));
  });

  test('closes the longest idle connection above the limit, and lets a health check through', async () => {
    await using server = await serving((listener, _request, response) => listener.send(response, 'text/plain', small));
    const idle: net.Socket[] = [];
    for (let count = 0; count < connectionsMax; count++) idle.push(await connected(server.port));
    await eventually(() => assert.equal(server.listener.connections.size, connectionsMax));
    for (let turn = 0; turn < 5; turn++) assert.equal((await get(server.port, '/healthz')).status, 200);
    await eventually(() => assert.ok(isOver(idle[0] as net.Socket), 'the longest idle one stays'));
    assert.ok(!isOver(idle.at(-1) as net.Socket), 'the newest one was closed');
    for (const socket of idle) socket.destroy();
  });

  test('lets a health check through while every connection waits for a reader', async () => {
    await using server = await serving((listener, { path: url }, response) =>
      listener.send(response, 'text/plain', url === '/healthz' ? small : big),
    );
    const unread = await Promise.all(Array.from({ length: connectionsMax }, () => connected(server.port)));
    for (const socket of unread) {
      socket.pause();
      socket.write('GET /sd HTTP/1.1\r\nHost: localhost\r\n\r\n');
    }
    await eventually(() => assert.equal(server.listener.connections.size, connectionsMax));
    assert.equal((await get(server.port, '/healthz')).status, 200);
    for (const socket of unread) socket.destroy();
  });

  test('answers HEAD as GET, without the body', async () => {
    await using server = await serving((listener, _request, response) => listener.send(response, 'text/plain', small));
    assert.deepEqual(await get(server.port, '/healthz', 'HEAD'), { status: 200, length: '3', body: '' });
    assert.equal((await get(server.port, '/healthz', 'POST')).status, 405);
  });

  test('refuses none of the readers that all come at once, as after its restart', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-backlog-'));
    const socket = path.join(directory, 'sock');
    const listener = await HttpListener.open({ path: socket }, { connectionsMax: 2_000 });
    try {
      // All of them are there before the first is accepted, because this process accepts them.
      const readers = Array.from({ length: 1_000 }, () => net.connect(socket));
      await Promise.all(readers.map((reader) => once(reader, 'connect')));
      for (const reader of readers) reader.destroy();
    } finally {
      await listener.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('keeps requests until somebody answers, and changes who does without a gap', async () => {
    const listener = await HttpListener.open({ host: '127.0.0.1', port: 0 });
    const { port } = listener.address as AddressInfo;
    const say =
      (text: string): Handler =>
      (_request, response) =>
        listener.send(response, 'text/plain', [Buffer.from(text)]);
    const early = get(port, '/');
    await eventually(() => assert.equal(listener.connections.size, 1));
    listener.serve([], say('first'));
    assert.equal((await early).body, 'first');
    listener.serve([], say('second'));
    assert.equal((await get(port, '/')).body, 'second');
    await listener.close();
  });

  test('never removes anything but a socket, and names the option where it cannot listen', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-listen-'));
    try {
      const file = path.join(directory, 'config.json');
      writeFileSync(file, '{}');
      const folder = path.join(directory, 'folder');
      mkdirSync(folder);
      for (const [where, reason] of [
        [file, 'a file that is not a socket is there'],
        [folder, 'a directory is there'],
        [path.join(file, 'below'), 'ENOTDIR|ENOENT|EACCES'],
        [path.join(directory, 'none', 'sock'), 'ENOENT|EACCES'],
      ] as const) {
        await assert.rejects(HttpListener.open({ path: where }), {
          code: 'LISTEN_FAILED',
          message: new RegExp(`^http\\.listen: cannot listen at .*(?:${reason})`),
        });
      }
      assert.equal(readFileSync(file, 'utf8'), '{}');
      assert.ok(statSync(folder).isDirectory());
      // The socket of a process that is gone is in nobody's use.
      const socket = path.join(directory, 'http.sock');
      const first = await HttpListener.open({ path: socket });
      await assert.rejects(HttpListener.open({ path: socket }), { code: 'LISTEN_FAILED' });
      await first.close();
      await (await HttpListener.open({ path: socket })).close();
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

describe('answers', () => {
  test('a list of targets is the same answer however its query is written', () => {
    const wanted = (query: string): string => JSON.stringify(wantedOf(new URLSearchParams(query)));
    for (const query of ['x=1', 'x=2&y=3', 'services=web']) assert.equal(wanted(query), wanted(''));
    assert.equal(wanted('realm=blue&service=web&x=1'), wanted('service=web&realm=blue'));
    for (const field of ['service', 'realm', 'host', 'protocol']) assert.notEqual(wanted(`${field}=x`), wanted(''));
  });

  test('a list is JSON whatever its size, leaves items out, and lets the event loop turn between steps', async () => {
    for (const size of [0, 1, 249, 250, 251, 2_000]) {
      let turns = 0;
      const timer = setInterval(() => turns++, 0);
      const numbers = Array.from({ length: size }, (_, index) => index);
      const body = await listBody('{"list":', numbers, (n) => (n % 3 === 0 ? undefined : { n }), ',"a":1}');
      clearInterval(timer);
      const { list, a } = JSON.parse(Buffer.concat(body).toString()) as { list: { n: number }[]; a: number };
      assert.deepEqual([list.map(({ n }) => n), a], [numbers.filter((n) => n % 3 > 0), 1]);
    }
  });

  test('a big answer is made once for all who ask meanwhile, a failed one is forgotten', async () => {
    const answers = new SharedAnswers();
    let made = 0;
    const make = async (): Promise<Body> => {
      made++;
      return big;
    };
    const all = await Promise.all(Array.from({ length: 20 }, () => answers.get('sd', make)));
    assert.ok(
      all.every((body) => body === big),
      'others were given',
    );
    await answers.get('sd', make);
    assert.equal(made, 1);
    await assert.rejects(answers.get('other', () => Promise.reject(new Error('no etcd'))));
    assert.equal(await answers.get('other', async () => small), small);
  });

  test('waiting bytes: one body of several readers counts once, and beyond the limit only a small one passes', () => {
    const waiting = new WaitingBytes();
    for (let reader = 0; reader < 60; reader++) assert.ok(waiting.hold(big), 'a shared body was refused');
    assert.equal(waiting.total, 5_500_000);
    let held = 1;
    while (waiting.hold([Buffer.alloc(5_500_000)])) held++;
    assert.equal(held, Math.floor(waitingBytesMax / 5_500_000));
    assert.ok(waiting.hold(small), 'a small one was refused');
    for (let reader = 0; reader < 60; reader++) waiting.release(big);
    assert.ok(waiting.hold([Buffer.alloc(5_500_000)]), 'nothing was given back');
  });
});
