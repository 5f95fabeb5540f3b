/**
 * Environments that no sane container has, and what must be true of each: the reader does not throw,
 * every key is below the container's own id and names what the policy allows, and in plain names the
 * outcome is that of the original.
 *
 * Half of the values are written by the grammar and then damaged, half are bytes. One number, the seed,
 * makes one environment.
 */
import { Random } from '../../bench/engine/random.ts';
import { type Service, urlOf } from '../../src/container/container.ts';
import { readInspection } from '../../src/container/document.ts';
import type { NamePolicy } from '../../src/container/sources/advertisement.ts';
import { keysOf, layoutOf } from '../../src/layout/keys.ts';
import { ALLOWED, HOST_IP, offeredByOriginal, USUAL_PORTS } from '../fixtures/advertisements.ts';

/** What went wrong, counted by kind. */
export interface Finding {
  readonly kind: 'throw' | 'foreign key' | 'difference' | 'nonsense';
  readonly detail: string;
}

const good = {
  names: ['web', 'api', 'Api-1', 'a.b_c~d', '__proto__', 'constructor'],
  ports: ['80', '80', '443', '53', '9', '65535'],
  protocols: ['', '', '', '', '/tcp', '/udp', '/UDP', '/sctp', '/Tcp/x', ':x', '/tcp:80:y'],
};
const bad = {
  names: ['', '.', '..', 'a/b', '../../host/h1', 'é', '🚀', ' ', '\ufeff', 'a%2Fb'],
  ports: ['', '0', '65536', '080', '1e3', '-1', ' 80', '８０', '9000', '1', 'http'],
  protocols: ['/', '/gopher', '//tcp', '/ tcp', ':'],
};
const marks = [
  ...[',', ':', '/', '=', '%', '%2F', '"', '\\', ' ', '\t', '\n', '\r', '\0', '\u001b[2J', '\u0085', '\u00a0'],
  ...['\u2028', '\u2029', '\u202e', '\u200b', '\ufeff', '\ufffd', '\ud800', '\udfff', 'İ', 'ſ', '\u212a', '80', 'tcp'],
];

/** The environment of this seed. */
export function environmentOf(seed: number): string[] {
  const random = new Random(seed);
  const env = [`DISCOVER=${valueBy(random)}`];
  while (random.chance(0.1)) env.push(random.chance(0.7) ? `DISCOVER=${valueBy(random)}` : valueBy(random));
  return env;
}

/** Labels below the prefix, right and wrong ones, beside those of other programs. */
export function labelsOf(seed: number): Record<string, string> {
  const random = new Random(seed);
  const labels: Record<string, string> = { 'com.docker.compose.project': 'shop' };
  const names = [
    'discover',
    'Discover',
    'discover.enable',
    'discover.realm',
    'DISCOVER.REALM',
    'discover.',
    'discover.x.y',
  ];
  const values = ['', 'true', 'false', 'blue', '../h2', 'a/b/c', 'blue/h2/0123456789ab', '\u202e'];
  for (let left = random.below(4); left > 0; left--) {
    labels[pick(random, names)] = random.chance(0.5) ? valueBy(random) : pick(random, values);
  }
  return labels;
}

/** An advertisement, damaged or not, or bytes. */
export function valueBy(random: Random): string {
  const value = random.chance(0.5) ? damaged(random, entriesBy(random)) : bytesBy(random);
  // Now and then more than is read.
  return random.below(2_000) === 0 ? `${value},`.repeat(1 + random.below(2_000)) : value;
}

export function pick<Item>(random: Random, items: readonly Item[]): Item {
  return items[random.below(items.length)] as Item;
}

function entriesBy(random: Random): string {
  const entries: string[] = [];
  for (let left = 1 + random.below(4); left > 0; left--) {
    const part = (of: keyof typeof good) => pick(random, random.chance(0.9) ? good[of] : bad[of]);
    const name = random.chance(0.1) ? 'n'.repeat(random.below(140)) : part('names');
    entries.push(`${name}:${part('ports')}${part('protocols')}`);
  }
  return entries.join(random.chance(0.9) ? ',' : ', ');
}

function damaged(random: Random, text: string): string {
  let value = text;
  for (let left = random.below(4); left > 0; left--) {
    const at = random.below(value.length + 1);
    const end = at + random.below(6);
    const instead = [
      pick(random, marks),
      '',
      value.slice(at, end).repeat(2),
      String.fromCharCode(random.below(1 << 16)),
    ];
    value = value.slice(0, at) + pick(random, instead) + value.slice(end);
  }
  return value;
}

function bytesBy(random: Random): string {
  const length = random.below(48);
  if (random.chance(0.3)) return Array.from({ length }, () => pick(random, marks)).join('');
  const bytes = Buffer.alloc(length);
  for (let index = 0; index < length; index++) bytes[index] = random.below(256);
  // As Docker reads them, or as a JSON string may be escaped.
  return bytes.toString(random.chance(0.5) ? 'utf8' : 'utf16le');
}

