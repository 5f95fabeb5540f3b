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

import type { Etcd3, IEvent, IWatchResponse } from 'etcd3';
import type { Change } from '../layout/keys.ts';
import { after, connectEtcd, type EtcdAccess, etcdError } from './connect.ts';

/** Reading a prefix may be a matter of megabytes. */
const readTimeoutMs = 5_000;
/** The clock of a watch: two ticks without a word, and it asks; five, and it is over. */
const tickMs = 2_000;
const ticksUntilAsked = 2;
const ticksUntilDead = 5;

export interface Reading {
  readonly revision: string;
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
  readonly #members: readonly Etcd3[];
  /** Somewhere, so that readers share out the members; then with one until it fails. */
  #current: number;

  constructor(access: EtcdAccess) {
    this.#members = access.endpoints.map((endpoint) => connectEtcd(endpoint, access));
    this.#current = Math.floor(Math.random() * this.#members.length);
  }

  /** What a majority of the members agrees is there. */
  read(prefix: string): Promise<Reading> {
    const key = Buffer.from(prefix);
    return this.#on('range', async ({ kv }) => {
      const deadline = Date.now() + readTimeoutMs;
      const { header, kvs } = await kv.range({ key, range_end: after(key) }, { deadline });
      const found = kvs.map((pair) => ({ key: pair.key.toString(), value: pair.value.toString() }));
      return { revision: header.revision, found };
    });
  }

  /** Tells of every change after the revision. Rejects when the watch is over; resolves once aborted. */
  watch(prefix: string, revision: string, listener: WatchListener, signal: AbortSignal): Promise<void> {
    const key = Buffer.from(prefix);
    const start_revision = String(BigInt(revision) + 1n);
    return this.#on('watch', async ({ watchClient }) => {
      const stream = await watchClient.watch({ interceptors: [requireLeader] });
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
    });
  }

  close(): void {
    for (const member of this.#members) member.close();
  }

  async #on<Result>(name: string, request: (member: Etcd3) => Promise<Result>): Promise<Result> {
    const index = this.#current % this.#members.length;
    try {
      return await request(this.#members[index] as Etcd3);
    } catch (error) {
      const failure = etcdError(name, error);
      if (failure.code === 'ETCD_UNAVAILABLE' && this.#current % this.#members.length === index) this.#current++;
      throw failure;
    }
  }
}

type Interceptor = NonNullable<NonNullable<Parameters<Etcd3['watchClient']['watch']>[0]>['interceptors']>[number];

/** Has etcd end the stream when its member loses the leader: such a member would be silent for ever. */
const requireLeader: Interceptor = (options, nextCall) => {
  const call = nextCall(options);
  const start = call.start.bind(call);
  call.start = (metadata, listener) => {
    metadata.set('hasleader', 'true');
    start(metadata, listener);
  };
  return call as ReturnType<Interceptor>;
};

function changeOf({ type, kv }: IEvent): Change {
  return { key: kv.key.toString(), value: type === 'Delete' ? undefined : kv.value.toString() };
}
