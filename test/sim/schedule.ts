/**
 * One schedule: what happens to containers, engine, etcd, network and processes in a stretch of
 * virtual time, drawn from a seed, with the real agent in the middle of it.
 *
 * Everything between `Docker`, `Looks` and `Registry` is what production runs. The invariants are
 * checked at every revision of etcd; that all is well in the end is checked when the faults are over.
 * The steps are drawn before anything runs, so that a failing schedule can be shortened by leaving
 * some of them out.
 *
 * Checked at each revision: S1 no key but this host's, S2 what is written was read by who writes it,
 * S4 and S5 a container's keys and its record are those of one generation or none, S6 every key is on a
 * lease, S7 nothing is written that is there already, S9 what was taken away does not come back, S10
 * nothing is taken away that is still true, S12 only the owner writes. At each revision and each change of
 * a port: S3 no key leads to another container for longer than a bound. After each step: T1 where no event is lost, a container
 * that deserves no traffic has no keys a moment later. At each put: T2 no container is put that crashes again and again and has
 * not run for long. M1: no container is put that people
 * have taken out, by a process that has started since or knows of it for long; while an agent drains its host nothing of it
 * stays. M2: the metas of a container tell one state, and `ready` where it has keys. Where a process says that it has
 * started: S17 it has listed and claimed. In the end: strangers' keys are untouched, etcd holds what runs
 * within a bound (L3), stays there without a write (S7), no drift was repaired that nobody made (L8), and
 * what a dead process leaves is gone with its lease (L4).
 */

import { createHash } from 'node:crypto';
import { Listeners } from '../../src/actor/listeners.ts';
import { Agent } from '../../src/agent.ts';
import type { Config } from '../../src/config/options.ts';
import type { ContainerId } from '../../src/container/container.ts';
import type { Docker } from '../../src/docker/docker.ts';
import type { DiscoverError } from '../../src/errors.ts';
import type { KeyReader, Registry } from '../../src/etcd/registry.ts';
import type { Report } from '../../src/inspect/batch.ts';
import type { InspectionPool } from '../../src/inspect/pool.ts';
import { keysOf, layoutOf } from '../../src/layout/keys.ts';
import type { ProcessIdentity } from '../../src/layout/owner.ts';
import { presets, viewsOf } from '../../src/layout/views.ts';
import type { Log } from '../../src/log.ts';
import type { Parts } from '../../src/parts.ts';
import { VirtualClock } from './clock.ts';
import { defaultConfig } from './config.ts';
import { drainMs, type EngineFault, FakeEngine, idOf, isMeta } from './docker.ts';
import { type Applied, MemoryRegistry, MemoryStore, type RegistryFault } from './registry.ts';

/**
 * What goes wrong: nothing but time; the order of events; the engine, with events lost; etcd; the process; several
 * processes; all of these; the engine's answers, with no event lost; events lost, and nothing else; the order of
 * events, with few ports for many containers; etcd's leader; a process that ends just after a container was
 * restarted; one container that can never be read and one that etcd never takes, for ever; containers that fall ill, are
 * paused and are sent signals, with nothing wrong around them, and with all of it; containers that crash again and again; people
 * who take containers and the host out of traffic, with nothing wrong but the watch for that, with processes that stop, drain
 * and are killed, and with all of it;
 * addresses of the host and of containers that change, with events out of order, and with all that goes wrong.
 */
export const faultClasses = [
  ...(['calm', 'order', 'engine', 'etcd', 'restart', 'rivals', 'everything'] as const),
  // Added later: a seed means the class by its place.
  ...(['answers', 'loss', 'ports', 'leader', 'handover', 'stuck', 'traffic', 'trouble', 'crashes'] as const),
  ...(['maintenance', 'rollout', 'turmoil'] as const),
  ...(['addresses', 'astray'] as const),
] as const;
export type FaultClass = (typeof faultClasses)[number];

export interface ScheduleOptions {
  readonly seed: number;
  readonly faultClass: FaultClass;
  readonly steps?: number;
  /** Steps that are left out. */
  readonly without?: ReadonlySet<number>;
  readonly onLine?: (line: string) => void;
}

export interface Outcome {
  /** Each begins with the name of what was violated. */
  readonly violations: readonly string[];
  readonly virtualMs: number;
  readonly revisions: number;
  /** Of all that happened: the same for the same options. */
  readonly hash: string;
  readonly steps: readonly string[];
}

const rules = [
  ...presets.skydns('discover.local'),
  ...presets.grpc('discover/grpc'),
  ...presets.registrator('/services'),
  ...presets.traefik('traefik'),
];
const plain = layoutOf('/discover', 'default', 'host-1');
/** Whose a key is, it says of the keys of both. */
const layout = layoutOf('/discover', 'default', 'host-1', viewsOf(rules, 'default', 'host-1'));
const ttlSeconds = 10;
const containersMax = 6;
const sampleMs = 100;
/** Of what follows the faults. Without them repairs take seconds; a lost event waits for a list or a new stream. */
const repairMs = 20_000;
/** Where no call fails nothing has to be asked for again. */
const promptMs = 3_000;
const renewalMs = 11 * 60_000;
/** A container that could not be inspected for long is asked for twice a minute. */
const retryMs = 45_000;
/** Ports of the engine where they are few: as many as containers can hold, and two. */
const portsMax = 2 * 6 + 2;
const resyncSeconds = 60;
const never = 1_000_000_000;
const violationsMax = 8;
/** An inspection of the class `crashes` takes some milliseconds. */
const seenMs = 150;
const restartMs = 20;
const youngMs = 1_000;
/** In the class `crashes`; after as many a life has to last ten seconds, or up to five minutes. */
const flapDeaths = 3;
const heldMaxMs = 300_000 + 5_000;
/** Events, inspections and commits of the class `traffic` take some hundred milliseconds together. */
const undeservedMaxMs = 1_000;
const maintenanceKey = '/discover/maintenance/host-1';
const isMaintenance = (key: string): boolean => key.startsWith(maintenanceKey);
const drainSeconds = 2;

/** Keys that look like ours and are not. */
const strangers = [
  '/discover2/service/web/default/host-1/000000000001',
  '/discover/service/web/default/host-10/000000000001',
  '/discover/service/web/default/host/000000000001',
  '/discover/service/web/default/host-1/not-a-container',
  '/discover/service/web/default/host-1/000000000001/below',
  '/discover/host/host-10/000000000001',
  '/discover/host/host-1x/000000000001',
  '/discover/owner/host-10',
  '/discover/service/web',
];

interface Step {
  readonly waitMs: number;
  readonly action: string;
  /** What the action draws from: the same whatever other steps do. */
  readonly draws: readonly number[];
}

export async function runSchedule(options: ScheduleOptions): Promise<Outcome> {
  const world = new World(options);
  await world.run();
  return world.outcome();
}

