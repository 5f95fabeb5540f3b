/**
 * A fault proxy for unix and TCP sockets: what can go wrong between two processes, on demand.
 *
 * Each direction can be held, delayed, sliced and cut after so many bytes; faults set apply to
 * connections that are open as well as to those to come. Held means as in a partition: nothing
 * passes, not even that the other side has closed, and the sender meets a full buffer.
 * Sizes and delays are drawn from the seed, so a schedule can be run again; the moments when
 * bytes arrive are the kernel's and cannot.
 */
import { rmSync } from 'node:fs';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProxyOptions {
  /** A socket's path, or `host:port`. */
  readonly to: string;
  /** A socket's path, or `host:port`; a free loopback port by default. */
  readonly listen?: string;
  readonly seed?: number;
}

export interface Direction {
  pause(): void;
  resume(): void;
  /** Every connection is closed once this many more bytes have passed this way, all together. Once. */
  cutAfter(bytes: number): void;
  /** How long each chunk is held back, at least, and at random up to `jitterMs` longer. */
  delayMs: number;
  jitterMs: number;
  /** Forwards pieces of 1 to this many bytes; 0 leaves chunks as they come. */
  sliceBytes: number;
  /** Passed so far. */
  readonly bytes: number;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  /** Which connection, counted from 1. */
  readonly connection: number;
  /** `performance.now()` when its head had been read here; what is held is not read. */
  readonly at: number;
}

