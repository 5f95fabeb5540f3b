/**
 * The containers of the simulated engine: what can happen to them, and the events that tells of it.
 *
 * Every operation but `stopSpaced` is done at once and publishes its events in the order recorded from
 * dockerd 20.10.24; there is no moment between `die` and `stop` for a client to look into. An operation
 * that a container's state does not allow throws: it is a mistake of the script that drives it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Attachment, type Bindings, type Container, type CreateOptions, endpoint } from './documents.ts';
import type { EngineEvent, EventLog, Moments } from './events.ts';
import { HostPorts } from './ports.ts';
import type { Random } from './random.ts';

/** What is true of a container, told as plain data. */
export interface ContainerTruth {
  readonly id: string;
  readonly name: string;
  readonly state: Container['state'];
  readonly env: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Nanoseconds since the epoch, in digits. */
  readonly startedAt: string;
  /** Of its network; empty where it has none. */
  readonly address: string;
  /** As in an inspect document. */
  readonly ports: Readonly<Record<string, Bindings>>;
}

const subnets: Readonly<Record<string, string>> = { bridge: '172.17', host: '', none: '' };
const driverOf: Readonly<Record<string, string>> = { host: 'host', none: 'null' };

export class Containers {
  protected readonly log: EventLog;
  readonly #random: Random;
  readonly #moments: Moments;
  readonly #ports: HostPorts;
  readonly #containers = new Map<string, Container>();
  readonly #byName = new Map<string, string>();
  readonly #byShortId = new Map<string, string>();
  readonly #networks = new Map<string, Attachment>();
  #created = 0;
  #attachedCount = 0;

  constructor(random: Random, moments: Moments, log: EventLog, portRange: readonly [number, number]) {
    this.#random = random;
    this.#moments = moments;
    this.log = log;
    this.#ports = new HostPorts(portRange);
  }

