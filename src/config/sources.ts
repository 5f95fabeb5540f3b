/**
 * The places that set options, highest first: the command line (or the options that a program gives),
 * DISCOVER_*, the variables of docker and etcdctl, those of the original, the file. Where none is named, the program
 * reads `/etc/discover/config.json`, so that commands and the agent use the same.
 *
 * Every value is checked by its rule where it is found, an outvoted one too. A variable that is just
 * `DISCOVER` is not configuration: with it, discover's own container advertises itself.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { messageOf, type Problem } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { keysTwice } from './keys-twice.ts';
import { groups, type OptionRow, optionRows, shown } from './options.ts';

/** Read by the agent and by every command where no other file is named. */
export const systemFilePath = '/etc/discover/config.json';

/** Rank 0 is the highest. */
type Place = Readonly<{ origin: string; rank: number }>;

/** By option the value of the highest place that sets it (undefined if the value is invalid), and all problems. */
export interface Layers {
  readonly chosen: Map<string, Place & { readonly value: unknown }>;
  readonly warnings: Problem[];
  readonly problems: Problem[];
  /** The parts of the file that only the caller uses, by the names in `Sources.others`, unchecked. */
  readonly others: Map<string, unknown>;
  /** The path of the file that was read. */
  readonly file: string | undefined;
}

export interface Sources {
  /** Given by a program, in the shape of a file. */
  readonly options?: object;
  /** The options of a command line by path, the values as they were typed. */
  readonly argv?: object;
  readonly env?: NodeJS.ProcessEnv;
  /** The path of the file; else the environment may name one. */
  readonly file?: string | undefined;
  /** The file that is read if no file is named and this one exists. */
  readonly systemFile?: string | undefined;
  /** The agent: it does not run without a system file that it may not read. A command warns and goes on. */
  readonly isAgent?: boolean;
  /** The names that a file may hold beside the options. */
  readonly others?: readonly string[];
}

/** Gathers the values that are set, and their places. Problems wait for `resolveConfig`, which reports all of them. */
export function readSources(sources: Sources): Layers {
  const { options = {}, argv = {}, env = {}, file, systemFile, isAgent = false, others = [] } = sources;
  const named = file ?? (env.DISCOVER_CONFIG || env.config || undefined);
  const path = named ?? (systemFile !== undefined && mayExist(systemFile) ? systemFile : undefined);
  const layers: Layers = { chosen: new Map(), warnings: [], problems: [], others: new Map(), file: path };
  addTree(layers, options, { origin: 'options', rank: 0 });
  addTree(layers, argv, { origin: 'command line', rank: 0 }, true);
  addEnvironment(layers, env);
  if (path !== undefined) addFile(layers, path, others, named === undefined && !isAgent);
  return layers;
}

/** Also true of a file in a folder that this user may not open: only reading it tells. */
function mayExist(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true;
  }
}

function addTree(layers: Layers, tree: object, place: Place, isText = false, parent = ''): void {
  for (const [key, value] of Object.entries(tree)) {
    const path = parent + key;
    const row = optionRows.get(path);
    const refuse = (reason: string, got?: string) => layers.problems.push({ path, origin: place.origin, reason, got });
    if (!row && !groups.has(path)) refuse(`is not an option${hint(didYouMean(path))}`);
    else if (value === null || value === undefined) continue;
    else if (row) {
      const read = isText ? fromText(row, value) : value;
      const isGood = row.schema.safeParse(read).success;
      if (!isGood) refuse(`must be ${row.allowed}`, shown(path, read));
      if (!layers.chosen.has(path)) layers.chosen.set(path, { ...place, value: isGood ? read : undefined });
    } else if (isTree(value)) addTree(layers, value, place, isText, `${path}.`);
    else refuse('must be an object that holds its options');
  }
}

const isTree = (value: unknown): value is object => value instanceof Object && !Array.isArray(value);

