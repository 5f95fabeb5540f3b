/**
 * Frames at random for an HTTP/2 connection: legal ones, damaged ones, and bytes of nothing.
 *
 * Nothing may be thrown; each call is settled once at the most, and once the connection has ended each is;
 * what the connection writes are whole frames; what it holds of the peer stays small.
 */
import { Random } from '../../bench/engine/random.ts';
import { Connection } from '../../src/net/http2/connection.ts';
import { CallError } from '../../src/net/http2/port.ts';
import {
  block,
  end,
  endHeaders,
  frame,
  greeting,
  padded,
  prioritized,
  settings,
  TableEncoder,
  type,
  uint32,
} from '../helpers/frame-server.ts';

const framesEach = 60;
const callsMax = 6;
const codes = [0, 1, 2, 3, 5, 7, 8, 11, 0xffff_ffff];
const statuses = ['200', '200', '200', '200', '404', '103', '103', '20'];
/** Values that each setting may have; of any other, and of some at random, none is legal. */
const legalSettings = [
  [3, [1, 2, 100]],
  [4, [0, 70_000, 1 << 20]],
  [5, [16_384, 70_000]],
  [1, [0, 100, 4_096]],
  [6, [100]],
  [99, [0, 7]],
] as const;

export interface FuzzedConnection {
  readonly frames: number;
  readonly answered: number;
  /** Whether the connection had ended by itself. */
  readonly isEnded: boolean;
  readonly fault: string | undefined;
}

export function fuzzConnection(seed: number): FuzzedConnection {
  const random = new Random(seed);
  const encoder = new TableEncoder();
  const settled: number[] = [];
  /** The streams of calls under way, and whether their headers have been sent. */
  const open = new Map<number, boolean>();
  const written: Buffer[] = [];
  let answered = 0;
  let isEnded = false;
  let frames = 0;
  const result = (fault?: string): FuzzedConnection => ({ frames, answered, isEnded, fault });
  const connection = new Connection({
    write: (bytes, onWritten) => {
      written.push(bytes);
      onWritten?.();
    },
    end: (last) => {
      isEnded = true;
      written.push(last);
    },
  });
  const call = (): void => {
    const at = settled.push(0) - 1;
    open.set(2 * at + 1, false);
    connection.call(Buffer.from([0x83, 0x86, 0x84]), Buffer.alloc(random.below(100)), (_, answer) => {
      settled[at] = (settled[at] ?? 0) + 1;
      open.delete(2 * at + 1);
      if (answer !== undefined) answered++;
    });
  };
  try {
    if (random.chance(0.98)) connection.receive(greeting);
    for (call(); frames < framesEach && !isEnded; frames++) {
      if (connection.isOpen && open.size < callsMax && (open.size === 0 || random.chance(0.2))) call();
      sendInPieces(connection, nextFrame(random, encoder, open), random);
    }
    if (isEnded && settled.includes(0)) return result('the connection has ended, and a call is left');
    const hasEnded = isEnded;
    connection.fail(new CallError('connection', 'over'));
    isEnded = hasEnded;
  } catch (error) {
    return result(`thrown: ${(error as Error).stack}`);
  }
  if (settled.some((times) => times !== 1)) return result(`calls settled ${settled} times`);
  return result(faultOfWritten(Buffer.concat(written)));
}

function sendInPieces(connection: Connection, bytes: Buffer, random: Random): void {
  const cut = random.chance(0.1) ? random.below(bytes.length + 1) : bytes.length;
  // One buffer that is filled anew, as the socket's is.
  const buffer = Buffer.from(bytes);
  connection.receive(buffer.subarray(0, cut));
  buffer.fill(0xff, 0, cut);
  if (cut < bytes.length) connection.receive(buffer.subarray(cut));
  buffer.fill(0xff);
}