  create(options: CreateOptions = {}): string {
    let id = this.#random.hex(64);
    while (this.#byShortId.has(id.slice(0, 12))) id = this.#random.hex(64);
    const name = options.name ?? `simulated_${++this.#created}`;
    if (this.#byName.has(name)) throw new Error(`Name is taken: ${name}`);
    const home = this.#attachment(options.networkMode ?? 'default');
    const container: Container = {
      id,
      options,
      home,
      name,
      image: options.image ?? 'app:1',
      created:
        options.startedAt === undefined ? this.#moments.next() : BigInt(Math.round(options.startedAt)) * 1_000_000n,
      sandboxId: this.#random.hex(64),
      state: 'created',
      startedAt: 0n,
      finishedAt: 0n,
      exitCode: 0,
      restartCount: 0,
      pid: 0,
      bindings: new Map(),
      attached: home !== undefined,
      reattached: false,
      endpointId: '',
      address: 0,
      inspects: {},
      elements: {},
    };
    this.#containers.set(id, container);
    this.#byName.set(name, id);
    this.#byShortId.set(id.slice(0, 12), id);
    this.#containerEvent(container, 'create');
    return id;
  }

  start(id: string): void {
    const container = this.#get(id);
    if (container.state !== 'restarting') this.#expect(container, 'created', 'exited');
    if (container.attached) this.#attach(container);
    const { startedAt } = container.options;
    const first = container.startedAt === 0n && startedAt !== undefined;
    container.startedAt = first ? BigInt(Math.round(startedAt)) * 1_000_000n : this.#moments.next();
    container.pid = 2 + this.#random.below(4_000_000);
    container.exitCode = 0;
    this.#become(container, 'running');
    this.#containerEvent(container, 'start');
  }

  /** Creates and starts. */
  run(options: CreateOptions = {}): string {
    const id = this.create(options);
    this.start(id);
    return id;
  }

  /** As `docker stop` does: a container that takes no heed is killed after all. */
  stop(id: string, { heeds = true } = {}): void {
    for (const _pauseMs of this.#stopping(this.#get(id), heeds));
  }

  /** The same with pauses between the events, as long as those of the recording. */
  async stopSpaced(id: string): Promise<void> {
    for (const pauseMs of this.#stopping(this.#get(id), true)) await sleep(pauseMs);
  }

  /** Gives a pause between any two events. */
  *#stopping(container: Container, heeds: boolean): Generator<number, void> {
    this.#expect(container, 'running', 'paused');
    this.#containerEvent(container, 'kill', { signal: '15' });
    if (!heeds) this.#containerEvent(container, 'kill', { signal: '9' });
    yield 80;
    this.#exit(container, heeds ? 0 : 137, 'exited', false);
    yield 100;
    if (container.attached) this.#networkEvent(container, 'disconnect');
    yield 5;
    this.#containerEvent(container, 'stop');
    yield 4;
    if (container.options.autoRemove) this.#destroy(container);
  }

  /** Exits by itself. */
  die(id: string, exitCode = 0): void {
    const container = this.#get(id);
    this.#expect(container, 'running', 'paused');
    this.#exit(container, exitCode, 'exited');
    if (container.options.autoRemove) this.#destroy(container);
  }

  kill(id: string, signal = 9): void {
    this.#expect(this.#get(id), 'running', 'paused');
    this.#containerEvent(this.#get(id), 'kill', { signal: String(signal) });
    this.die(id, 128 + signal);
  }

  /** Exits under a restart policy: shown as running and restarting until `start`. */
  crash(id: string, exitCode = 1): void {
    const container = this.#get(id);
    this.#expect(container, 'running');
    container.restartCount++;
    this.#exit(container, exitCode, 'restarting');
  }

  /** Exits while no daemon is looking: no event, ever, and the document goes on showing the ports. */
  dieUnseen(id: string): void {
    const container = this.#get(id);
    this.#expect(container, 'running');
    container.finishedAt = this.#moments.next();
    container.pid = 0;
    this.#ports.free(container.bindings);
    this.#become(container, 'exited');
  }

  /** Ephemeral host ports change. */
  restart(id: string): void {
    const container = this.#get(id);
    if (container.state === 'running' || container.state === 'paused') {
      this.#containerEvent(container, 'kill', { signal: '15' });
      this.#exit(container, 0, 'exited');
      this.#containerEvent(container, 'stop');
    }
    this.start(id);
    this.#containerEvent(container, 'restart');
  }

  rename(id: string, name: string): void {
    const container = this.#get(id);
    if (this.#byName.has(name)) throw new Error(`Name is taken: ${name}`);
    const oldName = `/${container.name}`;
    this.#byName.delete(container.name);
    this.#byName.set(name, id);
    container.name = name;
    this.#become(container, container.state);
    this.#containerEvent(container, 'rename', { oldName });
  }

  pause(id: string): void {
    this.#expect(this.#get(id), 'running');
    this.#become(this.#get(id), 'paused');
    this.#containerEvent(this.#get(id), 'pause');
  }

  unpause(id: string): void {
    this.#expect(this.#get(id), 'paused');
    this.#become(this.#get(id), 'running');
    this.#containerEvent(this.#get(id), 'unpause');
  }

  /** The ports are gone, and no event of the container says so. dockerd tells of it twice. */
  disconnect(id: string): void {
    const container = this.#get(id);
    if (!container.attached) throw new Error(`Is not connected: ${id}`);
    this.#detach(container);
    container.attached = false;
    this.#become(container, container.state);
    this.#networkEvent(container, 'disconnect');
    this.#networkEvent(container, 'disconnect');
  }

  /** Ephemeral host ports are new ones. */
  connect(id: string): void {
    const container = this.#get(id);
    if (container.attached || !container.home) throw new Error(`Cannot be connected: ${id}`);
    container.attached = true;
    container.reattached = true;
    this.#become(container, container.state);
    if (container.state === 'running') this.#attach(container);
  }

  /** As `docker rm -f`: what runs is killed first. */
  remove(id: string): void {
    const container = this.#get(id);
    if (container.state === 'running' || container.state === 'paused') {
      this.#containerEvent(container, 'kill', { signal: '9' });
      this.#exit(container, 137, 'exited');
    }
    this.#destroy(container);
  }

  /** Any other event: a health probe, a pulled image. */
  emit(event: EngineEvent): void {
    this.log.publish(event);
  }

  /** Undefined when there is no such container. */
  truth(id: string): ContainerTruth | undefined {
    const container = this.#containers.get(id);
    return (
      container && {
        id,
        name: container.name,
        state: container.state,
        env: container.options.env ?? [],
        labels: container.options.labels ?? {},
        startedAt: String(container.startedAt),
        address: endpoint(container, true).IPAddress,
        ports: Object.fromEntries(container.bindings),
      }
    );
  }

  snapshot(): ContainerTruth[] {
    return [...this.#containers.keys()].flatMap((id) => this.truth(id) ?? []);
  }

  /** By full id, else by name, else by a prefix of the id; `many` when that is not one container. */
  find(reference: string): Container | 'many' | undefined {
    const exact = this.#containers.get(reference) ?? this.#containers.get(this.#byName.get(reference) ?? '');
    if (exact) return exact;
    if (reference.length === 12) return this.#containers.get(this.#byShortId.get(reference) ?? '');
    if (!/^[0-9a-f]{1,63}$/.test(reference)) return undefined;
    const [first, second] = [...this.#containers.values()].filter(({ id }) => id.startsWith(reference));
    return second ? 'many' : first;
  }

  all(): Container[] {
    return [...this.#containers.values()];
  }

  #get(id: string): Container {
    const container = this.#containers.get(id);
    if (!container) throw new Error(`No such container: ${id}`);
    return container;
  }

  #expect(container: Container, ...states: Container['state'][]): void {
    if (states.includes(container.state)) return;
    throw new Error(`Container must be ${states.join(' or ')}, is ${container.state}: ${container.id}`);
  }

  /** Every change ends here, because this is what the documents are made of. */
  #become(container: Container, state: Container['state']): void {
    container.state = state;
    container.inspects = {};
    container.elements = {};
  }

  #exit(container: Container, exitCode: number, state: 'exited' | 'restarting', isWhole = true): void {
    container.exitCode = exitCode;
    container.finishedAt = this.#moments.next();
    container.pid = 0;
    this.#detach(container);
    this.#become(container, state);
    this.#containerEvent(container, 'die', { exitCode: String(exitCode) });
    if (isWhole && container.attached) this.#networkEvent(container, 'disconnect');
  }

  #destroy(container: Container): void {
    this.#containers.delete(container.id);
    this.#byName.delete(container.name);
    this.#byShortId.delete(container.id.slice(0, 12));
    this.#containerEvent(container, 'destroy');
  }

  #attach(container: Container): void {
    const { home, options, bindings } = container;
    if (!home) return;
    bindings.clear();
    container.endpointId = this.#random.hex(64);
    container.address = 2 + (this.#attachedCount++ % 65_000);
    try {
      if (home.subnet) for (const port of options.ports ?? []) bindings.set(port.container, this.#ports.bind(port));
    } catch (error) {
      // As with dockerd: the start is refused, nothing of it is left, and no event tells of it.
      this.#ports.free(bindings);
      bindings.clear();
      throw error;
    }
    this.#become(container, container.state);
    this.#networkEvent(container, 'connect');
  }

  #detach(container: Container): void {
    // Ports still shown after `dieUnseen` are not the container's any more.
    if (container.state !== 'exited') this.#ports.free(container.bindings);
    container.bindings.clear();
  }

  #attachment(mode: string): Attachment | undefined {
    if (mode.startsWith('container:')) return undefined;
    const network = mode === 'default' ? 'bridge' : mode;
    let known = this.#networks.get(network);
    if (!known) {
      const subnet = subnets[network] ?? `172.${18 + (this.#networks.size % 14)}`;
      known = { network, networkId: this.#random.hex(64), subnet };
      this.#networks.set(network, known);
    }
    return known;
  }

  #containerEvent({ id, image, name, options }: Container, action: string, more: Record<string, string> = {}): void {
    this.log.publish({ type: 'container', action, id, attributes: { ...options.labels, ...more, image, name } });
  }

  #networkEvent({ id, home }: Container, action: 'connect' | 'disconnect'): void {
    if (!home) return;
    const { network, networkId } = home;
    const attributes = { container: id, name: network, type: driverOf[network] ?? 'bridge' };
    this.log.publish({ type: 'network', action, id: networkId, attributes });
  }
}
