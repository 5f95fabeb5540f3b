/**
 * The options: one table, and the forms that the program makes of it.
 *
 * `schema` is the table: validation, defaults, JSON Schema, command line, help and README are all
 * made from it. An option is a rule (the allowed values, once in code and once in words), a default and
 * a description. A rule checks one value; rules about several options are in `choice.ts` and `resolve.ts`.
 */
import { isIP } from 'node:net';
import * as z from 'zod/mini';
import { isCidr } from '../container/address/ip.ts';
import { type AddressPolicy, addressSources, networksOf } from '../container/address/wishes.ts';
import type { Filter } from '../container/filter.ts';
import type { MetaOptions } from '../container/meta.ts';
import type { DeclarationOptions } from '../container/sources/declaration.ts';
import { healthPolicies } from '../container/traffic.ts';
import type { DockerEndpoint } from '../docker/docker.ts';
import { type EtcdAccess, endpointsAllowed, isEndpoint } from '../etcd/access.ts';
import type { WantedAddress } from '../host-address.ts';
import type { Rule as ViewRule } from '../layout/views.ts';
import type { PublishPolicy } from '../lifecycle/deserves.ts';

/** The configuration of the agent: checked, and with all defaults filled in. */
export interface Config extends DeclarationOptions, MetaOptions {
  readonly workers: number;
  readonly resyncSeconds: number;
  readonly docker: {
    /** An IPv6 host is written without brackets. */
    readonly endpoint: DockerEndpoint;
    /** Such as `1.41`, without a v; undefined to negotiate. */
    readonly apiVersion: string | undefined;
    /** The containers that are taken; undefined: all of them. */
    readonly filter?: readonly Filter[] | undefined;
  };
  /** When a container deserves traffic. */
  readonly publish: PublishPolicy;
  /** Which address of a container is published. */
  readonly address?: AddressPolicy;
  /** Beside the native keys: see `layout/views.ts`. */
  readonly views: readonly ViewRule[];
  /** The keys of an instance without its meta; 1 unless there are views. */
  readonly keysPerInstance?: number;
  /** The keys that the weight of an instance adds. */
  readonly keysPerWeight?: number;
  /** The endpoints are `http://host:port`, or every one of them https. */
  readonly etcd: EtcdAccess & {
    /** One leading slash, no trailing one. */
    readonly prefix: string;
    readonly ttlSeconds: number;
  };
  readonly host: {
    readonly id: string;
    readonly realm: string;
    readonly ip: string;
    /** A second address, IPv6, where `ip` is IPv4. */
    readonly ip6?: string | undefined;
    /** How the addresses are found out, where they may change; undefined: they are configured. */
    readonly wanted?: WantedAddress | undefined;
    /** Neither the configuration nor the default route has led to the address. */
    readonly isGuessed?: boolean;
    readonly onExit: 'keep' | 'remove' | 'drain';
    /** With `drain`: between the removal of the keys and the end; 10 unless configured. */
    readonly drainSeconds?: number;
  };
  readonly http?: {
    readonly listen: { readonly path: string } | { readonly host: string; readonly port: number };
    /** Beside localhost, addresses and the name of the machine. */
    readonly hosts: readonly string[];
  };
  readonly relay?: NonNullable<Config['http']>;
  readonly dns?: {
    readonly listen: { readonly host: string; readonly port: number };
    readonly zone: string;
    readonly ttlSeconds: number;
    /** Queries a second of one client; 0 for no limit. */
    readonly rate: number;
  };
  readonly log: { readonly level: 'info' | 'debug' | 'trace'; readonly file?: string };
}

/** One line of the table. */
export interface OptionRow {
  /** As in `docker.tls.ca`. */
  readonly path: string;
  readonly type: 'string' | 'string or false' | 'integer' | 'boolean' | 'list' | 'lines';
  /** The allowed values, in words that may follow "must be". */
  readonly allowed: string;
  readonly choices?: readonly string[];
  /** null if there is none, or if it is detected at the start. */
  readonly default: unknown;
  /** If the default is null, the description ends with the effect of that, in brackets. */
  readonly description: string;
  readonly schema: z.ZodMiniType;
}

type Rule<T> = Pick<OptionRow, 'type' | 'allowed' | 'choices'> & { readonly schema: T };

