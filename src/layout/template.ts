/**
 * Templates of views: `/skydns/{{realm:dns}}/{{name:dns}}/{{id}}`.
 *
 * A key template can be read backwards, from a key to its container. This is how the keys of a predecessor are told
 * from the keys of other programs: `/backends/{{name}}/{{id}}-{{privatePort}}` matches `/backends/web/2a03efc597e9-80`
 * and yields `2a03efc597e9`. No container must be able to write a key that reads as another container's. So a key
 * template uses only variables without a slash, it names the container (`id` or `index`), and no name precedes that in
 * the same segment: a name may contain 12 digits. Free text is a DNS label in a key.
 *
 * A value template that begins with `{` or `[` is JSON, and the filled-in values are escaped.
 */

import { createHash } from 'node:crypto';
import type { Attributes, Names } from '../container/container.ts';

/** One offer of one container: the values of the variables. */
export interface Instance {
  readonly name: string;
  readonly realm: string;
  readonly host: string;
  /** The 12 digits of the container. */
  readonly id: string;
  readonly ip: string;
  /** The IPv6 address at the same port, if there is one. */
  readonly ip6?: string | undefined;
  readonly port: number;
  readonly privatePort: number;
  readonly protocol: string;
  /** `<protocol>://<ip>:<port>`, IPv6 in brackets. */
  readonly url: string;
  /** Its number among the offers of one name by this container, from 0 to 99. */
  readonly ordinal: number;
  readonly attributes?: Attributes | undefined;
  /** JSON, if there is one. */
  readonly meta?: string | undefined;
  readonly names?: Names | undefined;
  /** Of its host. */
  readonly zone?: string | undefined;
}

interface Variable {
  /** `argument` is the text behind the colon; only `attr` has one. */
  readonly of: (instance: Instance, argument: string) => string;
  /** `label`: only as a DNS label. */
  readonly inKeys: boolean | 'label';
  /** The value is part of the JSON around it, and not escaped. */
  readonly isJson?: boolean;
}

const variables: Record<string, Variable> = {
  name: { of: ({ name }) => name, inKeys: true },
  realm: { of: ({ realm }) => realm, inKeys: true },
  host: { of: ({ host }) => host, inKeys: true },
  id: { of: ({ id }) => id, inKeys: true },
  // Digits only, for readers that take the value for a list index: the id, then two digits of the ordinal.
  index: { of: ({ id, ordinal }) => String(BigInt(`0x${id}`) * 100n + BigInt(ordinal)), inKeys: true },
  // Realm and name in one label. A realm with a hyphen is followed by an underscore, which no label has: realm `a-b` with
  // name `c` is not realm `a` with name `b-c`.
  service: { of: ({ realm, name }) => serviceLabelOf(labelOf(realm), labelOf(name)), inKeys: true },
  privatePort: { of: ({ privatePort }) => String(privatePort), inKeys: true },
  protocol: { of: ({ protocol }) => protocol, inKeys: true },
  ip: { of: ({ ip }) => ip, inKeys: false },
  // Empty where the instance is not reached by IPv6.
  ip6: { of: ({ ip, ip6 }) => (ip.includes(':') ? ip : (ip6 ?? '')), inKeys: false },
  port: { of: ({ port }) => String(port), inKeys: false },
  address: { of: ({ url }) => url.slice(url.indexOf('://') + 3), inKeys: false },
  url: { of: ({ url }) => url, inKeys: false },
  // Empty where they are not known.
  container: { of: ({ names }) => names?.name ?? '', inKeys: 'label' },
  image: { of: ({ names }) => names?.image ?? '', inKeys: 'label' },
  zone: { of: ({ zone }) => zone ?? '', inKeys: 'label' },
  // An attribute of the instance, empty if it has none of that name: {{attr:version}}.
  attr: { of: ({ attributes }, name) => attributeOf(attributes, name), inKeys: false },
  // The scheme of a server, by the attribute of that name.
  scheme: { of: ({ attributes }) => schemeOf(attributes), inKeys: false },
  // For the presets: what an instance without attributes does not have, so that its value stays as it is.
  skydns: { of: ({ attributes }) => skydnsMembers(attributes), inKeys: false, isJson: true },
  metadata: { of: ({ meta }) => (meta === undefined ? 'null' : JSON.stringify(meta)), inKeys: false, isJson: true },
};

