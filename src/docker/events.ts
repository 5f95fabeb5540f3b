/**
 * Bytes of the event stream to container events. Pure.
 *
 * The stream is a sequence of JSON objects. Docker ends each with a newline, but chunks cut them anywhere and join them freely,
 * a proxy may drop the newlines, and newer engines can put a record separator before each. So an object ends where its braces do,
 * and the bytes between objects are passed over. UTF-8 needs no care: braces, quotes and backslashes are single bytes that occur
 * in no other character.
 *
 * A container can make its events as large as its labels (16 MiB was accepted, which took 0.22 s of the main thread to read).
 * An object above `objectBytesMax` is skipped and reported, because it may have been an event that matters. A list then
 * shows the result of that event, and a pool thread reads the list.
 */

import { type ContainerId, isContainerId } from '../container/container.ts';
import { type Health, isHealth, signalOf } from '../container/traffic.ts';

/** The meaning of an event for the watcher. */
export type ContainerEvent =
  | {
      readonly kind: /** Something about the container may have changed. */
        | 'inspect'
        /** The same, but only worth an inspection if the container is known: its ports or its state may have changed. */
        | 'moved';
      readonly id: ContainerId;
      readonly at: number;
      /** Where the event is about the health alone. */
      readonly health?: Health | undefined;
    }
  /** The container's process is over. `isAsked`: it may have been asked to end, and the engine may not say so. */
  | { readonly kind: 'died'; readonly id: ContainerId; readonly at: number; readonly isAsked?: true }
  /** A signal was sent to it from outside; 0 where the engine does not say which. `isStart`: it has started as well. */
  | {
      readonly kind: 'killed';
      readonly id: ContainerId;
      readonly at: number;
      readonly signal: number;
      readonly isStart: boolean;
    }
  /** An event was lost to its size or its form. */
  | { readonly kind: 'unreadable' };

/** Labels of compose and Kubernetes take up to some 10 KB. */
const objectBytesMax = 256 << 10;

const quote = 0x22;
const backslash = 0x5c;
const open = 0x7b;
const close = 0x7d;
const newline = 0x0a;

/** Cuts a stream of bytes into the JSON objects in it. */
export class ObjectSplitter {
  readonly #onObject: (text: string) => void;
  readonly #onOversize: () => void;
  readonly #bytesMax: number;
  #depth = 0;
  #inString = false;
  #escaped = false;
  /** Earlier chunks of the object under way, and how many bytes they hold. */
  #held: Buffer[] = [];
  #heldBytes = 0;

  constructor(onObject: (text: string) => void, onOversize: () => void, bytesMax = objectBytesMax) {
    this.#onObject = onObject;
    this.#onOversize = onOversize;
    this.#bytesMax = bytesMax;
  }

  push(chunk: Buffer): void {
    let index = 0;
    while (index < chunk.length) {
      const behind = this.#depth === 0 ? this.#line(chunk, index) : index;
      index = behind > index ? behind : this.#scan(chunk, index);
    }
  }

  /** The usual way: a whole line that is one object. Returns the place behind it, or `start` if that is not so. */
  #line(chunk: Buffer, start: number): number {
    if (chunk[start] !== open) return start;
    const end = chunk.indexOf(newline, start);
    if (end < 0 || chunk[end - 1] !== close || end - start > this.#bytesMax) return start;
    const text = chunk.toString('utf8', start, end);
    if (!isOneObject(text)) return start;
    this.#onObject(text);
    return end + 1;
  }

