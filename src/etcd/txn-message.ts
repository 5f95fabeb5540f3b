/**
 * The two messages of a commit in protobuf's wire format: TxnRequest out, TxnResponse in. Pure.
 *
 * Field numbers are those of etcd's api/etcdserverpb/rpc.proto. Only what a commit needs is written:
 * one comparison of a key's modification revision, puts with a lease, deletes of single keys.
 */

import type { Change } from '../layout/keys.ts';
import type { LeaseId, Revision } from './registry.ts';

const varint = 0;
const lengthDelimited = 2;
const targetModRevision = 2;

/** A TxnRequest that applies all changes if `guardKey` was last modified at `revision`. */
export function encodeTxn(guardKey: string, revision: Revision, lease: LeaseId, changes: readonly Change[]): Buffer {
  const revisionBytes = int64(revision);
  const leaseBytes = int64(lease);
  const compareSize = 2 + bytesSize(guardKey) + 1 + revisionBytes.length;
  const operations = changes.map((change) => ({ change, size: operationSize(change, leaseBytes) }));
  const total = operations.reduce((sum, { size }) => sum + nestedSize(nestedSize(size)), nestedSize(compareSize));
  const out = new Writer(total);
  out.tag(1, lengthDelimited);
  out.number(compareSize);
  out.tag(2, varint);
  out.number(targetModRevision);
  out.bytes(3, guardKey);
  out.tag(6, varint);
  out.raw(revisionBytes);
  for (const { change, size } of operations) {
    out.tag(2, lengthDelimited);
    out.number(nestedSize(size));
    out.tag(change.value === undefined ? 3 : 2, lengthDelimited);
    out.number(size);
    out.bytes(1, change.key);
    if (change.value === undefined) continue;
    out.bytes(2, change.value);
    out.tag(3, varint);
    out.raw(leaseBytes);
  }
  return out.buffer;
}

/** Whether the comparison held and the changes were applied. */
export function decodeSucceeded(message: Buffer): boolean {
  let offset = 0;
  const readVarint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[offset++];
      if (byte === undefined) throw new Error('TxnResponse is cut short');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (offset < message.length) {
    const tag = Number(readVarint());
    if (tag >> 3 === 2 && (tag & 7) === varint) return readVarint() !== 0n;
    if ((tag & 7) === lengthDelimited) {
      const length = Number(readVarint());
      offset += length;
    } else if ((tag & 7) === varint) readVarint();
    else throw new Error(`TxnResponse has a field of unknown wire type ${tag & 7}`);
  }
  // Proto3 leaves false out.
  return false;
}

class Writer {
  readonly buffer: Buffer;
  #offset = 0;

  constructor(size: number) {
    this.buffer = Buffer.allocUnsafe(size);
  }

  tag(field: number, wireType: number): void {
    this.buffer[this.#offset++] = (field << 3) | wireType;
  }

  number(value: number): void {
    let rest = value;
    for (; rest > 0x7f; rest >>>= 7) this.buffer[this.#offset++] = (rest & 0x7f) | 0x80;
    this.buffer[this.#offset++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.buffer.set(bytes, this.#offset);
    this.#offset += bytes.length;
  }

  bytes(field: number, text: string): void {
    this.tag(field, lengthDelimited);
    this.number(Buffer.byteLength(text));
    this.#offset += this.buffer.write(text, this.#offset);
  }
}

function operationSize({ key, value }: Change, lease: Uint8Array): number {
  if (value === undefined) return bytesSize(key);
  return bytesSize(key) + bytesSize(value) + 1 + lease.length;
}

function bytesSize(text: string): number {
  return nestedSize(Buffer.byteLength(text));
}

/** A length-delimited field of that many bytes, with its tag and length. */
function nestedSize(size: number): number {
  return 1 + varintSize(size) + size;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest > 0x7f; rest >>>= 7) size++;
  return size;
}

/** The lease and the owner's revision are the same in each commit of one ownership. */
const known = new Map<string, Uint8Array>();
const knownMax = 16;

/** A decimal number of 64 bits as a varint; below zero, the uint64 of the same bits. */
function int64(decimal: string): Uint8Array {
  const found = known.get(decimal);
  if (found !== undefined) return found;
  if (known.size >= knownMax) known.clear();
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(decimal));
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  const encoded = Uint8Array.from([...bytes, Number(rest)]);
  known.set(decimal, encoded);
  return encoded;
}
