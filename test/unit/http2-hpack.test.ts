/**
 * Header blocks: all examples of RFC 7541, appendix C, as a table; what the RFC calls an error; and as a second opinion
 * the blocks that nghttp2 writes, by way of `node:http2`.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { Http2Client } from '../../src/net/http2/client.ts';
import { encodeHeaders, HeaderDecoder, listBytesMax } from '../../src/net/http2/hpack.ts';
import { decodeHuffman } from '../../src/net/http2/huffman.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
type Fields = readonly (readonly [string, string])[];
/** A block, what it says, and the table after it, the newest first. */
type Step = readonly [block: string, fields: Fields, table: Fields];

const get = [':method', 'GET'] as const;
const http = [':scheme', 'http'] as const;
const https = [':scheme', 'https'] as const;
const root = [':path', '/'] as const;
const index = [':path', '/index.html'] as const;
const authority = [':authority', 'www.example.com'] as const;
const noCache = ['cache-control', 'no-cache'] as const;
const custom = ['custom-key', 'custom-value'] as const;
const found = [':status', '302'] as const;
const moved = [':status', '307'] as const;
const ok = [':status', '200'] as const;
const isPrivate = ['cache-control', 'private'] as const;
const date21 = ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'] as const;
const date22 = ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'] as const;
const location = ['location', 'https://www.example.com'] as const;
const gzip = ['content-encoding', 'gzip'] as const;
const cookie = ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'] as const;

const requests: readonly (readonly [Fields, Fields])[] = [
  [[get, http, root, authority], [authority]],
  [
    [get, http, root, authority, noCache],
    [noCache, authority],
  ],
  [
    [get, https, index, authority, custom],
    [custom, noCache, authority],
  ],
];
/** With a table of 256 bytes, so that entries are evicted. */
const responses: readonly (readonly [Fields, Fields])[] = [
  [
    [found, isPrivate, date21, location],
    [location, date21, isPrivate, found],
  ],
  [
    [moved, isPrivate, date21, location],
    [moved, location, date21, isPrivate],
  ],
  [
    [ok, isPrivate, date22, location, gzip, cookie],
    [cookie, gzip, date22],
  ],
];
const steps = (blocks: readonly string[], said: readonly (readonly [Fields, Fields])[]): Step[] =>
  said.map(([fields, table], at) => [blocks[at] ?? '', fields, table]);

const examples: Record<string, readonly Step[]> = {
  'C.2.1 literal field with indexing': [
    [
      '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
      [['custom-key', 'custom-header']],
      [['custom-key', 'custom-header']],
    ],
  ],
  'C.2.2 literal field without indexing': [['040c 2f73 616d 706c 652f 7061 7468', [[':path', '/sample/path']], []]],
  'C.2.3 literal field never indexed': [['1008 7061 7373 776f 7264 0673 6563 7265 74', [['password', 'secret']], []]],
  'C.2.4 indexed field': [['82', [get], []]],
  'C.3 requests without Huffman code': steps(
    [
      '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      '8286 84be 5808 6e6f 2d63 6163 6865',
      '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
    ],
    requests,
  ),
  'C.4 requests with Huffman code': steps(
    [
      '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
      '8286 84be 5886 a8eb 1064 9cbf',
      '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
    ],
    requests,
  ),
  'C.5 responses without Huffman code, evicting': steps(
    [
      '4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      '4803 3330 37c1 c0bf',
      '88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31',
    ],
    responses,
  ),
  'C.6 responses with Huffman code, evicting': steps(
    [
      '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
      '4883 640e ffc1 c0bf',
      '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
    ],
    responses,
  ),
};

describe('appendix C of RFC 7541', () => {
  for (const [name, blocks] of Object.entries(examples)) {
    test(name, () => {
      const decoder = new HeaderDecoder();
      // The size of the examples of responses, which takes nothing from the others.
      decoder.decode(hex('3fe1 01'));
      for (const [block, fields, table] of blocks) {
        assert.deepEqual(decoder.decode(hex(block)), fields);
        assert.deepEqual(decoder.table, table);
      }
    });
  }

  test('C.1 integers: 10 and 1337 in five bits, 42 in eight', () => {
    // As sizes of the table, the only integer of five bits; and as the length of a text.
    assert.deepEqual(new HeaderDecoder().decode(hex('2a 3f9a0a 88')), [ok]);
    const long = 'x'.repeat(1337);
    assert.deepEqual(new HeaderDecoder().decode(Buffer.concat([hex('0001 61 7fba09'), Buffer.from(long)])), [
      ['a', long],
    ]);
    assert.deepEqual(new HeaderDecoder().decode(Buffer.concat([hex('0001 61 2a'), Buffer.alloc(42, 'y')])), [
      ['a', 'y'.repeat(42)],
    ]);
  });
});

