/**
 * A Docker Engine in memory, with the two ways in which discover asks it: `docker` for the main
 * thread, `looks` for the pool.
 *
 * The model is what matters of containers: whether they run, since when, whether they deserve traffic, and at which ports they are
 * reached; a start and a move give new ones, or those that others gave back where they are few. Events are made as dockerd 20.10 makes them, network
 * events included, and remembered as it does: the last 256. Lists are read by the code that reads
 * real ones; looks are answered from the model, in batches with stragglers like those of `look.ts`.
 *
 * What goes wrong is asked at each call (`fault`) and at each event (`route`).
 */

import { type Clock, sleep } from '../../src/actor/clock.ts';
import { Listeners } from '../../src/actor/listeners.ts';
import type { ContainerId, Inspection, Listed, Service } from '../../src/container/container.ts';
import type { Health, Traffic } from '../../src/container/traffic.ts';
import type { Docker, EngineInfo, EventStream } from '../../src/docker/docker.ts';
import { DiscoverError } from '../../src/errors.ts';
import { type Report, readList } from '../../src/inspect/batch.ts';
import type { InspectionPool } from '../../src/inspect/pool.ts';
import { keysOf, type Layout, stateKeysOf } from '../../src/layout/keys.ts';

export type EngineCall = 'negotiate' | 'list' | 'events' | 'task' | 'inspect';

/**
 * What goes wrong with a call: an error; no answer until the caller's deadline, or ever (its thread is
 * lost); half an answer; or an answer that was read after `readMs` and arrives `replyMs` later.
 */
export type EngineFault =
  | { readonly kind: 'fails' | 'hangs' | 'lost' | 'cut' }
  | { readonly kind: 'slow'; readonly readMs: number; readonly replyMs: number };

interface Container {
  readonly id: ContainerId;
  readonly offers: readonly Omit<Service, 'address' | 'port'>[];
  running: boolean;
  startedAt: number;
  ports: readonly number[];
  /** On a network of its own rather than at ports of the host; empty for others. */
  address: string;
  /** How often it was given ports. */
  bindings: number;
  health: Health | undefined;
  isPaused: boolean;
  readonly stopSignal: number;
  /** When it was asked to stop, and by which signals, in this life. */
  asked: Map<number, number>;
}

/** When the hosts of this engine publish what runs. */
export interface TrafficRules {
  readonly health: 'exclude-unhealthy' | 'require-healthy';
  readonly isPausedKept: boolean;
  readonly afterMs: number;
  readonly flapDeaths: number;
}

interface Subscriber {
  readonly onChunk: (chunk: Buffer) => void;
  readonly end: () => void;
}

/** With addresses of their own: few, so that one is soon that of another container. */
const ownBase = '10.88.0.';
const ownMax = 8;
/** The container whose network another one uses, and the one that does. */
const [sharedNumber, memberNumber] = [2, 6];
const portBase = 32_768;
const eventsRemembered = 256;
const callTimeoutMs = 5_000;
const listTimeoutMs = 15_000;
const lingerMs = 25;
const [KILL, TERM, QUIT] = [9, 15, 3];
const stopSeconds = 1;
/** That, and the grace of 5 s. */
export const drainMs = 6_000;

/** The full id of the n-th container; its 12 digits are the number itself. */
export function idOf(n: number): ContainerId {
  return (n.toString(16).padStart(12, '0') + 'c'.repeat(52)) as ContainerId;
}

export class FakeEngine {
  readonly containers = new Map<ContainerId, Container>();
  /** How often each call was made. */
  readonly calls: Record<EngineCall, number> = { negotiate: 0, list: 0, events: 0, task: 0, inspect: 0 };
  /** What each stream asked to begin with. */
  readonly sinces: number[] = [];
  fault: (call: EngineCall, id?: ContainerId) => EngineFault | undefined = () => undefined;
  /** After how many milliseconds each copy of an event arrives; none: it is lost. */
  route: (action: string, id: ContainerId) => readonly number[] = () => [0];
  /** Called whenever a container has got or given back ports. */
  onPorts: () => void = () => {};
  /** Its processes are those that the agent's machine shows. */
  sharesProcesses = false;
  /** That of the host at present. */
  hostIp = '10.0.0.1';
  /** All that the host ever had. */
  readonly hostIps = new Set(['10.0.0.1']);
  /** Every second container is reached at an address of its own, and one in the network of another one. */
  hasOwnAddresses = false;
  rules: TrafficRules = { health: 'exclude-unhealthy', isPausedKept: true, afterMs: 0, flapDeaths: 0 };
  /** What people keep out of traffic: containers, all of the host, or the host while its agent drains it. */
  readonly out = { containers: new Set<ContainerId>(), host: false, drained: false };
  /** Each instance has a meta. */
  hasMeta = false;
  readonly docker: Docker;
  readonly pool: InspectionPool;
  readonly #clock: Clock;
  readonly #subscribers = new Set<Subscriber>();
  #remembered: { readonly at: number; readonly line: string }[] = [];
  #newest = 0;
  readonly #portsMax: number;
  #port = 0;
  #own = 0;