  /** Byte by byte: to the end of an object, or to the beginning of the next one. Returns the place behind what was read. */
  #scan(chunk: Buffer, from: number): number {
    let depth = this.#depth;
    let inString = this.#inString;
    let escaped = this.#escaped;
    let start = depth > 0 ? from : chunk.length;
    let index = from;
    for (; index < chunk.length; index++) {
      const byte = chunk[index];
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === backslash) escaped = true;
        else if (byte === quote) inString = false;
      } else if (byte === open) {
        if (depth === 0 && index > from) break;
        if (depth++ === 0) start = index;
      } else if (depth > 0) {
        if (byte === quote) inString = true;
        else if (byte === close && --depth === 0) break;
      }
    }
    const isFinished = depth === 0 && index < chunk.length && chunk[index] === close;
    this.#depth = depth;
    this.#inString = inString;
    this.#escaped = escaped;
    if (isFinished) this.#finish(chunk, start, ++index);
    else if (depth > 0) this.#current(chunk.subarray(start));
    return index;
  }

  #current(part: Buffer): void {
    this.#heldBytes += part.length;
    if (this.#heldBytes > this.#bytesMax) this.#held = [];
    else this.#held.push(Buffer.from(part)); // the caller may overwrite its bytes
  }

  #finish(chunk: Buffer, start: number, end: number): void {
    const bytes = this.#heldBytes + end - start;
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    if (bytes > this.#bytesMax) this.#onOversize();
    else if (held.length === 0) this.#onObject(chunk.toString('utf8', start, end));
    else this.#onObject(Buffer.concat([...held, chunk.subarray(start, end)]).toString('utf8'));
  }
}

/**
 * Whether a text that begins and ends with a brace is one object: each brace has its counterpart, and none opens right behind
 * one that closes. Braces in strings can only make it say no, or be wrong about a text that is no JSON at all.
 */
function isOneObject(text: string): boolean {
  let closed = 0;
  for (let at = text.indexOf('}'); at >= 0; at = text.indexOf('}', at + 1)) {
    closed++;
    // A separator may stand between two objects. Engines write none within one.
    if (text.charCodeAt(at + 1) <= 0x20 || text.charCodeAt(at + 1) === open) return false;
  }
  let opened = 0;
  for (let at = text.indexOf('{'); at >= 0; at = text.indexOf('{', at + 1)) opened++;
  return opened === closed;
}

/** The fields of an event that are read, as engines before and since API 1.52 send them. */
interface RawEvent {
  readonly Type?: unknown;
  readonly Action?: unknown;
  readonly Actor?: {
    readonly ID?: unknown;
    readonly Attributes?: { readonly container?: unknown; readonly exitCode?: unknown; readonly signal?: unknown };
  };
  readonly status?: unknown;
  readonly id?: unknown;
  readonly time?: unknown;
  readonly timeNano?: unknown;
  /** Podman's. */
  readonly HealthStatus?: unknown;
}

/**
 * How Docker begins and ends each event of a container, before and since API 1.52. Between the two are the labels, which
 * can be most of an event. Nothing of them is read. No label can look like either: a label is in a string, where a quote is
 * escaped, and the end of the text is no label's.
 */
const usualHead =
  /^\{(?:"status":"(?:[^"\\]|\\.)*","id":"[0-9a-f]+","from":"[^"\\]*",)?"Type":"container","Action":"([a-z_]+)(?:: ((?:[^"\\]|\\.)*))?","Actor":\{"ID":"([0-9a-f]+)","Attributes":\{"/;
