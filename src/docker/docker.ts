/**
 * The Docker Engine for the main thread: the version that it speaks, and its events. dockerode makes the calls, and
 * `modem.ts` works around its defects.
 *
 * Every request passes `request-path.ts`, also those of the pool threads (the list and the inspections): a socket that
 * could start containers is only used to read.
 */

import Dockerode from 'dockerode';
import type { Clock } from '../actor/clock.ts';
import { DiscoverError, detailsOf } from '../errors.ts';
import { callEngine, unavailable } from './call.ts';
import { type DockerEndpoint, type ModemCall, type ModemCallOptions, withoutEnvironment } from './modem.ts';

export type { DockerEndpoint } from './modem.ts';

/** The result of the negotiation. */
export interface EngineInfo {
  /** As in a path: `/v1.41`, or empty if the engine does not name its version. */
  readonly versionPrefix: string;
  readonly serverVersion: string;
  /** For people only: no call depends on it, because a proxy may withhold it. */
  readonly product: 'Docker Engine' | 'Podman';
  /** The answers themselves say that it is Docker. */
  readonly isDocker?: boolean;
  /** The engine's clock when it answered, in whole seconds since the epoch. */
  readonly engineSeconds: number;
}

export interface EventStream {
  /** Resolves when the stream is over, for any reason. */
  readonly ended: Promise<void>;
  close(): void;
}

export type OnChunk = (chunk: Buffer, connection?: 0 | 1) => void;

/** The calls that the main thread makes of an engine; the simulation has its own. */
export interface Docker {
  /** Finds out the version that the engine speaks. `CONFIG_INVALID` when a pinned version is refused. */
  negotiate(): Promise<EngineInfo>;
  /**
   * Follows container and network events from `sinceSeconds` on. Resolves once the engine has answered. `connection`: the
   * bytes come on up to two of them, 0 and 1.
   */
  events(engine: EngineInfo, sinceSeconds: number, onChunk: OnChunk): Promise<EventStream>;
}

/** The newest version whose answers are known here. A newer engine still speaks it. */
const newestVersion = '1.52';
const callTimeoutMs = 5_000;
const ofEngine = { versionPrefix: '', bytesMax: 1 << 20 };

/**
 * The actions that can change the published keys; the engine sends no others: those of exec, which a health check has as
 * well, are many. Docker takes `health_status` for a prefix, of that and of every name here; no other action begins like one
 * of them.
 */
const starts = ['start'];
const others = ['die', 'destroy', 'pause', 'unpause', 'rename', 'kill', 'health_status', 'connect', 'disconnect'];
/**
 * What only Podman tells, or tells first. An engine that does not say that it is Docker is asked for these names as well: no
 * engine objects to a name of another one, and a proxy may withhold which one it is. Docker would tell of each stop twice.
 */
const startsOfPodman = ['restart', 'restore'];
const othersOfPodman = ['died', 'remove', 'checkpoint', 'stop'];

export class DockerClient implements Docker {
  readonly #endpoint: DockerEndpoint;
  readonly #clock: Clock;
  readonly #pinned: string | undefined;
  readonly #labels: readonly string[];

  /** `labels`: the labels by which the events of starts are filtered. */
  constructor(
    endpoint: DockerEndpoint,
    pinnedVersion: string | undefined,
    clock: Clock,
    labels: readonly string[] = [],
  ) {
    this.#endpoint = endpoint;
    this.#clock = clock;
    this.#pinned = pinnedVersion;
    this.#labels = labels;
  }

