/**
 * A small HTTP/1.1 server over `node:net`: prepared messages out, request lines in.
 *
 * A connection answers one request at a time, in order; what a client sends ahead waits in its
 * buffer. A reply is a whole message (head and body in one buffer, made once and sent many times)
 * or a chunked stream. Request headers are searched for the end of the head, for a body (refused:
 * there is nothing here to send one to) and for `Connection: close`, and otherwise not looked at.
 *
 * Why not node:http: on one core it answers 7,600 inspects a second where this answers 56,000
 * (bench/engine/rate.ts), and the engine has to stay cheaper than what it is there to load.
 */
import { lstatSync, renameSync, unlinkSync } from 'node:fs';
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net';

export type Address = { readonly socketPath: string } | { readonly port: number };
export type Handler = (method: string, target: string, reply: Reply) => void;

/** Where the answer to one request goes. After the connection is gone every call is ignored. */
export interface Reply {
  /** Sends a prepared message, see `message`. */
  send(message: Buffer): void;
  /** Sends bytes as they are and ends the connection, whatever the head has promised. */
  tear(bytes: Buffer): void;
  /** Begins a chunked answer that ends with the connection or by `end`. `onClose` runs once. */
  stream(head: Buffer, onClose: () => void): ChunkedBody;
}

export interface ChunkedBody {
  /** Sends chunks made by `chunk`. */
  write(chunks: Buffer): void;
  /** Ends the body as a whole, or, torn, ends the connection without the closing chunk. */
  end(torn?: 'torn'): void;
  /** Bytes that the reader has not taken yet. */
  readonly backlogBytes: number;
}

const headBytesMax = 16_384;
const lastChunk = Buffer.from('0\r\n\r\n');

/** A whole answer in one buffer. */
export function message(status: string, headers: string, body: string | Buffer): Buffer {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status}\r\n${headers}Content-Length: ${bytes.length}\r\n\r\n`), bytes]);
}

/** The head of a chunked answer. */
export function streamHead(status: string, headers: string): Buffer {
  return Buffer.from(`HTTP/1.1 ${status}\r\n${headers}Transfer-Encoding: chunked\r\n\r\n`);
}

export function chunk(payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${payload.length.toString(16)}\r\n`), payload, Buffer.from('\r\n')]);
}

export class HttpServer {
  readonly #handler: Handler;
  readonly #connections = new Set<Connection>();
  #server: Server | undefined;
  #address: Address | undefined;

  constructor(handler: Handler) {
    this.#handler = handler;
  }

  /** The port listened on, where it is one. */
  get port(): number | undefined {
    const address = this.#server?.address();
    return address && typeof address === 'object' ? address.port : undefined;
  }

