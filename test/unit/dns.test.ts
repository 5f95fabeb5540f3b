/** DNS: what a query over the fleet is answered, as the library `dns-packet` reads it. No network but one test over loopback. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import packet, { type Answer, type DecodedPacket, type RecordType } from 'dns-packet';
import { Catalogue } from '../../src/client/catalogue.ts';
import { Limits } from '../../src/dns/limits.ts';
import { DnsListener, Resolver } from '../../src/dns/server.ts';

const zone = 'discover.internal';
const ids = Array.from({ length: 40 }, (_, at) => at.toString(16).padStart(12, '0'));

interface Put {
  readonly name?: string;
  readonly realm?: string;
  readonly host?: string;
  readonly at?: number;
  readonly url?: string;
  readonly meta?: object;
}

class Fleet {
  readonly catalogue = new Catalogue('/discover');
  isStale = false;

  constructor(...puts: readonly Put[]) {
    this.catalogue.begin();
    this.catalogue.adopt();
    this.put(...puts);
  }

  put(...puts: readonly Put[]): void {
    const changes = puts.flatMap(({ name = 'web', realm = 'default', host = 'h1', at = 0, url, meta }) => {
      const key = `${name}/${realm}/${host}/${ids[at]}`;
      const value = url ?? `tcp://10.0.0.${at + 1}:80`;
      const beside = meta && { key: `/discover/meta/${key}`, value: JSON.stringify(meta) };
      return [...(beside ? [beside] : []), { key: `/discover/service/${key}`, value }];
    });
    this.catalogue.apply(changes);
  }

  gone(key: string): void {
    this.catalogue.apply([{ key: `/discover/service/${key}`, value: undefined }]);
  }
}

const here = { host: 'h1', zone: 'a', ip: '10.9.9.9' };
const resolverOf = (source: ConstructorParameters<typeof Resolver>[0], rate = 0): Resolver =>
  new Resolver(source, { zone, ttlSeconds: 5, rate, here });

interface Asked {
  readonly type?: RecordType;
  readonly edns?: number | undefined;
  readonly limit?: number | 'tcp';
}

const queryOf = (name: string, { type = 'A', edns }: Asked = {}): Buffer => {
  const opt = { type: 'OPT', name: '.', udpPayloadSize: edns, flags: 0, options: [] } as unknown as Answer;
  const questions = [{ name, type }];
  return packet.encode({
    ...{ type: 'query', id: 4711, flags: packet.RECURSION_DESIRED, questions },
    additionals: edns === undefined ? [] : [opt],
  });
};

type Read = DecodedPacket & { readonly rcode: string; readonly bytes: Buffer };

function ask(resolver: Resolver, name: string, asked: Asked = {}): Read {
  const bytes = resolver.resolve(queryOf(name, asked), '10.0.0.9', asked.limit ?? 1_232);
  assert.ok(bytes !== undefined, 'no answer');
  return { ...(packet.decode(bytes) as Read), bytes };
}

const dataOf = (answer: DecodedPacket): unknown[] =>
  (answer.answers ?? []).map((one) => ('data' in one ? one.data : one));
const ttlsOf = (answer: DecodedPacket): unknown[] =>
  (answer.answers ?? []).map((one) => ('ttl' in one ? one.ttl : one));
/** The rcode of an answer without records, and whether it has the zone's SOA. */
const negative = (answer: Read): readonly [string, string | undefined] => {
  assert.deepEqual(answer.answers, []);
  return [answer.rcode, answer.authorities?.map(({ type, name }) => `${type} ${name}`).join()];
};
const soa = `SOA ${zone}`;

test('A and AAAA have the addresses of their family, each once, with the TTL of the configuration', () => {
  const fleet = new Fleet({ at: 0 }, { at: 1, url: 'tcp://10.0.0.1:81' }, { at: 2, url: 'udp://[2001:db8::5]:80' });
  const resolver = resolverOf(fleet);
  const a = ask(resolver, `web.default.${zone}`);
  assert.deepEqual([a.rcode, a.flag_aa, a.flag_ra, a.flag_tc], ['NOERROR', true, false, false]);
  assert.deepEqual([dataOf(a), ttlsOf(a)], [['10.0.0.1'], [5]]);
  assert.deepEqual(dataOf(ask(resolver, `web.default.${zone}`, { type: 'AAAA' })), ['2001:db8::5']);
});

