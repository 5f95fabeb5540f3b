/** Compression: what a reader unpacks is what was sent, as an answer and as a stream that has no end. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { constants, gunzipSync } from 'node:zlib';
import { WaitingBytes } from '../../src/http/answers.ts';
import { acceptsGzip, blockOf, gzipOf } from '../../src/http/gzip.ts';
import { HttpListener } from '../../src/http/server.ts';
import { Broadcast, eventOf, Stream } from '../../src/http/streams.ts';

/** All that a stream without an end has said so far. */
const unpacked = (bytes: Buffer): string => gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }).toString();

class Response extends EventEmitter {
  readonly headers = new Map<string, string>();
  readonly written: Buffer[] = [];
  closed = false;
  writableEnded = false;
  writableLength = 0;
  writableNeedDrain = false;
  setHeader(name: string, value: string): void {
    this.headers.set(name, value);
  }
  writeHead(): void {}
  write(bytes: Buffer): void {
    assert.ok(!this.writableEnded, 'written after the end');
    this.written.push(bytes);
  }
  end(): void {
    this.writableEnded = true;
    this.closed = true;
    this.emit('close');
  }
}

const open = (isGzip: boolean): { readonly response: Response; readonly stream: Stream } => {
  const response = new Response();
  return { response, stream: new Stream(response as unknown as ServerResponse, new WaitingBytes(), { isGzip }) };
};

test('gzip is sent to those that accept it, and to no others', () => {
  const accepts = (accepted?: string): boolean =>
    acceptsGzip({ headers: accepted === undefined ? {} : { 'accept-encoding': accepted } } as IncomingMessage);
  for (const accepted of ['gzip', 'gzip, deflate, br', 'br;q=1.0, GZIP ; q=0.5', 'deflate,gzip'])
    assert.ok(accepts(accepted), accepted);
  for (const accepted of [undefined, '', 'br', 'x-gzip', 'gzip;q=0', 'gzip; q=0.0, br', 'identity'])
    assert.ok(!accepts(accepted), accepted);
});

test('each reader of a stream unpacks what it was sent, in order, and a shared event is packed once', async () => {
  const [one, other, plain] = [open(true), open(true), open(false)];
  const broadcast = new Broadcast(() => () => {});
  // More than is packed at once: a thread does it, and what comes after it waits.
  const long = 'x'.repeat(200_000);
  one.stream.send('first', '1');
  for (const { stream } of [one, other, plain]) broadcast.add(stream);
  broadcast.sendText('many', JSON.stringify(long));
  broadcast.sendText('last', '{}');
  assert.ok(one.stream.waitingBytes > 0, 'what waits for the thread counts');
  while (one.stream.waitingBytes + other.stream.waitingBytes > 0) await new Promise(setImmediate);
  const events = `event: many\ndata: "${long}"\n\nevent: last\ndata: {}\n\n`;
  assert.equal(unpacked(Buffer.concat(one.response.written)), `retry: 1000\n\nevent: first\ndata: 1\n\n${events}`);
  assert.equal(unpacked(Buffer.concat(other.response.written)), `retry: 1000\n\n${events}`);
  assert.equal(Buffer.concat(plain.response.written).toString(), `retry: 1000\n\n${events}`);
  assert.equal(one.response.written.at(-1), other.response.written.at(-1));
  assert.equal(one.response.headers.get('Content-Encoding'), 'gzip');
  assert.ok(Buffer.concat(one.response.written).length < 2_000);
  for (const { stream } of [one, other, plain]) stream.end();
});

test('a stream that ends while its event is packed writes nothing more', async () => {
  const { stream, response } = open(true);
  const bytes = eventOf('many', JSON.stringify('x'.repeat(200_000)));
  stream.write(bytes);
  stream.end();
  await blockOf(bytes);
  await new Promise(setImmediate);
  assert.equal(response.written.length, 2);
});

test('an answer is packed where it is worth it, once for all readers, and the length is that of what is sent', async () => {
  const body = [Buffer.from('a'.repeat(100_000)), Buffer.from('b'.repeat(50_000))];
  const listener = await HttpListener.open({ host: '127.0.0.1', port: 0 });
  listener.serve([], ({ path }, response) =>
    listener.send(response, 'text/plain', path === '/small' ? [Buffer.from('ok')] : body),
  );
  const { port } = listener.address as AddressInfo;
  const get = (path: string, accepted: string): Promise<{ headers: http.IncomingHttpHeaders; bytes: Buffer }> =>
    new Promise((resolve, reject) => {
      http
        .get({ host: '127.0.0.1', port, path, agent: false, headers: { 'accept-encoding': accepted } }, (response) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('end', () => resolve({ headers: response.headers, bytes: Buffer.concat(parts) }));
        })
        .on('error', reject);
    });
  try {
    const [packed, again, plain, small] = await Promise.all([
      get('/', 'gzip'),
      get('/', 'gzip'),
      get('/', 'identity'),
      get('/small', 'gzip'),
    ]);
    assert.equal(gunzipSync(packed.bytes).toString(), Buffer.concat(body).toString());
    assert.deepEqual(
      [packed.headers['content-encoding'], packed.headers['content-length']],
      ['gzip', String(packed.bytes.length)],
    );
    assert.deepEqual(again.bytes, packed.bytes);
    assert.equal(gzipOf(body), gzipOf(body));
    assert.deepEqual([plain.headers['content-encoding'], plain.bytes.length], [undefined, 150_000]);
    assert.deepEqual([small.headers['content-encoding'], small.bytes.toString()], [undefined, 'ok']);
  } finally {
    await listener.close();
  }
});
