/**
 * The rules of RFC 9113 that a client meets, one row each, against a server of raw frames.
 *
 * A row says what the server sends in place of an answer, or before one, and what must become of the
 * call, of its stream and of its connection. After each row the next call must be answered: on the
 * same connection where that goes on, on a new one where it had to end.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Http2Client } from '../../src/net/http2/client.ts';
import type { CallError, CallFailure, RequestHead } from '../../src/net/http2/port.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  ack,
  answer,
  block,
  end,
  endHeaders,
  frame,
  greeting,
  ok,
  type Peer,
  padded,
  prioritized,
  settings,
  startFrameServer,
  trailers,
  type,
  uint32,
} from '../helpers/frame-server.ts';

const head: RequestHead = { method: 'POST', path: '/x', fields: [['te', 'trailers']] };
const code = { protocol: 1, flowControl: 3, closed: 5, size: 6, refused: 7, cancel: 8, compression: 9, calm: 11 };

/** What must become of it: the answer `ok`; a failure of this stream alone; a failure that ends the connection with a code. */
type Expected =
  | 'answered'
  | { readonly stream: CallFailure; readonly resetBy?: number; readonly isUnprocessed?: boolean }
  | { readonly connection: number; readonly failure?: CallFailure };

/** What the server sends once it has the request on stream `id`, and what must become of that. */
type Rule = readonly [rule: string, send: (id: number) => Buffer | readonly Buffer[], expected: Expected];

const answered: Expected = 'answered';
const malformed: Expected = { stream: 'malformed', resetBy: code.protocol };
const ends = (connection: number): Expected => ({ connection });

const headers = (id: number, fields: readonly (readonly [string, string])[], flags = endHeaders) =>
  frame(type.headers, flags, id, block(fields));
const okHeaders = (id: number) => frame(type.headers, endHeaders, id, ok);
const status = [':status', '200'] as const;
const long = (size: number) => Buffer.alloc(size, 'x');
const pad = (payload: Buffer | string, size: number) =>
  Buffer.concat([Buffer.from([size]), Buffer.from(payload), Buffer.alloc(size)]);
/** An answer with this block of headers. */
const withHeaders =
  (...fields: (readonly [string, string])[]) =>
  (id: number) => [headers(id, [status, ...fields]), frame(type.data, end, id, 'ok')];
const withTrailers =
  (...fields: (readonly [string, string])[]) =>
  (id: number) => [okHeaders(id), frame(type.data, 0, id, 'ok'), headers(id, fields, endHeaders | end)];

