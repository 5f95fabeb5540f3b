/** What is left to do between what etcd should hold and what it is known to hold. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Audited, foreign, type Held, ours, unread } from '../../src/layout/held.ts';
import type { Change } from '../../src/layout/keys.ts';
import { Ledger } from '../../src/reconcile/ledger.ts';

const put = (key: string, value: string): Change => ({ key, value });
const remove = (key: string): Change => ({ key, value: undefined });
const keys = (...pairs: [string, string][]) => new Map(pairs);
const none = keys();

/** A reading of etcd, as `load` takes it; a key without a value is on another lease. */
function reading(found: Record<string, Record<string, string | undefined>>): Map<string, Map<string, Held>> {
  const heldOf = (value: string | undefined) => (value === undefined ? foreign : ours(value));
  return new Map(
    Object.entries(found).map(([shortId, keys]) => [
      shortId,
      new Map(Object.entries(keys).map(([key, value]) => [key, heldOf(value)])),
    ]),
  );
}

/** An answer about keys on a lease, as `differs` takes it. */
function held(found: Record<string, string[]>): Map<string, Map<string, Audited>> {
  return new Map(
    Object.entries(found).map(([shortId, names]) => [shortId, new Map(names.map((name) => [name, unread]))]),
  );
}

function commit(ledger: Ledger, shortId: string): Change[] {
  const changes = ledger.begin(shortId);
  ledger.committed(shortId, changes);
  ledger.ended(shortId);
  return changes;
}

function publishing(...pairs: [string, string][]): Ledger {
  const ledger = new Ledger();
  ledger.desire('c1', keys(...pairs));
  commit(ledger, 'c1');
  return ledger;
}

describe('Ledger', () => {
  test('puts what is desired and not there', () => {
    const ledger = new Ledger();
    ledger.desire('c1', keys(['a', '1'], ['b', '2']));
    assert.deepEqual(ledger.changes('c1'), [put('a', '1'), put('b', '2')]);
  });

  test('has nothing to do once that is committed', () => {
    const ledger = publishing(['a', '1']);
    assert.deepEqual(ledger.changes('c1'), []);
    assert.deepEqual([...ledger.unsettled()], []);
    assert.deepEqual([...ledger.published()], ['c1']);
    assert.equal(ledger.size, 1);
  });

  test('deletes what is there and not desired, before it puts', () => {
    const ledger = publishing(['a', '1'], ['b', '2']);
    ledger.desire('c1', keys(['b', '3'], ['c', '4']));
    assert.deepEqual(ledger.changes('c1'), [remove('a'), put('b', '3'), put('c', '4')]);
  });

  test('has nothing to do for a container whose desired state is not known', () => {
    const ledger = new Ledger();
    ledger.load(reading({ c1: { a: '1' } }));
    assert.deepEqual(ledger.changes('c1'), []);
    assert.deepEqual([...ledger.unsettled()], []);
    assert.equal(ledger.desired('c1'), undefined);
    assert.deepEqual([...ledger.observed('c1')], [['a', ours('1')]]);
  });

  test('has nothing to do for a container it has never heard of', () => {
    const ledger = new Ledger();
    assert.deepEqual(ledger.changes('c1'), []);
    assert.deepEqual(ledger.begin('c1'), []);
    assert.equal(ledger.observed('c1').size, 0);
    assert.equal(ledger.size, 0);
  });

  test('has nothing to do for a start and a death that met before the transaction', () => {
    const ledger = new Ledger();
    ledger.desire('c1', keys(['a', '1']));
    ledger.desire('c1', none);
    assert.deepEqual(ledger.changes('c1'), []);
    assert.equal(ledger.size, 0);
  });

  test('deletes what was desired no more while its put was under way', () => {
    const ledger = new Ledger();
    ledger.desire('c1', keys(['a', '1']));
    const changes = ledger.begin('c1');
    ledger.desire('c1', none);
    ledger.committed('c1', changes);
    ledger.ended('c1');
    assert.deepEqual(ledger.changes('c1'), [remove('a')]);
  });

  test('puts again what was desired again while its delete was under way', () => {
    const ledger = publishing(['a', '1']);
    ledger.desire('c1', none);
    const changes = ledger.begin('c1');
    ledger.desire('c1', keys(['a', '2']));
    ledger.committed('c1', changes);
    ledger.ended('c1');
    assert.deepEqual(ledger.changes('c1'), [put('a', '2')]);
  });

  test('has the same to do again after changes that were not committed', () => {
    const ledger = new Ledger();
    ledger.desire('c1', keys(['a', '1']));
    ledger.begin('c1');
    ledger.ended('c1');
    assert.deepEqual(ledger.changes('c1'), [put('a', '1')]);
  });

  test('forgets a container once nothing is desired, held or under way', () => {
    const ledger = publishing(['a', '1']);
    ledger.desire('c1', none);
    assert.equal(ledger.size, 1);
    commit(ledger, 'c1');
    assert.equal(ledger.size, 0);
  });

  test('keeps a container while its changes are under way, whatever is desired meanwhile', () => {
    const ledger = new Ledger();
    ledger.desire('c1', keys(['a', '1']));
    ledger.begin('c1');
    ledger.desire('c1', none);
    assert.equal(ledger.size, 1);
    ledger.ended('c1');
    assert.equal(ledger.size, 0);
  });

  test('names the containers that are unsettled and no others', () => {
    const ledger = publishing(['a', '1']);
    ledger.desire('c2', keys(['b', '2']));
    ledger.desire('c3', none);
    assert.deepEqual([...ledger.unsettled()], ['c2']);
  });
});

