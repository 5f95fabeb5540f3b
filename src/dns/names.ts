/**
 * The names below the zone, in lower case without it:
 *
 *     <service>.<realm>                     the instances of a service
 *     near.<service>.<realm>                the same, those of this host first, then those of its zone
 *     _<service>._<protocol>.<realm>        those of one protocol
 *     <id>.<service>.<realm>                those of one container
 *
 * Services and realms may hold dots and capitals, so two of them can have one name here: the name then stands for both.
 * A service that makes no valid name (a label over 63 octets, more than 253 in all, an empty label) has none. A name
 * above an existing one exists and has no records; every other name does not exist.
 *
 * The index is made anew after services have come or gone, when it is asked for, and takes at most a twentieth of the
 * time: so a fleet with very many services that come and go may wait for a fraction of a second.
 */
import { domainToASCII } from 'node:url';
import type { Catalogue } from '../client/catalogue.ts';
import type { Instance } from '../layout/instance.ts';

export interface Place {
  readonly name: string;
  readonly realm: string;
}

/** The instances that a name stands for; `isNear`: the nearest ones come first. */
export interface Found {
  readonly kind: 'instances';
  readonly instances: readonly Instance[];
  readonly isNear: boolean;
}

/** `empty`: the name exists and has no records. */
export type Match = Found | { readonly kind: 'empty' } | { readonly kind: 'none' };

const none: Match = { kind: 'none' };
const empty: Match = { kind: 'empty' };
const idPattern = /^[\da-f]{12}$/;
const protocolPattern = /^_(tcp|udp|sctp)$/;
/** An index takes no more than this share of the time. */
const restPerWork = 20;
const nameBytesMax = 253;
/** The 12 digits and a dot, or an underscore and `._sctp`, that may be before a service. */
const prefixBytes = 13;

export class Names {
  readonly #catalogue: Catalogue;
  readonly #zone: string;
  #services = new Map<string, Place[]>();
  /** Names above those of services. */
  #above = new Set<string>();
  #madeOf = -1;
  #notBeforeMs = 0;

  constructor(catalogue: Catalogue, zone: string) {
    this.#catalogue = catalogue;
    this.#zone = zone;
  }

  /** `labels` are those before the zone, as they were sent. */
  find(labels: readonly string[]): Match {
    this.#refresh();
    if (labels.some((label) => label.includes('.'))) return none;
    const lower = labels.map((label) => label.toLowerCase());
    const plain = this.#instances(lower, undefined, undefined);
    if (plain !== undefined) return { kind: 'instances', instances: plain, isNear: false };
    const [first = '', ...rest] = lower;
    if (first === 'near') return this.#found(this.#instances(rest, undefined, undefined), true, lower);
    if (idPattern.test(first)) return this.#found(this.#instances(rest, undefined, first), false, lower);
    if (first.startsWith('_')) return this.#byProtocol(lower);
    return this.#otherwise(lower);
  }

  #byProtocol(lower: readonly string[]): Match {
    const at = lower.findIndex((label) => protocolPattern.test(label));
    const realm = lower.slice(at + 1);
    if (at === 0) return this.#above.has(realm.join('.')) ? empty : none;
    if (at < 0) return this.#otherwise(lower);
    const service = lower.slice(0, at);
    service[0] = service[0]?.slice(1) ?? '';
    const protocol = lower[at]?.slice(1);
    return this.#found(this.#instances([...service, ...realm], protocol, undefined), false, lower);
  }

  #found(instances: readonly Instance[] | undefined, isNear: boolean, lower: readonly string[]): Match {
    return instances === undefined ? this.#otherwise(lower) : { kind: 'instances', instances, isNear };
  }

  #otherwise(lower: readonly string[]): Match {
    return lower.length === 0 || this.#above.has(lower.join('.')) ? empty : none;
  }

  #instances(
    lower: readonly string[],
    protocol: string | undefined,
    id: string | undefined,
  ): readonly Instance[] | undefined {
    const places = this.#services.get(lower.join('.'));
    if (places === undefined) return undefined;
    const [first, ...others] = places.map(({ name, realm }) => this.#catalogue.select(name, { realm, protocol }));
    const all = others.length === 0 ? (first ?? []) : [...(first ?? []), ...others.flat()];
    const those = id === undefined ? all : all.filter(({ containerId }) => containerId === id);
    return those.length > 0 ? those : undefined;
  }

  #refresh(): void {
    const { kindChanges } = this.#catalogue;
    const beganMs = performance.now();
    if (kindChanges === this.#madeOf || beganMs < this.#notBeforeMs) return;
    this.#madeOf = kindChanges;
    this.#services = new Map();
    this.#above = new Set();
    for (const { name, realm } of this.#catalogue.places()) this.#add(name, realm);
    const endedMs = performance.now();
    this.#notBeforeMs = endedMs + (endedMs - beganMs) * restPerWork;
  }

  #add(name: string, realm: string): void {
    const text = nameOf({ name, realm });
    if (!isName(text, this.#zone)) return;
    const all = new Set([text.toLowerCase(), asciiOf(text)]);
    for (const one of all) {
      const places = this.#services.get(one);
      if (places === undefined) this.#services.set(one, [{ name, realm }]);
      else places.push({ name, realm });
      for (let at = one.indexOf('.'); at >= 0; at = one.indexOf('.', at + 1)) this.#above.add(one.slice(at + 1));
    }
  }
}

export const nameOf = ({ name, realm }: Place): string => `${name}.${realm}`;

/** Whether the name can be sent, together with what may be before it. */
function isName(text: string, zone: string): boolean {
  const isShort = Buffer.byteLength(text) + 1 + zone.length + prefixBytes <= nameBytesMax;
  return isShort && text.split('.').every((label) => label !== '' && Buffer.byteLength(label) <= 63);
}

/** The name as a browser or a resolver would send it, if it has letters outside ASCII. */
function asciiOf(text: string): string {
  const lower = text.toLowerCase();
  return /^[\x00-\x7f]*$/.test(lower) ? lower : domainToASCII(lower) || lower;
}
