/** Streams of server-sent events, over a response that is written to and never read. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { WaitingBytes } from '../../src/http/answers.ts';
import { Broadcast, Stream } from '../../src/http/streams.ts';

class Response extends EventEmitter {
  text = '';
  isDestroyed = false;
  closed = false;
  writableLength = 0;
  writableNeedDrain = false;
  writeHead(): void {}
  write(text: string | Buffer): void {
    this.text += text;
    this.writableLength += text.length;
  }
  destroy(): void {
    this.isDestroyed = true;
    this.end();
  }
  end(): void {
    this.closed = true;
    this.emit('close');
  }
}

function open(waiting = new WaitingBytes()): { response: Response; stream: Stream } {
  const response = new Response();
  return { response, stream: new Stream(response as unknown as ServerResponse, waiting) };
}

test('an event is its name and one line of JSON', () => {
  const { response, stream } = open();
  stream.send('status', '{"a":1}');
  assert.ok(response.text.endsWith('event: status\ndata: {"a":1}\n\n'));
  stream.end();
});

test('a reader who does not read is let go of, before what waits for it grows without bound', () => {
  const { response, stream } = open();
  const megabyte = 'x'.repeat(1 << 20);
  for (let sent = 0; sent < 100 && !response.isDestroyed; sent++) stream.send('status', megabyte);
  assert.ok(response.isDestroyed && stream.signal.aborted);
  assert.ok(response.writableLength < 20 << 20, `${response.writableLength} bytes wait`);
});

test('what several follow begins with the first and ends with the last', () => {
  const said: string[] = [];
  const broadcast = new Broadcast(() => {
    said.push('begin');
    return () => void said.push('end');
  });
  const [one, other] = [open(), open()];
  broadcast.add(one.stream);
  broadcast.add(other.stream);
  broadcast.send('n', { a: 1 });
  for (const { response } of [one, other]) assert.ok(response.text.endsWith('event: n\ndata: {"a":1}\n\n'));
  one.stream.end();
  assert.deepEqual(said, ['begin']);
  other.stream.end();
  assert.deepEqual(said, ['begin', 'end']);
  const again = open();
  broadcast.add(again.stream);
  assert.deepEqual(said, ['begin', 'end', 'begin']);
  again.stream.end();
});

test('a stream whose reader has left before the first event is over, and nobody follows for it', () => {
  const response = new Response();
  response.end();
  const stream = new Stream(response as unknown as ServerResponse, new WaitingBytes());
  assert.ok(stream.signal.aborted, 'it goes on');
  const said: string[] = [];
  const broadcast = new Broadcast(() => {
    said.push('begin');
    return () => void said.push('end');
  });
  broadcast.add(stream);
  assert.deepEqual(said, []);
});

test('while too much waits in all, a stream with much to read ends, one with little goes on', () => {
  const waiting = new WaitingBytes();
  const others = Array.from({ length: 8 }, () => open(waiting));
  const megabyte = 'x'.repeat(1 << 20);
  for (const { stream } of others) for (let sent = 0; sent < 12; sent++) stream.send('status', megabyte);
  assert.ok(waiting.total <= (64 << 20) + (32 << 20), `${waiting.total} bytes wait`);
  assert.ok(
    others.some(({ stream }) => stream.signal.aborted),
    'all of them stayed',
  );
  const last = open(waiting);
  last.stream.send('status', '{}');
  assert.ok(!last.stream.signal.aborted, 'a reader with nothing to read was disconnected');
  for (const { response } of [...others, last]) if (!response.closed) response.end();
});
