/**
 * The source `registrator`: what registrator would register of a container, from its published ports, `SERVICE_*` variables and
 * labels of the same names. Off unless `discover.sources` lists it.
 *
 * - Every published port is a service, and with `--network host` every exposed one.
 * - The name is that of the image without path and tag, or `SERVICE_NAME`. Of several ports each has `-<port>` behind the
 *   name, unless `SERVICE_<port>_NAME` gives it.
 * - `SERVICE_<port>_<key>` and `SERVICE_<port>_<protocol>_<key>` count for that port, before `SERVICE_<key>`. Of two
 *   general ones the later counts, a label after the environment; of two for one port the first.
 * - A port with `IGNORE` is left out; `SERVICE_8000-8010_IGNORE` leaves out a range. `TAGS` is a list with `\,` for a comma; the other keys
 *   are attributes. `ID` has no effect: an instance is named by its container.
 */
import { isRecord } from '../address/published.ts';
import type { Protocol } from '../container.ts';
import { parsePort } from './advertisement.ts';
import type { FoundAttribute } from './attributes.ts';

/** One port as registrator would register it. The name is not checked. */
export interface Registered {
  readonly name: string;
  readonly privatePort: number;
  readonly protocol: Protocol;
  /** The rule that made the name, for people. */
  readonly rule: string;
  readonly attributes: readonly FoundAttribute[];
}

interface Variable {
  /** As it was written. */
  readonly label: string;
  /** Behind `SERVICE_`, in lower case. */
  readonly key: string;
  readonly value: string;
}

const PREFIX = 'SERVICE_';
/** More than a person writes; the rest is not read. */
const VARIABLES_MAX = 1_000;

/** `isExplicit`: only ports with a name of their own. `document` is an inspect document, and foreign. */
export function readRegistrator(document: unknown, isExplicit = false): readonly Registered[] {
  const config = field(document, 'Config');
  const ports = portsOf(document, config);
  if (ports.length === 0) return [];
  const variables = variablesOf(config);
  const image = field(config, 'Image');
  const ofImage = typeof image === 'string' ? (image.split('/').at(-1)?.split(':', 1)[0] ?? '') : '';
  return ports.flatMap(({ port, protocol }) => {
    const meta = metadataOf(variables, port, protocol);
    if ((meta.get('ignore')?.value ?? '') !== '') return [];
    const named = meta.get('name');
    const given = named?.value === '' ? undefined : named;
    if (given === undefined && isExplicit) return [];
    const isSuffixed = ports.length > 1 && named?.isOfPort !== true;
    const by = given?.label ?? 'the name of the image';
    return {
      name: `${given?.value ?? ofImage}${isSuffixed ? `-${port}` : ''}`,
      ...{ privatePort: port, protocol },
      rule: isSuffixed ? `${by}, and -${port} because it has ${ports.length} published ports` : by,
      attributes: attributesOf(meta, protocol),
    };
  });
}

/** In the order of their numbers, so that the result does not depend on the order of the engine. */
function portsOf(document: unknown, config: unknown): { readonly port: number; readonly protocol: Protocol }[] {
  const [exposed, published] = [field(config, 'ExposedPorts'), field(field(document, 'NetworkSettings'), 'Ports')];
  const found = new Set<string>(isRecord(exposed) ? Object.keys(exposed) : []);
  for (const [port, bindings] of Object.entries(isRecord(published) ? published : {})) {
    const [first] = Array.isArray(bindings) ? (bindings as unknown[]) : [];
    const hostPort = field(first, 'HostPort');
    if (typeof hostPort === 'string' && hostPort !== '') found.add(port);
    else found.delete(port);
  }
  const ports = [...found].flatMap((text) => {
    const [number = '', protocol = 'tcp'] = text.split('/');
    const port = parsePort(number);
    return port === undefined || !isProtocol(protocol) ? [] : { port, protocol };
  });
  return ports.sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

/** The environment first, and then the labels in the order of their names. */
function variablesOf(config: unknown): Variable[] {
  const [env, labels] = [field(config, 'Env'), field(config, 'Labels')];
  const all: Variable[] = [];
  const add = (label: string, value: unknown): void => {
    if (!label.startsWith(PREFIX) || typeof value !== 'string' || all.length === VARIABLES_MAX) return;
    all.push({ label, key: label.slice(PREFIX.length).toLowerCase(), value });
  };
  for (const one of Array.isArray(env) ? (env as unknown[]) : []) {
    if (typeof one !== 'string' || !one.startsWith(PREFIX)) continue;
    const at = one.indexOf('=');
    if (at > 0) add(one.slice(0, at), one.slice(at + 1));
  }
  for (const name of Object.keys(isRecord(labels) ? labels : {}).sort()) add(name, field(labels, name));
  return all;
}

interface Found extends Variable {
  readonly isOfPort: boolean;
}

/** What counts for one port, by the key in lower case. */
function metadataOf(variables: readonly Variable[], port: number, protocol: Protocol): Map<string, Found> {
  const general = new Map<string, Found>();
  const ofPort = new Map<string, Found>();
  for (const variable of variables) {
    const [, first, last, rest = ''] = /^(\d+)(?:-(\d+))?_(.+)$/.exec(variable.key) ?? [];
    if (first === undefined) {
      general.set(variable.key, { ...variable, isOfPort: false });
      continue;
    }
    if (last !== undefined) {
      const isInside = Number(first) <= port && port <= Number(last);
      if (isInside && rest === 'ignore' && !ofPort.has(rest)) ofPort.set(rest, { ...variable, isOfPort: true });
      continue;
    }
    const [, named, ofProtocol = ''] = /^(tcp|udp|sctp)_(.+)$/.exec(rest) ?? [];
    if (Number(first) !== port || (named !== undefined && named !== protocol)) continue;
    const key = named === undefined ? rest : ofProtocol;
    if (!ofPort.has(key)) ofPort.set(key, { ...variable, isOfPort: true });
  }
  return new Map([...general, ...ofPort]);
}

function attributesOf(meta: ReadonlyMap<string, Found>, protocol: Protocol): FoundAttribute[] {
  const attributes: FoundAttribute[] = [];
  const tags = tagsIn(meta.get('tags')?.value ?? '');
  if (protocol === 'udp') tags.push('udp');
  if (tags.length > 0)
    attributes.push({ label: meta.get('tags')?.label ?? 'udp', service: '', name: 'tags', value: tags });
  for (const [name, { label, value }] of meta) {
    if (!['name', 'tags', 'id', 'ignore'].includes(name)) attributes.push({ label, service: '', name, value });
  }
  return attributes;
}

/** Commas part tags, and `\,` is a comma in one. */
function tagsIn(text: string): string[] {
  return text
    .split(/(?<!\\),/)
    .map((tag) => tag.replaceAll('\\,', ',').trim())
    .filter((tag) => tag !== '');
}

const isProtocol = (text: string): text is Protocol => text === 'tcp' || text === 'udp' || text === 'sctp';
const field = (value: unknown, name: string): unknown => (isRecord(value) ? value[name] : undefined);
