/**
 * What a Docker daemon remembers and says of events: the ring, the filters, the wire form.
 *
 * Recorded from dockerd 20.10.24 and read in moby's source where a recording cannot tell. The ring
 * holds the last 256 events of all types; `since` is taken before the filters, so noise pushes
 * container events out. Times come from `Moments`, strictly increasing, and stay bigint until they
 * are text: a nanosecond does not survive a double.
 *
 * The form of an event follows the version that was asked for, not the engine's own: below 1.52
 * `status`, `id` and `from` repeat what `Action` and `Actor` say.
 */
import { chunk } from './http.ts';
import type { Random } from './random.ts';

export interface EngineEvent {
  readonly type: string;
  readonly action: string;
  readonly id: string;
  readonly attributes: Readonly<Record<string, string>>;
}

const ringSize = 256;

/** The engine's clock: nanoseconds since the epoch, never the same twice unless it is set. */
export class Moments {
  readonly #clock: () => number;
  readonly #random: Random;
  #offsetMs = 0;
  #last = 0n;

  constructor(clock: () => number, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Milliseconds, for answers that say when they were given. */
  wall(): number {
    return this.#clock() + this.#offsetMs;
  }

  /** Sets the clock so far from the true time. */
  set(offsetMs: number): void {
    this.#offsetMs = offsetMs;
    this.#last = 0n;
  }

  next(): bigint {
    const now = BigInt(Math.floor(this.wall())) * 1_000_000n + BigInt(this.#random.below(500_000));
    this.#last = now > this.#last ? now : this.#last + BigInt(1 + this.#random.below(900));
    return this.#last;
  }
}

/** One event that has happened, with its lines on the wire. */
export class Published {
  readonly event: EngineEvent;
  readonly timeNano: bigint;
  readonly #frames: (Buffer | undefined)[] = [];
  readonly #lines: (Buffer | undefined)[] = [];

  constructor(event: EngineEvent, timeNano: bigint) {
    this.event = event;
    this.timeNano = timeNano;
  }

  line(legacy: boolean): Buffer {
    const slot = legacy ? 1 : 0;
    this.#lines[slot] ??= Buffer.from(encode(this.event, this.timeNano, legacy));
    return this.#lines[slot];
  }

  /** The line as one chunk of an answer, which is how dockerd writes it. */
  frame(legacy: boolean): Buffer {
    const slot = legacy ? 1 : 0;
    this.#frames[slot] ??= chunk(this.line(legacy));
    return this.#frames[slot];
  }
}

function encode({ type, action, id, attributes }: EngineEvent, timeNano: bigint, legacy: boolean): string {
  const sorted = Object.fromEntries(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)));
  let text = '{';
  if (legacy && (type === 'container' || type === 'image')) text += `"status":"${action}","id":"${id}",`;
  if (legacy && type === 'container') text += `"from":${JSON.stringify(attributes.image ?? '')},`;
  text += `"Type":"${type}","Action":${JSON.stringify(action)},"Actor":{"ID":"${id}","Attributes":`;
  text += `${JSON.stringify(sorted)}},"scope":"local","time":${timeNano / 1_000_000_000n},"timeNano":${timeNano}}\n`;
  // Go's encoder writes these so that JSON can stand in HTML; only the event stream has it switched on.
  return text.replaceAll(/[<>&\u2028\u2029]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export class EventLog {
  readonly #moments: Moments;
  readonly #ring: Published[] = [];
  readonly #listeners = new Set<(published: Published) => void>();
  #count = 0;

  constructor(moments: Moments) {
    this.#moments = moments;
  }

  /** How many there have been. */
  get published(): number {
    return this.#count;
  }

  publish(event: EngineEvent): Published {
    this.#count++;
    const published = new Published(event, this.#moments.next());
    this.#ring.push(published);
    if (this.#ring.length > ringSize) this.#ring.shift();
    for (const listener of this.#listeners) listener(published);
    return published;
  }

  subscribe(listener: (published: Published) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Remembered events from `since` to `until`, both included. Without either there is no replay. */
  replay(since: bigint | undefined, until: bigint | undefined): Published[] {
    if (since === undefined && until === undefined) return [];
    // As dockerd does it: back from the newest, to the first that is older. Behind that one may lie younger
    // ones, from before the clock was set.
    const first = since === undefined ? -1 : this.#ring.findLastIndex(({ timeNano }) => timeNano < since);
    return this.#ring.slice(first + 1).filter(({ timeNano }) => until === undefined || timeNano <= until);
  }

  /** As after a restart of the daemon. */
  forget(): void {
    this.#ring.length = 0;
  }
}

/** A query that dockerd refuses, with the status and the words it uses. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, text: string) {
    super(text);
    this.status = status;
  }
}

/** `seconds[.nanoseconds]`; nothing else, and dockerd answers 500 to the rest. */
export function parseTime(text: string | undefined): bigint | undefined {
  if (!text) return undefined;
  const [seconds = '', fraction] = splitOnce(text, '.');
  if (!/^[+-]?\d+$/.test(seconds)) throw notInteger(seconds);
  if (fraction === undefined) return BigInt(seconds) * 1_000_000_000n;
  if (!/^[+-]?\d+$/.test(fraction)) throw notInteger(fraction);
  return BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9));
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function notInteger(text: string): Refusal {
  return new Refusal(500, `strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
}

/** The `filters` of a query: keys are anded, values of one key are ored. */
export class Filters {
  readonly #fields = new Map<string, Map<string, boolean>>();

  static parse(text: string | undefined): Filters {
    const filters = new Filters();
    if (!text) return filters;
    for (const [key, values] of Object.entries(parseObject(text))) {
      const entries = Array.isArray(values)
        ? values.map((value): [string, boolean] => [String(value), true])
        : Object.entries(values as Record<string, boolean>);
      filters.#fields.set(key, new Map(entries));
    }
    return filters;
  }

  get keys(): string[] {
    return [...this.#fields.keys()];
  }

  values(key: string): string[] {
    return [...(this.#fields.get(key)?.keys() ?? [])];
  }

  exact(key: string, source: string): boolean {
    const field = this.#fields.get(key);
    return !field?.size || field.get(source) === true;
  }

  /** One of the values begins the source. */
  prefix(key: string, ...sources: (string | undefined)[]): boolean {
    const field = this.#fields.get(key);
    if (!field?.size) return true;
    return sources.some(
      (source) => source !== undefined && [...field.keys()].some((value) => source.startsWith(value)),
    );
  }

  /** `key` or `key=value`; every one of them has to hold. */
  labels(labels: Readonly<Record<string, string>>): boolean {
    return this.values('label').every((wanted) => {
      const [name, value] = splitOnce(wanted, '=');
      return Object.hasOwn(labels, name) && (value === undefined || labels[name] === value);
    });
  }

  /** Keys that say nothing of events are passed over, as dockerd does. */
  includes({ type, action, id, attributes }: EngineEvent): boolean {
    const [prefix] = splitOnce(action, ':');
    return (
      (this.exact('event', action) || this.exact('event', prefix)) &&
      this.exact('type', type) &&
      this.exact('scope', 'local') &&
      (!this.#fields.get('container')?.size ||
        (type === 'container' && this.prefix('container', id, attributes.name))) &&
      (!this.#fields.get('network')?.size || (type === 'network' && this.prefix('network', id, attributes.name))) &&
      (this.exact('image', attributes.image ?? id) || this.exact('image', splitOnce(attributes.image ?? id, ':')[0])) &&
      this.labels(attributes)
    );
  }
}

function parseObject(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    const isFields = (fields: unknown): fields is object => typeof fields === 'object' && fields !== null;
    if (isFields(value) && !Array.isArray(value) && Object.values(value).every(isFields)) return value;
  } catch {
    // Answered below: to dockerd all of it is one failure to decode.
  }
  return refuseJson(text);
}

function refuseJson(text: string): never {
  throw new Refusal(500, `invalid character '${text.trim()[0] ?? ''}' looking for beginning of value`);
}
