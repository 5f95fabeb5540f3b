/**
 * The source `label`: what the labels of a container say below the configured prefix, `discover` unless changed; the
 * table has what each means. `<prefix>.<service>.<attribute>` is an attribute: see `attributes.ts`.
 *
 * Labels are foreign. Their names count in any case; of two that differ in case only the first in sorted order counts.
 */

import { nearest } from '../../nearest.ts';
import { isRecord } from '../address/published.ts';
import { type AddressWishes, networksOf, readAddressWish } from '../address/wishes.ts';
import type { Refusal } from '../container.ts';
import { healthPolicies, type TrafficWishes } from '../traffic.ts';
import { listed, refusal } from './advertisement.ts';
import type { FoundAttribute } from './attributes.ts';

export interface LabelSays {
  /** The advertisement; undefined if there is no such label. */
  readonly text: string | undefined;
  readonly isEnabled: boolean;
  readonly realm: string | undefined;
  /** Undefined if there are none. */
  readonly wishes?: TrafficWishes | undefined;
  /** Undefined if there are none. */
  readonly address?: AddressWishes | undefined;
  readonly attributes: readonly FoundAttribute[];
  readonly refusals: readonly Refusal[];
}

/** The names behind the prefix and its dot, with their meanings. A test writes the table of the documents from here. */
export const labelMeanings = {
  enable: '`false`: nothing of the container is published',
  realm: 'a realm other than `host.realm`; the host has to list it in `host.realms`',
  health: '`exclude-unhealthy`, `ignore` or `require-healthy`, in place of `publish.health`',
  drain: '`true` or `false`, in place of `publish.drain`',
  address:
    '`published`, `container` or `either`, in place of `address.from`; or an address that `address.allowLabel` allows',
  network: 'networks or globs of networks, with commas, in place of `address.networks`',
} as const;
const names = Object.keys(labelMeanings);
/** More labels than a person writes below one prefix; the rest is not read. */
const LABELS_MAX = 256;

const nothing: LabelSays = { text: undefined, isEnabled: true, realm: undefined, attributes: [], refusals: [] };

/** `prefix` is in lower case. */
export function readLabels(labels: unknown, prefix: string): LabelSays {
  if (!isRecord(labels)) return nothing;
  const found: string[] = [];
  // Most containers have none, and many labels of other programs.
  for (const name in labels) if (isBelow(name, prefix)) found.push(name);
  if (found.length === 0) return nothing;
  const all: Refusal[] = [];
  const attributes: FoundAttribute[] = [];
  const said = new Map<string, Said>();
  for (const name of found.slice(0, LABELS_MAX).sort()) {
    const value = labels[name];
    if (typeof value !== 'string') continue;
    const behind = name.slice(prefix.length + 1);
    const dot = behind.lastIndexOf('.');
    const attribute = { service: behind.slice(0, Math.max(0, dot)), name: behind.slice(dot + 1).toLowerCase() };
    // The name of a service counts as it is. `discover.` is not `discover`.
    const other = name.length === prefix.length ? '' : behind.toLowerCase() || '.';
    const what = dot > 0 ? `${attribute.service}.${attribute.name}` : other;
    const first = said.get(what);
    if (first !== undefined) {
      all.push(refusal('label-twice', name, `The label ${first.name} counts, which differs in case only`));
    } else if (dot > 0) {
      said.set(what, { name, value });
      attributes.push({ label: name, value, ...attribute });
    } else if (what === '' || names.some((known) => known === what)) {
      said.set(what, { name, value });
    } else {
      all.push(refusal('label-unknown', name, unknown(what, prefix)));
    }
  }
  if (found.length > LABELS_MAX) {
    all.push(refusal('too-many', '', `The first ${LABELS_MAX} of ${found.length} labels below ${prefix} are read`));
  }
  const enable = said.get('enable');
  const isEnabled = enable?.value.trim().toLowerCase() !== 'false';
  if (enable !== undefined && isEnabled && enable.value.trim().toLowerCase() !== 'true') {
    all.push(refusal('label-invalid', `${enable.name}=${enable.value}`, 'The label is true or false'));
  }
  const wishes = wishesOf(said.get('health'), said.get('drain'), all);
  const address = addressOf(said.get('address'), said.get('network'), all);
  return {
    ...{ text: said.get('')?.value, isEnabled, realm: said.get('realm')?.value.trim(), wishes, address },
    ...{ attributes, refusals: listed(all) },
  };
}

interface Said {
  readonly name: string;
  readonly value: string;
}

/** A value that is not allowed leaves the host's policy as it is. */
function wishesOf(health: Said | undefined, drain: Said | undefined, all: Refusal[]): TrafficWishes | undefined {
  const one = <T extends string>(said: Said | undefined, allowed: readonly T[]): T | undefined => {
    const found = allowed.find((word) => word === said?.value.trim().toLowerCase());
    if (said !== undefined && found === undefined) {
      all.push(refusal('label-invalid', `${said.name}=${said.value}`, `The label is ${allowed.join(' or ')}`));
    }
    return found;
  };
  const policy = one(health, healthPolicies);
  const isDrained = one(drain, ['true', 'false']);
  if (policy === undefined && isDrained === undefined) return undefined;
  return { ...(policy && { health: policy }), ...(isDrained && { drain: isDrained === 'true' }) };
}

/** A value that is not allowed leaves the host's policy as it is. */
function addressOf(address: Said | undefined, network: Said | undefined, all: Refusal[]): AddressWishes | undefined {
  if (address === undefined && network === undefined) return undefined;
  const invalid = ({ name, value }: Said, allowed: string): undefined => {
    all.push(refusal('label-invalid', `${name}=${value}`, `The label is ${allowed}`));
  };
  const wish =
    address && (readAddressWish(address.value) ?? invalid(address, 'published, container, either or an address'));
  const networks =
    network && (networksOf(network.value) ?? invalid(network, 'a list of networks or globs of networks, with commas'));
  return wish === undefined && networks === undefined ? undefined : { ...wish, ...(networks && { networks }) };
}

function isBelow(name: string, prefix: string): boolean {
  // A dot, or the end: a prefix of letters alone would take the labels of another program.
  if (name.length > prefix.length && name.charCodeAt(prefix.length) !== 0x2e) return false;
  return name.length >= prefix.length && name.slice(0, prefix.length).toLowerCase() === prefix;
}

function unknown(what: string, prefix: string): string {
  const meant = nearest(what, names);
  const known = [prefix, ...names.map((name) => `${prefix}.${name}`)].join(', ');
  return meant === undefined ? `The labels are ${known}` : `Did you mean ${prefix}.${meant}?`;
}