test('SRV has target, port, priority and weight, and the address of each target', () => {
  const fleet = new Fleet({ at: 1, meta: { weight: 7, priority: 3 } }, { at: 2, url: 'udp://[2001:db8::5]:53' });
  const resolver = resolverOf(fleet);
  const target = (at: number): string => `${ids[at]}.web.default.${zone}`;
  const all = ask(resolver, `web.default.${zone}`, { type: 'SRV' });
  assert.deepEqual(
    new Set(dataOf(all)),
    new Set([
      { target: target(1), port: 80, priority: 3, weight: 7 },
      { target: target(2), port: 53, priority: 10, weight: 1 },
    ]),
  );
  assert.deepEqual(
    new Set(all.additionals?.map((one) => [one.type, one.name, 'data' in one && one.data].join())),
    new Set([`A,${target(1)},10.0.0.2`, `AAAA,${target(2)},2001:db8::5`]),
  );
  const tcp = ask(resolver, `_web._tcp.default.${zone}`, { type: 'SRV' });
  assert.deepEqual(dataOf(tcp), [{ target: target(1), port: 80, priority: 3, weight: 7 }]);
  const udp = ask(resolver, `_web._udp.default.${zone}`, { type: 'SRV' });
  assert.deepEqual(dataOf(udp), [{ target: target(2), port: 53, priority: 10, weight: 1 }]);
  assert.deepEqual(dataOf(ask(resolver, target(1))), ['10.0.0.2']);
  assert.deepEqual(negative(ask(resolver, `_web._sctp.default.${zone}`, { type: 'SRV' })), ['NXDOMAIN', soa]);
});

test('an instance of weight 0 is answered only where all are of weight 0', () => {
  const fleet = new Fleet({ at: 0, meta: { weight: 0 } }, { at: 1 });
  const resolver = resolverOf(fleet);
  assert.deepEqual(dataOf(ask(resolver, `web.default.${zone}`)), ['10.0.0.2']);
  assert.equal(dataOf(ask(resolver, `web.default.${zone}`, { type: 'SRV' })).length, 1);
  fleet.gone(`web/default/h1/${ids[1]}`);
  assert.deepEqual(dataOf(ask(resolver, `web.default.${zone}`)), ['10.0.0.1']);
});

test('each instance comes first in proportion to its weight', () => {
  const fleet = new Fleet({ at: 0, meta: { weight: 3 } }, { at: 1 }, { at: 2 });
  const resolver = resolverOf(fleet);
  const first = Array.from({ length: 10 }, () => dataOf(ask(resolver, `web.default.${zone}`))[0]);
  assert.equal(first.filter((address) => address === '10.0.0.1').length, 6, first.join());
  assert.equal(first.filter((address) => address === '10.0.0.2').length, 2, first.join());
});

test('with `near.` the instances of this host come first, then those of its zone, and their SRV priorities say so', () => {
  const fleet = new Fleet(
    { at: 0, host: 'h3', meta: { zone: 'b' } },
    { at: 1, host: 'h2', meta: { zone: 'a' } },
    { at: 2, host: 'h1', meta: { zone: 'a' } },
  );
  const resolver = resolverOf(fleet);
  for (let turn = 0; turn < 5; turn++) {
    assert.deepEqual(dataOf(ask(resolver, `near.web.default.${zone}`)), ['10.0.0.3', '10.0.0.2', '10.0.0.1']);
  }
  const srv = dataOf(ask(resolver, `near.web.default.${zone}`, { type: 'SRV' })) as { priority: number }[];
  assert.deepEqual(
    srv.map(({ priority }) => priority),
    [10, 20_010, 40_010],
  );
});

test('TXT has what an instance says of itself', () => {
  const fleet = new Fleet({
    meta: { weight: 2, tags: ['a', 'b'], zone: 'z', attributes: { version: '2', long: 'x'.repeat(300) } },
  });
  const [texts] = dataOf(ask(resolverOf(fleet), `web.default.${zone}`, { type: 'TXT' })) as [Buffer[]];
  assert.deepEqual(texts.map(String), [
    ...[`id=${ids[0]}`, 'host=h1', 'protocol=tcp', 'port=80', 'weight=2', 'tags=a,b', 'zone=z', 'version=2'],
  ]);
});