function attributeOf(attributes: Attributes | undefined, name: string): string {
  if (name === 'weight' || name === 'priority') return String(attributes?.[name] ?? '');
  if (name === 'tags') return attributes?.tags?.join(',') ?? '';
  const { others = {} } = attributes ?? {};
  return Object.hasOwn(others, name) ? (others[name] ?? '') : '';
}

/** `http` unless the attribute `scheme` is another one that is known. `tcp`: what comes over the connection is not HTTP. */
export function schemeOf(attributes: Attributes | undefined): 'http' | 'https' | 'h2c' | 'tcp' {
  const scheme = attributeOf(attributes, 'scheme');
  return scheme === 'https' || scheme === 'h2c' || scheme === 'tcp' ? scheme : 'http';
}

/** Further members of a SkyDNS value, from a comma on. CoreDNS takes an absent weight for 100, an absent priority for 10. */
function skydnsMembers(attributes: Attributes | undefined): string {
  const { weight, priority, others } = attributes ?? {};
  const members = Object.entries({ weight, priority, text: others?.text }).filter(([, value]) => value !== undefined);
  return members.map(([name, value]) => `,"${name}":${JSON.stringify(value)}`).join('');
}

const serviceLabelOf = (realm: string, name: string): string => `${realm}${realm.includes('-') ? '_' : '-'}${name}`;

const names = (inKeys: boolean) =>
  Object.keys(variables).filter((name) => !inKeys || variables[name]?.inKeys !== false);

/** A piece of text, or a variable; `:dns` makes a DNS label of it (RFC 1123). */
type Part = string | { readonly variable: string; readonly isLabel: boolean; readonly argument?: string };

export interface KeyTemplate {
  readonly text: string;
  /** All keys begin with this. */
  readonly head: string;
  render(instance: Instance): string;
  /** The short id of the container that a key belongs to; undefined if the template makes no such key. */
  containerOf(key: string, host: string): string | undefined;
}

