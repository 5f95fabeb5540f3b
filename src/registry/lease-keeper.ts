/**
 * Lease keeper: makes this process the owner of its host, and keeps it so.
 *
 * All keys of a host depend on one lease, which is kept alive a few times per TTL without a write. The owner key
 * names the process that may write, and every transaction compares its revision. There is one path to ownership,
 * taken at the start and whenever ownership has to be verified (the lease is gone, the owner key is not as it was
 * written, a call had no answer, an audit found a difference): claim, read the published keys of this host, go on.
 * The claim comes before the reading, because the claim fences off the late effect of an unanswered call.
 *
 * The claim is in `ownership.ts`, the comparison of an audit in `audit.ts`.
 */

import type { Actor, Self } from '../actor/actor.ts';
import { Backoff } from '../actor/backoff.ts';
import { deadline, sleep } from '../actor/clock.ts';
import { OutageLog } from '../actor/outage-log.ts';
import { codeOf, DiscoverError, messageOf } from '../errors.ts';
import type { CurrentOwnership, Ownership } from '../etcd/registry.ts';
import { Audit, type AuditParts } from './audit.ts';
import { type ClaimParts, OwnershipClaim, renewalsPerTtl } from './ownership.ts';
import { readHost } from './reading.ts';

export type { Predecessor } from './ownership.ts';

export type LeaseKeeperMessage =
  /** This ownership may be over. */
  | { readonly kind: 'verify'; readonly ownership: Ownership; readonly reason: string }
  /** Compare what this host has in etcd with the ledger. */
  | { readonly kind: 'audit' }
  /** Renew the lease; from the keeper's own timer. */
  | { readonly kind: 'renew' };

const retryFirstMs = 50;
const retryCapMs = 1_000;
/** The wait after a refusal of etcd: its reason (a role, a password) does not change by the second. */
const refusedRetryMs = 10_000;
/** An ownership that lasted this long was no false start. */
const ownershipSettledMs = 5_000;
const releaseTimeoutMs = 2_500;

export interface LeaseKeeperParts extends ClaimParts, AuditParts {
  readonly current: CurrentOwnership;
  /** Whether the keys stay or go; asked when the lease keeper stops. */
  readonly onExit: () => 'keep' | 'remove' | 'drain';
  /** Resolves once it is known what people have taken out of traffic: before that nothing is written. */
  readonly whenKnown?: (signal: AbortSignal) => Promise<void>;
  /** The host is owned and the ledger loaded: writing may begin. About `uncertain` another process may know more. */
  readonly onOwned: (uncertain: readonly string[]) => void;
  readonly onFatal: (error: DiscoverError) => void;
}

export class LeaseKeeper implements Actor<LeaseKeeperMessage> {
  readonly #parts: LeaseKeeperParts;
  readonly #self: Self<LeaseKeeperMessage>;
  readonly #signal: AbortSignal;
  readonly #stop = new AbortController();
  readonly #outage: OutageLog;
  readonly #backoff: Backoff;
  readonly #claim: OwnershipClaim;
  readonly #audit: Audit;
  #ownedAt = Number.NEGATIVE_INFINITY;
  #uncertain: readonly string[] = [];
  #cancelRenewal: () => void = () => {};
  /** The host is not owned, and the loop that seeks ownership runs. */
  #seeking: Promise<void> | undefined;

