/**
 * A query to the records of its answer, from what is known of the fleet.
 *
 * Known is all that etcd said last: while etcd is away the answers stay, with a TTL of one second. Before the first
 * reading every name of the zone is SERVFAIL. A name of another zone is refused, and so is recursion.
 *
 *     A, AAAA   the addresses of the instances that would get traffic: see `client/pick.ts`
 *     SRV       every instance with a weight above 0, or all; the address of each target is added
 *     TXT       what each instance says of itself
 *     PTR       the instances at an address
 *     SOA, NS   of the zone
 *
 * The order goes by weight: an instance is first in proportion to its weight, and the others follow in turn. A name with
 * `near.` has the instances of this host first, then those of its zone; their SRV priorities say the same.
 */
import { isIP } from 'node:net';
import type { Catalogue } from '../client/catalogue.ts';
import { priorityOf, rankedOf, Turns, weightOf } from '../client/pick.ts';
import type { Instance } from '../layout/instance.ts';
import { type Found, Names } from './names.ts';
import { type Answer, type Owner, type Query, type Rcode, type RecordType, type Resource, rcodes } from './packet.ts';
import { addressOfReverse, Reverse } from './reverse.ts';

export interface Source {
  /** Undefined until etcd has been read once. */
  readonly catalogue: Catalogue | undefined;
  /** Whether etcd cannot be followed at present. */
  readonly isStale: boolean;
}

export interface ZoneOptions {
  /** Without a dot at its end. */
  readonly zone: string;
  readonly ttlSeconds: number;
  /** The place of this host. */
  readonly here: { readonly host: string; readonly zone: string | undefined; readonly ip: string };
}

const question: Owner = { of: 'question' };
const staleTtlSeconds = 1;
/** A distance is worth more than any priority below this. */
const priorityStep = 20_000;
const textBytesMax = 255;
/** Of another server that asks for the zone as a whole: it never does so here. */
const soaTimes = { refresh: 3_600, retry: 600, expire: 86_400 };

export class Answerer {
  readonly #source: Source;
  readonly #options: ZoneOptions;
  readonly #zone: readonly string[];
  readonly #turns = new WeakMap<readonly Instance[], Turns<number>>();
  /** Of a set: those that come into question for A, and for SRV. */
  readonly #ranked = new WeakMap<readonly Instance[], readonly Instance[]>();
  readonly #weighty = new WeakMap<readonly Instance[], readonly Instance[]>();
  #made: { readonly catalogue: Catalogue; readonly names: Names; readonly reverse: Reverse } | undefined;

  constructor(source: Source, options: ZoneOptions) {
    this.#source = source;
    this.#options = options;
    this.#zone = options.zone.toLowerCase().split('.');
  }

  answer(query: Query): Answer {
    if (query.edns !== undefined && query.edns.version > 0) return without(rcodes.badVers);
    if (query.class !== 'IN' && query.class !== 'ANY') return without(rcodes.refused);
    if (query.type === 'AXFR' || query.type === 'IXFR') return without(rcodes.refused);
    const { catalogue } = this.#source;
    const { labels } = query;
    const address = addressOfReverse(labels);
    const before = labels.length - this.#zone.length;
    const isOurs = this.#zone.every((label, at) => labels[before + at]?.toLowerCase() === label);
    if (!isOurs && address === undefined) return without(rcodes.refused);
    if (catalogue === undefined) return without(rcodes.servFail);
    const { names, reverse } = this.#parts(catalogue);
    if (!isOurs) return this.#reversed(query.type, reverse.at(address ?? ''));
    const inZone = labels.slice(0, before);
    if (before === 0) return this.#ofZone(query.type);
    if (before === 1 && inZone[0]?.toLowerCase() === 'ns') return this.#ofServer(query.type);
    const match = names.find(inZone);
    if (match.kind === 'none') return this.#negative(rcodes.nxDomain);
    if (match.kind === 'empty') return this.#negative(rcodes.noError);
    return this.#ofInstances(query.type, match);
  }

