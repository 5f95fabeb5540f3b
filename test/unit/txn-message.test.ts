import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { loadSync } from '@grpc/proto-loader';
import { leaseIdOf, revisionOf } from '../../src/etcd/registry.ts';
import { decodeSucceeded, encodeTxn } from '../../src/etcd/txn-message.ts';

/** What etcd3, from etcd's own definition, makes of the messages. */
interface Codec {
  readonly requestDeserialize: (bytes: Buffer) => unknown;
  readonly responseSerialize: (message: object) => Buffer;
}

const folder = dirname(createRequire(import.meta.url).resolve('etcd3/package.json'));
const options = { keepCase: true, longs: String, enums: String, oneofs: true } as const;
const service = loadSync(join(folder, 'proto/rpc.proto'), options)['etcdserverpb.KV'];
const { requestDeserialize, responseSerialize } = (service as unknown as Record<string, Codec>).Txn as Codec;

const plain = (message: unknown): unknown =>
  JSON.parse(JSON.stringify(message), (_, value: unknown) => {
    const isBytes = typeof value === 'object' && value !== null && 'data' in value && Array.isArray(value.data);
    return isBytes ? Buffer.from(value.data as number[]).toString() : value;
  });

test('a commit is read back by etcd’s own definition of it', () => {
  const long = 'x'.repeat(20_000);
  const changes = [
    { key: '/discover/service/wéb/default/h/0123456789ab', value: 'tcp://10.0.0.5:32768' },
    { key: '/discover/host/h/0123456789ab', value: long },
    { key: '/discover/service/gone/default/h/0123456789ab', value: undefined },
    { key: '/empty', value: '' },
  ];
  for (const lease of ['1', '9223372036854775807', '-5']) {
    for (const revision of ['1', '127', '128', '9007199254740993']) {
      const read = plain(
        requestDeserialize(encodeTxn('/discover/owner/h', revisionOf(revision), leaseIdOf(lease), changes)),
      );
      assert.deepEqual(read, {
        compare: [{ key: '/discover/owner/h', target: 'Mod', mod_revision: revision, target_union: 'mod_revision' }],
        success: changes.map(({ key, value }) =>
          value === undefined
            ? { request_delete_range: { key }, request: 'request_delete_range' }
            : { request_put: { key, value, lease }, request: 'request_put' },
        ),
      });
    }
  }
});

test('a commit without changes is still guarded', () => {
  const read = plain(requestDeserialize(encodeTxn('/o', revisionOf('7'), leaseIdOf('1'), []))) as {
    compare: unknown[];
    success?: unknown[];
  };
  assert.equal(read.compare.length, 1);
  assert.equal(read.success?.length ?? 0, 0);
});

test('an answer says whether the guard held, whatever else is in it', () => {
  const header = {
    cluster_id: '14841639068965178418',
    member_id: '10276657743932975437',
    revision: '300',
    raft_term: '2',
  };
  const responses = Array.from({ length: 50 }, () => ({ response_put: { header: { revision: '300' } } }));
  assert.equal(decodeSucceeded(responseSerialize({ header, succeeded: true, responses })), true);
  assert.equal(decodeSucceeded(responseSerialize({ header, succeeded: false })), false);
  assert.equal(decodeSucceeded(responseSerialize({ header })), false);
});

test('an answer that is cut short is an error, not a no', () => {
  const whole = responseSerialize({ header: { revision: '300' }, succeeded: true });
  assert.throws(() => decodeSucceeded(Buffer.concat([whole.subarray(0, -1)])), /cut short/);
});