  async listen(address: Address): Promise<void> {
    if (this.#server) throw new Error('Already listening');
    const server = createServer((socket) => {
      const connection = new Connection(socket, this.#handler);
      this.#connections.add(connection);
      socket.once('close', () => this.#connections.delete(connection));
    });
    const options: ListenOptions =
      'port' in address ? { host: '127.0.0.1', port: address.port } : { path: address.socketPath };
    // As dockerd does: a socket left behind by a killed process is removed.
    if ('socketPath' in address && lstatSync(address.socketPath, { throwIfNoEntry: false })?.isSocket()) {
      unlinkSync(address.socketPath);
    }
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ ...options, backlog: 1024 }, resolve);
    });
    this.#server = server;
    // A port given as 0 is kept, so that the server returns where its clients look for it.
    this.#address = 'port' in address ? { port: this.port ?? address.port } : address;
  }

  /**
   * Ends every connection and stops listening. `stale` leaves a unix socket's file behind, as a
   * killed daemon does, so that clients are refused instead of finding nothing.
   */
  async close(leaves: 'nothing' | 'stale' = 'nothing'): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    const path = this.#address && 'socketPath' in this.#address ? this.#address.socketPath : undefined;
    // libuv unlinks the path it has bound, so the file is out of its sight for that moment.
    if (path && leaves === 'stale') renameSync(path, `${path}.kept`);
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const connection of this.#connections) connection.destroy();
    await closed;
    if (path && leaves === 'stale') renameSync(`${path}.kept`, path);
  }

  /** Listens again where it did. */
  async reopen(): Promise<void> {
    if (!this.#address) throw new Error('Has not listened before');
    await this.listen(this.#address);
  }

  /** Takes away what `close('stale')` has left. */
  removeStale(): void {
    if (this.#server || !this.#address || !('socketPath' in this.#address)) return;
    if (lstatSync(this.#address.socketPath, { throwIfNoEntry: false })?.isSocket()) {
      unlinkSync(this.#address.socketPath);
    }
  }
}

const badRequest = message('400 Bad Request', 'Connection: close\r\n', '');
const headTooLarge = message('431 Request Header Fields Too Large', 'Connection: close\r\n', '');
const unusual = /\r\n(?:content-length: *[^0 ]|transfer-encoding:|connection: *close)/i;

class Connection implements Reply {
  readonly #socket: Socket;
  readonly #handler: Handler;
  #waiting: Buffer | undefined;
  #busy = false;
  #serving = false;
  #last = false;

  constructor(socket: Socket, handler: Handler) {
    this.#socket = socket;
    this.#handler = handler;
    socket.setNoDelay(true);
    socket.on('error', () => {
      // A client that goes away mid-answer is no event here; `close` follows.
    });
    socket.on('data', (bytes: Buffer) => {
      this.#waiting = this.#waiting ? Buffer.concat([this.#waiting, bytes]) : bytes;
      if (!this.#busy) this.#serve();
      else if (this.#waiting.length > 4 * headBytesMax) socket.destroy();
    });
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Answers the waiting requests until one takes its time or none is whole. */
  #serve(): void {
    // A handler that replies at once comes back through `#done`; the loop goes on, not one frame deeper.
    if (this.#serving) return;
    this.#serving = true;
    while (this.#waiting && !this.#busy && !this.#last && this.#serveOne(this.#waiting));
    this.#serving = false;
  }

  /** False when there is no whole request in `bytes`, or none to answer. */
  #serveOne(bytes: Buffer): boolean {
    const end = bytes.indexOf('\r\n\r\n');
    if (end > headBytesMax || (end < 0 && bytes.length > headBytesMax)) return this.#refuse(headTooLarge);
    if (end < 0) return false;
    this.#waiting = end + 4 < bytes.length ? bytes.subarray(end + 4) : undefined;
    const head = bytes.toString('latin1', 0, end);
    const lineEnd = head.indexOf('\r\n');
    const line = lineEnd < 0 ? head : head.slice(0, lineEnd);
    const first = line.indexOf(' ');
    const second = line.lastIndexOf(' ');
    if (second <= first || !line.startsWith('HTTP/1.', second + 1)) return this.#refuse(badRequest);
    if (unusual.test(head)) {
      if (!/\r\nconnection: *close/i.test(head)) return this.#refuse(badRequest);
      this.#last = true;
    }
    this.#busy = true;
    this.#handler(line.slice(0, first), line.slice(first + 1, second), this);
    return true;
  }

  #refuse(answer: Buffer): false {
    this.tear(answer);
    return false;
  }

  #done(): void {
    this.#busy = false;
    if (this.#last) this.#socket.end();
    else if (this.#waiting) this.#serve();
  }

  send(bytes: Buffer): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(bytes);
    this.#done();
  }

  tear(bytes: Buffer): void {
    this.#last = true;
    this.#socket.end(bytes, () => this.#socket.destroy());
  }

  stream(head: Buffer, onClose: () => void): ChunkedBody {
    const socket = this.#socket;
    let over = socket.destroyed;
    const close = (): void => {
      if (over) return;
      over = true;
      onClose();
    };
    if (over) onClose();
    else socket.once('close', close).write(head);
    return {
      write: (chunks) => {
        if (!over) socket.write(chunks);
      },
      end: (torn) => {
        if (over) return;
        socket.off('close', close);
        close();
        if (torn) {
          this.tear(Buffer.alloc(0));
        } else {
          socket.write(lastChunk);
          this.#done();
        }
      },
      get backlogBytes() {
        return socket.writableLength;
      },
    };
  }
}
