/** What `discover watch` follows: named services, or all of them, as batches of changes. */
import type { DiscoverClient, Instance, Query, Update } from '../client/index.ts';
import type { Io } from './command.ts';

/** The services that have changed; the first batch has every service. */
export type Batch = ReadonlyMap<string, Update>;

/** Rejects if etcd gives no first answer; afterwards it waits through outages. `names` undefined: all services. */
export async function batchesOf(
  client: DiscoverClient,
  names: readonly string[] | undefined,
  query: Query,
): Promise<AsyncGenerator<Batch>> {
  if (names === undefined) {
    await client.services(query);
    return ofAll(client, query);
  }
  await Promise.all(names.map((name) => client.resolve(name, query)));
  return ofNames(client, names, query);
}

async function* ofAll(client: DiscoverClient, query: Query): AsyncGenerator<Batch> {
  for await (const { changed } of client.watchServices(query)) yield changed;
}

async function* ofNames(client: DiscoverClient, names: readonly string[], query: Query): AsyncGenerator<Batch> {
  const followed = names.map((name) => [name, client.watch(name, query)] as const);
  const first = await Promise.all(followed.map(async ([name, updates]) => [name, await updates.next()] as const));
  yield new Map(first.flatMap(([name, { value }]) => (value ? [[name, value] as const] : [])));
  yield* merged(followed);
}

/**
 * The updates of each service as they come, one at a time. `Promise.race` would be shorter, and would keep a reaction for
 * each change at every service that stays as it is: a process that watches for weeks has not the memory.
 */
export async function* merged(
  followed: readonly (readonly [name: string, updates: AsyncIterable<Update>])[],
): AsyncGenerator<Batch> {
  const ready: { readonly batch: Batch; readonly taken: () => void }[] = [];
  let left = followed.length;
  let failure: { readonly error: unknown } | undefined;
  let wake = (): void => {};
  const follow = async (name: string, updates: AsyncIterable<Update>): Promise<void> => {
    try {
      for await (const update of updates) {
        await new Promise<void>((taken) => {
          ready.push({ batch: new Map([[name, update]]), taken });
          wake();
        });
      }
    } catch (error) {
      failure ??= { error };
    }
    left--;
    wake();
  };
  for (const [name, updates] of followed) void follow(name, updates);
  for (;;) {
    const next = ready.shift();
    if (next !== undefined) {
      yield next.batch;
      next.taken();
    } else if (failure !== undefined) throw failure.error;
    else if (left === 0) return;
    else {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
}

/** The sets as they are now, kept up to date in the background. */
export class Sets {
  readonly #sets = new Map<string, readonly Instance[]>();
  #version = 0;
  #seen = 0;
  #wake: () => void = () => {};
  #isOver = false;
  #failure: { readonly error: unknown } | undefined;

  /** Resolves once the first batch is there. */
  static async of(batches: AsyncGenerator<Batch>): Promise<Sets> {
    const sets = new Sets();
    const first = await batches.next();
    if (first.done) sets.#isOver = true;
    else sets.#take(first.value);
    void sets.#follow(batches);
    return sets;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** By name, in the order of names. */
  get all(): readonly (readonly [name: string, instances: readonly Instance[]])[] {
    this.#seen = this.#version;
    return [...this.#sets].sort(([one], [other]) => (one < other ? -1 : 1));
  }

  /**
   * Resolves with true once something has changed since `all` or `changed` was asked, or with false after this time. Rejects if
   * the services cannot be followed any more.
   */
  async changed(withinMs?: number): Promise<boolean> {
    if (this.#version === this.#seen && !this.#isOver && this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        const timer = withinMs === undefined ? undefined : setTimeout(resolve, withinMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    const isNews = this.#version !== this.#seen || this.#isOver;
    this.#seen = this.#version;
    return isNews;
  }

  async #follow(batches: AsyncGenerator<Batch>): Promise<void> {
    try {
      for await (const batch of batches) this.#take(batch);
      this.#isOver = true;
    } catch (error) {
      this.#failure = { error };
    }
    this.#wake();
  }

  #take(batch: Batch): void {
    for (const [name, { instances }] of batch) this.#sets.set(name, instances);
    this.#version++;
    this.#wake();
  }
}

const checkEveryMs = 1_000;
/** A shorter silence is a reconnection, and no person needs to know. */
const awayMs = 3_000;

/** Says when etcd cannot be followed any more, and when it can again. The returned function ends it. */
export function tellOfOutages(client: DiscoverClient, io: Io): () => void {
  let since: number | undefined;
  const timer = setInterval(() => {
    const { stale } = client;
    if (stale !== undefined && since === undefined && stale.ageMs >= awayMs) {
      since = Date.now() - stale.ageMs;
      const { message } = stale.cause;
      io.warn(
        `etcd cannot be followed since ${new Date(since).toISOString()}; the last known instances stay: ${message}`,
      );
    } else if (stale === undefined && since !== undefined) {
      io.warn(`etcd is followed again, after ${Math.round((Date.now() - since) / 1_000)} s`);
      since = undefined;
    }
  }, checkEveryMs);
  return () => clearInterval(timer);
}
