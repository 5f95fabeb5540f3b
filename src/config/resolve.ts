/**
 * Sources of options to the configuration that the agent runs on.
 *
 * Of two options that say the same, the option from the higher place counts. The named files are read
 * and the machine is asked. All problems, here and in the sources themselves, make one error.
 */
import type * as z from 'zod/mini';
import { type Filter, parseFilter } from '../container/filter.ts';
import type { MetaOptions } from '../container/meta.ts';
import { attributesOf } from '../container/sources/attributes.ts';
import { configError, messageOf, type Problem } from '../errors.ts';
import { etcdAccess } from '../etcd/access.ts';
import { operationsMax } from '../etcd/registry.ts';
import { detectHost } from '../host.ts';
import { type Machine, realMachine, type WantedAddress } from '../host-address.ts';
import { keysPerInstance } from '../layout/views.ts';
import { Choice, type Settled } from './choice.ts';
import { type Config, listenParts, optionRows, type schema, shown, withoutBrackets } from './options.ts';
import type { Layers } from './sources.ts';
import { customLines, viewRulesOf } from './view-rules.ts';

/** Beyond its own time to stop; a container that still runs then ignores its stop signal. */
const stopGraceMs = 5_000;

export interface Resolved {
  readonly config: Config;
  /** By option: the place that set it, or the source that it was detected from, or `default`. */
  readonly origins: ReadonlyMap<string, string>;
  readonly warnings: readonly Problem[];
  /** Settings that are in effect as requested, but may have an unexpected result. */
  readonly notes: readonly string[];
  /** Why `host.ip` is the address that it is; empty where it is configured. */
  readonly addressReason: string;
  /** The effective value of each option, in the shape of a file. Not redacted. */
  readonly effective: object;
}

/** Settles every option, reads the files named and asks the machine. Throws one `CONFIG_INVALID` for all problems. */
export async function resolveConfig(layers: Layers, machine: Machine = realMachine): Promise<Resolved> {
  const choice = new Choice(layers);
  const { workers = machine.cores <= 2 ? 1 : 2, log, ...values } = choice.values;
  const docker = dockerOf(choice);
  const etcd = etcdOf(choice);
  const views = viewRulesOf(choice, etcd.prefix);
  // Where every instance has a meta, it takes its part of a transaction from the entries.
  const native = values.address.families === 'both' ? 2 : 1;
  const keys = native + keysPerInstance(views) + (isMetaOfAll(values) ? native : 0);
  const meta = metaOf(choice);
  const wanted = wantedOf(choice);
  const host = await detectHost({ ...wanted, id: choice.values.host.id }, machine);
  // If such an option is refused, a failed detection in its place is no problem of its own.
  const isRefused = choice.problems.some(({ path }) => hostOptions.includes(path));
  refuseAny([...choice.problems, ...(isRefused ? [] : host.problems)]);
  const isDebug = values.debug || values.verbose;
  const config: Config = {
    workers,
    resyncSeconds: values.resync,
    ...values.discover,
    realms: [values.host.realm, ...(values.host.realms ?? [])],
    ...meta,
    ...(keys > 1 && { entriesMax: Math.floor((operationsMax - 1) / keys) }),
    views,
    ...((views.length > 0 || native > 1) && {
      keysPerInstance: native + keysPerInstance(views),
      keysPerWeight: keysPerInstance(views, 'weight'),
    }),
    publish: publishOf(values),
    address: values.address,
    docker,
    etcd,
    host: {
      ...{ id: host.id, ip: host.ip, realm: values.host.realm, onExit: values.host.onExit },
      ...(host.ip6 !== undefined && { ip6: host.ip6 }),
      ...(isFoundOut(wanted) && { wanted, ...(host.isGuessed && { isGuessed: true }) }),
      ...(values.host.onExit === 'drain' && { drainSeconds: values.host.drainSeconds }),
    },
    ...httpOf(values.http),
    ...dnsOf(values.dns),
    log: { level: values.silly ? 'trace' : isDebug ? 'debug' : 'info', ...(log && { file: log }) },
  };
  const { endpoint, apiVersion: version } = docker;
  const { path: socketPath = false, ...tcp } = endpoint.kind === 'socket' ? endpoint : { ...endpoint, path: undefined };
  const effective = {
    ...values,
    workers,
    log,
    docker: { ...values.docker, host: undefined, port: undefined, ...tcp, socketPath, version, tls: values.docker.tls },
    etcd: { ...values.etcd, endpoints: etcd.endpoints, prefix: etcd.prefix },
    host: { ...values.host, ...config.host },
    ...(values.views.custom && { views: { ...values.views, custom: customLines(choice) } }),
  };
  const { ip, id, ip6 } = host.origins;
  const found: Record<string, string> = { 'host.ip': ip, 'host.id': id, ...(ip6 !== undefined && { 'host.ip6': ip6 }) };
  if (!choice.chosen.has('etcd.endpoints')) {
    const single = ['etcd.host', 'etcd.port'].find((path) => choice.chosen.has(path));
    if (single !== undefined) found['etcd.endpoints'] = choice.origin(single);
  }
  const origins = new Map([...optionRows.keys()].map((path) => [path, choice.origin(path, found[path])]));
  const notes = notesOf(workers, machine.cores);
  return {
    config,
    origins,
    warnings: [...choice.warnings, ...host.warnings],
    notes,
    effective,
    addressReason: host.reason,
  };
}

