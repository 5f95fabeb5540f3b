/**
 * The value of the owner key: which process writes for a host. The parser is tolerant, because other programs can write
 * the key.
 */

declare const brand: unique symbol;

/** A lease id: a 64-bit number in decimal. */
export type LeaseId = string & { readonly [brand]: 'LeaseId' };

/** A lease id as etcd writes it. */
export const leaseIdOf = (decimal: string): LeaseId => decimal as LeaseId;

/** The lease of a key without a lease. */
export const noLease = leaseIdOf('0');

/** Names a process of one machine. A pid alone is reused, and means another process in another container. */
export interface ProcessIdentity {
  readonly boot: string;
  readonly pidNamespace: string;
  readonly pid: number;
  /** Clock ticks from boot to the start of the process. */
  readonly startTicks: string;
  /** Names the container that it runs in, for all lives of that; absent outside containers. */
  readonly container?: string;
}

/** The content of the owner key. */
export interface OwnerRecord {
  readonly instance: string;
  /** RFC 3339. */
  readonly started: string;
  readonly version: string;
  readonly ip: string;
  /** The realm of the owner's configuration; absent in keys of older versions. */
  readonly realm?: string;
  readonly lease: LeaseId;
  readonly ttlSeconds: number;
  /** The owner has stopped cleanly: a successor may adopt its lease. */
  readonly released: boolean;
  readonly process?: ProcessIdentity | undefined;
  /** Key templates of the views that may have keys on the lease. */
  readonly views?: readonly string[];
}

export function parseOwner(value: string): OwnerRecord | undefined {
  try {
    const record: unknown = JSON.parse(value);
    return typeof record === 'object' && record !== null ? (record as OwnerRecord) : undefined;
  } catch {
    return undefined;
  }
}
