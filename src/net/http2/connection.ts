/**
 * One HTTP/2 connection as a client has it, without its socket: bytes in, bytes out (RFC 9113).
 *
 * It promises that every call is settled once, that a peer that breaks a rule costs its connection, and
 * that memory is bounded whatever the peer sends. It knows no time limits: the client has them, so that
 * a fault in the bookkeeping here cannot keep a call from its end.
 *
 * Each malformed frame ends the connection, also where the RFC would let the other streams live (5.4.1
 * allows that). A malformed answer ends its own stream only.
 */

import { bodyBytesMax, MalformedAnswer } from './answer.ts';
import { ReceiveWindow } from './flow.ts';
import {
  ConnectionFault,
  defaultWindowBytes,
  type ErrorCode,
  encodeFrame,
  encodeGoAway,
  encodeSettings,
  encodeWindowUpdate,
  errorCode,
  type Frame,
  FrameReader,
  fieldsOf,
  flag,
  frameType,
  nameOfCode,
  preface,
  setting,
  settingsAcknowledged,
  streamIdMax,
  withoutPadding,
} from './frames.ts';
import { HeaderDecoder, listBytesMax, tableBytesMax } from './hpack.ts';
import { CallError, type Field } from './port.ts';
import { readSettings } from './settings.ts';
import { type Settle, Streams } from './streams.ts';
import { FrameBudget, Replies } from './upkeep.ts';

/** Where bytes go. */
export interface Wire {
  /** `onWritten` is called once the bytes have left this process. */
  write(bytes: Buffer, onWritten?: () => void): void;
  /** Sends the last bytes and closes. */
  end(last: Buffer): void;
}

/** So large that updates are rare, and far below the limit of 2^31. */
const connectionWindowBytes = 1 << 30;

export class Connection {
  readonly #wire: Wire;
  readonly #reader = new FrameReader();
  readonly #decoder = new HeaderDecoder();
  readonly #window = new ReceiveWindow(connectionWindowBytes);
  readonly #budget = new FrameBudget();
  readonly #replies: Replies;
  readonly #streams: Streams;
  #isEnded = false;
  #isGreeted = false;
  /** The highest stream that the peer has taken, once it has said so. */
  #lastIdTaken = streamIdMax;
  #peerTableBytes = tableBytesMax;
  /** A header block that has begun. */
  #block: { readonly id: number; readonly isLast: boolean; readonly parts: Buffer[]; bytes: number } | undefined;

  constructor(wire: Wire) {
    this.#wire = wire;
    this.#replies = new Replies((bytes, onWritten) => wire.write(bytes, onWritten));
    this.#streams = new Streams((frames) => this.#write(frames));
    const settings = encodeSettings([
      [setting.enablePush, 0],
      [setting.initialWindowSize, bodyBytesMax],
      [setting.headerListSizeMax, listBytesMax],
    ]);
    this.#write([preface, settings, encodeWindowUpdate(0, connectionWindowBytes - defaultWindowBytes)]);
  }

  /** Whether it takes another call. */
  get isOpen(): boolean {
    return !this.#isEnded && this.#streams.isTaking;
  }

  /** `block` is an encoded list of headers. `settle` is called once. */
  call(block: Buffer, body: Buffer, settle: Settle): void {
    this.#streams.open(block, body, settle);
  }

