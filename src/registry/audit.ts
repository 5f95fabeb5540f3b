/**
 * The audit: compares the keys of this host in etcd with the ledger.
 *
 * It reads the names of the keys on the lease, all records, and the values of some service keys, others each
 * time: three calls for a cluster of any size. Only containers that were not touched meanwhile are compared.
 *
 * A key of this host without a lease and without a record is in none of these answers. So every tenth audit also
 * reads a page of the keys of all hosts below each prefix that they share, the next page each time; if the cluster
 * has more than one page, every sixtieth audit does. On the largest clusters such a key is found late, because every
 * host would pay for an earlier find.
 */

import { codeOf } from '../errors.ts';
import { type KeyPage, type Ownership, operationsMax, type Registry } from '../etcd/registry.ts';
import { type Audited, foreign, ours, unread } from '../layout/held.ts';
import type { Layout } from '../layout/keys.ts';
import type { Ledger } from '../reconcile/ledger.ts';

const strayEvery = 10;
const strayEveryOfMany = 60;

export interface AuditParts {
  readonly registry: Registry;
  readonly layout: Layout;
  readonly ledger: Ledger;
}

/** The result of an audit; `strays` is the number of keys that are new to the ledger. */
export type Finding =
  | { readonly kind: 'as-known'; readonly strays: number }
  | { readonly kind: 'lease-gone' | 'owner-key-gone' }
  | { readonly kind: 'differs'; readonly keys: number };

export class Audit {
  readonly #parts: AuditParts;
  #lastSampled = '';
  #audits = 0;
  /** By prefix, the key behind which the next page begins. */
  readonly #cursors = new Map<string, string>();
  #hasMany = false;

  constructor(parts: AuditParts) {
    this.#parts = parts;
  }

  /** Undefined: by `isCurrent`, the ownership has changed meanwhile. */
  async run(
    ownership: Ownership,
    containerOf: (key: string) => string | undefined,
    isCurrent: () => boolean,
  ): Promise<Finding | undefined> {
    const { layout, ledger, registry } = this.#parts;
    const { version } = ledger;
    const { ttlSeconds, keys } = await registry.lease(ownership.lease, true);
    const found = [
      ...(await registry.readPrefix(layout.recordPrefix)),
      ...(await registry.readKeys(this.#sample(keys))),
    ];
    if (!isCurrent()) return undefined;
    if (ttlSeconds <= 0) return { kind: 'lease-gone' };
    if (!keys.includes(layout.ownerKey)) return { kind: 'owner-key-gone' };
    const held = new Map<string, Map<string, Audited>>();
    const note = (key: string, value: Audited) => {
      const shortId = containerOf(key);
      if (shortId !== undefined) held.set(shortId, (held.get(shortId) ?? new Map()).set(key, value));
    };
    for (const key of keys) note(key, unread);
    for (const { key, value, lease } of found) note(key, lease === ownership.lease ? ours(value) : foreign);
    // A key that is known to be foreign is not on the lease: the writer will correct it.
    for (const shortId of ledger.published()) {
      for (const [key, known] of ledger.observed(shortId)) {
        if (known.kind === 'foreign' && !held.get(shortId)?.has(key)) note(key, foreign);
      }
    }
    if (ledger.differs(held, version)) return { kind: 'differs', keys: keys.length };
    return { kind: 'as-known', strays: await this.#strays(isCurrent) };
  }

  /** Tells the ledger of keys of this host that it does not know. */
  async #strays(isCurrent: () => boolean): Promise<number> {
    const { layout, ledger, registry } = this.#parts;
    if (this.#audits++ % (this.#hasMany ? strayEveryOfMany : strayEvery) !== 0) return 0;
    let strays = 0;
    let hasMany = false;
    for (const prefix of layout.sharedPrefixes) {
      const { version } = ledger;
      const cursor = this.#cursors.get(prefix) ?? '';
      const { keys, hasMore } = await readable(registry.readPage(prefix, cursor));
      if (!isCurrent()) return 0;
      hasMany ||= hasMore || cursor !== '';
      this.#cursors.set(prefix, hasMore ? (keys.at(-1) ?? '') : '');
      for (const key of keys) {
        const shortId = layout.containerOf(key);
        if (shortId !== undefined && ledger.foundStray(shortId, key, version)) strays++;
      }
    }
    this.#hasMany = hasMany;
    return strays;
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
}

/** A role may read the keys of this host, and not those of all hosts below every prefix. */
async function readable(page: Promise<KeyPage>): Promise<KeyPage> {
  try {
    return await page;
  } catch (error) {
    if (codeOf(error) === 'ETCD_REFUSED') return { keys: [], hasMore: false };
    throw error;
  }
}
