/**
 * Lease keeper: makes this process the one that writes for its host, and keeps it so.
 *
 * All keys of a host hang on one lease, kept alive a few times per TTL without a write. The owner key
 * names who may write; every transaction compares its revision. Seeking a tenure is one path, taken
 * at the start and after every doubt (the lease is gone, the owner key is not as we wrote it, a call
 * had no answer, the keys on the lease are not the ones we know of): look at the owner, take over its
 * lease if it is ours to take, write the owner key, read what this host has published, go on. The
 * claim comes before the reading, because it fences off whatever an unanswered call may still do.
 *
 * A predecessor that released the owner key, or whose process is provably gone, is followed at once
 * and its lease adopted, so that readers notice nothing of a restart. One that may be alive is given
 * the time in which it would renew its lease: if it does, this process has to go (`HOST_ID_TAKEN`).
 * One in this very process, at a reload, is asked to leave before anything is written: never two write.
 */

import type { Actor, Self } from '../actor/actor.ts';
import { Backoff } from '../actor/backoff.ts';
import { type Clock, deadline, sleep } from '../actor/clock.ts';
import { OutageLog } from '../actor/outage-log.ts';
import { codeOf, DiscoverError, messageOf } from '../errors.ts';
import {
  absent,
  type CurrentOwnership,
  type LeaseId,
  noLease,
  type OwnerKey,
  type Ownership,
  operationsMax,
  type Registry,
} from '../etcd/registry.ts';
import { type Audited, foreign, ours, unread } from '../layout/held.ts';
import type { Layout } from '../layout/keys.ts';
import { type OwnerRecord, type ProcessIdentity, parseOwner } from '../layout/owner.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Ledger } from '../reconcile/ledger.ts';
import type { Liveness } from './process-identity.ts';
import { type PredecessorKeys, readHost } from './reading.ts';

export type LeaseKeeperMessage =
  /** This tenure may be over. */
  | { readonly kind: 'verify'; readonly ownership: Ownership; readonly reason: string }
  /** Compare what this host has in etcd with the ledger. */
  | { readonly kind: 'audit' }
  /** Renew the lease; from the keeper's own timer. */
  | { readonly kind: 'renew' };

const retryFirstMs = 50;
const retryCapMs = 1_000;
/** What etcd has refused for a reason of its own (a role, a password) does not change by the second. */
const refusedRetryMs = 10_000;
/** A tenure that lasted this long was no false start. */
const ownershipSettledMs = 5_000;
const releaseTimeoutMs = 2_500;
/** Renewals in one TTL: three may fail in a row before the lease is in danger. */
const renewalsPerTtl = 5;

/** The agent in this process that this one replaces. */
export interface Predecessor {
  /** As it names itself in the owner key. */
  readonly instance: string;
  /** It writes no more, and its keys stay. False: not yet, or not any more, because the replacement was called off. */
  leave(): Promise<boolean>;
}

