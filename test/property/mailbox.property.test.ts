/** The keyed mailbox against the plainest model of it: whatever is put, taken, done and withdrawn, in whatever order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KeyedMailbox } from '../../src/actor/mailbox.ts';

interface Ask {
  readonly key: string;
  readonly at: number;
}

type Step =
  | { readonly kind: 'put'; readonly key: string; readonly at: number }
  | { readonly kind: 'take'; readonly max: number }
  | { readonly kind: 'done'; readonly which: number }
  | { readonly kind: 'withdraw'; readonly key: string; readonly at: number };

const key = fc.constantFrom('a', 'b', 'c', 'd', '__proto__');
const at = fc.integer({ min: 0, max: 9 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('put' as const), key, at }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('take' as const), max: fc.integer({ min: 0, max: 3 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('done' as const), which: fc.nat({ max: 9 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('withdraw' as const), key, at }) },
);
const steps = fc.array(step, { maxLength: 60 });

const newest = (older: Ask, newer: Ask) => (newer.at > older.at ? newer : older);

/** Three lists and the rules, word by word. A place in the order is kept by a key whose message was withdrawn. */
class Model {
  places: string[] = [];
  waiting: Ask[] = [];
  inFlight: Ask[] = [];

  put(ask: Ask): void {
    const older = this.waiting.find((other) => other.key === ask.key);
    this.waiting = [...this.waiting.filter((other) => other !== older), older ? newest(older, ask) : ask];
    this.#place(ask.key);
  }

  take(max: number): Ask[] {
    const batch: Ask[] = [];
    while (batch.length < max && this.places.length > 0) {
      const place = this.places.shift();
      const ask = this.waiting.find((other) => other.key === place);
      if (ask === undefined) continue;
      this.waiting = this.waiting.filter((other) => other !== ask);
      this.inFlight.push(ask);
      batch.push(ask);
    }
    return batch;
  }

  done(ask: Ask): void {
    this.inFlight = this.inFlight.filter((flight) => flight.key !== ask.key);
    if (this.waiting.some((other) => other.key === ask.key)) this.#place(ask.key);
  }

  withdraw(withdrawn: string, now: number): void {
    this.waiting = this.waiting.filter((ask) => ask.key !== withdrawn || ask.at > now);
  }

  #place(placed: string): void {
    const isInFlight = this.inFlight.some((flight) => flight.key === placed);
    if (!isInFlight && !this.places.includes(placed)) this.places.push(placed);
  }
}

/** Walks mailbox and model together; `check` sees both after each step. */
function walk(mailbox: KeyedMailbox<Ask>, walked: readonly Step[], check: (model: Model) => void): Model {
  const model = new Model();
  for (const taken of walked) {
    if (taken.kind === 'put') {
      const ask = { key: taken.key, at: taken.at };
      mailbox.put(ask);
      model.put(ask);
    } else if (taken.kind === 'take') {
      assert.deepEqual(mailbox.take(taken.max), model.take(taken.max));
    } else if (taken.kind === 'done') {
      const flight = model.inFlight[taken.which % Math.max(1, model.inFlight.length)];
      if (flight === undefined) continue;
      mailbox.done(flight);
      model.done(flight);
    } else {
      mailbox.withdraw(taken.key, (ask) => ask.at <= taken.at);
      model.withdraw(taken.key, taken.at);
    }
    check(model);
  }
  return model;
}

function keyedMailbox(): KeyedMailbox<Ask> {
  return new KeyedMailbox<Ask>((ask) => ask.key, newest);
}

test('KeyedMailbox does what the model does', () => {
  fc.assert(
    fc.property(steps, (walked) => {
      const mailbox = keyedMailbox();
      walk(mailbox, walked, (model) => {
        assert.equal(mailbox.size, model.waiting.length);
        assert.equal(mailbox.inFlight, model.inFlight.length);
      });
    }),
    { numRuns: 2_000 },
  );
});

test('KeyedMailbox lets a key wait at most once and never puts it in flight twice', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(key, fc.constant('')), { maxLength: 60 }), (walked) => {
      const mailbox = keyedMailbox();
      const inFlight = new Set<string>();
      const put = new Set<string>();
      for (const next of walked) {
        if (next !== '') {
          mailbox.put({ key: next, at: 0 });
          put.add(next);
          assert.ok(mailbox.size <= put.size);
          continue;
        }
        const [ask] = mailbox.take(1);
        if (ask !== undefined) {
          assert.ok(!inFlight.has(ask.key));
          inFlight.add(ask.key);
        } else {
          for (const flying of inFlight) mailbox.done({ key: flying, at: 0 });
          inFlight.clear();
        }
      }
    }),
  );
});

test('KeyedMailbox gives a key put in flight exactly one more turn, however often it was put', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.array(key, { maxLength: 10 }), (times, others) => {
      const mailbox = keyedMailbox();
      mailbox.put({ key: 'me', at: 0 });
      mailbox.take(1);
      for (let n = 0; n < times; n++) mailbox.put({ key: 'me', at: n });
      for (const other of others) mailbox.put({ key: other, at: 0 });
      mailbox.done({ key: 'me', at: 0 });
      const turns = mailbox.take(Number.POSITIVE_INFINITY).map((ask) => ask.key);
      assert.deepEqual(turns, [...new Set(others), 'me']);
    }),
  );
});

test('KeyedMailbox remembers no key once all turns are taken and done', () => {
  fc.assert(
    fc.property(steps, (walked) => {
      const maps: Map<unknown, unknown>[] = [];
      const mailbox = watchingMaps(maps, keyedMailbox);
      const model = walk(mailbox, walked, () => {});
      for (let rounds = 0; rounds < 2; rounds++) {
        for (const ask of model.inFlight) mailbox.done(ask);
        model.inFlight = mailbox.take(Number.POSITIVE_INFINITY);
      }
      assert.deepEqual([mailbox.size, mailbox.inFlight], [0, 0]);
      assert.ok(maps.length > 0);
      for (const map of maps) assert.equal(map.size, 0);
    }),
  );
});

/** The maps that `make` creates: the only way to see what a private field remembers. */
function watchingMaps<Made>(maps: Map<unknown, unknown>[], make: () => Made): Made {
  const original = globalThis.Map;
  globalThis.Map = class<Key, Value> extends original<Key, Value> {
    constructor(entries?: Iterable<readonly [Key, Value]>) {
      super(entries);
      maps.push(this as Map<unknown, unknown>);
    }
  } as MapConstructor;
  try {
    return make();
  } finally {
    globalThis.Map = original;
  }
}