export interface Proxy extends AsyncDisposable {
  /** Where it listens, in the form of `to`. */
  readonly address: string;
  /** 0 for a socket's path. */
  readonly port: number;
  readonly toServer: Direction;
  readonly toClient: Direction;
  /** Connections open now. */
  readonly connections: number;
  /** Connections ever accepted. */
  readonly accepted: number;
  /** Each HTTP/1 request seen, in order. */
  readonly log: readonly SeenRequest[];
  /** Both directions. */
  pause(): void;
  resume(): void;
  /** Closes every connection now. */
  cut(): void;
  /** Stops listening, so that new connections are refused; open ones stay. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
  close(): Promise<void>;
}

/** Mulberry32: small, and good enough to draw sizes from. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Flow implements Direction {
  delayMs = 0;
  jitterMs = 0;
  sliceBytes = 0;
  bytes = 0;
  readonly #random: () => number;
  readonly #cut: () => void;
  readonly #sources = new Set<net.Socket>();
  #left = Number.POSITIVE_INFINITY;
  #held: { readonly until: Promise<void>; readonly open: () => void } | undefined;

  constructor(random: () => number, cut: () => void) {
    this.#random = random;
    this.#cut = cut;
  }

  pause(): void {
    if (this.#held !== undefined) return;
    let open = (): void => {};
    const until = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#held = { until, open };
    for (const source of this.#sources) source.pause();
  }

  resume(): void {
    this.#held?.open();
    this.#held = undefined;
    for (const source of this.#sources) source.resume();
  }

  cutAfter(bytes: number): void {
    this.#left = bytes;
    if (bytes === 0) this.#cutNow();
  }

  #cutNow(): void {
    this.#left = Number.POSITIVE_INFINITY;
    this.#cut();
  }

  /** Chunks, the end and a reset pass through one chain, so that they stay in order and a hold holds them all. */
  connect(source: net.Socket, target: net.Socket): void {
    this.#sources.add(source);
    if (this.#held !== undefined) source.pause();
    let chain = Promise.resolve();
    let waiting = 0;
    const add = (step: () => void | Promise<void>, delayMs = 0): void => {
      const due = performance.now() + delayMs;
      chain = chain.then(async () => {
        const leftMs = due - performance.now();
        if (leftMs > 0) await sleep(leftMs);
        await this.#held?.until;
        await step();
      });
    };
    source.on('data', (chunk: Buffer) => {
      waiting += chunk.length;
      if (waiting > 1 << 20) source.pause();
      const delayMs = this.delayMs + this.jitterMs * this.#random();
      add(async () => {
        await this.#forward(chunk, target);
        waiting -= chunk.length;
        if (waiting <= 1 << 20 && this.#held === undefined) source.resume();
      }, delayMs);
    });
    source.on('end', () => add(() => void target.end(), this.delayMs));
    source.on('error', () => {}); // 'close' follows
    source.on('close', () => {
      this.#sources.delete(source);
      add(() => void target.destroySoon(), this.delayMs);
    });
  }

  async #forward(chunk: Buffer, target: net.Socket): Promise<void> {
    for (let offset = 0; offset < chunk.length && !target.destroyed; ) {
      await this.#held?.until;
      const size = this.sliceBytes === 0 ? chunk.length : 1 + Math.floor(this.#random() * this.sliceBytes);
      const piece = chunk.subarray(offset, offset + Math.min(size, this.#left));
      offset += piece.length;
      this.bytes += piece.length;
      this.#left -= piece.length;
      // The callback means that the kernel has it: two pieces are two writes, and a cut loses none.
      await new Promise<void>((resolve) => {
        target.once('close', resolve);
        target.write(piece, () => {
          target.off('close', resolve);
          resolve();
        });
      });
      if (this.#left === 0) this.#cutNow();
    }
  }
}

/** Finds the heads of requests, on a connection that is kept alive too; skips bodies of a stated length. */
function watchRequests(report: (method: string, path: string) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0);
  let skip = 0;
  let readable = true;
  return (chunk) => {
    if (!readable) return;
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      const skipped = Math.min(skip, rest.length);
      rest = rest.subarray(skipped);
      skip -= skipped;
      const end = rest.indexOf('\r\n\r\n');
      if (skip > 0 || end === -1) return;
      const head = rest.toString('latin1', 0, end);
      const [, method, path] = /^([A-Z]+) (\S+) HTTP\/1\.[01](?:\r\n|$)/.exec(head) ?? [];
      if (method === undefined || path === undefined) {
        readable = false; // HTTP/2, or not HTTP
        return;
      }
      report(method, path);
      skip = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
      rest = rest.subarray(end + 4);
    }
  };
}

const endpointOf = (address: string): { path: string } | { host: string; port: number } => {
  if (address.startsWith('/')) return { path: address };
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
};

export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const random = randomFrom(options.seed ?? 1);
  const pairs = new Set<readonly [net.Socket, net.Socket]>();
  const log: SeenRequest[] = [];
  let accepted = 0;
  const cut = (): void => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
  };
  const toServer = new Flow(random, cut);
  const toClient = new Flow(random, cut);

  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const connection = ++accepted;
    const upstream = net.connect({ ...endpointOf(options.to), allowHalfOpen: true, noDelay: true });
    const pair = [client, upstream] as const;
    pairs.add(pair);
    for (const socket of pair) {
      socket.unref(); // a connection left open must not keep the test from ending
      socket.on('close', () => {
        if (client.destroyed && upstream.destroyed) pairs.delete(pair);
      });
    }
    const watch = watchRequests((method, path) => log.push({ method, path, connection, at: performance.now() }));
    client.on('data', watch);
    toServer.connect(client, upstream);
    toClient.connect(upstream, client);
  });
  server.unref();
  const listen = (where: string): Promise<void> =>
    new Promise((resolve, reject) => {
      if (where.startsWith('/')) rmSync(where, { force: true });
      server.once('error', reject);
      server.listen(endpointOf(where), () => {
        server.off('error', reject);
        resolve();
      });
    });
  // Not awaited to the end: that comes only when the open connections, too, are gone.
  const refuse = async (): Promise<void> => {
    if (server.listening) server.close();
  };

  await listen(options.listen ?? '127.0.0.1:0');
  const bound = server.address();
  const address =
    bound === null || typeof bound === 'string' ? (options.listen ?? '') : `${bound.address}:${bound.port}`;

  const proxy: Proxy = {
    address,
    port: bound === null || typeof bound === 'string' ? 0 : bound.port,
    toServer,
    toClient,
    get connections() {
      return pairs.size;
    },
    get accepted() {
      return accepted;
    },
    log,
    pause: () => {
      toServer.pause();
      toClient.pause();
    },
    resume: () => {
      toServer.resume();
      toClient.resume();
    },
    cut,
    refuse,
    accept: async () => {
      if (!server.listening) await listen(address);
    },
    close: async () => {
      await refuse();
      cut();
      proxy.resume();
    },
    [Symbol.asyncDispose]: () => proxy.close(),
  };
  return proxy;
}