class World {
  readonly #options: ScheduleOptions;
  readonly #clock: VirtualClock;
  readonly #engine: FakeEngine;
  readonly #store: MemoryStore;
  readonly #processes: Process[] = [];
  readonly #violations: string[] = [];
  readonly #hash = createHash('sha256');
  readonly #said: string[] = [];
  readonly #history = new History();
  readonly #misdirection: Misdirection;
  readonly #resyncSeconds: number;
  /** When people let in again last what they had taken out, by short id; '' for the host. */
  readonly #letInAt = new Map<string, number>();
  readonly #isBlind: boolean;
  #faults = true;
  /** Its processes drain the host when they stop. */
  readonly #isDrained: boolean = false;
  /** Since when people keep a container out, or '' for the host. */
  readonly #outSince = new Map<string, number>();
  /** What is applied is written by a person. */
  #isByHand = false;
  /** The watches for what people write were cut last. */
  #cutAt = Number.NEGATIVE_INFINITY;

  constructor(options: ScheduleOptions) {
    this.#options = options;
    this.#clock = new VirtualClock(options.seed * 7919 + faultClasses.indexOf(options.faultClass));
    const { faultClass } = options;
    const hasFewPorts = ['ports', 'leader', 'handover', 'stuck'].includes(faultClass);
    this.#engine = new FakeEngine(this.#clock, hasFewPorts ? portsMax : Number.POSITIVE_INFINITY);
    this.#engine.sharesProcesses = true;
    this.#engine.hasOwnAddresses = this.#hasAddresses;
    this.#store = new MemoryStore(this.#clock);
    if (faultClass === 'stuck') this.#store.denied = (key) => layout.containerOf(key) === idOf(2).slice(0, 12);
    this.#misdirection = new Misdirection(this.#engine, this.#store, this.#misdirectedMaxMs());
    this.#resyncSeconds = this.#clock.random() < 0.5 ? resyncSeconds : never;
    // In containers of their own, processes cannot see whether another one lives.
    this.#isBlind = this.#clock.random() < 0.5;
    if (this.#hasTraffic) {
      const health = this.#clock.random() < 0.5 ? 'exclude-unhealthy' : 'require-healthy';
      const isPausedKept = this.#clock.random() < 0.5;
      // Where the clocks of a process are set, the age of a container that ran before is anybody's guess.
      const afterMs = options.faultClass === 'traffic' && this.#clock.random() < 0.5 ? youngMs : 0;
      this.#engine.rules = { health, isPausedKept, afterMs, flapDeaths: 0 };
    }
    if (this.#hasMaintenance) {
      this.#engine.hasMeta = this.#clock.random() < 0.5;
      this.#isDrained = this.#clock.random() < 0.5;
    }
    if (faultClass === 'crashes') this.#engine.rules = { ...this.#engine.rules, flapDeaths };
  }

  outcome(): Outcome {
    return {
      violations: this.#violations,
      virtualMs: this.#clock.now(),
      revisions: this.#store.revision,
      hash: this.#hash.digest('hex'),
      steps: this.#said,
    };
  }

