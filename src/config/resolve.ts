/**
 * What the places that set options come to: the configuration that the agent runs on.
 *
 * Of two options that say the same, the one from the higher place counts. The files named are read
 * and the machine is asked; all that is wrong, here or in the places themselves, makes one error.
 */
import type * as z from 'zod/mini';
import { DiscoverError, messageOf } from '../errors.ts';
import { etcdAccess } from '../etcd/access.ts';
import { operationsMax } from '../etcd/registry.ts';
import { detectHost, type HostFacts, type Machine, realMachine } from '../host.ts';
import { checkRule, customRule, keysPerInstance, presets, type Rule } from '../layout/views.ts';
import { type Certificates, type Refuse, readCertificates } from '../net/certificates.ts';
import { type Config, listenParts, optionRows, schema, withoutBrackets } from './options.ts';
import type { Layers } from './sources.ts';

export interface Resolved {
  readonly config: Config;
  /** By option: the place that set it, or how it was found out, or `default`. */
  readonly origins: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
  /** What is as it was asked for, and may not be what was hoped for. */
  readonly notes: readonly string[];
  /** What each option comes to, in the shape of a file. Not redacted. */
  readonly effective: object;
}

/** Settles every option, reads the files named and asks the machine. Throws one `CONFIG_INVALID` for all problems. */
export async function resolveConfig(layers: Layers, machine: Machine = realMachine): Promise<Resolved> {
  const choice = new Choice(layers);
  const { workers = machine.cores <= 2 ? 1 : 2, log, ...values } = choice.values;
  const docker = dockerOf(choice);
  const etcd = etcdOf(choice);
  const views = viewsOf(choice, etcd.prefix);
  const host = await hostOf(choice, machine);
  // What a value that is refused was meant to spare the machine is no problem of its own.
  const isRefused = choice.problems.some((problem) => /^host\.(ip|interface|id) /.test(problem));
  refuseAny([...choice.problems, ...(isRefused ? [] : host.problems)]);
  const isDebug = values.debug || values.verbose;
  const config: Config = {
    workers,
    resyncSeconds: values.resync,
    ...values.discover,
    ...(views.length > 0 && { entriesMax: Math.floor((operationsMax - 1) / (1 + keysPerInstance(views))) }),
    views,
    docker,
    etcd,
    host: { id: host.id, ip: host.ip, realm: values.host.realm, onExit: values.host.onExit },
    ...httpOf(values.http),
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
  };
  const found: Record<string, string> = { 'host.ip': host.origins.ip, 'host.id': host.origins.id };
  const origins = new Map([...optionRows.keys()].map((path) => [path, choice.origin(path, found[path])]));
  const notes = notesOf(workers, machine.cores);
  return { config, origins, warnings: [...choice.warnings, ...host.warnings], notes, effective };
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
 * Where etcd is and what its keys begin with, for commands that want nothing else: this machine is asked nothing
 * and need not have an address that anybody can reach. What is wrong elsewhere is an error all the same.
 */
export function resolveEtcd(layers: Layers): { readonly etcd: Config['etcd']; readonly warnings: readonly string[] } {
  const choice = new Choice(layers);
  const etcd = etcdOf(choice);
  refuseAny(choice.problems);
  return { etcd, warnings: choice.warnings };
}

/** Where the agent can be asked over HTTP, if it can, for the command that wants nothing else. */
export function resolveHttp(layers: Layers): Pick<Config, 'http'> & { readonly warnings: readonly string[] } {
  const { problems, values, warnings } = new Choice(layers);
  refuseAny(problems);
  return { ...httpOf(values.http), warnings };
}

function refuseAny(problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new DiscoverError('CONFIG_INVALID', ['Cannot use the configuration:', ...problems].join('\n  '));
}

/** The options as they are once nulls, which mean unset, are left out. */
type Settled<T> = {
  [K in keyof T]: T[K] extends Readonly<Record<string, unknown>> ? Settled<T[K]> : Exclude<T[K], null>;
};

/** What was chosen, with the questions that options ask about each other. A bad value counts as unset meanwhile. */
class Choice {
  readonly problems: string[];
  readonly warnings: string[];
  readonly values: Settled<z.output<typeof schema>>;
  readonly chosen: Layers['chosen'];

  constructor({ chosen, problems, warnings }: Layers) {
    this.chosen = chosen;
    this.problems = [...problems];
    this.warnings = [...warnings];
    const tree: Record<string, unknown> = {};
    for (const [path, { value }] of chosen) put(tree, path.split('.'), value);
    this.values = schema.parse(tree) as Settled<z.output<typeof schema>>;
  }

  origin(path: string, otherwise = 'default'): string {
    return this.chosen.get(path)?.origin ?? otherwise;
  }

  /** Whether `path` counts and not its `rivals`: so if it is set no lower than they are, or none is set. */
  prefers(path: string, ...rivals: string[]): boolean {
    const rank = (name: string): number => this.chosen.get(name)?.rank ?? Infinity;
    const isPreferred = rank(path) <= Math.min(...rivals.map(rank));
    const named = (names: string[]): string =>
      names.flatMap((name) => (this.chosen.has(name) ? `${name} (${this.origin(name)})` : [])).join(' and ');
    const [counts, ignored] = isPreferred ? [[path], rivals] : [rivals, [path]];
    if (named(counts) && named(ignored)) this.warnings.push(`${named(ignored)} ignored in favour of ${named(counts)}`);
    return isPreferred;
  }

  refuse(path: string, mustBe: string): void {
    this.problems.push(`${path} (${this.origin(path)}) must be ${mustBe}`);
  }

  /** For what reads several options: those that are wrong together are named without their places. */
  readonly refuseAll: Refuse = ([option = '', ...others], mustBe) => {
    if (others.length === 0 && !mustBe.startsWith('set together')) this.refuse(option, mustBe);
    else this.problems.push(`${[option, ...others].join(' and ')} must be ${mustBe}`);
  };

  /** The files of the engine's TLS; undefined where none is set. */
  certificates(): Certificates | undefined {
    return readCertificates('docker.tls', this.values.docker.tls, this.refuseAll);
  }
}

/** Sets one leaf of a tree. */
export function put(tree: Record<string, unknown>, [key = '', ...rest]: string[], value: unknown): void {
  tree[key] = rest.length === 0 ? value : (tree[key] ?? {});
  if (rest.length > 0) put(tree[key] as Record<string, unknown>, rest, value);
}

function dockerOf(choice: Choice): Config['docker'] {
  const { socketPath, host = 'localhost', port = 4243, version, tls: given } = choice.values.docker;
  const apiVersion = version?.replace('v', '');
  if (socketPath !== false && choice.prefers('docker.socketPath', 'docker.host', 'docker.port')) {
    return { endpoint: { kind: 'socket', path: socketPath ?? '/var/run/docker.sock' }, apiVersion };
  }
  const tls = choice.certificates() ?? (given.verify && {});
  return { endpoint: { kind: 'tcp', host: withoutBrackets(host), port, ...(tls && { tls }) }, apiVersion };
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
    choice.warnings.push('etcd.password crosses the network unencrypted: https:// endpoints prevent it');
  }
  return { ...access, ttlSeconds: ttl };
}

