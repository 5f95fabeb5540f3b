/**
 * The filter `docker.filter`: which containers of the engine this agent takes, as `docker ps --filter` has it.
 *
 *     label=<name>, label=<name>=<value>    the container has the label; of several each has to match
 *     name=<pattern>                        a regular expression that is in the name; of several one has to match
 *     network=<name or id>                  the container is on the network; of several one has to match
 *
 * The engine filters the list, and by labels the events of starts. Names and networks change while a container runs and
 * an event has no more than a name, so every document is checked again here. Only keys that a document can confirm are
 * allowed. The patterns are those that the engine (Go) and this program read alike.
 */
import { isRecord } from './address/published.ts';

const keys = ['label', 'name', 'network'] as const;

/** One line of `docker.filter`. */
export interface Filter {
  readonly key: (typeof keys)[number];
  /** Of a name, without the slash that engines write before it. */
  readonly value: string;
}

/** Throws an `Error` that says what is allowed. */
export function parseFilter(text: string): Filter {
  const [, given = '', rest] = /^\s*([^=\s]*)\s*(?:=(.*))?$/s.exec(text) ?? [];
  const key = keys.find((one) => one === given);
  if (key === undefined) {
    throw new Error(`must filter by label, name or network, as in "label=tier=web": a document confirms no other key`);
  }
  const value = (rest ?? '').trim();
  if (value === '' || value.startsWith('=')) throw new Error(`must have a value behind ${key}=`);
  if (key !== 'name') return { key, value };
  const pattern = value.replace(/^(\^?)\//, '$1');
  // What only one of the two languages has: groups with options, look-around, back references.
  const isOfOne = /\(\?(?!:)|\\[1-9k]/.test(pattern);
  if (isOfOne || patternOf(pattern) === undefined) {
    throw new Error('must have a regular expression that Go and JavaScript read alike, as in "name=^web-"');
  }
  return { key, value: pattern };
}

/** As the engine takes them for a list. */
export function listFilters(filters: readonly Filter[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const { key, value } of filters) {
    const values = found[key] ?? [];
    found[key] = values;
    values.push(value);
  }
  return found;
}

/** What engines write into the attributes of an event beside the labels, under names that a label may have as well. */
const ofEvents = ['image', 'name', 'exitCode', 'execDuration', 'oldName', 'signal', 'containerExitCode', 'podId'];

/** The labels by which an engine can filter the events of starts: Podman takes no name without a value. */
export function eventLabels(filters: readonly Filter[]): string[] {
  return filters.flatMap(({ key, value }) => {
    const [name = '', wanted] = halves(value);
    return key === 'label' && wanted !== undefined && wanted !== '' && !ofEvents.includes(name) ? [value] : [];
  });
}

/** Whether a container that runs can begin or cease to match: its labels stay, its name and its networks do not. */
export const canChange = (filters: readonly Filter[]): boolean => filters.some(({ key }) => key !== 'label');

/** The line of the filter that a container does not match; undefined if it matches. `document` is foreign. */
export function mismatchOf(document: unknown, filters: readonly Filter[]): string | undefined {
  const labels = filters.filter(({ key }) => key === 'label');
  const failing = labels.find(({ value }) => !hasLabel(document, value));
  if (failing !== undefined) return `label=${failing.value}`;
  for (const key of ['name', 'network'] as const) {
    const lines = filters.filter((filter) => filter.key === key);
    const matches = key === 'name' ? hasName : isOnNetwork;
    if (lines.length > 0 && !lines.some(({ value }) => matches(document, value))) {
      return lines.map(({ value }) => `${key}=${value}`).join(' or ');
    }
  }
  return undefined;
}

function hasLabel(document: unknown, text: string): boolean {
  const labels = field(field(document, 'Config'), 'Labels');
  const [name = '', wanted] = halves(text);
  if (!isRecord(labels) || !Object.hasOwn(labels, name)) return false;
  return wanted === undefined || labels[name] === wanted;
}

function hasName(document: unknown, pattern: string): boolean {
  const name = field(document, 'Name');
  return typeof name === 'string' && patternOf(pattern)?.test(name.replace(/^\//, '')) === true;
}

function isOnNetwork(document: unknown, network: string): boolean {
  const networks = field(field(document, 'NetworkSettings'), 'Networks');
  if (!isRecord(networks)) return false;
  return Object.entries(networks).some(([name, one]) => {
    const id = field(one, 'NetworkID');
    return isRecord(one) && (name === network || (typeof id === 'string' && id.startsWith(network)));
  });
}

/** By their text; there are as many as the configuration has. */
const patterns = new Map<string, RegExp>();

function patternOf(text: string): RegExp | undefined {
  try {
    const pattern = patterns.get(text) ?? new RegExp(text, 'u');
    patterns.set(text, pattern);
    return pattern;
  } catch {
    return undefined;
  }
}

/** A name, and the value behind the first `=`, if there is one. */
function halves(text: string): string[] {
  const at = text.indexOf('=');
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

const field = (value: unknown, name: string): unknown => (isRecord(value) ? value[name] : undefined);