/** The same of a network: the container comes first, because Docker writes these in the order of their names. */
const networkHead =
  /^\{"Type":"network","Action":"(?:dis)?connect","Actor":\{"ID":"[0-9a-z]+","Attributes":\{"container":"([0-9a-f]+)",/;
const usualTail = /"\}\},"scope":"[a-z]+","time":\d+,"timeNano":(\d+)\}$/;
const tailMax = 96;
const usualSignal = /[{,]"signal":"(\d+)"/;

const healthAction = 'health_status';

/**
 * Podman tells of a stop only where it notes the end of the container before the process that cleans up after it does. These are
 * the exit codes of a program that has ended at its stop signal, or was killed because it had not.
 */
const codesOfStops: ReadonlySet<unknown> = new Set(['0', '130', '137', '143']);

/** The meaning of an event; undefined if the event concerns no container. */
export function readEvent(text: string, isPodman = false): ContainerEvent | undefined {
  const usual = isPodman ? undefined : readUsual(text);
  return usual === 'passed over' ? undefined : (usual ?? readAny(text, isPodman));
}

/**
 * What comes often, in Docker's usual form: a start, a signal, an end, a change of network or of health, and a command of a health
 * check where a proxy does not filter. Undefined: the whole text has to be parsed.
 */
function readUsual(text: string): ContainerEvent | 'passed over' | undefined {
  const [, action, word, id = networkHead.exec(text)?.[1]] = usualHead.exec(text) ?? [];
  if (!isContainerId(id)) return undefined;
  const tail = usualTail.exec(text.slice(-tailMax));
  if (tail === null) return undefined;
  const at = nanoseconds({ timeNano: Number(tail[1]) });
  switch (action) {
    case undefined:
      return { kind: 'moved', id, at };
    case 'start':
      return { kind: 'inspect', id, at };
    case 'die':
    case 'destroy':
      return { kind: 'died', id, at };
    case 'kill': {
      const signal = signalOf(usualSignal.exec(text)?.[1]);
      return signal === undefined ? undefined : { kind: 'killed', id, at, signal, isStart: false };
    }
    case healthAction:
      return isHealth(word) ? { kind: 'moved', id, at, health: word } : undefined;
    case 'exec_create':
    case 'exec_start':
    case 'exec_die':
      return 'passed over';
    default:
      return undefined;
  }
}

function readAny(text: string, isPodman: boolean): ContainerEvent | undefined {
  let raw: RawEvent | null;
  try {
    raw = JSON.parse(text) as RawEvent | null;
  } catch {
    return { kind: 'unreadable' };
  }
  if (raw === null || typeof raw !== 'object') return undefined;
  const at = nanoseconds(raw);
  const action = raw.Action ?? raw.status;
  if (raw.Type === 'network') {
    // Podman's actor is the container, Docker's is the network and names the container.
    const id = raw.Actor?.Attributes?.container ?? raw.Actor?.ID;
    const isMove = action === 'connect' || action === 'disconnect';
    return isMove && isContainerId(id) ? { kind: 'moved', id, at } : undefined;
  }
  const id = raw.Actor?.ID ?? raw.id;
  if ((raw.Type !== undefined && raw.Type !== 'container') || !isContainerId(id)) return undefined;
  switch (action) {
    case 'start':
    // Podman's name for a start from a checkpoint.
    case 'restore':
      return { kind: 'inspect', id, at };
    // Docker tells a restart by a person when it is over, Podman before it kills.
    case 'restart':
      return { kind: 'killed', id, at, signal: 0, isStart: true };
    // Podman tells no `kill` of a stop, and no signal of a `kill`.
    case 'kill':
    case 'stop':
      return { kind: 'killed', id, at, signal: signalOf(raw.Actor?.Attributes?.signal) ?? 0, isStart: false };
    case 'checkpoint':
    case 'pause':
    case 'unpause':
    // The name of a container is in the meta of its instances.
    case 'rename':
      return { kind: 'moved', id, at };
    case 'die':
    case 'destroy':
    // Podman's names.
    case 'died':
    case 'remove': {
      const isAsked = isPodman && codesOfStops.has(raw.Actor?.Attributes?.exitCode);
      return { kind: 'died', id, at, ...(isAsked && { isAsked }) };
    }
    default:
      return isHealthAction(action) ? { kind: 'moved', id, at, health: healthOf(action, raw) } : undefined;
  }
}

const isHealthAction = (action: unknown): action is string =>
  typeof action === 'string' && action.startsWith(healthAction);

/** Docker writes `health_status: healthy`, Podman has the word apart; undefined for a word that is not known. */
function healthOf(action: string, { HealthStatus }: RawEvent): Health | undefined {
  const word = action.slice(healthAction.length).replace(/^: */, '') || HealthStatus;
  return isHealth(word) ? word : undefined;
}

/** Nanoseconds since the epoch as a double, good to 256 ns; 0 when the engine does not say, or not in an int64. */
function nanoseconds(raw: RawEvent): number {
  const { time, timeNano } = raw;
  const at = typeof timeNano === 'number' ? timeNano : typeof time === 'number' ? time * 1e9 : 0;
  return at > 0 && at < 2 ** 63 ? at : 0;
}
