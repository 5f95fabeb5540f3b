/**
 * Addresses to the names of the instances there, for PTR.
 *
 * The index is made when an address is asked for, at most once a second: a question about an address is rare, and the
 * fleet is large.
 */
import { isIP } from 'node:net';
import type { Catalogue } from '../client/catalogue.ts';
import { nameOf } from './names.ts';

const everyMs = 1_000;
/** The names of one address. A host has one address for all its published ports. */
const namesMax = 32;

export class Reverse {
  readonly #catalogue: Catalogue;
  readonly #zone: string;
  #names = new Map<string, string[]>();
  #madeOf = -1;
  #madeAtMs = Number.NEGATIVE_INFINITY;

  constructor(catalogue: Catalogue, zone: string) {
    this.#catalogue = catalogue;
    this.#zone = zone;
  }

  /** Undefined: no instance has this address. */
  at(address: string): readonly string[] | undefined {
    const { changes } = this.#catalogue;
    if (changes !== this.#madeOf && performance.now() - this.#madeAtMs >= everyMs) {
      this.#names = this.#make();
      this.#madeOf = changes;
      this.#madeAtMs = performance.now();
    }
    return this.#names.get(address);
  }

  #make(): Map<string, string[]> {
    const found = new Map<string, string[]>();
    for (const place of this.#catalogue.places()) {
      for (const { address, containerId } of this.#catalogue.select(place.name, { realm: place.realm })) {
        const key = isIP(address) === 6 ? groupsOf(address).join(':') : address;
        const names = found.get(key);
        const name = `${containerId}.${nameOf(place)}.${this.#zone}`;
        if (names === undefined) found.set(key, [name]);
        else if (names.length < namesMax && !names.includes(name)) names.push(name);
      }
    }
    return found;
  }
}

/** Of `5.0.0.10.in-addr.arpa` the address `10.0.0.5`; IPv6 as eight groups in full. Undefined: the name is no address. */
export function addressOfReverse(labels: readonly string[]): string | undefined {
  const [arpa, family, ...rest] = labels.map((label) => label.toLowerCase()).reverse();
  if (arpa !== 'arpa') return undefined;
  if (family === 'in-addr') {
    const address = rest.join('.');
    return rest.length === 4 && isIP(address) === 4 ? address : undefined;
  }
  if (family !== 'ip6' || rest.length !== 32 || !rest.every((digit) => /^[\da-f]$/.test(digit))) return undefined;
  return Array.from({ length: 8 }, (_, at) => rest.slice(at * 4, at * 4 + 4).join('')).join(':');
}

/** Eight groups of four digits. An IPv4 address at the end takes two of them. */
function groupsOf(address: string): string[] {
  const plain = address.toLowerCase().replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head = '', tail] = plain.split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => '0');
  return [...first, ...zeros, ...last].map((group) => group.padStart(4, '0'));
}