const shortId = '0123456789ab';
const layout = layoutOf('/p', 'realm', 'host');
const ownKey = /^\/p\/service\/([^/]+)\/realm\/host\/0123456789ab(?::\d+(?::udp|:sctp)?)?$/;
const url = /^(?:tcp|udp|sctp):\/\/10\.1\.2\.3:([1-9]\d{0,4})$/;

/** What is wrong with how `read` takes this environment, if anything is. */
export function faultOf(env: readonly string[], read = readInspection): Finding | undefined {
  // The host network publishes whatever is taken for an entry, also what no port map would have.
  const onHost = (['strict', 'encode', 'raw'] as const)[env.join().length % 3] ?? 'raw';
  return faultUnder('compat', env, 'bridge', read) ?? faultUnder(onHost, env, 'host', read);
}

function faultUnder(
  namePolicy: NamePolicy,
  env: readonly string[],
  networkMode: string,
  read: typeof readInspection,
): Finding | undefined {
  const document = {
    State: { Running: true },
    Config: { Env: env },
    HostConfig: { NetworkMode: networkMode },
    NetworkSettings: { Ports: USUAL_PORTS },
  };
  try {
    const inspection = read(document, { hostIp: HOST_IP, serviceVariable: 'DISCOVER', namePolicy });
    if (inspection.kind !== 'running') return { kind: 'nonsense', detail: `it is said to be ${inspection.kind}` };
    const { services } = inspection;
    return foreignKey(services, namePolicy) ?? (networkMode === 'bridge' ? difference(services, env) : undefined);
  } catch (error) {
    return { kind: 'throw', detail: String(error) };
  }
}

/** Each key is the container's own, and says which name it is of. */
function foreignKey(services: readonly Service[], namePolicy: NamePolicy): Finding | undefined {
  if (services.length === 0) return undefined;
  const keys = keysOf(layout, shortId, services);
  const record = JSON.parse(keys.get(layout.recordKey(shortId)) ?? '{}') as Record<string, string>;
  const wrong = (detail: string): Finding => ({ kind: 'foreign key', detail });
  if (keys.size !== services.length + 1) return wrong(`${services.length} services have ${keys.size} keys`);
  for (const { name } of services) {
    if (name === '.' || name === '..' || !ALLOWED[namePolicy](name)) return wrong(`name ${JSON.stringify(name)}`);
    const plain = Object.getOwnPropertyDescriptor(record, name)?.value;
    if (plain !== `/p/service/${name}/realm/host/${shortId}` || !keys.has(plain)) return wrong(`record of ${name}`);
  }
  for (const [key, value] of keys) {
    if (layout.containerOf(key) !== shortId) return wrong(key);
    if (key === layout.recordKey(shortId)) continue;
    const name = ownKey.exec(key)?.[1];
    if (name === undefined || layout.nameOf(key) !== name || !Object.hasOwn(record, name)) return wrong(key);
    const port = Number(url.exec(value)?.[1]);
    if (!(port <= 65_535)) return { kind: 'nonsense', detail: `${key} = ${value}` };
  }
  return undefined;
}

/** The original's outcome is ours wherever a name is one that we take and no limit is met. */
function difference(services: readonly Service[], env: readonly string[]): Finding | undefined {
  const all = env.join();
  if (Buffer.byteLength(all) > 16_384 || all.split(',').length > 100) return undefined;
  const isTaken = (name: string) => name !== '.' && name !== '..' && ALLOWED.compat(name);
  const offers = offeredByOriginal(env, USUAL_PORTS, HOST_IP).filter(([name]) => isTaken(name));
  // Of a name on two ports the original kept the last; we keep both.
  const original = [...new Set(offers.map(([name, location]) => `${name} ${location}`))].join();
  const ours = services.map((service) => `${service.name} ${urlOf(service)}`).join();
  return ours === original ? undefined : { kind: 'difference', detail: `ours ${ours}; the original's ${original}` };
}

/** The shortest that still fails in the same way, by taking away ever smaller pieces. */
export function shortened(env: readonly string[], found: Finding, read = readInspection): string[] {
  const fails = (other: readonly string[]) => faultOf(other, read)?.kind === found.kind;
  let shortest = [...env];
  for (let size = Math.max(...env.map(({ length }) => length)); size >= 1; size >>= 1) {
    for (let index = shortest.length - 1; index >= 0; index--) {
      const text = shortest[index] ?? '';
      if (shortest.length > 1 && fails(shortest.toSpliced(index, 1))) shortest = shortest.toSpliced(index, 1);
      else shortest[index] = shortenedBy(size, text, (less) => fails(shortest.with(index, less)));
    }
  }
  return shortest;
}

function shortenedBy(size: number, text: string, fails: (text: string) => boolean): string {
  let shortest = text;
  for (let at = 0; at < shortest.length; ) {
    const less = shortest.slice(0, at) + shortest.slice(at + size);
    if (fails(less)) shortest = less;
    else at += size;
  }
  return shortest;
}
