/**
 * The choice of one instance, or of one connection, among several: which come into question, and their turns.
 *
 * Each rule passes over some, unless it would pass over all:
 *
 *     those that were reported lately,
 *     those of weight 0,
 *     those of another priority than the lowest (absent: 10, as CoreDNS has it),
 *     those that are not near, where the caller prefers what is: of its host, else of its zone.
 *
 * Those left have turns in proportion to their weights (absent: 1). This is how SRV records are read (RFC 2782), but for
 * weight 0, which HAProxy, nginx and operators take for "no new traffic".
 */
import type { Instance } from '../layout/instance.ts';
import type { Place, Preference } from './options.ts';

/** What decides of an instance, whatever it is reached by. */
export type Ranked = Pick<Instance, 'weight' | 'priority'>;

const weightAbsent = 1;
const priorityAbsent = 10;

export const weightOf = ({ weight = weightAbsent }: Ranked): number => weight;
export const priorityOf = ({ priority = priorityAbsent }: Ranked): number => priority;

/** The instances that come into question. `isReported`: the caller was told that the instance does not answer. */
export function nearestOf(
  instances: readonly Instance[],
  isReported: (instance: Instance) => boolean,
  prefer: Preference | undefined,
  here: Place,
): readonly Instance[] {
  const ranked = rankedOf(unlessNone(instances, (one) => !isReported(one)));
  const ofHost = (one: Instance): boolean => one.host === here.host;
  const ofZone = (one: Instance): boolean => one.zone !== undefined && one.zone === here.zone;
  if (prefer === 'host' && ranked.some(ofHost)) return ranked.filter(ofHost);
  return prefer === undefined ? ranked : unlessNone(ranked, ofZone);
}

/** By weight and priority alone. */
export function rankedOf<Item extends Ranked>(items: readonly Item[]): readonly Item[] {
  const weighty = unlessNone(items, (one) => weightOf(one) > 0);
  const first = weighty.reduce((least, one) => Math.min(least, priorityOf(one)), Number.POSITIVE_INFINITY);
  return weighty.filter((one) => priorityOf(one) === first);
}

function unlessNone<Item>(items: readonly Item[], fits: (item: Item) => boolean): readonly Item[] {
  const fitting = items.filter(fits);
  return fitting.length > 0 ? fitting : items;
}

/**
 * Turns in proportion to weights. The first turn is random, so that programs do not all begin with the same item.
 *
 * The items divide a circle, each with a part as long as its weight. From turn to turn a step of about 0.618 of the circle
 * is made, the golden ratio, which spreads any number of turns evenly. The step and the circle have no common divisor: so
 * each item has exactly its share of as many turns as the circle is long, and with equal weights each has one of as many
 * turns as there are items.
 */
export class Turns<Item> {
  readonly #items: readonly Item[];
  /** The end of each item's part. */
  readonly #ends: readonly number[];
  readonly #length: number;
  readonly #step: number;
  #position: number;

  /** There is at least one item. If all weights are 0, they count as equal. */
  constructor(items: readonly Item[], weight: (item: Item) => number, random: () => number = Math.random) {
    const weights = items.map(weight);
    const divisor = weights.reduce(commonDivisor, 0);
    let length = 0;
    this.#items = items;
    this.#ends = weights.map((one) => {
      length += divisor === 0 ? 1 : one / divisor;
      return length;
    });
    this.#length = length;
    this.#step = stepOf(length);
    this.#position = Math.floor(random() * length);
  }

  next(): Item {
    const position = this.#position;
    this.#position = (position + this.#step) % this.#length;
    let [low, high] = [0, this.#ends.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ends[middle] ?? 0) > position) high = middle;
      else low = middle + 1;
    }
    return this.#items[low] as Item;
  }
}

function stepOf(length: number): number {
  let step = Math.max(1, Math.round(length * 0.618_033_988_749_895));
  while (commonDivisor(step, length) > 1) step++;
  return step;
}

function commonDivisor(one: number, other: number): number {
  return other === 0 ? one : commonDivisor(other, one % other);
}
