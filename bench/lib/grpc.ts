/**
 * The least of gRPC and protobuf that etcd needs: calls over node:http2, messages by hand.
 *
 * Field numbers are those of etcd's own rpc.proto and kv.proto (they are shipped with etcd3). A
 * grpc-js client spends about a third more CPU on a small transaction than this, so a recorder or a
 * floor that used it would measure grpc-js.
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
  const none = message.subarray(0, 0);
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
    if (tag % 8 === 0) {
      yield [tag >> 3, next(), none];
    } else if (tag % 8 === 2) {
      const length = next();
      at += length;
      yield [tag >> 3, length, message.subarray(at - length, at)];
    } else {
      throw new Error(`Wire type ${tag % 8} is not one that etcd sends`);
    }
  }
}

/** Opens a call and sends its (first) message. */
export function open(session: ClientHttp2Session, method: string, message: Buffer, last: boolean): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': `/etcdserverpb.${method}`,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  const framed = Buffer.concat([head, message]);
  if (last) stream.end(framed);
  else stream.write(framed);
  return stream;
}

/** Cuts the body of an answer into its messages. */
export class Messages {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Buffer[] {
    let bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const whole: Buffer[] = [];
    while (bytes.length >= 5) {
      const end = 5 + bytes.readUInt32BE(1);
      if (bytes.length < end) break;
      whole.push(bytes.subarray(5, end));
      bytes = bytes.subarray(end);
    }
    this.#rest = bytes;
    return whole;
  }
}
