/**
 * etcd as a reader of services uses it: read a prefix, then follow it from the next revision.
 *
 * etcd3's own watcher is not used: it reconnects by itself without saying what it missed, gives up on a
 * compacted revision, does not log in again, and cannot tell a silent etcd from a quiet one. Here a
 * watch is one stream that ends at the first sign of trouble, and whoever follows reads anew.
 *
 * Three silences are told from quiet: a connection that swallows everything and an etcd that hangs by
 * asking for a sign of life, a member cut off from its leader by etcd's own `hasleader`.
 */

import type { Change } from '../layout/keys.ts';
import type { EtcdAccess } from './access.ts';
import type { IEvent, IWatchResponse } from './member.ts';
import { Members } from './members.ts';
import { after, readPages } from './pages.ts';
import type { Revision } from './registry.ts';

/** The clock of a watch: two ticks without a word, and it asks; five, and it is over. */
const tickMs = 2_000;
const ticksUntilAsked = 2;
const ticksUntilDead = 5;

export interface Reading {
  readonly revision: Revision;
  readonly found: readonly Change[];
}

export interface WatchListener {
  /** etcd has said something, if only that it is there. */
  heard(): void;
  /** etcd has accepted the watch. */
  begun(): void;
  /** All changes of one revision or of several, in order. */
  changed(changes: readonly Change[]): void;
}

export class EtcdReader {
  /** One chosen at random to begin with, so that readers share out the members. */
  readonly #members: Members;

  constructor(access: EtcdAccess) {
    this.#members = new Members(access, Math.floor(Math.random() * access.endpoints.length));
  }

  /** What a majority of the members agrees is there. */
  async read(prefix: string): Promise<Reading> {
    const found: Change[] = [];
    const revision = await readPages(this.#members, prefix, (pairs) => {
      for (const { key, value } of pairs) found.push({ key: key.toString(), value: value.toString() });
    });
    return { revision, found };
  }

  /** Tells of every change after the revision. Rejects when the watch is over; resolves once aborted. */
  watch(prefix: string, revision: Revision, listener: WatchListener, signal: AbortSignal): Promise<void> {
    const key = Buffer.from(prefix);
    const start_revision = String(BigInt(revision) + 1n);
    return this.#members.tell((member) =>
      member.stream('watch', async ({ watchClient }) => {
        const stream = await watchClient.watch();
        let silentTicks = 0;
        let isOver = false;
        let finish = (_error?: Error): void => {};
        const over = new Promise<void>((resolve, reject) => {
          finish = (error) => {
            isOver = true;
            if (error === undefined) resolve();
            else reject(error);
          };
        });
        const onData = ({ canceled, cancel_reason, compact_revision, created, events }: IWatchResponse): void => {
          // What still arrives of a watch that is over is older than what is read after it.
          if (isOver) return;
          silentTicks = 0;
          listener.heard();
          if (canceled) finish(new Error(cancel_reason || `compacted at ${compact_revision}`));
          if (created && !canceled) listener.begun();
          if (events.length > 0) listener.changed(events.map(changeOf));
        };
        // Ticks rather than a time: after a pause of our own one tick comes late, and then what had arrived.
        const clock = setInterval(() => {
          silentTicks++;
          if (silentTicks === ticksUntilAsked) stream.write({ progress_request: {} });
          if (silentTicks === ticksUntilDead) finish(new Error('no sign of life'));
        }, tickMs).unref();
        const onAbort = (): void => finish();
        signal.addEventListener('abort', onAbort);
        // It may have been while the stream was opened.
        if (signal.aborted) finish();
        stream.on('data', onData).on('error', finish);
        stream.on('end', () => finish(new Error('stream ended')));
        stream.write({ create_request: { key, range_end: after(key), start_revision } });
        try {
          await over;
        } finally {
          clearInterval(clock);
          signal.removeEventListener('abort', onAbort);
          // Ended first: etcd3 takes the error of a writable stream for the member's, and drops its connection.
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

function changeOf({ type, kv }: IEvent): Change {
  return { key: kv.key.toString(), value: type === 'Delete' ? undefined : kv.value.toString() };
}