  constructor(clock: Clock, portsMax = Number.POSITIVE_INFINITY) {
    this.#clock = clock;
    this.#portsMax = portsMax;
    this.docker = {
      negotiate: () => this.#negotiate(),
      events: (_engine, sinceSeconds, onChunk) => this.#events(sinceSeconds, onChunk),
    };
    this.pool = this.newLooks();
  }

  /** Looks of one more agent beside others: what comes late comes to the one that asked. */
  newLooks(): InspectionPool {
    let { hostIp } = this;
    const pool: InspectionPool = {
      slots: 4,
      usage: { threads: 0, threadsMax: 0, utilization: 0 },
      late: new Listeners(),
      inspect: (number, _versionPrefix, ids) => this.#inspectBatch(pool, number, ids, hostIp),
      list: async () => containersOf(await this.#list()),
      hostIs: ({ ip }) => {
        hostIp = ip;
      },
      close: async () => {},
    };
    return pool;
  }

  /** Runs a new container that advertises these services, each at a private port of its own from 80 on. */
  run(id: ContainerId, ...names: string[]): ContainerId {
    const offers = names.map((name, index) => ({ name, privatePort: 80 + index, protocol: 'tcp' as const }));
    const fresh = {
      running: false,
      startedAt: 0,
      ports: [],
      address: '',
      bindings: 0,
      health: undefined,
      isPaused: false,
    };
    // Some end by another signal than the usual one.
    const stopSignal = Number.parseInt(id.slice(0, 12), 16) % 3 === 2 ? QUIT : TERM;
    this.containers.set(id, { id, offers, ...fresh, stopSignal, asked: new Map() });
    this.start(id);
    return id;
  }

  start(id: ContainerId): void {
    const container = this.#container(id);
    container.running = true;
    container.isPaused = false;
    container.asked.clear();
    // A check begins anew, with no event.
    if (container.health !== undefined) container.health = 'starting';
    container.startedAt = this.#stamp();
    this.#bind(container);
    this.#networkEvent('connect', id);
    this.#containerEvent('start', id);
  }

  /** The ports of a container that is over stay visible, as after a daemon was killed. */
  die(id: ContainerId): void {
    this.#container(id).running = false;
    this.onPorts();
    this.#containerEvent('die', id);
    this.#networkEvent('disconnect', id);
  }

  restart(id: ContainerId): void {
    this.die(id);
    this.start(id);
  }

  /** The result of a health check; a container without one gets one. */
  setHealth(id: ContainerId, health: Health): void {
    this.#container(id).health = health;
    this.#containerEvent(`health_status: ${health}`, id);
  }

  pause(id: ContainerId): void {
    const container = this.#container(id);
    container.isPaused = !container.isPaused;
    this.#containerEvent(container.isPaused ? 'pause' : 'unpause', id);
  }

  /** Sends a signal that the container ignores. Returns whether that asks it to end: for the first time in this life, or again. */
  kill(id: ContainerId, signal: number | 'stop'): 'first' | 'again' | undefined {
    const container = this.#container(id);
    const number = signal === 'stop' ? container.stopSignal : signal;
    const isStop = [container.stopSignal, KILL].includes(number);
    const isNew = isStop && !container.asked.has(number);
    if (isNew) container.asked.set(number, this.#clock.now());
    this.#containerEvent('kill', id, { signal: String(number) });
    return isNew ? 'first' : isStop ? 'again' : undefined;
  }

  startOf(pid: number): string | undefined {
    const container = this.sharesProcesses ? this.containers.get(idOf(pid)) : undefined;
    return container?.running ? String(container.startedAt) : undefined;
  }

  isFree(pid: number): boolean {
    return this.sharesProcesses && !this.containers.get(idOf(pid))?.running;
  }

  /** Whether a process has ended, as the table of processes shows it, also to one that the engine does not answer. */
  hasEnded(pid: number, startTicks: string): boolean {
    const container = this.containers.get(idOf(pid));
    return !container?.running || String(container.startedAt) !== startTicks;
  }

  /** Whether it is to be published, if it offers anything: now, or as soon as time alone is over. */
  deserves(id: ContainerId, when: 'now' | 'in time' = 'now'): boolean {
    const { running, startedAt, health, isPaused, asked } = this.#container(id);
    // A millisecond early, and noted half a millisecond early: no host may be before that.
    const isYoung = this.rules.afterMs > 0 && this.#clock.wall() < startedAt / 1e6 + this.rules.afterMs - 1;
    const isDraining = [...asked.values()].some((at) => this.#clock.now() < at + drainMs);
    const isSick = health === 'unhealthy' || (health === 'starting' && this.rules.health === 'require-healthy');
    const isOut = this.out.host || this.out.drained || this.out.containers.has(id);
    const isEarly = when === 'now' && (isYoung || isDraining || isOut);
    return running && !isEarly && !isSick && (!isPaused || this.rules.isPausedKept);
  }

  /** Gives new ports, with nothing to tell but network events. */
  move(id: ContainerId): void {
    const container = this.#container(id);
    this.#networkEvent('disconnect', id);
    this.#bind(container);
    this.#networkEvent('connect', id);
  }

  /** The address of the host has changed. No event tells of it. */
  moveHost(ip: string): void {
    this.hostIp = ip;
    this.hostIps.add(ip);
    this.onPorts();
  }

  /** The containers that are reached at an address and a port; none: nothing is there. */
  reachedAt(address: string, port: number): readonly ContainerId[] {
    const running = [...this.containers.values()].filter((container) => container.running);
    if (!address.startsWith(ownBase)) {
      return address === this.hostIp ? running.flatMap(({ id, ports }) => (ports.includes(port) ? [id] : [])) : [];
    }
    const there = running.filter((container) => container.address === address);
    return there.flatMap(({ id }) => [id, ...this.membersOf(id)]);
  }

  /** The containers that use the network of this one. */
  membersOf(id: ContainerId): readonly ContainerId[] {
    const member = this.containers.get(idOf(memberNumber));
    return this.hasOwnAddresses && id === idOf(sharedNumber) && member !== undefined ? [member.id] : [];
  }

  /** The container whose network this one uses. */
  #ownerOf({ id }: Container): ContainerId | undefined {
    return this.hasOwnAddresses && id === idOf(memberNumber) ? idOf(sharedNumber) : undefined;
  }

  /** What it offers now, for a process that takes the host's address for `hostIp`. */
  #servicesOf(container: Container, hostIp: string): Service[] {
    const services = this.#reachedOf(container, hostIp);
    if (!this.hasMeta) return services;
    return services.map((one) => ({ ...one, meta: JSON.stringify({ privatePort: one.privatePort }) }));
  }

  #reachedOf(container: Container, hostIp: string): Service[] {
    const { offers, ports, address } = container;
    const owner = this.#ownerOf(container);
    if (owner === undefined && address === '') {
      if (hostIp === '') return [];
      return offers.map((offer, index) => ({ ...offer, address: hostIp, port: Number(ports[index]) }));
    }
    const of = owner === undefined ? container : this.containers.get(owner);
    // A network ends with its container, and a new start has a new one.
    if (!of?.running || (owner !== undefined && of.startedAt > container.startedAt)) return [];
    return offers.map((offer) => ({ ...offer, address: of.address, port: offer.privatePort }));
  }

