/**
 * etcd as a reader of services uses it: read a prefix, then follow it from the next revision.
 *
 * etcd3's own watcher is not used: it reconnects by itself without saying what it missed, gives up on a
 * compacted revision, does not log in again, and cannot tell a silent etcd from a quiet one. Here a
 * watch is one stream that ends at the first sign of trouble (`watch.ts`), and the caller reads anew.
 */

import { deadline, systemClock } from '../actor/clock.ts';
import type { Change } from '../layout/keys.ts';
import type { EtcdAccess } from './access.ts';
import { callTimeoutMs, type Etcd3 } from './member.ts';
import { Members } from './members.ts';
import { readPages } from './pages.ts';
import type { Revision } from './registry.ts';
import { Watch, type WatchListener } from './watch.ts';

export type { WatchListener } from './watch.ts';

const tickMs = 2_000;

type WatchStream = Awaited<ReturnType<Etcd3['watchClient']['watch']>>;

export interface Reading {
  readonly revision: Revision;
  readonly found: readonly Change[];
}

export class EtcdReader {
  /** The first member is chosen at random, so that readers share the members. */
  readonly #members: Members;

  constructor(access: EtcdAccess) {
    this.#members = new Members(access, Math.floor(Math.random() * access.endpoints.length));
  }

  /** All keys below the prefix, on which a majority of the members agrees. */
  async read(prefix: string): Promise<Reading> {
    const found: Change[] = [];
    const revision = await readPages(this.#members, prefix, (pairs) => {
      for (const { key, value } of pairs) found.push({ key: key.toString(), value: value.toString() });
    });
    return { revision, found };
  }

  /** Tells of every change after the revision. Rejects when the watch is over; resolves once aborted. */
  watch(prefix: string, revision: Revision, listener: WatchListener, signal: AbortSignal): Promise<void> {
    return this.#members.tell((member) =>
      member.stream('watch', async ({ watchClient }) => {
        const stream = await opened(watchClient.watch());
        const watch = new Watch(prefix, revision, listener, (request) => stream.write(request));
        const onAbort = (): void => watch.end();
        signal.addEventListener('abort', onAbort);
        // The signal may have been aborted while the stream was opened.
        if (signal.aborted) watch.end();
        stream.on('data', (answer) => watch.take(answer)).on('error', (error: Error) => watch.end(error));
        stream.on('end', () => watch.end(new Error('stream ended')));
        // Ticks rather than a time: after a pause of this process one tick is late, and then the waiting answers come.
        const clock = setInterval(() => watch.tick(), tickMs).unref();
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