  async run(): Promise<void> {
    const { without } = this.#options;
    const steps = this.#draw();
    this.#store.apply(strangers.map((key) => ({ key, value: 'not ours' })));
    this.#store.onChange = (changes) => this.#changed(changes);
    this.#engine.fault = (call, id) => this.#engineFault(call, id);
    this.#engine.route = () => this.#route();
    this.#engine.onPorts = () => this.#misdirected();
    this.#boot();
    for (const [index, step] of steps.entries()) {
      if (without?.has(index)) continue;
      this.#said.push(`${index}: ${await this.#take(step)}`);
      this.#say(`step ${this.#said.at(-1)}`);
      await this.#clock.advance(step.waitMs);
      this.#undeserved();
      if (this.#violations.length >= violationsMax) break;
    }
    await this.#end();
    for (const process of this.#processes) process.kill();
  }

  #draw(): Step[] {
    const clock = this.#clock;
    const lives = Array<string>(40).fill('life');
    // A move of the host leads to a look at everything, and hides what was missed before.
    const isMobile = Math.floor(this.#options.seed / faultClasses.length) % 2 === 1;
    const hostMoves = isMobile ? [...Array<string>(4).fill('host moves'), 'host away'] : [];
    const marks = [
      ...Array<string>(30).fill('maintenance'),
      ...Array<string>(6).fill('host maintenance'),
      ...Array<string>(6).fill('watch cut'),
      ...Array<string>(3).fill('compact'),
    ];
    const actions: Record<FaultClass, string[]> = {
      calm: lives,
      order: lives,
      engine: [...lives, 'cut', 'cut', 'forget', 'nonsense', 'engine away'],
      etcd: [...lives, 'lease lost', 'no space', 'etcd away'],
      restart: [...lives, 'stop', 'kill', 'kill', 'pause'],
      answers: [...lives, 'cut', 'cut', 'engine away'],
      loss: lives,
      ports: lives,
      leader: [...lives, 'leader lost', 'leader lost'],
      handover: [...lives, ...Array<string>(8).fill('handover')],
      stuck: lives,
      traffic: [...lives, ...Array<string>(60).fill('traffic')],
      crashes: [...Array<string>(20).fill('life'), ...Array<string>(20).fill('crash loop')],
      addresses: [...lives, ...hostMoves],
      astray: [
        ...[...lives, ...hostMoves],
        ...['cut', 'forget', 'nonsense', 'engine away', 'lease lost', 'etcd away', 'stop', 'kill', 'pause'],
      ],
      trouble: [
        ...[...lives, ...Array<string>(60).fill('traffic')],
        ...[
          'cut',
          'forget',
          'nonsense',
          'engine away',
          'lease lost',
          'etcd away',
          'stop',
          'kill',
          'pause',
          'clock set',
        ],
      ],
      maintenance: [...lives, ...Array<string>(15).fill('traffic'), ...marks],
      rollout: [...lives, ...marks, 'stop', 'stop', 'stop', 'stop', 'kill', 'kill', 'kill'],
      turmoil: [
        ...[...lives, ...Array<string>(40).fill('traffic'), ...marks],
        ...['cut', 'forget', 'nonsense', 'engine away', 'lease lost', 'etcd away', 'stop', 'kill', 'kill', 'pause'],
      ],
      rivals: [...lives, 'rival', 'rival', 'stop', 'kill', 'pause', 'pause'],
      everything: [
        ...lives,
        ...['cut', 'forget', 'nonsense', 'engine away', 'lease lost', 'no space', 'etcd away'],
        ...['stop', 'kill', 'rival', 'pause', 'clock set'],
      ],
    };
    const choice = actions[this.#options.faultClass];
    return Array.from({ length: this.#options.steps ?? 60 }, () => {
      const waitMs = clock.random() < 0.1 ? clock.random() * 4_000 : clock.random() * 60;
      const action = choice[Math.floor(clock.random() * choice.length)] as string;
      return { waitMs, action, draws: [clock.random(), clock.random(), clock.random()] };
    });
  }

  async #take({ action, draws: [first = 0, second = 0, third = 0] }: Step): Promise<string> {
    const live = this.#processes.filter((process) => process.isAlive);
    const process = live[Math.floor(first * live.length)];
    switch (action) {
      case 'life':
        return this.#life(idOf(1 + Math.floor(first * containersMax)), second, third);
      case 'crash loop':
        return this.#crashLoop(idOf(1 + Math.floor(first * containersMax)), 1 + Math.floor(second * 8));
      case 'host moves':
        return this.#moveHost(`10.0.0.${1 + Math.floor(second * 3)}`);
      case 'host away':
        // One gap after the other, each shorter than an address is kept, and each end long enough to be noticed.
        if (this.#clock.now() < this.#hostAwayUntil + 5_000) return 'the host is left alone';
        this.#hostAwayUntil = this.#clock.now() + first * 7_000;
        return this.#during(first * 7_000, 'the host has no address', (isAway) => {
          this.#hostAway = isAway;
        });
      case 'traffic':
        return this.#traffic(idOf(1 + Math.floor(first * containersMax)), second, third);
      case 'cut':
        this.#engine.cut();
        return 'all event streams end';
      case 'forget':
        this.#engine.forget();
        this.#engine.cut();
        return 'the engine forgets its events, and all streams end';
      case 'nonsense':
        this.#engine.send('{"Type":"container","Action":"start"}{"no');
        this.#engine.cut();
        return 'a stream ends amid an event';
      case 'engine away':
        return this.#during(first * 12_000, 'the engine is away', (isAway) => {
          this.#engineAway = isAway;
          if (isAway) this.#engine.cut();
        });
      case 'etcd away':
        return this.#during(first * 12_000, 'etcd is away', (isAway) => {
          this.#etcdAway = isAway;
        });
      case 'no space':
        return this.#during(first * 5_000, 'etcd has no space', (isFull) => {
          this.#store.outOfSpace = isFull;
        });
      case 'leader lost':
        return this.#during(500 + first * 3_000, 'etcd has no leader', (isElecting) => {
          this.#etcdAway = isElecting;
          if (isElecting) this.#store.stopLeases();
          else this.#store.renewLeases();
        });
      case 'handover': {
        const id = idOf(1 + Math.floor(third * containersMax));
        const said = this.#life(id, 0.5, first);
        // The engine repeats the events of the last second to whoever follows.
        this.#clock.after(second * 700, () => {
          for (const other of this.#processes) other.kill();
          this.#replace();
        });
        return `${said}; ${Math.round(second * 700)} ms later the process is killed and another started`;
      }
      case 'lease lost':
        for (const lease of [...this.#store.leases.keys()]) this.#store.revoke(lease);
        return 'all leases are revoked';
      case 'maintenance':
        return this.#maintain(idOf(1 + Math.floor(first * containersMax)), second < 0.6);
      case 'host maintenance':
        return this.#maintain(undefined, second < 0.4);
      case 'watch cut':
        this.#store.cutWatches();
        this.#cutAt = this.#clock.now();
        return 'the watches of etcd end';
      case 'compact':
        this.#store.compact();
        this.#store.cutWatches();
        this.#cutAt = this.#clock.now();
        return 'etcd is compacted, and its watches end';
      case 'stop':
        if (process !== undefined) await this.#stop(process);
        this.#replace();
        return `process ${process?.number} is stopped and another started`;
      case 'kill':
        process?.kill();
        this.#clock.after(second < 0.5 ? 0 : second * 15_000, () => this.#replace());
        return `process ${process?.number} is killed, and another started soon`;
      case 'rival':
        this.#boot();
        return 'another process is started beside';
      case 'pause':
        process?.pause();
        this.#clock.after(second * 25_000, () => process?.resume());
        return `process ${process?.number} stands still for ${Math.round(second * 25_000)} ms`;
      default:
        process?.setClock((first - 0.5) * 7_200_000);
        return `the clock of process ${process?.number} is set`;
    }
  }

  async #stop(process: Process): Promise<void> {
    const isDraining = this.#isDrained && process.publishes;
    if (isDraining) this.#noteAll(() => Object.assign(this.#engine.out, { drained: true }));
    process.stop();
    if (isDraining && this.#options.faultClass === 'rollout') {
      await this.#clock.advance(1_000);
      const left = [...this.#store.keys.keys()].filter(
        (key) => layout.nameOf(key) !== undefined && !strangers.includes(key),
      );
      if (left.length > 0) this.#violate(`M1 ${left.join()} is there while the host is drained`);
      if (!process.isAlive) this.#violate('M1 a process that drains its host has ended at once');
    }
    await this.#clock.until(() => !process.isAlive, 30_000);
    if (isDraining) this.#noteAll(() => Object.assign(this.#engine.out, { drained: false }));
  }

  /** A change that concerns all containers. */
  #noteAll(act: () => void): void {
    const [engine, now] = [this.#engine, this.#clock.now()];
    for (const id of engine.containers.keys()) this.#history.noteEnd(id, engine, now);
    act();
    for (const id of engine.containers.keys()) {
      this.#history.note(id, engine, now);
      this.#history.noteEnd(id, engine, now);
    }
  }

  /** A person takes a container out, or lets it in again; without an id the host. */
  #maintain(id: ContainerId | undefined, isOn: boolean): string {
    const key = id === undefined ? maintenanceKey : `${maintenanceKey}/${id.slice(0, 12)}`;
    const { out } = this.#engine;
    this.#noteAll(() => {
      if (id === undefined) out.host = isOn;
      else if (isOn) out.containers.add(id);
      else out.containers.delete(id);
    });
    const name = id?.slice(0, 12) ?? '';
    if (!isOn) {
      this.#letInAt.set(name, this.#clock.now());
      this.#outSince.delete(name);
    } else if (!this.#outSince.has(name)) this.#outSince.set(name, this.#clock.now());
    this.#isByHand = true;
    this.#store.apply([{ key, value: isOn ? '{"by":"anna"}' : undefined }]);
    this.#isByHand = false;
    return `maintenance of ${id === undefined ? 'the host' : `container ${id.slice(8, 12)}`} is ${isOn ? 'on' : 'off'}`;
  }

  /** A service key was put of what people keep out. */
  #keptOut(shortId: string): void {
    for (const name of [shortId, '']) {
      const since = this.#outSince.get(name);
      if (since === undefined) continue;
      const writer = this.#processes.find((one) => one.name === this.#store.writer);
      const now = this.#clock.now();
      const isPrompt = this.#options.faultClass !== 'turmoil' && now - Math.max(since, this.#cutAt) > 2_000;
      if (isPrompt || (writer?.bootedAt ?? now) > since) this.#violate(`M1 ${shortId} is put, and is in maintenance`);
    }
  }

  /** What the metas of a container tell. */
  #statesOf(shortId: string): void {
    const own = [...this.#store.keys].filter(([key]) => layout.containerOf(key) === shortId);
    const states = new Set(
      own.flatMap(([key, { value }]) => (isMeta(key) ? [(JSON.parse(value) as { state?: string }).state] : [])),
    );
    const hasKeys = own.some(([key]) => layout.nameOf(key) !== undefined);
    const isFine = !this.#engine.hasMeta ? states.size === 0 : states.size <= 1 && states.has('ready') === hasKeys;
    if (!isFine) this.#violate(`M2 ${shortId} ${hasKeys ? 'has' : 'has no'} keys, and tells ${[...states].join()}`);
  }

  #life(id: ContainerId, what: number, how: number): string {
    const engine = this.#engine;
    const number = Number.parseInt(id.slice(0, 12), 16);
    const container = engine.containers.get(id);
    const act = (verb: string, action: () => void): string => {
      this.#history.noteEnd(id, engine, this.#clock.now());
      action();
      for (const each of [id, ...engine.membersOf(id)]) this.#history.note(each, engine, this.#clock.now());
      this.#history.noteEnd(id, engine, this.#clock.now());
      this.#noteLater(id, engine.rules.afterMs);
      return `container ${number} ${verb}`;
    };
    if (container === undefined) {
      const offers = [['web'], ['web', 'api'], ['web', 'web'], []][Math.floor(how * 4)] ?? [];
      return act(`runs with ${offers.join()}`, () => engine.run(id, ...offers));
    }
    if (!container.running) {
      if (what < 0.7) return act('starts', () => engine.start(id));
      return act('is removed', () => engine.remove(id));
    }
    if (what < 0.35) return act('dies', () => engine.die(id));
    if (what < 0.6) return act('restarts', () => engine.restart(id));
    if (what < 0.75) return act('moves', () => engine.move(id));
    if (what < 0.85) return act('is removed', () => engine.remove(id));
    return `container ${number} is left alone`;
  }

  get #hasAddresses(): boolean {
    return ['addresses', 'astray'].includes(this.#options.faultClass);
  }

  #hostAway = false;
  #hostAwayUntil = Number.NEGATIVE_INFINITY;

  #moveHost(ip: string): string {
    this.#engine.moveHost(ip);
    for (const id of this.#engine.containers.keys()) this.#history.note(id, this.#engine, this.#clock.now());
    return `the host moves to ${ip}`;
  }

  /** What the machine says of its address. While it has none, another interface may have one that leads nowhere. */
  #address(): { readonly ip: string; readonly isCertain: boolean } {
    if (!this.#hostAway) return { ip: this.#engine.hostIp, isCertain: true };
    return { ip: this.#clock.random() < 0.5 ? '' : '192.168.0.9', isCertain: false };
  }

  /** What time alone changes. */
  #noteLater(id: ContainerId, ms: number): void {
    if (ms === 0) return;
    this.#clock.after(ms - 0.5, () => {
      if (this.#engine.containers.has(id)) this.#history.note(id, this.#engine, this.#clock.now());
    });
  }

  /** By container: the ends of those lives that an inspection has surely seen, and the beginning of the present one. */
  readonly #crashes = new Map<string, { readonly endedMs: number[]; startedMs: number }>();

  #crashLoop(id: ContainerId, times: number): string {
    const engine = this.#engine;
    const note = () => this.#history.note(id, engine, this.#clock.now());
    const crash = (left: number): void => {
      if (left === 0 || !engine.containers.get(id)?.running) return;
      const now = this.#clock.now();
      const known = this.#crashes.get(id) ?? { endedMs: [], startedMs: now };
      if (now - known.startedMs >= seenMs) known.endedMs.push(now);
      this.#crashes.set(id, known);
      engine.die(id);
      note();
      // The engine waits before it starts a container again.
      this.#clock.after(restartMs, () => {
        if (engine.containers.get(id)?.running !== false) return;
        engine.start(id);
        note();
        known.startedMs = this.#clock.now();
      });
      this.#clock.after(restartMs + 2 * seenMs, () => crash(left - 1));
    };
    crash(times);
    return `container ${id.slice(8, 12)} crashes ${times} times`;
  }

  #heldBack(shortId: string): void {
    for (const [id, { endedMs, startedMs }] of this.#crashes) {
      const now = this.#clock.now();
      if (!id.startsWith(shortId) || endedMs.filter((at) => now - at < 59_000).length < flapDeaths) continue;
      if (now - startedMs < 9_000) this.#violate(`T2 ${shortId} is put, and crashes again and again`);
    }
  }

  get #hasTraffic(): boolean {
    return ['traffic', 'trouble', 'turmoil'].includes(this.#options.faultClass);
  }

  get #hasMaintenance(): boolean {
    return ['maintenance', 'rollout', 'turmoil'].includes(this.#options.faultClass);
  }

  /** Something that decides whether a container deserves traffic. */
  #traffic(id: ContainerId, what: number, how: number): string {
    const engine = this.#engine;
    const number = Number.parseInt(id.slice(0, 12), 16);
    if (!engine.containers.get(id)?.running) return `container ${number} does not run`;
    const note = () => this.#history.note(id, engine, this.#clock.now());
    const act = (verb: string, action: () => void): string => {
      this.#history.noteEnd(id, engine, this.#clock.now());
      action();
      note();
      this.#history.noteEnd(id, engine, this.#clock.now());
      return `container ${number} ${verb}`;
    };
    if (what < 0.4) {
      const health = (['unhealthy', 'healthy', 'unhealthy', 'starting'] as const)[Math.floor(how * 4)] ?? 'healthy';
      return act(`is ${health}`, () => engine.setHealth(id, health));
    }
    if (what < 0.55) return act('is paused, or goes on', () => engine.pause(id));
    const signal = what < 0.75 ? 'stop' : what < 0.8 ? 9 : [1, 15, 3, 10][Math.floor(how * 4)];
    return act(`is sent ${signal}`, () => {
      const asked = engine.kill(id, signal ?? 1);
      if (asked !== undefined) this.#history.noteAsked(id, this.#clock.now(), asked);
      if (asked !== 'first') return;
      // Some obey, at once or after a while; some run on.
      const life = engine.containers.get(id)?.startedAt;
      const isSame = () => engine.containers.get(id)?.running && engine.containers.get(id)?.startedAt === life;
      const obey = () => {
        if (!isSame()) return;
        act('obeys', () => (how < 0.2 ? engine.restart(id) : engine.die(id)));
        this.#noteLater(id, engine.rules.afterMs);
      };
      if (how < 0.6) this.#clock.after(how * 3_000, obey);
      this.#noteLater(id, drainMs + 0.5);
    });
  }

  /** Where every event arrives soon, keys of a container that deserves no traffic are soon gone. */
  #undeserved(): void {
    const { faultClass } = this.#options;
    if (faultClass !== 'traffic' && faultClass !== 'maintenance') return;
    const now = this.#clock.now();
    if (now - this.#cutAt < undeservedMaxMs) return;
    for (const { id } of this.#engine.containers.values()) {
      const shortId = id.slice(0, 12);
      const since = this.#history.endedAt(shortId);
      if (since === undefined || now - since < undeservedMaxMs) continue;
      const isShown = [...this.#store.keys.keys()].some((key) => layout.containerOf(key) === shortId && !isMeta(key));
      if (isShown) this.#violate(`T1 ${shortId} has deserved no traffic for ${Math.round(now - since)} ms`);
    }
  }

  #during(ms: number, what: string, set: (on: boolean) => void): string {
    set(true);
    this.#clock.after(ms, () => set(false));
    return `${what} for ${Math.round(ms)} ms`;
  }

  #replace(): void {
    if (!this.#processes.some((process) => process.isAlive)) this.#boot();
  }

  /** With views throughout, or on and off from one process to the next. */
  #hasViews(number: number): boolean {
    const { faultClass, seed } = this.#options;
    if (faultClass === 'handover') return number % 2 === seed % 2;
    return ['ports', 'leader', 'stuck'].includes(faultClass);
  }

  #boot(): void {
    const process = new Process(this.#processes.length + 1, {
      clock: this.#clock,
      engine: this.#engine,
      store: this.#store,
      resyncSeconds: this.#resyncSeconds,
      hasViews: this.#hasViews(this.#processes.length + 1),
      drains: this.#isDrained,
      registryFault: () => this.#registryFault(),
      findAddress: this.#hasAddresses ? async () => this.#address() : undefined,
      isAlive: (number) => (this.#isBlind ? undefined : this.#processes[number - 1]?.isAlive === true),
      say: (line) => this.#say(line),
      onStart: (wasReady) => {
        if (!wasReady) this.#violate('S17 a process says that it has started, and has not listed and claimed');
      },
      onEnd: (cause) => {
        // Whoever finds another one that lives has to go; nobody else has a reason.
        if (cause !== undefined && cause.code !== 'HOST_ID_TAKEN')
          this.#violate(`ended ${cause.code} ${cause.message}`);
        const hasRivals = ['rivals', 'everything'].includes(this.#options.faultClass);
        if (cause?.code === 'HOST_ID_TAKEN' && !hasRivals) this.#violate(`ended without a rival: ${cause.message}`);
      },
    });
    this.#processes.push(process);
    this.#say(`process ${process.number} starts`);
  }

  // ---- faults ----

  #engineAway = false;
  #etcdAway = false;

  #engineFault(call: string, id: ContainerId | undefined): EngineFault | undefined {
    if (this.#engineAway) return { kind: 'fails' };
    if (this.#options.faultClass === 'stuck' && call === 'inspect' && id === idOf(1)) return { kind: 'hangs' };
    const draw = this.#clock.random();
    const isFaulty =
      this.#faults &&
      ['engine', 'everything', 'answers', 'trouble', 'turmoil', 'astray'].includes(this.#options.faultClass);
    if (isFaulty) {
      if (draw < 0.05) return { kind: 'fails' };
      if (draw < 0.06) return { kind: 'hangs' };
      if (draw < 0.07 && call === 'inspect') return { kind: 'lost' };
      if (draw < 0.09) return { kind: 'cut' };
    }
    const [readMs, replyMs] = [this.#clock.random(), this.#clock.random()];
    if (draw < 0.5) return undefined;
    const { faultClass } = this.#options;
    const isCalm =
      !this.#faults ||
      ['calm', 'crashes'].includes(faultClass) ||
      (faultClass === 'handover' && !['task', 'inspect'].includes(call));
    const scale = isCalm ? 4 : faultClass === 'handover' ? 400 : 80;
    return { kind: 'slow', readMs: readMs * scale, replyMs: replyMs * scale };
  }

  #route(): readonly number[] {
    const { faultClass } = this.#options;
    const [draw, first, second] = [this.#clock.random(), this.#clock.random(), this.#clock.random()];
    if (!this.#faults) return [first * 2];
    if (faultClass === 'loss') return draw < 0.1 ? [] : [first * 2];
    if (['order', 'ports', 'stuck', 'traffic', 'addresses'].includes(faultClass))
      return draw < 0.2 ? [first * 50, second * 300] : [first * 30];
    if (['engine', 'everything', 'trouble', 'turmoil', 'astray'].includes(faultClass)) {
      if (draw < 0.05) return [];
      return draw < 0.15 ? [first * 50, second * 500] : [first * 50];
    }
    return [first * 2];
  }

  #registryFault(): RegistryFault | undefined {
    if (this.#etcdAway) return { kind: this.#clock.random() < 0.5 ? 'unavailable' : 'hang' };
    const draw = this.#clock.random();
    const [first, second] = [this.#clock.random(), this.#clock.random()];
    const isFaulty =
      this.#faults &&
      ['etcd', 'everything', 'rivals', 'trouble', 'turmoil', 'astray'].includes(this.#options.faultClass);
    if (isFaulty) {
      if (draw < 0.04) return { kind: 'ambiguous' };
      if (draw < 0.07) return { kind: 'late', ms: first * 4_000 };
      if (draw < 0.09) return { kind: 'unavailable' };
      if (draw < 0.1) return { kind: 'hang' };
    }
    if (draw < 0.5) return undefined;
    // The last request of a process that is killed may be under way for long.
    const isSlow = this.#faults && this.#options.faultClass === 'restart' && draw > 0.85;
    const isHandover = this.#faults && this.#options.faultClass === 'handover';
    const scale = isFaulty ? 150 : isSlow ? 1_500 : isHandover ? 200 : 5;
    return { kind: 'slow', requestMs: first * scale, replyMs: second * scale };
  }

  // ---- invariants ----

  #losesEvents(): boolean {
    return ['engine', 'everything', 'loss', 'trouble', 'turmoil', 'astray'].includes(this.#options.faultClass);
  }

  #changed(all: readonly Applied[]): void {
    const store = this.#store;
    const changes = all.filter(({ key }) => !isMaintenance(key));
    if (changes.length < all.length && !this.#isByHand) this.#violate('S1 a key of people was touched');
    if (changes.length === 0) return;
    const touched = new Set<string>();
    const told = new Set<string>();
    for (const { key, value, lease } of changes) {
      this.#say(`${value === undefined ? 'delete' : 'put'} ${key} ${value ?? ''} on ${lease} by ${store.writer}`);
      if (key === layout.ownerKey) continue;
      const shortId = layout.containerOf(key);
      if (shortId === undefined || strangers.includes(key)) this.#violate(`S1 ${key} is not ours`);
      else {
        if (!isMeta(key)) touched.add(shortId);
        told.add(shortId);
        if (value !== undefined && !isMeta(key)) this.#heldBack(shortId);
        if (value !== undefined && !isMeta(key)) this.#keptOut(shortId);
      }
      if (value !== undefined && lease === '0') this.#violate(`S6 ${key} is on no lease`);
    }
    for (const shortId of touched) this.#visible(shortId);
    if (this.#hasMaintenance) for (const shortId of told) this.#statesOf(shortId);
    this.#misdirected();
    if (store.isRevoking) return;
    const owner = store.keys.get(layout.ownerKey)?.value;
    const instance = owner === undefined ? undefined : (JSON.parse(owner) as { instance: string }).instance;
    if (instance !== store.writer) this.#violate(`S12 ${store.writer} has written while ${instance} owned the host`);
  }

  /** What etcd shows of a container now is all of one generation, or nothing. */
  #visible(shortId: string): void {
    const keys = [...this.#store.keys].filter(([key]) => layout.containerOf(key) === shortId && !isMeta(key));
    const shown = textOf(keys.map(([key, { value }]) => [key, value]));
    const { isRevoking } = this.#store;
    const { containers, drained, host } = this.#engine.out;
    // What people let in again may be put back before a process hears of a change that came between.
    const letInAt = Math.max(...['', shortId].map((name) => this.#letInAt.get(name) ?? Number.NEGATIVE_INFINITY));
    const isLetIn = this.#clock.now() - letInAt < undeservedMaxMs;
    const isOut = host || drained || isLetIn || [...containers].some((id) => id.startsWith(shortId));
    const verdict = this.#history.show(shortId, shown, isRevoking, this.#clock.now(), isOut);
    const writer = this.#processes.find(({ name }) => name === this.#store.writer);
    const wasWritten = verdict.kind !== 'same' && shown !== nothing && !isRevoking;
    if (wasWritten && !writer?.reads.has(shown)) this.#violate(`S2 ${shortId} was written, but never read: ${shown}`);
    if (verdict.kind === 'torn') this.#violate(`S4 ${shortId} shows what it never was: ${shown}`);
    if (verdict.kind === 'same' && !isRevoking) this.#violate(`S7 ${shortId} was written as it was`);
    if (verdict.kind === 'taken' && !(shown === nothing && writer && this.#waitsForEnd(writer, shortId)))
      this.#violate(`S10 ${shortId} was taken away while it was true`);
    if (verdict.kind === 'back' && !this.#losesEvents()) this.#violate(`S9 ${shortId} came back: ${shown}`);
  }

  /**
   * For the time of a drain a process waits for an end that does not come, where it does not know what the simulation does: it
   * stood still and hears of a stop late, or was started since and takes another stop for the first.
   */
  #waitsForEnd({ bootedAt, resumedAt }: Process, shortId: string): boolean {
    const { first, last } = this.#history.askedOf(shortId);
    const isNew = first < bootedAt && last >= bootedAt;
    const heardAt = resumedAt > last ? resumedAt : isNew ? last : Number.NEGATIVE_INFINITY;
    return this.#clock.now() - heardAt < drainMs;
  }

  async #end(): Promise<void> {
    const clock = this.#clock;
    this.#faults = false;
    for (const process of this.#processes) process.resume();
    // What was begun with a delay comes to its end.
    await clock.advance(this.#boundMs() === promptMs ? 500 : 26_000);
    if (this.#hasTraffic || this.#options.faultClass === 'maintenance') await clock.advance(2 * drainMs);
    // One more start has to be written.
    if (this.#engine.out.host) {
      this.#maintain(undefined, false);
      // Until every process has heard of it, nothing is published and all looks right.
      await clock.advance(60_000);
    }
    if (this.#options.faultClass === 'crashes') await clock.advance(heldMaxMs);
    this.#replace();
    this.#engineAway = false;
    this.#etcdAway = false;
    this.#hostAway = false;
    this.#store.outOfSpace = false;
    const boundMs = this.#losesEvents() ? renewalMs : this.#boundMs();
    const began = clock.now();
    const mayResync = this.#resyncSeconds === never ? boundMs : Math.min(boundMs, 75_000);
    while (this.#difference() !== '' && clock.now() - began < mayResync) await clock.advance(sampleMs);
    if (this.#difference() !== '') this.#violate(`L3 not exact after ${mayResync} ms: ${this.#difference()}`);
    // Who follows without publishing anything has still to claim.
    await clock.advance(repairMs);
    const { revision } = this.#store;
    await clock.advance(75_000);
    if (this.#store.revision !== revision) this.#violate(`S7 ${this.#store.revision - revision} revisions while calm`);
    if (this.#difference() !== '') this.#violate(`L3 not exact for good: ${this.#difference()}`);
    await this.#oneIsLeft();
    for (const key of strangers) {
      if (this.#store.keys.get(key)?.revision !== 2) this.#violate(`S1 ${key} was touched`);
    }
    for (const process of this.#processes) process.kill();
    await clock.advance(ttlSeconds * 1000 + 2_000);
    const left = [...this.#store.keys.keys()].filter((key) => !strangers.includes(key) && !isMaintenance(key));
    if (left.length > 0) this.#violate(`L4 ${left.join()} outlived the process`);
  }

  #boundMs(): number {
    switch (this.#options.faultClass) {
      case 'answers':
        return retryMs;
      case 'calm':
      case 'order':
      case 'ports':
      case 'stuck':
      case 'traffic':
      case 'crashes':
      case 'maintenance':
        return promptMs;
      default:
        return repairMs;
    }
  }

  /** A second where nothing fails; where something does, until that is over and mended. */
  #misdirectedMaxMs(): number {
    return this.#boundMs() === promptMs ? 1_000 : repairMs + 12_000;
  }

  #misdirected(): void {
    for (const text of this.#misdirection.check(this.#clock.now())) this.#violate(`S3 ${text}`);
  }

  /** One more start shows every process that thinks it is the owner that it is not. */
  async #oneIsLeft(): Promise<void> {
    const id = idOf(containersMax + 1);
    this.#engine.run(id, 'web');
    this.#history.note(id, this.#engine, this.#clock.now());
    this.#noteLater(id, this.#engine.rules.afterMs);
    await this.#clock.advance(retryMs);
    const left = this.#processes.filter((process) => process.isAlive);
    if (left.length !== 1) this.#violate(`S12 ${left.length} processes live on`);
    if (this.#difference() !== '') this.#violate(`L3 not exact after one more start: ${this.#difference()}`);
  }

  #difference(): string {
    const isOurs = (key: string) => key !== layout.ownerKey && !strangers.includes(key) && !isMaintenance(key);
    const held = [...this.#store.keys].filter(([key]) => isOurs(key));
    const shown = textOf(held.map(([key, { value }]) => [key, value]));
    const last = this.#processes.at(-1);
    const isStuck = (key: string) => [1, 2].some((n) => layout.containerOf(key) === idOf(n).slice(0, 12));
    const isWanted = (key: string) => this.#options.faultClass !== 'stuck' || !isStuck(key);
    const all = [...this.#engine.keys(last?.hasViews ? layout : plain), ...this.#engine.metas(plain)];
    const wanted = textOf(all.filter(([key]) => isWanted(key)));
    return shown === wanted ? '' : `${shown} instead of ${wanted}`;
  }

  #violate(text: string): void {
    if (this.#violations.length < violationsMax) this.#violations.push(text);
    this.#say(`VIOLATION ${text}`);
  }

  #say(text: string): void {
    const line = `${this.#clock.now().toFixed(3)} ${text}`;
    this.#hash.update(line);
    this.#options.onLine?.(line);
    if (/actor crashed|message dropped/.test(text)) this.#violations.push(`crash ${text}`);
    if (/changed by another program/.test(text) && !this.#mayDrift()) this.#violations.push(`L8 ${text}`);
  }

  /** Revoked leases and what a killed process left under way are drift that is to be repaired. */
  #mayDrift(): boolean {
    return ![
      'calm',
      'order',
      'engine',
      'answers',
      'loss',
      'ports',
      'stuck',
      'traffic',
      'crashes',
      'addresses',
      'maintenance',
    ].includes(this.#options.faultClass);
  }
}

function textOf(keys: readonly (readonly [string, string])[]): string {
  return JSON.stringify([...keys].sort(([a], [b]) => (a < b ? -1 : 1)));
}

const nothing = textOf([]);

/** Since when keys have led to a port that another container holds. */
class Misdirection {
  readonly #engine: FakeEngine;
  readonly #store: MemoryStore;
  readonly #maxMs: number;
  /** By key, its value and the container it leads to. */
  #since = new Map<string, number>();

  constructor(engine: FakeEngine, store: MemoryStore, maxMs: number) {
    this.#engine = engine;
    this.#store = store;
    this.#maxMs = maxMs;
  }

  /** To be called at each change of etcd and of the engine's ports. What has lasted too long by now is told once. */
  check(now: number): string[] {
    const since = new Map<string, number>();
    for (const [key, { value }] of this.#store.keys) {
      const id = layout.nameOf(key) === undefined ? undefined : layout.containerOf(key);
      if (id === undefined) continue;
      const [, address = '', port] = /\/\/(.*):(\d+)$/.exec(value) ?? [];
      const holders = this.#engine.reachedAt(address, Number(port));
      if (holders.length === 0 || holders.some((holder) => holder.startsWith(id))) continue;
      const name = `${key} ${value} leads to ${holders[0]?.slice(0, 12)}`;
      since.set(name, this.#since.get(name) ?? now);
    }
    const late = [...this.#since].filter(([, at]) => now - at > this.#maxMs);
    // What is still so counts anew.
    for (const [name] of late) if (since.has(name)) since.set(name, now);
    this.#since = since;
    return late.map(([name, at]) => `${name} for ${Math.round(now - at)} ms`);
  }
}

interface Generation {
  /** The native ones, and with them those of all views. */
  readonly keys: string;
  readonly viewed: string;
  /** How often its container had been given ports. */
  readonly bindings: number;
  readonly beganAt: number;
  endedAt: number | undefined;
  /** A transaction has taken it out of etcd, when it was over. */
  isTaken: boolean;
}

type Verdict = { readonly kind: 'torn' | 'same' | 'taken' | 'back' | 'fine' };

/** What each container ever was, and what of it etcd showed last. */
class History {
  readonly #generations = new Map<string, Generation[]>();
  readonly #asked = new Map<string, { readonly first: number; readonly last: number }>();
  readonly #shown = new Map<string, { readonly keys: string; readonly since: number }>();

  /** Takes note of what the container is now. */
  note(id: ContainerId, engine: FakeEngine, now: number): void {
    const shortId = id.slice(0, 12);
    const { keys, viewed } = this.#keysOf(shortId, engine, 'now');
    const all = this.#generations.get(shortId) ?? [];
    const last = all.at(-1);
    const bindings = engine.containers.get(id)?.bindings ?? 0;
    if (last?.keys === keys && last.bindings === bindings && last.endedAt === undefined) return;
    if (last !== undefined) last.endedAt ??= now;
    // A process that has not heard of the host's new address yet takes the container for one at an old address.
    for (const hostIp of engine.hostIps) {
      const old = hostIp === engine.hostIp ? undefined : this.#keysOf(shortId, engine, 'now', hostIp);
      if (old === undefined || old.keys === nothing || old.keys === keys) continue;
      all.push({ ...old, bindings, beganAt: now, endedAt: now, isTaken: false });
    }
    if (keys !== nothing) all.push({ keys, viewed, bindings, beganAt: now, endedAt: undefined, isTaken: false });
    this.#generations.set(shortId, all);
  }

  /**
   * To be called before and after a change. What a stop or its age keeps out of etcd is never due there. But a process may
   * hear of a change after the time is over, and of a stop after a change that came later.
   */
  noteEnd(id: ContainerId, engine: FakeEngine, now: number): void {
    const shortId = id.slice(0, 12);
    if (!engine.containers.has(id) || engine.deserves(id)) return;
    const { keys, viewed } = this.#keysOf(shortId, engine, 'in time');
    if (keys === nothing) return;
    const bindings = engine.containers.get(id)?.bindings ?? 0;
    const generation = { keys, viewed, bindings, beganAt: now, endedAt: now, isTaken: false };
    this.#generations.set(shortId, [...(this.#generations.get(shortId) ?? []), generation]);
  }

  /** A process with views and one without may follow each other. */
  #keysOf(shortId: string, engine: FakeEngine, when: 'now' | 'in time', hostIp?: string) {
    const textIn = (each: typeof layout) => textOf([...engine.keys(each, when, hostIp, shortId)]);
    return { keys: textIn(plain), viewed: textIn(layout) };
  }

  noteAsked(id: ContainerId, now: number, asked: 'first' | 'again'): void {
    const shortId = id.slice(0, 12);
    this.#asked.set(shortId, { first: asked === 'first' ? now : this.askedOf(shortId).first, last: now });
  }

  /** When it was asked to end, in the life that it was asked in last; infinite if never. */
  askedOf(shortId: string): { readonly first: number; readonly last: number } {
    return this.#asked.get(shortId) ?? { first: Number.POSITIVE_INFINITY, last: Number.POSITIVE_INFINITY };
  }

  /** Since when it deserves no keys; undefined if it deserves some, or never did. */
  endedAt(shortId: string): number | undefined {
    return this.#generations.get(shortId)?.at(-1)?.endedAt;
  }

  /** `isOut`: people have taken it out, and may let it in again before a process hears of an earlier change. */
  show(shortId: string, shown: string, isRevoking: boolean, now: number, isOut: boolean): Verdict {
    const all = this.#generations.get(shortId) ?? [];
    const { keys: before, since } = this.#shown.get(shortId) ?? { keys: nothing, since: now };
    if (shown !== before) this.#shown.set(shortId, { keys: shown, since: now });
    // Where ports are few, a container may be what it was before: any of those generations will do.
    const generations = all.filter(({ keys, viewed }) => keys === shown || viewed === shown);
    if (shown !== nothing && generations.length === 0) return { kind: 'torn' };
    if (shown === before) return { kind: 'same' };
    const gone = all.filter(({ keys, viewed, isTaken }) => (keys === before || viewed === before) && !isTaken);
    const isOtherView = gone.some((generation) => generations.includes(generation));
    if (gone.length > 0 && !isOtherView && !isRevoking) {
      const over = gone.filter(({ endedAt }) => endedAt !== undefined && endedAt <= now);
      if (over.length === 0) return { kind: 'taken' };
      // One that was given the same ports later was not shown yet: a look under way may still have seen it.
      for (const generation of over) if (generation.beganAt <= since && !isOut) generation.isTaken = true;
    }
    return { kind: generations.length > 0 && generations.every(({ isTaken }) => isTaken) ? 'back' : 'fine' };
  }
}

interface ProcessParts {
  readonly clock: VirtualClock;
  readonly engine: FakeEngine;
  readonly store: MemoryStore;
  readonly resyncSeconds: number;
  readonly hasViews: boolean;
  /** It drains its host when it stops. */
  readonly drains: boolean;
  readonly registryFault: () => RegistryFault | undefined;
  readonly findAddress: Parts['findAddress'] | undefined;
  /** Undefined: it cannot be seen from here. */
  readonly isAlive: (number: number) => boolean | undefined;
  readonly say: (line: string) => void;
  readonly onStart: (wasReady: boolean) => void;
  readonly onEnd: (cause: DiscoverError | undefined) => void;
}

/** A process with an agent in it, that can stand still and be killed at any moment. */
class Process {
  readonly number: number;
  readonly name: string;
  readonly hasViews: boolean;
  readonly bootedAt: number;
  /** What its looks have found, as it would stand in etcd. */
  readonly reads = new Set<string>();
  readonly #agent: Agent;
  #hasListed = false;
  #hasClaimed = false;
  #state: 'runs' | 'stands still' | 'over' = 'runs';
  #held: (() => void)[] = [];
  #clockMs = 0;
  /** When it ran again after it stood still; 0 if it never did. */
  resumedAt = 0;
  readonly #now: () => number;

  constructor(number: number, parts: ProcessParts) {
    this.number = number;
    const { clock, engine, store } = parts;
    const name = `process-${number}`;
    this.name = name;
    this.hasViews = parts.hasViews;
    this.bootedAt = clock.now();
    this.#now = () => clock.now();
    const registry = new MemoryRegistry(clock, store, name);
    registry.fault = parts.registryFault;
    const { findAddress } = parts;
    this.#agent = new Agent(configOf(parts, engine), {
      ...(findAddress && { findAddress: () => this.#across(findAddress) }),
      clock: {
        now: () => clock.now(),
        wall: () => clock.wall() + this.#clockMs,
        random: () => clock.random(),
        after: (ms, action) => clock.after(ms, () => this.#when(action)),
      },
      log: logTo((line) => parts.say(`${name} ${line}`)),
      docker: this.#dockerOf(engine),
      pool: this.#looksOf(engine.newLooks()),
      processes: engine,
      registry: this.#registryOf(registry),
      reader: this.#readerOf(registry),
      process: {
        self: identityOf(number),
        livenessOf: (other) => {
          const isAlive = other === undefined ? undefined : parts.isAlive(other.pid);
          return isAlive === undefined ? 'unknown' : isAlive ? 'alive' : 'gone';
        },
      },
      instance: name,
    });
    this.#agent.once('start', () => parts.onStart(this.#hasListed && this.#hasClaimed));
    void this.#agent.ended.then((cause) => {
      if (this.#state === 'over') return;
      this.#state = 'over';
      parts.say(`${name} ends ${cause?.code ?? ''}`);
      parts.onEnd(cause);
    });
  }

  get publishes(): boolean {
    return this.#agent.drainMs > 0;
  }

  get isAlive(): boolean {
    return this.#state !== 'over';
  }

  /** Asks it to end, which takes time. */
  stop(): void {
    this.resume();
    void this.#agent.stop();
  }

  kill(): void {
    this.#state = 'over';
    this.#held = [];
  }

  pause(): void {
    if (this.#state === 'runs') this.#state = 'stands still';
  }

  resume(): void {
    if (this.#state !== 'stands still') return;
    this.#state = 'runs';
    this.resumedAt = this.#now();
    for (const action of this.#held.splice(0)) this.#when(action);
  }

  setClock(ms: number): void {
    this.#clockMs = ms;
  }

  /** Now if it runs, when it runs again if it stands still, never if it is over. */
  #when(action: () => void): void {
    if (this.#state === 'runs') action();
    else if (this.#state === 'stands still') this.#held.push(action);
  }

  /** A call over the edge of the process: nobody calls, and nobody hears, who does not run. */
  async #across<Result>(call: () => Promise<Result>): Promise<Result> {
    if (this.#state === 'over') return new Promise(() => {});
    const outcome = call();
    return new Promise((resolve, reject) => {
      outcome.then(
        (result) => this.#when(() => resolve(result)),
        (error: unknown) => this.#when(() => reject(error)),
      );
    });
  }

  #dockerOf({ docker }: FakeEngine): Docker {
    return {
      negotiate: () => this.#across(() => docker.negotiate()),
      events: (engine, since, onChunk) =>
        this.#across(async () => {
          const stream = await docker.events(engine, since, (chunk) => this.#when(() => onChunk(chunk)));
          return { ...stream, ended: this.#across(() => stream.ended) };
        }),
    };
  }

  #looksOf(pool: InspectionPool): InspectionPool {
    const own: InspectionPool = {
      slots: pool.slots,
      usage: pool.usage,
      late: new Listeners(),
      inspect: async (number, version, ids) => {
        const reports = await this.#across(() => pool.inspect(number, version, ids));
        for (const report of reports) this.#read(report);
        return reports;
      },
      list: async (versionPrefix) => {
        const containers = await this.#across(() => pool.list(versionPrefix));
        this.#hasListed = true;
        return containers;
      },
      hostIs: (addresses) => pool.hostIs(addresses),
      close: async () => {},
    };
    pool.late.add((task, report) =>
      this.#when(() => {
        this.#read(report);
        own.late.tell(task, report);
      }),
    );
    return own;
  }

  #read({ id, inspection }: Report): void {
    if (inspection.kind !== 'running') return;
    for (const each of [plain, layout]) {
      const keys = [...keysOf(each, id.slice(0, 12), inspection.services)];
      this.reads.add(textOf(keys.filter(([key]) => !isMeta(key))));
    }
  }

  #readerOf(registry: MemoryRegistry): KeyReader {
    return {
      readBoth: (key, take) => this.#across(() => registry.readBoth(key, take)),
      watchBoth: (key, revision, changed, signal) =>
        this.#across(() => registry.watchBoth(key, revision, (changes) => this.#when(() => changed(changes)), signal)),
    };
  }

  #registryOf(registry: MemoryRegistry): Registry {
    return {
      owner: (...given) => this.#across(() => registry.owner(...given)),
      grant: (...given) => this.#across(() => registry.grant(...given)),
      keepAlive: (...given) => this.#across(() => registry.keepAlive(...given)),
      lease: (...given) => this.#across(() => registry.lease(...given)),
      claim: async (...given) => {
        const ownership = await this.#across(() => registry.claim(...given));
        if (ownership !== undefined) this.#hasClaimed = true;
        return ownership;
      },
      readPrefix: (...given) => this.#across(() => registry.readPrefix(...given)),
      readPage: (...given) => this.#across(() => registry.readPage(...given)),
      readKeys: (...given) => this.#across(() => registry.readKeys(...given)),
      commit: (...given) => this.#across(() => registry.commit(...given)),
      revoke: (...given) => this.#across(() => registry.revoke(...given)),
      close() {},
    };
  }
}

function identityOf(pid: number): ProcessIdentity {
  return { boot: 'boot', pidNamespace: 'pid:[1]', pid, startTicks: String(pid) };
}

function logTo(say: (line: string) => void): Log {
  const write = (fields: Record<string, unknown>, message: string) => say(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { error: write, warn: write, info: write, debug: write, child: () => log };
  return log;
}

function configOf({ resyncSeconds: resync, hasViews, drains, findAddress }: ProcessParts, engine: FakeEngine): Config {
  const { hasMeta } = engine;
  const { isPausedKept, ...publish } = engine.rules;
  return {
    ...defaultConfig,
    ...(hasMeta && { meta: 'always' as const }),
    publish: { ...defaultConfig.publish, ...publish, paused: isPausedKept ? 'keep' : 'withdraw' },
    resyncSeconds: resync,
    views: hasViews ? rules : [],
    etcd: { ...defaultConfig.etcd, ttlSeconds },
    host: {
      ...{ ...defaultConfig.host, ip: engine.hostIp },
      ...(findAddress && { wanted: {} }),
      ...(drains && { onExit: 'drain' as const, drainSeconds }),
    },
  };
}
