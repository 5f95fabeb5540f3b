/**
 * The instances that have a meta and no key of their own: their containers deserve no traffic, and `etcd.meta` is `always`
 * on their hosts.
 *
 * Few readers ask for them. So they are looked for among the metas when the first one does, and followed from then on.
 */

import { type Instance, parseWithheld } from '../layout/instance.ts';

/** What a catalogue knows of keys, at this moment. */
export interface Known {
  /** The values of the meta keys. */
  readonly metas: ReadonlyMap<string, string>;
  hasKey(serviceKey: string): boolean;
}

export class Withheld {
  readonly #below: string;
  readonly #metaBelow: string;
  /** By the key that each would have; undefined until somebody asks. */
  #instances: Map<string, Instance> | undefined;

  /** `below` begins all service keys, `metaBelow` all meta keys. */
  constructor(below: string, metaBelow: string) {
    this.#below = below;
    this.#metaBelow = metaBelow;
  }

  /** Everything was read anew. Those that say the same stay the same objects. */
  reread(known: Known): void {
    const before = this.#instances;
    if (before === undefined) return;
    this.#instances = undefined;
    const now = this.#all(known);
    for (const [key, instance] of before) if (isSame(now.get(key), instance)) now.set(key, instance);
  }

  /** The key or the meta of an instance has changed. */
  changed(serviceKey: string, known: Known): void {
    if (this.#instances === undefined) return;
    const now = this.#parsed(serviceKey, known);
    if (now === undefined) this.#instances.delete(serviceKey);
    else if (!isSame(this.#instances.get(serviceKey), now)) this.#instances.set(serviceKey, now);
  }

  all(known: Known): Iterable<Instance> {
    return this.#all(known).values();
  }

  #all(known: Known): Map<string, Instance> {
    if (this.#instances !== undefined) return this.#instances;
    this.#instances = new Map();
    for (const metaKey of known.metas.keys()) {
      const key = this.#below + metaKey.slice(this.#metaBelow.length);
      const instance = this.#parsed(key, known);
      if (instance !== undefined) this.#instances.set(key, instance);
    }
    return this.#instances;
  }

  #parsed(serviceKey: string, known: Known): Instance | undefined {
    if (known.hasKey(serviceKey)) return undefined;
    const meta = known.metas.get(this.#metaBelow + serviceKey.slice(this.#below.length));
    return meta === undefined ? undefined : parseWithheld(this.#below, serviceKey, meta);
  }
}

const isSame = (one: Instance | undefined, other: Instance): boolean =>
  one !== undefined && JSON.stringify(one) === JSON.stringify(other);
