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
 * So a service without meta costs one question for all changes that came while the last one was asked, and a removal
 * costs none. What is handed on is each instance as it was at one revision, and the service keys as they all were at one,
 * answer by answer as etcd sent them.
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

/** All that came of one revision: the changes of service keys, and those of meta keys by the service key of their instance. */
interface Group {
  readonly revision: bigint;
  /** The number of the answer that had the first of them. */
  readonly answer: number;
  readonly services: Map<string, RevisedChange>;
  readonly metas: Map<string, RevisedChange>;
}

type Answers = ReadonlyMap<string, Found | undefined>;

const nameOf = ({ key, revision }: Point): string => `${revision} ${key}`;

/** @internal */
export class Pairs {
  readonly #options: PairsOptions;
  readonly #below: string;
  readonly #metaBelow: string;
  /** Changes that wait, each with the number of its answer. */
  #queue: (readonly [change: RevisedChange, answer: number])[] = [];
  #answers = 0;
  #isWorking = false;
  #work: Promise<void> = Promise.resolve();
  /** The service keys were handed on up to this revision. */
  #servicesAt: bigint;
  /** By the service key of an instance: the revision at which its meta key was known last. */
  readonly #metaAt = new Map<string, bigint>();
  /** Changes of a meta key that wait for a change of the service key, which is on its way. */
  readonly #held = new Map<string, RevisedChange>();

  constructor(options: PairsOptions) {
    this.#options = options;
    this.#below = servicePrefixOf(options.prefix);
    this.#metaBelow = metaPrefixOf(options.prefix);
    this.#servicesAt = options.revision;
  }

  /** One answer of a watch. Resolves once its changes were handed on; rejects if etcd cannot be asked. */
  take(changes: readonly RevisedChange[]): Promise<void> {
    this.#answers++;
    for (const change of changes) this.#queue.push([change, this.#answers]);
    if (!this.#isWorking) this.#work = this.#handOn();
    return this.#work;
  }

  async #handOn(): Promise<void> {
    this.#isWorking = true;
    try {
      while (this.#queue.length > 0) {
        // etcd sends the events of one transaction one after the other: those of the service keys may be on their way.
        if (this.#queue.every(([change]) => this.#isMeta(change))) await nextTurn();
        const groups = this.#groups();
        const knownTo = groups.findLast(({ services }) => services.size > 0)?.revision ?? this.#servicesAt;
        const points = groups.flatMap((group) => this.#questions(group, knownTo));
        const found = points.length > 0 ? await this.#options.look(points) : [];
        const answers = new Map(points.map((point, index) => [nameOf(point), found[index]]));
        await this.#tell(groups, knownTo, answers);
      }
    } finally {
      this.#isWorking = false;
    }
  }

  /** Everything that waits, by revision. */
  #groups(): readonly Group[] {
    const groups = new Map<bigint, Group>();
    for (const [change, answer] of this.#queue) {
      const { revision, key } = change;
      const group = groups.get(revision) ?? { revision, answer, services: new Map(), metas: new Map() };
      groups.set(revision, group);
      if (this.#isMeta(change)) group.metas.set(this.#below + key.slice(this.#metaBelow.length), change);
      else group.services.set(key, change);
    }
    this.#queue = [];
    return [...groups.values()].sort((one, other) => (one.revision < other.revision ? -1 : 1));
  }

  /** `knownTo`: the watch of the service keys has come so far. */
  #questions({ revision, services, metas }: Group, knownTo: bigint): Point[] {
    const points: Point[] = [];
    for (const [key, { value }] of services) {
      const isTold = metas.has(key) || this.#held.get(key)?.revision === revision;
      if (value !== undefined && !isTold) points.push({ key: this.#metaKeyOf(key), revision });
    }
    for (const key of revision > knownTo ? metas.keys() : []) points.push({ key, revision });
    return points;
  }

  async #tell(groups: readonly Group[], knownTo: bigint, answers: Answers): Promise<void> {
    const present = new Map<string, boolean>();
    let ready: Change[] = [];
    for (const [index, group] of groups.entries()) {
      ready = ready.concat(this.#services(group, present, answers), this.#metas(group, present, knownTo, answers));
      const next = groups[index + 1];
      if (ready.length === 0 || next?.answer === group.answer) continue;
      this.#options.apply(ready);
      ready = [];
      // A reader that is fast enough sees what each answer changed.
      if (next !== undefined) await nextTurn();
    }
    // The service key has changed, but not yet as the meta key has: that is asked again.
    for (const key of present.keys()) {
      const held = this.#held.get(key);
      if (held !== undefined) this.#queue.push([held, ++this.#answers]);
    }
  }

  /** The changes of service keys of a revision, with those metas that are known only by asking. */
  #services({ revision, services, metas }: Group, present: Map<string, boolean>, answers: Answers): Change[] {
    const ready: Change[] = [];
    for (const [key, service] of services) {
      this.#servicesAt = revision;
      present.set(key, service.value !== undefined);
      ready.push(service);
      const held = this.#held.get(key);
      const isOver = service.value === undefined;
      if (held !== undefined && held.revision <= revision) {
        this.#held.delete(key);
        // One that is older is asked for with the service key, or gone with it.
        if (!metas.has(key) && (isOver || held.revision === revision)) metas.set(key, held);
      }
      if (isOver) this.#metaAt.delete(key);
      else if (!metas.has(key)) {
        const metaKey = this.#metaKeyOf(key);
        ready.push({ key: metaKey, value: answers.get(nameOf({ key: metaKey, revision }))?.value });
        this.#metaAt.set(key, revision);
      }
    }
    return ready;
  }

  /** The changes of meta keys of a revision, but those that wait. */
  #metas(
    { revision, services, metas }: Group,
    present: ReadonlyMap<string, boolean>,
    knownTo: bigint,
    answers: Answers,
  ): Change[] {
    const ready: Change[] = [];
    for (const [key, meta] of metas) {
      // etcd was asked for it at a later revision already.
      if (meta.revision <= (this.#metaAt.get(key) ?? 0n)) continue;
      const isInstance = present.get(key) ?? this.#options.isInstance(key);
      const service = answers.get(nameOf({ key, revision }));
      const isComing = service === undefined ? isInstance : service.revision > this.#servicesAt;
      if (revision > knownTo && !services.has(key) && isComing) {
        this.#held.set(key, meta);
        continue;
      }
      this.#held.delete(key);
      ready.push(meta);
      if (isInstance) this.#metaAt.set(key, meta.revision);
    }
    return ready;
  }

  #isMeta({ key }: RevisedChange): boolean {
    return key.startsWith(this.#metaBelow);
  }

  #metaKeyOf(serviceKey: string): string {
    return this.#metaBelow + serviceKey.slice(this.#below.length);
  }
}