  #parts(catalogue: Catalogue): { readonly names: Names; readonly reverse: Reverse } {
    if (this.#made?.catalogue !== catalogue) {
      const { zone } = this.#options;
      this.#made = { catalogue, names: new Names(catalogue, zone), reverse: new Reverse(catalogue, zone) };
    }
    return this.#made;
  }

  get #ttl(): number {
    const { ttlSeconds } = this.#options;
    return this.#source.isStale ? Math.min(staleTtlSeconds, ttlSeconds) : ttlSeconds;
  }

  #ofInstances(type: string, { instances, isNear }: Found): Answer {
    if (type === 'SRV') return this.#services(instances, isNear);
    if (type === 'TXT') {
      return this.#positive(instances.map((one) => this.#record(question, 'TXT', textsOf(one))));
    }
    if (type === 'ANY') return this.#any();
    if (type !== 'A' && type !== 'AAAA') return this.#negative(rcodes.noError);
    const family = type === 'A' ? 4 : 6;
    const ranked = this.#ordered(kept(this.#ranked, instances, rankedOf), isNear);
    const addresses = new Set(ranked.flatMap(({ address }) => (isIP(address) === family ? [address] : [])));
    return this.#positive([...addresses].map((address) => this.#record(question, type, address)));
  }

  #services(instances: readonly Instance[], isNear: boolean): Answer {
    const ordered = this.#ordered(kept(this.#weighty, instances, weightyOf), isNear);
    const answers: Resource[] = [];
    const targets = new Map<string, string>();
    for (const one of ordered) {
      const target = `${one.containerId}.${one.name}.${one.realm}.${this.#options.zone}`;
      const priority = isNear
        ? this.#distanceTo(one) * priorityStep + Math.min(priorityOf(one), priorityStep - 1)
        : priorityOf(one);
      answers.push(this.#record(question, 'SRV', { target, port: one.port, priority, weight: weightOf(one) }));
      targets.set(target, one.address);
    }
    const additionals = [...targets].map(([target, address]) =>
      this.#record({ name: target }, isIP(address) === 6 ? 'AAAA' : 'A', address),
    );
    return { ...this.#positive(answers), additionals };
  }

  /** By turns; where it is asked for, the nearest before all others. */
  #ordered(instances: readonly Instance[], isNear: boolean): readonly Instance[] {
    if (instances.length < 2) return instances;
    const first = this.#turnOf(instances);
    const turned = [...instances.slice(first), ...instances.slice(0, first)];
    if (!isNear) return turned;
    return turned.sort((one, other) => this.#distanceTo(one) - this.#distanceTo(other));
  }

  /** The place of the one whose turn it is. A set that is the same array as before goes on where it was. */
  #turnOf(instances: readonly Instance[]): number {
    const make = (): Turns<number> => new Turns([...instances.keys()], (at) => weightOf(instances[at] as Instance));
    return kept(this.#turns, instances, make).next();
  }

  #distanceTo({ host, zone }: Instance): 0 | 1 | 2 {
    const { here } = this.#options;
    if (host === here.host) return 0;
    return zone !== undefined && zone === here.zone ? 1 : 2;
  }

  #reversed(type: string, names: readonly string[] | undefined): Answer {
    // Of an address without an instance another server may know a name.
    if (names === undefined) return without(rcodes.refused);
    const records = type === 'PTR' ? names.map((name) => this.#record(question, 'PTR', name)) : [];
    return { ...without(rcodes.noError), isAuthoritative: true, answers: records };
  }

  #ofZone(type: string): Answer {
    if (type === 'SOA') return this.#positive([this.#soa()]);
    if (type === 'NS') return this.#positive([this.#record(question, 'NS', this.#server)]);
    return type === 'ANY' ? this.#any() : this.#negative(rcodes.noError);
  }

  #ofServer(type: string): Answer {
    const { ip } = this.#options.here;
    if (type !== (isIP(ip) === 6 ? 'AAAA' : 'A')) return this.#negative(rcodes.noError);
    return this.#positive([this.#record(question, type, ip)]);
  }

  /** RFC 8482: one small record in the place of all. */
  #any(): Answer {
    return this.#positive([this.#record(question, 'HINFO', { cpu: 'RFC8482', os: '' })]);
  }

  #positive(answers: readonly Resource[]): Answer {
    if (answers.length === 0) return this.#negative(rcodes.noError);
    return { ...without(rcodes.noError), isAuthoritative: true, answers, zoneLabels: this.#zone.length };
  }

  #negative(rcode: Rcode): Answer {
    const authorities = [this.#soa()];
    return { ...without(rcode), isAuthoritative: true, authorities, zoneLabels: this.#zone.length };
  }

  get #server(): string {
    return `ns.${this.#options.zone}`;
  }

  #soa(): Resource {
    const serial = (this.#source.catalogue?.changes ?? 0) >>> 0;
    const data = { mname: this.#server, rname: `hostmaster.${this.#options.zone}`, serial, ...soaTimes };
    return this.#record({ of: 'zone' }, 'SOA', { ...data, minimum: this.#ttl });
  }

  #record(owner: Owner, type: RecordType, data: unknown): Resource {
    return { owner, type, ttl: this.#ttl, data };
  }
}

/** What is made of a set, made once. */
function kept<Made>(
  all: WeakMap<readonly Instance[], Made>,
  instances: readonly Instance[],
  make: (instances: readonly Instance[]) => Made,
): Made {
  const known = all.get(instances) ?? make(instances);
  all.set(instances, known);
  return known;
}

function weightyOf(instances: readonly Instance[]): readonly Instance[] {
  const weighty = instances.filter((one) => weightOf(one) > 0);
  return weighty.length > 0 ? weighty : instances;
}

function without(rcode: Rcode): Answer {
  return { rcode, isAuthoritative: false, answers: [], authorities: [], additionals: [], zoneLabels: 0 };
}

/** `<name>=<value>` as in RFC 1464. A text that is too long for one string is left out. */
function textsOf(one: Instance): Buffer[] {
  const { attributes, containerId, host, port, priority, protocol, tags, weight, zone } = one;
  const said = { id: containerId, host, protocol, port, weight, priority, tags: tags?.join(','), zone, ...attributes };
  return Object.entries(said).flatMap(([name, value]) => {
    const text = value === undefined ? undefined : Buffer.from(`${name}=${value}`);
    return text !== undefined && text.length <= textBytesMax ? [text] : [];
  });
}