  async negotiate(): Promise<EngineInfo> {
    // One of the two answers is enough. Even none is enough, if a proxy withholds them.
    let giveUpVersion = (): void => {};
    const asked = this.#call('/version', ofEngine, async (docker, call) => {
      giveUpVersion = () => call.abort();
      return readVersion(await docker.version());
    });
    const pinged = this.#call('/_ping', ofEngine, async (docker, call) => {
      const { headers } = await call.dial(docker.modem, '/_ping');
      // Podman looks for the packages of its parts before it tells its version, which can take more than the time limit.
      if (this.#pinned === undefined && isComplete(headers)) giveUpVersion();
      return headers;
    });
    const [ping, version] = await Promise.allSettled([pinged, asked]);
    if (ping.status === 'rejected' && version.status === 'rejected' && !isWithheld(ping.reason)) throw ping.reason;
    const headers = ping.status === 'fulfilled' ? ping.value : {};
    const about: EngineVersion = version.status === 'fulfilled' ? version.value : {};
    const supported = versionIn(headers['api-version']) ?? versionIn(about.ApiVersion);
    if (this.#pinned !== undefined) refuseOldPin(this.#pinned, versionIn(about.MinAPIVersion));
    const spoken = this.#pinned ?? (supported && lowerVersion(supported, newestVersion));
    return {
      versionPrefix: spoken ? `/v${spoken}` : '',
      serverVersion: text(about.Version) ?? text(headers[podmanVersion]) ?? 'unknown',
      product: isPodman(headers, about) ? 'Podman' : 'Docker Engine',
      isDocker: !isPodman(headers, about) && isDocker(headers, about),
      engineSeconds: Math.floor((Date.parse(headers.date ?? '') || this.#clock.wall()) / 1000),
    };
  }

  async events(engine: EngineInfo, sinceSeconds: number, onChunk: OnChunk): Promise<EventStream> {
    const type: EventFilters['type'] = ['container', 'network'];
    const begin = engine.isDocker ? starts : [...starts, ...startsOfPodman];
    const event = engine.isDocker ? others : [...others, ...othersOfPodman];
    if (this.#labels.length === 0) {
      return this.#follow(engine, sinceSeconds, { type, event: [...begin, ...event] }, onChunk);
    }
    // Only starts are filtered by labels: an event of a network has none, and not every Podman gives a death any.
    const ofStarts: EventFilters = { type: ['container'], event: begin, label: [...this.#labels] };
    const first = await this.#follow(engine, sinceSeconds, ofStarts, onChunk);
    try {
      const second = await this.#follow(engine, sinceSeconds, { type, event }, (chunk) => onChunk(chunk, 1));
      const close = (): void => {
        first.close();
        second.close();
      };
      const ended = Promise.race([first.ended, second.ended]).then(close);
      return { ended, close };
    } catch (error) {
      first.close();
      throw error;
    }
  }

  #follow(
    engine: EngineInfo,
    since: number,
    filters: EventFilters,
    onChunk: (chunk: Buffer) => void,
  ): Promise<EventStream> {
    const options = { ...ofEngine, versionPrefix: engine.versionPrefix, onBody: onChunk };
    return this.#call('/events?', options, async (docker, call) => {
      await docker.getEvents({ since, filters });
      return { ended: call.ended, close: () => call.abort() };
    });
  }

  #call<Taken>(
    path: string,
    options: ModemCallOptions,
    work: (docker: Dockerode, call: ModemCall) => Promise<Taken>,
  ): Promise<Taken> {
    return callEngine(this.#endpoint, this.#clock, { ...options, path, timeoutMs: callTimeoutMs }, (call) =>
      work(
        withoutEnvironment(() => new Dockerode(call.options)),
        call,
      ),
    );
  }
}

interface EventFilters {
  readonly type: ('container' | 'network')[];
  readonly event: string[];
  readonly label?: string[];
}

/** The fields of `/version`; every one is foreign. */
interface EngineVersion {
  readonly Version?: unknown;
  readonly ApiVersion?: unknown;
  readonly MinAPIVersion?: unknown;
  readonly Components?: unknown;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** The header of each answer of Podman: its own version. */
const podmanVersion = 'libpod-api-version';

/** Whether the answer to a ping says all that `/version` would. */
function isComplete(headers: Readonly<Record<string, unknown>>): boolean {
  return text(headers[podmanVersion]) !== undefined && versionIn(headers['api-version']) !== undefined;
}

function isPodman(headers: Readonly<Record<string, unknown>>, about: EngineVersion): boolean {
  return podmanVersion in headers || JSON.stringify(about.Components ?? '').includes('Podman');
}

function isDocker({ server }: Readonly<Record<string, unknown>>, { Components }: EngineVersion): boolean {
  if (/^Docker\//.test(String(server))) return true;
  return Array.isArray(Components) && Components.some((one: { Name?: unknown } | null) => one?.Name === 'Engine');
}

/** The version becomes part of a path, so it must have the form of a version. */
function versionIn(value: unknown): string | undefined {
  return /^\d+\.\d+$/.test(String(value)) ? String(value) : undefined;
}

/** An answer that is not JSON comes as a Buffer (defect 3 of docker-modem). */
function readVersion(version: unknown): EngineVersion {
  if (Buffer.isBuffer(version)) throw unavailable('version is not JSON');
  return typeof version === 'object' && version !== null ? version : {};
}

/** Such a status proves that the server can be reached and withholds the answer. */
function isWithheld(error: unknown): boolean {
  const { status } = detailsOf(error);
  return status === 403 || status === 404;
}

function compareVersions(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split('.').map(Number);
  const [bMajor = 0, bMinor = 0] = b.split('.').map(Number);
  return aMajor - bMajor || aMinor - bMinor;
}

function lowerVersion(a: string, b: string): string {
  return compareVersions(a, b) <= 0 ? a : b;
}

function refuseOldPin(pinned: string, minimum: string | undefined): void {
  if (minimum === undefined || compareVersions(pinned, minimum) >= 0) return;
  throw new DiscoverError(
    'CONFIG_INVALID',
    `docker.version: this engine speaks ${minimum} or newer, got "${pinned}"; leave it out to negotiate`,
  );
}
