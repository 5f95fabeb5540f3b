/**
 * What the places that set options come to: the configuration that the agent runs on.
 *
 * Of two options that say the same, the one from the higher place counts. The files named are read
 * and the machine is asked; all that is wrong, here or in the places themselves, makes one error.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type * as z from 'zod/mini';
import { configError, messageOf, type Problem } from '../errors.ts';
import { operationsMax } from '../etcd/registry.ts';
import { detectHost, type HostFacts, type Machine, realMachine } from '../host.ts';
import { checkRule, customRule, keysPerInstance, presets, type Rule } from '../layout/views.ts';
import { type Config, endpointPattern, listenParts, optionRows, schema, shown, withoutBrackets } from './options.ts';
import type { Layers } from './sources.ts';

export interface Resolved {
  readonly config: Config;
  /** By option: the place that set it, or how it was found out, or `default`. */
  readonly origins: ReadonlyMap<string, string>;
  readonly warnings: readonly Problem[];
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
  const isRefused = choice.problems.some(({ path }) => ['host.ip', 'host.interface', 'host.id'].includes(path));
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
  if (!choice.chosen.has('etcd.endpoints')) {
    const single = ['etcd.host', 'etcd.port'].find((path) => choice.chosen.has(path));
    if (single !== undefined) found['etcd.endpoints'] = choice.origin(single);
  }
  const origins = new Map([...optionRows.keys()].map((path) => [path, choice.origin(path, found[path])]));
  return { config, origins, warnings: [...choice.warnings, ...host.warnings], effective };
}

/**
 * Where etcd is and what its keys begin with, for commands that want nothing else: this machine is asked nothing
 * and need not have an address that anybody can reach. What is wrong elsewhere is an error all the same.
 */
export function resolveEtcd(layers: Layers): { readonly etcd: Config['etcd']; readonly warnings: readonly Problem[] } {
  const choice = new Choice(layers);
  const etcd = etcdOf(choice);
  refuseAny(choice.problems);
  return { etcd, warnings: choice.warnings };
}

/** Where the agent can be asked over HTTP, if it can, for the command that wants nothing else. */
export function resolveHttp(layers: Layers): Pick<Config, 'http'> & { readonly warnings: readonly Problem[] } {
  const { problems, values, warnings } = new Choice(layers);
  refuseAny(problems);
  return { ...httpOf(values.http), warnings };
}

function refuseAny(problems: readonly Problem[]): void {
  if (problems.length > 0) throw configError('the configuration', problems);
}

/** The options as they are once nulls, which mean unset, are left out. */
type Settled<T> = {
  [K in keyof T]: T[K] extends Readonly<Record<string, unknown>> ? Settled<T[K]> : Exclude<T[K], null>;
};

/** What was chosen, with the questions that options ask about each other. A bad value counts as unset meanwhile. */
class Choice {
  readonly problems: Problem[];
  readonly warnings: Problem[];
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
    if (named(counts) && named(ignored)) {
      this.warnings.push({ path: named(ignored), reason: `ignored in favour of ${named(counts)}` });
    }
    return isPreferred;
  }

  refuse(path: string, reason: string, got?: string): void {
    this.problems.push({ path, origin: this.origin(path), reason, got });
  }

  read(path: string, name: string | undefined): Buffer | undefined {
    try {
      return name === undefined ? undefined : readFileSync(name);
    } catch (error) {
      this.refuse(path, 'must be a file that can be read', `${shown(path, name)}: ${messageOf(error)}`);
      return undefined;
    }
  }

  #parses(kind: 'ca' | 'cert' | 'key', content: Buffer): boolean {
    try {
      return kind === 'key' ? Boolean(createPrivateKey(content)) : Boolean(new X509Certificate(content));
    } catch {
      return false;
    }
  }

  /** The files of one `tls` group; undefined where none is set. */
  certificates(group: 'docker' | 'etcd'): Config['etcd']['tls'] {
    const files: { ca?: Buffer; cert?: Buffer; key?: Buffer } = {};
    for (const kind of ['ca', 'cert', 'key'] as const) {
      const [path, name] = [`${group}.tls.${kind}`, this.values[group].tls[kind]];
      const content = this.read(path, name);
      if (content) files[kind] = content;
      if (content && !this.#parses(kind, content)) {
        const what = kind === 'key' ? 'private key without a passphrase' : 'certificate';
        this.refuse(path, `must be a PEM file that holds a ${what}`, `"${name}"`);
        delete files[kind];
      }
    }
    if (files.cert && files.key && !new X509Certificate(files.cert).checkPrivateKey(createPrivateKey(files.key))) {
      this.refuse(`${group}.tls.key`, `must be the key of ${group}.tls.cert`, `"${this.values[group].tls.key}"`);
    }
    const [ca, cert, key] = ['ca', 'cert', 'key'].map((kind) => this.chosen.has(`${group}.tls.${kind}`));
    if (cert !== key) {
      this.problems.push({ path: `${group}.tls.cert`, reason: `and ${group}.tls.key must be set together` });
    }
    return ca || cert || key ? files : undefined;
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
  const tls = choice.certificates('docker') ?? (given.verify && {});
  return { endpoint: { kind: 'tcp', host: withoutBrackets(host), port, ...(tls && { tls }) }, apiVersion };
}

