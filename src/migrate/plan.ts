/**
 * The keys of the original or of registrator to the keys of this layout. Pure.
 *
 * The original has the same service keys. registrator's tree names a container by its name, so the 12 digits are made of
 * the host and that name: an agent that takes the host over replaces them. Everything that is left is said with a reason.
 */
import { createHash } from 'node:crypto';
import type { Protocol, Service } from '../container/container.ts';
import { acceptName } from '../container/sources/advertisement.ts';
import { parseInstance } from '../layout/instance.ts';
import { keysOf, layoutOf, servicePrefixOf } from '../layout/keys.ts';
import type { Entry } from './export.ts';

export interface Settings {
  readonly from: 'original' | 'registrator';
  /** Where the keys are that are read: `/discover` or registrator's path, without a slash at the end. */
  readonly tree: string;
  /** The prefix of the keys to write. */
  readonly prefix: string;
  /** For registrator, which knows no realms. */
  readonly realm: string;
  /** Other ids for hosts. */
  readonly hosts: ReadonlyMap<string, string>;
}

/** The keys to write for one container, all or none. */
export interface Copied {
  readonly host: string;
  readonly shortId: string;
  readonly keys: ReadonlyMap<string, string>;
  /** The keys that they are made of. */
  readonly from: readonly string[];
}

export interface Left {
  readonly key: string;
  readonly reason: string;
}

export interface Migration {
  readonly copied: readonly Copied[];
  readonly left: readonly Left[];
}

interface Found {
  readonly host: string;
  readonly shortId: string;
  readonly service: Service;
}

export function planMigration(entries: readonly Entry[], settings: Settings): Migration {
  const { from, tree, prefix, realm, hosts } = settings;
  const read = from === 'original' ? ofOriginal : ofRegistrator;
  const left: Left[] = [];
  const groups = new Map<string, { host: string; shortId: string; services: Service[]; from: string[] }>();
  for (const entry of entries) {
    const { key } = entry;
    if (!key.startsWith(`${tree}/`)) {
      left.push({ key, reason: `is not below ${tree}` });
      continue;
    }
    const found = read(entry, settings);
    // The records of the original are written anew, from the service keys.
    if (found === undefined) continue;
    if (typeof found === 'string') {
      left.push({ key, reason: found });
      continue;
    }
    const host = hosts.get(found.host) ?? found.host;
    const id = `${host}/${found.shortId}`;
    const group = groups.get(id) ?? { host, shortId: found.shortId, services: [], from: [] };
    groups.set(id, group);
    group.services.push(found.service);
    group.from.push(key);
  }
  const copied = [...groups.values()].map(({ services, ...group }) => ({
    ...group,
    keys: keysOf(layoutOf(prefix, realm, group.host), group.shortId, services),
  }));
  return { copied, left };
}

/** Undefined: a record. A text: the reason why the key is left. */
function ofOriginal({ key, value }: Entry, { tree }: Settings): Found | string | undefined {
  if (key.startsWith(`${tree}/host/`)) return undefined;
  const instance = parseInstance(servicePrefixOf(tree), key, value);
  if (instance === undefined) {
    return `must be ${tree}/service/<name>/<realm>/<host>/<12 digits> with <protocol>://<ip>:<port>`;
  }
  const { name, realm, host, containerId: shortId, address, port, protocol } = instance;
  // The private port is not known, and needed only for a second port under a name, which the original did not have.
  const service: Service = { name, realm, address, port, privatePort: port, protocol: protocol as Protocol };
  return { host, shortId, service };
}

const registered = /^([^/]+)\/([^/:]+):([^/:]+):([1-9]\d{0,4})(?::(udp|sctp))?$/;

function ofRegistrator({ key, value }: Entry, { tree, realm }: Settings): Found | string {
  const [, name, host, container, port, protocol = 'tcp'] = registered.exec(key.slice(tree.length + 1)) ?? [];
  if (name === undefined || host === undefined) {
    return `must be ${tree}/<name>/<host>:<container>:<port>: an id of its own (SERVICE_ID) does not say its host`;
  }
  if (acceptName(name, 'compat') === undefined) return `${JSON.stringify(name)} is not allowed as a name`;
  if (acceptName(host, 'compat') === undefined) return `${JSON.stringify(host)} is not allowed as the id of a host`;
  const shortId = createHash('sha256').update(`${host}:${container}`).digest('hex').slice(0, 12);
  const instance = parseInstance('/', `/${name}/${realm}/${host}/${shortId}`, `${protocol}://${value}`);
  if (instance === undefined) return `must hold <ip>:<port>, got ${JSON.stringify(value.slice(0, 64))}`;
  const { address, port: publicPort } = instance;
  return {
    ...{ host, shortId },
    service: { name, realm, address, port: publicPort, privatePort: Number(port), protocol: protocol as Protocol },
  };
}
