/** How much is asked of etcd at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DiscoverError } from '../../src/errors.ts';
import { etcdError } from '../../src/etcd/errors.ts';
import { AnswerSize } from '../../src/etcd/pages.ts';

// As grpc-js says it.
const tooLarge = etcdError(
  'range',
  'http://db:2379',
  new Error('8 RESOURCE_EXHAUSTED: Received message larger than max (72800123 vs 67108864)'),
);

test('an answer that is too large is asked for in halves, and in larger parts again once they fit', async () => {
  const size = new AnswerSize(100);
  const asked: number[] = [];
  const ask = (fits: number) => async (keys: number) => {
    asked.push(keys);
    if (keys > fits) throw tooLarge;
    return keys;
  };
  assert.equal(await size.fitting(ask(30)), 25);
  assert.equal(await size.fitting(ask(30)), 25);
  assert.equal(await size.fitting(ask(1000)), 50);
  assert.equal(await size.fitting(ask(1000)), 100);
  assert.equal(await size.fitting(ask(1000)), 100);
  assert.deepEqual(asked, [100, 50, 25, 50, 25, 50, 100, 100]);
});

test('one key that is too large is an error, and so is every other failure at once', async () => {
  const asked: number[] = [];
  const failing = (error: Error) =>
    new AnswerSize(4).fitting(async (keys) => {
      asked.push(keys);
      throw error;
    });
  await assert.rejects(failing(tooLarge), /larger than max/);
  await assert.rejects(failing(new DiscoverError('ETCD_UNAVAILABLE', 'away')), /away/);
  // What etcd says of a request, which no smaller page would mend.
  const ofRequest = etcdError(
    'txn',
    'http://db:2379',
    new Error('8 RESOURCE_EXHAUSTED: grpc: received message larger than max'),
  );
  await assert.rejects(failing(ofRequest), /larger than max/);
  assert.deepEqual(asked, [4, 2, 1, 4, 4]);
});
