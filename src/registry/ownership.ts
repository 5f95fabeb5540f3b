/**
 * The claim: the steps by which a process becomes the owner of its host.
 *
 * One try reads the owner key, finds out whether this process may follow its owner, chooses a lease and writes
 * the owner key. A predecessor that released the owner key, or whose process is provably gone, is followed at
 * once and its lease adopted, so that readers notice nothing of a restart. An owner that may be alive gets the
 * time in which it would renew its lease: if it does, this process has to give way (`HOST_ID_TAKEN`). An owner
 * in this same process, at a reload, is asked to leave before anything is written: two never write.
 *
 * A lease whose keys this process may not read is given up: it is not renewed, all desired keys are written on
 * another lease, and the keys on the old lease end with it. A claim whose reading was refused is not repeated
 * until the reading is allowed.
 */

import { type Clock, sleep } from '../actor/clock.ts';
import { codeOf, DiscoverError, messageOf } from '../errors.ts';
import { absent, type LeaseId, noLease, type OwnerKey, type Ownership, type Registry } from '../etcd/registry.ts';
import type { Layout } from '../layout/keys.ts';
import { type OwnerRecord, type ProcessIdentity, parseOwner } from '../layout/owner.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Liveness } from './process-identity.ts';
import { type PredecessorKeys, readHost } from './reading.ts';

/** Renewals in one TTL: three may fail in a row before the lease is in danger. */
export const renewalsPerTtl = 5;

/** The agent in this process that this one replaces. */
export interface Predecessor {
  /** As it names itself in the owner key. */
  readonly instance: string;
  /** It writes no more, and its keys stay. False: not yet, or not any more, because the replacement was called off. */
  leave(): Promise<boolean>;
}

export interface ClaimParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly registry: Registry;
  readonly layout: Layout;
  readonly ttlSeconds: number;
  readonly predecessor?: Predecessor | undefined;
  /** This process; `lease` and `released` are filled in as they come. */
  readonly owner: Omit<OwnerRecord, 'lease' | 'released' | 'ttlSeconds' | 'views'>;
  readonly livenessOf: (process: ProcessIdentity | undefined) => Liveness;
  /** Finds the container of this host that a key of these templates belongs to. */
  readonly keyMatcher: (templates: readonly string[]) => PredecessorKeys['containerOf'];
}

export class OwnershipClaim {
  readonly #parts: ClaimParts;
  readonly #signal: AbortSignal;
  #lease: LeaseId | undefined;
  /** Granted for this claim, and nothing has been written on it. */
  #unused: LeaseId | undefined;
  readonly #givenUp = new Set<LeaseId>();
  #isReadingRefused = false;
  /** The key templates of the views that may have keys on the lease, beside the native keys. */
  #views: readonly string[] = [];
  #predecessorKeys: PredecessorKeys;
  #isSuccessor = false;
  #isAlone: boolean;

  constructor(parts: ClaimParts, signal: AbortSignal) {
    this.#parts = parts;
    this.#signal = signal;
    this.#predecessorKeys = { leases: [], containerOf: parts.layout.containerOf };
    this.#isAlone = parts.predecessor === undefined;
  }

  get predecessorKeys(): PredecessorKeys {
    return this.#predecessorKeys;
  }

  /** Another process has owned the host since this one did, or before it. */
  get isSuccessor(): boolean {
    return this.#isSuccessor;
  }

  /** The keys of this host have been read after a claim: the host is owned. */
  completed(): void {
    this.#isSuccessor = false;
    this.#isReadingRefused = false;
    this.#unused = undefined;
  }

