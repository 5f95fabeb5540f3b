/** The plan and its result, as text for people and as JSON for programs. */
import type { Plan, Reaped } from './plan.ts';

export interface Report {
  readonly plan: Plan;
  readonly source: string;
  readonly isDryRun: boolean;
  /** By host, in order. Keys of a host that are not in it still exist. */
  readonly deleted: ReadonlyMap<string, readonly string[]>;
}

export function asJson({ plan, source, isDryRun, deleted }: Report): string {
  const { hosts, reaped, kept, refusal = null } = plan;
  const rows = reaped.map(({ host, why, found }) => {
    const keys = found.keys.map(({ key }) => key);
    return { host, why, keys, deleted: deleted.get(host) ?? [] };
  });
  return JSON.stringify({ source, dryRun: isDryRun, hosts, reaped: rows, kept, refusal }, undefined, 2);
}

export function asText({ plan, isDryRun, deleted }: Report): string {
  const { hosts, reaped, kept, refusal } = plan;
  const isDone = !isDryRun && refusal === undefined;
  const lines = reaped.flatMap((one) => [
    `${shown(one.host)}: ${one.why}`,
    ...linesOf(one, isDone ? new Set(deleted.get(one.host)) : undefined),
  ]);
  for (const host of kept) lines.push(`${shown(host)}: kept: its owner is alive, although the list does not have it`);
  const planned = reaped.reduce((sum, { found }) => sum + found.keys.length, 0);
  const done = [...deleted.values()].reduce((sum, { length }) => sum + length, 0);
  const share = `${reaped.length} of ${counted(hosts, 'host')}`;
  if (reaped.length === 0) lines.push(`Nothing to delete: ${counted(hosts, 'host')}`);
  else if (isDone) lines.push(`Deleted ${done} of ${counted(planned, 'key')}, of ${share}`);
  else
    lines.push(
      `${counted(planned, 'key')} of ${share} would be deleted${refusal === undefined ? '; --no-dry-run deletes them' : ''}`,
    );
  return lines.join('\n');
}

function linesOf({ found }: Reaped, deleted: ReadonlySet<string> | undefined): string[] {
  return found.keys.map(({ key }) => {
    const liveness = deleted === undefined ? 'would delete' : deleted.has(key) ? 'deleted' : 'left';
    return `  ${liveness} ${shown(key)}`;
  });
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Other programs can write keys, so characters that would steer a terminal are spelt out. */
function shown(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
