/**
 * The Docker Engine API as far as it is simulated: GET of ping, version, events, list and inspect.
 *
 * Statuses, headers and words of the answers are those recorded from dockerd 20.10.24
 * (test/fixtures/dockerd-20.10.24/answers.json), with one deliberate difference: a method other
 * than GET is answered 405, where dockerd has routes of its own, so that it stands out.
 */
import type { Containers } from './containers.ts';
import { type Form, inspectMessage, isUp, listElement } from './documents.ts';
import { type EventLog, Filters, type Moments, parseTime, Refusal } from './events.ts';
import { type AnswerFault, type FaultSettings, faultyAnswer, type RequestKind } from './faults.ts';
import { message, type Reply, streamHead } from './http.ts';
import type { Random } from './random.ts';
import { EventStream } from './stream.ts';
import { compareVersions, refuseVersion, serverVersion, versionText } from './version.ts';

/** What the API works with, all of it the engine's. */
export interface World {
  readonly api: string;
  readonly minApi: string;
  readonly bodyBytes: number;
  readonly faults: Readonly<FaultSettings>;
  readonly log: EventLog;
  readonly moments: Moments;
  readonly random: Random;
}

export type RequestCounts = Record<RequestKind, number>;

const listFilters = 'ancestor before exited expose health id is-task isolation label name network publish since status';
const listFiltersKnown = new Set([...listFilters.split(' '), 'volume']);
const listFiltersDone = new Set(['id', 'label', 'name', 'status']);
const states = new Set<string>(['created', 'restarting', 'running', 'removing', 'paused', 'exited', 'dead']);
const json = 'Content-Type: application/json\r\n';
const noCache = 'Cache-Control: no-cache, no-store, must-revalidate\r\nPragma: no-cache\r\n';

export class Api {
  readonly #containers: Containers;
  readonly #world: World;
  readonly #streams = new Map<EventStream, () => void>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #about: string;
  readonly counts: RequestCounts = { ping: 0, version: 0, events: 0, list: 0, inspect: 0, other: 0 };
  /** Method and target of every request, while `recording`. */
  readonly requests: string[] = [];
  recording = false;
  #lostByEnded = 0;

  constructor(containers: Containers, world: World) {
    this.#containers = containers;
    this.#world = world;
    this.#about = `Api-Version: ${world.api}\r\nOstype: linux\r\nServer: Docker/${serverVersion(world.api)} (linux)\r\n`;
  }

