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
  /** Made when they are asked for: most ports of an image that exposes thousands are not taken. */
  readonly attributes: () => readonly FoundAttribute[];
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
export function* readRegistrator(document: unknown, isExplicit = false): Generator<Registered> {
  const config = field(document, 'Config');
  const ports = portsOf(document, config);
  if (ports.length === 0) return;
  const metadata = new MetadataOfPorts(variablesOf(config));
  const image = field(config, 'Image');
  const ofImage = typeof image === 'string' ? (image.split('/').at(-1)?.split(':', 1)[0] ?? '') : '';
  for (const { port, protocol } of ports) {
    const own = metadata.own(port, protocol);
    if ((metadata.get(own, 'ignore')?.value ?? '') !== '') continue;
    const named = metadata.get(own, 'name');
    const given = named?.value === '' ? undefined : named;
    if (given === undefined && isExplicit) continue;
    const isSuffixed = ports.length > 1 && named?.isOfPort !== true;
    const by = given?.label ?? 'the name of the image';
    yield {
      name: `${given?.value ?? ofImage}${isSuffixed ? `-${port}` : ''}`,
      ...{ privatePort: port, protocol },
      rule: isSuffixed ? `${by}, and -${port} because it has ${ports.length} published ports` : by,
      attributes: () => attributesOf(metadata.with(own), protocol),
    };
  }
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
type Metadata = ReadonlyMap<string, Found>;

/**
 * The metadata of any port. An image may expose every port there is and have a thousand variables: so they are sorted
 * once, and a port costs what its own variables cost.
 */
class MetadataOfPorts {
  readonly #general = new Map<string, Found>();
  /** By port and by port and protocol, in the order of the variables. */
  readonly #ofPort = new Map<string, { readonly key: string; readonly variable: Found; readonly order: number }[]>();
  readonly #ignored: {
    readonly first: number;
    readonly last: number;
    readonly order: number;
    readonly variable: Found;
  }[] = [];

  constructor(variables: readonly Variable[]) {
    for (const [order, variable] of variables.entries()) {
      const [, first, last, rest = ''] = /^(\d+)(?:-(\d+))?_(.+)$/.exec(variable.key) ?? [];
      const found = { ...variable, isOfPort: true };
      if (first === undefined) this.#general.set(variable.key, { ...variable, isOfPort: false });
      else if (last === undefined) this.#add(Number(first), rest, found, order);
      else if (rest === 'ignore')
        this.#ignored.push({ first: Number(first), last: Number(last), order, variable: found });
    }
  }

  /** The variables of the port alone. Of two for one key the first counts. */
  own(port: number, protocol: Protocol): Metadata {
    const named = [...(this.#ofPort.get(`${port}`) ?? []), ...(this.#ofPort.get(`${port}/${protocol}`) ?? [])];
    for (const { first, last, order, variable } of this.#ignored) {
      if (first <= port && port <= last) named.push({ key: 'ignore', variable, order });
    }
    const own = new Map<string, Found>();
    for (const { key, variable } of named.sort((one, other) => one.order - other.order)) {
      if (!own.has(key)) own.set(key, variable);
    }
    return own;
  }

  get(own: Metadata, key: string): Found | undefined {
    return own.get(key) ?? this.#general.get(key);
  }

  with(own: Metadata): Metadata {
    return new Map([...this.#general, ...own]);
  }

  #add(port: number, rest: string, variable: Found, order: number): void {
    const [, protocol, key = rest] = /^(tcp|udp|sctp)_(.+)$/.exec(rest) ?? [];
    const place = protocol === undefined ? `${port}` : `${port}/${protocol}`;
    const list = this.#ofPort.get(place) ?? [];
    this.#ofPort.set(place, list);
    list.push({ key, variable, order });
  }
}

function attributesOf(meta: Metadata, protocol: Protocol): FoundAttribute[] {
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
