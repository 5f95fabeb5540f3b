/**
 * `discover history <service|container>`: what the agent of this host published and withdrew, when and why.
 *
 * The agent keeps its last 5,000 changes in memory, from its start on. Exit codes: 0; 1 nothing is known; 69 the agent does
 * not answer; 78 `http.listen` is not set.
 */
import { resolveHttp } from '../config/resolve.ts';
import { readSources, type Sources } from '../config/sources.ts';
import { configError, DiscoverError } from '../errors.ts';
import { askAgent, placeOf } from './agent.ts';
import { command, type Io, output, warnOf } from './command.ts';
import { json, table } from './print.ts';

const limits = { timeLimitMs: 10_000, textMax: 256 << 20 };
const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** The members of an entry of `/v1/history` that are printed. */
export interface Entry {
  readonly at: string;
  readonly change: string;
  readonly container: string;
  readonly name: string | null;
  readonly state: string;
  readonly reason: string | null;
  readonly seconds: number | null;
  readonly services: readonly { readonly name: string; readonly url: string | null }[];
}

export const since = {
  type: 'string',
  description: 'Only changes since then: 10m, 2h, 1d or a time such as 2026-01-31T12:00:00Z (all that are known)',
} as const;

export const history = command({
  options: { since, output },
  aliases: { '-o': '--output' },
  words: ['<service|container>'],
  async run({ flags, words: [of = ''], sources }, io) {
    const entries = await entriesOf(sources, { of, since: flags.since }, io);
    io.write(flags.output === 'json' ? json(entries) : entries.length === 0 ? '' : tableOf(entries));
    return entries.length === 0 ? 1 : 0;
  },
});

/** What the agent of this host knows. */
export async function entriesOf(
  sources: Sources,
  { since: from, ...wanted }: { readonly of?: string; readonly address?: string; readonly since?: string | undefined },
  io: Io,
): Promise<readonly Entry[]> {
  const { http, warnings } = resolveHttp(readSources(sources));
  warnOf(warnings, io);
  const query = new URLSearchParams({ ...wanted, ...(from !== undefined && { since: timeOf(from) }) });
  const { status, text } = await askAgent(placeOf(http), `/v1/history?${query}`, limits);
  if (status !== 200) throw new DiscoverError('AGENT_UNAVAILABLE', `The agent has no history: HTTP status ${status}`);
  return (JSON.parse(text) as { readonly entries: readonly Entry[] }).entries;
}

export function tableOf(entries: readonly Entry[]): string {
  const rows = entries.flatMap(({ at, change, container, name, reason, seconds, services, state }) =>
    services.map((service) => [
      ...[at, change, service.name, name ?? container, reason ?? state],
      ...[seconds === null ? '-' : `${(seconds * 1_000).toFixed(0)} ms`, service.url ?? '-'],
    ]),
  );
  return table(['TIME', 'CHANGE', 'SERVICE', 'CONTAINER', 'WHY', 'TOOK', 'ADDRESS'], rows);
}

/** A time ago, or a time, as RFC 3339. */
export function timeOf(text: string, nowMs = Date.now()): string {
  const [, digits, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const ms = digits === undefined ? Date.parse(text) : nowMs - Number(digits) * unitMs[unit as keyof typeof unitMs];
  if (Number.isFinite(ms)) return new Date(ms).toISOString();
  const reason = 'must be a time ago such as 10m, or a time such as 2026-01-31T12:00:00Z';
  throw configError('the command line', [{ path: '--since', reason, got: `"${text}"` }]);
}
