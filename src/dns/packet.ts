/**
 * Packets: bytes to a query, and records to the bytes of its answer. `dns-packet` reads the packet and writes the data
 * of records; its names are never compressed, so header, owners and pointers are written here.
 *
 * An answer repeats the question byte for byte: a resolver that varies the case of letters (0x20) finds its own. Every
 * record that is asked for points at the question, and each address at the target of its SRV record. So twenty SRV
 * records with their addresses take about 1.5 kB instead of 3.5 kB.
 *
 * A malformed packet never throws. A packet that is no query is never answered, so two servers cannot answer each other
 * for ever.
 */
import packet, { type DecodedPacket } from 'dns-packet';

/** The types of the library do not have what writes the data of a record. */
declare module 'dns-packet' {
  export function record(type: string): { encode(data: unknown): Buffer };
}

export const rcodes = { noError: 0, formErr: 1, servFail: 2, nxDomain: 3, notImp: 4, refused: 5, badVers: 16 } as const;
export type Rcode = (typeof rcodes)[keyof typeof rcodes];

/** What a sender without EDNS can take over UDP, and the least that one with EDNS can. */
const plainBytes = 512;
const headerBytes = 12;
const optBytes = 11;
const messageBytesMax = 65_535;
/** Of the header: answer, authoritative, truncated, recursion desired. */
const flags = { qr: 0x8000, aa: 0x0400, tc: 0x0200, rd: 0x0100 } as const;
const opcodeMask = 0x7800;
const questionAt = 0xc000 | headerBytes;
const classIn = 1;

const types = { A: 1, NS: 2, SOA: 6, PTR: 12, HINFO: 13, TXT: 16, AAAA: 28, SRV: 33 } as const;
export type RecordType = keyof typeof types;

export interface Query {
  readonly id: number;
  readonly isRecursionDesired: boolean;
  /** As they were sent. A label may hold any octet, dots as well. */
  readonly labels: readonly string[];
  readonly type: string;
  readonly class: string;
  /** The bytes of name, type and class. */
  readonly question: Buffer;
  readonly edns: { readonly bytesMax: number; readonly version: number } | undefined;
}

/** What a packet is: a query, a mistake to be told to its sender, or neither. */
export type Received =
  | { readonly kind: 'query'; readonly query: Query }
  | { readonly kind: 'mistake'; readonly rcode: Rcode; readonly answer: Buffer }
  | { readonly kind: 'none' };

/** The owner of a record: the name of the question, the zone at its end, or a name that is written out. */
export type Owner = { readonly of: 'question' } | { readonly of: 'zone' } | { readonly name: string };

export interface Resource {
  readonly owner: Owner;
  readonly type: RecordType;
  readonly ttl: number;
  readonly data: unknown;
}

export interface Answer {
  readonly rcode: Rcode;
  readonly isAuthoritative: boolean;
  readonly answers: readonly Resource[];
  readonly authorities: readonly Resource[];
  /** Left out where there is no room. */
  readonly additionals: readonly Resource[];
  /** The number of labels of the zone at the end of the question. */
  readonly zoneLabels: number;
}

export function read(bytes: Buffer): Received {
  if (bytes.length < headerBytes) return { kind: 'none' };
  const word = bytes.readUInt16BE(2);
  if ((word & flags.qr) !== 0) return { kind: 'none' };
  if ((word & opcodeMask) !== 0) return mistake(bytes, rcodes.notImp);
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((at) => bytes.readUInt16BE(at));
  const isOne = questions === 1 && answers === 0 && authorities === 0 && (additionals ?? 0) <= 2;
  const query = isOne ? queryOf(bytes) : undefined;
  return query === undefined ? mistake(bytes, rcodes.formErr) : { kind: 'query', query };
}

function queryOf(bytes: Buffer): Query | undefined {
  const labels = labelsOf(bytes);
  const decoded = decode(bytes);
  const [question] = decoded?.questions ?? [];
  if (labels === undefined || decoded === undefined || question === undefined) return undefined;
  const options = (decoded.additionals ?? []).flatMap((one) => (one.type === 'OPT' ? [one] : []));
  if (options.length > 1) return undefined;
  const [opt] = options;
  return {
    id: bytes.readUInt16BE(0),
    isRecursionDesired: decoded.flag_rd,
    labels: labels.texts,
    type: question.type,
    class: question.class ?? 'IN',
    question: bytes.subarray(headerBytes, labels.end + 4),
    edns: opt && { bytesMax: Math.max(plainBytes, opt.udpPayloadSize), version: opt.ednsVersion },
  };
}

/** Undefined: the packet is damaged, or has bytes after its end. */
function decode(bytes: Buffer): DecodedPacket | undefined {
  try {
    const decoded = packet.decode(bytes);
    return packet.decode.bytes === bytes.length ? decoded : undefined;
  } catch {
    return undefined;
  }
}

/** The name of the question. There is nothing before it that a pointer could point at. */
function labelsOf(bytes: Buffer): { readonly texts: string[]; readonly end: number } | undefined {
  const texts: string[] = [];
  let at = headerBytes;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > 63) return undefined;
    at++;
    if (length === 0) return at + 4 <= bytes.length ? { texts, end: at } : undefined;
    texts.push(bytes.toString('utf8', at, at + length));
    at += length;
  }
}

