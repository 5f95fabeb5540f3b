/**
 * etcd as a reader of services uses it: read ranges of keys, then follow them from the next revision.
 *
 * etcd3's own watcher is not used: it reconnects by itself without saying what it missed, gives up on a
 * compacted revision, does not log in again, and cannot tell a silent etcd from a quiet one. Here a
 * watch is one stream that ends at the first sign of trouble (`watch.ts`), and the caller reads anew.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { deadline, systemClock } from '../actor/clock.ts';
import type { Change } from '../layout/keys.ts';
import type { EtcdAccess } from './access.ts';
import { callTimeoutMs, type Etcd3 } from './member.ts';
import { Members } from './members.ts';
import { type KeyRange, readPages } from './pages.ts';
import { absent, type Revision } from './registry.ts';
import { Watch, type WatchListener } from './watch.ts';

export { below, type KeyRange } from './pages.ts';
export type { RevisedChange, WatchListener } from './watch.ts';

/** Between two looks at whether a watch is alive. */
const usualTickMs = 2_000;
/**
 * A page is decoded at once, and handed on in parts, so that a large reading leaves turns to other work. Smaller pages would
 * take longer: for each one etcd counts all keys that are left.
 */
const pageKeys = 3_000;
const partKeys = 250;
/** etcd's limit of operations in a transaction, at its default. */
const operationsMax = 128;

type WatchStream = Awaited<ReturnType<Etcd3['watchClient']['watch']>>;

/** A key as it was at a revision. */
export interface Point {
  readonly key: string;
  readonly revision: bigint;
}

/** `revision` is that of its last change. */
export interface Found {
  readonly value: string;
  readonly revision: bigint;
}

export class EtcdReader {
  readonly #members: Members;
  readonly #tickMs: number;

  /** Of an access, the first member is chosen at random, so that readers share the members. */
  constructor(of: EtcdAccess | Members, tickMs = usualTickMs) {
    this.#members = of instanceof Members ? of : new Members(of, Math.floor(Math.random() * of.endpoints.length));
    this.#tickMs = tickMs;
  }

  /**
   * All keys of the ranges in their order, on which a majority of the members agrees, in parts. Resolves with the revision
   * at which all of them were read.
   */
  async read(ranges: readonly KeyRange[], take: (part: readonly Change[]) => void): Promise<Revision> {
    let revision: Revision | undefined;
    for (const range of ranges) {
      const takePage: Parameters<typeof readPages>[2] = async (pairs) => {
        for (let at = 0; at < pairs.length; at += partKeys) {
          if (at > 0) await nextTurn();
          take(pairs.slice(at, at + partKeys).map(({ key, value }) => ({ key: String(key), value: String(value) })));
        }
      };
      revision = await readPages(this.#members, range, takePage, { revision, limit: pageKeys });
    }
    return revision ?? absent;
  }

  /** Each key as it was at its revision; undefined where it did not exist. */
  async look(points: readonly Point[]): Promise<(Found | undefined)[]> {
    const found: (Found | undefined)[] = [];
    for (let at = 0; at < points.length; at += operationsMax) {
      const success = points.slice(at, at + operationsMax).map(({ key, revision }) => ({
        request_range: { key: Buffer.from(key), revision: String(revision) },
      }));
      const request = { compare: [], success, failure: [] };
      const { responses } = await this.#members.ask((member) => member.call('txn', ({ kv }) => kv.txn(request)));
      for (const { response_range } of responses) {
        const [pair] = response_range?.kvs ?? [];
        found.push(pair && { value: pair.value.toString(), revision: BigInt(pair.mod_revision) });
      }
    }
    return found;
  }

  /** Tells of every change after the revision. Rejects when the watch is over; resolves once aborted. */
  watch(ranges: readonly KeyRange[], revision: Revision, listener: WatchListener, signal: AbortSignal): Promise<void> {
    return this.#members.tell((member) =>
      member.stream('watch', async ({ watchClient }) => {
        const stream = await opened(watchClient.watch());
        const watch = new Watch(ranges, revision, listener, (request) => stream.write(request));
        const onAbort = (): void => watch.end();
        signal.addEventListener('abort', onAbort);
        // The signal may have been aborted while the stream was opened.
        if (signal.aborted) watch.end();
        stream.on('data', (answer) => watch.take(answer)).on('error', (error: Error) => watch.end(error));
        stream.on('end', () => watch.end(new Error('stream ended')));
        // Ticks rather than a time: after a pause of this process one tick is late, and then the waiting answers come.
        const clock = setInterval(() => watch.tick(), this.#tickMs).unref();
        try {
          await watch.over;
        } finally {
          clearInterval(clock);
          signal.removeEventListener('abort', onAbort);
          // Ended first: etcd3 takes an error of a writable stream for the member's, and drops the connection.
          stream.end();
          stream.cancel();
        }
      }),
    );
  }

  close(): void {
    this.#members.close();
  }
}

/** The stream, or an error if it is not open in time. A stream that opens later is ended. */
function opened(opening: Promise<WatchStream>): Promise<WatchStream> {
  let isLate = false;
  void opening.then(
    (stream) => isLate && stream.cancel(),
    () => {},
  );
  return deadline(systemClock, callTimeoutMs, opening, () => {
    isLate = true;
    return new Error('no answer in time');
  });
}
