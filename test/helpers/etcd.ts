/**
 * A real etcd of the test's own: one node or three, on loopback ports that were free, with data
 * that is deleted on close.
 *
 * Reads and the recorder speak JSON to etcd's own gateway instead of using the etcd3 package: a
 * fault in the client under test cannot then hide itself from the test.
 *
 * A node that is killed comes back, by `restart`, on the same ports and data.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { eventually } from './eventually.ts';
import {
  abandoned,
  atExit,
  cleanEnvironment,
  exitOf,
  killProcessesOf,
  requireCommand,
  scratchDirectory,
} from './run.ts';

export interface EtcdOptions {
  readonly nodes?: 1 | 3;
  /** Kept on close when given. */
  readonly dataDir?: string;
  readonly quotaBytes?: number;
  /** Client port of the first node. */
  readonly port?: number;
  /** Another etcd than this machine's own. */
  readonly program?: string;
  /** Appended to etcd's own arguments; the last one of a name wins. */
  readonly args?: readonly string[];
  /**
   * Milliseconds; the election timeout is ten times it. Default 10 for one node, which then is
   * ready in 0.1 s rather than 1 s, and etcd's own 100 for three, which a busy machine needs.
   */
  readonly heartbeat?: number;
}

export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Decimal, as the etcd3 package writes it; '0' is none. */
  readonly lease: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
}

export interface Change {
  readonly kind: 'put' | 'delete';
  readonly key: string;
  /** Empty for a delete. */
  readonly value: string;
  /** The value before, undefined where the key did not exist. */
  readonly previous: string | undefined;
  /** The lease of a put; of a delete, the one the key had. Decimal, '0' is none. */
  readonly lease: string;
  readonly revision: number;
  /** `performance.now()` when it arrived here. */
  readonly at: number;
}

export interface Recorder extends AsyncDisposable {
  /** What was there before the first change. */
  readonly initial: ReadonlyMap<string, string>;
  /** Every change since, in order of revision; grows while the test runs. */
  readonly changes: readonly Change[];
  /** Resolves when everything committed before this call is in `changes`. */
  settled(): Promise<void>;
  /** What was there at the revision, as far as recorded. */
  at(revision: number): Map<string, string>;
  close(): Promise<void>;
}

/** `node` picks one of three by its index; without it, all of them. */
export interface EtcdServer extends AsyncDisposable {
  readonly endpoints: readonly string[];
  /** The first of them. */
  readonly endpoint: string;
  readonly ports: readonly number[];
  readonly pids: readonly number[];
  readonly dataDir: string;
  /** SIGTERM; resolves when it has ended. */
  stop(node?: number): Promise<void>;
  /** SIGKILL; resolves when it has ended. */
  kill(node?: number): Promise<void>;
  pause(node?: number): void;
  resume(node?: number): void;
  /** Starts what does not run, on the same ports and data, and waits until it answers. */
  restart(node?: number): Promise<void>;
  /** Index of the leader. */
  leader(): Promise<number>;
  /** Runs etcdctl and returns what it wrote to stdout. */
  ctl(...args: readonly string[]): Promise<string>;
  /** All of it in one transaction. */
  put(entries: ReadonlyMap<string, string>): Promise<void>;
  get(prefix: string): Promise<Map<string, string>>;
  entries(prefix: string, revision?: number): Promise<Entry[]>;
  /** Key to lease, decimal, of the keys that hang on one. */
  keysWithLease(prefix: string): Promise<Map<string, string>>;
  revision(): Promise<number>;
  /** Records from now, or from the given revision on. */
  record(prefix: string, fromRevision?: number): Promise<Recorder>;
  /** Kills it and deletes the data. */
  close(): Promise<void>;
}

interface Node {
  readonly port: number;
  readonly peerPort: number;
  readonly directory: string;
  readonly args: readonly string[];
  child: ChildProcess | undefined;
}

const run = promisify(execFile);