const rules: Record<string, readonly Rule[]> = {
  'frames (4)': [
    ['an ordinary answer', (id) => answer(id), answered],
    [
      'a frame of unknown type is passed over',
      (id) => [frame(0xbe, 0xff, id, 'x'), frame(0x21, 0, 0), answer(id)],
      answered,
    ],
    [
      'flags without a meaning are passed over',
      (id) => [frame(type.headers, endHeaders | 0xd2, id, ok), frame(type.data, 0xf6 | end, id, 'ok')],
      answered,
    ],
    [
      'the reserved bit of a stream id is passed over',
      (id) => [frame(type.headers, endHeaders, id + 2 ** 31, ok), frame(type.data, end, id + 2 ** 31, 'ok')],
      answered,
    ],
    [
      'a frame as large as allowed',
      (id) => [okHeaders(id), frame(0x99, 0, id, long(16_384)), frame(type.data, end, id, 'ok')],
      answered,
    ],
    ['a frame larger than allowed', (id) => frame(type.data, 0, id, long(16_385)), ends(code.size)],
    ['a frame of unknown type larger than allowed', (id) => frame(0x99, 0, id, long(16_385)), ends(code.size)],
  ],
  'header blocks (4.3)': [
    [
      'a block in three frames',
      (id) => [
        frame(type.headers, 0, id, ok.subarray(0, 3)),
        frame(type.continuation, 0, id, ok.subarray(3, 7)),
        frame(type.continuation, endHeaders, id, ok.subarray(7)),
        frame(type.data, end, id, 'ok'),
      ],
      answered,
    ],
    [
      'a block with empty frames',
      (id) => [
        frame(type.headers, 0, id),
        frame(type.continuation, 0, id),
        frame(type.continuation, endHeaders, id, ok),
        frame(type.data, end, id, 'ok'),
      ],
      answered,
    ],
    [
      'the end of the stream on the first frame of a block',
      (id) => [
        okHeaders(id),
        frame(type.data, 0, id, 'ok'),
        frame(type.headers, end, id, trailers.subarray(0, 4)),
        frame(type.continuation, endHeaders, id, trailers.subarray(4)),
      ],
      answered,
    ],
    [
      'another frame within a block',
      (id) => [frame(type.headers, 0, id, ok.subarray(0, 3)), frame(type.ping, 0, 0, long(8))],
      ends(code.protocol),
    ],
    [
      'an unknown frame within a block',
      (id) => [frame(type.headers, 0, id, ok.subarray(0, 3)), frame(0xbe, 0, 0)],
      ends(code.protocol),
    ],
    [
      'a block that goes on on another stream',
      (id) => [
        frame(type.headers, 0, id, ok.subarray(0, 3)),
        frame(type.continuation, endHeaders, id + 2, ok.subarray(3)),
      ],
      ends(code.protocol),
    ],
    [
      'a new block within a block',
      (id) => [frame(type.headers, 0, id, ok.subarray(0, 3)), okHeaders(id)],
      ends(code.protocol),
    ],
    ['CONTINUATION without a block', (id) => frame(type.continuation, endHeaders, id, ok), ends(code.protocol)],
    [
      'CONTINUATION behind a whole block',
      (id) => [okHeaders(id), frame(type.continuation, endHeaders, id, trailers)],
      ends(code.protocol),
    ],
    [
      'a block that is none',
      (id) => frame(type.headers, endHeaders, id, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
      ends(code.compression),
    ],
    [
      'a block that names an entry that is not there',
      (id) => frame(type.headers, endHeaders, id, Buffer.from([0x80 | 70])),
      ends(code.compression),
    ],
    [
      'a table larger than allowed',
      (id) => frame(type.headers, endHeaders, id, Buffer.concat([Buffer.from('3fe21f', 'hex'), ok])),
      ends(code.compression),
    ],
    [
      'a table of the allowed size',
      (id) => [
        frame(type.headers, endHeaders, id, Buffer.concat([Buffer.from('3fe11f', 'hex'), ok])),
        frame(type.data, end, id, 'ok'),
      ],
      answered,
    ],
    [
      'a block that uses the table of an earlier one',
      (id) => [
        frame(type.headers, endHeaders, id, Buffer.concat([ok, block([['a', 'b']], true)])),
        frame(type.data, 0, id, 'ok'),
        frame(type.headers, endHeaders | end, id, Buffer.from([0x80 | 62])),
      ],
      answered,
    ],
    [
      'a block without an end',
      (id) => [
        frame(type.headers, 0, id),
        ...Array.from({ length: 5 }, () => frame(type.continuation, 0, id, long(16_384))),
      ],
      ends(code.calm),
    ],
    [
      'a block of empty frames without an end',
      (id) => [
        frame(type.headers, 0, id),
        Buffer.concat(Array.from({ length: 25_000 }, () => frame(type.continuation, 0, id))),
      ],
      ends(code.calm),
    ],
    [
      'a list of headers larger than allowed, in a small block',
      (id) =>
        frame(
          type.headers,
          endHeaders,
          id,
          Buffer.concat([ok, block([['a', 'b'.repeat(4_000)]], true), Buffer.alloc(20, 0x80 | 62)]),
        ),
      ends(code.compression),
    ],
  ],
  'DATA (6.1)': [
    ['padding', (id) => [okHeaders(id), frame(type.data, padded | end, id, pad('ok', 255))], answered],
    ['padding of nothing', (id) => [okHeaders(id), frame(type.data, padded | end, id, pad('ok', 0))], answered],
    [
      'padding alone',
      (id) => [okHeaders(id), frame(type.data, padded, id, pad('', 7)), frame(type.data, end, id, 'ok')],
      answered,
    ],
    [
      'padding as large as the payload',
      (id) => [okHeaders(id), frame(type.data, padded | end, id, Buffer.from([3, 0, 0]))],
      ends(code.protocol),
    ],
    ['padding without its length', (id) => [okHeaders(id), frame(type.data, padded | end, id)], ends(code.size)],
    ['stream 0', (id) => [okHeaders(id), frame(type.data, 0, 0, 'ok')], ends(code.protocol)],
    ['a stream that was never opened', (id) => frame(type.data, 0, id + 2, 'ok'), ends(code.protocol)],
    ['a stream of the server', () => frame(type.data, 0, 2, 'ok'), ends(code.protocol)],
    ['before the headers', (id) => frame(type.data, 0, id, 'ok'), malformed],
    [
      'behind an interim answer',
      (id) => [headers(id, [[':status', '103']]), frame(type.data, end, id, 'ok')],
      malformed,
    ],
    [
      'in many pieces, empty ones among them',
      (id) => [
        okHeaders(id),
        frame(type.data, 0, id),
        frame(type.data, 0, id, 'o'),
        frame(type.data, 0, id),
        frame(type.data, 0, id, 'k'),
        frame(type.data, end, id),
      ],
      answered,
    ],
    [
      'empty ones without end',
      (id) => [okHeaders(id), Buffer.concat(Array.from({ length: 25_000 }, () => frame(type.data, 0, id)))],
      ends(code.calm),
    ],
    [
      'an answer larger than allowed',
      (id) => [okHeaders(id), ...Array.from({ length: 65 }, () => frame(type.data, 0, id, long(16_384)))],
      malformed,
    ],
  ],
  'HEADERS (6.2)': [
    [
      'padding and priority',
      (id) => [
        frame(
          type.headers,
          endHeaders | padded | prioritized,
          id,
          pad(Buffer.concat([uint32(0x8000_0003), Buffer.from([9]), ok]), 100),
        ),
        frame(type.data, end, id, 'ok'),
      ],
      answered,
    ],
    [
      'padding as large as the payload',
      (id) => frame(type.headers, endHeaders | padded, id, Buffer.from([9, 0x88])),
      ends(code.protocol),
    ],
    ['padding without its length', (id) => frame(type.headers, endHeaders | padded, id), ends(code.size)],
    [
      'priority without room',
      (id) => frame(type.headers, endHeaders | prioritized, id, Buffer.from([0, 0, 0, 0])),
      ends(code.size),
    ],
    ['stream 0', () => frame(type.headers, endHeaders, 0, ok), ends(code.protocol)],
    ['a stream that was never opened', (id) => okHeaders(id + 2), ends(code.protocol)],
    ['a stream of the server', () => okHeaders(2), ends(code.protocol)],
  ],
  'PRIORITY (6.3)': [
    [
      'of any stream is passed over',
      (id) => [
        frame(type.priority, 0, id, long(5)),
        frame(type.priority, 0, 1001, long(5)),
        frame(type.priority, 0, 2, long(5)),
        answer(id),
      ],
      answered,
    ],
    ['of another length', (id) => frame(type.priority, 0, id, long(4)), ends(code.size)],
    ['stream 0', () => frame(type.priority, 0, 0, long(5)), ends(code.protocol)],
  ],
  'RST_STREAM (6.4)': [
    ['ends the call', (id) => frame(type.reset, 0, id, uint32(2)), { stream: 'reset' }],
    ['of a code that is not known', (id) => frame(type.reset, 0, id, uint32(0xffff_ffff)), { stream: 'reset' }],
    [
      'without an error, before the answer is complete',
      (id) => [okHeaders(id), frame(type.reset, 0, id, uint32(0))],
      { stream: 'reset' },
    ],
    [
      'by a server that has done nothing',
      (id) => frame(type.reset, 0, id, uint32(code.refused)),
      { stream: 'reset', isUnprocessed: true },
    ],
    ['behind the answer', (id) => [answer(id), frame(type.reset, 0, id, uint32(0))], answered],
    ['of one byte', (id) => frame(type.reset, 0, id, 'x'), ends(code.size)],
    ['of no byte', (id) => frame(type.reset, 0, id), ends(code.size)],
    ['of five bytes', (id) => frame(type.reset, 0, id, long(5)), ends(code.size)],
    ['stream 0', () => frame(type.reset, 0, 0, uint32(2)), ends(code.protocol)],
    ['a stream that was never opened', (id) => frame(type.reset, 0, id + 2, uint32(2)), ends(code.protocol)],
  ],
  'SETTINGS (6.5)': [
    [
      'unknown ones, and one twice',
      (id) => [
        frame(type.settings, 0, 0, settings({ 99: 7, 3: 5, 6: 100 })),
        frame(type.settings, 0, 0, settings({ 3: 9 })),
        answer(id),
      ],
      answered,
    ],
    ['none', (id) => [frame(type.settings, 0, 0), answer(id)], answered],
    ['a reply with a payload', () => frame(type.settings, ack, 0, settings({ 3: 1 })), ends(code.size)],
    ['on a stream', (id) => frame(type.settings, 0, id), ends(code.protocol)],
    ['cut short', () => frame(type.settings, 0, 0, long(7)), ends(code.size)],
    ['pushes off', (id) => [frame(type.settings, 0, 0, settings({ 2: 0 })), answer(id)], answered],
    ['pushes on', () => frame(type.settings, 0, 0, settings({ 2: 1 })), ends(code.protocol)],
    ['pushes 2', () => frame(type.settings, 0, 0, settings({ 2: 2 })), ends(code.protocol)],
    [
      'a window of the largest size',
      (id) => [frame(type.settings, 0, 0, settings({ 4: 2 ** 31 - 1 })), answer(id)],
      answered,
    ],
    ['a window above that', () => frame(type.settings, 0, 0, settings({ 4: 2 ** 31 })), ends(code.flowControl)],
    [
      'frames of the smallest and of the largest size',
      (id) => [
        frame(type.settings, 0, 0, settings({ 5: 16_384 })),
        frame(type.settings, 0, 0, settings({ 5: 2 ** 24 - 1 })),
        answer(id),
      ],
      answered,
    ],
    ['frames below that', () => frame(type.settings, 0, 0, settings({ 5: 16_383 })), ends(code.protocol)],
    ['frames above that', () => frame(type.settings, 0, 0, settings({ 5: 2 ** 24 })), ends(code.protocol)],
    [
      'without end',
      () => Buffer.concat(Array.from({ length: 25_000 }, () => frame(type.settings, 0, 0))),
      ends(code.calm),
    ],
  ],
  'PUSH_PROMISE (6.6)': [
    ['is refused', (id) => frame(type.push, endHeaders, id, Buffer.concat([uint32(2), ok])), ends(code.protocol)],
  ],
  'PING (6.7)': [
    ['before an answer', (id) => [frame(type.ping, 0, 0, long(8)), answer(id)], answered],
    ['a reply to nothing', (id) => [frame(type.ping, ack, 0, long(8)), answer(id)], answered],
    ['of another length', () => frame(type.ping, 0, 0, long(7)), ends(code.size)],
    ['on a stream', (id) => frame(type.ping, 0, id, long(8)), ends(code.protocol)],
    [
      '150,000 of them',
      () => Buffer.concat(Array.from({ length: 150_000 }, () => frame(type.ping, 0, 0, long(8)))),
      ends(code.calm),
    ],
  ],
  'GOAWAY (6.8)': [
    ['on a stream', (id) => frame(type.goAway, 0, id, uint32(id, 0)), ends(code.protocol)],
    ['cut short', () => frame(type.goAway, 0, 0, long(7)), ends(code.size)],
    [
      'that takes back an earlier one',
      (id) => [frame(type.goAway, 0, 0, uint32(id, 0)), frame(type.goAway, 0, 0, uint32(id + 2, 0))],
      ends(code.protocol),
    ],
  ],
  'WINDOW_UPDATE (6.9)': [
    [
      'of the stream and of the connection',
      (id) => [frame(type.windowUpdate, 0, id, uint32(1)), frame(type.settings, 0, 0), answer(id)],
      answered,
    ],
    ['of a stream that is over', (id) => [answer(id), frame(type.windowUpdate, 0, id, uint32(1))], answered],
    ['by 0', () => frame(type.windowUpdate, 0, 0, uint32(0)), ends(code.protocol)],
    ['by 0 on a stream', (id) => frame(type.windowUpdate, 0, id, uint32(0x8000_0000)), ends(code.protocol)],
    ['of another length', () => frame(type.windowUpdate, 0, 0, long(3)), ends(code.size)],
    ['above the limit', () => frame(type.windowUpdate, 0, 0, uint32(2 ** 31 - 1)), ends(code.flowControl)],
    [
      'above the limit on a stream',
      (id) => frame(type.windowUpdate, 0, id, uint32(2 ** 31 - 1)),
      ends(code.flowControl),
    ],
    ['of a stream that was never opened', (id) => frame(type.windowUpdate, 0, id + 2, uint32(1)), ends(code.protocol)],
    ['of a stream of the server', () => frame(type.windowUpdate, 0, 2, uint32(1)), ends(code.protocol)],
  ],
  'states of a stream (5.1)': [
    [
      'DATA behind the end',
      (id) => [okHeaders(id), frame(type.data, end, id, 'ok'), frame(type.data, 0, id, 'more')],
      ends(code.closed),
    ],
    ['HEADERS behind the end', (id) => [answer(id), okHeaders(id)], ends(code.closed)],
    [
      'DATA behind a reset',
      (id) => [frame(type.reset, 0, id, uint32(2)), frame(type.data, 0, id, 'more')],
      { connection: code.closed, failure: 'reset' },
    ],
    [
      'frames on a stream that this side has reset',
      (id) => [
        frame(type.data, 0, id, 'early'),
        okHeaders(id),
        frame(type.data, 0, id, 'late'),
        frame(type.windowUpdate, 0, id, uint32(9)),
        frame(type.reset, 0, id, uint32(1)),
      ],
      malformed,
    ],
    [
      'a table filled on a stream that this side has reset',
      (id) => [
        frame(type.data, 0, id, 'early'),
        frame(type.headers, endHeaders, id, block([['a', 'b']], true)),
        frame(type.headers, endHeaders | end, id, Buffer.from([0x80 | 62])),
      ],
      malformed,
    ],
  ],
  'an answer (8.1, 8.2, 8.3)': [
    ['headers alone', (id) => headers(id, [status, ['x', 'ok']], endHeaders | end), answered],
    ['without trailers', withHeaders(), answered],
    [
      'behind interim ones',
      (id) => [
        headers(id, [[':status', '100']]),
        headers(id, [
          [':status', '103'],
          ['link', '<x>'],
        ]),
        answer(id),
      ],
      answered,
    ],
    [
      'interim ones without end',
      (id) => Buffer.concat(Array.from({ length: 25_000 }, () => headers(id, [[':status', '103']]))),
      ends(code.calm),
    ],
    ['an interim one that ends the stream', (id) => headers(id, [[':status', '103']], endHeaders | end), malformed],
    ['status 101', (id) => headers(id, [[':status', '101']]), malformed],
    ['no status', (id) => headers(id, [['a', 'b']]), malformed],
    ['no field at all', (id) => frame(type.headers, endHeaders, id), malformed],
    ['a status that is none', (id) => headers(id, [[':status', '2000']]), malformed],
    ['two statuses', withHeaders(status), malformed],
    ['a status behind another field', (id) => headers(id, [['a', 'b'], status]), malformed],
    ['a pseudo-header of requests', withHeaders([':path', '/']), malformed],
    ['a name in upper case', withHeaders(['Date', 'x']), malformed],
    ['a name with a space', withHeaders(['a b', 'x']), malformed],
    ['a name with a colon', withHeaders(['a:b', 'x']), malformed],
    ['an empty name', withHeaders(['', 'x']), malformed],
    ['an empty value', withHeaders(['a', '']), answered],
    ['a value of bytes above ASCII', withHeaders(['a', '\u00e4\u00ff']), answered],
    ['a value with a line break', withHeaders(['a', 'x\ny']), malformed],
    ['a value with a carriage return', withHeaders(['a', 'x\ry']), malformed],
    ['a value with a NUL', withHeaders(['a', 'x\0y']), malformed],
    ['a value that begins with a space', withHeaders(['a', ' x']), malformed],
    ['a value that ends with a tab', withHeaders(['a', 'x\t']), malformed],
    ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'].map(
      (name): Rule => [`a field about the connection: ${name}`, withHeaders([name, 'x']), malformed],
    ),
    ['a content-length that is right', withHeaders(['content-length', '2']), answered],
    ['a content-length that is wrong', withHeaders(['content-length', '3']), malformed],
    ['a content-length that is no number', withHeaders(['content-length', '2x']), malformed],
    [
      'trailers that do not end it',
      (id) => [okHeaders(id), frame(type.data, 0, id, 'ok'), headers(id, [['a', 'b']])],
      malformed,
    ],
    ['trailers with a status', withTrailers(status), malformed],
    ['trailers with a name in upper case', withTrailers(['A', 'b']), malformed],
    ['trailers without a field', withTrailers(), answered],
  ],
};