  /** The ports that are taken. */
  #taken(): Set<number> {
    return new Set([...this.containers.values()].flatMap(({ running, ports }) => (running ? ports : [])));
  }

  remove(id: ContainerId): void {
    if (this.#container(id).running) this.die(id);
    this.#containerEvent('destroy', id);
    this.containers.delete(id);
  }

  /** Ends all streams. */
  cut(): void {
    for (const subscriber of [...this.#subscribers]) subscriber.end();
  }

  /** Forgets all events, as a restarted daemon does. */
  forget(): void {
    this.#remembered = [];
  }

  /** Sends bytes as they are. */
  send(text: string): void {
    for (const { onChunk } of [...this.#subscribers]) onChunk(Buffer.from(text));
  }

  /** What etcd should hold now, of all containers or of those with these 12 digits. */
  keys(layout: Layout, when: 'now' | 'in time' = 'now', hostIp = this.hostIp, of?: string): Map<string, string> {
    const keys = new Map<string, string>();
    for (const container of this.containers.values()) {
      if (of !== undefined && !container.id.startsWith(of)) continue;
      if (!this.deserves(container.id, when)) continue;
      const services = this.#reachedOf(container, hostIp);
      for (const [key, value] of keysOf(layout, container.id.slice(0, 12), services)) keys.set(key, value);
    }
    return keys;
  }

  /** The metas that tell states, as etcd should hold them once time alone is over. */
  metas(layout: Layout): Map<string, string> {
    const metas = new Map<string, string>();
    if (!this.hasMeta) return metas;
    for (const container of this.containers.values()) {
      if (!container.running) continue;
      const shortId = container.id.slice(0, 12);
      const services = this.#servicesOf(container, this.hostIp);
      const state = this.#stateOf(container);
      const keys =
        state === 'ready'
          ? keysOf(layout, shortId, services, {}, state)
          : stateKeysOf(layout, shortId, services, state);
      for (const [key, value] of keys) if (isMeta(key)) metas.set(key, value);
    }
    return metas;
  }

  #stateOf({ id, health, isPaused }: Container): string {
    if (this.out.host || this.out.containers.has(id)) return 'maintenance';
    if (isPaused && !this.rules.isPausedKept) return 'paused';
    if (health === 'unhealthy') return 'unhealthy';
    return health === 'starting' && this.rules.health === 'require-healthy' ? 'starting' : 'ready';
  }

  /** One after the other, as dockerd gives them, and from the first again after the last. */
  #bind(container: Container): void {
    container.ports = [];
    container.bindings++;
    if (this.#ownerOf(container) !== undefined) return;
    if (this.hasOwnAddresses && Number.parseInt(container.id.slice(0, 12), 16) % 2 === 0) {
      container.address = '';
      const used = new Set([...this.containers.values()].map(({ running, address }) => (running ? address : '')));
      do this.#own = (this.#own + 1) % ownMax;
      while (used.has(ownBase + (this.#own + 2)));
      container.address = ownBase + (this.#own + 2);
      this.onPorts();
      return;
    }
    const taken = this.#taken();
    container.ports = container.offers.map(() => {
      do this.#port = (this.#port % this.#portsMax) + 1;
      while (taken.has(this.#port + portBase));
      taken.add(this.#port + portBase);
      return this.#port + portBase;
    });
    this.onPorts();
  }

  async #negotiate(): Promise<EngineInfo> {
    await this.#ask('negotiate', callTimeoutMs);
    const engineSeconds = Math.floor(this.#clock.wall() / 1000);
    return { versionPrefix: '/v1.41', serverVersion: '20.10.24', product: 'Docker Engine', engineSeconds };
  }

  async #list(): Promise<Uint8Array<ArrayBuffer>> {
    const { replyMs, isCut } = await this.#ask('list', listTimeoutMs);
    const running = [...this.containers.values()].filter((container) => container.running);
    const list = running.map(({ id, offers, ports, address, health, isPaused }) => ({
      Id: id,
      State: isPaused ? 'paused' : 'running',
      Status: `Up 1 second${health === undefined ? '' : ` (${health === 'starting' ? 'health: starting' : health})`}`,
      Ports: ports.map((port, index) => ({
        IP: '0.0.0.0',
        PrivatePort: offers[index]?.privatePort,
        PublicPort: port,
        Type: offers[index]?.protocol,
      })),
      NetworkSettings: { Networks: { app: { IPAddress: address } } },
    }));
    const body = new Uint8Array(Buffer.from(JSON.stringify(list)));
    await this.#wait(replyMs);
    return isCut ? body.slice(0, -1) : body;
  }

  async #events(sinceSeconds: number, onChunk: (chunk: Buffer) => void): Promise<EventStream> {
    this.sinces.push(sinceSeconds);
    const { replyMs } = await this.#ask('events', callTimeoutMs);
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const subscriber: Subscriber = {
      onChunk,
      end: () => {
        this.#subscribers.delete(subscriber);
        end();
      },
    };
    const missed = this.#remembered.filter(({ at }) => at >= sinceSeconds * 1e9);
    this.#subscribers.add(subscriber);
    if (missed.length > 0) onChunk(Buffer.from(missed.map(({ line }) => line).join('')));
    await this.#wait(replyMs);
    return { ended, close: subscriber.end };
  }

  async #inspectBatch(
    asked: InspectionPool,
    number: number,
    ids: readonly ContainerId[],
    hostIp: string,
  ): Promise<readonly Report[]> {
    const { replyMs } = await this.#ask('task', callTimeoutMs);
    const reports: Report[] = [];
    let isHandedBack = false;
    const inspections = ids.map(async (id) => {
      const report = { id, inspection: await this.#inspect(id, hostIp) };
      if (isHandedBack) asked.late.tell(number, report);
      else reports.push(report);
    });
    const linger = new AbortController();
    await Promise.race([Promise.all(inspections), sleep(this.#clock, lingerMs, linger.signal)]);
    linger.abort();
    isHandedBack = true;
    // What comes late has a way of its own, and may be there before its batch.
    await this.#wait(replyMs);
    return reports;
  }

  async #inspect(id: ContainerId, hostIp: string): Promise<Inspection> {
    try {
      const { replyMs, isCut } = await this.#ask('inspect', callTimeoutMs, id);
      const seen = this.containers.get(id);
      // As it was then: what follows may take its time.
      const container = seen && { ...seen };
      const owner = container?.running ? this.#ownerOf(container) : undefined;
      const ofOwner = owner === undefined ? undefined : await this.#ask('inspect', callTimeoutMs, owner);
      const inspection: Inspection = container?.running
        ? {
            kind: 'running',
            startedAt: container.startedAt,
            services: this.#servicesOf(container, hostIp),
            refusals: [],
            ...trafficOf(container),
            ...(owner !== undefined && container.offers.length > 0 && { sharesWith: [owner] }),
          }
        : { kind: 'down' };
      await this.#wait(replyMs + (ofOwner?.replyMs ?? 0));
      return isCut || ofOwner?.isCut ? { kind: 'failed', detail: 'answer was cut short' } : inspection;
    } catch (error) {
      return { kind: 'failed', detail: String(error) };
    }
  }

  /** The way of a call to the moment when the world is read, and what is left of the way back. */
  async #ask(call: EngineCall, timeoutMs: number, id?: ContainerId): Promise<{ replyMs: number; isCut: boolean }> {
    this.calls[call]++;
    const fault = this.fault(call, id);
    if (fault?.kind === 'lost') await new Promise(() => {});
    if (fault?.kind === 'hangs') await sleep(this.#clock, timeoutMs);
    if (fault?.kind === 'hangs' || fault?.kind === 'fails') {
      throw new DiscoverError('DOCKER_UNAVAILABLE', `Docker Engine: ${call} ${fault.kind}`);
    }
    if (fault?.kind === 'slow') {
      await this.#wait(fault.readMs);
      return { replyMs: fault.replyMs, isCut: false };
    }
    return { replyMs: 0, isCut: fault?.kind === 'cut' };
  }

  async #wait(ms: number): Promise<void> {
    if (ms > 0) await sleep(this.#clock, ms);
  }

  #container(id: ContainerId): Container {
    const container = this.containers.get(id);
    if (container === undefined) throw new Error(`No such container: ${id}`);
    return container;
  }

  /** A moment of its own for everything that happens: a double knows nanoseconds to 256. */
  #stamp(): number {
    this.#newest = Math.max(this.#clock.wall() * 1e6, this.#newest + 1024);
    return this.#newest;
  }

  #containerEvent(action: string, id: ContainerId, attributes: Record<string, string> = {}): void {
    const said = { status: action, id, from: 'app:1', Type: 'container', Action: action };
    this.#event(action, id, {
      ...said,
      Actor: { ID: id, Attributes: { image: 'app:1', name: 'größe', ...attributes } },
    });
  }

  #networkEvent(action: string, id: ContainerId): void {
    const Attributes = { container: id, name: 'bridge', type: 'bridge' };
    this.#event(action, id, { Type: 'network', Action: action, Actor: { ID: 'b'.repeat(64), Attributes } });
  }

  #event(action: string, id: ContainerId, said: object): void {
    const at = this.#stamp();
    const line = `${JSON.stringify({ ...said, scope: 'local', time: Math.floor(at / 1e9), timeNano: at })}\n`;
    this.#remembered = [...this.#remembered, { at, line }].slice(-eventsRemembered);
    for (const ms of this.route(action, id)) {
      if (ms === 0) this.send(line);
      else this.#clock.after(ms, () => this.send(line));
    }
  }
}

export const isMeta = (key: string): boolean => key.startsWith('/discover/meta/');

function trafficOf({ id, health, isPaused, stopSignal }: Container): { traffic: Traffic } {
  const rest = { ...(health && { health }), ...(isPaused && { isPaused: true as const }) };
  const pid = Number.parseInt(id.slice(0, 12), 16);
  return { traffic: { stopSignal, stopSeconds, pid, ...rest } };
}

function containersOf(body: Uint8Array): readonly Listed[] {
  const result = readList(body);
  if (result.kind !== 'listed') throw new Error(result.kind === 'failed' ? result.detail : result.kind);
  return result.containers;
}