/** Throws an `Error` that says which form a key template must have. */
export function parseKey(text: string): KeyTemplate {
  const parts = partsOf(text, true);
  const head = typeof parts[0] === 'string' ? parts[0] : '';
  if (/[\s\p{Cc}]/u.test(text)) throw new Error('must not contain white space or control characters');
  const segment = text.split('/').find((part) => /\{\{(id|index)\}\}/.test(part));
  if (segment === undefined) throw new Error('must name the container by {{id}} or {{index}}');
  const [, before] = /\{\{(name|realm|service|container|image|zone)[}:].*\{\{(id|index)\}\}/.exec(segment) ?? [];
  if (before !== undefined)
    throw new Error(`must have no {{${before}}} before {{id}} or {{index}} in the same segment`);
  return {
    text,
    head,
    render: (instance) => render(parts, instance, (value) => value),
    containerOf(key, host) {
      const groups = patternOf(parts, host).exec(key)?.groups;
      if (groups?.id !== undefined) return groups.id;
      if (groups?.index === undefined) return undefined;
      const id = (BigInt(groups.index) / 100n).toString(16).padStart(12, '0');
      return id.length === 12 ? id : undefined;
    },
  };
}

/** Throws an `Error` that says which form a value template must have. */
export function parseValue(text: string): (instance: Instance) => string {
  const parts = partsOf(text, false);
  const isJson = /^[{[]/.test(text) && !text.startsWith('{{');
  const escaped = (value: string, variable: string) =>
    isJson && variables[variable]?.isJson !== true ? JSON.stringify(value).slice(1, -1) : value;
  const make = (instance: Instance) => render(parts, instance, escaped);
  if (isJson) JSON.parse(make(sample));
  return make;
}

const sample: Instance = {
  ...{ name: 'web', realm: 'default', host: 'host', id: '0123456789ab', privatePort: 80, protocol: 'tcp', ordinal: 0 },
  ...{ ip: '10.0.0.1', port: 49_153, url: 'tcp://10.0.0.1:49153' },
};

function partsOf(text: string, isKey: boolean): Part[] {
  const parts: Part[] = [];
  for (const [index, piece] of text.split(/\{\{(.*?)\}\}/).entries()) {
    if (index % 2 === 0) {
      if (piece !== '') parts.push(piece);
      continue;
    }
    const [variable = '', filter] = piece.split(':');
    const allowed = names(isKey);
    if (variable === 'attr' && !isKey && /^[a-z][a-z0-9_-]{0,63}$/.test(filter ?? '')) {
      parts.push({ variable, isLabel: false, argument: filter ?? '' });
      continue;
    }
    if (!allowed.includes(variable) || (filter !== undefined && filter !== 'dns')) {
      const attr = isKey ? '' : ', and an attribute as {{attr:version}}';
      const shown = allowed.filter((one) => one !== 'attr' && variables[one]?.isJson !== true);
      throw new Error(`must use ${shown.join(', ')}, each as {{name}} or {{name:dns}}${attr}, got {{${piece}}}`);
    }
    if (isKey && filter !== 'dns' && variables[variable]?.inKeys === 'label') {
      throw new Error(`must use {{${variable}:dns}} in a key, got {{${piece}}}`);
    }
    parts.push({ variable, isLabel: filter === 'dns' });
  }
  return parts;
}

type Escaped = (value: string, variable: string) => string;

function render(parts: readonly Part[], instance: Instance, escaped: Escaped): string {
  return parts
    .map((part) => (typeof part === 'string' ? part : escaped(filled(part, instance), part.variable)))
    .join('');
}

function filled({ variable, isLabel, argument = '' }: Exclude<Part, string>, instance: Instance): string {
  const value = (variables[variable] as Variable).of(instance, argument);
  return isLabel ? labelOf(value) : value;
}

const labelPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const foldedMax = 63 - 1 - 8;

/**
 * The DNS label of a value: the value itself if it is a label, else the nearest label (lower case, a hyphen for every
 * other character) with eight digits of the value's SHA-256 behind. So `web.api` and `Web_API` become two labels, and
 * neither is `web-api`.
 */
export function labelOf(value: string): string {
  if (labelPattern.test(value)) return value;
  const folded = value
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, foldedMax)
    .replaceAll(/^-|-$/g, '');
  const digits = createHash('sha256').update(value).digest('hex').slice(0, 8);
  return `${folded === '' ? 'x' : folded}-${digits}`;
}

const patterns = new WeakMap<readonly Part[], Map<string, RegExp>>();

function patternOf(parts: readonly Part[], host: string): RegExp {
  const known = patterns.get(parts) ?? new Map<string, RegExp>();
  patterns.set(parts, known);
  let pattern = known.get(host);
  if (pattern === undefined) {
    const seen = new Set<string>();
    const body = parts.map((part) => {
      if (typeof part === 'string') return literal(part);
      const { variable } = part;
      if (variable === 'host') return literal(filled(part, { ...sample, host }));
      if (variable === 'id' || variable === 'index') {
        if (seen.has(variable)) return `\\k<${variable}>`;
        seen.add(variable);
        return variable === 'id' ? '(?<id>[0-9a-f]{12})' : '(?<index>[0-9]{1,17})';
      }
      return variable === 'privatePort' ? '[0-9]{1,5}' : '[^/]+';
    });
    pattern = new RegExp(`^${body.join('')}$`);
    known.set(host, pattern);
  }
  return pattern;
}

const literal = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