test('PTR has the instances at an address; the addresses of others are refused', () => {
  const fleet = new Fleet({ at: 0 }, { at: 1, url: 'tcp://[2001:db8::5]:80' });
  const resolver = resolverOf(fleet);
  const name = (at: number): string => `${ids[at]}.web.default.${zone}`;
  assert.deepEqual(dataOf(ask(resolver, '1.0.0.10.in-addr.arpa', { type: 'PTR' })), [name(0)]);
  const six = `5.${'0.'.repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`;
  assert.deepEqual(dataOf(ask(resolver, six, { type: 'PTR' })), [name(1)]);
  for (const other of ['2.0.0.10.in-addr.arpa', '0.10.in-addr.arpa', '256.0.0.10.in-addr.arpa', 'x.ip6.arpa']) {
    assert.equal(ask(resolver, other, { type: 'PTR' }).rcode, 'REFUSED', other);
  }
});

test('a name that does not exist, and one without records of this type, have the SOA of the zone', () => {
  const resolver = resolverOf(new Fleet({}, { name: 'api.shop', realm: 'eu.west', at: 1 }));
  const cases = {
    NXDOMAIN: [
      'no.default',
      'web.other',
      'x.web.default',
      'ffffffffffff.web.default',
      'near.no.default',
      '_no._tcp.default',
      '_tcp.x',
    ],
    // Names above those that exist do exist, or a resolver would take those below for gone.
    NOERROR: ['', 'default', 'west', 'eu.west', 'shop.eu.west', '_tcp.default'],
  };
  for (const [rcode, names] of Object.entries(cases)) {
    for (const name of names) {
      const full = [...(name ? [name] : []), zone].join('.');
      assert.deepEqual(negative(ask(resolver, full)), [rcode, soa], full);
    }
  }
  assert.deepEqual(negative(ask(resolver, `web.default.${zone}`, { type: 'AAAA' })), ['NOERROR', soa]);
  assert.deepEqual(negative(ask(resolver, `web.default.${zone}`, { type: 'MX' })), ['NOERROR', soa]);
  assert.deepEqual(dataOf(ask(resolver, `api.shop.eu.west.${zone}`)), ['10.0.0.2']);
  assert.deepEqual(dataOf(ask(resolver, zone, { type: 'NS' })), [`ns.${zone}`]);
  assert.deepEqual(dataOf(ask(resolver, `ns.${zone}`)), ['10.9.9.9']);
});

test('other zones, transfers and other classes are refused, without a record', () => {
  const resolver = resolverOf(new Fleet({}));
  for (const name of ['example.org', 'internal', 'xdiscover.internal', '.', 'web.default.discover.internal.org']) {
    const answer = ask(resolver, name);
    assert.deepEqual([negative(answer), answer.flag_aa], [['REFUSED', ''], false], name);
  }
  assert.equal(ask(resolver, zone, { type: 'AXFR', limit: 'tcp' }).rcode, 'REFUSED');
  const chaos = queryOf(`web.default.${zone}`);
  chaos.writeUInt16BE(3, chaos.length - 2);
  assert.equal((packet.decode(resolver.resolve(chaos, '::1', 512) as Buffer) as Read).rcode, 'REFUSED');
});

test('letters come back as they were sent, and mean the same in any case', () => {
  const resolver = resolverOf(new Fleet({}, { name: 'Shop', realm: 'EU', at: 1 }));
  const answer = ask(resolver, 'WeB.dEfAuLt.DISCOVER.internal');
  assert.deepEqual([answer.questions?.[0]?.name, dataOf(answer)], ['WeB.dEfAuLt.DISCOVER.internal', ['10.0.0.1']]);
  assert.deepEqual(dataOf(ask(resolver, `shop.eu.${zone}`)), ['10.0.0.2']);
  const srv = dataOf(ask(resolver, `_SHOP._TCP.eu.${zone}`, { type: 'SRV' })) as { target: string }[];
  assert.deepEqual(
    srv.map(({ target }) => target),
    [`${ids[1]}.Shop.EU.${zone}`],
  );
});

test('a service outside ASCII is found as it is written and as IDN', () => {
  const resolver = resolverOf(new Fleet({ name: 'büro' }));
  assert.deepEqual(dataOf(ask(resolver, `büro.default.${zone}`)), ['10.0.0.1']);
  assert.deepEqual(dataOf(ask(resolver, `xn--bro-hoa.default.${zone}`)), ['10.0.0.1']);
});

