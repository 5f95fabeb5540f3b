/**
 * Brings together what two watches say of one instance: the watch of the service keys and that of the meta keys.
 *
 * The agent writes both keys of an instance in one transaction. But each watch has its own events, one may be ahead of the
 * other, and etcd does not tell that a key has not changed. So a change of one key waits until the other key is known at
 * the same time:
 *
 *     the service key, once the watch of the service keys has come as far; else etcd is asked whether it changes as well,
 *     the meta key, if the same revision has changed it; else etcd is asked for its value. It keeps the past.
 *
 * So a service without meta costs one question for the changes that came while the last one was asked, and a removal costs
 * none. What is handed on is each instance as it was at one revision, and the service keys as they all were at one.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Found, Point, RevisedChange } from '../etcd/reader.ts';
import { type Change, metaPrefixOf, servicePrefixOf } from '../layout/keys.ts';

export interface PairsOptions {
  /** That of etcd. */
  readonly prefix: string;
  /** The revision of the reading behind which both watches begin. */
  readonly revision: bigint;
  /** Whether a service key is that of a known instance. */
  isInstance(serviceKey: string): boolean;
  look(points: readonly Point[]): Promise<(Found | undefined)[]>;
  /** Changes that belong together. */
  apply(changes: readonly Change[]): void;
}

/** @internal */
export class Pairs {
  readonly #options: PairsOptions;
  readonly #below: string;
  readonly #metaBelow: string;
  /** Changes that wait. */
  #queue: RevisedChange[] = [];
  #isWorking = false;
  #work: Promise<void> = Promise.resolve();
  /** The service keys are known up to this revision. */
  #servicesAt: bigint;
  /** By the service key of the instance: the revision at which its meta key was known last. */
  readonly #metaAt = new Map<string, bigint>();
  /** Changes of a meta key that wait for the change of its service key. */
  readonly #held = new Map<string, RevisedChange>();

  constructor(options: PairsOptions) {
    this.#options = options;
    this.#below = servicePrefixOf(options.prefix);
    this.#metaBelow = metaPrefixOf(options.prefix);
    this.#servicesAt = options.revision;
  }

  /** Resolves once the changes were handed on; rejects if etcd cannot be asked. */
  take(changes: readonly RevisedChange[]): Promise<void> {
    for (const change of changes) this.#queue.push(change);
    if (!this.#isWorking) this.#work = this.#handOn();
    return this.#work;
  }

  async #handOn(): Promise<void> {
    this.#isWorking = true;
    try {
      while (this.#queue.length > 0) {
        // etcd sends the events of one transaction one after the other: those of the service keys may be on their way.
        if (this.#queue.every(({ key }) => key.startsWith(this.#metaBelow))) await nextTurn();
        const batch = this.#queue;
        this.#queue = [];
        const changes = await this.#joined(batch);
        if (changes.length > 0) this.#options.apply(changes);
      }
    } finally {
      this.#isWorking = false;
    }
  }

  async #joined(batch: readonly RevisedChange[]): Promise<Change[]> {
    const { services, metas } = this.#latest(batch);
    const at = this.#servicesAt;
    const isInstance = (key: string): boolean =>
      services.has(key) ? services.get(key)?.value !== undefined : this.#options.isInstance(key);
    const ready: Change[] = [...services.values()];
    const unknown = new Set<string>();
    for (const [key, { value, revision }] of services) {
      if (value === undefined) this.#metaAt.delete(key);
      else if (metas.get(key)?.revision !== revision) unknown.add(key);
    }
    const early: (readonly [serviceKey: string, meta: RevisedChange])[] = [];
    for (const [key, meta] of metas) {
      if (meta.revision > at) early.push([key, meta]);
      else if (!unknown.has(key)) {
        ready.push(meta);
        if (isInstance(key)) this.#metaAt.set(key, meta.revision);
      }
    }
    if (unknown.size + early.length === 0) return ready;
    const found = await this.#options.look([
      ...[...unknown].map((key) => ({ key: this.#metaBelow + key.slice(this.#below.length), revision: at })),
      ...early.map(([key, { revision }]) => ({ key, revision })),
    ]);
    for (const key of unknown) {
      ready.push({ key: this.#metaBelow + key.slice(this.#below.length), value: found.shift()?.value });
      this.#metaAt.set(key, at);
    }
    for (const [key, meta] of early) {
      const service = found.shift();
      const isComing = service === undefined ? isInstance(key) : service.revision > at;
      if (isComing) this.#held.set(key, meta);
      else ready.push(meta);
      if (!isComing && isInstance(key)) this.#metaAt.set(key, meta.revision);
    }
    return ready;
  }

  /** The last change of each key, by the service key of its instance. */
  #latest(batch: readonly RevisedChange[]) {
    const services = new Map<string, RevisedChange>();
    const metas = new Map<string, RevisedChange>();
    for (const change of batch) {
      if (!change.key.startsWith(this.#metaBelow)) {
        services.set(change.key, change);
        this.#servicesAt = change.revision;
        continue;
      }
      const serviceKey = this.#below + change.key.slice(this.#metaBelow.length);
      // etcd was asked for it at a later revision already.
      if (change.revision <= (this.#metaAt.get(serviceKey) ?? 0n)) continue;
      metas.set(serviceKey, change);
      this.#held.delete(serviceKey);
    }
    for (const key of services.keys()) {
      const held = this.#held.get(key);
      if (held !== undefined) metas.set(key, held);
      this.#held.delete(key);
    }
    return { services, metas };
  }
}
