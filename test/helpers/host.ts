/**
 * A host as the tests see one: an engine, a real etcd of its own and the built discover, with the
 * one question that every integration and fault test ends on: does etcd hold exactly what runs?
 *
 * What etcd must hold is worked out here, from what the engine itself says, by rules of our own:
 * nothing of `src` is used, so a fault in it cannot agree with itself. The rules are those of the
 * key layout, for advertisements that are right or plainly wrong; odd ones belong to the unit tests.
 *
 * Keys of neighbours with names as near as can be are put before discover starts, and any touch of
 * one of them fails the test that did it.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { type Lifecycle, monotonicMs } from '../../bench/engine/churn.ts';
import type { EngineHandle } from '../../bench/engine/client.ts';
import type { EngineClient, Inspection } from './engine-client.ts';
import { type Change, type Entry, type EtcdOptions, type EtcdServer, type Recorder, startEtcd } from './etcd.ts';
import { eventually, guardMs } from './eventually.ts';
import { type Exit, type Running, type RunOptions, runDiscover } from './run.ts';

/** A container that runs, as its engine tells of it. */
export interface Container {
  readonly id: string;
  readonly env: readonly string[];
  readonly networkMode: string;
  /** As in an inspect document: `8080/tcp` to its bindings. */
  readonly ports: Readonly<Record<string, readonly { readonly HostIp: string; readonly HostPort: string }[] | null>>;
}

/** An engine, real or simulated: where it listens and what runs there. */
export interface Source {
  readonly socketPath: string;
  running(): Promise<Container[]>;
}

type Document = Inspection & {
  readonly State: { readonly Restarting: boolean; readonly Dead: boolean };
  readonly Config: { readonly Env: readonly string[] | null };
  readonly HostConfig: { readonly NetworkMode: string };
  readonly NetworkSettings: { readonly Networks: Readonly<Record<string, unknown>> | null };
};

async function idsIn(dockerd: EngineClient, query = ''): Promise<string[]> {
  const { status, said } = await dockerd.ask('GET', `/containers/json${query}`);
  if (status !== 200) throw new Error(`Cannot list: ${status} ${said}`);
  return (JSON.parse(said) as { readonly Id: string }[]).map(({ Id }) => Id);
}

export function fromDockerd(dockerd: EngineClient): Source {
  return {
    socketPath: dockerd.socketPath,
    running: async () => {
      const ids = await idsIn(dockerd);
      const documents = await Promise.all(ids.map((id) => dockerd.inspect(id) as Promise<Document>));
      return documents
        .filter(({ State }) => State.Running && !State.Restarting && !State.Dead)
        .map(({ Id, Config, HostConfig, NetworkSettings }) => ({
          id: Id,
          env: Config.Env ?? [],
          networkMode: HostConfig.NetworkMode,
          // Podman shows ports of a network that the container has left: nothing leads there.
          ports: Object.keys(NetworkSettings.Networks ?? {}).length === 0 ? {} : NetworkSettings.Ports,
        }));
    },
  };
}

export function fromEngine(engine: EngineHandle): Source {
  return {
    socketPath: engine.socketPath,
    running: async () =>
      (await engine.snapshot())
        .filter(({ state }) => state === 'running' || state === 'paused')
        .map(({ id, env, ports }) => ({ id, env, networkMode: 'default', ports })),
  };
}

/** Who this host is. */
export interface Names {
  readonly id: string;
  readonly realm: string;
  readonly ip: string;
}

export const defaultNames: Names = { id: 'h1', realm: 'default', ip: '10.0.0.5' };

/** A record reads as the object in it, for the order of its names is nobody's business. */
export type Held = ReadonlyMap<string, unknown>;

/** What etcd must hold of this host, but for the owner key. */
export function expected(containers: readonly Container[], names: Names = defaultNames): Held {
  const held = new Map<string, unknown>();
  for (const container of containers) {
    const shortId = container.id.slice(0, 12);
    const record = new Map<string, string>();
    for (const { name, port, protocol } of offersOf(container.env)) {
      const address = addressOf(container, port, protocol, names.ip);
      if (address === undefined) continue;
      const plain = `/discover/service/${name}/${names.realm}/${names.id}/${shortId}`;
      const key = record.has(name) ? `${plain}:${port}${protocol === 'tcp' ? '' : `:${protocol}`}` : plain;
      record.set(name, plain);
      held.set(key, `${protocol}://${address}`);
    }
    if (record.size > 0) held.set(`/discover/host/${names.id}/${shortId}`, Object.fromEntries(record));
  }
  return held;
}

