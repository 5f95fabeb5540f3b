/**
 * The containers of all hosts as etcd has them, for commands that name one: by the records of what is published, by the
 * metas, which may have its name, and by the keys of maintenance.
 */
import type { Mark } from '../container/maintenance.ts';
import type { Fleet, Registry } from '../etcd/registry.ts';
import { metaPrefixOf, parseKey } from '../layout/keys.ts';
import { maintenancePrefixOf, parseMaintenance } from '../layout/maintenance.ts';
import { parseMeta } from '../layout/meta.ts';

/** A container of a host, or without an id the whole host. */
export interface Place {
  readonly host: string;
  readonly shortId: string | undefined;
  /** Of the container, if etcd has it. */
  readonly name: string | undefined;
}

export interface KnownContainer extends Place {
  readonly mark?: Mark | undefined;
}

export type Marked = Place & { readonly mark: Mark };

/** All keys of maintenance, by host and container, and those that are none. */
export async function readMarks(
  registry: Registry,
  prefix: string,
): Promise<{ readonly marks: readonly Marked[]; readonly invalid: readonly { key: string; detail: string }[] }> {
  const marks: Marked[] = [];
  const invalid: { key: string; detail: string }[] = [];
  for (const { key, value } of await registry.readPrefix(maintenancePrefixOf(prefix))) {
    const parsed = parseMaintenance(prefix, key, value);
    if (parsed.kind === 'invalid') invalid.push({ key, detail: parsed.detail });
    else {
      const { host, shortId, mark } = parsed;
      marks.push({ host, shortId, name: mark.container, mark });
    }
  }
  return { marks, invalid };
}

/** Of one host, or of all. */
export async function knownContainers(
  registry: Registry & Fleet,
  prefix: string,
  host: string | undefined,
  marks: readonly Marked[],
): Promise<readonly KnownContainer[]> {
  const found = new Map<string, KnownContainer>();
  const add = (place: KnownContainer): void => {
    if (place.shortId === undefined || (host !== undefined && host !== place.host)) return;
    const known = found.get(`${place.host}/${place.shortId}`);
    found.set(`${place.host}/${place.shortId}`, { ...known, ...place, name: place.name ?? known?.name });
  };
  for (const mark of marks) add(mark);
  for (const { key } of await registry.keyRevisions(`${prefix}/host/`)) {
    const parsed = parseKey(prefix, key);
    if (parsed?.kind === 'record') add({ host: parsed.host, shortId: parsed.shortId, name: undefined });
  }
  for (const { key, value } of await registry.readPrefix(metaPrefixOf(prefix))) {
    const parsed = parseKey(prefix, key);
    if (parsed?.kind === 'meta') {
      add({ host: parsed.host, shortId: parsed.shortId, name: parseMeta(value).container });
    }
  }
  return [...found.values()];
}

/** Those that a word means: by their name, else by the beginning of their id. */
export function placesIn(known: readonly KnownContainer[], word: string): readonly KnownContainer[] {
  const named = known.filter(({ name }) => name === word);
  if (named.length > 0) return named;
  // Of a whole id etcd has 12 digits.
  const start = /^[0-9a-f]{64}$/.test(word) ? word.slice(0, 12) : word;
  return known.filter(({ shortId }) => shortId?.startsWith(start));
}

/** `host-1/0123456789ab (web-1)`. */
export function wordFor({ host, shortId, name }: Place): string {
  if (shortId === undefined) return `host ${host}`;
  return `${host}/${shortId}${name === undefined ? '' : ` (${name})`}`;
}