export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdServer> {
  const { nodes: count = 1, quotaBytes, heartbeat = count === 1 ? 10 : 100, args = [] } = options;
  const program = options.program ?? requireCommand('etcd');
  const parent = scratchParent();
  for (const directory of abandoned('etcd', parent)) {
    killProcessesOf(directory, ['etcd']);
    rmSync(directory, { recursive: true, force: true });
  }
  const scratch = scratchDirectory('etcd', parent);
  const dataDir = options.dataDir ?? scratch;
  const ports = await freePorts(count * 2);
  if (options.port !== undefined) ports[0] = options.port;
  const numbers = Array.from({ length: count }, (_, index) => index);
  const clientPorts = numbers.map((index) => ports[index] ?? 0);
  const peerPorts = numbers.map((index) => ports[count + index] ?? 0);
  const endpoints = clientPorts.map((port) => `http://127.0.0.1:${port}`);
  const cluster = peerPorts.map((port, index) => `n${index}=http://127.0.0.1:${port}`).join(',');
  const nodes: Node[] = numbers.map((index) => {
    const [port = 0, peerPort = 0] = [clientPorts[index], peerPorts[index]];
    const directory = path.join(dataDir, `n${index}`);
    const own: Record<string, string> = {
      name: `n${index}`,
      'data-dir': directory,
      'listen-client-urls': `http://127.0.0.1:${port}`,
      'advertise-client-urls': `http://127.0.0.1:${port}`,
      'listen-peer-urls': `http://127.0.0.1:${peerPort}`,
      'initial-advertise-peer-urls': `http://127.0.0.1:${peerPort}`,
      'initial-cluster': cluster,
      'initial-cluster-token': path.basename(scratch),
      'heartbeat-interval': String(heartbeat),
      'election-timeout': String(heartbeat * 10),
      // The lowest cost that etcd allows: each login hashes a password.
      'bcrypt-cost': '4',
      ...(quotaBytes === undefined ? {} : { 'quota-backend-bytes': String(quotaBytes) }),
    };
    const flags = Object.entries(own).map(([name, value]) => `--${name}=${value}`);
    return { port, peerPort, directory, args: [...flags, ...args], child: undefined };
  });

  const pick = (node?: number): Node[] => {
    const picked = node === undefined ? nodes : nodes.slice(node, node + 1);
    if (picked.length === 0) throw new Error(`No node ${node}: there are ${nodes.length}`);
    return picked;
  };
  const log = path.join(scratch, 'log');
  // etcd 3.4 starts on arm64 only when told that this is meant.
  const env = cleanEnvironment(process.arch === 'x64' ? {} : { ETCD_UNSUPPORTED_ARCH: process.arch });
  const launch = (node: Node): void => {
    mkdirSync(node.directory, { recursive: true, mode: 0o700 });
    const output = openSync(log, 'a');
    node.child = spawn(program, node.args, { stdio: ['ignore', output, output], env });
    closeSync(output);
    node.child.unref(); // one that was forgotten must not keep the test from ending; atExit ends it
  };
  const isRunning = (node: Node): boolean => node.child?.exitCode === null && node.child.signalCode === null;
  const end = async (picked: readonly Node[], signal: NodeJS.Signals): Promise<void> => {
    const running = picked.filter(isRunning).flatMap((node) => node.child ?? []);
    const exits = running.map(exitOf);
    for (const child of running) {
      child.ref();
      child.kill(signal);
    }
    await Promise.all(exits);
  };
  const ready = (picked: readonly Node[]): Promise<unknown> =>
    Promise.all(
      picked.map((node) =>
        eventually(
          async () => {
            if (!isRunning(node)) return false;
            await post([`http://127.0.0.1:${node.port}`], '/v3/kv/range', { key: encode('\0') });
            return true;
          },
          { everyMs: 10 },
        ).then((answered) => {
          if (!answered) throw new Error(`etcd has ended. Its log:\n${readFileSync(log, 'utf8').slice(-3000)}`);
        }),
      ),
    );
  const eraseNow = (): void => {
    for (const node of nodes) node.child?.kill('SIGKILL');
    rmSync(scratch, { recursive: true, force: true });
  };
  const forget = atExit(eraseNow);
  const recorders = new Set<Recorder>();

  const server: EtcdServer = {
    endpoints,
    endpoint: endpoints[0] ?? '',
    ports: clientPorts,
    get pids() {
      return nodes.map((node) => node.child?.pid ?? -1);
    },
    dataDir,
    stop: (node) => end(pick(node), 'SIGTERM'),
    kill: (node) => end(pick(node), 'SIGKILL'),
    pause: (node) => {
      for (const one of pick(node)) one.child?.kill('SIGSTOP');
    },
    resume: (node) => {
      for (const one of pick(node)) one.child?.kill('SIGCONT');
    },
    restart: async (node) => {
      for (const one of pick(node)) if (!isRunning(one)) launch(one);
      await ready(pick(node));
    },
    leader: async () => {
      const statuses = await Promise.all(
        endpoints.map((endpoint) =>
          post<{ leader?: string; header: { member_id: string } }>([endpoint], '/v3/maintenance/status', {}).catch(
            () => undefined,
          ),
        ),
      );
      const index = statuses.findIndex((status) => status?.leader === status?.header.member_id && status !== undefined);
      if (index === -1) throw new Error('No node says that it leads');
      return index;
    },
    ctl: async (...ctlArgs) => {
      const { stdout } = await run(
        requireCommand('etcdctl'),
        [`--endpoints=${endpoints.join(',')}`, '--command-timeout=60s', ...ctlArgs],
        {
          env: cleanEnvironment({ ETCDCTL_API: '3' }),
          maxBuffer: 1 << 28,
        },
      );
      return stdout;
    },
    put: async (entries) => {
      const success = [...entries].map(([key, value]) => ({ request_put: { key: encode(key), value: encode(value) } }));
      await post(endpoints, '/v3/kv/txn', { success });
    },
    entries: async (prefix, revision) => (await readPrefix(endpoints, prefix, revision)).entries,
    get: async (prefix) => new Map((await server.entries(prefix)).map(({ key, value }) => [key, value])),
    keysWithLease: async (prefix) =>
      new Map(
        (await server.entries(prefix)).filter(({ lease }) => lease !== '0').map(({ key, lease }) => [key, lease]),
      ),
    revision: () => currentRevision(endpoints),
    record: async (prefix, fromRevision) => {
      const recorder = await startRecorder(endpoints, prefix, fromRevision);
      recorders.add(recorder);
      return recorder;
    },
    close: async () => {
      for (const recorder of recorders) await recorder.close();
      await end(nodes, 'SIGKILL');
      eraseNow();
      forget();
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
  try {
    await server.restart();
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}

// Memory, where there is enough of it: etcd prepares 128 MB of log per node and syncs each write.
export function scratchParent(): string {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm');
    if (bavail * bsize > 2 ** 30) return '/dev/shm';
  } catch {
    // Not Linux.
  }
  return os.tmpdir();
}

/**
 * Ports nobody listens on. Not from the kernel's ephemeral range (32768 up): there an outgoing
 * connection or a container's published port could take the port of an etcd that is down.
 */
async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = 15_000 + Math.floor(Math.random() * 17_000);
    const free = await new Promise<boolean>((resolve) => {
      const probe = net.createServer();
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) found.add(port);
  }
  return [...found];
}

const encode = (text: string): string => Buffer.from(text).toString('base64');
const decode = (text = ''): string => Buffer.from(text, 'base64').toString();
const everything = { key: encode('\0'), range_end: encode('\0') };

interface WireEntry {
  readonly key: string;
  readonly value?: string;
  readonly lease?: string;
  readonly create_revision?: string;
  readonly mod_revision: string;
  readonly version?: string;
}

const toEntry = (wire: WireEntry): Entry => ({
  key: decode(wire.key),
  value: decode(wire.value),
  lease: wire.lease ?? '0',
  createRevision: Number(wire.create_revision ?? 0),
  modRevision: Number(wire.mod_revision),
  version: Number(wire.version ?? 0),
});

/** Asks the endpoints in turn, for as long as none answers that it has done it; throws what the last one said. */
async function post<T>(endpoints: readonly string[], route: string, body: object): Promise<T> {
  let lastError: unknown;
  for (const endpoint of endpoints) {
    try {
      return await new Promise<T>((resolve, reject) => {
        const signal = AbortSignal.timeout(5000);
        const request = http.request(endpoint + route, { method: 'POST', agent: false, signal }, (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (part: string) => {
            text += part;
          });
          response.on('error', reject);
          response.on('end', () => {
            if (response.statusCode === 200) resolve(JSON.parse(text) as T);
            else reject(new Error(`etcd answered ${response.statusCode} to ${route}: ${text}`));
          });
        });
        request.on('error', reject);
        request.end(JSON.stringify(body));
      });
    } catch (error) {
      lastError = error;
    }
  }
  throw lastError;
}