function nextFrame(random: Random, encoder: TableEncoder, open: Map<number, boolean>): Buffer {
  const ids = [...open.keys()];
  const id = ids.length > 0 && random.chance(0.99) ? (ids[random.below(ids.length)] ?? 1) : random.below(20);
  const kind = random.below(250);
  if (kind === 0) return noise(random, 1 + random.below(40));
  if (kind === 1) return frame(random.below(256), random.below(256), id, noise(random, random.below(20)));
  if (kind === 2)
    return frame(random.below(10), random.below(256), random.below(2) * id, noise(random, random.below(20)));
  const legal = random.chance(0.6) ? answerFrame(random, encoder, id, open) : asideFrame(random, id);
  if (kind > 4) return legal;
  // One bit of it is another.
  const at = random.below(legal.length);
  legal[at] = (legal[at] ?? 0) ^ (1 << random.below(8));
  return legal;
}

/** The next part of an answer: headers, then body, then trailers. */
function answerFrame(random: Random, encoder: TableEncoder, id: number, open: Map<number, boolean>): Buffer {
  if (open.get(id) !== true) {
    const status = statuses[random.below(statuses.length)] ?? '';
    if (status >= '200') open.set(id, true);
    const fields = [[':status', status] as const, [`x-${random.below(50)}`, 'y'.repeat(random.below(200))] as const];
    return headersFrame(random, id, 0, random.chance(0.7) ? encoder.encode(fields) : block(fields));
  }
  if (random.chance(0.3))
    return headersFrame(random, id, end, random.chance(0.5) ? encoder.encode([['a', 'b']]) : block([['c', 'd']]));
  const data = Buffer.alloc(random.chance(0.05) ? 16_000 : random.below(300), 'd');
  if (random.chance(0.7)) return frame(type.data, random.chance(0.2) ? end : 0, id, data);
  const padding = random.below(256);
  return frame(type.data, padded, id, Buffer.concat([Buffer.from([padding]), data, Buffer.alloc(padding)]));
}

function headersFrame(random: Random, id: number, flags: number, fields: Buffer): Buffer {
  if (random.chance(0.1))
    return frame(type.headers, flags | endHeaders | prioritized, id, Buffer.concat([Buffer.alloc(5), fields]));
  if (random.chance(0.8)) return frame(type.headers, flags | endHeaders, id, fields);
  const cut = random.below(fields.length);
  const first = frame(type.headers, flags, id, fields.subarray(0, cut));
  return Buffer.concat([first, frame(type.continuation, endHeaders, id, fields.subarray(cut))]);
}

/** A frame beside an answer. */
function asideFrame(random: Random, id: number): Buffer {
  switch (random.below(8)) {
    case 0:
      return frame(type.reset, 0, id, uint32(codes[random.below(codes.length)] ?? 0));
    case 1: {
      if (random.chance(0.05)) return frame(type.settings, 0, 0, settings({ [random.below(8)]: random.uint32() }));
      const [which, values] = legalSettings[random.below(legalSettings.length)] ?? [99, [0]];
      return frame(type.settings, 0, 0, settings({ [which]: values[random.below(values.length)] ?? 0 }));
    }
    case 2:
    case 3:
      return frame(type.ping, random.below(2), 0, noise(random, 8));
    case 4:
      return frame(
        type.windowUpdate,
        0,
        random.chance(0.5) ? 0 : id,
        uint32(random.chance(0.01) ? random.uint32() : 1 + random.below(1_000)),
      );
    case 5:
      if (random.chance(0.9)) return frame(type.settings, 1, 0);
      return frame(
        type.goAway,
        0,
        0,
        Buffer.concat([uint32(random.chance(0.5) ? 0x7fff_ffff : id, 0), noise(random, random.below(30))]),
      );
    case 6:
      return frame(type.priority, 0, id, noise(random, 5));
    default:
      return frame(0x20 + random.below(200), random.below(256), id, noise(random, random.below(300)));
  }
}

function noise(random: Random, bytes: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, () => random.below(256)));
}

/** The preface, and whole frames of which none is larger than the peer takes. */
function faultOfWritten(bytes: Buffer): string | undefined {
  let at = 24;
  let last = -1;
  while (at + 9 <= bytes.length) {
    last = bytes[at + 3] ?? -1;
    at += 9 + bytes.readUIntBE(at, 3);
  }
  if (at !== bytes.length) return `${bytes.length - at} bytes behind the last frame written`;
  return last === type.goAway ? undefined : 'the last frame written is not GOAWAY';
}