describe('Ledger.load', () => {
  test('replaces all that was known by what was found', () => {
    const ledger = publishing(['a', '1']);
    ledger.load(reading({ c2: { b: '2' } }));
    assert.deepEqual([...ledger.published()], ['c2']);
    assert.deepEqual(ledger.changes('c1'), [put('a', '1')]);
  });

  test('writes nothing where what was found is what is desired', () => {
    const ledger = new Ledger();
    ledger.desire('c1', keys(['a', '1']));
    ledger.load(reading({ c1: { a: '1' } }));
    assert.deepEqual(ledger.changes('c1'), []);
  });

  test('puts again a key that was found on another lease', () => {
    const ledger = new Ledger();
    ledger.load(reading({ c1: { a: undefined, b: '2' } }));
    ledger.desire('c1', keys(['a', '1'], ['b', '2']));
    assert.deepEqual(ledger.changes('c1'), [put('a', '1')]);
  });

  test('deletes a key that was found on another lease and is not desired', () => {
    const ledger = new Ledger();
    ledger.load(reading({ c1: { a: undefined } }));
    ledger.desire('c1', none);
    assert.deepEqual(ledger.changes('c1'), [remove('a')]);
  });

  test('forgets a container that was to go and has gone', () => {
    const ledger = publishing(['a', '1']);
    ledger.desire('c1', none);
    ledger.load(reading({}));
    assert.equal(ledger.size, 0);
  });

  test('does not know any more what it wants of a container that another process has written differently', () => {
    const ledger = new Ledger();
    ledger.desire('c1', keys(['a', '1']));
    ledger.desire('c2', keys(['b', '2']));
    ledger.desire('c3', keys(['c', '3']));
    const uncertain = ledger.load(reading({ c1: { a: '1' }, c2: { b: 'of the other' }, c4: { d: '4' } }), true);
    assert.deepEqual(uncertain.sort(), ['c2', 'c3', 'c4']);
    assert.deepEqual([...ledger.unsettled()], []);
    assert.deepEqual([...ledger.published()].sort(), ['c1', 'c2', 'c4']);
    assert.equal(ledger.desired('c3'), undefined);
  });

  test('goes on wanting what it wanted after its own writing', () => {
    const ledger = new Ledger();
    ledger.desire('c1', keys(['a', '1']));
    assert.deepEqual(ledger.load(reading({ c1: { a: '0' } })), []);
    assert.deepEqual(ledger.changes('c1'), [put('a', '1')]);
  });

  test('keeps a container whose changes are under way', () => {
    const ledger = publishing(['a', '1']);
    ledger.desire('c1', none);
    ledger.begin('c1');
    ledger.load(reading({}));
    assert.equal(ledger.size, 1);
    ledger.ended('c1');
    assert.equal(ledger.size, 0);
  });
});

describe('Ledger.oldestUnsettledSeconds', () => {
  test('is the age of the container that has waited longest, and 0 once all are settled', () => {
    let nowMs = 5_000;
    const ledger = new Ledger(() => nowMs);
    assert.equal(ledger.oldestUnsettledSeconds(), 0);
    ledger.desire('c1', keys(['a', '1']));
    nowMs += 2_000;
    ledger.desire('c2', keys(['b', '1']));
    nowMs += 1_000;
    assert.equal(ledger.oldestUnsettledSeconds(), 3);
    commit(ledger, 'c1');
    assert.equal(ledger.oldestUnsettledSeconds(), 1);
    commit(ledger, 'c2');
    assert.equal(ledger.oldestUnsettledSeconds(), 0);
  });

  test('goes on where what is desired changes before it was committed', () => {
    let nowMs = 0;
    const ledger = new Ledger(() => nowMs);
    ledger.desire('c1', keys(['a', '1']));
    nowMs += 2_000;
    ledger.desire('c1', keys(['a', '2']));
    nowMs += 2_000;
    assert.equal(ledger.oldestUnsettledSeconds(), 4);
  });

  test('begins when a reading shows that etcd lost a key, and is 0 where nothing is known to be desired', () => {
    let nowMs = 0;
    const ledger = new Ledger(() => nowMs);
    ledger.load(reading({ c1: { a: '1' }, c2: { b: '1' } }));
    ledger.desire('c1', keys(['a', '1']));
    nowMs += 2_000;
    assert.equal(ledger.oldestUnsettledSeconds(), 0);
    ledger.load(reading({ c2: { b: '1' } }));
    nowMs += 3_000;
    assert.equal(ledger.oldestUnsettledSeconds(), 3);
  });
});