  /** One try. Undefined: another process was faster, the owner changed, or the predecessor may not leave yet. */
  async try(): Promise<Ownership | undefined> {
    const { layout, metrics, predecessor, registry } = this.#parts;
    const owner = await registry.owner(layout.ownerKey);
    if (owner !== undefined && !(await this.#mayFollow(owner))) return undefined;
    if (!this.#isAlone) {
      if (this.#signal.aborted || !(await predecessor?.leave())) return undefined;
      this.#isAlone = true;
      // The predecessor has written until now, so the owner key is read again.
      return this.#signal.aborted ? undefined : this.try();
    }
    const lease = await this.#usableLease(owner);
    this.#lease = lease;
    this.#succeed(owner, lease);
    if (this.#isReadingRefused) {
      await readHost(registry, layout, { lease, revision: absent }, this.#predecessorKeys);
    }
    const record = this.record(lease, false);
    // mutant: release what is not ours
    const ownership = await registry.claim(layout.ownerKey, record, lease, owner?.revision ?? absent);
    if (ownership === undefined) return undefined;
    metrics.claims++;
    // Only now: a claim that is refused again and again must not keep a lease alive that it may not take.
    if (lease !== this.#unused && (await registry.keepAlive(lease)) <= 0) return undefined;
    return ownership;
  }

  /** The keys could not be read after a claim. True: the lease is given up, and the next try takes another one. */
  async readingRefused(error: unknown): Promise<boolean> {
    const leases = [this.#lease, ...this.#predecessorKeys.leases].filter((lease) => lease !== undefined);
    const adopted = leases.filter((lease) => lease !== this.#unused && !this.#givenUp.has(lease));
    this.#isReadingRefused = adopted.length === 0;
    for (const lease of adopted) await this.#giveUp(lease, error);
    return adopted.length > 0;
  }

  /** The value of the owner key. */
  record(lease: LeaseId, released: boolean): string {
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

  /** Finds the keys of a predecessor in views that are off now too, so that they go with all other unwanted keys. */
  #succeed(owner: OwnerKey | undefined, lease: LeaseId): void {
    const { layout, keyMatcher } = this.#parts;
    const own = layout.views.map(({ template }) => template);
    const record = parseOwner(owner?.value ?? '');
    // This stays set until a reading has taken it into account, also if this claim fails.
    if (owner !== undefined && record?.instance !== this.#parts.owner.instance) this.#isSuccessor = true;
    const templates = templatesIn(record);
    const former = keyMatcher(templates.filter((template) => !own.includes(template)));
    const isReadable = owner !== undefined && owner.lease !== noLease && !this.#givenUp.has(owner.lease);
    this.#predecessorKeys = {
      leases: isReadable ? [owner.lease] : [],
      // mutant: pass over what other views have left
      containerOf: (key) => layout.containerOf(key) ?? former(key),
    };
    // mutant: forget which views were on before
    this.#views = owner?.lease === lease ? [...new Set([...own, ...templates])] : own;
  }

  /** The first lease that lives, has the TTL that is configured and can be read, else a new one. */
  async #usableLease(owner: OwnerKey | undefined): Promise<LeaseId> {
    const { registry, ttlSeconds } = this.#parts;
    for (const lease of new Set([owner?.lease, this.#lease])) {
      // An owner key that was written by hand is on no lease.
      if (lease === undefined || lease === noLease || this.#givenUp.has(lease)) continue;
      try {
        // With its keys: etcd refuses that if one of them may not be read.
        const { ttlSeconds: left, grantedTtlSeconds } = await registry.lease(lease, true);
        // Whole seconds: a lease that lives may have 0 of them left.
        if (left >= 0 && grantedTtlSeconds === ttlSeconds) return lease;
      } catch (error) {
        if (codeOf(error) !== 'ETCD_REFUSED') throw error;
        await this.#giveUp(lease, error, owner);
      }
    }
    this.#unused = await registry.grant(ttlSeconds);
    return this.#unused;
  }

  async #giveUp(lease: LeaseId, error: unknown, owner?: OwnerKey): Promise<void> {
    this.#givenUp.add(lease);
    const unreadable = await this.#unreadable(templatesIn(parseOwner(owner?.value ?? '')));
    this.#parts.log.warn(
      { lease, error: messageOf(error), unreadable },
      'the lease of this host cannot be taken over, because the etcd user may not read all keys on it; ' +
        'everything is written anew on another lease, and what is left on this one ends with it',
    );
  }

  /** The roots of keys that may not be read, each asked for by itself: etcd does not say which key it was. */
  async #unreadable(templates: readonly string[]): Promise<string[]> {
    const { layout, registry } = this.#parts;
    const heads = [...this.#views, ...templates].map((template) => template.split('{{', 1)[0] ?? '');
    const denied: string[] = [];
    for (const root of new Set([layout.recordPrefix, ...heads])) {
      await registry.readKeys([root]).catch((error: unknown) => {
        if (codeOf(error) === 'ETCD_REFUSED') denied.push(root);
      });
    }
    return denied;
  }

  async #mayFollow(owner: OwnerKey): Promise<boolean> {
    const record = parseOwner(owner.value);
    const { owner: self, predecessor } = this.#parts;
    if (record?.released || record?.instance === self.instance) return true;
    if (predecessor !== undefined && record?.instance === predecessor.instance) return true;
    const liveness = this.#parts.livenessOf(record?.process);
    if (liveness === 'gone') return true;
    // mutant: follow an owner that cannot be seen
    if (liveness === 'unknown') return this.#outlast(owner, record);
    // mutant: follow an owner that lives
    throw hostIdTaken(record, `its process ${record?.process?.pid} runs on this machine`);
  }

  /** Waits as long as the owner would need to renew its lease, twice if it did once. True: it does not any more. */
  async #outlast(owner: OwnerKey, record: OwnerRecord | undefined): Promise<boolean> {
    const { clock, log, registry, ttlSeconds } = this.#parts;
    const renewalMs = ((record?.ttlSeconds ?? ttlSeconds) * 1000) / renewalsPerTtl;
    let { ttlSeconds: first } = await registry.lease(owner.lease, false);
    if (first <= 0) return true;
    // Counted from the answer on: in truth more time has passed since etcd read the lease, never less.
    let began = clock.now();
    let hasRenewed = false;
    log.info(
      { owner: record?.instance, waitMs: Math.round(renewalMs * 1.5 + 1_500) },
      'waiting to see whether the current owner of this host id is alive',
    );
    for (;;) {
      await sleep(clock, 500, this.#signal);
      if (this.#signal.aborted) return false;
      const passedMs = clock.now() - began;
      const { ttlSeconds: left } = await registry.lease(owner.lease, false);
      // mutant (2 lines): take an ended lease for a sign of life
      if (left <= 0) return true;
      // Without a renewal the remaining time falls by the second; answers are whole seconds.
      if (left > first - passedMs / 1000 + 1.2) {
        // mutant: take one renewal for a sign of life
        if (hasRenewed) throw hostIdTaken(record, 'it renews its lease');
        // The last renewal of a process that is gone may have been under way for a while.
        hasRenewed = true;
        [first, began] = [left, clock.now()];
      } else if (passedMs > renewalMs * 1.5 + 1_500) return true;
    }
  }
}

function templatesIn(record: OwnerRecord | undefined): string[] {
  const views: unknown = record?.views;
  return Array.isArray(views) ? views.filter((template) => typeof template === 'string') : [];
}

/** The error of a process that has to give way. */
function hostIdTaken(record: OwnerRecord | undefined, proof: string): DiscoverError {
  const who = record ? `instance ${record.instance} at ${record.ip}, started ${record.started}` : 'an unknown owner';
  return new DiscoverError('HOST_ID_TAKEN', `host.id is in use by ${who}: ${proof}. Give each host an id of its own`);
}
