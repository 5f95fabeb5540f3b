/**
 * One watch on one stream: its requests, the meaning of its answers, and its end. No connection is made here.
 *
 * A watch may follow several ranges, all from one revision. To etcd each is a watch of its own, so the changes of one
 * transaction may come in several answers, in any order; those of one range come in order.
 *
 * A quiet watch is distinguished from three kinds of a dead one. etcd's own `hasleader` reports a member that is cut
 * off from its leader. A connection that swallows everything, and an etcd that hangs, are found by a probe on the
 * stream itself: a second watch, of one key, which every server confirms and which is then cancelled. etcd's own
 * probe, the progress request, gets no answer from `etcd grpc-proxy`, and etcd before 3.4 does not know it.
 *
 * A large revision may come in fragments: its changes are handed on together.
 */

import type { Change } from '../layout/keys.ts';
import type { IEvent, IWatchResponse } from './member.ts';
import type { KeyRange } from './pages.ts';
import type { Revision } from './registry.ts';

/** After two silent ticks the watch sends a probe; after five it is over. */
const ticksUntilAsked = 2;
const ticksUntilDead = 5;
/** The limit of events that are kept of one revision in fragments. */
const fragmentEventsMax = 1_000_000;

/** A change, and the revision of etcd that it made. */
export interface RevisedChange extends Change {
  readonly revision: bigint;
}

export interface WatchListener {
  /** etcd has sent an answer of any kind. */
  heard(): void;
  /** etcd has accepted the watch. */
  begun(): void;
  /** All changes in one range of one revision or of several, in order. If it rejects, the watch has failed. */
  changed(changes: readonly RevisedChange[]): void | Promise<void>;
}

type Answer = Pick<IWatchResponse, 'watch_id' | 'events'> & Partial<IWatchResponse> & { readonly fragment?: boolean };

export class Watch {
  /** Rejects when the watch has failed; resolves once it was ended. */
  readonly over: Promise<void>;
  readonly #ranges: readonly KeyRange[];
  readonly #revision: bigint;
  readonly #listener: WatchListener;
  readonly #send: (request: object) => void;
  #finish: (error: Error | undefined) => void = () => {};
  #isOver = false;
  /** The ids at the server of the ranges that it has confirmed, each with the fragments of a revision. */
  readonly #fragments = new Map<string, IEvent[]>();
  #silentTicks = 0;

  constructor(
    ranges: readonly KeyRange[],
    revision: Revision,
    listener: WatchListener,
    send: (request: object) => void,
  ) {
    this.#ranges = ranges;
    this.#revision = BigInt(revision);
    this.#listener = listener;
    this.#send = send;
    this.over = new Promise((resolve, reject) => {
      this.#finish = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.#request();
  }

  end(error?: Error): void {
    this.#isOver = true;
    this.#finish(error);
  }

  take(answer: Answer): void {
    const { watch_id, canceled, cancel_reason, compact_revision, created, fragment, events } = answer;
    // Late answers of a watch that has ended are older than the next reading.
    if (this.#isOver) return;
    this.#silentTicks = 0;
    this.#listener.heard();
    // One request after the other: before the server has confirmed all ranges, every new id is that of the next range.
    const isOwn = !this.#isConfirmed || this.#fragments.has(watch_id);
    if (!isOwn) {
      // An etcd whose data was wiped or restored sends nothing until its revisions catch up with the reading. A member that
      // only lags has caught up before the first probe. A proxy may answer without a revision.
      const now = BigInt(answer.header?.revision ?? 0);
      if (now > 0n && now < this.#revision) this.end(new Error(`etcd has gone back to revision ${now}`));
      else if (created === true && canceled !== true) this.#send({ cancel_request: { watch_id } });
      return;
    }
    if (canceled === true) {
      this.end(new Error(cancel_reason || `compacted at ${compact_revision}`));
      return;
    }
    if (created === true) {
      this.#fragments.set(watch_id, []);
      if (this.#isConfirmed) this.#listener.begun();
      else this.#request();
    }
    const all = this.#fragments.get(watch_id) ?? [];
    // Not as arguments of one call: a proxy sends a revision of any size in one answer.
    for (const event of events) all.push(event);
    if (fragment === true && all.length < fragmentEventsMax) return;
    this.#fragments.set(watch_id, []);
    if (all.length > 0) this.#tell(all);
  }

  tick(): void {
    if (this.#isOver) return;
    this.#silentTicks++;
    if (this.#silentTicks === ticksUntilAsked && this.#isConfirmed) {
      // One key that does not exist. Every user who may read the range may read it.
      this.#send({ create_request: { key: this.#ranges[0]?.begin } });
    }
    if (this.#silentTicks === ticksUntilDead) this.end(new Error('no sign of life'));
  }

  get #isConfirmed(): boolean {
    return this.#fragments.size === this.#ranges.length;
  }

  #request(): void {
    const range = this.#ranges[this.#fragments.size];
    const start_revision = String(this.#revision + 1n);
    this.#send({ create_request: { key: range?.begin, range_end: range?.end, start_revision, fragment: true } });
  }

  #tell(events: readonly IEvent[]): void {
    const told = this.#listener.changed(events.map(changeOf));
    told?.catch((error: Error) => this.end(error));
  }
}

function changeOf({ type, kv }: IEvent): RevisedChange {
  const value = type === 'Delete' ? undefined : kv.value.toString();
  return { key: kv.key.toString(), value, revision: BigInt(kv.mod_revision) };
}
