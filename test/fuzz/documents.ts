/**
 * Answers of an engine that no engine gives: recorded inspect documents, lists and events with parts
 * missing, of other types, huge or deep, and now and then cut or overwritten. What must be true of each:
 * nothing is thrown, and what is made of it is whole and possible: ids of 64 digits, ports from 1 to
 * 65535, IP addresses, names that the policy allows, times that an engine can write.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { Random } from '../../bench/engine/random.ts';
import { isContainerId, urlOf } from '../../src/container/container.ts';
import { readInspection } from '../../src/container/document.ts';
import { type ContainerEvent, ObjectSplitter, readEvent } from '../../src/docker/events.ts';
import { readList } from '../../src/inspect/batch.ts';
import { ALLOWED, HOST_IP } from '../fixtures/advertisements.ts';
import { environmentOf, type Finding, labelsOf } from './advertisements.ts';

export type DocumentKind = 'inspect' | 'list' | 'event';

export interface Answer {
  readonly kind: DocumentKind;
  readonly text: string;
}

const fixtures = new URL('../fixtures/', import.meta.url);
const recordings: Readonly<Record<DocumentKind, readonly string[]>> = {
  inspect: recorded(/\/inspect-.*\.json$/),
  list: recorded(/\/list-.*\.json$/),
  event: recorded(/\/events-.*\.jsonl$/).flatMap((lines) => lines.trim().split('\n')),
};

function recorded(name: RegExp): string[] {
  const files = readdirSync(fixtures, { recursive: true, encoding: 'utf8' }).sort();
  return files.filter((file) => name.test(file)).map((file) => readFileSync(new URL(file, fixtures), 'utf8'));
}

/** Written into the text where JSON has no value for it. */
const infinite = '@infinite@';
const deep = '@deep@';
const prototype = JSON.parse('{"__proto__":{"Running":true,"Type":"container"},"constructor":null}') as unknown;
const addresses = [
  ...['', '0.0.0.0', '::', '127.0.0.1', '::1', '::ffff:127.0.0.1', '10.9.9.9', '2001:DB8::9', 'fe80::1%eth0'],
  ...['999.1.1.1', '1.2.3', '0x7f.1', 'example.com', '10.0.0.1/24', '10.0.0.1:80', '[::1]', '::1\n', 'a@10.0.0.1'],
];
const ports = ['80', '80', '80', '65535', '0', '65536', '080', '-1', '8e1', '٨٠', ' 80', '80/tcp', '80\n', ''];
const odd: readonly unknown[] = [
  ...[null, true, false, 0, 1, -1, 1.5, 80, 65_535, 65_536, 2 ** 53, -1e300, infinite, deep, prototype],
  ...['x', '\ud800', 'host', 'running', 'start', 'die', 'connect', ...addresses, ...ports],
  ...[[], {}, [null], [[]], [{}], [7], ['DISCOVER=web:80'], { HostIp: '', HostPort: '80' }, [{ HostPort: 80 }]],
  ...['0001-01-01T00:00:00Z', '9999-12-31T23:59:59Z', '2026-02-30T25:61:61Z', '2026-01-01T00:00:00.9999999999Z'],
  'x'.repeat(20_000),
];
/** What is read of a document, in any of the three kinds. */
const read = new Set([
  ...['State', 'Running', 'Restarting', 'Dead', 'StartedAt', 'Config', 'Env', 'HostConfig', 'NetworkMode', 'Labels'],
  ...['NetworkSettings', 'Ports', 'HostIp', 'HostPort', 'Id', 'Type', 'Action', 'Actor', 'ID', 'Attributes'],
  ...['container', 'status', 'id', 'time', 'timeNano'],
]);
const isRead = (key: string) => read.has(key) || isPort(key);
const isPort = (key: string) => /^\d+\/(?:tcp|udp)$/.test(key);

type Holder = Record<string, unknown>;
interface Slot {
  readonly holder: Holder;
  readonly key: string;
}

/** The answer of this seed. */
export function answerOf(seed: number): Answer {
  const random = new Random(seed);
  const kind = pick(random, ['inspect', 'inspect', 'list', 'event'] as const);
  const root: Holder = { document: JSON.parse(pick(random, recordings[kind])) as unknown };
  for (let left = random.below(6); left > 0; left--) damage(random, root, seed + left);
  const nesting = 1 + random.below(20_000);
  const text = JSON.stringify(root.document ?? null)
    .replaceAll(`"${infinite}"`, '1e999')
    .replaceAll(`"${deep}"`, '['.repeat(nesting) + ']'.repeat(nesting));
  return { kind, text: random.chance(0.2) ? overwritten(random, text) : text };
}

function damage(random: Random, root: Holder, seed: number): void {
  const all: Slot[] = [];
  collect(root, all);
  const among = random.chance(0.4) ? all.filter(({ key }) => isPort(key)) : all.filter(({ key }) => isRead(key));
  const { holder, key } = pick(random, among.length > 0 && random.chance(0.8) ? among : all);
  const other = pick(random, all);
  const set = (name: string, given: unknown) => {
    // A copy, or the next damage would be done to both. Assigning to __proto__ would not make it a key.
    const value = JSON.parse(JSON.stringify(given ?? null)) as unknown;
    Object.defineProperty(holder, name, { value, writable: true, enumerable: true, configurable: true });
  };
  switch (random.below(8)) {
    case 0:
      if (holder !== root) delete holder[key];
      break;
    case 1:
      if (!Array.isArray(holder)) set('__proto__', pick(random, odd));
      break;
    case 2:
      set(key, other.holder[other.key]);
      break;
    case 3:
      set(key, key === 'Labels' || random.chance(0.3) ? labelsOf(seed) : environmentOf(seed));
      break;
    default:
      set(key, isPort(key) && random.chance(0.7) ? [bindingOf(random), bindingOf(random)] : pick(random, odd));
  }
}

