/** The owner key's value: which process writes for a host. Read with tolerance, since others may have written it. */

import { DiscoverError } from '../errors.ts';
import type { ProcessIdentity } from './process-identity.ts';
import type { LeaseId } from './registry.ts';

/** What the owner key says. */
export interface OwnerRecord {
  readonly instance: string;
  /** RFC 3339. */
  readonly started: string;
  readonly version: string;
  readonly ip: string;
  readonly lease: LeaseId;
  readonly ttlSeconds: number;
  /** The owner has stopped in order: its lease is there to be taken. */
  readonly released: boolean;
  readonly process?: ProcessIdentity | undefined;
  /** Key templates of the views in which anything may stand on the lease. */
  readonly views?: readonly string[];
}

/** The error of a process that has to give way. */
export function taken(record: OwnerRecord | undefined, proof: string): DiscoverError {
  const who = record ? `instance ${record.instance} at ${record.ip}, started ${record.started}` : 'an unknown owner';
  return new DiscoverError('HOST_ID_TAKEN', `host.id is in use by ${who}: ${proof}. Give each host an id of its own`);
}

export function parseOwner(value: string): OwnerRecord | undefined {
  try {
    const record: unknown = JSON.parse(value);
    return typeof record === 'object' && record !== null ? (record as OwnerRecord) : undefined;
  } catch {
    return undefined;
  }
}
