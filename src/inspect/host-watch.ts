/**
 * The address of this host while the agent runs: DHCP, a move to another network or an operator may change it.
 *
 * The machine is asked every 10 s, more often while it has none, and at each list. A new address counts at once. An address that goes is kept for the
 * lifetime of the lease, because it may come back; then the host has none, and what needs it is published no more. A
 * guess never takes the place of an address that the default route led to: while that route is away the other interfaces
 * prove nothing.
 */

import type { Clock } from '../actor/clock.ts';
import { messageOf } from '../errors.ts';
import type { FoundAddress } from '../host-address.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';

export interface HostAddresses {
  /** Empty while the host has none. */
  readonly ip: string;
  readonly ip6?: string | undefined;
}

export interface HostWatchParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly find: () => Promise<Pick<FoundAddress, 'ip' | 'ip6' | 'isCertain'>>;
  readonly first: HostAddresses;
  /** Whether anything but a guess has led to the first. */
  readonly isCertain: boolean;
  /** How long an address is kept that is not found any more. */
  readonly keepMs: number;
  readonly onChange: (addresses: HostAddresses) => void;
}

/** A change is in etcd 15 s later at the latest. */
const everyMs = 10_000;
/** While an address is missing: it may be there for a moment between two gaps. */
const missingMs = 2_000;
/** Lists can follow each other closely. */
const atLeastMs = 1_000;

/** One address, and since when it is not found any more. */
interface Kept {
  readonly address: string;
  readonly missingSince: number | undefined;
}

export class HostWatch {
  readonly #parts: HostWatchParts;
  #ip: Kept;
  #ip6: Kept;
  /** Whether anything but a guess has led to the address. */
  #isCertain: boolean;
  #missingSinceWall: number | undefined;
  #lookedAt: number;
  #isLooking = false;
  #isStopped = false;
  #cancel: () => void = () => {};

  constructor(parts: HostWatchParts) {
    this.#parts = parts;
    this.#ip = { address: parts.first.ip, missingSince: undefined };
    this.#ip6 = { address: parts.first.ip6 ?? '', missingSince: undefined };
    this.#isCertain = parts.isCertain;
    this.#lookedAt = parts.clock.now();
    this.#arm();
  }

  get addresses(): HostAddresses {
    const ip = this.#ip.address;
    return this.#ip6.address === '' ? { ip } : { ip, ip6: this.#ip6.address };
  }

  /** Since when the address is not found, in milliseconds since the epoch; undefined while it is. */
  get missingSince(): number | undefined {
    return this.#missingSinceWall;
  }

  /** The containers are listed: a good moment to ask. */
  listed(): void {
    if (this.#parts.clock.now() - this.#lookedAt >= atLeastMs) void this.#look();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  #arm(): void {
    this.#cancel();
    const isMissing = (this.#ip.missingSince ?? this.#ip6.missingSince) !== undefined;
    const waitMs = isMissing ? missingMs : everyMs;
    if (!this.#isStopped) this.#cancel = this.#parts.clock.after(waitMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    const { clock, find, log } = this.#parts;
    this.#lookedAt = clock.now();
    try {
      const found = await find();
      if (!this.#isStopped) this.#take(found);
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'the address of this host cannot be found out');
    } finally {
      this.#isLooking = false;
      this.#arm();
    }
  }

  #take({ ip, ip6 = '', isCertain }: Awaited<ReturnType<HostWatchParts['find']>>): void {
    const before = this.addresses;
    // IPv6 alone, where there was IPv4: the same as none, for as long as an address is kept.
    const isOther = before.ip !== '' && !before.ip.includes(':') && ip.includes(':');
    // mutant: believe any guess
    const isBetter = isCertain || !this.#isCertain;
    if (isCertain) this.#isCertain = true;
    const isExpected = ip !== '' && isBetter && !isOther;
    const wasMissing = this.#ip.missingSince !== undefined;
    this.#ip = this.#kept(this.#ip, isExpected ? ip : '', ip);
    this.#ip6 = this.#kept(this.#ip6, ip6, ip6);
    this.#report(before, wasMissing);
    const { ip: now, ip6: now6 } = this.addresses;
    if (now !== before.ip || now6 !== before.ip6) this.#parts.onChange(this.addresses);
  }

  /** `found` counts at once; `otherwise` in place of an address that is not kept any longer. */
  #kept(kept: Kept, found: string, otherwise: string): Kept {
    if (found !== '' || kept.address === '') return { address: found || otherwise, missingSince: undefined };
    const now = this.#parts.clock.now();
    const missingSince = kept.missingSince ?? now;
    // mutant: keep no address that goes
    if (now - missingSince < this.#parts.keepMs) return { address: kept.address, missingSince };
    return { address: otherwise, missingSince: undefined };
  }

  #report(before: HostAddresses, wasMissing: boolean): void {
    const { clock, log, metrics, keepMs } = this.#parts;
    const now = this.addresses;
    const isMissing = this.#ip.missingSince !== undefined;
    if (isMissing || now.ip === '') this.#missingSinceWall ??= clock.wall();
    else this.#missingSinceWall = undefined;
    const fields = {
      from: before.ip,
      ...(before.ip6 && { from6: before.ip6 }),
      to: now.ip,
      ...(now.ip6 && { to6: now.ip6 }),
    };
    if (now.ip !== before.ip || now.ip6 !== before.ip6) {
      metrics.hostAddressChanges++;
      if (now.ip === '') log.warn(fields, 'the host has no address: what needs it is withdrawn');
      else log.info(fields, 'the address of this host has changed: everything is written anew');
    } else if (isMissing && !wasMissing) {
      log.warn({ ip: now.ip, seconds: keepMs / 1000 }, 'the address of this host is not found: it is kept for a while');
    } else if (!isMissing && wasMissing) {
      log.info({ ip: now.ip }, 'the address of this host is found again');
    }
  }
}