interface Offer {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
}

const entryPattern = /^([\w.~-]{1,128}):([1-9]\d{0,4})(?:\/(tcp|udp|sctp))?(?::.*)?$/;

/** The entries that a container advertises well: of the first 16 KiB whole ones, of these the first 100. */
export function offersOf(env: readonly string[]): Offer[] {
  const offers = new Map<string, Offer>();
  for (const variable of env) {
    if (!variable.startsWith('DISCOVER=')) continue;
    const text = variable.slice('DISCOVER='.length);
    const read = text.length > 16_384 ? text.slice(0, text.lastIndexOf(',', 16_384)) : text;
    if (/[\n\r\u2028\u2029]/.test(read)) continue;
    for (const entry of read.split(',')) {
      const [, name = '', digits, protocol = 'tcp'] = entryPattern.exec(entry.trim()) ?? [];
      const port = Number(digits);
      if (digits === undefined || port > 65_535 || name === '.' || name === '..') continue;
      offers.set(`${name}:${port}/${protocol}`, { name, port, protocol });
    }
  }
  return [...offers.values()].slice(0, 100);
}

function addressOf(container: Container, port: number, protocol: string, hostIp: string): string | undefined {
  if (container.networkMode === 'host') return `${hostIp}:${port}`;
  const bindings = container.ports[`${port}/${protocol}`] ?? [];
  const rank = ({ HostIp }: { readonly HostIp: string }): number => ['0.0.0.0', '', '::'].indexOf(HostIp);
  const wildcard = bindings.filter((one) => rank(one) >= 0).sort((a, b) => rank(a) - rank(b))[0];
  if (wildcard !== undefined) return `${hostIp}:${wildcard.HostPort}`;
  const bound = bindings.find(({ HostIp }) => !HostIp.startsWith('127.') && HostIp !== '::1');
  return bound && `${bound.HostIp.includes(':') ? `[${bound.HostIp}]` : bound.HostIp}:${bound.HostPort}`;
}

/** What the test knows may be put for a container, by the 12 digits of its id. */
export type Known = ReadonlyMap<string, { readonly names: ReadonlySet<string>; readonly urls?: ReadonlySet<string> }>;

/** What is known of containers that advertise as they do and may get any port. */
export function knownOf(containers: readonly { readonly id: string; readonly env: readonly string[] }[]): Known {
  return new Map(
    containers.map(({ id, env }) => [id.slice(0, 12), { names: new Set(offersOf(env).map(({ name }) => name)) }]),
  );
}

/** What is known of containers that have kept their ports all their lives. */
export function knownOfLives(lives: readonly Lifecycle[], names: Names = defaultNames): Known {
  return new Map(
    lives.map(({ id, env, ports }) => {
      const offers = offersOf(env);
      const urls = offers.map(({ port, protocol }) => `${protocol}://${names.ip}:${ports[`${port}/${protocol}`]}`);
      return [id.slice(0, 12), { names: new Set(offers.map(({ name }) => name)), urls: new Set(urls) }];
    }),
  );
}

/** No key was deleted of a container that still ran: an answer that is not to be had says nothing. */
export function assertOnlyDeadDeleted(
  changes: readonly Change[],
  lives: readonly Pick<Lifecycle, 'id' | 'endedMs'>[],
): void {
  // In this order: held up between the two readings, the check is kinder and never wrong.
  const offset = -performance.now() + monotonicMs();
  const ends = new Map(lives.map(({ id, endedMs }) => [id.slice(0, 12), endedMs]));
  for (const { kind, key, revision, at } of changes) {
    const shortId = /([0-9a-f]{12})(:\d+(:[a-z]+)?)?$/.exec(key)?.[1];
    if (kind === 'put' || shortId === undefined) continue;
    const endedMs = ends.get(shortId) ?? Number.POSITIVE_INFINITY;
    const earlyMs = Math.round(endedMs - at - offset);
    // The engine notes the end before it tells of it.
    assert.ok(earlyMs <= 1, `Deleted at revision ${revision}, ${earlyMs} ms before its container ended: ${key}`);
  }
}