function etcdOf(choice: Choice): Config['etcd'] {
  const { host = 'localhost', port = 2379, username, ...values } = choice.values.etcd;
  const tls = choice.certificates('etcd');
  const single = `${host.includes(':') ? `[${withoutBrackets(host)}]` : host}:${port}`;
  const listed = choice.prefers('etcd.endpoints', 'etcd.host', 'etcd.port') ? values.endpoints : [single];
  const endpoints = listed.map((endpoint) => {
    const [, scheme = tls ? 'https' : 'http', name, number] = endpointPattern.exec(endpoint) ?? [];
    return `${scheme}://${name}:${number}`.toLowerCase();
  });
  const plain = endpoints.filter((endpoint) => endpoint.startsWith('http:'));
  // etcd3 refuses a mixture, and talks TLS to http:// once it has certificates.
  if (plain.length > 0 && (tls || plain.length < endpoints.length)) {
    const allowed = 'all https:// or, without etcd.tls, all http://';
    choice.refuse('etcd.endpoints', `must be ${allowed}`, `"${endpoints.join()}"`);
  }
  const password = passwordOf(choice);
  if (password && plain.some((endpoint) => !/\/\/(localhost|127\.|\[::1\])/.test(endpoint))) {
    choice.warnings.push({
      path: 'etcd.password',
      reason: 'crosses the network unencrypted: https:// endpoints prevent it',
    });
  }
  return {
    endpoints: [...new Set(endpoints)],
    prefix: `/${values.prefix.replaceAll(/^\/|\/$/g, '')}`,
    ttlSeconds: values.ttl,
    ...(tls && { tls }),
    ...(username && password && { username, password }),
  };
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
      choice.refuse(path, messageOf(error), JSON.stringify(given));
    }
  };
  for (const [name, preset] of Object.entries(presets)) {
    const root = roots[name as keyof typeof presets];
    if (root !== undefined) add(`views.${name}`, root, () => preset(root));
  }
  for (const text of custom) add('views.custom', text, () => [customRule(text)]);
  return rules;
}

function passwordOf(choice: Choice): string | undefined {
  const path = 'etcd.passwordFile';
  const { password, passwordFile } = choice.values.etcd;
  const isFile = choice.chosen.has(path) && choice.prefers(path, 'etcd.password');
  if (choice.chosen.has('etcd.username') !== (isFile || choice.chosen.has('etcd.password'))) {
    choice.problems.push({
      path: 'etcd.username',
      reason: 'must be set together with etcd.passwordFile or etcd.password',
    });
  }
  if (!isFile) return password;
  const bytes = choice.read(path, passwordFile);
  const content = bytes?.toString().replace(/\r?\n$/, '');
  if (content === '') choice.refuse(path, `must be a file that holds a password, "${passwordFile}" is empty`);
  return content;
}

function hostOf(choice: Choice, machine: Machine): Promise<HostFacts> {
  const { ip, id, interface: name } = choice.values.host;
  return detectHost(choice.prefers('host.ip', 'host.interface') ? { ip, id } : { interface: name, id }, machine);
}
