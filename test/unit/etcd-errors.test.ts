/** What etcd, gRPC and both HTTP/2 clients have been heard to say, as people are told it. Texts of etcd 3.4.23 and 3.5.16. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DiscoverError } from '../../src/errors.ts';
import { etcdError, isStaleToken } from '../../src/etcd/errors.ts';

const at = 'http://db:2379';
const lost = '14 UNAVAILABLE: No connection established. Last error: ';
const note = '. Resolution note: ';

const heard: readonly (readonly [raw: string, code: string, said: string, endpoint?: string])[] = [
  [`${lost}Error: connect ECONNREFUSED 127.0.0.1:1${note}`, 'ETCD_UNAVAILABLE', 'connection refused (range)'],
  ['connect ECONNREFUSED 127.0.0.1:1', 'ETCD_UNAVAILABLE', 'connection refused (range)'],
  ['getaddrinfo ENOTFOUND db', 'ETCD_UNAVAILABLE', 'host name cannot be resolved, see etcd.endpoints (range)'],
  [
    '14 UNAVAILABLE: Name resolution failed for target dns:db:2379',
    'ETCD_UNAVAILABLE',
    'host name cannot be resolved, see etcd.endpoints (range)',
  ],
  [
    '4 DEADLINE_EXCEEDED: Deadline exceeded after 2.004s,name resolution: 0.004s,Waiting for LB pick',
    'ETCD_UNAVAILABLE',
    'no answer in time (range)',
  ],
  [
    `${lost}Failed to connect (2026-11-29T14:26:25.589Z)${note}`,
    'ETCD_UNAVAILABLE',
    'the server closed the connection: if it expects TLS, write https:// in etcd.endpoints (range)',
  ],
  ['14 UNAVAILABLE: Connection dropped', 'ETCD_UNAVAILABLE', 'the connection was lost (range)'],
  ['connection closed', 'ETCD_UNAVAILABLE', 'the server closed the connection (range)', 'https://db:2379'],
  [
    `${lost}Error: Client network socket disconnected before secure TLS connection was established${note}`,
    'ETCD_UNAVAILABLE',
    'server at etcd.endpoints does not speak TLS: ' +
      'Client network socket disconnected before secure TLS connection was established',
    'https://db:2379',
  ],
  [
    `${lost}Error: 80FCE57D717F0000:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:` +
      `../deps/openssl/openssl/ssl/record/ssl3_record.c:354:\n${note}`,
    'ETCD_UNAVAILABLE',
    'server at etcd.endpoints does not speak TLS: wrong version number',
    'https://db:2379',
  ],
  [
    '80ACF1B5A97F0000:error:0A000412:SSL routines:ssl3_read_bytes:sslv3 alert bad certificate:' +
      '../deps/openssl/openssl/ssl/record/rec_layer_s3.c:1586:SSL alert number 42\n',
    'ETCD_UNAVAILABLE',
    'server does not accept etcd.tls.cert, or misses it: sslv3 alert bad certificate',
    'https://db:2379',
  ],
  [
    `${lost}Error: unable to verify the first certificate${note}`,
    'ETCD_UNAVAILABLE',
    'certificate of the server is not signed by etcd.tls.ca, or by a public authority where that is unset: ' +
      'unable to verify the first certificate',
    'https://db:2379',
  ],
  [
    `${lost}Protocol error (2026-11-29T14:26:10.720Z)${note}`,
    'ETCD_UNAVAILABLE',
    'what answers is not etcd v3, or expects TLS: see etcd.endpoints, and write https:// for TLS (range)',
  ],
  [
    '12 UNIMPLEMENTED: unknown service etcdserverpb.KV',
    'ETCD_UNAVAILABLE',
    'what answers is not etcd v3, see etcd.endpoints (range)',
    'https://db:2379',
  ],
  ...['502', '503', '504'].flatMap((status) =>
    [`14 UNAVAILABLE: Received HTTP status code ${status}`, `no status of gRPC, and of HTTP ${status}`].map(
      (raw) => [raw, 'ETCD_UNAVAILABLE', 'a proxy answers, and does not reach etcd (range)'] as const,
    ),
  ),
  [
    'no status of gRPC, and of HTTP 413',
    'ETCD_REFUSED',
    'a proxy refuses a request of this size (in nginx by client_max_body_size) (range)',
  ],
  [
    '12 UNIMPLEMENTED: Received HTTP status code 404',
    'ETCD_UNAVAILABLE',
    'what answers is not etcd v3, or expects TLS: see etcd.endpoints, and write https:// for TLS (range)',
  ],
  [
    '3 INVALID_ARGUMENT: etcdserver: user name is empty',
    'ETCD_REFUSED',
    'user name is empty: this cluster has users, set etcd.username and etcd.passwordFile (range)',
  ],
  [
    '3 INVALID_ARGUMENT: etcdserver: authentication failed, invalid user ID or password',
    'ETCD_REFUSED',
    'authentication failed: etcd.username or its password is wrong (range)',
  ],
  [
    '9 FAILED_PRECONDITION: etcdserver: authentication is not enabled',
    'ETCD_REFUSED',
    'authentication is not enabled: leave etcd.username out, or enable it (range)',
  ],
  ['7 PERMISSION_DENIED: etcdserver: permission denied', 'ETCD_REFUSED', 'permission denied (range)'],
  [
    '8 RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded',
    'ETCD_REFUSED',
    'mvcc: database space exceeded (range)',
  ],
  ['5 NOT_FOUND: etcdserver: requested lease not found', 'LEASE_LOST', 'requested lease not found (range)'],
  [
    '11 OUT_OF_RANGE: etcdserver: mvcc: required revision has been compacted',
    'ETCD_UNAVAILABLE',
    'compacted while it was being read (range)',
  ],
  ['14 UNAVAILABLE: etcdserver: leader changed', 'ETCD_UNAVAILABLE', 'leader changed (range)'],
  // Old for the third time: a matter of moments, and no refusal.
  [
    '3 INVALID_ARGUMENT: etcdserver: revision of auth store is old',
    'ETCD_UNAVAILABLE',
    'revision of auth store is old (range)',
  ],
];

describe('An error of etcd', () => {
  for (const [raw, code, said, endpoint = at] of heard) {
    test(`says "${said}"`, () => {
      const error = etcdError('range', endpoint, new Error(raw));
      assert.equal(error.message, `etcd at ${endpoint}: ${said}`);
      assert.equal(error.code, code);
    });
  }

  test('is told by its code where the text has none', () => {
    const error = Object.assign(new Error('etcdserver: permission denied'), { code: 7 });
    assert.equal(etcdError('txn', at, error).code, 'ETCD_REFUSED');
  });

  test('stays as it is once it is one of ours', () => {
    const error = new DiscoverError('LEASE_LOST', 'gone');
    assert.equal(etcdError('txn', at, error), error);
  });
});

describe('A stale token', () => {
  const stale = [
    '16 UNAUTHENTICATED: etcdserver: invalid auth token',
    '16 UNAUTHENTICATED: invalid auth token',
    '3 INVALID_ARGUMENT: etcdserver: revision of auth store is old',
    '2 UNKNOWN: auth: revision in header is old',
    '2 UNKNOWN: auth: invalid auth token',
    'rpc error: code = Unauthenticated desc = etcdserver: invalid auth token',
  ];
  for (const text of stale) test(`is "${text}"`, () => assert.ok(isStaleToken(new Error(text)), text));

  test('is not a password that is wrong, nor a permission that lacks', () => {
    for (const text of [
      'authentication failed, invalid user ID or password',
      'permission denied',
      'user name is empty',
    ]) {
      assert.ok(!isStaleToken(new Error(`etcdserver: ${text}`)), text);
    }
  });
});