const rule = <T>(type: OptionRow['type'], allowed: string, schema: T): Rule<T> => ({ type, allowed, schema });
const integer = (min: number, max: number) =>
  rule('integer', `an integer from ${min} to ${max}`, z.int().check(z.gte(min), z.lte(max)));
const oneOf = <T extends string>(...choices: T[]) =>
  ({ type: 'string', allowed: choices.join(' or '), choices, schema: z.enum(choices) }) as const;
const string = (allowed: string, pattern: RegExp, test: (value: string) => boolean = () => true) =>
  rule('string', allowed, z.string().check(z.regex(pattern), z.refine(test)));

export const withoutBrackets = (host: string): string => host.replace(/^\[(.*)\]$/, '$1');
const isHost = (value: string): boolean => !/[:[\]]/.test(value) || isIP(withoutBrackets(value)) === 6;
const isShort = (value: string): boolean => Buffer.byteLength(value) <= 255;

const boolean = rule('boolean', 'true or false', z.boolean());
const verified = rule('boolean', 'true: verification cannot be switched off', z.literal(true));
/** The only rule for free text. Every option that may be shown has a rule that describes its form. */
const secret = string('text that is not empty', /./s);
const name = string('a name without control characters', /^\P{Cc}+$/u);
const file = string('the path of a file', /^[^\0]+$/);
const pem = { ...file, allowed: 'the path of a PEM file' };
const sources = {
  ...rule(
    'list',
    'a list of variable, label and registrator',
    z.array(z.enum(['variable', 'label', 'registrator'])).check(z.minLength(1)),
  ),
  choices: ['variable', 'label', 'registrator'],
};
const label = string(
  'a prefix of labels in lower case, such as "discover"',
  /^[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?$/,
);
const allowed = rule(
  'lines',
  'a list of "<name glob> <image glob>"',
  z.array(z.string().check(z.regex(/^\s*\S+\s+\S+\s*$/))),
);
const filters = rule(
  'lines',
  'a list of label=<name>[=<value>], name=<pattern> or network=<name>',
  z.array(z.string()),
);
const isGlob = (text: string): boolean => networksOf(text)?.length === 1;
const globs = rule(
  'list',
  'a list of networks or globs of networks, such as "front-*"',
  z.array(z.string().check(z.refine(isGlob))),
);
const networks = rule(
  'list',
  'a list of CIDRs, such as 10.0.0.0/8, and of networks of the engine',
  z.array(z.string().check(z.refine((text) => (text.includes('/') ? isCidr(text) : isGlob(text))))),
);
const variable = string('the name of an environment variable', /^[^=\0]+$/);
const version = string('an API version such as "1.41"', /^v?\d+\.\d+$/);
const hostName = string('a host name or address without scheme and port', /^[\w.:[\]-]{1,253}$/, isHost);
const ip = string('an IPv4 or IPv6 address of this host', /^[^%]*[1-9a-f][^%]*$/i, (value) => isIP(value) !== 0);
const ip6 = string('an IPv6 address of this host', /^[^%]*[1-9a-f][^%]*$/i, (value) => isIP(value) === 6);
const cidrs = rule(
  'list',
  'a list of CIDRs, such as 10.0.0.0/8',
  z.array(z.string().check(z.refine(isCidr))).check(z.minLength(1)),
);
const segmentAllowed = '1 to 255 bytes without slash, white space or control characters, not "." or ".."';
const segment = string(segmentAllowed, /^(?!\.\.?$)[^/\s\p{Cc}\p{Cs}]+$/u, isShort);
const segments = rule('list', `a list of realms, each ${segmentAllowed}`, z.array(segment.schema));
const plainText = string('1 to 255 characters without control characters', /^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}]{1,255}$/u);
const pairs = rule(
  'list',
  'a list of <attribute>=<value>, an attribute of a-z 0-9 _ -',
  z
    .array(z.string().check(z.regex(/^[a-z][a-z0-9_-]{0,63}=[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}]{0,255}$/u)))
    .check(z.maxLength(32)),
);
const prefixPattern = /^\/?(?:(?!\.\.?(?:\/|$))[^/\s\p{Cc}\p{Cs}]+(?:\/|$))+$/u;
const prefix = string('a path such as "/discover", at least one segment and no double slash', prefixPattern, isShort);
/** Linux takes this many bytes, and Node cuts a longer path: it would be that of another socket. */
const socketPathMax = 107;
const fitsSocket = (path: string): boolean => Buffer.byteLength(path) <= socketPathMax;
const socketPath = z.string().check(z.regex(/^\/[^\0]+$/), z.refine(fitsSocket));
const socketAllowed = `the absolute path of a socket, at most ${socketPathMax} bytes`;
const socket = rule('string or false', `${socketAllowed}, or false`, z.union([z.literal(false), socketPath]));
const members = z.array(z.string().check(z.refine(isEndpoint))).check(z.minLength(1));
const endpoints = rule('list', endpointsAllowed, members);
const port = integer(1, 65_535);
const listenPattern = /^(?:\/[^\0]+|(?:(\[[\da-f:.]+\]|[\w.-]+):)?([1-9]\d{0,4}))$/i;
/** The address of the HTTP endpoint as it is written: a port with or without its host, or the path of a socket. */
export function listenParts(value: string | number) {
  const [all, host = '127.0.0.1', port] = listenPattern.exec(String(value)) ?? [];
  if (all === undefined || Number(port ?? 1) > 65_535) return undefined;
  if (port === undefined && !fitsSocket(all)) return undefined;
  return port === undefined ? { path: all } : { host: withoutBrackets(host), port: Number(port) };
}
const isListen = (value: string): boolean => listenParts(value) !== undefined;
const listen = rule(
  'string',
  `a port, host:port, [IPv6]:port or ${socketAllowed}`,
  z.union([z.int().check(z.gte(1), z.lte(65_535)), z.string().check(z.refine(isListen))]),
);
const isDnsListen = (value: string | number): boolean => listenParts(value)?.host !== undefined;
const dnsListen = rule(
  'string',
  'a port, host:port or [IPv6]:port',
  z.union([z.int().check(z.gte(1), z.lte(65_535)), z.string().check(z.refine(isDnsListen))]),
);
const hostNames = rule('list', 'a list of host names', z.array(z.string().check(z.regex(/^[\w.-]{1,253}$/))));
const zonePattern = /^[a-z\d](?:[a-z\d-]*[a-z\d])?(?:\.[a-z\d](?:[a-z\d-]*[a-z\d])?)*$/i;
/** A label has 63 octets, and there must be room for names before the zone. */
const isZone = (value: string): boolean => value.length <= 200 && value.split('.').every((label) => label.length <= 63);
const zone = string('a DNS zone such as "discover.local", at most 200 characters', zonePattern, isZone);
const rootPattern = /^\/?[^/\s\p{Cc}\p{Cs}{}]+(?:\/[^/\s\p{Cc}\p{Cs}{}]+)*$/u;
const root = string('a path such as "/lookup", without a slash at its end', rootPattern, isShort);
const template = z.string().check(z.regex(/^.*\S\s+=\s+.*\S\s*$/s));
const ofProtocol = z.strictObject({ tcp: z.optional(template), udp: z.optional(template), sctp: z.optional(template) });
const templates = rule(
  'lines',
  'a list of "<key template> = <value template>", each after "tcp: ", "udp: " or "sctp: " if it is for one protocol',
  z.array(z.union([template, ofProtocol])),
);

