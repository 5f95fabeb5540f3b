/** The ledger beside an etcd that does, refuses or loses what it is told: nothing is ever left undone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ours, unread } from '../../src/layout/held.ts';
import type { Change } from '../../src/layout/keys.ts';
import { Ledger } from '../../src/reconcile/ledger.ts';

const shortId = fc.constantFrom('c1', 'c2', 'c3');
const keys = fc.dictionary(fc.constantFrom('a', 'b', 'c', '__proto__'), fc.constantFrom('1', '2'), { maxKeys: 4 });
const columns = fc.array(fc.tuple(shortId, keys), { maxLength: 6 });

type Columns = Map<string, Map<string, string>>;

const loaded = (columns: ReadonlyMap<string, ReadonlyMap<string, string>>) =>
  new Map([...columns].map(([name, column]) => [name, new Map([...column].map(([key, value]) => [key, ours(value)]))]));

function toMap(record: Record<string, string>): Map<string, string> {
  return new Map(Object.entries(record));
}

function toColumns(entries: readonly (readonly [string, Record<string, string>])[]): Columns {
  const columns: Columns = new Map();
  for (const [name, record] of entries) if (Object.keys(record).length > 0) columns.set(name, toMap(record));
  return columns;
}

function apply(to: Map<string, string>, changes: readonly Change[]): void {
  for (const { key, value } of changes) {
    if (value === undefined) to.delete(key);
    else to.set(key, value);
  }
}

const sorted = (map: ReadonlyMap<string, string>) => [...map].sort();

test('Ledger finds changes which, applied to observed, give desired, each key once', () => {
  fc.assert(
    fc.property(keys, keys, (before, after) => {
      const ledger = new Ledger();
      ledger.load(loaded(toColumns([['c1', before]])));
      ledger.desire('c1', toMap(after));
      const changes = ledger.changes('c1');
      assert.equal(new Set(changes.map(({ key }) => key)).size, changes.length);
      const etcd = toMap(before);
      apply(etcd, changes);
      assert.deepEqual(sorted(etcd), sorted(toMap(after)));
    }),
  );
});

test('Ledger finds no changes between equals', () => {
  fc.assert(
    fc.property(keys, (same) => {
      const ledger = new Ledger();
      ledger.load(loaded(toColumns([['c1', same]])));
      ledger.desire('c1', toMap(same));
      assert.deepEqual(ledger.changes('c1'), []);
      const onLease = loaded(new Map(ledger.size > 0 ? [['c1', toMap(same)]] : []));
      assert.equal(ledger.differs(onLease, ledger.version), false);
    }),
  );
});

type Step =
  | { readonly kind: 'desire'; readonly shortId: string; readonly keys: Record<string, string> }
  | { readonly kind: 'begin'; readonly shortId: string }
  | { readonly kind: 'commit' | 'refuse'; readonly which: number }
  | { readonly kind: 'meddle'; readonly etcd: readonly (readonly [string, Record<string, string>])[] };

const which = fc.nat({ max: 5 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('desire' as const), shortId, keys }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('begin' as const), shortId }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('commit' as const, 'refuse' as const), which }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('meddle' as const), etcd: columns }) },
);

test('Ledger ends with etcd as desired, whatever was committed, refused, changed by others and read anew', () => {
  fc.assert(
    fc.property(columns, fc.array(step, { maxLength: 40 }), (first, steps) => {
      const ledger = new Ledger();
      let etcd = toColumns(first);
      const desired = new Map<string, Map<string, string>>();
      let underWay: { shortId: string; changes: Change[] }[] = [];
      const read = () => {
        for (const { shortId } of underWay) ledger.ended(shortId);
        underWay = [];
        ledger.load(loaded(etcd));
        // As the reconciler does: the ledger remembers nothing of a container that neither has nor wants keys.
        for (const name of ledger.published()) if (desired.get(name)?.size === 0) ledger.desire(name, new Map());
      };
      const held = (name: string) => {
        const column = etcd.get(name) ?? new Map<string, string>();
        etcd.set(name, column);
        return column;
      };
      const end = (flight: { shortId: string; changes: Change[] }, isCommitted: boolean) => {
        underWay = underWay.filter((other) => other !== flight);
        if (isCommitted) {
          apply(held(flight.shortId), flight.changes);
          ledger.committed(flight.shortId, flight.changes);
        }
        ledger.ended(flight.shortId);
      };
      const begin = (name: string) => {
        // One flight for each container at a time, as the keyed mailbox sees to.
        if (underWay.some((flight) => flight.shortId === name)) return;
        const changes = ledger.begin(name);
        if (changes.length > 0) underWay.push({ shortId: name, changes });
      };
      read();
      for (const next of steps) {
        if (next.kind === 'desire') {
          ledger.desire(next.shortId, toMap(next.keys));
          desired.set(next.shortId, toMap(next.keys));
        } else if (next.kind === 'begin') {
          begin(next.shortId);
        } else if (next.kind === 'meddle') {
          etcd = toColumns(next.etcd);
          read();
        } else {
          const flight = underWay[next.which % Math.max(1, underWay.length)];
          if (flight !== undefined) end(flight, next.kind === 'commit');
        }
      }
      for (const flight of underWay) end(flight, true);
      for (const name of [...ledger.unsettled()]) begin(name);
      for (const flight of underWay) end(flight, true);

      assert.deepEqual([...ledger.unsettled()], []);
      for (const [name, keysOfName] of desired) assert.deepEqual(sorted(held(name)), sorted(keysOfName), name);
      const remembered = [...etcd.values()].filter((column) => column.size > 0).length;
      assert.equal(ledger.size, remembered, 'nothing is remembered but what etcd holds');
      const onLease = new Map(
        [...etcd].map(([name, column]) => [name, new Map([...column.keys()].map((key) => [key, unread]))]),
      );
      for (const [name, column] of onLease) if (column.size === 0) onLease.delete(name);
      assert.equal(ledger.differs(onLease, ledger.version), false);
    }),
    { numRuns: 1_000 },
  );
});