/**
 * What holds at every revision, whatever goes wrong: only keys of this host's own shape are touched,
 * every put has a lease, and of each container there is nothing or all that its record names.
 */
export function assertHistory(recorder: Recorder, names: Names = defaultNames, known?: Known): void {
  const service = new RegExp(`^/discover/service/([^/]+)/${names.realm}/${names.id}/([0-9a-f]{12})(:\\d+(:[a-z]+)?)?$`);
  const record = new RegExp(`^/discover/host/${names.id}/([0-9a-f]{12})$`);
  const state = new Map<string, string>();
  const byContainer = new Map<string, Set<string>>();
  const shortOf = (key: string): string | undefined => service.exec(key)?.[2] ?? record.exec(key)?.[1];
  const take = ({ kind, key, value }: Pick<Change, 'kind' | 'key' | 'value'>): string | undefined => {
    const shortId = shortOf(key);
    if (shortId === undefined) return undefined;
    const keys = byContainer.get(shortId) ?? new Set<string>();
    byContainer.set(shortId, keys);
    if (kind === 'put') state.set(key, value);
    else state.delete(key);
    if (kind === 'put') keys.add(key);
    else keys.delete(key);
    return shortId;
  };
  for (const [key, value] of recorder.initial) take({ kind: 'put', key, value });

  const { changes } = recorder;
  for (let index = 0; index < changes.length; ) {
    const touched = new Set<string>();
    const { revision } = changes[index] as Change;
    for (; changes[index]?.revision === revision; index++) {
      const change = changes[index] as Change;
      const { key, kind, lease } = change;
      const shortId = take(change);
      const isOwn = shortId !== undefined || key === `/discover/owner/${names.id}`;
      assert.ok(isOwn, `Not a key of this host's: ${kind} ${key} at revision ${revision}`);
      assert.notEqual(kind === 'put' && lease === '0', true, `Put without a lease: ${key} at revision ${revision}`);
      if (shortId === undefined) continue;
      touched.add(shortId);
      if (known === undefined || kind === 'delete') continue;
      const facts = known.get(shortId);
      assert.ok(facts, `Put for a container that never was: ${key} at revision ${revision}`);
      const name = service.exec(key)?.[1];
      if (name === undefined) continue;
      assert.ok(facts.names.has(name), `Put for a name that ${shortId} does not advertise: ${key}`);
      assert.notEqual(facts.urls?.has(change.value), false, `${key} never was at ${change.value}`);
    }
    for (const shortId of touched) {
      const keys = [...(byContainer.get(shortId) ?? [])];
      const text = state.get(`/discover/host/${names.id}/${shortId}`) ?? '{}';
      const named = Object.values(JSON.parse(text) as Record<string, string>);
      const plain = keys.filter((key) => service.exec(key)?.[3] === undefined && service.test(key));
      assert.deepEqual(plain.sort(), named.sort(), `Half of container ${shortId} is in etcd at revision ${revision}`);
    }
  }
}

export interface HostOptions {
  readonly source: Source;
  /** Shared with the test; otherwise one of the host's own is started, and closed with it. */
  readonly etcd?: EtcdServer;
  readonly etcdOptions?: EtcdOptions;
  /** Where discover looks for them instead, such as a proxy. */
  readonly socketPath?: string;
  readonly endpoints?: string;
  readonly names?: Partial<Names>;
  /** Seconds; default 30, so that no lease runs out because the machine is slow. Whoever waits for that says a short one. */
  readonly ttl?: number;
  /** Further options of discover; of one given twice the last counts. */
  readonly args?: readonly string[];
  readonly run?: RunOptions;
  /** Do not start discover yet. */
  readonly idle?: boolean;
  /** Instead of reading all of etcd through its gateway, which speaks neither TLS nor passwords. */
  readonly entries?: (etcd: EtcdServer) => Promise<Entry[]>;
  /** False where the recorder cannot follow. */
  readonly record?: boolean;
}

