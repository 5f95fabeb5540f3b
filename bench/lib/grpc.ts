/**
 * The least of gRPC and protobuf that etcd needs: calls over node:http2, messages by hand.
 *
 * Field numbers are those of etcd's rpc.proto and kv.proto, which etcd3 brings along. On a small
 * transaction grpc-js spends about a third more CPU than this: a recorder or a floor that used it
 * would measure grpc-js.
 */
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';

/** A field of bytes, text or an inner message. */
export function field(number: number, content: Buffer | string): Buffer {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

/** A field that is a whole number. */
export function numberField(number: number, value: number): Buffer {
  return Buffer.concat([varint(number * 8), varint(value)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

/** The fields of a message, in order. Numbers above 2^53 lose their last digits. */
export function* fields(message: Buffer): Generator<[number: number, value: number, bytes: Buffer]> {
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = next();
    const value = next();
    // Of the other wire types etcd sends none.
    const length = tag % 8 === 2 ? value : 0;
    yield [tag >> 3, value, message.subarray(at, at + length)];
    at += length;
  }
}

/** Opens a call and sends its message; the last, or the first of several. */
export function open(session: ClientHttp2Session, method: string, message: Buffer, last: boolean): ClientHttp2Stream {
  const path = `/etcdserverpb.${method}`;
  const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
  const stream = session.request(headers);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  stream.write(Buffer.concat([head, message]));
  return last ? stream.end() : stream;
}

/** Cuts the body of an answer into its messages. */
export class Messages {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Buffer[] {
    let bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const whole: Buffer[] = [];
    for (let end = endOf(bytes); bytes.length >= end; end = endOf(bytes)) {
      whole.push(bytes.subarray(5, end));
      bytes = bytes.subarray(end);
    }
    this.#rest = bytes;
    return whole;
  }
}

function endOf(bytes: Buffer): number {
  return bytes.length < 5 ? Number.POSITIVE_INFINITY : 5 + bytes.readUInt32BE(1);
}
