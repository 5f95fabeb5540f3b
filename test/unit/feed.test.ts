/** How long a query waits for the first reading. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Feed } from '../../src/client/feed.ts';
import { EtcdReader } from '../../src/etcd/reader.ts';
import { revisionOf } from '../../src/etcd/registry.ts';

const access = { endpoints: ['http://127.0.0.1:1'], prefix: '/discover' };

describe('a first reading', { concurrency: true }, () => {
  test('may take longer than etcd may be silent, as long as page after page comes (reader of a few lines)', async () => {
    const reader = new EtcdReader(access);
    reader.read = async (_ranges, take) => {
      for (let page = 0; page < 5; page++) {
        await sleep(3_000);
        take([
          { key: `/discover/service/web/default/h1/${String(page).padStart(12, '0')}`, value: 'tcp://10.0.0.5:80' },
        ]);
      }
      return revisionOf('7');
    };
    reader.watch = () => new Promise(() => {});
    const feed = new Feed(reader, '/discover');
    try {
      await feed.known(undefined);
      assert.equal(feed.catalogue.select('web', {}).length, 5);
    } finally {
      feed.close();
      reader.close();
    }
  });

  test('is given up after ten seconds of silence (reader of a few lines)', async () => {
    const reader = new EtcdReader(access);
    reader.read = () => new Promise(() => {});
    const feed = new Feed(reader, '/discover');
    try {
      await assert.rejects(feed.known(undefined), { code: 'ETCD_UNAVAILABLE', message: 'No answer in time' });
    } finally {
      feed.close();
      reader.close();
    }
  });
});