  /** Events that streams should have had and have not, in all. */
  get eventsLost(): number {
    return [...this.#streams.keys()].reduce((sum, stream) => sum + stream.lost, this.#lostByEnded);
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  get isAnyStreamBehind(): boolean {
    for (const stream of this.#streams.keys()) if (stream.isBehind) return true;
    return false;
  }

  handle(method: string, target: string, reply: Reply): void {
    if (this.recording) this.requests.push(`${method} ${target}`);
    const question = target.indexOf('?');
    const full = question < 0 ? target : target.slice(0, question);
    const prefix = /^\/v([0-9.]+)(?=\/)/.exec(full);
    const path = prefix ? full.slice(prefix[0].length) : full;
    const version = prefix?.[1] ?? this.#world.api;
    const [kind, reference] = route(path);
    this.counts[kind]++;
    const refused = this.#refuse(method, kind, version);
    if (refused) {
      reply.send(refused);
      return;
    }
    const form: Form = compareVersions(version, '1.52') < 0 ? 'legacy' : 'modern';
    const query = new URLSearchParams(question < 0 ? '' : target.slice(question + 1));
    const id = kind === 'inspect' ? this.#idOf(reference) : '';
    if (this.#world.faults.hangIds.includes(id)) return;
    this.#after(this.#delayMs(kind), () => {
      const fault = this.#world.faults.answers.find((each) => this.#applies(each, kind, id));
      const truth = (): Buffer => this.#answer(kind, form, reference, query);
      if (fault) {
        const { bytes, torn } = faultyAnswer(fault, truth, this.#headers());
        if (torn) reply.tear(bytes);
        else reply.send(bytes);
      } else if (kind === 'events') {
        this.#events(query, form, reply);
      } else {
        reply.send(method === 'HEAD' ? this.#ping('') : truth());
      }
    });
  }

  /** Ends all streams after so many bytes more. */
  cutEvents(afterBytes: number): void {
    for (const stream of [...this.#streams.keys()]) stream.cut(afterBytes);
  }

  /** Forgets what was to be answered later. The connections are the server's to end. */
  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const close of [...this.#streams.values()]) close();
  }

  #answer(kind: RequestKind, form: Form, reference: string, query: URLSearchParams): Buffer {
    try {
      switch (kind) {
        case 'inspect':
          return this.#inspect(reference, form);
        case 'list':
          return message('200 OK', this.#headers(), this.#list(query, form));
        case 'version':
          return message('200 OK', this.#headers(), `${versionText(this.#world.api, this.#world.minApi)}\n`);
        case 'ping':
          return this.#ping('OK');
        default:
          return message('200 OK', this.#headers(), '');
      }
    } catch (error) {
      return this.#refusal(error);
    }
  }

  #ping(body: string): Buffer {
    const headers = this.#headers('Content-Type: text/plain; charset=utf-8\r\n');
    return message('200 OK', `${noCache}${headers}`, body);
  }

  #inspect(reference: string, form: Form): Buffer {
    const found = this.#containers.find(reference);
    if (found === 'many') throw new Refusal(500, `Multiple IDs found with provided prefix: ${reference}`);
    if (!found) throw new Refusal(404, `No such container: ${reference}`);
    return found.inspects[form] ?? inspectMessage(found, form, this.#headers(), this.#world.bodyBytes);
  }

  #list(query: URLSearchParams, form: Form): string {
    const limitText = query.get('limit') ?? '';
    if (!/^([+-]?\d+)?$/.test(limitText)) {
      throw new Refusal(500, `strconv.Atoi: parsing ${JSON.stringify(limitText)}: invalid syntax`);
    }
    const limit = Number(limitText);
    const filters = Filters.parse(query.get('filters') ?? undefined);
    for (const key of filters.keys) {
      if (!listFiltersKnown.has(key)) throw new Refusal(400, `Invalid filter '${key}'`);
      if (!listFiltersDone.has(key)) throw new Refusal(501, `Filter '${key}' is not simulated`);
    }
    const wanted = filters.values('status');
    const odd = wanted.find((status) => !states.has(status));
    if (odd !== undefined) throw new Refusal(400, `Invalid filter 'status=${odd}'`);
    const all = isTrue(query.get('all')) || limit > 0 || wanted.length > 0;
    const names = filters.values('name').map(pattern);
    const shown = this.#containers
      .all()
      .filter(
        (container) =>
          (all || isUp(container)) &&
          filters.prefix('id', container.id) &&
          filters.exact('status', container.state) &&
          filters.labels(container.options.labels ?? {}) &&
          (names.length === 0 || names.some((name) => name.test(container.name))),
      );
    shown.sort((a, b) => (a.created < b.created ? 1 : -1));
    const nowMs = this.#world.moments.wall();
    const elements = (limit > 0 ? shown.slice(0, limit) : shown).map((each) => listElement(each, form, nowMs));
    return `[${elements.join(',')}]\n`;
  }

  #events(query: URLSearchParams, form: Form, reply: Reply): void {
    const { log, moments, faults, random } = this.#world;
    let since: bigint | undefined;
    let until: bigint | undefined;
    let filters: Filters;
    try {
      since = parseTime(query.get('since') ?? undefined);
      until = parseTime(query.get('until') ?? undefined);
      if (until !== undefined && until < (since ?? until)) {
        const [from, to] = [query.get('since'), query.get('until')];
        throw new Refusal(400, `\`since\` time (${from}) cannot be after \`until\` time (${to})`);
      }
      filters = Filters.parse(query.get('filters') ?? undefined);
    } catch (error) {
      reply.send(this.#refusal(error));
      return;
    }
    const close = (): void => {
      stream.close();
      unsubscribe();
      if (this.#streams.delete(stream)) this.#lostByEnded += stream.lost;
    };
    const body = reply.stream(streamHead('200 OK', this.#headers()), close);
    const stream = new EventStream(body, { filters, until, legacy: form === 'legacy', faults, random });
    const unsubscribe = log.subscribe((published) => stream.deliver(published));
    this.#streams.set(stream, close);
    for (const published of log.replay(since, until)) stream.deliver(published);
    if (until === undefined) return;
    const leftMs = Number(until / 1_000_000n) - moments.wall();
    // setTimeout takes 24 days at most; until further away than that is as good as none.
    if (leftMs < 2 ** 31) this.#after(leftMs, () => this.#streams.has(stream) && stream.end());
  }

  #refuse(method: string, kind: RequestKind, version: string): Buffer | undefined {
    if (method !== 'GET' && !(method === 'HEAD' && kind === 'ping')) {
      return message('405 Method Not Allowed', `${json}Allow: GET\r\n`, '{"message":"method not allowed"}\n');
    }
    if (kind === 'other') return message('404 Not Found', this.#dated(json), '{"message":"page not found"}\n');
    const refused = refuseVersion(version, this.#world.api, this.#world.minApi);
    return refused && message('400 Bad Request', this.#dated(refused[0] + this.#about), refused[1]);
  }

  #refusal(error: unknown): Buffer {
    if (!(error instanceof Refusal)) throw error;
    const words: Record<number, string> = { 400: 'Bad Request', 404: 'Not Found', 501: 'Not Implemented' };
    const line = `${error.status} ${words[error.status] ?? 'Internal Server Error'}`;
    return message(line, this.#headers(), `${JSON.stringify({ message: error.message })}\n`);
  }

  #headers(type = json): string {
    return this.#dated(`${this.#about}${type}Docker-Experimental: false\r\n`);
  }

  #dated(headers: string): string {
    return `${headers}Date: ${new Date(this.#world.moments.wall()).toUTCString()}\r\n`;
  }

  #idOf(reference: string): string {
    const found = this.#containers.find(reference);
    return found && found !== 'many' ? found.id : reference;
  }

  #applies({ on, fraction, ids }: AnswerFault, kind: RequestKind, id: string): boolean {
    if (on !== kind || (ids && !ids.includes(id))) return false;
    return fraction === undefined || this.#world.random.chance(fraction);
  }

  #delayMs(kind: RequestKind): number {
    const { inspectDelayMs, listDelayMs } = this.#world.faults;
    return kind === 'inspect' ? inspectDelayMs : kind === 'list' ? listDelayMs : 0;
  }

  #after(ms: number, action: () => void): void {
    if (ms <= 0) {
      action();
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, ms);
    this.#timers.add(timer);
  }
}

function route(path: string): [RequestKind, string] {
  if (path.startsWith('/containers/') && path.endsWith('/json') && path.length > 17) {
    const reference = path.slice(12, -5);
    return [reference.includes('/') ? 'other' : 'inspect', decode(reference)];
  }
  const kinds: Record<string, RequestKind> = {
    '/_ping': 'ping',
    '/version': 'version',
    '/events': 'events',
    '/containers/json': 'list',
  };
  return [kinds[path] ?? 'other', ''];
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function pattern(name: string): RegExp {
  try {
    return new RegExp(name);
  } catch {
    throw new Refusal(400, `Invalid filter 'name=${name}'`);
  }
}

function isTrue(value: string | null): boolean {
  return !['', '0', 'no', 'false', 'none'].includes((value ?? '').trim().toLowerCase());
}
