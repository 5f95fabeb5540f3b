/**
 * One answer of `GET /containers/<id>/json` to the inspection of that container.
 *
 * Only two fields decide what is true: a document without `State.Running` says nothing, and a
 * failed inspection must not unpublish. Whether a container that runs deserves traffic is decided in `lifecycle/`.
 * Reads what API 1.41, 1.52 and Podman have in common, and never throws on parsed JSON.
 *
 * `StartedAt` is compared with event times: `Date` alone would lose all below a millisecond.
 */

import { addressOf } from './address/address.ts';
import { type Address, type HostView, hostNetworkOf, isRecord } from './address/published.ts';
import type { AddressPolicy } from './address/wishes.ts';
import {
  type At,
  type Attributes,
  type ContainerId,
  type Inspection,
  isContainerId,
  type Names,
  type Refusal,
  type Service,
} from './container.ts';
import { type Filter, mismatchOf } from './filter.ts';
import { attributesWith, hasMeta, type MetaOptions, metaOf } from './meta.ts';
import { namesOf } from './names.ts';
import { type Entry, refusal, textOf } from './sources/advertisement.ts';
import { type DeclarationOptions, readDeclaration } from './sources/declaration.ts';
import { readTraffic } from './traffic.ts';

export interface InspectionOptions extends DeclarationOptions, MetaOptions, HostView {
  /** Which address is published; the one where the engine publishes the port, unless configured. */
  readonly address?: AddressPolicy | undefined;
  /** The keys of an instance without its meta; 1 without views. */
  readonly keysPerInstance?: number | undefined;
  /** The keys that a weight adds. */
  readonly keysPerWeight?: number | undefined;
  /** The containers that are taken; undefined: all of them. */
  readonly filter?: readonly Filter[] | undefined;
}

// An etcd takes 128 in a transaction, and the guard of the owner is one.
const OPERATIONS_MAX = 127;

/** The container whose network another one uses. */
export interface NetworkOwner {
  /** Its id, behind those of containers that are between the two. */
  readonly ids: readonly ContainerId[];
  /** Its document; undefined if it has ended. */
  readonly document: unknown;
}

/** The container whose network this one uses; undefined if it has one of its own. */
export function networkOwnerOf(document: unknown): ContainerId | undefined {
  const mode = field(field(document, 'HostConfig'), 'NetworkMode');
  const id = isString(mode) && mode.startsWith('container:') ? mode.slice('container:'.length) : undefined;
  return isContainerId(id) ? id : undefined;
}

/**
 * Whether the container runs and, if so, its services with their addresses. If it uses the network of another one and
 * has entries, the inspection has `sharesWith` and should be read again with the `owner`.
 */
export function readInspection(document: unknown, options: InspectionOptions, owner?: NetworkOwner): Inspection {
  const state = field(document, 'State');
  const running = field(state, 'Running');
  if (typeof running !== 'boolean') {
    return { kind: 'failed', detail: 'The answer is not an inspect document: State.Running must be true or false' };
  }
  if (!running || field(state, 'Restarting') === true || field(state, 'Dead') === true) return { kind: 'down' };
  // One that no longer matches is taken away like one that has ended.
  if (options.filter !== undefined && mismatchOf(document, options.filter) !== undefined) return { kind: 'down' };

  const declaration = readDeclaration(document, options);
  const { realm } = declaration;
  const { keysPerInstance = 1 } = options;
  // The record takes one operation, and each entry its own.
  let room = OPERATIONS_MAX - 1 - declaration.entries.length * keysPerInstance;
  const isEnded = owner !== undefined && !isStillOwner(document, owner);
  const network = hostNetworkOf(owner === undefined ? document : owner.document, options);
  const services: Service[] = [];
  // Most containers advertise nothing, and nothing asks for their names.
  const isSilent = declaration.entries.length + declaration.refusals.length === 0;
  const names = isSilent ? undefined : namesOf(document);
  const refusals: Refusal[] = [...declaration.refusals];
  const unfit: string[] = [];
  for (const entry of declaration.entries) {
    const way = isEnded ? ended(entry) : addressOf(entry, network, options.address, declaration.address);
    if (way.kind === 'refused') refusals.push(owner === undefined ? way.refusal : ofOwner(way.refusal));
    else {
      const { name, privatePort, protocol } = entry;
      const { address, port, other } = way;
      const one = { name, privatePort, protocol, address, port };
      const service = other === undefined ? one : { ...one, ...besideAddress(port, other, options) };
      const beside = besideOf(
        names,
        entry,
        declaration.attributes.get(textOf(entry)) ?? declaration.attributes.get(name),
        options,
      );
      const isPlain = realm === undefined && beside === undefined;
      if (beside === undefined || beside.keys <= room) {
        room -= beside?.keys ?? 0;
        services.push(isPlain ? service : { ...service, ...present({ realm, ...beside?.members }) });
      } else {
        unfit.push(textOf(entry));
        services.push({ ...service, ...present({ realm }) });
      }
    }
  }
  if (unfit.length > 0) {
    const detail = `The attributes of ${unfit.length} services do not fit into the transaction of their container`;
    refusals.push(refusal('attribute-too-many', unfit[0] ?? '', detail));
  }
  const startedAt = nanosecondsOf(field(state, 'StartedAt'));
  const traffic = readTraffic(document, declaration.wishes);
  const sharesWith = owner?.ids ?? (declaration.entries.length > 0 ? sharedBy(document) : undefined);
  return {
    kind: 'running',
    startedAt,
    services,
    refusals,
    ...(names && { names }),
    ...(traffic && { traffic }),
    ...(sharesWith && { sharesWith }),
  };
}