function rangeOf(prefix: string): { key: string; range_end: string } {
  if (prefix === '') return everything;
  const end = Buffer.from(prefix);
  end.writeUInt8(end.readUInt8(end.length - 1) + 1, end.length - 1); // no prefix of ours ends in 0xff
  return { key: encode(prefix), range_end: end.toString('base64') };
}

async function readPrefix(
  endpoints: readonly string[],
  prefix: string,
  revision?: number,
): Promise<{ revision: number; entries: Entry[] }> {
  const answer = await post<{ header: { revision: string }; kvs?: WireEntry[] }>(endpoints, '/v3/kv/range', {
    ...rangeOf(prefix),
    ...(revision === undefined ? {} : { revision: String(revision) }),
  });
  return { revision: Number(answer.header.revision), entries: (answer.kvs ?? []).map(toEntry) };
}

async function currentRevision(endpoints: readonly string[]): Promise<number> {
  const answer = await post<{ header: { revision: string } }>(endpoints, '/v3/kv/range', { key: encode('\0') });
  return Number(answer.header.revision);
}

interface WatchEvent {
  readonly type?: 'DELETE';
  readonly kv: WireEntry;
  readonly prev_kv?: WireEntry;
}

interface WatchAnswer {
  readonly result?: {
    readonly created?: boolean;
    readonly canceled?: boolean;
    readonly compact_revision?: string;
    readonly cancel_reason?: string;
    readonly events?: readonly WatchEvent[];
  };
  readonly error?: unknown;
}

