/**
 * Conditions: the reports about a container beside its keys, which explain why something is not published. They
 * decide nothing.
 */

import { Listeners } from '../actor/listeners.ts';
import type { Refusal } from '../container/container.ts';
import type { Mark } from '../container/maintenance.ts';
import type { ReasonCode } from '../container/refusals.ts';

/** Why a container that runs is not published now; or, with `isPublished`, what is odd about one that is. */
export interface TrafficReport {
  readonly reason: ReasonCode;
  readonly isPublished: boolean;
  /** Since when, and until when at the latest, in milliseconds since the epoch. For people. */
  readonly since: number;
  readonly until: number | undefined;
  /** Of the reason `maintenance`. */
  readonly maintenance?: { readonly mark: Mark; readonly isOfHost: boolean } | undefined;
}

export interface Condition {
  readonly refusals?: readonly Refusal[] | undefined;
  readonly traffic?: TrafficReport | undefined;
  /** The container cannot be inspected; the text is the engine's. */
  readonly failing?: string | undefined;
  /** etcd refuses its keys; the text is etcd's. */
  readonly quarantined?: string | undefined;
}

export class Conditions {
  readonly #conditions = new Map<string, Condition>();
  /** Called with each container whose condition has changed. */
  readonly touched = new Listeners<[shortId: string]>();

  get(shortId: string): Condition | undefined {
    return this.#conditions.get(shortId);
  }

  [Symbol.iterator](): IterableIterator<[shortId: string, condition: Condition]> {
    return this.#conditions.entries();
  }

  /** Merges `words` into the condition of a container; an undefined member removes that part. */
  note(shortId: string, words: Condition): void {
    const before = this.#conditions.get(shortId);
    // The usual way: each start and each end comes here, and few have anything to report.
    if (before === undefined && isEmpty(words)) return;
    this.#set(shortId, { ...before, ...words });
  }

  /** A container that has gone keeps only the condition of its keys. */
  forget(shortId: string): void {
    const before = this.#conditions.get(shortId);
    if (before !== undefined) this.#set(shortId, { quarantined: before.quarantined });
  }

  #set(shortId: string, condition: Condition): void {
    if (isEmpty(condition)) this.#conditions.delete(shortId);
    else this.#conditions.set(shortId, condition);
    this.touched.tell(shortId);
  }
}

function isEmpty({ refusals, traffic, failing, quarantined }: Condition): boolean {
  return (refusals ?? traffic ?? failing ?? quarantined) === undefined;
}