describe('the dynamic table', () => {
  const literal = (name: string, value: string): Buffer =>
    Buffer.concat([
      hex('40'),
      Buffer.from([name.length]),
      Buffer.from(name),
      Buffer.from([value.length]),
      Buffer.from(value),
    ]);

  test('has 4,096 bytes, 32 of them for each entry, whatever was asked for', () => {
    const decoder = new HeaderDecoder();
    for (let count = 0; count < 200; count++) decoder.decode(literal(`n${count % 10}`, 'v'));
    assert.equal(decoder.table.length, Math.floor(4_096 / 35));
  });

  test('is emptied by an entry larger than itself, which is no error (4.4)', () => {
    const decoder = new HeaderDecoder();
    decoder.decode(hex('3f09'));
    decoder.decode(literal('a', 'b'));
    assert.equal(decoder.table.length, 1);
    assert.deepEqual(decoder.decode(literal('a', 'b'.repeat(20))), [['a', 'b'.repeat(20)]]);
    assert.equal(decoder.table.length, 0);
  });

  test('takes a name from an entry that it evicts for it (4.4)', () => {
    const decoder = new HeaderDecoder();
    decoder.decode(hex('3f09'));
    decoder.decode(literal('a', 'b'));
    assert.deepEqual(decoder.decode(hex('7e 03636465')), [['a', 'cde']]);
    assert.deepEqual(decoder.table, [['a', 'cde']]);
  });

  test('may be made smaller and larger again at the beginning of a block (4.2)', () => {
    const decoder = new HeaderDecoder();
    decoder.decode(literal('a', 'b'));
    assert.deepEqual(decoder.decode(hex('20 3fe11f 88')), [ok]);
    assert.equal(decoder.table.length, 0);
  });
});

describe('what is no block is refused', () => {
  const faults: Record<string, string> = {
    'index 0': '80',
    'an index behind both tables': 'be',
    'a name behind both tables': '7e 0161',
    'a literal without a name': '40',
    'a name cut short': '0002 61',
    'a literal without a value': '0001 61',
    'a value cut short': '0001 6105',
    'a number that is too large': '007f ffff ffff ff7f',
    'a number without an end': `00 7f ${'80 '.repeat(40)}`,
    'a number cut short': '0f',
    'a table larger than allowed': '3fe2 1f',
    'a change of the table behind a field': '88 20',
    // 'a' is 00011; then padding.
    'Huffman padding of zeros': '0001 61 81 18',
    'Huffman padding of eight bits': '0001 61 82 1fff',
    'a Huffman code that is cut short': '0001 61 82 fff8',
    'the end of the text in a Huffman code': '0001 61 84 ffff ffff',
  };
  for (const [what, block] of Object.entries(faults)) {
    test(what, () => {
      assert.throws(() => new HeaderDecoder().decode(hex(block)), Error);
    });
  }

  test('a list of headers above the limit', () => {
    const decoder = new HeaderDecoder();
    const large = Buffer.from('b'.repeat(126));
    decoder.decode(Buffer.concat([hex('4001 61 7e'), large]));
    const size = 1 + 126 + 32;
    const most = Math.floor(listBytesMax / size);
    assert.equal(decoder.decode(Buffer.alloc(most, 0xbe)).length, most);
    assert.throws(() => decoder.decode(Buffer.alloc(most + 1, 0xbe)), /list of headers/);
  });
});

describe('what is written', () => {
  test('is read back, whatever its length, and enters no table', () => {
    for (const length of [0, 1, 126, 127, 128, 254, 255, 300, 20_000]) {
      const decoder = new HeaderDecoder();
      const fields: Fields = [
        [':method', 'POST'],
        [':path', '/x'],
        ['token', 'x'.repeat(length)],
        ['te', 'trailers'],
      ];
      assert.deepEqual(decoder.decode(encodeHeaders(fields)), fields);
      assert.deepEqual(decoder.table, []);
    }
  });

  test('is marked so that no proxy on the way puts it into a table', () => {
    assert.deepEqual(encodeHeaders([['token', 'secret']]), hex('1005 746f 6b65 6e06 7365 6372 6574'));
    assert.deepEqual(encodeHeaders([['authorization', 'x']]), hex('1f08 0178'));
  });
});

test('every byte has the Huffman code that nghttp2 writes, and each text comes out as it went in', async () => {
  // Printable text is coded where that is shorter; the bytes above ASCII are mixed in, of which the codes are long.
  const values = Array.from({ length: 256 }, (_, byte) => byte)
    .filter((byte) => byte >= 32 && byte !== 127)
    .map((byte) => `aaaaaaaaaaaaaaaaaaaaaaaaaaaa${String.fromCharCode(byte)}aaaaaaaaaaaaaaaaaaaaaaaa0000`);
  const server = http2.createServer();
  server.on('stream', (stream) => {
    const fields = Object.fromEntries(
      values.map((value, at) => [`x-${at}`, Buffer.from(value, 'latin1').toString('latin1')]),
    );
    stream.respond({ ':status': 200, ...fields }, { endStream: true });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = new Http2Client(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  // The second answer comes out of the table.
  for (let turn = 0; turn < 2; turn++) {
    const { headers } = await client.call({ method: 'POST', path: '/', fields: [] }, Buffer.from('a'), 20_000);
    assert.deepEqual(
      values.map((_, at) => headers.get(`x-${at}`)),
      values,
    );
  }
  client.close();
  server.close();
});

test('the codes of control characters, which no field holds, are those of the RFC as well', () => {
  // 0 has 13 bits of its own, 9 has 24, 10 has 30; the last bits of each are padding.
  assert.equal(decodeHuffman(hex('ffc7')), '\0');
  assert.equal(decodeHuffman(hex('ffffea')), '\t');
  assert.equal(decodeHuffman(hex('fffffff3')), '\n');
  assert.equal(decodeHuffman(hex('ffffb1')), '\x01');
  assert.equal(decodeHuffman(hex('ffffffcf')), '\x7f');
  assert.equal(decodeHuffman(Buffer.alloc(0)), '');
});
