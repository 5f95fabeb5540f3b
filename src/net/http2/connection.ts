/**
 * One HTTP/2 connection to a gRPC server, and the unary calls on it.
 *
 * What is here is what such a call can need: frames, flow control in both directions, and the ways in
 * which a server ends a stream or a connection.
 *
 * https://www.rfc-editor.org/rfc/rfc9113 and
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */

import type { Socket } from 'node:net';
import { messageOf } from '../../errors.ts';
import { type Address, openSocket } from '../socket.ts';
import { decodeHeaders } from './hpack.ts';

/** What the server said no with: a status of gRPC and its text. */
export class GrpcError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = 'GrpcError';
    this.code = code;
  }
}

const deadlineExceeded = 4;
export const unavailable = 14;

const frameType = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
/** `end` on data and headers: the stream's last. On settings and ping the same bit acknowledges. */
const flag = { end: 0x1, acknowledge: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;
const setting = { headerTableSize: 1, enablePush: 2, initialWindowSize: 4, maxFrameSize: 5 } as const;

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const frameHeaderBytes = 9;
/** Until the other side says otherwise; on our side nothing else is asked for. */
const defaultFrameBytes = 16_384;
const defaultWindowBytes = 65_535;
/** A commit's answer says a few words for each of at most 128 operations. */
const answerBytesMax = 1 << 20;
const connectionWindowBytes = 1 << 30;
const messageHeaderBytes = 5;
const streamIdMax = 0x7fff_ffff;
const readBytes = 16 << 10;
/** Far below the 20 s that etcd waits for an answer to a ping of its keep-alive. */
const pongDelayMs = 500;

interface Call {
  readonly resolve: (message: Buffer) => void;
  readonly reject: (error: GrpcError) => void;
  readonly timer: NodeJS.Timeout;
  readonly headers: Map<string, string>;
  readonly answer: Buffer[];
  /** Of the request, what the windows have not let through yet. */
  unsent: Buffer | undefined;
  sendWindow: number;
}

export class GrpcConnection {
  readonly #socket: Socket;
  readonly #calls = new Map<number, Call>();
  #isOpen = true;
  #nextId = 1;
  /** The beginning of a frame that is not complete yet. */
  #held: Buffer | undefined;
  /** A header block that goes on in the next frame. */
  #block: { readonly id: number; readonly flags: number; readonly parts: Buffer[] } | undefined;
  /** What the other side takes: on the connection, on a new stream, in a frame. */
  #sendWindow = defaultWindowBytes;
  #streamWindow = defaultWindowBytes;
  #frameBytes = defaultFrameBytes;
  /** Data taken since the other side's window was last opened anew. */
  #taken = 0;
  /** Answers to pings that wait. */
  readonly #pongs: Buffer[] = [];
  #pongTimer: NodeJS.Timeout | undefined;

  constructor(address: Address) {
    this.#socket = openSocket(address, readBytes, (bytes) => this.#read(bytes));
    this.#socket.on('error', (error) => this.fail(new GrpcError(unavailable, messageOf(error))));
    this.#socket.on('close', () => this.fail(new GrpcError(unavailable, 'connection closed')));
    const settings = Buffer.concat([
      settingOf(setting.headerTableSize, 0),
      settingOf(setting.enablePush, 0),
      settingOf(setting.initialWindowSize, answerBytesMax),
    ]);
    this.#socket.write(
      Buffer.concat([
        Buffer.from(preface),
        frame(frameType.settings, 0, 0, settings),
        windowUpdate(connectionWindowBytes - defaultWindowBytes),
      ]),
    );
  }

  /** Whether it takes another call. */
  get isOpen(): boolean {
    return this.#isOpen && this.#nextId <= streamIdMax;
  }

  call(headers: Buffer, message: Buffer, timeoutMs: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId;
      this.#nextId += 2;
      const timer = setTimeout(() => {
        // A server that hangs may hang for all streams of the connection.
        this.fail(new GrpcError(deadlineExceeded, 'no answer in time'));
      }, timeoutMs);
      const body = Buffer.allocUnsafe(messageHeaderBytes + message.length);
      body[0] = 0;
      body.writeUInt32BE(message.length, 1);
      message.copy(body, messageHeaderBytes);
      const call = { resolve, reject, timer, headers: new Map(), answer: [], unsent: body };
      this.#calls.set(id, { ...call, sendWindow: this.#streamWindow });
      this.#write(frame(frameType.headers, flag.endHeaders, id, headers), ...this.#dataOf(id));
    });
  }

  /** Ends the connection and all calls on it. */
  fail(error: GrpcError): void {
    this.#isOpen = false;
    clearTimeout(this.#pongTimer);
    this.#socket.destroy();
    for (const id of [...this.#calls.keys()]) this.#take(id)?.reject(error);
  }

  /** As much of the request as the windows let through. */
  #dataOf(id: number): Buffer[] {
    const call = this.#calls.get(id);
    const frames: Buffer[] = [];
    while (call?.unsent !== undefined) {
      const { unsent } = call;
      const length = Math.min(unsent.length, this.#frameBytes, this.#sendWindow, call.sendWindow);
      if (length <= 0) break;
      const isLast = length === unsent.length;
      frames.push(frame(frameType.data, isLast ? flag.end : 0, id, unsent.subarray(0, length)));
      call.unsent = isLast ? undefined : unsent.subarray(length);
      call.sendWindow -= length;
      this.#sendWindow -= length;
    }
    return frames;
  }

  #sendUnsent(): void {
    for (const id of this.#calls.keys()) this.#write(...this.#dataOf(id));
  }

  #write(...frames: Buffer[]): void {
    if (frames.length > 0) this.#socket.write(frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames));
  }

  #read(bytes: Buffer): void {
    const all = this.#held === undefined ? bytes : Buffer.concat([this.#held, bytes]);
    let at = 0;
    try {
      while (all.length - at >= frameHeaderBytes) {
        const length = all.readUIntBE(at, 3);
        if (length > defaultFrameBytes)
          throw new Error('answer is not HTTP/2, or has a frame larger than was asked for');
        const end = at + frameHeaderBytes + length;
        if (end > all.length) break;
        const id = all.readUInt32BE(at + 5) & streamIdMax;
        this.#frame(all[at + 3] as number, all[at + 4] as number, id, all.subarray(at + frameHeaderBytes, end));
        at = end;
      }
    } catch (error) {
      this.fail(new GrpcError(unavailable, messageOf(error)));
      return;
    }
    // Copied: the buffer it lies in is filled anew.
    this.#held = at < all.length ? Buffer.from(all.subarray(at)) : undefined;
  }

  #frame(type: number, flags: number, id: number, payload: Buffer): void {
    if (this.#block !== undefined && (type !== frameType.continuation || id !== this.#block.id)) {
      throw new Error('header block is not continued');
    }
    switch (type) {
      case frameType.data:
        this.#data(flags, id, payload);
        break;
      case frameType.headers:
        this.#headers(flags, id, withoutPadding(flags, payload).subarray(flags & flag.priority ? 5 : 0));
        break;
      case frameType.continuation:
        this.#headers(flags, id, payload);
        break;
      case frameType.reset:
        this.#take(id)?.reject(new GrpcError(unavailable, `stream was reset (${payload.readUInt32BE(0)})`));
        break;
      case frameType.settings:
        if ((flags & flag.acknowledge) === 0) this.#settings(payload);
        break;
      case frameType.ping:
        if ((flags & flag.acknowledge) === 0) this.#pong(frame(frameType.ping, flag.acknowledge, 0, payload));
        break;
      case frameType.goAway:
        this.#goAway(payload.readUInt32BE(0) & streamIdMax);
        break;
      case frameType.windowUpdate:
        this.#windowUpdate(id, payload.readUInt32BE(0) & streamIdMax);
        break;
      case frameType.pushPromise:
        throw new Error('server pushes although it was told not to');
      default:
      // Priorities, and whatever may be invented.
    }
  }

  /**
   * A server of gRPC pings whenever it reads data and no ping is under way, to learn how wide the way is. So each answer
   * brings the next ping, as a packet of its own that wakes this side for nothing: it is answered later, and so less often.
   */
  #pong(pong: Buffer): void {
    this.#pongs.push(pong);
    this.#pongTimer ??= setTimeout(() => {
      this.#pongTimer = undefined;
      this.#write(...this.#pongs.splice(0));
    }, pongDelayMs);
  }

  #data(flags: number, id: number, payload: Buffer): void {
    this.#taken += payload.length;
    if (this.#taken > connectionWindowBytes / 2) {
      this.#write(windowUpdate(this.#taken));
      this.#taken = 0;
    }
    const call = this.#calls.get(id);
    if (call === undefined) return;
    const data = withoutPadding(flags, payload);
    if (data.length > 0) call.answer.push(Buffer.from(data));
    if (flags & flag.end) this.#end(id);
  }

  #headers(flags: number, id: number, part: Buffer): void {
    const block = this.#block ?? { id, flags, parts: [] };
    if ((flags & flag.endHeaders) === 0) {
      block.parts.push(Buffer.from(part));
      if (block.parts.length > 16) throw new Error('header block does not end');
      this.#block = block;
      return;
    }
    this.#block = undefined;
    const whole = block.parts.length === 0 ? part : Buffer.concat([...block.parts, part]);
    const call = this.#calls.get(id);
    decodeHeaders(whole, call?.headers ?? new Map());
    if (block.flags & flag.end) this.#end(id);
  }

  #settings(payload: Buffer): void {
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      const value = payload.readUInt32BE(at + 2);
      switch (payload.readUInt16BE(at)) {
        case setting.initialWindowSize:
          for (const call of this.#calls.values()) call.sendWindow += value - this.#streamWindow;
          this.#streamWindow = value;
          break;
        case setting.maxFrameSize:
          this.#frameBytes = value;
          break;
        default:
        // How many streams it takes is no matter: there is one at a time.
      }
    }
    this.#write(frame(frameType.settings, flag.acknowledge, 0, Buffer.alloc(0)));
    this.#sendUnsent();
  }

  #windowUpdate(id: number, increment: number): void {
    if (id === 0) this.#sendWindow += increment;
    else {
      const call = this.#calls.get(id);
      if (call !== undefined) call.sendWindow += increment;
    }
    this.#sendUnsent();
  }

  /** The server takes no more; what it has taken, up to `lastId`, it still answers. */
  #goAway(lastId: number): void {
    this.#isOpen = false;
    for (const id of [...this.#calls.keys()]) {
      if (id > lastId) this.#take(id)?.reject(new GrpcError(unavailable, 'server is going away'));
    }
    if (this.#calls.size === 0) this.#socket.destroy();
  }

  #end(id: number): void {
    const call = this.#take(id);
    if (call === undefined) return;
    const { answer, headers, reject, resolve } = call;
    const body = answer.length === 1 ? (answer[0] as Buffer) : Buffer.concat(answer);
    const code = Number(headers.get('grpc-status') ?? unavailable);
    const isWhole = body.length >= messageHeaderBytes && body.readUInt32BE(1) === body.length - messageHeaderBytes;
    if (code === 0 && isWhole && body[0] === 0) resolve(body.subarray(messageHeaderBytes));
    else if (code === 0) reject(new GrpcError(unavailable, 'answer is not one whole message'));
    else reject(new GrpcError(code, decodeURIComponentSafely(headers.get('grpc-message') ?? statusOf(headers))));
    if (!this.#isOpen && this.#calls.size === 0) this.#socket.destroy();
  }

  /** The call is over: whoever takes it settles it. */
  #take(id: number): Call | undefined {
    const call = this.#calls.get(id);
    clearTimeout(call?.timer);
    this.#calls.delete(id);
    return call;
  }
}

function frame(type: number, flags: number, id: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(frameHeaderBytes + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(id, 5);
  payload.copy(bytes, frameHeaderBytes);
  return bytes;
}

function windowUpdate(increment: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(increment);
  return frame(frameType.windowUpdate, 0, 0, payload);
}

function settingOf(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUInt16BE(id);
  bytes.writeUInt32BE(value, 2);
  return bytes;
}

function withoutPadding(flags: number, payload: Buffer): Buffer {
  if ((flags & flag.padded) === 0) return payload;
  const padding = payload.readUInt8(0);
  if (padding >= payload.length) throw new Error('frame has more padding than room');
  return payload.subarray(1, payload.length - padding);
}

function statusOf(headers: ReadonlyMap<string, string>): string {
  return `no status of gRPC, and of HTTP ${headers.get(':status') ?? 'none'}`;
}

function decodeURIComponentSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
