/** A watch as its answers lead it: silence, fragments, questions and ends. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { below, type KeyRange } from '../../src/etcd/pages.ts';
import { revisionOf } from '../../src/etcd/registry.ts';
import { Watch } from '../../src/etcd/watch.ts';

type Answer = Parameters<Watch['take']>[0];

function start(ranges: readonly KeyRange[] = [below('/p/service/')]) {
  const sent: Record<string, Record<string, unknown>>[] = [];
  const told: string[] = [];
  const watch = new Watch(
    ranges,
    revisionOf('9007199254740993'),
    {
      heard: () => void told.push('heard'),
      begun: () => void told.push('begun'),
      changed: (changes) => void told.push(changes.map(({ key, value }) => `${key}=${value}`).join()),
    },
    (request) => void sent.push(request as (typeof sent)[number]),
  );
  let outcome = 'open';
  watch.over.then(
    () => {
      outcome = 'ended';
    },
    (error: Error) => {
      outcome = error.message;
    },
  );
  const outcomeOf = async (): Promise<string> => {
    await Promise.resolve();
    await Promise.resolve();
    return outcome;
  };
  return { watch, sent, told, outcomeOf };
}

const put = (key: string, value: string) =>
  ({
    type: 'Put',
    kv: { key: Buffer.from(key), value: Buffer.from(value), mod_revision: '7' },
  }) as unknown as Answer['events'][number];
const answer = (given: Partial<Answer>): Answer => ({ watch_id: '0', events: [], ...given });

describe('A watch', () => {
  test('begins behind the revision that was read, exactly, and takes fragments', () => {
    const { sent } = start();
    assert.deepEqual(sent, [
      {
        create_request: {
          key: Buffer.from('/p/service/'),
          range_end: Buffer.from('/p/service0'),
          start_revision: '9007199254740994',
          fragment: true,
        },
      },
    ]);
  });

  test('takes a revision of any size in one answer, as a proxy may send it', () => {
    const { told, watch } = start();
    watch.take(answer({ created: true }));
    watch.take(answer({ events: Array.from({ length: 200_000 }, (_, number) => put(`/p/service/${number}`, '')) }));
    assert.match(told.at(-1) ?? '', /\/p\/service\/199999=$/);
  });

  test('is over once a probe is answered with an older revision than that of the reading', async () => {
    const header = (revision: string) => ({ header: { revision } }) as Partial<Answer>;
    const { outcomeOf, watch } = start();
    // A member that lags confirms the watch, and sends the changes once it has them.
    watch.take(answer({ created: true, ...header('12') }));
    for (const revision of ['9007199254740993', '0']) watch.take(answer({ watch_id: '1', ...header(revision) }));
    assert.equal(await outcomeOf(), 'open');
    watch.take(answer({ watch_id: '2', created: true, ...header('12') }));
    assert.equal(await outcomeOf(), 'etcd has gone back to revision 12');
  });

  test('asks by a second watch after two silent ticks, cancels that once it is confirmed, and goes on', async () => {
    const { watch, sent, told, outcomeOf } = start();
    watch.take(answer({ created: true }));
    watch.tick();
    assert.equal(sent.length, 1);
    watch.tick();
    assert.deepEqual(sent.at(-1), { create_request: { key: Buffer.from('/p/service/') } });
    watch.take(answer({ watch_id: '1', created: true }));
    assert.deepEqual(sent.at(-1), { cancel_request: { watch_id: '1' } });
    watch.take(answer({ watch_id: '1', canceled: true }));
    for (let silent = 0; silent < 4; silent++) watch.tick();
    assert.equal(await outcomeOf(), 'open');
    assert.equal(told.filter((one) => one === 'begun').length, 1);
    watch.tick();
    assert.equal(await outcomeOf(), 'no sign of life');
  });

  test('does not hand on twice what its question is told as well', () => {
    const { watch, told } = start();
    watch.take(answer({ created: true }));
    watch.take(answer({ events: [put('/p/service/', 'x')] }));
    watch.take(answer({ watch_id: '1', events: [put('/p/service/', 'x')] }));
    assert.deepEqual(
      told.filter((one) => one.includes('=')),
      ['/p/service/=x'],
    );
  });

  test('asks nothing and ends where it is never confirmed', async () => {
    const { watch, sent, outcomeOf } = start();
    for (let silent = 0; silent < 5; silent++) watch.tick();
    assert.equal(sent.length, 1);
    assert.equal(await outcomeOf(), 'no sign of life');
  });

  test('hands on the fragments of a revision together', () => {
    const { watch, told } = start();
    watch.take(answer({ created: true }));
    watch.take(answer({ fragment: true, events: [put('/a', '1')] }));
    watch.take(answer({ fragment: true, events: [put('/b', '2')] }));
    assert.equal(
      told.some((one) => one.includes('/a')),
      false,
    );
    watch.take(answer({ events: [put('/c', '3')] }));
    assert.equal(told.at(-1), '/a=1,/b=2,/c=3');
  });

  test('follows several ranges from one revision, each requested once the one before is confirmed', async () => {
    const { watch, sent, told, outcomeOf } = start([below('/p/meta/web/'), below('/p/service/web/')]);
    watch.take(answer({ watch_id: '0', created: true }));
    watch.take(answer({ watch_id: '0', fragment: true, events: [put('/p/meta/web/', 'm')] }));
    watch.take(answer({ watch_id: '1', created: true }));
    assert.deepEqual(
      sent.map(({ create_request }) => [String(create_request?.key), create_request?.start_revision]),
      [
        ['/p/meta/web/', '9007199254740994'],
        ['/p/service/web/', '9007199254740994'],
      ],
    );
    assert.equal(told.filter((one) => one === 'begun').length, 1);
    watch.take(answer({ watch_id: '1', events: [put('/p/service/web/', 's')] }));
    watch.take(answer({ watch_id: '0', events: [put('/p/meta/web/', 'n')] }));
    assert.deepEqual(
      told.filter((one) => one.includes('=')),
      ['/p/service/web/=s', '/p/meta/web/=m,/p/meta/web/=n'],
    );
    watch.take(answer({ watch_id: '1', canceled: true, cancel_reason: 'permission denied' }));
    assert.equal(await outcomeOf(), 'permission denied');
  });

  test('is over when it is cancelled, with the reason, and says nothing more', async () => {
    const { watch, told, outcomeOf } = start();
    watch.take(answer({ created: true, canceled: true, cancel_reason: 'permission denied' }));
    const { length } = told;
    watch.take(answer({ events: [put('/a', '1')] }));
    assert.equal(told.length, length);
    assert.equal(await outcomeOf(), 'permission denied');
  });

  test('is over when its revision was compacted', async () => {
    const { watch, outcomeOf } = start();
    watch.take(answer({ created: true }));
    watch.take(answer({ canceled: true, compact_revision: '7' }));
    assert.equal(await outcomeOf(), 'compacted at 7');
  });

  test('ends without an error when it is told to', async () => {
    const { watch, outcomeOf } = start();
    watch.end();
    assert.equal(await outcomeOf(), 'ended');
  });
});