  /** Takes the peer's next bytes; they may be overwritten afterwards. Never throws. */
  receive(bytes: Buffer): void {
    if (this.#isEnded) return;
    try {
      this.#reader.push(bytes, (frame) => {
        this.#frame(frame);
        return !this.#isEnded;
      });
    } catch (error) {
      const { code, message } =
        error instanceof ConnectionFault ? error : new ConnectionFault(errorCode.internalError, String(error));
      const what = this.#isGreeted ? 'server breaks the rules of HTTP/2' : 'what answers is not HTTP/2';
      this.fail(new CallError('connection', `${what}: ${message}`), code);
    }
  }

  /** Ends the connection and all calls on it. */
  fail(error: CallError, code: ErrorCode = errorCode.noError): void {
    if (this.#isEnded) return;
    this.#end(code);
    this.#streams.fail(error);
  }

  #end(code: ErrorCode): void {
    this.#isEnded = true;
    this.#replies.stop();
    this.#wire.end(encodeGoAway(code));
  }

  #write(frames: readonly Buffer[]): void {
    const [first] = frames;
    if (first !== undefined) this.#wire.write(frames.length === 1 ? first : Buffer.concat(frames));
  }

  #frame(frame: Frame): void {
    const { flags, id, payload, type } = frame;
    if (!this.#isGreeted && (type !== frameType.settings || (flags & flag.acknowledge) !== 0)) {
      throw new ConnectionFault(errorCode.protocolError, 'first frame is not SETTINGS');
    }
    this.#isGreeted = true;
    if (this.#block === undefined ? type === frameType.continuation : type !== frameType.continuation) {
      throw new ConnectionFault(errorCode.protocolError, 'CONTINUATION is missing or out of place');
    }
    if (type !== frameType.data || payload.length === 0) this.#budget.spend();
    switch (type) {
      case frameType.data:
        this.#data(frame);
        break;
      case frameType.headers:
        this.#streams.findForAnswer(id);
        this.#block = { id, isLast: (flags & flag.end) !== 0, parts: [], bytes: 0 };
        this.#fields(frame, fieldsOf(frame));
        break;
      case frameType.continuation:
        this.#fields(frame, payload);
        break;
      case frameType.reset:
        this.#reset(id, numberOf(frame, 4));
        break;
      case frameType.windowUpdate:
        this.#windowUpdate(id, numberOf(frame, 4) & streamIdMax);
        break;
      case frameType.priority:
        numberOf(frame, 5);
        if (id === 0) throw new ConnectionFault(errorCode.protocolError, 'PRIORITY is on stream 0');
        break;
      case frameType.pushPromise:
        throw new ConnectionFault(errorCode.protocolError, 'server pushes although it was told not to');
      case frameType.settings:
      case frameType.ping:
      case frameType.goAway:
        if (id !== 0) throw new ConnectionFault(errorCode.protocolError, `frame of type ${type} is on stream ${id}`);
        this.#connectionFrame(frame);
        break;
      default:
      // A type that is not known is passed over (4.1).
    }
    if (this.#streams.isEmpty && !this.#streams.isTaking && !this.#isEnded) this.#end(errorCode.noError);
  }

  #connectionFrame({ flags, payload, type }: Frame): void {
    const isReply = (flags & flag.acknowledge) !== 0;
    if (type === frameType.goAway) this.#goAway(payload);
    else if (type === frameType.settings) this.#settings(payload, isReply);
    else if (payload.length !== 8) throw new ConnectionFault(errorCode.frameSizeError, 'PING does not have 8 bytes');
    else if (!isReply) this.#replies.later(encodeFrame(frameType.ping, flag.acknowledge, 0, payload));
  }

  #data(frame: Frame): void {
    const { flags, id, payload } = frame;
    const call = this.#streams.findForAnswer(id);
    const data = withoutPadding(frame);
    const isLast = (flags & flag.end) !== 0;
    const increment = this.#window.take(payload.length);
    if (increment > 0) this.#write([encodeWindowUpdate(0, increment)]);
    if (call === undefined) return;
    const streamIncrement = call.window.take(payload.length);
    if (streamIncrement > 0 && !isLast) this.#write([encodeWindowUpdate(id, streamIncrement)]);
    this.#read(id, () => call.reader.data(data, isLast));
  }

  /** The next part of the header block that has begun. */
  #fields({ flags, id }: Frame, part: Buffer): void {
    const block = this.#block;
    if (block === undefined || block.id !== id) {
      throw new ConnectionFault(errorCode.protocolError, 'CONTINUATION is on another stream');
    }
    block.bytes += part.length;
    if (block.bytes > listBytesMax) throw new ConnectionFault(errorCode.enhanceYourCalm, 'header block is too large');
    const isWhole = (flags & flag.endHeaders) !== 0;
    // Copied if the part has to wait: the bytes may be overwritten.
    block.parts.push(isWhole ? part : Buffer.from(part));
    if (!isWhole) return;
    this.#block = undefined;
    const fields = this.#decode(block.parts.length === 1 ? part : Buffer.concat(block.parts));
    const call = this.#streams.findForAnswer(id);
    if (call !== undefined) this.#read(id, () => call.reader.fields(fields, block.isLast));
  }

  /** Also for a stream that is over: each block changes the table of the connection. */
  #decode(block: Buffer): Field[] {
    try {
      return this.#decoder.decode(block);
    } catch (error) {
      throw new ConnectionFault(errorCode.compressionError, (error as Error).message);
    }
  }

  /** Hands a part of the answer to its reader, and settles the call if the answer is complete or malformed then. */
  #read(id: number, read: () => void): void {
    try {
      read();
    } catch (error) {
      if (!(error instanceof MalformedAnswer)) throw error;
      this.#streams.abandon(id, errorCode.protocolError, new CallError('malformed', error.message));
      return;
    }
    const answer = this.#streams.find(id)?.reader.answer;
    if (answer === undefined) return;
    this.#budget.renew();
    this.#streams.settle(id, undefined, answer);
  }

  #reset(id: number, code: number): void {
    if (this.#streams.find(id) === undefined) return;
    const isUnprocessed = code === errorCode.refusedStream;
    this.#streams.settle(
      id,
      new CallError('reset', `server has reset the stream (${nameOfCode(code)})`, isUnprocessed),
    );
  }

  #settings(payload: Buffer, isReply: boolean): void {
    if (isReply) {
      if (payload.length > 0) throw new ConnectionFault(errorCode.frameSizeError, 'reply to SETTINGS has a payload');
      return;
    }
    for (const [id, value] of readSettings(payload)) {
      if (id === setting.initialWindowSize) this.#streams.outbox.setStreamWindow(value);
      else if (id === setting.frameSizeMax) this.#streams.outbox.setFrameBytes(value);
      else if (id === setting.concurrentStreamsMax) this.#streams.setCallsMax(value);
      else if (id === setting.headerTableSize) {
        if (value < this.#peerTableBytes) this.#streams.shrinkTable();
        this.#peerTableBytes = value;
      }
    }
    this.#replies.now(settingsAcknowledged);
    this.#write(this.#streams.outbox.flush());
    this.#streams.proceed();
  }

  #windowUpdate(id: number, increment: number): void {
    if (increment === 0) throw new ConnectionFault(errorCode.protocolError, 'WINDOW_UPDATE is by 0');
    if (id !== 0) this.#streams.find(id);
    this.#write(this.#streams.outbox.widen(id, increment));
  }

  #goAway(payload: Buffer): void {
    if (payload.length < 8) throw new ConnectionFault(errorCode.frameSizeError, 'GOAWAY is cut short');
    const lastId = payload.readUInt32BE(0) & streamIdMax;
    if (lastId > this.#lastIdTaken)
      throw new ConnectionFault(errorCode.protocolError, 'GOAWAY takes back an earlier one');
    this.#lastIdTaken = lastId;
    const text = payload.toString('latin1', 8, 8 + 100).replaceAll(/[^ -~]/g, '?');
    const reason = [nameOfCode(payload.readUInt32BE(4)), text].filter((part) => part !== '').join(': ');
    this.#streams.stopTaking(lastId, `server is going away (${reason})`);
  }
}

/** The number that a frame of fixed size begins with. */
function numberOf({ payload, type }: Frame, bytes: number): number {
  if (payload.length !== bytes) {
    throw new ConnectionFault(errorCode.frameSizeError, `frame of type ${type} does not have ${bytes} bytes`);
  }
  return payload.readUInt32BE(0);
}
