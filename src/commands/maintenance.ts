/**
 * `discover maintenance on|off|list [<container>]`: takes a container, or with `--host` a whole host, out of traffic until
 * told otherwise, from any machine that reaches etcd. The agent of the host obeys within a second, also after a restart.
 *
 * A container is found in etcd, and no agent is asked: by the beginning of its id, or by its name where etcd has it
 * (`etcd.meta`). With `--host` a whole id is taken as it is.
 *
 * Exit codes: 0 done, or printed; 1 there is no such container, there are several, it was not in maintenance, or `list`
 * has nothing of what was asked for; 69 etcd did not answer; 78 the command line cannot be used.
 */
import { hostname, userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { resolveEtcd } from '../config/resolve.ts';
import { readSources, type Sources } from '../config/sources.ts';
import { isWords, type Mark } from '../container/maintenance.ts';
import { configError, type Problem } from '../errors.ts';
import { exitNegative } from '../exit-codes.ts';
import { maintenanceKey } from '../layout/maintenance.ts';
import { command, type Io, output, tellingOfWait, warnOf } from './command.ts';
import {
  type KnownContainer,
  knownContainers,
  type Place,
  placesIn,
  readMarks,
  wordFor,
} from './containers-in-etcd.ts';
import { json, printable, table } from './print.ts';

const options = {
  host: { type: 'string', description: 'The host, all of it unless a container is named (every host, for list)' },
  reason: { type: 'string', description: 'What others should know, with on (none)' },
  output,
} as const;
const actions = ['on', 'off', 'list'] as const;
type Action = (typeof actions)[number];
const hostPattern = /^(?!\.\.?$)[^/\s\p{Cc}\p{Cs}]{1,255}$/u;
const completionTimeoutMs = 300;

interface Wanted {
  readonly action: Action;
  readonly container: string | undefined;
  readonly host: string | undefined;
  readonly reason: string | undefined;
}

export const maintenance = command({
  options,
  aliases: { '-o': '--output' },
  words: ['<on|off|list>', '[container]'],
  complete,
  async run({ flags, words, sources }, io) {
    const wanted = wantedOf(words, flags);
    const { etcd, warnings } = resolveEtcd(readSources(sources));
    warnOf(warnings, io);
    const { EtcdRegistry } = await import('../etcd/cluster.ts');
    const registry = new EtcdRegistry(etcd);
    try {
      const { marks, invalid } = await tellingOfWait('etcd', io, readMarks(registry, etcd.prefix));
      for (const { key, detail } of invalid) io.warn(printable(`${key} is ignored: ${detail}`));
      if (wanted.action === 'list') {
        const found = marks.filter((one) => isAskedFor(one, wanted));
        io.write(printed(found, flags.output ?? 'table'));
        return found.length === 0 && (wanted.container ?? wanted.host) !== undefined ? exitNegative : 0;
      }
      const inMaintenance = marks.filter((one) => isAskedFor(one, { ...wanted, container: undefined }));
      const known =
        wanted.action === 'off' || wanted.container === undefined
          ? inMaintenance
          : await tellingOfWait('etcd', io, knownContainers(registry, etcd.prefix, wanted.host, marks));
      const place = placeOf(wanted, known, io);
      if (place === undefined) return exitNegative;
      const { host, shortId } = place;
      const key = maintenanceKey(etcd.prefix, host, shortId);
      const before = marks.find((one) => one.host === host && one.shortId === shortId);
      if (wanted.action === 'on') {
        if ((await registry.owner(`${etcd.prefix}/owner/${host}`)) === undefined) {
          io.warn(`no discover writes for host ${printable(host)} now: check host.id of its discover`);
        }
        const mark = markFor(place, before?.mark, wanted.reason);
        await registry.put(key, JSON.stringify(mark));
        io.write(printed([{ ...place, mark }], flags.output ?? 'table'));
        return 0;
      }
      if (before === undefined) {
        io.warn(`${printable(wordFor(place))} is not in maintenance`);
        return exitNegative;
      }
      await registry.removeIf([], [key]);
      io.write(printed([before], flags.output ?? 'table'));
      const isOfHost = shortId !== undefined && marks.some((one) => one.host === host && one.shortId === undefined);
      if (isOfHost) io.warn(`host ${printable(host)} is in maintenance as a whole, and so its containers are`);
      return 0;
    } finally {
      registry.close();
    }
  },
});

function wantedOf(
  [action, container]: readonly string[],
  { host, reason }: { readonly host?: string; readonly reason?: string },
): Wanted {
  const problems: Problem[] = [];
  const known = actions.find((one) => one === action);
  if (known === undefined) {
    problems.push({ path: 'maintenance', reason: 'must be followed by on, off or list', got: JSON.stringify(action) });
  }
  if ((known === 'on' || known === 'off') && container === undefined && host === undefined) {
    problems.push({ path: `maintenance ${known}`, reason: 'needs a container, or --host for a whole host' });
  }
  if (host !== undefined && !hostPattern.test(host)) {
    const allowed = 'must be 1 to 255 characters without slash, white space or control characters';
    problems.push({ path: '--host', reason: allowed, got: JSON.stringify(host) });
  }
  if (reason !== undefined && known !== 'on') problems.push({ path: '--reason', reason: 'is for maintenance on' });
  if (reason !== undefined && !isWords(reason)) {
    const allowed = 'must be 1 to 255 characters without control characters';
    problems.push({ path: '--reason', reason: allowed, got: JSON.stringify(reason.slice(0, 80)) });
  }
  if (problems.length > 0) throw configError('the command line', problems);
  return { action: known ?? 'list', container, host, reason };
}

function isAskedFor({ host, shortId, name }: KnownContainer, { container, host: asked }: Wanted): boolean {
  if (asked !== undefined && asked !== host) return false;
  if (container === undefined) return true;
  return name === container || (shortId?.startsWith(container.slice(0, 12)) ?? false);
}

/** Undefined, and a warning: no container or several are meant. */
function placeOf({ action, container, host }: Wanted, known: readonly KnownContainer[], io: Io): Place | undefined {
  if (container === undefined) return host === undefined ? undefined : { host, shortId: undefined, name: undefined };
  const places = placesIn(known, container);
  const [place] = places;
  if (place !== undefined && places.length === 1) return place;
  if (places.length > 1) {
    io.warn(printable(`"${container}" may be ${places.map(wordFor).join(', ')}: give more of the id, or --host`));
    return undefined;
  }
  if (action === 'off') {
    io.warn(printable(`"${container}" is not in maintenance${host === undefined ? '' : ` on host ${host}`}`));
    return undefined;
  }
  const [, shortId] = /^([0-9a-f]{12})(?:[0-9a-f]{52})?$/.exec(container) ?? [];
  if (shortId !== undefined && host !== undefined) {
    io.warn(`etcd has no instance of ${shortId}: it is taken as it is`);
    return { host, shortId, name: undefined };
  }
  io.warn(
    printable(
      `etcd has no container "${container}"${host === undefined ? '' : ` of host ${host}`}: give the beginning of its id while it is published, its whole id with --host, or its name where etcd.meta is always`,
    ),
  );
  return undefined;
}

function markFor({ name }: Place, before: Mark | undefined, reason: string | undefined): Mark {
  return {
    since: before?.since ?? new Date().toISOString(),
    by: whoIs(),
    ...(reason !== undefined && { reason }),
    ...(name !== undefined && { container: name }),
  };
}

/** The person behind sudo, where there is one. */
function whoIs(): string {
  let user = process.env.SUDO_USER ?? '';
  try {
    user ||= userInfo().username;
  } catch {
    // A user id without a name, as in containers.
    user ||= `uid ${process.getuid?.() ?? '?'}`;
  }
  const who = `${user}@${hostname()}`;
  return isWords(who) ? who : 'unknown';
}

function printed(found: readonly (Place & { readonly mark: Mark })[], as: 'table' | 'json'): string {
  if (as === 'json') {
    return json(
      found.map(({ host, shortId = null, name = null, mark: { since = null, by = null, reason = null } }) => ({
        ...{ host, container: shortId, name, since, by, reason },
      })),
    );
  }
  const rows = found.map(({ host, shortId, name, mark: { since, by, reason } }) => [
    host,
    shortId ?? 'all',
    name ?? '-',
    since ?? '-',
    by ?? '-',
    reason ?? '-',
  ]);
  return table(['HOST', 'CONTAINER', 'NAME', 'SINCE', 'BY', 'REASON'], rows);
}

/** Completion reports no mistake while a person is typing. */
async function complete(sources: Sources, [action]: readonly string[] = []): Promise<readonly string[]> {
  if (action === undefined) return actions;
  try {
    const { etcd } = resolveEtcd(readSources(sources));
    const { EtcdRegistry } = await import('../etcd/cluster.ts');
    const registry = new EtcdRegistry(etcd);
    try {
      const find = async (): Promise<readonly KnownContainer[]> => {
        const { marks } = await readMarks(registry, etcd.prefix);
        return action === 'on' ? knownContainers(registry, etcd.prefix, undefined, marks) : marks;
      };
      const found = await Promise.race([find(), sleep(completionTimeoutMs, undefined, { ref: false })]);
      return [...new Set((found ?? []).flatMap(({ shortId, name }) => name ?? shortId ?? []))].sort();
    } finally {
      registry.close();
    }
  } catch {
    return [];
  }
}
