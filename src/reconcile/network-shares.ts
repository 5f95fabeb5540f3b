/**
 * Which containers use the network of another one: what happens to that one happens to their addresses, and no event
 * says so of them.
 */

import type { ContainerId } from '../container/container.ts';

export class NetworkShares {
  /** By the container whose network it is: those that use it. */
  readonly #members = new Map<ContainerId, Set<ContainerId>>();
  readonly #owners = new Map<ContainerId, readonly ContainerId[]>();

  /** The containers whose network this one uses from now on; undefined: it has one of its own, or runs no more. */
  note(member: ContainerId, owners: readonly ContainerId[] = []): void {
    for (const owner of this.#owners.get(member) ?? []) {
      const members = this.#members.get(owner);
      members?.delete(member);
      if (members?.size === 0) this.#members.delete(owner);
    }
    if (owners.length === 0) this.#owners.delete(member);
    else this.#owners.set(member, owners);
    for (const owner of owners) {
      const members = this.#members.get(owner) ?? new Set();
      this.#members.set(owner, members.add(member));
    }
  }

  /** Those that use the network of a container. */
  of(owner: ContainerId | undefined): Iterable<ContainerId> {
    // mutant: follow no other container's network
    return (owner !== undefined && this.#members.get(owner)) || [];
  }
}
