/**
 * A simulated Docker Engine: containers that live and die on command, and an API that tells of them.
 *
 * It is there for rates a real dockerd cannot reach and for faults a real one does not have on
 * demand. What it says is what dockerd says, key for key (test/unit/engine.test.ts); what it does
 * not know is no part of the read side that discover uses.
 */
import { Api, type RequestCounts } from './api.ts';
import { Containers } from './containers.ts';
import { EventLog, Moments } from './events.ts';
import { type FaultSettings, noFaults } from './faults.ts';
import { type Address, HttpServer } from './http.ts';
import { Random } from './random.ts';

export type { ContainerTruth } from './containers.ts';
export type { CreateOptions, PortSpec } from './documents.ts';
export type { AnswerFault, FaultSettings } from './faults.ts';
export type { Address } from './http.ts';

export interface EngineOptions {
  /** `1.41` as dockerd 20.10, `1.52` as Docker 29. Older versions of the API are spoken by both. */
  readonly api: '1.41' | '1.52';
  /** Default: what those engines have, 1.12 and 1.44. */
  readonly minApi?: string;
  /** The least size of an inspect document; without, it is about 5 kB. */
  readonly bodyBytes?: number;
  readonly seed?: number;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
  /** Where ephemeral host ports come from, both included. A small range makes ports recycle. */
  readonly portRange?: readonly [number, number];
}

export class Engine extends Containers {
  /** Change a field at any time; it holds from the next request or event on. */
  readonly faults: FaultSettings = { ...noFaults };
  readonly #api: Api;
  readonly #http: HttpServer;
  readonly #moments: Moments;

  constructor(options: EngineOptions) {
    const { api, minApi, bodyBytes = 0, seed = 1, clock = Date.now, portRange = [32_768, 60_999] } = options;
    const random = new Random(seed);
    const moments = new Moments(clock, random);
    super(random, moments, new EventLog(moments), portRange);
    this.#moments = moments;
    this.#api = new Api(this, {
      api,
      minApi: minApi ?? (api === '1.41' ? '1.12' : '1.44'),
      bodyBytes,
      faults: this.faults,
      log: this.log,
      moments,
      random,
    });
    this.#http = new HttpServer((method, target, reply) => this.#api.handle(method, target, reply));
  }

  /** A unix socket, or a port of 127.0.0.1 (0: any free one). */
  async listen(address: Address): Promise<void> {
    await this.#http.listen(address);
  }

  get port(): number | undefined {
    return this.#http.port;
  }

  async close(): Promise<void> {
    this.#api.stop();
    await this.#http.close();
    this.#http.removeStale();
  }

  /**
   * Is away as a stopped daemon is (`missing`: the socket's file is gone) or a killed one
   * (`refusing`: it is still there). Containers and what is done to them go on.
   */
  async leave(as: 'missing' | 'refusing'): Promise<void> {
    this.#api.stop();
    await this.#http.close(as === 'refusing' ? 'stale' : 'nothing');
  }

  /** Is back in the same place. A daemon that has restarted remembers no events. */
  async comeBack({ remembering = false } = {}): Promise<void> {
    if (!remembering) this.log.forget();
    await this.#http.reopen();
  }

  setClock(offsetMs: number): void {
    this.#moments.set(offsetMs);
  }

  get counts(): RequestCounts {
    return this.#api.counts;
  }

  /** Method and target of each request since `recordRequests` was set. */
  get requests(): readonly string[] {
    return this.#api.requests;
  }

  set recordRequests(on: boolean) {
    this.#api.recording = on;
  }

  /** Event streams now open. */
  get streamCount(): number {
    return this.#api.streamCount;
  }

  /** A reader is so slow that it will lose events unless the next ones wait for it. */
  get isReaderBehind(): boolean {
    return this.#api.isAnyStreamBehind;
  }

  get eventsPublished(): number {
    return this.log.published;
  }

  /** Events that reached no stream: dropped, silenced or not read in time. */
  get eventsLost(): number {
    return this.#api.eventsLost;
  }

  /** Ends every event stream, at once or after so many bytes of events more, mid-line if it falls so. */
  cutEvents(afterBytes = 0): void {
    this.#api.cutEvents(afterBytes);
  }
}