function addFile(layers: Layers, path: string, others: readonly string[], mayBeDenied: boolean): void {
  const origin = `file ${path}`;
  let content = '';
  try {
    content = readFileSync(path, 'utf8').replace(/^\uFEFF/, '');
    const tree: unknown = JSON.parse(content);
    for (const key of keysTwice(content)) {
      layers.problems.push({ path: key, origin, reason: 'must be there once: all but the last would be dropped' });
    }
    if (isTree(tree)) {
      const isOther = ([key]: [string, unknown]) => others.includes(key);
      for (const [key, value] of Object.entries(tree).filter(isOther)) layers.others.set(key, value);
      const options = Object.entries(tree).filter((entry) => !isOther(entry));
      addTree(layers, Object.fromEntries(options), { origin, rank: 4 });
    } else layers.problems.push({ path: origin, reason: 'must hold a JSON object' });
  } catch (error) {
    // Only the agent's user may be allowed to read the file: the commands of other users work without it.
    if (mayBeDenied && error instanceof Error && 'code' in error && error.code === 'EACCES') {
      layers.warnings.push({ path: origin, reason: 'is not read: permission denied' });
      return;
    }
    // The text of a syntax error quotes the file, and the file may hold a password.
    const at = /position (\d+)/.exec(messageOf(error))?.[1];
    const where = at ? ` from line ${content.slice(0, Number(at)).split('\n').length} on` : '';
    const isSyntax = error instanceof SyntaxError;
    const reason = isSyntax ? `is not JSON${where}` : `cannot be read: ${messageOf(error)}`;
    layers.problems.push({ path: origin, reason });
  }
}

const ofTools: Readonly<Record<string, string>> = {
  ETCDCTL_ENDPOINTS: 'etcd.endpoints',
  ETCDCTL_CACERT: 'etcd.tls.ca',
  ETCDCTL_CERT: 'etcd.tls.cert',
  ETCDCTL_KEY: 'etcd.tls.key',
  ETCDCTL_PASSWORD: 'etcd.password',
  DOCKER_API_VERSION: 'docker.version',
};

/** The options of the original; its variables have `_` for the dot. */
const ofOriginal =
  'discover.serviceVariable docker.socketPath docker.host docker.port docker.version etcd.host etcd.port etcd.prefix ' +
  'host.ip host.realm host.id debug verbose silly log';

/** Set in every pod of a namespace that has a service called discover. */
const ofKubernetes = /^DISCOVER_(SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_(TCP|UDP|SCTP)\w*)$/;

type Add = (rank: number, name: string, path: string, value: string | undefined) => void;

function addEnvironment(layers: Layers, env: NodeJS.ProcessEnv): void {
  const add: Add = (rank, name, path, value) => {
    if (value !== undefined) addTree(layers, { [path]: value }, { origin: `environment ${name}`, rank }, true);
  };
  // With this variable Node accepts any certificate, in spite of the configuration here.
  if (env.NODE_TLS_REJECT_UNAUTHORIZED === '0') {
    layers.problems.push({
      path: 'NODE_TLS_REJECT_UNAUTHORIZED',
      origin: 'environment',
      reason: 'must not be 0: verification cannot be switched off',
    });
  }
  const names = new Map([...optionRows.keys()].flatMap((path) => environmentNames(path).map((name) => [name, path])));
  for (const [name, path] of names) add(1, name, path, env[name]);
  for (const name of Object.keys(env)) {
    if (!name.startsWith('DISCOVER_') || name === 'DISCOVER_CONFIG' || names.has(name)) continue;
    if (env.KUBERNETES_SERVICE_HOST !== undefined && ofKubernetes.test(name)) continue;
    // A name without its group, such as DISCOVER_REALM, is recognised by its last words.
    const last = [...names.keys()].find((one) => one.endsWith(name.slice('DISCOVER'.length)));
    const reason = `is not an option${hint(last ?? nearest(name, [...names.keys()]))}`;
    layers.problems.push({ path: name, origin: 'environment', reason });
  }
  // These programs treat an empty variable as unset.
  for (const [name, path] of Object.entries(ofTools)) add(2, name, path, env[name] || undefined);
  const [user, ...password] = env.ETCDCTL_PASSWORD ? [env.ETCDCTL_USER] : (env.ETCDCTL_USER?.split(':') ?? []);
  add(2, 'ETCDCTL_USER', 'etcd.username', user || undefined);
  add(2, 'ETCDCTL_USER', 'etcd.password', password.join(':') || undefined);
  addDockerHost(layers, env, add);
  const originals = new Map(ofOriginal.split(' ').map((path) => [path.replace('.', '_'), path]));
  for (const [name, path] of originals) add(3, name, path, env[name] || undefined);
  addTyposOfOriginal(layers, env, [...originals.keys()]);
}