  constructor(parts: LeaseKeeperParts, self: Self<LeaseKeeperMessage>, signal: AbortSignal) {
    this.#parts = parts;
    this.#self = self;
    // Not AbortSignal.any: with a listener Node keeps such a signal for ever, unless it is aborted.
    this.#signal = this.#stop.signal;
    signal.addEventListener('abort', () => this.#stop.abort());
    this.#backoff = new Backoff(parts.clock, retryFirstMs, retryCapMs);
    this.#claim = new OwnershipClaim(parts, this.#signal);
    this.#audit = new Audit(parts);
    this.#outage = new OutageLog(parts.clock, parts.log, 'etcd unavailable');
    signal.addEventListener('abort', () => this.#cancelRenewal());
    parts.current.ownership = undefined;
    this.#seek();
  }

  async receive(messages: readonly LeaseKeeperMessage[]): Promise<void> {
    for (const message of messages) {
      const ownership = this.#parts.current.ownership;
      if (message.kind === 'verify') this.#verifyOwnership(message.ownership, message.reason);
      else if (ownership === undefined) continue;
      else if (message.kind === 'renew') await this.#renew(ownership);
      else await this.#runAudit(ownership);
    }
  }

  /** Leaves in order: the keys stay for a successor until the TTL has passed, or go at once. */
  async stop(): Promise<void> {
    const { clock, current, layout, log, onExit, registry } = this.#parts;
    this.#stop.abort();
    this.#cancelRenewal();
    await this.#seeking;
    const { ownership } = current;
    current.ownership = undefined;
    if (ownership === undefined) return;
    const leave = async (): Promise<void> => {
      if (onExit() !== 'keep') return registry.revoke(ownership.lease);
      await registry.keepAlive(ownership.lease);
      await registry.claim(
        layout.ownerKey,
        this.#claim.record(ownership.lease, true),
        ownership.lease,
        ownership.revision,
      );
    };
    await deadline(clock, releaseTimeoutMs, leave(), () => 'etcd did not answer in time').catch((error: unknown) => {
      log.warn({ error: messageOf(error) }, 'owner key not released; a successor will wait for the lease');
    });
  }

  #verifyOwnership(ownership: Ownership, reason: string): void {
    const { current, log } = this.#parts;
    // The request may be about an ownership that was replaced long ago.
    if (this.#seeking !== undefined || (current.ownership !== undefined && current.ownership !== ownership)) return;
    // mutant (3 lines): go on writing while ownership is verified
    current.ownership = undefined;
    this.#cancelRenewal();
    log.debug({ reason }, 'verifying ownership');
    this.#seek();
  }

  #seek(): void {
    this.#seeking ??= this.#seekUntilOwned().then(
      (ownership) => {
        // Before any part hears of the ownership: a request to verify it has to find no search under way.
        this.#seeking = undefined;
        if (ownership !== undefined && !this.#signal.aborted) this.#owned(ownership);
      },
      (error: unknown) => {
        this.#seeking = undefined;
        this.#self.crash(error);
      },
    );
  }

  async #seekUntilOwned(): Promise<Ownership | undefined> {
    const { clock, onFatal } = this.#parts;
    // Otherwise a loop of successful claims and failing commits would run at full speed.
    if (clock.now() - this.#ownedAt > ownershipSettledMs) this.#backoff.reset();
    else await sleep(clock, this.#backoff.next(), this.#signal);
    while (!this.#signal.aborted) {
      try {
        // mutant: read first and claim then
        const ownership = await this.#claim.try();
        if (ownership !== undefined && (await this.#read(ownership))) return ownership;
      } catch (error) {
        if (error instanceof DiscoverError && error.code === 'HOST_ID_TAKEN') {
          onFatal(error);
          break;
        }
        if (codeOf(error) === undefined) throw error;
        this.#outage.failed(error);
        if (codeOf(error) === 'ETCD_REFUSED') await sleep(clock, refusedRetryMs * clock.random(), this.#signal);
      }
      // mutant (3 lines): give up seeking after one try
      await sleep(clock, this.#backoff.next(), this.#signal);
    }
    return undefined;
  }

  /** Loads the ledger with the keys of this host in etcd. False: etcd refused; the next try takes another lease. */
  async #read(ownership: Ownership): Promise<boolean> {
    const { layout, ledger, registry, whenKnown } = this.#parts;
    try {
      // mutant: write before maintenance is known
      await whenKnown?.(this.#signal);
      const reading = await readHost(registry, layout, ownership, this.#claim.predecessorKeys);
      // mutant: take what was known before for newer than what another has written
      // mutant: claim and read nothing
      this.#uncertain = ledger.load(reading, this.#claim.isSuccessor);
      return true;
    } catch (error) {
      if (codeOf(error) === 'ETCD_REFUSED' && (await this.#claim.readingRefused(error))) return false;
      throw error;
    }
  }

  #owned(ownership: Ownership): void {
    const { current, ledger, log, metrics, onOwned } = this.#parts;
    current.ownership = ownership;
    this.#ownedAt = this.#parts.clock.now();
    this.#outage.over();
    const published = [...ledger.published()].length;
    log.info(
      { lease: ownership.lease, revision: ownership.revision, published, claims: metrics.claims },
      'writing for this host',
    );
    // mutant (2 lines): never renew
    this.#renewLater();
    onOwned(this.#uncertain);
    this.#claim.completed();
  }

  async #renew(ownership: Ownership): Promise<void> {
    try {
      // mutant: pass over the end of the lease
      if ((await this.#parts.registry.keepAlive(ownership.lease)) <= 0) return this.#lost(ownership);
      this.#outage.over();
    } catch (error) {
      this.#outage.failed(error);
    }
    // mutant: renew once
    if (this.#parts.current.ownership === ownership) this.#renewLater();
  }

  #lost(ownership: Ownership): void {
    this.#parts.metrics.leasesLost++;
    this.#verifyOwnership(ownership, 'the lease is gone');
  }

  #renewLater(): void {
    const { clock, ttlSeconds } = this.#parts;
    this.#cancelRenewal();
    const everyMs = (ttlSeconds * 1000) / renewalsPerTtl;
    const waitMs = this.#outage.lasts ? Math.min(everyMs, retryCapMs) : everyMs;
    this.#cancelRenewal = clock.after(waitMs, () => this.#self.tell({ kind: 'renew' }));
  }

  async #runAudit(ownership: Ownership): Promise<void> {
    const { current, log, metrics, onOwned } = this.#parts;
    try {
      const { containerOf } = this.#claim.predecessorKeys;
      const finding = await this.#audit.run(ownership, containerOf, () => current.ownership === ownership);
      switch (finding?.kind) {
        case 'lease-gone':
          metrics.drift.lease++;
          this.#lost(ownership);
          break;
        case 'owner-key-gone':
          metrics.drift.owner++;
          this.#verifyOwnership(ownership, 'the owner key is not on the lease');
          break;
        case 'differs':
          metrics.drift.keys++;
          log.warn({ keys: finding.keys }, 'etcd was changed by another program; repairing');
          this.#verifyOwnership(ownership, 'what this host has in etcd is not what it wrote');
          break;
        case 'as-known':
          if (finding.strays === 0) break;
          metrics.drift.keys++;
          log.warn({ keys: finding.strays }, 'etcd has keys of this host that this host did not write; repairing');
          onOwned([]);
          break;
        default:
        // Not ours any more.
      }
    } catch (error) {
      this.#outage.failed(error);
    }
  }
}
