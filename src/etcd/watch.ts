/**
 * One watch on one stream: its requests, the meaning of its answers, and its end. No connection is made here.
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
import { after } from './pages.ts';
import type { Revision } from './registry.ts';

/** After two silent ticks the watch sends a probe; after five it is over. */
const ticksUntilAsked = 2;
const ticksUntilDead = 5;
/** The limit of events that are kept of one revision in fragments. */
const fragmentEventsMax = 1_000_000;

export interface WatchListener {
  /** etcd has sent an answer of any kind. */
  heard(): void;
  /** etcd has accepted the watch. */
  begun(): void;
  /** All changes of one revision or of several, in order. */
  changed(changes: readonly Change[]): void;
}

type Answer = Pick<IWatchResponse, 'watch_id' | 'events'> & Partial<IWatchResponse> & { readonly fragment?: boolean };

export class Watch {
  /** Rejects when the watch has failed; resolves once it was ended. */
  readonly over: Promise<void>;
  readonly #prefix: Buffer;
  readonly #revision: bigint;
  readonly #listener: WatchListener;
  readonly #send: (request: object) => void;
  #finish: (error: Error | undefined) => void = () => {};
  #isOver = false;
  /** The watch id of the server; undefined until the server has confirmed the watch. */
  #id: string | undefined;
  #silentTicks = 0;
  #fragments: IEvent[] = [];

  constructor(prefix: string, revision: Revision, listener: WatchListener, send: (request: object) => void) {
    this.#prefix = Buffer.from(prefix);
    this.#revision = BigInt(revision);
    this.#listener = listener;
    this.#send = send;
    this.over = new Promise((resolve, reject) => {
      this.#finish = (error) => (error === undefined ? resolve() : reject(error));
    });
    const start_revision = String(this.#revision + 1n);
    const range = { key: this.#prefix, range_end: after(this.#prefix) };
    send({ create_request: { ...range, start_revision, fragment: true } });
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
    // Before the server has confirmed this watch, no other request was sent.
    const isMain = this.#id === undefined || watch_id === this.#id;
    if (!isMain) {
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
      this.#id = watch_id;
      this.#listener.begun();
    }
    // Not as arguments of one call: a proxy sends a revision of any size in one answer.
    for (const event of events) this.#fragments.push(event);
    if (fragment === true && this.#fragments.length < fragmentEventsMax) return;
    const all = this.#fragments;
    this.#fragments = [];
    if (all.length > 0) this.#listener.changed(all.map(changeOf));
  }

  tick(): void {
    if (this.#isOver) return;
    this.#silentTicks++;
    if (this.#silentTicks === ticksUntilAsked && this.#id !== undefined) {
      // One key that does not exist. Every user who may read the prefix may read it.
      this.#send({ create_request: { key: this.#prefix } });
    }
    if (this.#silentTicks === ticksUntilDead) this.end(new Error('no sign of life'));
  }
}

function changeOf({ type, kv }: IEvent): Change {
  return { key: kv.key.toString(), value: type === 'Delete' ? undefined : kv.value.toString() };
}