const facts = new Map<unknown, Omit<OptionRow, 'path'>>();

/** An option that may stay unset. */
function maybe<T extends z.ZodMiniType>(of: Rule<T>, description: string) {
  const schema = z.optional(z.nullable(of.schema));
  facts.set(schema, { ...of, default: null, description });
  return schema;
}

function option<T extends z.ZodMiniType, F extends z.output<T>>(of: Rule<T>, fallback: F, description: string) {
  const schema = z._default(z.nullable(of.schema), () => fallback as z.core.util.NoUndefined<F>);
  facts.set(schema, { ...of, default: fallback, description });
  return schema;
}

const group = <T extends z.core.$ZodShape>(shape: T) => z.prefault(z.strictObject(shape), {} as never);

const certificates = (of: string) => ({
  ca: maybe(pem, `Certificate authority of ${of}; turns TLS on`),
  cert: maybe(pem, `Client certificate for ${of}`),
  key: maybe(pem, 'Private key of that certificate'),
});

export const schema = z.strictObject({
  workers: maybe(
    integer(0, 64),
    'Inspection threads at the most, 0 for none; started as the load asks for them (1 on up to 2 cores, else 2)',
  ),
  resync: option(integer(1, 86_400), 60, 'Seconds between two comparisons of running containers with published ones'),
  debug: option(boolean, false, 'Log each container'),
  verbose: option(boolean, false, 'The same as debug'),
  silly: option(boolean, false, 'Log each event as well'),
  log: maybe(file, 'File to log to (standard output)'),
  discover: group({
    serviceVariable: option(variable, 'DISCOVER', 'Environment variable in which containers advertise services'),
    sources: option(
      sources,
      ['variable', 'label'],
      'Where containers advertise services; a label takes the place of the variable',
    ),
    explicit: option(
      boolean,
      false,
      'With the source registrator: only ports that SERVICE_NAME or SERVICE_<port>_NAME names',
    ),
    label: option(label, 'discover', 'Prefix of the labels of containers'),
    namePolicy: option(oneOf('compat', 'strict', 'encode', 'raw'), 'compat', 'Which service names are accepted'),
    allow: maybe(allowed, 'Names that containers may use, by their images (all)'),
  }),
  publish: group({
    health: option(
      oneOf(...healthPolicies),
      'exclude-unhealthy',
      'Whether a container is published whose health check fails or has not succeeded yet; one without a check always is',
    ),
    drain: option(boolean, true, 'Withdraw a container when it is asked to stop, before it has ended'),
    paused: option(oneOf('keep', 'withdraw'), 'keep', 'Whether a paused container stays published'),
    after: option(integer(0, 86_400), 0, 'Seconds that a container must have run before it is published'),
    flapDeaths: option(
      integer(0, 100),
      5,
      'Crashes within publish.flapSeconds after which a container is held back until it has run for a while; 0 for never',
    ),
    flapSeconds: option(integer(0, 3_600), 60, 'The time in which crashes are counted; 0 for never'),
    engineAway: option(
      integer(0, 86_400),
      0,
      'Seconds after which everything is withdrawn if the engine is away; 0 for never',
    ),
  }),
  address: group({
    from: option(
      oneOf(...addressSources),
      'published',
      'The address of an instance: where the engine publishes its port, that of the container itself, or either: its own where the port is not published',
    ),
    networks: maybe(
      globs,
      "The engine's networks on which containers are reached at their own address, in order of preference (the only one that a container is on)",
    ),
    families: option(
      oneOf('one', 'both'),
      'one',
      'Whether a container that is reached by IPv4 and IPv6 has one instance, or one for each',
    ),
    allowLabel: maybe(networks, 'Networks in which an address may lie that the label discover.address names (none)'),
  }),
  docker: group({
    socketPath: maybe(socket, 'Socket of the engine, false to use host and port (/var/run/docker.sock)'),
    host: maybe(hostName, 'Host of the engine (localhost if only the port is set)'),
    port: maybe(port, 'Port of the engine (4243 if only the host is set)'),
    version: maybe(version, 'Docker API version (negotiated)'),
    filter: maybe(filters, "The containers that this agent takes, by the engine's own filters (all)"),
    tls: group({
      ...certificates('the engine'),
      verify: maybe(verified, "Use TLS with the system's certificate authorities"),
    }),
  }),
  etcd: group({
    endpoints: option(endpoints, ['localhost:2379'], 'Members of the cluster, comma separated'),
    host: maybe(hostName, 'Host of a single member (localhost if only the port is set)'),
    port: maybe(port, 'Port of a single member (2379 if only the host is set)'),
    prefix: option(prefix, '/discover', 'Prefix of all keys'),
    ttl: option(integer(2, 86_400), 30, 'Lease TTL in seconds: how long keys remain after the agent dies'),
    tls: group(certificates('etcd')),
    username: maybe(name, 'User name at etcd'),
    password: maybe(secret, 'Password of that user, refused on the command line'),
    passwordFile: maybe(file, 'File that holds the password'),
    meta: option(
      oneOf('attributes', 'always', 'never'),
      'attributes',
      'Whether attributes are written beside an instance: of those that have some, of all, or of none',
    ),
  }),
  views: group({
    skydns: maybe(zone, 'DNS zone under which CoreDNS finds the services, in keys below /skydns'),
    grpc: maybe(root, "Target prefix for etcd's gRPC naming, such as discover/grpc"),
    registrator: maybe(root, "Path for keys in registrator's layout, such as /services"),
    traefik: maybe(root, 'Root key for the servers of Traefik services, such as traefik'),
    custom: maybe(templates, 'Further key layouts'),
  }),
  host: group({
    ip: maybe(ip, 'Address to publish (that of the default route, else of eth0)'),
    ip6: maybe(
      ip6,
      'A second address, IPv6, for ports and containers that are reached by IPv6 (that of the default route where address.families is both)',
    ),
    interface: maybe(name, 'Network interface whose address is published'),
    cidr: maybe(cidrs, 'Networks, the preferred one first: the address of this host in one of them is published'),
    id: maybe(segment, 'Name of this host in the keys, unique among hosts (EC2 instance id, else host name)'),
    realm: option(segment, 'default', 'Realm: the group of hosts that this one belongs to'),
    zone: maybe(
      plainText,
      'Zone of this host, such as a rack or an availability zone, for readers that prefer a near instance',
    ),
    attributes: maybe(pairs, 'Attributes of every instance of this host; those of a container count before them'),
    realms: maybe(segments, 'Realms that a container may name by its label discover.realm (host.realm alone)'),
    onExit: option(
      oneOf('keep', 'remove', 'drain'),
      'keep',
      'On exit, keep the keys until the TTL ends, remove them, or remove them and wait before the end',
    ),
    drainSeconds: option(
      integer(0, 3_600),
      10,
      'With host.onExit drain: seconds between the removal of the keys and the end',
    ),
  }),
  http: group({
    listen: maybe(listen, 'Address for health, metrics, status and the page (none)'),
    relay: maybe(listen, 'Address at which the containers of this host find the services of all hosts (none)'),
    hosts: maybe(hostNames, 'Additional `Host` headers to accept, beside localhost, addresses and the host name'),
  }),
  dns: group({
    listen: maybe(dnsListen, 'Address at which services are found by DNS, over UDP and TCP (none)'),
    zone: option(zone, 'discover.internal', 'Zone of these names: <service>.<realm>.<zone>'),
    ttl: option(integer(0, 3_600), 5, 'Seconds for which a client may keep an answer'),
    rate: option(integer(0, 1_000_000), 5_000, 'Queries a second of one client that are answered; 0 for no limit'),
  }),
});

