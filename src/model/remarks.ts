/**
 * Remarks: what there is to say about containers beside their keys, for whoever asks why something is not
 * published. Nothing is decided by them.
 */

import type { Refusal } from './container.ts';

export interface Remark {
  readonly refusals?: readonly Refusal[] | undefined;
  /** It cannot be inspected: what the engine says. */
  readonly unreadable?: string | undefined;
  /** Etcd refuses its keys: what etcd says. */
  readonly parked?: string | undefined;
}

export class Remarks {
  readonly #remarks = new Map<string, Remark>();
  /** Called for each container of which something else is to be said than before. */
  onTouched: (short: string) => void = () => {};

  get(short: string): Remark | undefined {
    return this.#remarks.get(short);
  }

  [Symbol.iterator](): IterableIterator<[short: string, remark: Remark]> {
    return this.#remarks.entries();
  }

  /** Says this of a container, beside what was said of it otherwise; undefined takes a word back. */
  note(short: string, words: Remark): void {
    const before = this.#remarks.get(short);
    if (before === undefined && Object.values(words).every((word) => word === undefined)) return;
    const remark = { ...before, ...words };
    if (Object.values(remark).every((word) => word === undefined)) this.#remarks.delete(short);
    else this.#remarks.set(short, remark);
    this.onTouched(short);
  }

  /** There is nothing more to say about a container that has gone, but what became of its keys. */
  forget(short: string): void {
    this.note(short, { refusals: undefined, unreadable: undefined });
  }
}
