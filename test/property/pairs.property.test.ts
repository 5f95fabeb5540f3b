/**
 * The changes of service keys and of meta keys, against a history of transactions: however the two watches run ahead of
 * each other, and whenever etcd answers.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Catalogue } from '../../src/client/catalogue.ts';
import { Pairs } from '../../src/client/pairs.ts';
import type { RevisedChange } from '../../src/etcd/reader.ts';
import { amount } from '../helpers/share.ts';

const ids = ['aaaaaaaaaaaa', 'bbbbbbbbbbbb'];
const serviceKey = (id: string): string => `/discover/service/web/prod/h1/${id}`;
const metaKey = (id: string): string => `/discover/meta/web/prod/h1/${id}`;

/** A transaction of the agent: a container comes or changes, with or without a meta, or only its meta does, or it goes. */
const transaction = fc.record({
  id: fc.constantFrom(...ids),
  kind: fc.constantFrom('put' as const, 'plain' as const, 'meta' as const, 'delete' as const),
});

interface State {
  readonly services: ReadonlyMap<string, readonly [value: string, revision: bigint]>;
  readonly metas: ReadonlyMap<string, readonly [value: string, revision: bigint]>;
}

/** The states of etcd by revision, the first one empty, and the events of both watches. */
function historyOf(
  transactions: readonly { readonly id: string; readonly kind: 'put' | 'plain' | 'meta' | 'delete' }[],
) {
  const states: State[] = [{ services: new Map(), metas: new Map() }];
  const events: Record<'services' | 'metas', RevisedChange[]> = { services: [], metas: [] };
  for (const [index, { id, kind }] of transactions.entries()) {
    const revision = BigInt(index + 1);
    const last = states.at(-1) as State;
    const next = { services: new Map(last.services), metas: new Map(last.metas) };
    const change = (tree: 'services' | 'metas', value: string | undefined): void => {
      const key = tree === 'services' ? serviceKey(id) : metaKey(id);
      if (value === undefined && !next[tree].delete(key)) return;
      if (value !== undefined) next[tree].set(key, [value, revision]);
      events[tree].push({ key, value, revision });
    };
    // The weight tells with which address it was written.
    if (kind === 'put' || kind === 'plain') change('services', `tcp://10.0.0.1:${index + 1}`);
    if (kind === 'put' || (kind === 'meta' && next.services.has(serviceKey(id))))
      change('metas', `{"weight":${index + 1}}`);
    if (kind === 'plain' || kind === 'delete') change('metas', undefined);
    if (kind === 'delete') change('services', undefined);
    states.push(next);
  }
  return { states, events };
}

const textOf = ({ services, metas }: State, id: string): string => {
  const [url] = services.get(serviceKey(id)) ?? [];
  return url === undefined ? 'none' : `${url} ${metas.get(metaKey(id))?.[0] ?? ''}`;
};

const steps = fc.array(fc.constantFrom('services' as const, 'metas' as const, 'answer' as const, 'turn' as const), {
  maxLength: 60,
});

test('Pairs hands on each instance as it was at a revision, and the service keys as they all were (two watches, simulated)', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(transaction, { maxLength: 12 }), steps, async (transactions, order) => {
      const { states, events } = historyOf(transactions);
      const catalogue = new Catalogue('/discover');
      const waiting: (() => void)[] = [];
      const at = new Map(ids.map((id) => [id, 0]));
      let servicesAt = 0;
      const check = (): void => {
        const seen = new Map(catalogue.select('web', {}).map((one) => [one.containerId, one]));
        const urls = ids.map((id) => seen.get(id)?.url).join();
        const isThen = ({ services }: State) => ids.map((id) => services.get(serviceKey(id))?.[0]).join() === urls;
        servicesAt = states.findIndex((state, index) => index >= servicesAt && isThen(state));
        assert.notEqual(servicesAt, -1, `Never were ${urls}`);
        for (const id of ids) {
          const one = seen.get(id);
          const text =
            one === undefined ? 'none' : `${one.url} ${one.weight === undefined ? '' : `{"weight":${one.weight}}`}`;
          const found = states.findIndex((state, index) => index >= (at.get(id) ?? 0) && textOf(state, id) === text);
          assert.notEqual(found, -1, `Never was, or not since: ${text}`);
          at.set(id, found);
        }
      };
      const pairs = new Pairs({
        prefix: '/discover',
        revision: 0n,
        isInstance: (key) => catalogue.has(key),
        look: (points) =>
          new Promise((resolve) => {
            const answer = points.map(({ key, revision }) => {
              const state = states[Number(revision)] as State;
              const found = state.services.get(key) ?? state.metas.get(key);
              return found && { value: found[0], revision: found[1] };
            });
            waiting.push(() => resolve(answer));
          }),
        apply: (changes) => {
          catalogue.apply(changes);
          check();
        },
      });
      const work: Promise<void>[] = [];
      const tell = (tree: 'services' | 'metas'): void => {
        const event = events[tree].shift();
        if (event === undefined) return;
        work.push(pairs.take([event]));
        work.at(-1)?.catch(() => {});
      };
      for (const step of order) {
        if (step === 'answer') waiting.shift()?.();
        else if (step === 'turn') await new Promise((resolve) => setImmediate(resolve));
        else tell(step);
      }
      while (events.metas.length > 0) tell('metas');
      while (events.services.length > 0) tell('services');
      const end = Promise.all(work);
      let isOver = false;
      end.then(
        () => (isOver = true),
        () => (isOver = true),
      );
      while (!isOver) {
        waiting.shift()?.();
        await new Promise((resolve) => setImmediate(resolve));
      }
      await end;
      const last = states.at(-1) as State;
      for (const id of ids) {
        const one = catalogue.select('web', {}).find(({ containerId }) => containerId === id);
        const text =
          one === undefined ? 'none' : `${one.url} ${one.weight === undefined ? '' : `{"weight":${one.weight}}`}`;
        assert.equal(text, textOf(last, id));
      }
    }),
    { numRuns: amount(500, 20_000) },
  );
});
