/**
 * The members of a cluster, asked one at a time: a caller stays with a member until a call fails, then
 * moves on.
 *
 * A read may be asked of one member after the other, because it is harmless to read twice. Every other call goes
 * to one member alone: it is unknown whether a failed call took effect.
 */

import { codeOf } from '../errors.ts';
import type { EtcdAccess } from './access.ts';
import { Member } from './member.ts';

export class Members {
  readonly #all: readonly Member[];
  #current: number;

  /** `first`: the index of the member that is asked first; any whole number. */
  constructor(access: EtcdAccess, first: number) {
    this.#all = access.endpoints.map((endpoint) => new Member(endpoint, access));
    this.#current = first;
  }

  get size(): number {
    return this.#all.length;
  }

  /** For reads: asks one member after the other, until one answers. */
  async ask<Result>(question: (member: Member) => Promise<Result>): Promise<Result> {
    for (let left = this.#all.length - 1; ; left--) {
      try {
        return await this.tell(question);
      } catch (error) {
        if (left === 0 || codeOf(error) !== 'ETCD_UNAVAILABLE') throw error;
      }
    }
  }

  /** Calls one member alone. If the member does not answer, the next call goes to another member. */
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

/** The member that is asked first: it follows from the host's name, so that the hosts of a fleet share the members. */
export function firstMember(host: string, members: number): number {
  let hash = 0;
  for (const byte of Buffer.from(host)) hash = (hash * 31 + byte) % 0x1_0000_0000;
  return hash % members;
}
