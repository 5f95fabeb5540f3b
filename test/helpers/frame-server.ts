/**
 * A server of raw HTTP/2 frames: it says what a test tells it to say, right or wrong.
 *
 * It shares no code with the client: its frames and header blocks are written here. It greets, acknowledges
 * SETTINGS and takes requests, whose body it hands to the test; it sends nothing else by itself.
 */
import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';

export const type = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const end = 0x1;
export const ack = 0x1;
export const endHeaders = 0x4;
export const padded = 0x8;
export const prioritized = 0x20;

export function frame(kind: number, flags: number, id: number, payload: Buffer | string = ''): Buffer {
  const content = Buffer.from(payload);
  const head = Buffer.alloc(9);
  head.writeUIntBE(content.length, 0, 3);
  head[3] = kind;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, content]);
}

export function uint32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index);
  return bytes;
}

export function settings(values: Readonly<Record<number, number>>): Buffer {
  return Buffer.concat(
    Object.entries(values).map(([id, value]) => Buffer.concat([Buffer.from([0, Number(id)]), uint32(value)])),
  );
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  const size: number[] = [];
  let rest = bytes.length;
  if (rest < 127) size.push(rest);
  else {
    size.push(127);
    for (rest -= 127; rest > 127; rest >>= 7) size.push((rest & 127) | 128);
    size.push(rest);
  }
  return Buffer.concat([Buffer.from(size), bytes]);
}

/** A header block of literals; with `isIndexed` the reader puts each into its table. */
export function block(fields: readonly (readonly [string, string])[], isIndexed = false): Buffer {
  const kind = Buffer.from([isIndexed ? 0x40 : 0]);
  return Buffer.concat(fields.flatMap(([name, value]) => [kind, text(name), text(value)]));
}

/** Header blocks by way of the reader's dynamic table, as a server of gRPC writes them. One for each connection. */
export class TableEncoder {
  /** The newest first. */
  readonly #table: (readonly [string, string])[] = [];
  #bytes = 0;

  encode(fields: readonly (readonly [string, string])[]): Buffer {
    return Buffer.concat(fields.map((field) => this.#encode(field)));
  }

  #encode(field: readonly [string, string]): Buffer {
    const at = this.#table.findIndex(([name, value]) => name === field[0] && value === field[1]);
    if (at >= 0) return at + 62 < 127 ? Buffer.from([0x80 | (at + 62)]) : Buffer.from([0xff, at + 62 - 127]);
    this.#table.unshift(field);
    this.#bytes += field[0].length + field[1].length + 32;
    while (this.#bytes > 4_096) {
      const [name, value] = this.#table.pop() ?? ['', ''];
      this.#bytes -= name.length + value.length + 32;
    }
    return block([field], true);
  }
}

export const ok = block([[':status', '200']]);
export const trailers = block([['grpc-status', '0']]);

/** A whole answer: headers, one piece of body, trailers. */
export function answer(id: number, body: Buffer | string = 'ok'): Buffer {
  return Buffer.concat([
    frame(type.headers, endHeaders, id, ok),
    frame(type.data, 0, id, body),
    frame(type.headers, endHeaders | end, id, trailers),
  ]);
}

export interface Received {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

export interface Peer {
  readonly socket: Socket;
  /** Frames of the client, in order. */
  readonly received: Received[];
  send(...bytes: readonly Buffer[]): void;
  /** Sends bytes in pieces, cut at these places. What else is sent meanwhile goes out behind them. */
  sendInPieces(bytes: Buffer, cuts: readonly number[]): Promise<void>;
}

export interface FrameServer extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** One for each connection ever accepted. */
  readonly peers: Peer[];
}

export interface FrameServerOptions {
  /** Sent as the first thing; by default SETTINGS without any, and a window of nearly 2^31. */
  readonly greeting?: Buffer;
  /** Called with each frame of a client. */
  readonly onFrame?: (peer: Peer, received: Received) => void;
}

export const greeting = Buffer.concat([
  frame(type.settings, 0, 0, settings({ 4: 1 << 24 })),
  frame(type.windowUpdate, 0, 0, uint32(2 ** 31 - 1 - 65_535)),
]);

const prefaceBytes = 24;

function peerOf(socket: Socket, received: Received[]): Peer {
  let held: Buffer[] | undefined;
  return {
    socket,
    received,
    send: (...bytes) => {
      if (held === undefined) socket.write(Buffer.concat(bytes));
      else held.push(...bytes);
    },
    sendInPieces: async (bytes, cuts) => {
      held = [];
      let at = 0;
      for (const cut of cuts) {
        socket.write(bytes.subarray(at, cut));
        at = cut;
        await new Promise((resolve) => setImmediate(resolve));
      }
      socket.write(Buffer.concat([bytes.subarray(at), ...held]));
      held = undefined;
    },
  };
}

/** `onRequest` is called once a request is complete. */
export async function startFrameServer(
  onRequest: (peer: Peer, id: number, body: Buffer) => void,
  options: FrameServerOptions = {},
): Promise<FrameServer> {
  const peers: Peer[] = [];
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {});
    const received: Received[] = [];
    const peer = peerOf(socket, received);
    peers.push(peer);
    const bodies = new Map<number, Buffer[]>();
    let rest: Buffer = Buffer.alloc(0);
    let skip = prefaceBytes;
    peer.send(options.greeting ?? greeting);
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      if (rest.length < skip) return;
      rest = rest.subarray(skip);
      skip = 0;
      for (;;) {
        if (rest.length < 9 || rest.length < 9 + rest.readUIntBE(0, 3)) return;
        const length = rest.readUIntBE(0, 3);
        const one = {
          type: rest[3] ?? 0,
          flags: rest[4] ?? 0,
          id: rest.readUInt32BE(5),
          payload: rest.subarray(9, 9 + length),
        };
        rest = rest.subarray(9 + length);
        received.push(one);
        options.onFrame?.(peer, one);
        if (one.type === type.settings && (one.flags & ack) === 0) peer.send(frame(type.settings, ack, 0));
        if (one.type !== type.data) continue;
        const body = bodies.get(one.id) ?? [];
        bodies.set(one.id, body);
        body.push(one.payload);
        if ((one.flags & end) === 0) continue;
        bodies.delete(one.id);
        onRequest(peer, one.id, Buffer.concat(body));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    peers,
    async [Symbol.asyncDispose]() {
      for (const { socket } of peers) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
