/**
 * The keys of maintenance, which people write by `discover maintenance` and the agent only reads. They are on no lease, so
 * they outlive everything else of a host.
 *
 *     P/maintenance/<host>              the whole host
 *     P/maintenance/<host>/<id12>       one container of it
 */

import { type Maintenance, type Mark, parseMark } from '../container/maintenance.ts';

/** The maintenance keys of all hosts begin with this. */
export const maintenancePrefixOf = (prefix: string): string => `${prefix}/maintenance/`;

export function maintenanceKey(prefix: string, host: string, shortId?: string): string {
  const key = maintenancePrefixOf(prefix) + host;
  return shortId === undefined ? key : `${key}/${shortId}`;
}

export type ParsedMaintenance =
  | { readonly kind: 'mark'; readonly host: string; readonly shortId: string | undefined; readonly mark: Mark }
  | { readonly kind: 'invalid'; readonly detail: string };

const segments = /^([^/]+)(?:\/([0-9a-f]{12}))?$/;

export function parseMaintenance(prefix: string, key: string, value: string): ParsedMaintenance {
  const below = maintenancePrefixOf(prefix);
  const [, host, shortId] = segments.exec(key.startsWith(below) ? key.slice(below.length) : '') ?? [];
  if (host === undefined) {
    return {
      kind: 'invalid',
      detail: 'the key must be maintenance/<host> or maintenance/<host>/<the 12 digits of an id>',
    };
  }
  const mark = parseMark(value);
  if (mark === undefined) return { kind: 'invalid', detail: 'the value must be a JSON object' };
  return { kind: 'mark', host, shortId, mark };
}

/** The maintenance of one host, by its keys and their values. `refuse` hears of each key that is none of its marks. */
export function maintenanceOf(
  prefix: string,
  host: string,
  found: Iterable<readonly [key: string, value: string]>,
  refuse: (key: string, detail: string) => void = () => {},
): Maintenance {
  let ofHost: Mark | undefined;
  const containers = new Map<string, Mark>();
  for (const [key, value] of found) {
    const parsed = parseMaintenance(prefix, key, value);
    if (parsed.kind === 'invalid') refuse(key, parsed.detail);
    else if (parsed.host !== host) refuse(key, `it is of another host than ${host}`);
    else if (parsed.shortId === undefined) ofHost = parsed.mark;
    else containers.set(parsed.shortId, parsed.mark);
  }
  return { host: ofHost, containers };
}