const isReset = (by: number | undefined) => (one: { type: number; payload: Buffer }) =>
  one.type === type.reset && one.payload.readUInt32BE(0) === by;

/** The code of the GOAWAY that a peer has received. */
function goAwayCode({ received }: Peer): number | undefined {
  return received.find((one) => one.type === type.goAway)?.payload.readUInt32BE(4);
}

for (const [section, rows] of Object.entries(rules)) {
  describe(section, () => {
    for (const [rule, send, expected] of rows) {
      test(rule, async () => {
        let requests = 0;
        await using server = await startFrameServer((peer, id) => {
          if (++requests === 1) peer.send(...[send(id)].flat());
          else peer.send(answer(id));
        });
        const client = new Http2Client(server.url);
        const outcome = await client.call(head, Buffer.from('a'), 20_000).catch((error: CallError) => error);
        const [peer] = server.peers;
        assert.ok(peer, 'No connection');
        if (expected === 'answered') {
          assert.ok(!(outcome instanceof Error), String(outcome));
          assert.equal(outcome.body.toString() || outcome.headers.get('x'), 'ok');
          assert.equal(outcome.status, 200);
        } else if ('stream' in expected) {
          assert.ok(outcome instanceof Error, 'There is an answer');
          assert.deepEqual(
            [outcome.failure, outcome.isUnprocessed],
            [expected.stream, expected.isUnprocessed ?? false],
          );
          if (expected.resetBy !== undefined)
            await eventually(() => assert.ok(peer.received.some(isReset(expected.resetBy)), 'No reset'));
        } else if (outcome instanceof Error) {
          assert.deepEqual([outcome.failure, outcome.isUnprocessed], [expected.failure ?? 'connection', false]);
        }
        // A fault may lie behind a whole answer; then the connection ends by itself.
        const isOver = typeof expected === 'object' && 'connection' in expected;
        if (isOver) await eventually(() => assert.equal(goAwayCode(peer), expected.connection));
        assert.equal((await client.call(head, Buffer.from('b'), 20_000)).body.toString(), 'ok');
        assert.equal(server.peers.length, isOver ? 2 : 1);
        client.close();
      });
    }
  });
}

describe('the beginning of a connection (3.4)', () => {
  const openings: Record<string, [opening: Buffer | string, code: number]> = {
    'an answer of HTTP/1.1': ['HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n', code.size],
    'a frame that is not SETTINGS': [Buffer.concat([frame(type.ping, 0, 0, long(8)), greeting]), code.protocol],
    'a reply to SETTINGS before SETTINGS': [Buffer.concat([frame(type.settings, ack, 0), greeting]), code.protocol],
    'a frame of unknown type': [Buffer.concat([frame(0xbe, 0, 0), greeting]), code.protocol],
  };
  for (const [what, [opening, expected]] of Object.entries(openings)) {
    test(`${what} is no HTTP/2`, async () => {
      await using server = await startFrameServer(() => {}, { greeting: Buffer.from(opening) });
      const client = new Http2Client(server.url);
      await assert.rejects(client.call(head, Buffer.from('a'), 20_000), (error: CallError) => {
        assert.match(error.message, /^what answers is not HTTP\/2/);
        return error.failure === 'connection';
      });
      await eventually(() => assert.equal(server.peers[0] && goAwayCode(server.peers[0]), expected));
      client.close();
    });
  }
});