function httpOf({ listen, hosts = [] }: Settled<z.output<typeof schema>>['http']): Pick<Config, 'http'> {
  const parts = listen === undefined ? undefined : listenParts(listen);
  return parts ? { http: { listen: parts, hosts } } : {};
}

function viewsOf(choice: Choice, prefix: string): Rule[] {
  const { custom = [], ...roots } = choice.values.views;
  const rules: Rule[] = [];
  const add = (path: string, given: string, make: () => Rule[]) => {
    try {
      for (const rule of make()) {
        checkRule(rule, prefix);
        if (rules.some(({ key }) => key === rule.key)) throw new Error('must be unlike the keys of other views');
        rules.push(rule);
      }
    } catch (error) {
      choice.problems.push(`${path} (${choice.origin(path)}) ${messageOf(error)}, got ${JSON.stringify(given)}`);
    }
  };
  for (const [name, preset] of Object.entries(presets)) {
    const root = roots[name as keyof typeof presets];
    if (root !== undefined) add(`views.${name}`, root, () => preset(root));
  }
  for (const text of custom) add('views.custom', text, () => [customRule(text)]);
  return rules;
}

function hostOf(choice: Choice, machine: Machine): Promise<HostFacts> {
  const { ip, id, interface: name } = choice.values.host;
  return detectHost(choice.prefers('host.ip', 'host.interface') ? { ip, id } : { interface: name, id }, machine);
}
