/**
 * Containers with labels that no sane one has, and what must be true of each: the reader does not throw, every key in
 * every view is the container's own, what is JSON can be read, all of it fits into one transaction, and an advertisement
 * in a label has the outcome of the same in a variable.
 *
 * One number, the seed, makes one document.
 */
import { Random } from '../../bench/engine/random.ts';
import type { Service } from '../../src/container/container.ts';
import { type InspectionOptions, readInspection } from '../../src/container/document.ts';
import { operationsMax } from '../../src/etcd/registry.ts';
import { keysOf, layoutOf } from '../../src/layout/keys.ts';
import { customRule, keysPerInstance, presets, viewsOf } from '../../src/layout/views.ts';
import { HOST_IP, USUAL_PORTS } from '../fixtures/advertisements.ts';
import { type Finding, labelsOf, pick, valueBy } from './advertisements.ts';

const rules = [
  ...presets.skydns('discover.local'),
  ...presets.grpc('grpc'),
  ...presets.registrator('/services'),
  ...presets.traefik('traefik'),
  customRule('/custom/{{service}}/{{index}} = {"c":"{{container}}","i":"{{image}}","v":"{{attr:version}}"}'),
];
const perInstance = 1 + keysPerInstance(rules);
const shortId = '0123456789ab';
const layout = layoutOf('/p', 'realm', 'host', viewsOf(rules, 'realm', 'host', 'rack-1'));
const roots = ['/p/service/', '/p/meta/', '/p/host/host/', '/skydns/', 'grpc/', '/services/', 'traefik/', '/custom/'];
const options: InspectionOptions = {
  ...{ hostIp: HOST_IP, serviceVariable: 'DISCOVER', namePolicy: 'compat', realms: ['realm', 'blue'], zone: 'rack-1' },
  ...{ keysPerInstance: perInstance, keysPerWeight: keysPerInstance(rules, 'weight') },
  entriesMax: Math.floor((operationsMax - 1) / (perInstance + 1)),
};

export interface Labelled {
  readonly Name: string;
  readonly State: { readonly Running: true };
  readonly Config: { readonly Image: string; readonly Labels: Record<string, string>; readonly Env: string[] };
  readonly NetworkSettings: { readonly Ports: typeof USUAL_PORTS };
}

const services = ['web', 'api', 'Api-1', 'a.b_c~d', '__proto__', 'constructor', 'web', 'é', '', 'a/b'];
const attributes = ['weight', 'priority', 'tags', 'scheme', 'text', 'version', 'Weight', '9', 'a b', '__proto__', ''];
const values = ['1', '0', '65535', '65536', '-1', '1e3', ' 7', 'tcp', 'https', 'a,b,,c', '"', '\u202e', '{{id}}', '\n'];

/** The document of this seed. */
export function labelledOf(seed: number): Labelled {
  const random = new Random(seed);
  const labels = labelsOf(seed);
  if (random.chance(0.5)) labels.discover = 'web:80,api:443,Api-1:53/udp,a.b_c~d:9,__proto__:80,constructor:443';
  for (let left = random.below(8); left > 0; left--) {
    const name = `${pick(random, ['discover', 'discover', 'Discover'])}.${pick(random, services)}.${pick(random, attributes)}`;
    labels[name] = random.chance(0.8) ? pick(random, values) : valueBy(random);
  }
  // Now and then more than a service may have.
  if (random.below(50) === 0) {
    labels.Discover = 'web:80';
    for (let n = 0; n < 40; n++) labels[`discover.web.a${n}`] = 'x'.repeat(random.below(300));
  }
  return {
    Name: random.chance(0.9) ? '/web-1' : `/${valueBy(random)}`,
    State: { Running: true },
    Config: { Image: random.chance(0.9) ? 'nginx:1' : valueBy(random), Labels: labels, Env: ['DISCOVER=variable:80'] },
    NetworkSettings: { Ports: USUAL_PORTS },
  };
}

/** What is wrong with how `read` takes this document, if anything is. */
export function faultOfLabels(document: Labelled, read = readInspection): Finding | undefined {
  try {
    const inspection = read(document, options);
    if (inspection.kind !== 'running') return { kind: 'nonsense', detail: `it is said to be ${inspection.kind}` };
    const { services, names } = inspection;
    const keys = keysOf(layout, shortId, services, names);
    if (keys.size > operationsMax) return { kind: 'nonsense', detail: `${keys.size} keys in one transaction` };
    for (const [key, value] of keys) {
      const isOwn = layout.containerOf(key) === shortId && roots.some((root) => key.startsWith(root));
      if (!isOwn || /[\p{Cc}\s]/u.test(key)) return { kind: 'foreign key', detail: key };
      if (value.startsWith('{')) JSON.parse(value);
    }
    return nonsense(services) ?? difference(document, services, read);
  } catch (error) {
    return { kind: 'throw', detail: String(error) };
  }
}

function nonsense(services: readonly Service[]): Finding | undefined {
  for (const service of services) {
    const { weight = 0, priority = 0, others = {} } = service.attributes ?? {};
    const isNumber = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= 65_535;
    const isPossible =
      isNumber(weight) &&
      isNumber(priority) &&
      Object.keys(others).length <= 32 &&
      Buffer.byteLength(Object.entries(others).join('')) <= 5_000 &&
      ['blue', 'realm', undefined].includes(service.realm);
    if (!isPossible) return { kind: 'nonsense', detail: JSON.stringify(service) };
  }
  return undefined;
}

/** The first in order of the labels of that name, in whatever case. */
function labelOf({ Config }: Labelled, name: string): string | undefined {
  const found = Object.keys(Config.Labels)
    .filter((one) => one.toLowerCase() === name)
    .sort()[0];
  return found === undefined ? undefined : Config.Labels[found];
}

function difference(document: Labelled, services: readonly Service[], read: typeof readInspection) {
  const text = labelOf(document, 'discover') ?? 'variable:80';
  const realm = labelOf(document, 'discover.realm')?.trim();
  const isKept =
    labelOf(document, 'discover.enable')?.trim().toLowerCase() !== 'false' &&
    (realm === undefined || options.realms?.includes(realm) === true);
  const { Name, State, NetworkSettings } = document;
  const plain = read({ Name, State, NetworkSettings, Config: { Env: [`DISCOVER=${text}`] } }, options);
  const textOf = (all: readonly Service[]): string =>
    all.map(({ name, privatePort, protocol, port }) => `${name}:${privatePort}/${protocol} ${port}`).join();
  const wanted = isKept && plain.kind === 'running' ? textOf(plain.services) : '';
  const found = textOf(services);
  return found === wanted ? undefined : ({ kind: 'difference', detail: `${found}, not ${wanted}` } as const);
}
