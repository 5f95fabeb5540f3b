/**
 * Packets of DNS at random, by their seeds: whole queries, queries with damage, and noise.
 *
 * No packet may make the resolver throw, or have an answer that is larger than the rules allow, is not an answer, has
 * another id, or cannot be read by the library.
 */
import packet, { type Answer, type RecordType } from 'dns-packet';
import { Random } from '../../bench/engine/random.ts';
import { Catalogue } from '../../src/client/catalogue.ts';
import { Resolver } from '../../src/dns/server.ts';

const zone = 'discover.internal';
const types: readonly RecordType[] = ['A', 'AAAA', 'SRV', 'TXT', 'PTR', 'SOA', 'NS', 'AXFR', 'CNAME', 'OPT', 'CAA'];
const labels = [
  'web',
  'near',
  '_web',
  '_tcp',
  '_udp',
  'default',
  'aaaaaaaaaaa1',
  'a.b',
  '',
  'ö',
  'x'.repeat(63),
  '5',
  'ns',
];
const likely = [
  'web.default',
  'near.web.default',
  '_web._tcp.default',
  'a.b.default',
  'default',
  'aaaaaaaaaa51.web.default',
];
const ends = ['discover.internal', 'Discover.INTERNAL', 'in-addr.arpa', 'ip6.arpa', 'example.org', ''];

/** A fleet with a few services, one of them large. */
export function resolverOf(): Resolver {
  const catalogue = new Catalogue('/discover');
  catalogue.begin();
  for (const [name, count] of [
    ['web', 80],
    ['a.b', 2],
  ] as const) {
    for (let at = 0; at < count; at++) {
      const id = `${'a'.repeat(11 - String(at).length)}${at}1`;
      const address = at % 5 === 0 ? '[2001:db8::5]' : `10.0.${at >> 8}.${at & 255}`;
      const key = `${name}/default/h${at % 3}/${id}`;
      const meta = JSON.stringify({ weight: at % 4, zone: 'a', attributes: { text: 'x'.repeat(at) } });
      catalogue.add([{ key: `/discover/meta/${key}`, value: meta }]);
      catalogue.add([{ key: `/discover/service/${key}`, value: `tcp://${address}:${1_000 + at}` }]);
    }
  }
  catalogue.adopt();
  const source = { catalogue, isStale: false };
  return new Resolver(source, {
    ...{ zone, ttlSeconds: 5, rate: 0 },
    here: { host: 'h1', zone: 'a', ip: '10.0.0.1' },
  });
}

function legal(random: Random): Buffer {
  const name = (
    random.chance(0.5)
      ? [likely[random.below(likely.length)] ?? '', zone]
      : [
          ...Array.from({ length: random.below(5) }, () => labels[random.below(labels.length)] ?? ''),
          ends[random.below(ends.length)] ?? '',
        ]
  ).filter((label) => label !== '');
  const opt: Answer = {
    ...{ type: 'OPT', name: '.', udpPayloadSize: random.below(65_536), extendedRcode: 0 },
    ...{ ednsVersion: random.chance(0.1) ? 1 : 0, flags: 0, flag_do: false, options: [] },
  };
  return packet.encode({
    type: random.chance(0.02) ? 'response' : 'query',
    id: random.below(65_536),
    flags: random.chance(0.5) ? packet.RECURSION_DESIRED : 0,
    questions: [{ name: name.join('.'), type: types[random.below(types.length)] ?? 'A' }],
    additionals: random.chance(0.5) ? [opt] : [],
  });
}

export function packetOf(seed: number): Buffer {
  const random = new Random(seed);
  if (random.chance(0.1)) return Buffer.from(Array.from({ length: random.below(600) }, () => random.below(256)));
  let bytes = legal(random);
  if (random.chance(0.3)) return bytes;
  for (let damages = 1 + random.below(4); damages > 0; damages--) {
    const at = random.below(bytes.length + 1);
    const kind = random.below(3);
    if (kind === 0) bytes = bytes.subarray(0, at);
    else if (kind === 1)
      bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([random.below(256)]), bytes.subarray(at)]);
    else if (at < bytes.length) bytes[at] = random.chance(0.3) ? 0xc0 | random.below(64) : random.below(256);
  }
  return bytes;
}

/** The end of the first question of an answer, whose name has no pointer. */
function questionEnd(answer: Buffer): number {
  let at = 12;
  while ((answer[at] ?? 0) > 0) at += (answer[at] ?? 0) + 1;
  return at + 5;
}

const udpBytesMax = 1_232;

/** What is wrong with the answer to one packet; undefined: nothing. */
export function faultOfPacket(resolver: Resolver, bytes: Buffer): string | undefined {
  // Whole answers over TCP are long, so they are fewer.
  for (const limit of (bytes[1] ?? 0) % 8 === 0 ? ([udpBytesMax, 'tcp'] as const) : [udpBytesMax]) {
    let answer: Buffer | undefined;
    try {
      answer = resolver.resolve(bytes, '10.0.0.9', limit);
    } catch (error) {
      return `throws ${String(error)}`;
    }
    if (answer === undefined) continue;
    if (limit !== 'tcp' && answer.length > udpBytesMax) return `${answer.length} bytes`;
    if (answer.readUInt16BE(0) !== bytes.readUInt16BE(0)) return 'another id';
    if (((answer[2] ?? 0) & 0x80) === 0) return 'no answer';
    try {
      const read = packet.decode(answer);
      if (packet.decode.bytes !== answer.length) return 'bytes after the end';
      const asked = read.questions?.length ?? 0;
      const end = questionEnd(answer);
      if (asked > 0 && !answer.subarray(12, end).equals(bytes.subarray(12, end))) return 'another question';
    } catch (error) {
      return `cannot be read: ${String(error)}`;
    }
  }
  return undefined;
}