/** Only names with `discover` are certainly ours; the others may be those of another program. */
function addTyposOfOriginal(layers: Layers, env: NodeJS.ProcessEnv, originals: readonly string[]): void {
  for (const name of Object.keys(env)) {
    if (!/^(discover|docker|etcd|host)_/.test(name) || originals.includes(name)) continue;
    const path = name.replaceAll('_', '.');
    const meant = optionRows.has(path) ? environmentNames(path)[0] : nearest(name, originals);
    const problem = { path: name, origin: 'environment' };
    if (name.startsWith('discover_')) layers.problems.push({ ...problem, reason: `is not an option${hint(meant)}` });
    else if (meant !== undefined) layers.warnings.push({ ...problem, reason: `is not read${hint(meant)}` });
  }
}

/** DOCKER_HOST is taken whole or not at all: its port means nothing at the host that another place names. */
function addDockerHost(layers: Layers, env: NodeJS.ProcessEnv, add: Add): void {
  const { DOCKER_HOST: text = '', DOCKER_TLS_VERIFY: verify, DOCKER_CERT_PATH: certificates } = env;
  const [, scheme, host, port] = /^(tcp|https?):\/\/(\[[^\]]+\]|[^/:@]+)(?::(\d+))?\/?$/.exec(text) ?? [];
  const isSecure = Boolean(verify) || scheme === 'https';
  const rivals = ['docker.socketPath', 'docker.host', 'docker.port'];
  const isOverruled = rivals.some((path) => layers.chosen.has(path) && layers.chosen.get(path)?.value !== false);
  if (text !== '' && !isOverruled) {
    const socketPath = text.startsWith('unix:///') ? text.slice('unix://'.length) : host && 'false';
    const allowed = 'unix:///path, tcp://host:port, http://host:port or https://host:port';
    if (!socketPath) {
      const got = shown('docker.host', text);
      layers.problems.push({ path: 'DOCKER_HOST', origin: 'environment', reason: `must be ${allowed}`, got });
    }
    add(2, 'DOCKER_HOST', 'docker.socketPath', socketPath);
    add(2, 'DOCKER_HOST', 'docker.host', host);
    add(2, 'DOCKER_HOST', 'docker.port', host && (port ?? (isSecure ? '2376' : '2375')));
  }
  if (!isSecure) return;
  add(2, verify ? 'DOCKER_TLS_VERIFY' : 'DOCKER_HOST', 'docker.tls.verify', 'true');
  for (const kind of ['ca', 'cert', 'key']) {
    const path = `${certificates || `${homedir()}/.docker`}/${kind}.pem`;
    if (existsSync(path) || (kind === 'ca' && certificates)) add(2, 'DOCKER_CERT_PATH', `docker.tls.${kind}`, path);
  }
}

/** `host.realm` is DISCOVER_HOST_REALM; the group `discover` may be left out of the name. */
export function environmentNames(path: string): string[] {
  const name = `DISCOVER_${path.replaceAll('.', '_').replaceAll(/[A-Z]/g, '_$&').toUpperCase()}`;
  return name.startsWith('DISCOVER_DISCOVER_') ? [name, name.slice('DISCOVER_'.length)] : [name];
}

/** The value of a text from the environment or the command line; the text itself if it has no such value. */
function fromText({ type }: OptionRow, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (type === 'integer' && /^-?\d+$/.test(value)) return Number(value);
  if (type === 'lines') return value.split('\n').filter((line) => line.trim() !== '');
  if (type === 'list') return value.split(',').map((item) => item.trim());
  if (type === 'boolean' && /^(true|false|1|0)$/.test(value)) return value === 'true' || value === '1';
  return type === 'string or false' && value === 'false' ? false : value;
}

export const hint = (meant: string | undefined): string => (meant ? `, did you mean ${meant}?` : '');

/** The option that was probably meant: an option with the same last name, else one that differs in few characters. */
export function didYouMean(path: string): string | undefined {
  const known = [...optionRows.keys(), ...groups];
  const last = (name: string): string => name.slice(name.lastIndexOf('.') + 1);
  return known.find((name) => last(name) === last(path)) ?? nearest(path, known);
}
