/**
 * The listener of DNS: one address, over UDP and TCP, and limits on what clients can make it do.
 *
 * - A client that asks too often gets no answer over UDP, and its connection is closed over TCP.
 * - An answer over UDP has at most 512 bytes, or as many as the client says that it can take, up to 1,232; on this machine,
 *   where no packet can be fragmented or forged from outside, up to 8,192. Longer answers say that they are truncated.
 * - Connections are limited in number, in time and in bytes that wait for a reader that does not read.
 *
 * The listener opens before there is an answer, so that a process that cannot listen ends before it claims its host.
 * Until `serve` is called, it says nothing. Another `serve` takes over.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import type { Config } from '../config/options.ts';
import { DiscoverError, messageOf } from '../errors.ts';
import { Answerer, type Source, type ZoneOptions } from './answer.ts';
import { Limits } from './limits.ts';
import { type Rcode, rcodes, read, udpBytesOf, write } from './packet.ts';

export type Listen = NonNullable<Config['dns']>['listen'];

const udpBytesMax = 1_232;
const loopbackBytesMax = 8_192;
const connectionsMax = 64;
const idleMs = 10_000;
/** No query is longer. */
const queryBytesMax = 4_096;
const unreadBytesMax = 256 << 10;
/** Datagrams that may wait while the process is busy. */
const receiveBytes = 1 << 20;

export const outcomes = [
  'answered',
  'empty',
  'nxdomain',
  'truncated',
  'refused',
  'malformed',
  'unsupported',
  'unavailable',
  'limited',
] as const;
export type Outcome = (typeof outcomes)[number];
export type Outcomes = Record<Outcome, number>;

/** Queries by their outcome, since the start. */
export const noOutcomes = (): Outcomes => Object.fromEntries(outcomes.map((name) => [name, 0])) as Outcomes;

export class DnsListener {
  readonly #where: Listen;
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  #resolver: Resolver | undefined;

  private constructor(where: Listen) {
    this.#where = where;
    this.#udp = createSocket({ type: where.host.includes(':') ? 'udp6' : 'udp4', recvBufferSize: receiveBytes });
    this.#udp.on('message', (bytes, from) => this.#overUdp(bytes, from));
    this.#tcp = createServer((socket) => this.#connected(socket));
  }

  /** Rejects with `LISTEN_FAILED`, which names the option. */
  static async open(where: Listen): Promise<DnsListener> {
    const listener = new DnsListener(where);
    try {
      const port = await listening(listener.#tcp, where);
      await bound(listener.#udp, { ...where, port });
    } catch (error) {
      listener.#tcp.close();
      listener.#udp.close();
      throw new DiscoverError('LISTEN_FAILED', `dns.listen: cannot listen at ${nameOf(where)}: ${messageOf(error)}`);
    }
    return listener;
  }

  get name(): string {
    return nameOf(this.#where);
  }

  /** The port at which it listens, as the system reports it. */
  get port(): number {
    return this.#udp.address().port;
  }

  serve(resolver: Resolver): void {
    this.#resolver = resolver;
  }

  /** Ends all connections. */
  close(): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    return new Promise((resolve) => {
      this.#tcp.close(() => this.#udp.close(() => resolve()));
    });
  }

  #overUdp(bytes: Buffer, { address, port }: RemoteInfo): void {
    const answer = this.#resolver?.resolve(bytes, address, isLoopback(address) ? loopbackBytesMax : udpBytesMax);
    // A client that has gone is no concern of others.
    if (answer !== undefined) this.#udp.send(answer, port, address, () => {});
  }

  #connected(socket: Socket): void {
    if (this.#connections.size >= connectionsMax) {
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    let waiting = Buffer.alloc(0);
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('data', (bytes) => {
      waiting = waiting.length === 0 ? bytes : Buffer.concat([waiting, bytes]);
      while (waiting.length >= 2 && !socket.destroyed) {
        const length = waiting.readUInt16BE(0);
        if (length > queryBytesMax) socket.destroy();
        if (waiting.length < length + 2) break;
        this.#overTcp(socket, waiting.subarray(2, length + 2));
        waiting = waiting.subarray(length + 2);
      }
    });
  }

  #overTcp(socket: Socket, bytes: Buffer): void {
    const answer = this.#resolver?.resolve(bytes, socket.remoteAddress ?? '', 'tcp');
    if (answer === undefined || socket.writableLength > unreadBytesMax) {
      socket.destroy();
      return;
    }
    const length = Buffer.alloc(2);
    length.writeUInt16BE(answer.length, 0);
    socket.write(Buffer.concat([length, answer]));
  }
}

/** Answers packets and counts what became of them. */
export class Resolver {
  readonly outcomes: Outcomes = noOutcomes();
  readonly #answerer: Answerer;
  readonly #limits: Limits;

  constructor(source: Source, options: ZoneOptions & { readonly rate: number }) {
    this.#answerer = new Answerer(source, options);
    this.#limits = new Limits(options.rate);
  }

  /** Undefined: there is no answer, because the client asks too often or the packet is no query. */
  resolve(bytes: Buffer, client: string, limit: number | 'tcp'): Buffer | undefined {
    if (!this.#limits.take(client, performance.now())) {
      this.outcomes.limited++;
      return undefined;
    }
    const received = read(bytes);
    if (received.kind !== 'query') {
      this.outcomes[received.kind === 'mistake' && received.rcode === rcodes.notImp ? 'unsupported' : 'malformed']++;
      return received.kind === 'none' ? undefined : received.answer;
    }
    const { query } = received;
    const answer = this.#answerer.answer(query);
    const written = write(query, answer, limit === 'tcp' ? Number.POSITIVE_INFINITY : udpBytesOf(query, limit));
    this.outcomes[written.isTruncated ? 'truncated' : outcomeOf(answer.rcode, answer.answers.length)]++;
    return written.bytes;
  }
}

function outcomeOf(rcode: Rcode, answers: number): Outcome {
  if (rcode === rcodes.noError) return answers > 0 ? 'answered' : 'empty';
  if (rcode === rcodes.nxDomain) return 'nxdomain';
  if (rcode === rcodes.servFail) return 'unavailable';
  return rcode === rcodes.refused ? 'refused' : 'unsupported';
}

const isLoopback = (address: string): boolean => /^(?:127\.|::1$|::ffff:127\.)/.test(address);

const nameOf = ({ host, port }: Listen): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;

function listening(server: Server, { host, port }: Listen): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      // An error such as a lack of descriptors concerns one client, and is over in a moment.
      server.on('error', () => {});
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}

function bound(socket: UdpSocket, { host, port }: Listen): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address: host, port }, () => {
      socket.off('error', reject);
      socket.on('error', () => {});
      resolve();
    });
  });
}