export interface LeaseKeeperParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly registry: Registry;
  readonly layout: Layout;
  readonly ledger: Ledger;
  readonly current: CurrentOwnership;
  readonly ttlSeconds: number;
  /** What becomes of the keys; asked when it stops. */
  readonly onExit: () => 'keep' | 'remove';
  readonly predecessor?: Predecessor | undefined;
  /** This process; `lease` and `released` are filled in as they come. */
  readonly owner: Omit<OwnerRecord, 'lease' | 'released' | 'ttlSeconds' | 'views'>;
  readonly livenessOf: (process: ProcessIdentity | undefined) => Liveness;
  /** Tells whose the keys of such templates are, of the containers of this host. */
  readonly keyMatcher: (templates: readonly string[]) => PredecessorKeys['containerOf'];
  /** A tenure is held and the ledger read: what is unsettled can be written now. Of those in doubt another may know more. */
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
  #heldAt = Number.NEGATIVE_INFINITY;
  #lastSampled = '';
  #lease: LeaseId | undefined;
  /** What may stand on the lease beside the native keys, and on the lease of the predecessor. */
  #views: readonly string[] = [];
  #left: PredecessorKeys;
  /** Another process has owned the host since this one did, or before it. */
  #isSuccessor = false;
  #uncertain: readonly string[] = [];
  #cancelRenewal: () => void = () => {};
  #isAlone: boolean;
  /** There is no tenure, and the loop that seeks one runs. */
  #seeking: Promise<void> | undefined;

  constructor(parts: LeaseKeeperParts, self: Self<LeaseKeeperMessage>, signal: AbortSignal) {
    this.#parts = parts;
    this.#self = self;
    // Not AbortSignal.any: with a listener Node keeps such a signal for ever, unless it is aborted.
    this.#signal = this.#stop.signal;
    signal.addEventListener('abort', () => this.#stop.abort());
    this.#backoff = new Backoff(parts.clock, retryFirstMs, retryCapMs);
    this.#left = { leases: [], containerOf: parts.layout.containerOf };
    this.#isAlone = parts.predecessor === undefined;
    this.#outage = new OutageLog(parts.clock, parts.log, 'etcd unavailable');
    signal.addEventListener('abort', () => this.#cancelRenewal());
    parts.current.ownership = undefined;
    this.#seek();
  }

  async receive(messages: readonly LeaseKeeperMessage[]): Promise<void> {
    for (const verifyOwnership of messages) {
      const ownership = this.#parts.current.ownership;
      if (verifyOwnership.kind === 'verify') this.#verifyOwnership(verifyOwnership.ownership, verifyOwnership.reason);
      else if (ownership === undefined) continue;
      else if (verifyOwnership.kind === 'renew') await this.#renew(ownership);
      else await this.#audit(ownership);
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
      if (onExit() === 'remove') return registry.revoke(ownership.lease);
      await registry.keepAlive(ownership.lease);
      await registry.claim(layout.ownerKey, this.#record(ownership.lease, true), ownership.lease, ownership.revision);
    };
    await deadline(clock, releaseTimeoutMs, leave(), () => 'etcd did not answer in time').catch((error: unknown) => {
      log.warn({ error: messageOf(error) }, 'owner key not released; a successor will wait for the lease');
    });
  }

  #verifyOwnership(ownership: Ownership, reason: string): void {
    const { current, log } = this.#parts;
    // The doubt may be about a tenure long since replaced.
    if (this.#seeking !== undefined || (current.ownership !== undefined && current.ownership !== ownership)) return;
    // mutant (3 lines): go on writing while ownership is verified
    current.ownership = undefined;
    this.#cancelRenewal();
    log.debug({ reason }, 'ownership has to be verified');
    this.#seek();
  }

  #seek(): void {
    this.#seeking ??= this.#seekUntilOwned().then(
      (ownership) => {
        // Before anybody hears of the tenure: whoever doubts it has to find nobody seeking.
        this.#seeking = undefined;
        if (ownership !== undefined && !this.#signal.aborted) this.#held(ownership);
      },
      (error: unknown) => {
        this.#seeking = undefined;
        this.#self.crash(error);
      },
    );
  }

  async #seekUntilOwned(): Promise<Ownership | undefined> {
    const { clock, onFatal } = this.#parts;
    // Claims that succeed and commits that do not, in turn, would otherwise go round at full speed.
    if (clock.now() - this.#heldAt > ownershipSettledMs) this.#backoff.reset();
    else await sleep(clock, this.#backoff.next(), this.#signal);
    while (!this.#signal.aborted) {
      try {
        // mutant (3 lines): read first and claim then
        const ownership = await this.#claim();
        if (ownership !== undefined) {
          const reading = await readHost(this.#parts.registry, this.#parts.layout, ownership, this.#left);
          // mutant: take what was known before for newer than what another has written
          // mutant: claim and read nothing
          this.#uncertain = this.#parts.ledger.load(reading, this.#isSuccessor);
          return ownership;
        }
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

  /** One try. Undefined: somebody was faster, the owner changed under our eyes, or the predecessor is not to leave yet. */
  async #claim(): Promise<Ownership | undefined> {
    const { layout, metrics, predecessor, registry } = this.#parts;
    const owner = await registry.owner(layout.ownerKey);
    if (owner !== undefined && !(await this.#mayFollow(owner))) return undefined;
    if (!this.#isAlone) {
      if (this.#signal.aborted || !(await predecessor?.leave())) return undefined;
      this.#isAlone = true;
      // It has written until now.
      return this.#signal.aborted ? undefined : this.#claim();
    }
    const lease = await this.#usableLease([owner?.lease, this.#lease]);
    this.#lease = lease;
    this.#succeed(owner, lease);
    const record = this.#record(lease, false);
    // mutant: release what is not ours
    const ownership = await registry.claim(layout.ownerKey, record, lease, owner?.revision ?? absent);
    if (ownership !== undefined) metrics.claims++;
    return ownership;
  }

  /** What a predecessor wrote in views that are off now is found, and goes with whatever else is not wanted. */
  #succeed(owner: OwnerKey | undefined, lease: LeaseId): void {
    const { layout, keyMatcher } = this.#parts;
    const own = layout.views.map(({ template }) => template);
    const record = parseOwner(owner?.value ?? '');
    const before = record?.views ?? [];
    // Until a reading has taken that into account, whatever becomes of this claim.
    if (owner !== undefined && record?.instance !== this.#parts.owner.instance) this.#isSuccessor = true;
    const templates = Array.isArray(before) ? before.filter((template) => typeof template === 'string') : [];
    const former = keyMatcher(templates.filter((template) => !own.includes(template)));
    this.#left = {
      leases: owner === undefined || owner.lease === noLease ? [] : [owner.lease],
      // mutant: pass over what other views have left
      containerOf: (key) => layout.containerOf(key) ?? former(key),
    };
    // mutant: forget which views were on before
    this.#views = owner?.lease === lease ? [...new Set([...own, ...templates])] : own;
  }

  /** The first lease that lives and has the TTL that is configured, else a new one. */
  async #usableLease(candidates: readonly (LeaseId | undefined)[]): Promise<LeaseId> {
    const { registry, ttlSeconds } = this.#parts;
    for (const lease of new Set(candidates)) {
      // An owner key that somebody wrote by hand is on no lease.
      if (lease === undefined || lease === noLease || (await registry.keepAlive(lease)) <= 0) continue;
      const { ttlSeconds: left, grantedTtlSeconds } = await registry.lease(lease, false);
      if (left > 0 && grantedTtlSeconds === ttlSeconds) return lease;
    }
    return registry.grant(ttlSeconds);
  }

  async #mayFollow(owner: OwnerKey): Promise<boolean> {
    const record = parseOwner(owner.value);
    const { owner: self, predecessor } = this.#parts;
    if (record?.released || record?.instance === self.instance) return true;
    if (predecessor !== undefined && record?.instance === predecessor.instance) return true;
    const liveness = this.#parts.livenessOf(record?.process);
    if (liveness === 'gone') return true;
    // mutant: follow whoever cannot be seen
    if (liveness === 'unknown') return this.#outlast(owner, record);
    // mutant: follow whoever lives
    throw hostIdTaken(record, `its process ${record?.process?.pid} runs on this machine`);
  }

  /** Waits as long as the owner would need to renew its lease, twice if it did once. True: it does not any more. */
  async #outlast(owner: OwnerKey, record: OwnerRecord | undefined): Promise<boolean> {
    const { clock, log, registry, ttlSeconds } = this.#parts;
    const renewalMs = ((record?.ttlSeconds ?? ttlSeconds) * 1000) / renewalsPerTtl;
    let { ttlSeconds: first } = await registry.lease(owner.lease, false);
    if (first <= 0) return true;
    // From the answer on: more time has passed since the lease was looked at, never less.
    let began = clock.now();
    let hasRenewed = false;
    log.info(
      { owner: record?.instance, waitMs: Math.round(renewalMs * 1.5 + 1_500) },
      'waiting whether the owner of this host id is alive',
    );
    for (;;) {
      await sleep(clock, 500, this.#signal);
      if (this.#signal.aborted) return false;
      const passedMs = clock.now() - began;
      const { ttlSeconds: left } = await registry.lease(owner.lease, false);
      // mutant (2 lines): take an ended lease for a sign of life
      if (left <= 0) return true;
      // Left alone, the time left goes down by the second; answers are whole seconds.
      if (left > first - passedMs / 1000 + 1.2) {
        // mutant: take one renewal for a sign of life
        if (hasRenewed) throw hostIdTaken(record, 'it renews its lease');
        // The last renewal of a process that is gone may have been under way for a while.
        hasRenewed = true;
        [first, began] = [left, clock.now()];
      } else if (passedMs > renewalMs * 1.5 + 1_500) return true;
    }
  }

  #held(ownership: Ownership): void {
    const { current, ledger, log, metrics, onOwned } = this.#parts;
    current.ownership = ownership;
    this.#heldAt = this.#parts.clock.now();
    this.#outage.over();
    const published = [...ledger.published()].length;
    log.info(
      { lease: ownership.lease, revision: ownership.revision, published, claims: metrics.claims },
      'writing for this host',
    );
    // mutant (2 lines): never renew
    this.#renewLater();
    onOwned(this.#uncertain);
    this.#isSuccessor = false;
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

  /**
   * Which keys hang on the lease, what the records say, and the values of some of the service keys, others
   * each time: three calls, whatever the size of the cluster. Only what nobody touched meanwhile is compared.
   */
  async #audit(ownership: Ownership): Promise<void> {
    const { current, layout, ledger, log, metrics, registry } = this.#parts;
    const { version } = ledger;
    try {
      const { ttlSeconds, keys } = await registry.lease(ownership.lease, true);
      const found = [
        ...(await registry.readPrefix(layout.recordPrefix)),
        ...(await registry.readKeys(this.#sample(keys))),
      ];
      if (current.ownership !== ownership) return;
      const held = new Map<string, Map<string, Audited>>();
      const note = (key: string, value: Audited) => {
        const shortId = this.#left.containerOf(key);
        if (shortId !== undefined) held.set(shortId, (held.get(shortId) ?? new Map()).set(key, value));
      };
      for (const key of keys) note(key, unread);
      for (const { key, value, lease } of found) note(key, lease === ownership.lease ? ours(value) : foreign);
      if (ttlSeconds <= 0) {
        metrics.drift.lease++;
        this.#lost(ownership);
      } else if (!keys.includes(layout.ownerKey)) {
        metrics.drift.owner++;
        this.#verifyOwnership(ownership, 'the owner key is not on the lease');
      } else if (ledger.differs(held, version)) {
        metrics.drift.keys++;
        log.warn({ keys: keys.length }, 'etcd was changed by somebody else; repairing');
        this.#verifyOwnership(ownership, 'what this host has in etcd is not what it wrote');
      }
    } catch (error) {
      this.#outage.failed(error);
    }
  }

  /** The next service keys in turn, as many as one transaction reads. */
  #sample(keys: readonly string[]): string[] {
    const { layout } = this.#parts;
    const services = keys.filter((key) => layout.nameOf(key) !== undefined).sort();
    const next = services.findIndex((key) => key > this.#lastSampled);
    const sample = services.slice(Math.max(0, next), Math.max(0, next) + operationsMax);
    this.#lastSampled = sample.at(-1) ?? '';
    return sample;
  }

  #record(lease: LeaseId, released: boolean): string {
    const { owner, ttlSeconds } = this.#parts;
    const views = this.#views;
    return JSON.stringify({
      ...owner,
      lease,
      ttlSeconds,
      released,
      ...(views.length > 0 && { views }),
    } satisfies OwnerRecord);
  }
}

/** The error of a process that has to give way. */
function hostIdTaken(record: OwnerRecord | undefined, proof: string): DiscoverError {
  const who = record ? `instance ${record.instance} at ${record.ip}, started ${record.started}` : 'an unknown owner';
  return new DiscoverError('HOST_ID_TAKEN', `host.id is in use by ${who}: ${proof}. Give each host an id of its own`);
}