export interface Host extends AsyncDisposable {
  readonly etcd: EtcdServer;
  readonly recorder: Recorder;
  readonly names: Names;
  /** The discover launched last. */
  readonly discover: Running;
  /** Starts discover, or one more; waits until it says that it has started unless told not to. */
  launch(args?: readonly string[], options?: RunOptions & { readonly wait?: boolean }): Promise<Running>;
  /** Ends the discover launched last in order, and returns how it ended. */
  terminate(): Promise<Exit>;
  /** Every key of this host but for the owner key. */
  held(): Promise<Held>;
  /** Throws unless etcd holds exactly what runs, all of it on the owner's lease, and no neighbour was touched. */
  assertExact(): Promise<void>;
  /** Throws unless nothing of this host is in etcd. */
  assertGone(): Promise<void>;
  /** Waits until etcd holds exactly what runs; then the history until here is checked as well. */
  converged(known?: Known, options?: { readonly timeoutMs?: number }): Promise<void>;
  /** The number of changes until now, for `changesSince`: the recorder may be behind what a test has read of etcd. */
  mark(): Promise<number>;
  /** Revision and kind of what has happened to service keys and records since the number of changes given. */
  changesSince(count: number): Promise<Change[]>;
}

const neighbours = (id: string): [key: string, value: string][] => [
  [`/discover/service/web/default/${id}x/0123456789ab`, 'tcp://192.0.2.1:1'],
  [`/discover/host/${id}x/0123456789ab`, '{}'],
  [`/discover/owner/${id}x`, '{}'],
  [`/discoverx/host/${id}/0123456789ab`, '{}'],
];