/** Measured: `npm run bench -- workers`. */
function notesOf(workers: number, cores: number): string[] {
  if (workers <= Math.max(1, cores - 1)) return [];
  const machine = `${cores} core${cores === 1 ? '' : 's'}`;
  return [
    `workers is ${workers} on ${machine}: under load more threads than cores less one take up to two thirds more CPU and answer later`,
  ];
}

/**
 * The endpoints of etcd and the prefix of its keys, for commands that need nothing else. This machine is asked nothing
 * and needs no address that others can reach. A problem of another option is an error all the same.
 */
export function resolveEtcd(layers: Layers): { readonly etcd: Config['etcd']; readonly warnings: readonly Problem[] } {
  const choice = new Choice(layers);
  const etcd = etcdOf(choice);
  refuseAny(choice.problems);
  return { etcd, warnings: choice.warnings };
}

/** The address of the agent's HTTP endpoint, if there is one, for the command that needs nothing else. */
export function resolveHttp(layers: Layers): Pick<Config, 'http'> & { readonly warnings: readonly Problem[] } {
  const { problems, values, warnings } = new Choice(layers);
  refuseAny(problems);
  return { ...httpOf(values.http), warnings };
}

type Values = Choice['values'];

const isMetaOfAll = ({ etcd, host }: Values): boolean =>
  etcd.meta === 'always' || (etcd.meta === 'attributes' && (host.zone ?? host.attributes) !== undefined);

function metaOf(choice: Choice): MetaOptions {
  const { etcd, host } = choice.values;
  const found = (host.attributes ?? []).map((label) => {
    const at = label.indexOf('=');
    return { label, service: '', name: label.slice(0, at), value: label.slice(at + 1) };
  });
  const { byService, refusals } = attributesOf(found, new Set(['']));
  for (const { detail, entry } of refusals) choice.refuse('host.attributes', detail, JSON.stringify(entry));
  const hostAttributes = byService.get('');
  return {
    ...(etcd.meta !== 'attributes' && { meta: etcd.meta }),
    ...(host.zone !== undefined && { zone: host.zone }),
    ...(hostAttributes !== undefined && { hostAttributes }),
  };
}

function publishOf({ publish: { after, flapSeconds, engineAway, ...policy } }: Values): Config['publish'] {
  return { ...policy, afterMs: after * 1000, flapMs: flapSeconds * 1000, engineAwayMs: engineAway * 1000, stopGraceMs };
}

function refuseAny(problems: readonly Problem[]): void {
  if (problems.length > 0) throw configError('the configuration', problems);
}

