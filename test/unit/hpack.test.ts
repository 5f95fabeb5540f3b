import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeHeaders, encodeHeaders } from '../../src/net/http2/hpack.ts';

function decode(block: Buffer): Record<string, string> {
  const headers = new Map<string, string>();
  decodeHeaders(block, headers);
  return Object.fromEntries(headers);
}

test('the examples of RFC 7541 that need no table are read (C.2, C.4.1, C.6.1)', () => {
  const examples = {
    '040c2f73616d706c652f70617468': { ':path': '/sample/path' },
    '100870617373776f726406736563726574': { password: 'secret' },
    '82': { ':method': 'GET' },
    '828684418cf1e3c2e5f23a6ba0ab90f4ff': {
      ':method': 'GET',
      ':scheme': 'http',
      ':path': '/',
      ':authority': 'www.example.com',
    },
    '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3': {
      ':status': '302',
      'cache-control': 'private',
      date: 'Mon, 21 Oct 2013 20:13:21 GMT',
      location: 'https://www.example.com',
    },
  };
  for (const [hex, headers] of Object.entries(examples)) assert.deepEqual(decode(Buffer.from(hex, 'hex')), headers);
});

test('what is written is read back, whatever its length', () => {
  for (const length of [0, 1, 126, 127, 128, 254, 255, 300, 20_000]) {
    const headers: [string, string][] = [
      ['token', 'x'.repeat(length)],
      ['te', 'trailers'],
    ];
    assert.deepEqual(decode(encodeHeaders(headers)), Object.fromEntries(headers));
  }
});

test('a value goes out so that nobody on the way puts it into a table', () => {
  assert.equal(
    encodeHeaders([['token', 'secret']]).toString('hex'),
    `1005${Buffer.from('token').toString('hex')}06736563726574`,
  );
});

test('a change of the size of a table that has no room is passed over', () => {
  assert.deepEqual(decode(Buffer.from('203fe11f88', 'hex')), { ':status': '200' });
});

test('a code of a symbol that nobody needs ends the text, and no more', () => {
  // A literal: the Huffman codes of 'a' (5 bits) and of the byte 1 (23 bits); then an indexed field.
  assert.deepEqual(decode(Buffer.from('000161841ffffd8f88', 'hex')), { a: 'a', ':status': '200' });
});

test('what is no block is refused', () => {
  for (const hex of ['80', 'be', '40', '0001', '000161', '00016105', '007fffffffffff7f', '0f']) {
    assert.throws(() => decode(Buffer.from(hex, 'hex')), hex);
  }
});