export async function startHost(options: HostOptions): Promise<Host> {
  const { source, ttl = 30 } = options;
  const names = { ...defaultNames, ...options.names };
  const etcd = options.etcd ?? (await startEtcd(options.etcdOptions));
  const launched: Running[] = [];
  const current = (): Running => {
    const last = launched.at(-1);
    if (last === undefined) throw new Error('discover has not been launched');
    return last;
  };
  const entries = (): Promise<Entry[]> => (options.entries ?? ((server) => server.entries('')))(etcd);
  const [owner, canaries] = [`/discover/owner/${names.id}`, new Map(neighbours(names.id))];
  let untouched: ReadonlyMap<string, number> = new Map();
  let recorder: Recorder | undefined;

  const read = async (): Promise<{ own: Entry[]; ownerEntry: Entry | undefined }> => {
    const all = await entries();
    const others = all.filter(({ key }) => canaries.has(key));
    assert.deepEqual(
      new Map(others.map(({ key, modRevision }) => [key, modRevision])),
      untouched,
      'Keys of others were touched',
    );
    return {
      own: all.filter(({ key }) => !canaries.has(key) && key !== owner),
      ownerEntry: all.find(({ key }) => key === owner),
    };
  };
  const heldOf = (own: readonly Entry[]): Held =>
    new Map(own.map(({ key, value }) => [key, key.startsWith('/discover/host/') ? parse(value) : value]));

  const host: Host = {
    etcd,
    names,
    get recorder() {
      if (recorder === undefined) throw new Error('This host has no recorder');
      return recorder;
    },
    get discover() {
      return current();
    },
    launch: async (args = [], { wait = true, ...run } = {}) => {
      const given = [...(options.args ?? []), ...args];
      const isServing = given.includes('--http:listen');
      // A list that is given twice adds up.
      const endpoints = given.includes('--etcd:endpoints')
        ? []
        : ['--etcd:endpoints', options.endpoints ?? etcd.endpoints.join(',')];
      const running = runDiscover(
        [
          ...['--docker:socketPath', options.socketPath ?? source.socketPath],
          ...[...endpoints, '--etcd:ttl', String(ttl)],
          ...['--host:ip', names.ip, '--host:id', names.id, '--host:realm', names.realm, '--workers', '2'],
          ...given,
        ],
        { ...options.run, ...run },
      );
      launched.push(running);
      const awaited = ['started', ...(isServing ? ['answering over HTTP'] : [])];
      if (wait) await Promise.all(awaited.map((said) => running.waitForLog(({ msg }) => msg === said)));
      return running;
    },
    terminate: async () => {
      current().signal('SIGTERM');
      return ended(current());
    },
    held: async () => heldOf((await read()).own),
    assertExact: async () => {
      const wanted = expected(await source.running(), names);
      const { own, ownerEntry } = await read();
      assert.deepEqual(sorted(heldOf(own)), sorted(wanted));
      assert.ok(ownerEntry, 'There is no owner key');
      const owned = parse(ownerEntry.value) as { lease?: unknown; released?: unknown };
      assert.equal(owned.released, false, 'The owner key says released');
      assert.equal(owned.lease, ownerEntry.lease);
      assert.notEqual(ownerEntry.lease, '0', 'The owner key has no lease');
      for (const { key, lease } of own) assert.equal(lease, ownerEntry.lease, `${key} is not on the owner's lease`);
    },
    assertGone: async () => {
      const { own, ownerEntry } = await read();
      assert.deepEqual([...own, ...(ownerEntry ? [ownerEntry] : [])], []);
    },
    converged: async (known, { timeoutMs = guardMs } = {}) => {
      try {
        await eventually(() => host.assertExact(), { timeoutMs, everyMs: 50 });
      } catch (error) {
        const output = launched.at(-1)?.output.slice(-3000) ?? 'was not launched';
        if (error instanceof Error) error.message += `\nThe end of what discover wrote:\n${output}`;
        throw error;
      }
      if (recorder === undefined) return;
      await recorder.settled();
      assertHistory(recorder, names, known);
    },
    mark: async () => {
      await host.recorder.settled();
      return host.recorder.changes.length;
    },
    changesSince: async (count) => {
      await host.recorder.settled();
      return host.recorder.changes.slice(count).filter(({ key }) => key !== owner);
    },
    [Symbol.asyncDispose]: async () => {
      for (const running of launched.reverse()) {
        // In order, because a process that is killed writes no coverage; the limit is discover's own.
        running.signal('SIGCONT');
        running.signal('SIGTERM');
        await ended(running).catch(() => {});
        await running.close();
      }
      await recorder?.close();
      if (options.etcd === undefined) await etcd.close();
    },
  };
  try {
    await etcd.put(canaries);
    untouched = new Map((await etcd.entries('')).map(({ key, modRevision }) => [key, modRevision]));
    if (options.record !== false) recorder = await etcd.record('/discover/');
    if (options.idle !== true) await host.launch();
  } catch (error) {
    await host[Symbol.asyncDispose]();
    throw error;
  }
  return host;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function sorted(held: Held): [string, unknown][] {
  return [...held].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The revisions in which these changes happened, each once. */
export function revisionsOf(changes: readonly Change[]): number[] {
  return [...new Set(changes.map(({ revision }) => revision))];
}

/** How it ended; a process that does not end fails the test with what it wrote, instead of holding it up for ever. */
export async function ended(running: Running): Promise<Exit> {
  const exit = await eventually(() => running.exit).catch(() => undefined);
  if (exit === undefined) throw new Error(`Process ${running.pid} does not end:\n${running.output.slice(-3000)}`);
  return exit;
}

/** Removes every container, so that a shared dockerd serves the next test as a new one would. */
export async function removeAll(dockerd: EngineClient): Promise<void> {
  const ids = await idsIn(dockerd, '?all=1');
  if (ids.length > 0) await dockerd.docker('rm', '--force', ...ids);
}

/** A loopback port nobody listens on, outside the kernel's ephemeral range (see `etcd.ts`). */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 17_000);
    const free = await new Promise<boolean>((resolve) => {
      const probe = net.createServer();
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** The arguments by which a command finds the engine, etcd and the names of this host. */
export function connectionOf({ etcd, names }: Host, engine: Pick<EngineClient, 'socketPath'>): string[] {
  return [
    ...['--docker:socketPath', engine.socketPath, '--etcd:endpoints', etcd.endpoint],
    ...['--host:ip', names.ip, '--host:id', names.id, '--host:realm', names.realm],
  ];
}

/** What answers on that port of the machine. */
export async function answerAt(port: number): Promise<string> {
  return textOf(net.connect(port, '127.0.0.1'));
}