/**
 * Watches the whole store, whatever the prefix, from a revision that it names itself: so it sees
 * each revision there is, knows from the last one whether it has everything, and after any cut
 * asks again from exactly the next. It never has to guess whether an event was lost.
 *
 * Compaction under it is an error: the history of the test would have a hole.
 */
async function startRecorder(endpoints: readonly string[], prefix: string, from?: number): Promise<Recorder> {
  // Revision 1 is the empty store, and 0 would mean the newest.
  const snapshot =
    from !== undefined && from <= 2
      ? { revision: 1, entries: [] }
      : await readPrefix(endpoints, prefix, from === undefined ? undefined : from - 1);
  const initial = new Map(snapshot.entries.map(({ key, value }) => [key, value]));
  const changes: Change[] = [];
  let seen = from === undefined ? snapshot.revision : Math.max(from - 1, 1);
  let failure: Error | undefined;
  let closed = false;
  let attempts = 0;
  let request: http.ClientRequest | undefined;
  let retry: NodeJS.Timeout | undefined;

  const take = (events: readonly WatchEvent[]): void => {
    for (const event of events) {
      const entry = toEntry(event.kv);
      seen = entry.modRevision;
      if (!entry.key.startsWith(prefix)) continue;
      const previous = event.prev_kv === undefined ? undefined : toEntry(event.prev_kv);
      changes.push({
        kind: event.type === 'DELETE' ? 'delete' : 'put',
        key: entry.key,
        value: entry.value,
        previous: previous?.value,
        lease: (event.type === 'DELETE' ? previous?.lease : entry.lease) ?? '0',
        revision: entry.modRevision,
        at: performance.now(),
      });
    }
  };

  const connect = (): void => {
    const endpoint = endpoints[attempts++ % endpoints.length] ?? '';
    const create_request = { ...everything, start_revision: String(seen + 1), prev_kv: true };
    let parts: string[] = []; // of one line: all that a watch has missed comes in one, of many megabytes
    const mine = http.request(`${endpoint}/v3/watch`, { method: 'POST', agent: false }, (response) => {
      response.setEncoding('utf8').on('data', (text: string) => {
        if (request !== mine) return;
        parts.push(text);
        if (!text.includes('\n')) return;
        const lines = parts.join('').split('\n');
        parts = [lines.pop() ?? ''];
        for (const line of lines.filter((one) => one !== '')) {
          const { result, error } = JSON.parse(line) as WatchAnswer;
          if (result === undefined) {
            mine.destroy(new Error(`watch: ${JSON.stringify(error)}`));
            return;
          }
          if (result.canceled) {
            failure = new Error(`Watch from ${seen + 1} canceled: ${JSON.stringify(result)}`);
            request = undefined;
            mine.destroy();
            return;
          }
          take(result.events ?? []);
        }
      });
      response.on('error', () => {}); // 'close' follows
    });
    request = mine;
    mine.on('socket', (socket) => socket.unref());
    mine.on('error', () => {});
    // Half a line is dropped with the connection: `seen` has not moved past it.
    mine.on('close', () => {
      if (request === mine && !closed) retry = setTimeout(connect, 20).unref();
    });
    mine.end(JSON.stringify({ create_request }));
  };
  connect();

  const recorder: Recorder = {
    initial,
    changes,
    settled: async () => {
      const target = await eventually(() => currentRevision(endpoints));
      let [before, since] = [seen, performance.now()];
      await eventually(() => {
        if (failure !== undefined) return;
        if (seen !== before) [before, since] = [seen, performance.now()];
        // A node that is paused or cut off holds a stream open and silent: ask the next one.
        if (seen < target && performance.now() - since > 2000) {
          since = performance.now();
          request?.destroy();
        }
        if (seen < target) throw new Error(`The recorder has seen revision ${seen} of ${target}`);
      });
      if (failure !== undefined) throw failure;
    },
    at: (revision) => {
      const state = new Map(initial);
      for (const change of changes) {
        if (change.revision > revision) break;
        if (change.kind === 'put') state.set(change.key, change.value);
        else state.delete(change.key);
      }
      return state;
    },
    close: async () => {
      closed = true;
      clearTimeout(retry);
      request?.destroy();
    },
    [Symbol.asyncDispose]: () => recorder.close(),
  };
  return recorder;
}
