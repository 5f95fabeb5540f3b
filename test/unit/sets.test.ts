/** What `discover watch` follows: several services at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Update } from '../../src/client/index.ts';
import { merged, Sets } from '../../src/commands/sets.ts';

const update: Update = { instances: [], added: [], removed: [], changed: [] };

async function* times(count: number): AsyncGenerator<Update> {
  for (let n = 0; n < count; n++) yield update;
}

test('the updates of several services come one at a time, until all of them are over', async () => {
  const seen: string[] = [];
  for await (const batch of merged([
    ['a', times(2)],
    ['b', times(3)],
  ])) {
    seen.push(...batch.keys());
  }
  assert.deepEqual(seen.sort(), ['a', 'a', 'b', 'b', 'b']);
});

test('a service that stays as it is remembers nothing of the changes of others', async () => {
  let reactions = 0;
  const silent = new Promise<never>(() => {});
  const quiet = {
    [Symbol.asyncIterator]: () => ({
      next: () => ({
        // biome-ignore lint/suspicious/noThenProperty: counts who waits for it
        then: (...waiters: Parameters<typeof silent.then>) => {
          reactions++;
          return silent.then(...waiters);
        },
      }),
    }),
  } as unknown as AsyncIterable<Update>;
  const batches = merged([
    ['quiet', quiet],
    ['busy', times(100)],
  ]);
  for (let n = 0; n < 100; n++) assert.deepEqual([...((await batches.next()).value ?? new Map()).keys()], ['busy']);
  assert.equal(reactions, 1);
});

test('a failure of one service ends all, and who keeps the sets is told', async () => {
  async function* refused(): AsyncGenerator<Update> {
    yield update;
    throw new Error('refused');
  }
  const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
  const sets = await Sets.of(
    merged([
      ['a', refused()],
      ['b', never],
    ]),
  );
  assert.deepEqual(sets.all, [['a', []]]);
  await turn();
  await assert.rejects(sets.changed(), /refused/);
});
