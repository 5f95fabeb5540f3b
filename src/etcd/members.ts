/**
 * The members of a cluster, asked one at a time: a caller stays with a member until a call fails, then
 * moves on.
 *
 * A question may be put to one member after the other, because it does no harm to ask twice. Everything else
 * is said to one member alone: what a call that failed has done is not known.
 */

import { codeOf } from '../errors.ts';
import type { EtcdAccess } from './access.ts';
import { Member } from './member.ts';

export class Members {
  readonly #all: readonly Member[];
  #current: number;

  /** `first`: which member is asked first, any whole number. */
  constructor(access: EtcdAccess, first: number) {
    this.#all = access.endpoints.map((endpoint) => new Member(endpoint, access));
    this.#current = first;
  }

  get size(): number {
    return this.#all.length;
  }

  /** A question: of one member after the other, until one answers. */
  async ask<Result>(question: (member: Member) => Promise<Result>): Promise<Result> {
    for (let left = this.#all.length - 1; ; left--) {
      try {
        return await this.tell(question);
      } catch (error) {
        if (left === 0 || codeOf(error) !== 'ETCD_UNAVAILABLE') throw error;
      }
    }
  }

  /** Of one member alone. Where it does not answer, the next call is of another one. */
  async tell<Result>(request: (member: Member) => Promise<Result>): Promise<Result> {
    const index = this.#current % this.#all.length;
    try {
      return await request(this.#all[index] as Member);
    } catch (error) {
      if (codeOf(error) === 'ETCD_UNAVAILABLE' && this.#current % this.#all.length === index) this.#current++;
      throw error;
    }
  }

  close(): void {
    for (const member of this.#all) member.close();
  }
}

/** Which member is asked first follows from the name of the host, so that the hosts of a fleet share them out. */
export function firstMember(host: string, members: number): number {
  let hash = 0;
  for (const byte of Buffer.from(host)) hash = (hash * 31 + byte) % 0x1_0000_0000;
  return hash % members;
}