function mistake(bytes: Buffer, rcode: Rcode): Received {
  const answer = Buffer.alloc(headerBytes);
  answer.writeUInt16BE(bytes.readUInt16BE(0), 0);
  answer.writeUInt16BE(flags.qr | (bytes.readUInt16BE(2) & (opcodeMask | flags.rd)) | rcode, 2);
  return { kind: 'mistake', rcode, answer };
}

/** The most that the answer may have over UDP; `bytesMax` is the limit of this server. */
export function udpBytesOf({ edns }: Query, bytesMax: number): number {
  return edns === undefined ? plainBytes : Math.min(edns.bytesMax, bytesMax);
}

/** One message is written at a time, so one buffer is enough. */
const scratch = Buffer.allocUnsafe(messageBytesMax);

/** The bytes of an answer, at most `bytesMax`. If records that were asked for are missing, it says so: truncated. */
export function write(query: Query, answer: Answer, bytesMax: number): { bytes: Buffer; isTruncated: boolean } {
  const end = Math.min(bytesMax, messageBytesMax) - (query.edns ? optBytes : 0);
  const writer = new Writer(query, answer.zoneLabels, end);
  const [answers, areAll] = writer.records(answer.answers);
  const [authorities, areAuthoritiesAll] = writer.records(areAll ? answer.authorities : []);
  const [additionals] = writer.records(areAll ? answer.additionals : []);
  if (query.edns) writer.opt(answer.rcode >> 4);
  const isTruncated = !(areAll && areAuthoritiesAll);
  scratch.writeUInt16BE(query.id, 0);
  scratch.writeUInt16BE(
    flags.qr |
      (answer.isAuthoritative ? flags.aa : 0) |
      (isTruncated ? flags.tc : 0) |
      (query.isRecursionDesired ? flags.rd : 0) |
      (answer.rcode & 0xf),
    2,
  );
  scratch.writeUInt16BE(1, 4);
  scratch.writeUInt16BE(answers, 6);
  scratch.writeUInt16BE(authorities, 8);
  scratch.writeUInt16BE(additionals + (query.edns ? 1 : 0), 10);
  return { bytes: Buffer.from(scratch.subarray(0, writer.at)), isTruncated };
}

/** Writes records one after the other into the scratch buffer. */
class Writer {
  at = headerBytes;
  readonly #end: number;
  readonly #zoneAt: number;
  /** Where the names of targets were written. */
  readonly #names = new Map<string, number>();

  constructor({ question, labels }: Query, zoneLabels: number, end: number) {
    question.copy(scratch, this.at);
    this.at += question.length;
    this.#end = end;
    let zoneAt = headerBytes;
    for (let left = labels.length - zoneLabels; left > 0; left--) zoneAt += (scratch[zoneAt] ?? 0) + 1;
    this.#zoneAt = 0xc000 | zoneAt;
  }

  /** The number of records that had room, and whether all had. */
  records(records: readonly Resource[]): readonly [number, boolean] {
    let written = 0;
    for (const one of records) {
      if (!this.#record(one)) return [written, false];
      written++;
    }
    return [written, true];
  }

  #record({ owner, type, ttl, data }: Resource): boolean {
    const pointer = this.#pointerTo(owner);
    const name =
      'name' in owner && pointer === undefined ? packet.record('NS').encode(owner.name).subarray(2) : undefined;
    // A length of two bytes, and the data.
    const encoded = packet.record(type).encode(data);
    const nameBytes = name?.length ?? 2;
    if (this.at + nameBytes + 8 + encoded.length > this.#end) return false;
    if (name !== undefined) name.copy(scratch, this.at);
    else scratch.writeUInt16BE(pointer ?? questionAt, this.at);
    this.at += nameBytes;
    scratch.writeUInt16BE(types[type], this.at);
    scratch.writeUInt16BE(classIn, this.at + 2);
    scratch.writeUInt32BE(ttl, this.at + 4);
    const dataAt = this.at + 8;
    encoded.copy(scratch, dataAt);
    if (type === 'SRV' && isTarget(data) && dataAt + 8 < 0x4000) this.#names.set(data.target, 0xc000 | (dataAt + 8));
    this.at = dataAt + encoded.length;
    return true;
  }

  #pointerTo(owner: Owner): number | undefined {
    if ('name' in owner) return this.#names.get(owner.name);
    return owner.of === 'zone' ? this.#zoneAt : questionAt;
  }

  /** Room for it was set aside. */
  opt(extendedRcode: number): void {
    scratch[this.at] = 0;
    scratch.writeUInt16BE(41, this.at + 1);
    scratch.writeUInt16BE(advertisedBytes, this.at + 3);
    scratch.writeUInt32BE(extendedRcode * 0x1000000, this.at + 5);
    scratch.writeUInt16BE(0, this.at + 9);
    this.at += optBytes;
  }
}

/** A query has a few hundred bytes. */
const advertisedBytes = 1_232;

const isTarget = (data: unknown): data is { readonly target: string } =>
  typeof data === 'object' && data !== null && 'target' in data;