function dockerOf(choice: Choice): Config['docker'] {
  const { socketPath, host = 'localhost', port = 4243, version, tls: given } = choice.values.docker;
  const apiVersion = version?.replace('v', '');
  const filter = filterOf(choice);
  const more = { apiVersion, ...(filter && { filter }) };
  if (socketPath !== false && choice.prefers('docker.socketPath', 'docker.host', 'docker.port')) {
    return { endpoint: { kind: 'socket', path: socketPath ?? '/var/run/docker.sock' }, ...more };
  }
  const tls = choice.certificates() ?? (given.verify && {});
  return { endpoint: { kind: 'tcp', host: withoutBrackets(host), port, ...(tls && { tls }) }, ...more };
}

/** An empty list takes all containers, as no list does. */
function filterOf(choice: Choice): readonly Filter[] | undefined {
  const lines = choice.values.docker.filter ?? [];
  const filters = lines.flatMap((line) => {
    try {
      return [parseFilter(line)];
    } catch (error) {
      choice.refuse('docker.filter', messageOf(error), shown('docker.filter', line));
      return [];
    }
  });
  return filters.length > 0 ? filters : undefined;
}

function etcdOf(choice: Choice): Config['etcd'] {
  const { endpoints, host, port, password, passwordFile, ttl, ...values } = choice.values.etcd;
  const isListed = choice.prefers('etcd.endpoints', 'etcd.host', 'etcd.port');
  const isFile = choice.chosen.has('etcd.passwordFile') && choice.prefers('etcd.passwordFile', 'etcd.password');
  const access = etcdAccess(
    'etcd.',
    {
      ...values,
      ...(isListed ? { endpoints } : { host, port }),
      ...(isFile ? { passwordFile } : { password }),
    },
    choice.refuseAll,
  );
  const isOpen = access.endpoints.some((endpoint) => /^http:\/\/(?!localhost|127\.|\[::1\])/.test(endpoint));
  if (access.password && isOpen) {
    const reason = 'crosses the network unencrypted: https:// endpoints prevent it';
    choice.warnings.push({ path: 'etcd.password', reason });
  }
  return { ...access, ttlSeconds: ttl };
}

function httpOf({
  listen,
  relay,
  hosts = [],
}: Settled<z.output<typeof schema>>['http']): Pick<Config, 'http' | 'relay'> {
  const parts = listen === undefined ? undefined : listenParts(listen);
  const relayParts = relay === undefined ? undefined : listenParts(relay);
  return {
    ...(parts && { http: { listen: parts, hosts } }),
    ...(relayParts && { relay: { listen: relayParts, hosts } }),
  };
}

function dnsOf({ listen, zone, ttl, rate }: Values['dns']): Pick<Config, 'dns'> {
  const parts = listen === undefined ? undefined : listenParts(listen);
  if (parts === undefined || parts.host === undefined) return {};
  return { dns: { listen: { host: parts.host, port: parts.port }, zone: zone.toLowerCase(), ttlSeconds: ttl, rate } };
}

const hostOptions = ['host.ip', 'host.ip6', 'host.interface', 'host.cidr', 'host.id'];

function wantedOf(choice: Choice): WantedAddress {
  const { ip, ip6, interface: name, cidr } = choice.values.host;
  const wantsBoth = choice.values.address.families === 'both';
  const common = { ...(ip6 !== undefined && { ip6 }), ...(wantsBoth && { wantsBoth }) };
  if (choice.prefers('host.ip', 'host.interface', 'host.cidr')) return { ...common, ...(ip !== undefined && { ip }) };
  return { ...common, ...(name !== undefined && { interface: name }), ...(cidr !== undefined && { cidr }) };
}

/** Whether the machine is asked for an address, so that it may have another one later. */
const isFoundOut = ({ ip, ip6, wantsBoth }: WantedAddress): boolean =>
  ip === undefined || (wantsBoth === true && ip6 === undefined && !ip.includes(':'));
