/**
 * Those who look services up, as the tests see them: keys written in the agent's layout, and observers
 * that keep every set a client has handed out, to be held against what etcd says it held.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../bench/engine/random.ts';
import type { DiscoverClient, Instance, Query } from '../../src/client/index.ts';
import { Member } from '../../src/etcd/member.ts';
import type { EtcdServer, Recorder } from './etcd.ts';
import { eventually } from './eventually.ts';

export interface Writer extends AsyncDisposable {
  /** All of it in one transaction; a value that is undefined is a delete. Goes on until etcd has taken it. */
  write(changes: ReadonlyMap<string, string | undefined>): Promise<void>;
}

export function startWriter(endpoint: string): Writer {
  const member = new Member(endpoint, { endpoints: [endpoint] });
  let isClosed = false;
  return {
    write: async (changes) => {
      const success = [...changes].map(([name, value]) => {
        const key = Buffer.from(name);
        if (value === undefined) return { request_delete_range: { key } };
        return { request_put: { key, value: Buffer.from(value) } };
      });
      for (;;) {
        try {
          await member.etcd.kv.txn({ compare: [], success, failure: [] });
          return;
        } catch (error) {
          // etcd is what these tests take away. To write the same again is no harm.
          if (isClosed) throw error;
          await sleep(50);
        }
      }
    },
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
      member.close();
    },
  };
}

export const keyOf = (name: string, id: number, { realm = 'default', host = 'h1' } = {}): string =>
  `/discover/service/${name}/${realm}/${host}/${id.toString(16).padStart(12, '0')}`;

export interface Lives extends AsyncDisposable {
  /** Resolves when the last of it has been written. */
  end(): Promise<void>;
}

/**
 * Instances of the names come, go and move at a rate. Each name has instance 0 all the time, so no set of
 * it is ever empty.
 */
export function live(writer: Writer, names: readonly string[], rate: number): Lives {
  const random = new Random(1);
  const running: (readonly [name: string, id: number])[] = [];
  const urlOf = (): string => `tcp://10.0.0.${1 + random.below(250)}:${1 + random.below(65_000)}`;
  let [isOver, lives] = [false, 0];
  const step = (): (readonly [key: string, url: string | undefined])[] => {
    const name = names[random.below(names.length)] ?? '';
    if (random.chance(0.2)) return [[keyOf(name, 0), urlOf()]];
    if (random.chance(0.5))
      return running.splice(random.below(running.length), 1).map((one) => [keyOf(...one), undefined]);
    running.push([name, ++lives]);
    return [[keyOf(name, lives), urlOf()]];
  };
  const go = async (): Promise<void> => {
    await writer.write(new Map(names.map((name) => [keyOf(name, 0), urlOf()])));
    for (const begunMs = performance.now(); !isOver; ) {
      await writer.write(new Map(step()));
      await sleep(Math.max(0, begunMs + (lives * 2 * 1000) / rate - performance.now()));
    }
  };
  const gone = go();
  gone.catch(() => {}); // thrown where the test awaits it
  const end = (): Promise<void> => {
    isOver = true;
    return gone;
  };
  // Not waited for: where a test has failed, there may be nobody to write to.
  return { end, [Symbol.asyncDispose]: async () => void end() };
}

/** What has been handed out: key to URL, as etcd has them. */
export type Seen = ReadonlyMap<string, string>;

export const seenOf = (instances: readonly Instance[]): Seen => new Map(instances.map(({ key, url }) => [key, url]));

export interface Observer {
  readonly name: string;
  readonly seen: readonly Seen[];
  /** Rejects where the client threw, or told of a change that does not lead from one set to the next. */
  readonly ended: Promise<void>;
}

export function observe(client: DiscoverClient, name: string, question: Query = {}): Observer {
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

/** Waits until everybody has been handed what etcd holds; then no set before may have been untrue, or empty without cause. */
export async function assertExact(
  etcd: EtcdServer,
  recorder: Recorder,
  observers: readonly Observer[],
  options?: { readonly timeoutMs?: number },
): Promise<void> {
  const held = await eventually(() => etcd.get('/discover/service/'));
  const last = ({ seen }: Observer) => sorted(seen.at(-1) ?? new Map());
  const of = ({ name }: Observer) => [...held].filter(([key]) => key.startsWith(`/discover/service/${name}/`));
  await eventually(
    () =>
      assert.deepEqual(
        observers.map(last),
        observers.map((one) => sorted(new Map(of(one)))),
      ),
    options,
  );
  await recorder.settled();
  assertTruthful(observers, recorder);
}

/** Every set was etcd's at some revision, none later than the one handed out next, and the last is the last. */
function assertTruthful(observers: readonly Observer[], recorder: Recorder): void {
  for (const { name, seen } of observers) {
    const prefix = `/discover/service/${name}/`;
    const text = (state: Seen): string => JSON.stringify(sorted(state).filter(([key]) => key.startsWith(prefix)));
    const state = new Map(recorder.initial);
    const truths = [text(state)];
    recorder.changes.forEach(({ kind, key, value, revision }, index) => {
      if (kind === 'put') state.set(key, value);
      else state.delete(key);
      // A revision is seen as a whole.
      if (recorder.changes[index + 1]?.revision !== revision) truths.push(text(state));
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
