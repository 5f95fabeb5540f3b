/**
 * The knowledge of Docker, etcd and the lease: one rule, and one object that shows it everywhere.
 *
 * A part is `known` (since when), `stale` (its last known state is shown: since when, and why), or `unknown`. `/status`,
 * `/readyz?verbose`, the page and the log show this object and its words; none of them decides anew. So nothing is
 * called connected, published or empty only because no bad news has come.
 *
 * A lease that has run out by our own clock makes everything published unknown, whatever the ledger remembers: etcd
 * deletes the keys at that moment without telling.
 */

/** Whether the other side answers, since when, and why it does not. Times are milliseconds since the epoch. */
export class Connection {
  #isUp = false;
  #sinceMs: number | undefined;
  #cause: string | undefined;

  get isUp(): boolean {
    return this.#isUp;
  }

  /** The beginning of the present state; undefined before the first answer and the first failure. */
  get sinceMs(): number | undefined {
    return this.#sinceMs;
  }

  /** The last error; undefined while it answers. */
  get cause(): string | undefined {
    return this.#cause;
  }

  up(nowMs: number): void {
    if (this.#isUp) return;
    this.#isUp = true;
    this.#sinceMs = nowMs;
    this.#cause = undefined;
  }

  /** Every failure may be reported: the first one tells the time, the last one the cause. */
  down(nowMs: number, cause: string): void {
    if (this.#isUp || this.#sinceMs === undefined) this.#sinceMs = nowMs;
    this.#isUp = false;
    this.#cause = cause;
  }

  toJSON(): object {
    return { isUp: this.#isUp, sinceMs: this.#sinceMs, cause: this.#cause };
  }
}

export type Knowledge = 'known' | 'stale' | 'unknown';

export interface PartHealth {
  readonly state: Knowledge;
  /** RFC 3339: the beginning of this state; null if that is not known either. */
  readonly since: string | null;
  /** One line: the state in words. */
  readonly summary: string;
  /** If the state is not `known`: the last error, its consequence, its remedy. */
  readonly cause: string | null;
  readonly consequence: string | null;
  readonly remedy: string | null;
}

export interface Health {
  readonly docker: PartHealth;
  readonly etcd: PartHealth;
  readonly lease: PartHealth;
  /** Only while the address of this host is not found. */
  readonly host?: PartHealth;
}

export interface Observed {
  readonly nowMs: number;
  readonly docker: Pick<Connection, 'isUp' | 'sinceMs' | 'cause'>;
  readonly engine: string | undefined;
  /** Docker has been listed once. */
  readonly isListed: boolean;
  readonly running: number;
  readonly etcd: Pick<Connection, 'isUp' | 'sinceMs' | 'cause'>;
  readonly lease: {
    readonly isOwner: boolean;
    /** When the published keys were last read or written under this lease for the first time. */
    readonly sinceMs: number | undefined;
    /** Until the published keys expire, by our own clock; negative once they have. Undefined before the first lease. */
    readonly remainingSeconds: number | undefined;
    readonly ttlSeconds: number;
    /** The last error of a call that concerns the lease. */
    readonly cause: string | undefined;
  };
  /** Undefined: the address is configured. */
  readonly host?: { readonly ip: string; readonly missingSince: number | undefined };
}

/** A lease is renewed five times in its time to live: below this share, at least two renewals have failed. */
const healthyShare = 0.55;

export function healthOf(observed: Observed): Health {
  const health = { docker: dockerOf(observed), etcd: etcdOf(observed), lease: leaseOf(observed) };
  const { host } = observed;
  return host?.missingSince === undefined ? health : { ...health, host: hostOf(host.ip, host.missingSince) };
}

function hostOf(ip: string, missingSince: number): PartHealth {
  return {
    state: ip === '' ? 'unknown' : 'stale',
    since: timeOf(missingSince),
    summary: ip === '' ? 'this host has no address' : `the address ${ip} is not found, and kept for a while`,
    cause: 'no interface has the address, or the default route leads to none',
    consequence:
      ip === ''
        ? 'Ports that are published at the address of the host are withdrawn'
        : 'Readers are sent to an address that may not be there',
    remedy: 'Check the network of this host, or set host.ip: discover doctor',
  };
}

/** The name of a part in sentences. */
export const partNames: Readonly<Record<keyof Health, string>> = {
  docker: 'Docker',
  etcd: 'etcd',
  lease: 'Lease',
  host: 'Host address',
};

function dockerOf({ docker, engine, isListed, running }: Observed): PartHealth {
  if (isListed && docker.isUp) {
    const containers = `${running} ${running === 1 ? 'container runs' : 'containers run'}`;
    return known(docker.sinceMs, `connected to engine ${engine ?? 'of unknown version'}, ${containers}`);
  }
  const remedy = 'Check that dockerd runs and that discover may open its socket: discover doctor';
  if (!isListed) {
    return {
      state: 'unknown',
      since: timeOf(docker.sinceMs),
      summary: 'Docker has not been listed yet',
      cause: docker.cause ?? null,
      consequence: 'Nothing new is published. Keys that an earlier process has published stay as they are',
      remedy,
    };
  }
  return {
    state: 'stale',
    since: timeOf(docker.sinceMs),
    summary: 'not connected, showing the last known containers',
    cause: docker.cause ?? 'the event stream has ended',
    consequence: 'Containers that start or end are not noticed. Published keys stay as they are',
    remedy,
  };
}

function etcdOf({ etcd }: Observed): PartHealth {
  if (etcd.isUp) return known(etcd.sinceMs, 'connected');
  // A connection that was never up has no time of its loss, only one of its first failure: both are `since`.
  const isFirst = etcd.cause === undefined;
  return {
    state: isFirst ? 'unknown' : 'stale',
    since: timeOf(etcd.sinceMs),
    summary: isFirst ? 'etcd has not answered yet' : 'not connected, showing what etcd last confirmed',
    cause: etcd.cause ?? null,
    consequence: 'Changes on this host wait in memory. Its keys expire with the lease',
    remedy: 'Check etcd.endpoints, the network and the members of etcd: discover doctor',
  };
}

function leaseOf({ nowMs, etcd, lease }: Observed): PartHealth {
  const { isOwner, remainingSeconds: left, ttlSeconds, sinceMs, cause } = lease;
  const remedy = 'Check that etcd answers and that no other process has this host.id: discover doctor';
  if (left === undefined) {
    return {
      state: 'unknown',
      since: null,
      summary: 'no lease is held yet',
      cause: cause ?? etcd.cause ?? null,
      consequence: 'Nothing of this host is published by this process',
      remedy,
    };
  }
  const endsMs = nowMs + left * 1000;
  if (left <= 0) {
    return {
      state: 'unknown',
      since: timeOf(endsMs),
      summary: `expired, 0 s left of ${ttlSeconds}`,
      cause: cause ?? etcd.cause ?? null,
      consequence:
        'etcd has deleted the keys of this host, as far as is known. They are written again once etcd answers',
      remedy,
    };
  }
  const summary = `${Math.round(left)} s left of ${ttlSeconds}`;
  if (isOwner && etcd.isUp && left >= healthyShare * ttlSeconds) return known(sinceMs, summary);
  return {
    state: 'stale',
    since: timeOf(endsMs - ttlSeconds * 1000),
    summary: isOwner ? `not renewed, ${summary}` : `verifying who owns this host, ${summary}`,
    cause: cause ?? etcd.cause ?? null,
    consequence: `Readers lose this host at ${timeOf(endsMs)} unless the lease is renewed`,
    remedy,
  };
}

function known(sinceMs: number | undefined, summary: string): PartHealth {
  return { state: 'known', since: timeOf(sinceMs), summary, cause: null, consequence: null, remedy: null };
}

const timeOf = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());
