/** Listeners: several at a time, each told until it is taken away. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Listeners } from '../../src/actor/listeners.ts';
import { Conditions } from '../../src/reconcile/conditions.ts';
import { Ledger } from '../../src/reconcile/ledger.ts';

test('every listener is told, in order, until it is taken away; the same function may be added twice', () => {
  const said: string[] = [];
  const listeners = new Listeners<[word: string]>();
  const say = (word: string) => void said.push(word);
  const ends = [listeners.add(say), listeners.add(say), listeners.add((word) => void said.push(`${word}!`))];
  listeners.tell('a');
  ends[0]?.();
  ends[0]?.();
  listeners.tell('b');
  assert.deepEqual(said, ['a', 'a', 'a!', 'b', 'b!']);
});

test('two users of the ledger and of the conditions hear of every container', () => {
  const ledger = new Ledger();
  const conditions = new Conditions();
  const heard: string[] = [];
  for (const name of ['page', 'metrics']) {
    ledger.touched.add((id) => void heard.push(`${name} ${id}`));
    conditions.touched.add((id) => void heard.push(`${name} ${id}`));
  }
  ledger.desire('a', new Map([['k', 'v']]));
  conditions.note('b', { unreadable: 'no answer' });
  assert.deepEqual(heard, ['page a', 'metrics a', 'page b', 'metrics b']);
});
