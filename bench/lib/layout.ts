/**
 * Which keys a subject puts into etcd for a container, so that what is there can be held against what runs.
 *
 * discover's own layout, and any other by a template: a line `KEY=VALUE` for each service that a container offers. Pure; nothing of
 * `src`. The containers of the benchmarks offer TCP ports, so the rules are short.
 */
import type { ContainerTruth } from '../engine/containers.ts';
import type { CreateOptions } from '../engine/documents.ts';

/** Who the host is, to every subject. */
export const host = { id: 'h1', ip: '10.0.0.5' };

/** Where containers are reached, as `address.from` has it. */
export type AddressFrom = 'published' | 'container';

export interface Layout {
  /** Of all keys that tell of containers, and maybe of others. */
  readonly prefix: string;
  /** Whether the key tells of a container, as discover's owner key does not. */
  isOfContainer(key: string): boolean;
  /** The keys of the services that a running container offers, and their values. */
  servicesOf(container: ContainerTruth): ReadonlyMap<string, string>;
  /** What else there is for it. */
  recordsOf(container: ContainerTruth, services: ReadonlyMap<string, string>): ReadonlyMap<string, string>;
}

interface Offer {
  readonly service: string;
  readonly port: string;
  /** Where its port is published, as in a URL, and on which port. */
  readonly ip: string;
  readonly hostPort: string;
}

/** By the label `discover` in place of the variable, where there is one. */
function offersOf({ env, labels, ports }: ContainerTruth): Offer[] {
  const declared = labels.discover ?? env.find((entry) => entry.startsWith('DISCOVER='))?.slice('DISCOVER='.length);
  return (declared ?? '').split(',').flatMap((entry) => {
    const [service = '', port = ''] = entry.trim().split(':');
    const bound = ports[`${port}/tcp`]?.[0];
    if (!bound) return [];
    const isWildcard = bound.HostIp === '0.0.0.0' || bound.HostIp === '::';
    const ip = isWildcard ? host.ip : bound.HostIp.includes(':') ? `[${bound.HostIp}]` : bound.HostIp;
    return [{ service, port, ip, hostPort: bound.HostPort }];
  });
}

export function discoverLayout(hostId = host.id, from: AddressFrom = 'published'): Layout {
  const nameOf = (key: string): string => key.split('/')[3] ?? '';
  return {
    prefix: '/discover/',
    isOfContainer: (key) => key.startsWith('/discover/service/') || key.startsWith('/discover/host/'),
    servicesOf: (container) =>
      new Map(
        offersOf(container).map(({ hostPort, ip, port, service }) => [
          `/discover/service/${service}/default/${hostId}/${container.id.slice(0, 12)}`,
          from === 'container' ? `tcp://${container.address}:${port}` : `tcp://${ip}:${hostPort}`,
        ]),
      ),
    recordsOf: ({ id }, services) => {
      const record = Object.fromEntries([...services.keys()].map((key) => [nameOf(key), key]));
      return new Map(
        services.size > 0 ? [[`/discover/host/${hostId}/${id.slice(0, 12)}`, JSON.stringify(record)]] : [],
      );
    },
  };
}

/** What a template may name, and what it becomes. */
type Names = Readonly<Record<string, string>>;

function namesOf(
  { address, id, name }: ContainerTruth,
  { hostPort, ip, port, service }: Offer,
  hostname: string,
): Names {
  const ofContainer = { id, 'short-id': id.slice(0, 12), name, address };
  return { ...ofContainer, service, port, 'host-port': hostPort, ip, host: host.id, hostname };
}

const known = 'service, id, short-id, name, port, host-port, address, ip, host, hostname';

/** Replaces `{name}`. Throws where there is no such name; a brace before anything else stays, as in JSON. */
export function filled(template: string, names: Names, nameList: string): string {
  return template.replaceAll(/\{([a-z0-9-]+)\}/g, (_, name: string) => {
    const value = names[name];
    if (value === undefined) throw new Error(`{${name}} is none of ${nameList}`);
    return value;
  });
}

function templateLayout(template: string, hostname: string): Layout {
  const at = template.indexOf('=');
  const [key, value] = [template.slice(0, at), template.slice(at + 1)];
  if (at < 1) throw new Error(`must be one of ${Object.keys(named).join(', ')}, discover, or KEY=VALUE`);
  const fixed = key.split('{', 1)[0] ?? '';
  if (fixed.length < 2) throw new Error('must begin with what all of its keys begin with, such as /services/');
  if (!/\{(id|short-id|name)\}/.test(key)) throw new Error('needs {id}, {short-id} or {name} in its key');
  const servicesOf = (container: ContainerTruth) =>
    new Map(
      offersOf(container).map((offer) => {
        const names = namesOf(container, offer, hostname);
        return [filled(key, names, known), filled(value, names, known)];
      }),
    );
  // Whether it names only what there is.
  servicesOf(sample);
  return {
    prefix: fixed,
    isOfContainer: (found) => found.startsWith(fixed),
    servicesOf,
    recordsOf: () => new Map(),
  };
}

const sample: ContainerTruth = {
  ...{ id: '0'.repeat(64), name: 'n', state: 'running', startedAt: '0', address: '172.17.0.2' },
  ...{ env: ['DISCOVER=web:80'], labels: {}, ports: { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '4000' }] } },
};

/** Of registrator and its forks, for a registry URI that ends with `/services`; its option -internal changes the value alone. */
const named: Names = {
  registrator: '/services/{service}/{hostname}:{name}:{port}={ip}:{host-port}',
  'registrator-internal': '/services/{service}/{hostname}:{name}:{port}={address}:{port}',
};

/** A layout by its name, or by a template. Throws what is wrong with it. */
export function readLayout(text: string, hostname: string): Layout {
  return text === 'discover' ? discoverLayout() : templateLayout(named[text] ?? text, hostname);
}

/** The same container with what registrator reads of it: where nothing is said it would publish the name of the image. */
export function withServiceVariables({ env = [], ...container }: CreateOptions): CreateOptions {
  const declared = env.find((entry) => entry.startsWith('DISCOVER='))?.slice('DISCOVER='.length) ?? '';
  const variables = declared.split(',').flatMap((entry) => {
    const [service, port] = entry.split(':');
    return port === undefined ? [] : [`SERVICE_${port}_NAME=${service}`];
  });
  return { ...container, env: [...env, ...variables] };
}

/** What etcd must hold, by the engine's own word. */
export function expectedKeys(containers: readonly ContainerTruth[], layout: Layout): Map<string, string> {
  const running = containers.filter(({ state }) => state === 'running');
  return new Map(
    running.flatMap((container) => {
      const services = layout.servicesOf(container);
      return [...services, ...layout.recordsOf(container, services)];
    }),
  );
}