describe('Ledger.differs', () => {
  test('sees no difference where etcd holds what is observed', () => {
    const ledger = publishing(['a', '1'], ['b', '2']);
    assert.equal(ledger.differs(held({ c1: ['a', 'b'] }), ledger.version), false);
    assert.equal(new Ledger().differs(held({}), 0), false);
  });

  test('sees a key that is missing', () => {
    const ledger = publishing(['a', '1'], ['b', '2']);
    assert.equal(ledger.differs(held({ c1: ['a'] }), ledger.version), true);
    assert.equal(ledger.differs(held({}), ledger.version), true);
  });

  test('sees a key that is too many', () => {
    const ledger = publishing(['a', '1']);
    assert.equal(ledger.differs(held({ c1: ['a', 'b'] }), ledger.version), true);
  });

  test('sees a key in the place of another', () => {
    const ledger = publishing(['a', '1']);
    assert.equal(ledger.differs(held({ c1: ['b'] }), ledger.version), true);
  });

  test('sees a container that nobody knows', () => {
    const ledger = publishing(['a', '1']);
    assert.equal(ledger.differs(held({ c1: ['a'], c2: ['b'] }), ledger.version), true);
  });

  test('does not compare a container that was written since the question was asked', () => {
    const ledger = publishing(['a', '1']);
    const { version } = ledger;
    ledger.desire('c1', keys(['a', '1'], ['b', '2']));
    commit(ledger, 'c1');
    assert.equal(ledger.differs(held({ c1: ['a'] }), version), false);
    assert.equal(ledger.differs(held({ c1: ['a', 'b'] }), version), false);
  });

  test('still sees what is wrong with a container that was not written since', () => {
    const ledger = publishing(['a', '1']);
    const { version } = ledger;
    ledger.desire('c2', keys(['b', '2']));
    commit(ledger, 'c2');
    assert.equal(ledger.differs(held({ c1: [], c2: [] }), version), true);
  });

  test('does not take a container that was removed since for a stranger', () => {
    const ledger = publishing(['a', '1']);
    const { version } = ledger;
    ledger.desire('c1', none);
    commit(ledger, 'c1');
    assert.equal(ledger.differs(held({ c1: ['a'] }), version), false);
    assert.equal(ledger.differs(held({}), version), false);
  });

  test('compares again at the next question', () => {
    const ledger = publishing(['a', '1']);
    ledger.desire('c1', keys(['b', '2']));
    commit(ledger, 'c1');
    assert.equal(ledger.differs(held({ c1: ['a'] }), ledger.version), true);
  });

  test('does not compare a container that only waits for its first commit', () => {
    const ledger = new Ledger();
    ledger.desire('c1', keys(['a', '1']));
    assert.equal(ledger.differs(held({}), ledger.version), false);
  });

  test('sees a value that is another, where values were read', () => {
    const ledger = publishing(['a', '1']);
    assert.equal(ledger.differs(reading({ c1: { a: '1' } }), ledger.version), false);
    assert.equal(ledger.differs(reading({ c1: { a: '2' } }), ledger.version), true);
  });

  test('sees a key that has gone to another lease, and only once', () => {
    const ledger = publishing(['a', '1']);
    const found = reading({ c1: { a: undefined } });
    assert.equal(ledger.differs(found, ledger.version), true);
    ledger.load(found);
    assert.equal(ledger.differs(found, ledger.version), false);
  });

  test('does not compare a container whose changes are under way: etcd may have them and we not know yet', () => {
    const ledger = publishing(['a', '1']);
    const { version } = ledger;
    ledger.desire('c1', keys(['b', '2']));
    ledger.begin('c1');
    assert.equal(ledger.differs(held({ c1: ['a'] }), version), false, 'not applied yet');
    assert.equal(ledger.differs(held({ c1: ['b'] }), version), false, 'applied, not answered yet');
  });
});