function bindingOf(random: Random): unknown {
  return random.chance(0.1) ? pick(random, odd) : { HostIp: pick(random, addresses), HostPort: pick(random, ports) };
}

function collect(holder: Holder, into: Slot[]): void {
  for (const [key, value] of Object.entries(holder)) {
    into.push({ holder, key });
    if (typeof value === 'object' && value !== null) collect(value as Holder, into);
  }
}

function overwritten(random: Random, text: string): string {
  const at = random.below(text.length);
  const instead = pick(random, ['', '{', '}', '"', '\\', ',', '\n', '\0', '\u001e', 'null', '[[[[']);
  return random.chance(0.3) ? text.slice(0, at) : text.slice(0, at) + instead + text.slice(at + random.below(3));
}

function pick<Item>(random: Random, items: readonly Item[]): Item {
  return items[random.below(items.length)] as Item;
}

/** The readers under test. */
export const readers = { readInspection, readList, readEvent };

/** What is wrong with what the readers make of this answer, if anything is. */
export function faultOfAnswer({ kind, text }: Answer, { readInspection, readList, readEvent } = readers) {
  try {
    switch (kind) {
      case 'inspect':
        return faultOfInspect(text, readInspection);
      case 'list':
        return faultOfList(text, readList(Buffer.from(text)));
      case 'event':
        return faultOfEvent(text, readEvent);
    }
  } catch (error) {
    return nonsense('throw', String(error));
  }
}

function nonsense(kind: Finding['kind'], detail: unknown): Finding {
  return { kind, detail: JSON.stringify(detail) };
}

function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

function faultOfInspect(text: string, read: typeof readInspection): Finding | undefined {
  const document = parsed(text);
  if (document === undefined) return undefined;
  const inspection = read(document.value, {
    ...{ hostIp: HOST_IP, serviceVariable: 'DISCOVER', namePolicy: 'compat', realms: ['default', 'blue'] },
    sources: ['variable', 'label', 'registrator'],
  });
  if (inspection.kind !== 'running') return undefined;
  const { State } = document.value as { State?: { Running?: unknown } };
  if (State?.Running !== true) return nonsense('nonsense', { running: State });
  // Go writes years up to 9999.
  const { startedAt } = inspection;
  if (!(startedAt >= 0 && startedAt < 2.54e20)) return nonsense('nonsense', { startedAt });
  for (const service of inspection.services) {
    const [, protocol, address = '', port] = /^(\w+):\/\/(.*):([1-9]\d{0,4})$/.exec(urlOf(service)) ?? [];
    const bare = address.replace(/^\[(.*)\]$/, '$1');
    const isPossible =
      ALLOWED.compat(service.name) &&
      ['default', 'blue', undefined].includes(service.realm) &&
      ['tcp', 'udp', 'sctp'].includes(service.protocol) &&
      protocol === service.protocol &&
      isIP(bare) === (bare === address ? 4 : 6) &&
      Number(port) <= 65_535;
    if (!isPossible) return nonsense('nonsense', service);
  }
  return undefined;
}

function faultOfList(text: string, result: ReturnType<typeof readList>): Finding | undefined {
  if (result.kind === 'failed') return undefined;
  const list = parsed(text)?.value;
  const isWhole = result.kind === 'listed' && Array.isArray(list) && list.length === result.containers.length;
  if (!isWhole) return nonsense('nonsense', result.kind);
  const wrong = result.containers.find(({ id, fingerprint }) => !isContainerId(id) || typeof fingerprint !== 'string');
  return wrong && nonsense('nonsense', wrong);
}

/** As in `events.ts`: a larger event is skipped and reported. */
const objectBytesMax = 256 << 10;
const after = `{"Type":"container","Action":"die","Actor":{"ID":"${'0'.repeat(64)}"}}`;

/** An event is read as it is, and the one behind it as if nothing had been. */
function faultOfEvent(text: string, read: typeof readEvent): Finding | undefined {
  const events: (ContainerEvent | undefined)[] = [];
  const texts: string[] = [];
  const splitter = new ObjectSplitter(
    (object) => {
      texts.push(object);
      events.push(read(object));
    },
    () => texts.push('oversize'),
  );
  const bytes = Buffer.from(`${text}\n${after}\n`);
  const size = 1 + (bytes.length % 700);
  for (let at = 0; at < bytes.length; at += size) splitter.push(bytes.subarray(at, at + size));
  const isObject = text.startsWith('{') && parsed(text) !== undefined;
  const first = Buffer.byteLength(text) > objectBytesMax ? 'oversize' : text;
  // JSON.stringify escapes what has no UTF-8, so that the text comes through the bytes.
  if (isObject && (texts.length !== 2 || texts[0] !== first || texts[1] !== after)) {
    return nonsense('difference', texts);
  }
  const wrong = events.find(
    (event) => event !== undefined && event.kind !== 'unreadable' && !(isContainerId(event.id) && isInt64(event.at)),
  );
  return wrong && nonsense('nonsense', wrong);
}

/** As an engine can write the nanoseconds since the epoch; 0 for none. */
function isInt64(at: number): boolean {
  return at >= 0 && at < 2 ** 63;
}
