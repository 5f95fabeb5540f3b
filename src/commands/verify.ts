/**
 * `discover verify`: whether etcd holds exactly the keys that Docker's containers should have, without the agent's
 * help.
 *
 * A reported difference has been seen three times, a second apart: a change under way is no difference. Exit codes: 0
 * no difference; 1 a difference, or a container that cannot be inspected; 69 Docker or etcd did not answer.
 */
import { resolveConfig } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { command, dockerAndEtcd, shellOutput, tellingOfWait, warnOf, warnOfRealm } from './command.ts';
import { type Comparison, compare, compareLasting, type Difference, isExact, withSides } from './compare.ts';
import { assignments, coloured, json, printable, table } from './print.ts';

export const verify = command({
  options: { output: shellOutput },
  aliases: { '-o': '--output' },
  async run({ flags, sources }, io) {
    const { config, warnings } = await resolveConfig(readSources(sources));
    warnOf(warnings, io);
    const { id, realm } = config.host;
    const found = await withSides(config, async (sides) =>
      compareLasting(sides, await tellingOfWait(dockerAndEtcd, io, compare(sides))),
    );
    warnOfRealm(found.owner, realm, io);
    io.write(printed(id, found, flags.output ?? 'table', io.isTerminal));
    return isExact(found) ? 0 : 1;
  },
});

function printed(host: string, found: Comparison, as: 'table' | 'json' | 'env', isTerminal: boolean): string {
  const { containers, keys, differences, unknown } = found;
  const exact = isExact(found);
  if (as === 'json') return json({ exact, host, containers, keys, differences, unknown });
  if (as === 'env') {
    const counts = { containers, keys, differences: differences.length, unknown: unknown.length };
    return assignments(Object.entries({ exact, host, ...counts }).map(([name, value]) => [`verify_${name}`, value]));
  }
  const of = printable(`${keys} keys of ${containers} containers of ${host}`);
  if (exact) return `${coloured(isTerminal, 'green', 'exact')}: ${of}\n`;
  const rows = [
    ...differences.map((one) => [one.kind, one.container ?? '-', one.expected ?? '-', foundIn(one), one.key]),
    ...unknown.map(({ container, detail }) => ['unknown', container, '-', detail, '-']),
  ];
  const summary = `${differences.length} differences and ${unknown.length} unknown, in ${of}`;
  return `${table(['WHAT', 'CONTAINER', 'EXPECTED', 'FOUND', 'KEY'], rows)}${coloured(isTerminal, 'red', summary)}\n`;
}

const foundIn = ({ kind, found }: Difference): string =>
  found ?? (kind === 'wrong' || kind === 'left-over' ? "not on the owner's lease" : '-');
