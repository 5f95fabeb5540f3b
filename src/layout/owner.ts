/** The owner key's value: which process writes for a host. Read with tolerance, since others may have written it. */

/** A lease id: a 64-bit number in decimal. */
export type LeaseId = string;

/** Names a process of one machine: a pid alone is used again, and means something else in another container. */
export interface ProcessIdentity {
  readonly boot: string;
  readonly pidNamespace: string;
  readonly pid: number;
  /** Clock ticks from boot to the start of the process. */
  readonly startTicks: string;
}

/** What the owner key says. */
export interface OwnerRecord {
  readonly instance: string;
  /** RFC 3339. */
  readonly started: string;
  readonly version: string;
  readonly ip: string;
  /** That of the owner's configuration; absent in keys of older versions. */
  readonly realm?: string;
  readonly lease: LeaseId;
  readonly ttlSeconds: number;
  /** The owner has stopped in order: its lease is there to be taken. */
  readonly released: boolean;
  readonly process?: ProcessIdentity | undefined;
  /** Key templates of the views in which anything may stand on the lease. */
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
