/** In what order messages get their turn, and what becomes of one that is put again meanwhile. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FifoMailbox, KeyedMailbox } from '../../src/actor/mailbox.ts';

interface Ask {
  readonly key: string;
  readonly at: number;
}

const ask = (key: string, at = 0): Ask => ({ key, at });
const everything = Number.POSITIVE_INFINITY;
const always = () => true;

function keyed(merge?: (older: Ask, newer: Ask) => Ask): KeyedMailbox<Ask> {
  return new KeyedMailbox<Ask>(({ key }) => key, merge);
}

function keysOf(batch: readonly Ask[]): string {
  return batch.map(({ key }) => key).join(' ');
}

describe('FifoMailbox', () => {
  test('hands out messages in the order they were put', () => {
    const mailbox = new FifoMailbox<number>();
    for (const message of [3, 1, 2]) mailbox.put(message);
    assert.deepEqual(mailbox.take(2), [3, 1]);
    assert.deepEqual(mailbox.take(2), [2]);
    assert.deepEqual(mailbox.take(2), []);
  });

  test('keeps each of several equal messages', () => {
    const mailbox = new FifoMailbox<string>();
    mailbox.put('same');
    mailbox.put('same');
    assert.deepEqual(mailbox.take(everything), ['same', 'same']);
  });

  test('counts what waits and what is in flight', () => {
    const mailbox = new FifoMailbox<number>();
    for (const message of [1, 2, 3]) mailbox.put(message);
    mailbox.take(2);
    assert.deepEqual([mailbox.size, mailbox.inFlight], [1, 2]);
    mailbox.done();
    assert.deepEqual([mailbox.size, mailbox.inFlight], [1, 1]);
  });
});

describe('KeyedMailbox', () => {
  test('hands out keys in the order they were first put', () => {
    const mailbox = keyed();
    for (const key of ['b', 'a', 'c', 'a', 'b']) mailbox.put(ask(key));
    assert.equal(keysOf(mailbox.take(everything)), 'b a c');
  });

  test('hands out no more than it is asked for', () => {
    const mailbox = keyed();
    for (const key of ['a', 'b', 'c']) mailbox.put(ask(key));
    assert.equal(keysOf(mailbox.take(2)), 'a b');
    assert.equal(keysOf(mailbox.take(2)), 'c');
  });

  test('lets the newer of two messages stand for a key that waits', () => {
    const mailbox = keyed();
    mailbox.put(ask('a', 2));
    mailbox.put(ask('a', 1));
    assert.equal(mailbox.size, 1);
    assert.deepEqual(mailbox.take(everything), [ask('a', 1)]);
  });

  test('merges the messages of a key that waits as it was told to', () => {
    const mailbox = keyed((older, newer) => (newer.at > older.at ? newer : older));
    for (const at of [2, 3, 1]) mailbox.put(ask('a', at));
    assert.deepEqual(mailbox.take(everything), [ask('a', 3)]);
  });

  test('does not merge a message with the one in flight', () => {
    const mailbox = keyed((older, newer) => (newer.at > older.at ? newer : older));
    const first = ask('a', 9);
    mailbox.put(first);
    mailbox.take(1);
    mailbox.put(ask('a', 1));
    mailbox.done(first);
    assert.deepEqual(mailbox.take(1), [ask('a', 1)]);
  });

  test('does not hand out a key that is in flight', () => {
    const mailbox = keyed();
    mailbox.put(ask('a'));
    mailbox.take(1);
    mailbox.put(ask('a'));
    assert.deepEqual(mailbox.take(everything), []);
    assert.deepEqual([mailbox.size, mailbox.inFlight], [1, 1]);
  });

  test('gives a key that was put in flight one more turn, at the back', () => {
    const mailbox = keyed();
    mailbox.put(ask('a'));
    mailbox.take(1);
    for (const key of ['a', 'b', 'a', 'a']) mailbox.put(ask(key));
    mailbox.done(ask('a'));
    assert.equal(keysOf(mailbox.take(everything)), 'b a');
    mailbox.done(ask('a'));
    assert.deepEqual(mailbox.take(everything), []);
  });

  test('gives no further turn to a key that was not put in flight', () => {
    const mailbox = keyed();
    mailbox.put(ask('a'));
    mailbox.take(1);
    mailbox.done(ask('a'));
    assert.deepEqual([mailbox.size, mailbox.inFlight, mailbox.take(1).length], [0, 0, 0]);
  });

  test('takes no notice of the end of a flight that was not under way', () => {
    const mailbox = keyed();
    mailbox.done(ask('a'));
    mailbox.put(ask('a'));
    mailbox.done(ask('a'));
    assert.deepEqual([mailbox.size, mailbox.inFlight], [1, 0]);
    assert.equal(keysOf(mailbox.take(1)), 'a');
  });

  test('takes back a waiting message that is withdrawn', () => {
    const mailbox = keyed();
    mailbox.put(ask('a'));
    mailbox.put(ask('b'));
    mailbox.withdraw('a', always);
    assert.equal(mailbox.size, 1);
    assert.equal(keysOf(mailbox.take(everything)), 'b');
  });

  test('takes back no message that is still wanted', () => {
    const mailbox = keyed();
    mailbox.put(ask('a', 7));
    mailbox.withdraw('a', ({ at }) => at <= 5);
    assert.deepEqual(mailbox.take(1), [ask('a', 7)]);
  });

  test('gives a withdrawn key one turn when it is put again', () => {
    const mailbox = keyed();
    mailbox.put(ask('a', 1));
    mailbox.withdraw('a', always);
    mailbox.put(ask('a', 6));
    assert.equal(mailbox.size, 1);
    assert.deepEqual(mailbox.take(everything), [ask('a', 6)]);
    mailbox.done(ask('a', 6));
    assert.deepEqual(mailbox.take(everything), []);
  });

  test('gives no further turn to a key whose second message was withdrawn in flight', () => {
    const mailbox = keyed();
    mailbox.put(ask('a', 1));
    mailbox.take(1);
    mailbox.put(ask('a', 2));
    mailbox.withdraw('a', always);
    mailbox.done(ask('a', 1));
    assert.deepEqual([mailbox.size, mailbox.take(everything).length], [0, 0]);
  });

  test('takes no notice of the withdrawal of a key it does not know', () => {
    const mailbox = keyed();
    mailbox.withdraw('a', always);
    mailbox.put(ask('a', 1));
    assert.equal(keysOf(mailbox.take(1)), 'a');
  });

  test('takes __proto__ for a key like any other', () => {
    const mailbox = keyed();
    mailbox.put(ask('__proto__'));
    mailbox.put(ask('constructor'));
    assert.equal(keysOf(mailbox.take(everything)), '__proto__ constructor');
  });
});
