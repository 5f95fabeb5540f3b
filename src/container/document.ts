/**
 * One answer of `GET /containers/<id>/json` to the inspection of that container.
 *
 * Only two fields decide what is true: a document without `State.Running` says nothing, and a
 * failed inspection must not unpublish. Whether a container that runs deserves traffic is decided in `lifecycle/`.
 * Reads what API 1.41, 1.52 and Podman have in common, and never throws on parsed JSON.
 *
 * `StartedAt` is compared with event times: `Date` alone would lose all below a millisecond.
 */

import { hostNetworkOf, isRecord, publicAddress } from './address/published.ts';
import type { Attributes, Inspection, Names, Refusal, Service } from './container.ts';
import { type Filter, mismatchOf } from './filter.ts';
import { attributesWith, hasMeta, type MetaOptions, metaOf } from './meta.ts';
import { namesOf } from './names.ts';
import { type Entry, refusal, textOf } from './sources/advertisement.ts';
import { type DeclarationOptions, readDeclaration } from './sources/declaration.ts';
import { readTraffic } from './traffic.ts';

export interface InspectionOptions extends DeclarationOptions, MetaOptions {
  /** The address at which other machines reach this host, IPv4 or IPv6 without brackets. */
  readonly hostIp: string;
  /** Addresses of this host that lead to containers only, beside the gateways that a document names. */
  readonly hostOnly?: readonly string[] | undefined;
  /** The keys of an instance without its meta; 1 without views. */
  readonly keysPerInstance?: number | undefined;
  /** The keys that a weight adds. */
  readonly keysPerWeight?: number | undefined;
  /** The containers that are taken; undefined: all of them. */
  readonly filter?: readonly Filter[] | undefined;
}

// An etcd takes 128 in a transaction, and the guard of the owner is one.
const OPERATIONS_MAX = 127;

/** Whether the container runs and, if so, its services with their addresses. */
export function readInspection(document: unknown, options: InspectionOptions): Inspection {
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
  const network = hostNetworkOf(document, options.hostIp, options.hostOnly);
  const services: Service[] = [];
  // Most containers advertise nothing, and nothing asks for their names.
  const isSilent = declaration.entries.length + declaration.refusals.length === 0;
  const names = isSilent ? undefined : namesOf(document);
  const refusals: Refusal[] = [...declaration.refusals];
  const unfit: string[] = [];
  for (const entry of declaration.entries) {
    const way = publicAddress(entry, network);
    if (way.kind === 'refused') refusals.push(way.refusal);
    else {
      const { name, privatePort, protocol } = entry;
      const service = { name, privatePort, protocol, address: way.address, port: way.port };
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
  return { kind: 'running', startedAt, services, refusals, ...(names && { names }), ...(traffic && { traffic }) };
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
  const keys = (isMeta ? 1 : 0) + (attributes?.weight === undefined ? 0 : (options.keysPerWeight ?? 0));
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
