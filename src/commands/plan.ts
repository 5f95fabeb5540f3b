/**
 * `discover plan`: what the agent would write here with this configuration, against what etcd holds. It writes nothing.
 *
 * It is `verify` asked beforehand: before the first start on a host, or before a change of the configuration. Keys below
 * the prefix or the views that are not of this host are never part of it. Where a process writes for this host, a
 * difference has been seen three times, a second apart.
 * Exit codes: 0 no difference; 1 a difference, or a container that cannot be inspected; 69 Docker or etcd did not answer.
 */
import { resolveConfig } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { command, dockerAndEtcd, shellOutput, tellingOfWait, warnOf } from './command.ts';
import { type Comparison, compare, compareLasting, type Difference, withSides } from './compare.ts';
import { assignments, coloured, json, printable } from './print.ts';

export const plan = command({
  options: { output: shellOutput },
  aliases: { '-o': '--output' },
  async run({ flags, sources }, io) {
    const { config, warnings } = await resolveConfig(readSources(sources));
    warnOf(warnings, io);
    const found = await withSides(config, async (sides) => {
      const first = await tellingOfWait(dockerAndEtcd, io, compare(sides));
      return first.owner?.released === false ? compareLasting(sides, first) : first;
    });
    io.write(printedPlan(config.host.id, found, flags.output ?? 'table', io.isTerminal));
    return isDone(found) ? 0 : 1;
  },
});

/** What the agent would do to one key. `claim`: it would become the process that writes for the host. */
export interface Step {
  readonly action: 'claim' | 'put' | 'replace' | 'delete';
  readonly key: string;
  readonly container?: string;
  /** The value that the key would have. */
  readonly value?: string;
  /** The value that it has; absent as well if the key is on another lease than the owner's, or on none. */
  readonly before?: string;
}

/** The owner key is written by every start, so that alone is no difference. */
const isDone = ({ differences, unknown }: Comparison): boolean =>
  differences.every(({ kind }) => kind === 'no-owner') && unknown.length === 0;

const actions = { 'no-owner': 'claim', missing: 'put', wrong: 'replace', 'left-over': 'delete' } as const;

const stepOf = ({ kind, key, container, expected, found }: Difference): Step => ({
  action: actions[kind],
  key,
  ...(container !== undefined && { container }),
  ...(expected !== undefined && { value: expected }),
  ...(found !== undefined && kind !== 'no-owner' && { before: found }),
});

export function printedPlan(
  host: string,
  found: Comparison,
  as: 'table' | 'json' | 'env',
  isTerminal: boolean,
): string {
  const steps = found.differences.map(stepOf);
  const { containers, keys, unpublished, unknown } = found;
  const count = (action: Step['action']): number => steps.filter((step) => step.action === action).length;
  const counts = { put: count('put'), replace: count('replace'), delete: count('delete') };
  const exact = isDone(found);
  const owner = ownerOf(found);
  if (as === 'json') {
    return json({ exact, host, owner: found.owner ?? null, containers, keys, ...counts, steps, unpublished, unknown });
  }
  if (as === 'env') {
    const all = { exact, host, ...counts, unpublished: unpublished.length, unknown: unknown.length };
    return assignments(Object.entries(all).map(([name, value]) => [`plan_${name}`, value]));
  }
  const lines = [
    ...steps.filter(({ action }) => action !== 'claim').map((step) => lineOf(step, isTerminal)),
    ...unpublished.map(({ container, entry, reason, detail }) =>
      coloured(isTerminal, 'yellow', printable(`! ${container}${entry ? ` ${entry}` : ''}: ${detail} (${reason})`)),
    ),
    ...unknown.map(({ container, detail }) => coloured(isTerminal, 'red', printable(`? ${container}: ${detail}`))),
    printable(`${owner}; ${containers} containers run, and etcd should hold ${keys} keys of them`),
    summaryOf(counts, unpublished.length, unknown.length),
  ];
  return `${lines.join('\n')}\n`;
}

function lineOf({ action, key, value, before }: Step, isTerminal: boolean): string {
  const now = before === undefined ? "not on the owner's lease" : `now ${before}`;
  if (action === 'delete') return coloured(isTerminal, 'red', printable(`- ${key} (${now})`));
  if (action === 'replace') return coloured(isTerminal, 'yellow', printable(`~ ${key} = ${value} (${now})`));
  return coloured(isTerminal, 'green', printable(`+ ${key} = ${value}`));
}

function ownerOf({ owner, differences }: Comparison): string {
  const isFree = differences.some(({ kind, found }) => kind === 'no-owner' && found !== 'released');
  if (isFree) return 'No process writes for this host';
  if (owner === undefined) return 'The owner key of this host is not legible';
  return `discover ${owner.version} since ${owner.started} ${owner.released ? 'wrote for this host and has stopped' : 'writes for this host'}`;
}

function summaryOf(
  { put, replace, delete: deletions }: Readonly<Record<'put' | 'replace' | 'delete', number>>,
  unpublished: number,
  unknown: number,
): string {
  const rest = [
    ...(unpublished > 0 ? [`${unpublished} not published`] : []),
    ...(unknown > 0 ? [`${unknown} unknown, because they cannot be inspected`] : []),
  ];
  return `Plan: ${[`${put} to put, ${replace} to replace, ${deletions} to delete`, ...rest].join(', ')}. Nothing was written`;
}
