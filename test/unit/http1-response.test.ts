import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Response, ResponseReader } from '../../src/net/http1/response.ts';

const bodyBytesMax = 100;

/** Reads pieces, out of one buffer that is overwritten in between. */
function read(pieces: readonly string[], ended = false): Response[] {
  const responses: Response[] = [];
  const reader = new ResponseReader(bodyBytesMax);
  const buffer = Buffer.alloc(6_000);
  for (const piece of pieces) {
    const length = buffer.write(piece, 'latin1');
    const response = reader.push(buffer.subarray(0, length));
    if (response) responses.push(response);
    buffer.fill('!');
  }
  const last = ended ? reader.end() : undefined;
  return last ? [...responses, last] : responses;
}

/** A body of two bytes a character, so that a cut can go through one. */
const body = Buffer.from('{"name":"ü"}').toString('latin1');
const kept = { status: 200, body: '{"name":"ü"}', isKept: true };

describe('an HTTP/1.1 response', () => {
  const forms = {
    'of a given length': [`HTTP/1.1 200 OK\r\nContent-Length: 13\r\nServer: x\r\n\r\n${body}`, kept],
    'with a length in another case': [`HTTP/1.1 200 OK\r\ncontent-length:13\r\n\r\n${body}`, kept],
    'without a reason': [`HTTP/1.1 200 \r\nContent-Length: 13\r\n\r\n${body}`, kept],
    'without a body': ['HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n', { status: 404, body: '', isKept: true }],
    'that has none by its status': ['HTTP/1.1 204 No Content\r\n\r\n', { status: 204, body: '', isKept: true }],
    'in one chunk': [`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n${body}\r\n0\r\n\r\n`, kept],
    'in chunks, with extensions and trailers': [
      `HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n00A;a="b"\r\n${body.slice(0, 10)}\r\n3 \r\n${body.slice(10)}\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n`,
      kept,
    ],
    'after interim ones': [
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n${body}`,
      kept,
    ],
    'that ends the connection': [
      `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n${body}`,
      { ...kept, isKept: false },
    ],
    'of HTTP/1.0': [`HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\n${body}`, { ...kept, isKept: false }],
    'of HTTP/1.0 that keeps the connection': [
      `HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 13\r\n\r\n${body}`,
      kept,
    ],
    'that ends the connection, among other options': [
      `HTTP/1.1 200 OK\r\nConnection: x-close\r\nConnection: y, Close\r\nContent-Length: 13\r\n\r\n${body}`,
      { ...kept, isKept: false },
    ],
    'with an option that only resembles close': [
      `HTTP/1.1 200 OK\r\nConnection: not-close\r\nContent-Length: 13\r\n\r\n${body}`,
      kept,
    ],
    'with a field on several lines': [
      `HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\tContent-Length: 5\r\nContent-Length: 13\r\n\r\n${body}`,
      kept,
    ],
    'with one length twice': [`HTTP/1.1 200 OK\r\nContent-Length: 13\r\nContent-Length: 13\r\n\r\n${body}`, kept],
    'with an empty field, and spaces around a value': [
      `HTTP/1.1 200 OK\r\nX:\r\nContent-Length: \t 13 \t\r\n\r\n${body}`,
      kept,
    ],
    'with a field whose name ends like another': [
      `HTTP/1.1 200 OK\r\nX-Content-Length: 5\r\nContent-Length: 13\r\n\r\n${body}`,
      kept,
    ],
    'with bytes above ASCII in its reason': [`HTTP/1.1 200 \u00e4\r\nContent-Length: 13\r\n\r\n${body}`, kept],
    'that was not modified, with the length of what it has not': [
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 13\r\n\r\n',
      { status: 304, body: '', isKept: true },
    ],
    'that ends with the connection': [`HTTP/1.1 200 OK\r\nX: y\r\n\r\n${body}`, { ...kept, isKept: false }],
  } as const;

  for (const [form, [text, expected]] of Object.entries(forms)) {
    test(`${form} is read the same wherever it is cut`, () => {
      assert.deepEqual(read([text], true), [expected]);
      assert.deepEqual(read([...text], true), [expected], 'byte by byte');
      for (let cut = 1; cut < text.length; cut++) {
        assert.deepEqual(read([text.slice(0, cut), text.slice(cut)], true), [expected], `cut at ${cut}`);
      }
    });
  }

  test('is followed by the next on the same connection', () => {
    const [first] = forms['in one chunk'];
    const [second] = forms['of a given length'];
    assert.deepEqual(read([first, second]), [kept, kept]);
  });

  test('ends its connection where bytes are left behind it, and they are no response', () => {
    for (const [text, { isKept }] of Object.values(forms)) {
      // Up to the end of the connection everything belongs to it.
      if (!isKept) continue;
      assert.deepEqual(
        read([`${text}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`]).map((one) => one.isKept),
        [false],
      );
      assert.deepEqual(
        read([`${text}x`]).map((one) => one.isKept),
        [false],
      );
    }
  });

  test('is no response before it is whole', () => {
    for (const [text, { isKept }] of Object.values(forms)) {
      for (let cut = 0; cut < text.length; cut++) assert.deepEqual(read([text.slice(0, cut)], isKept), []);
    }
  });

  test('is only as large as was said', () => {
    const large = 'x'.repeat(bodyBytesMax + 1);
    assert.throws(
      () => read([`HTTP/1.1 200 OK\r\nContent-Length: ${large.length}\r\n\r\n${large}`]),
      /larger than 100 bytes/,
    );
    const chunk = `${large.length.toString(16)}\r\n${large}\r\n`;
    assert.throws(() => read([`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`]), /larger than 100/);
  });

  const refused = {
    'no HTTP': 'SSH-2.0-OpenSSH_9.2\r\n\r\n',
    'HTTP/2': '\0\0\x0c\x04\0\0\0\0\0\r\n\r\n',
    'a length that is not a number': 'HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n',
    'another coding': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
    'a chunk without a size': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n',
    'a chunk longer than its size': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n',
    'two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
    'a list of lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc',
    'a length with a sign': 'HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc',
    'an empty length': 'HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc',
    'a length and chunks': 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'chunks twice': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'chunks in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'space before a colon': 'HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc',
    'a line that is no field': 'HTTP/1.1 200 OK\r\nContent-Length 3\r\n\r\nabc',
    'a first field that goes on with the status': 'HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 3\r\n\r\nabc',
    'a NUL in a field': 'HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 3\r\n\r\nabc',
    'a bare CR in a field': 'HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 3\r\n\r\nabc',
    'a bare LF in a field': 'HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc',
    'a change of the protocol': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n\r\n',
    'HTTP/1.2': 'HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n',
    'HTTP/2.0': 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n',
    'a status of two digits': 'HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n',
    'a status of four digits': 'HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n',
    'a status below 100': 'HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n',
    'an empty line first': '\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    'a chunk size with a sign': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n',
    'a chunk size with 0x': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n',
    'a chunk size that is too large': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000\r\n',
    'a chunk line that ends with LF alone': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n',
    'a chunk that ends with LF alone': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n',
    'trailers without an end': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${'X: y\r\n'.repeat(12_000)}`,
    'a line without an end': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'0'.repeat(5_000)}`,
  };
  for (const [what, text] of Object.entries(refused)) {
    test(`with ${what} is refused`, () => {
      const pieces = text.match(/[\s\S]{1,5000}/g) ?? [];
      assert.throws(() => read(pieces));
    });
  }

  test('with a head without an end is refused', () => {
    assert.throws(
      () => read(['HTTP/1.1 200 OK\r\n', ...Array.from({ length: 100 }, () => 'X: '.repeat(300))]),
      /head of the answer/,
    );
  });
});