/** A second instance, or the address alone for views that show it. */
function besideAddress(port: number, other: At, { address }: InspectionOptions): Pick<Service, 'other' | 'ip6'> {
  if (address?.families === 'both') return { other };
  return other.port === port && other.address.includes(':') ? { ip6: other.address } : {};
}

/** The container that decides about the entries. Podman shows the ports and the networks of that one as those of this one. */
function sharedBy(document: unknown): readonly ContainerId[] | undefined {
  const id = networkOwnerOf(document);
  return id && [id];
}

/** Whether the owner runs, and has since this one joined its network: a network ends with its container, and a new start has a new one. */
function isStillOwner(document: unknown, { document: of }: NetworkOwner): boolean {
  const state = field(of, 'State');
  if (field(state, 'Running') !== true || field(state, 'Restarting') === true || field(state, 'Dead') === true)
    return false;
  const [joined, started] = [field(document, 'State'), state].map((one) => nanosecondsOf(field(one, 'StartedAt')));
  return !joined || !started || started <= joined;
}

/** What the document of a container still shows of a network that has ended says nothing. */
function ended(entry: Entry): Extract<Address, { kind: 'refused' }> {
  const detail = 'The container whose network this one uses has ended, or was started again since';
  return { kind: 'refused', refusal: refusal('network-ended', textOf(entry), detail) };
}

/** The ports are the owner's, and so is what can be done about them. */
function ofOwner(refused: Refusal): Refusal {
  const { code, detail } = refused;
  if (code !== 'not-published' && code !== 'not-bound') return refused;
  const fact = detail.replace(/;.*/s, '');
  return {
    ...refused,
    code: 'shared-network',
    detail: `${fact}: the ports are those of the container whose network it uses`,
  };
}

const RFC_3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/** Nanoseconds since the epoch; 0 for a value that is no time, and for the year 1, which Go writes for "never". */
function nanosecondsOf(time: unknown): number {
  const [, seconds, fraction = '', zone] = (isString(time) && RFC_3339.exec(time)) || [];
  const milliseconds = Date.parse(`${seconds}${zone}`);
  if (!(milliseconds > 0)) return 0;
  // Whole seconds times 1e9 are exact in a double, so the sum rounds once.
  return (milliseconds / 1000) * 1e9 + Number(fraction.padEnd(9, '0'));
}

/** What is written beside an instance, and the number of keys that it takes; undefined if there is nothing. */
function besideOf(
  names: Names | undefined,
  { privatePort }: Entry,
  own: Attributes | undefined,
  options: InspectionOptions,
): { readonly members: Pick<Service, 'attributes' | 'meta'>; readonly keys: number } | undefined {
  const attributes = attributesWith(options.hostAttributes, own);
  const isMeta = hasMeta(attributes, options);
  if (attributes === undefined && !isMeta) return undefined;
  const meta = isMeta ? metaOf(names, privatePort, attributes ?? {}, options) : undefined;
  const metas = options.address?.families === 'both' ? 2 : 1;
  const keys = (isMeta ? metas : 0) + (attributes?.weight === undefined ? 0 : (options.keysPerWeight ?? 0));
  return { members: present({ attributes, meta }), keys };
}

/** Without the members that are undefined: most services have none of these. */
function present<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as never;
}

function field(value: unknown, name: string): unknown {
  return isRecord(value) ? value[name] : undefined;
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}