test('names have labels of 63 octets and 253 in all, and no more', () => {
  const longest = 'x'.repeat(63);
  const resolver = resolverOf(new Fleet({ name: longest }, { name: 'y'.repeat(64), at: 1 }, { name: 'a..b', at: 2 }));
  assert.deepEqual(dataOf(ask(resolver, `${longest}.default.${zone}`)), ['10.0.0.1']);
  const [target] = dataOf(ask(resolver, `${longest}.default.${zone}`, { type: 'SRV' })) as [{ target: string }];
  assert.deepEqual(dataOf(ask(resolver, target.target)), ['10.0.0.1']);
  const label = (letters: number): string => 'z'.repeat(letters);
  const full = `${label(63)}.${label(63)}.${label(63)}.${label(253 - 192 - zone.length - 1)}.${zone}`;
  assert.equal(full.length, 253);
  assert.equal(ask(resolver, full).rcode, 'NXDOMAIN');
  for (const wrong of [`z${full}`, `${'y'.repeat(64)}.default.${zone}`]) {
    const answer = resolver.resolve(queryOf(wrong), '10.0.0.9', 512);
    assert.equal((packet.decode(answer as Buffer) as Read).rcode, 'FORMERR', wrong);
  }
});

test('an answer that is too long for UDP is truncated at what the client takes, and whole over TCP', () => {
  const fleet = new Fleet(...ids.map((_, at) => ({ at })));
  const resolver = resolverOf(fleet);
  const name = `web.default.${zone}`;
  for (const [edns, limit, bytesMax] of [
    [undefined, 1_232, 512],
    [100, 1_232, 512],
    [800, 1_232, 800],
    [65_535, 1_232, 1_232],
  ] as const) {
    const answer = ask(resolver, name, { type: 'SRV', edns, limit });
    assert.ok(answer.flag_tc && answer.bytes.length <= bytesMax && answer.bytes.length > bytesMax - 150, String(edns));
  }
  // One that fits without the addresses is not truncated for them.
  const few = ask(resolver, name, { type: 'A', edns: 1_232 });
  assert.deepEqual([few.flag_tc, few.answers?.length], [false, ids.length]);
  const large = ask(resolver, name, { type: 'SRV', edns: 8_192, limit: 8_192 });
  assert.deepEqual([large.flag_tc, large.answers?.length, large.additionals?.length], [false, 40, 41]);
  const tcp = ask(resolver, name, { type: 'SRV', limit: 'tcp' });
  assert.deepEqual([tcp.flag_tc, tcp.answers?.length, tcp.additionals?.length], [false, 40, 40]);
});

test('ANY has one small record', () => {
  const resolver = resolverOf(new Fleet(...ids.map((_, at) => ({ at }))));
  const bytes = queryOf(`web.default.${zone}`);
  bytes.writeUInt16BE(255, bytes.length - 4);
  const answer = resolver.resolve(bytes, '10.0.0.9', 1_232) as Buffer;
  assert.deepEqual(
    packet.decode(answer).answers?.map(({ type }) => type),
    ['HINFO'],
  );
  assert.ok(answer.length < bytes.length + 40, String(answer.length));
});

test('while etcd is away the last answers stay, with a TTL of one second; before the first reading there are none', () => {
  const fleet = new Fleet({});
  const resolver = resolverOf(fleet);
  fleet.isStale = true;
  assert.deepEqual(ttlsOf(ask(resolver, `web.default.${zone}`)), [1]);
  fleet.isStale = false;
  assert.deepEqual(ttlsOf(ask(resolver, `web.default.${zone}`)), [5]);
  const unread = resolverOf({ catalogue: undefined, isStale: false });
  assert.deepEqual(negative(ask(unread, `web.default.${zone}`)), ['SERVFAIL', '']);
  assert.deepEqual(negative(ask(unread, 'example.org')), ['REFUSED', '']);
  assert.equal(unread.outcomes.unavailable, 1);
});

