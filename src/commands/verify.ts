/**
 * `discover verify`: whether etcd holds exactly the keys that Docker's containers should have, without the agent's
 * help.
 *
 * `--dial` connects to each published TCP address too. A reported difference has been seen three times, a second apart: a change under way is no difference. Exit codes: 0
 * no difference; 1 a difference, a container that cannot be inspected, or an address that does not accept; 69 Docker or etcd did not answer.
 */
import { resolveConfig } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { servicePrefixOf } from '../layout/keys.ts';
import { command, dockerAndEtcd, shellOutput, tellingOfWait, warnOf, warnOfRealm } from './command.ts';
import { type Comparison, compare, compareLasting, type Difference, isExact, withSides } from './compare.ts';
import { type Dialled, dialAll, dialOption, dialSummary, isFine } from './dial.ts';
import { assignments, coloured, json, printable, table } from './print.ts';

export const verify = command({
  options: { output: shellOutput, dial: dialOption },
  aliases: { '-o': '--output' },
  async run({ flags, sources }, io) {
    const { config, warnings } = await resolveConfig(readSources(sources));
    warnOf(warnings, io);
    const { id, realm } = config.host;
    const found = await withSides(config, async (sides) =>
      compareLasting(sides, await tellingOfWait(dockerAndEtcd, io, compare(sides))),
    );
    warnOfRealm(found.owner, realm, io);
    const below = servicePrefixOf(config.etcd.prefix);
    const dialled = flags.dial ? await dialAll(below, found.published) : undefined;
    io.write(printed(id, found, dialled, flags.output ?? 'table', io.isTerminal));
    return isExact(found) && (dialled ?? []).every(isFine) ? 0 : 1;
  },
});

function printed(
  host: string,
  found: Comparison,
  dialled: readonly Dialled[] | undefined,
  as: 'table' | 'json' | 'env',
  isTerminal: boolean,
): string {
  const { containers, keys, differences, unknown } = found;
  const exact = isExact(found);
  const failing = (dialled ?? []).filter((one) => !isFine(one));
  if (as === 'json') return json({ exact, host, containers, keys, differences, unknown, ...(dialled && { dialled }) });
  if (as === 'env') {
    const counts = { containers, keys, differences: differences.length, unknown: unknown.length };
    const dials = dialled && { dialled: dialled.length, unreached: failing.length };
    return assignments(
      Object.entries({ exact, host, ...counts, ...dials }).map(([name, value]) => [`verify_${name}`, value]),
    );
  }
  const of = printable(`${keys} keys of ${containers} containers of ${host}`);
  const rows = [
    ...differences.map((one) => [one.kind, one.container ?? '-', one.expected ?? '-', foundIn(one), one.key]),
    ...unknown.map(({ container, detail }) => ['unknown', container, '-', detail, '-']),
    ...failing.map(({ outcome, container, url, detail, key }) => [outcome, container, url, detail ?? '-', key]),
  ];
  const summary = exact
    ? `${coloured(isTerminal, 'green', 'exact')}: ${of}`
    : coloured(isTerminal, 'red', `${differences.length} differences and ${unknown.length} unknown, in ${of}`);
  const colour = failing.length > 0 ? 'red' : 'green';
  const dials = dialled ? `${coloured(isTerminal, colour, 'dialled')}: ${dialSummary(dialled)}\n` : '';
  const listed = rows.length > 0 ? table(['WHAT', 'CONTAINER', 'EXPECTED', 'FOUND', 'KEY'], rows) : '';
  return `${listed}${summary}\n${dials}`;
}

const foundIn = ({ kind, found }: Difference): string =>
  found ?? (kind === 'wrong' || kind === 'left-over' ? "not on the owner's lease" : '-');