/** The input of the schema; `file-options.ts` has it written out. */
export type SchemaInput = z.input<typeof schema>;

/** The paths that are no options but hold some, such as `docker.tls`. */
export const groups = new Set<string>();

function rowsOf(shape: Readonly<Record<string, unknown>>, parent = ''): OptionRow[] {
  return Object.entries(shape).flatMap(([key, member]) => {
    const path = parent + key;
    const fact = facts.get(member);
    if (fact) return { path, ...fact };
    groups.add(path);
    return rowsOf((member as ReturnType<typeof group>).def.innerType.shape, `${path}.`);
  });
}

export const optionTable: readonly OptionRow[] = rowsOf(schema.shape);
export const optionRows: ReadonlyMap<string, OptionRow> = new Map(optionTable.map((row) => [row.path, row]));

/** Whether the value of an option may be shown. The value of an unknown option may not. */
export function isPrintable(path: string): boolean {
  const row = optionRows.get(path);
  return row !== undefined && row.schema !== secret.schema;
}

/** A value for a message: short, and hidden if it is or may contain a secret. */
export function shown(path: string, value: unknown): string {
  const text = JSON.stringify(value);
  return isPrintable(path) && !text.includes('@') ? text.slice(0, 80) : '***';
}

/** The JSON Schema of a configuration file. */
export function jsonSchema(): object {
  return z.toJSONSchema(schema, {
    io: 'input',
    override({ zodSchema, jsonSchema }) {
      const fact = facts.get(zodSchema);
      if (fact) Object.assign(jsonSchema, { description: fact.description, default: fact.default });
    },
  });
}