test('damaged packets are told so, and what is no query has no answer', () => {
  const resolver = resolverOf(new Fleet({}));
  const good = queryOf(`web.default.${zone}`);
  const changed = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = Buffer.from(good);
    change(bytes);
    return bytes;
  };
  const rcodeOf = (bytes: Buffer): string | undefined => {
    const answer = resolver.resolve(bytes, '10.0.0.9', 512);
    return answer && (packet.decode(answer) as Read).rcode;
  };
  const counts = (at: number, count: number): Buffer => changed((bytes) => bytes.writeUInt16BE(count, at));
  for (const at of [6, 8, 10]) assert.equal(rcodeOf(counts(at, 65_535)), 'FORMERR', `${at}`);
  for (const count of [0, 2, 65_535]) assert.equal(rcodeOf(counts(4, count)), 'FORMERR', `${count} questions`);
  for (let end = 12; end < good.length; end++) assert.equal(rcodeOf(good.subarray(0, end)), 'FORMERR', `${end} bytes`);
  assert.equal(rcodeOf(Buffer.concat([good, Buffer.from([0])])), 'FORMERR');
  // A pointer to itself.
  assert.equal(rcodeOf(changed((bytes) => bytes.writeUInt16BE(0xc00c, 12))), 'FORMERR');
  assert.equal(rcodeOf(changed((bytes) => bytes.writeUInt16BE(0x2800, 2))), 'NOTIMP');
  assert.equal(rcodeOf(changed((bytes) => bytes.writeUInt16BE(0x8000, 2))), undefined, 'an answer');
  assert.equal(rcodeOf(good.subarray(0, 11)), undefined, '11 bytes');
  const withOpt = queryOf(`web.default.${zone}`, { edns: 1_232 });
  withOpt[withOpt.length - 5] = 1;
  const newer = packet.decode(resolver.resolve(withOpt, '10.0.0.9', 512) as Buffer);
  assert.deepEqual(
    [newer.answers, newer.additionals?.[0]?.type === 'OPT' && newer.additionals[0].extendedRcode],
    [[], 1],
  );
});

test('services that come and go are found and not found at once', () => {
  const fleet = new Fleet({});
  const resolver = resolverOf(fleet);
  assert.equal(ask(resolver, `api.default.${zone}`).rcode, 'NXDOMAIN');
  fleet.put({ name: 'api', at: 1 });
  // The index is due again after a pause as long as its work took, twenty times: here microseconds.
  for (let tries = 0; ask(resolver, `api.default.${zone}`).rcode !== 'NOERROR'; tries++) assert.ok(tries < 1_000_000);
  fleet.gone(`api/default/h1/${ids[1]}`);
  assert.equal(ask(resolver, `api.default.${zone}`).rcode, 'NXDOMAIN');
});

test('a client that asks too often is not answered until time has passed, and the number of clients is bounded', () => {
  const limits = new Limits(100);
  const taken = (address: string, at: number, times = 10_000): number =>
    Array.from({ length: times }, () => limits.take(address, at)).filter(Boolean).length;
  assert.equal(taken('10.0.0.1', 0), 100);
  assert.equal(taken('10.0.0.1', 10), 1);
  assert.equal(taken('10.0.0.2', 10), 100);
  assert.equal(taken('10.0.0.1', 60_000), 100);
  // One network of IPv6 is one client.
  assert.equal(taken('2001:db8:0:1::1', 0) + taken('2001:db8:0:1:2::', 0) + taken('2001:db8::1:0:0:0:1', 0), 100);
  assert.equal(taken('2001:db8::1', 0), 100);
  for (let at = 0; at < 100_000; at++) limits.take(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, 0);
  assert.ok(limits.clients <= 4_096, String(limits.clients));
  const resolver = resolverOf(new Fleet({}), 10);
  for (let times = 0; times < 20; times++) resolver.resolve(queryOf(zone), '10.0.0.9', 512);
  assert.ok(resolver.outcomes.limited > 0 && resolver.outcomes.empty >= 10);
});

test('the listener answers over UDP and TCP, and ends a connection that sends nonsense (loopback)', async () => {
  const listener = await DnsListener.open({ host: '127.0.0.1', port: 0 });
  try {
    await assert.rejects(DnsListener.open({ host: '127.0.0.1', port: listener.port }), { code: 'LISTEN_FAILED' });
    listener.serve(resolverOf(new Fleet({})));
    const query = queryOf(`web.default.${zone}`);
    const client = createSocket('udp4');
    client.send(query, listener.port, '127.0.0.1');
    const [overUdp] = (await once(client, 'message')) as [Buffer];
    client.close();
    assert.deepEqual(dataOf(packet.decode(overUdp)), ['10.0.0.1']);
    const framed = Buffer.concat([Buffer.from([0, query.length]), query]);
    const socket = connect(listener.port, '127.0.0.1');
    // Two queries, cut at every place.
    for (const byte of Buffer.concat([framed, framed])) socket.write(Buffer.from([byte]));
    const expected = Buffer.concat([Buffer.from([0, overUdp.length]), overUdp]);
    let seen = Buffer.alloc(0);
    while (seen.length < expected.length * 2)
      seen = Buffer.concat([seen, ((await once(socket, 'data')) as [Buffer])[0]]);
    assert.deepEqual(seen, Buffer.concat([expected, expected]));
    socket.write(Buffer.from([255, 255]));
    await once(socket, 'close');
  } finally {
    await listener.close();
  }
});
