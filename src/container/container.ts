/**
 * The program's records of containers: ids, offers, refusals and the result of an inspection.
 *
 * These records cross the thread boundary, so they are plain data and small. Of an inspect document
 * only the published facts stay, so no secret of the environment outlives the parse.
 */

import type { RefusalCode } from './refusals.ts';
import type { Traffic } from './traffic.ts';

export type { RefusalCode } from './refusals.ts';

declare const brand: unique symbol;

/** The full id of a container: 64 lower-case hexadecimal digits. A name can never pass for one. */
export type ContainerId = string & { readonly [brand]: 'ContainerId' };

export function isContainerId(value: unknown): value is ContainerId {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

/** The 12 digits that end a key. Two running containers that share them cannot both be published. */
export function shortIdOf(id: ContainerId): string {
  return id.slice(0, 12);
}

export type Protocol = 'tcp' | 'udp' | 'sctp';

/** What a container says of one of its services beside the address. */
export interface Attributes {
  /** From 0 to 65535. */
  readonly weight?: number;
  readonly priority?: number;
  readonly tags?: readonly string[];
  /** Every other attribute. */
  readonly others?: Readonly<Record<string, string>>;
}

/** Where an instance is reached. */
export interface At {
  /** An IPv4 or IPv6 address, or a name; without brackets. */
  readonly address: string;
  readonly port: number;
}

/** One advertised service, with the address at which other machines reach it. */
export interface Service extends At {
  readonly name: string;
  readonly privatePort: number;
  readonly protocol: Protocol;
  /** Where it is reached by the other family, if that is a second instance. */
  readonly other?: At;
  /** The IPv6 address beside `address`, at the same port, if it is no second instance: views can show it. */
  readonly ip6?: string;
  /** The realm that its container names; undefined: that of the host. */
  readonly realm?: string;
  readonly attributes?: Attributes;
  /** The text of its meta (`meta.ts`), if it has one. */
  readonly meta?: string;
}

/** `<protocol>://<address>:<port>`, IPv6 in brackets: the value stored in etcd. */
export function urlOf({ address, port, protocol }: Pick<Service, 'address' | 'port' | 'protocol'>): string {
  return `${protocol}://${address.includes(':') ? `[${address}]` : address}:${port}`;
}

/** What people call a container, as `names.ts` reads it. Absent members are not known. */
export interface Names {
  /** Without the slash that engines write before it. A rename changes it. */
  readonly name?: string;
  /** As the container was created with it. */
  readonly image?: string;
  readonly compose?: { readonly project?: string; readonly service?: string };
}

export interface Refusal {
  readonly code: RefusalCode;
  /** The entry as advertised, cut to 64 characters, with \ufffd for what is not shown. Foreign: only ever logged as a field. */
  readonly entry: string;
  /** A description of what would have been accepted. */
  readonly detail: string;
}

/** The result of one inspection. Only `running` and `down` are facts; `failed` says nothing about the container. */
export type Inspection =
  | {
      readonly kind: 'running';
      /** Nanoseconds since the epoch, as precise as a double is (256 ns); 0 when the engine does not say. */
      readonly startedAt: number;
      readonly services: readonly Service[];
      readonly refusals: readonly Refusal[];
      /** Undefined of a container that advertises nothing, and where none is known. */
      readonly names?: Names;
      /** What concerns traffic; undefined if everything is as usual. */
      readonly traffic?: Traffic | undefined;
      /** The containers whose network it uses: what happens to them happens to its addresses. */
      readonly sharesWith?: readonly ContainerId[] | undefined;
    }
  | { readonly kind: 'down' }
  /** `status`: the HTTP status of the answer, if that is the failure. */
  | { readonly kind: 'failed'; readonly detail: string; readonly status?: number };

/** One running container as a list of the engine shows it. */
export interface Listed {
  readonly id: ContainerId;
  /** Changes whenever the ports, the state or the health of the container in the list change. */
  readonly fingerprint: string;
}
