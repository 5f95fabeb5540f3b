/**
 * Those who look services up, as the tests see them: keys written in the agent's layout, and observers
 * that keep every set a client has handed out, to be held against what etcd says it held.
 */
import assert from 'node:assert/strict';
import type { DiscoverClient, Instance, Question } from '../../src/client/index.ts';
import { connectEtcd } from '../../src/etcd.ts';
import type { Recorder } from './etcd.ts';

export interface Writer extends AsyncDisposable {
  /** All of it in one transaction; a value that is undefined is a delete. Goes on until etcd has taken it. */
  write(changes: ReadonlyMap<string, string | undefined>): Promise<void>;
}

export function startWriter(endpoint: string): Writer {
  const etcd = connectEtcd(endpoint, { endpoints: [endpoint] });
  return {
    write: async (changes) => {
      const success = [...changes].map(([name, value]) => {
        const key = Buffer.from(name);
        if (value === undefined) return { request_delete_range: { key } };
        return { request_put: { key, value: Buffer.from(value) } };
      });
      for (;;) {
        try {
          await etcd.kv.txn({ compare: [], success, failure: [] });
          return;
        } catch {
          // etcd is what these tests take away. To write the same again is no harm.
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
    },
    [Symbol.asyncDispose]: async () => etcd.close(),
  };
}

export const keyOf = (name: string, id: number, { realm = 'default', host = 'h1' } = {}): string =>
  `/discover/service/${name}/${realm}/${host}/${id.toString(16).padStart(12, '0')}`;

/** What has been handed out: key to URL, as etcd has them. */
export type Seen = ReadonlyMap<string, string>;

export const seenOf = (instances: readonly Instance[]): Seen => new Map(instances.map(({ key, url }) => [key, url]));

export interface Observer {
  readonly name: string;
  readonly seen: readonly Seen[];
  /** Rejects where the client threw, or told of a change that does not lead from one set to the next. */
  readonly ended: Promise<void>;
}

export function observe(client: DiscoverClient, name: string, question: Question = {}): Observer {
  const seen: Seen[] = [];
  const follow = async (): Promise<void> => {
    const state = new Map<string, string>();
    for await (const { instances, added, removed, changed } of client.watch(name, question)) {
      for (const { key } of removed) assert.ok(state.delete(key), `Removed, but was not there: ${key}`);
      for (const { key, url } of added) {
        assert.ok(!state.has(key), `Added, but was there: ${key}`);
        state.set(key, url);
      }
      for (const { key, url } of changed) {
        assert.notEqual(state.get(key) ?? url, url, `Changed, but is as it was: ${key}`);
        state.set(key, url);
      }
      assert.deepEqual(sorted(state), sorted(seenOf(instances)));
      seen.push(new Map(state));
    }
  };
  const ended = follow();
  ended.catch(() => {}); // thrown where the test awaits it
  return { name, seen, ended };
}

const sorted = (seen: Seen): (readonly [string, string])[] => [...seen].sort(([a], [b]) => (a < b ? -1 : 1));

/** Every set was etcd's at some revision, none later than the one handed out next, and the last is the last. */
export function assertTruthful(observers: readonly Observer[], recorder: Recorder): void {
  for (const { name, seen } of observers) {
    const prefix = `/discover/service/${name}/`;
    const text = (state: Seen): string => JSON.stringify(sorted(state).filter(([key]) => key.startsWith(prefix)));
    const state = new Map(recorder.initial);
    const truths = [text(state)];
    recorder.changes.forEach(({ kind, key, value, revision }, index) => {
      if (kind === 'put') state.set(key, value);
      else state.delete(key);
      if (key.startsWith(prefix) && recorder.changes[index + 1]?.revision !== revision) truths.push(text(state));
    });
    let at = 0;
    for (const [index, set] of seen.entries()) {
      const found = truths.indexOf(text(set), at);
      assert.notEqual(found, -1, `Set ${index} of ${name} never was, or not since the one before: ${text(set)}`);
      at = found;
    }
    assert.equal(text(seen.at(-1) ?? new Map()), truths.at(-1), `The last set of ${name}`);
  }
}
