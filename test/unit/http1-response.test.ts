import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Response, ResponseReader } from '../../src/net/http1/response.ts';

const bodyBytesMax = 100;

/** Reads `text` in pieces, out of one buffer that is overwritten in between. */
function read(pieces: readonly string[], ended = false): Response[] {
  const responses: Response[] = [];
  const reader = new ResponseReader((response) => responses.push(response), bodyBytesMax);
  const buffer = Buffer.alloc(1_000);
  for (const piece of pieces) {
    const length = buffer.write(piece, 'latin1');
    reader.push(buffer.subarray(0, length));
    buffer.fill('!');
  }
  if (ended) reader.end();
  return responses;
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
    assert.deepEqual(read([first + second]), [kept, kept]);
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
    'a line without an end': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'0'.repeat(5_000)}`,
  };
  for (const [what, text] of Object.entries(refused)) {
    test(`with ${what} is refused`, () => {
      assert.throws(() =>
        read([
          text.slice(0, 900),
          text.slice(900, 1_800),
          text.slice(1_800, 2_700),
          text.slice(2_700, 3_600),
          text.slice(3_600, 4_500),
          text.slice(4_500),
        ]),
      );
    });
  }

  test('with a head without an end is refused', () => {
    assert.throws(
      () => read(['HTTP/1.1 200 OK\r\n', ...Array.from({ length: 100 }, () => 'X: '.repeat(300))]),
      /head of the answer/,
    );
  });
});
