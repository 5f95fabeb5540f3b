/**
 * `discover verify`: whether etcd holds exactly the keys that Docker's containers should have, without the agent's
 * help.
 *
 * `--dial` connects to each published TCP address too. A reported difference has been seen three times, a second apart: a change under way is no difference. Exit codes: 0
 * no difference; 1 a difference, a container that cannot be inspected, or an address that does not accept; 69 Docker or etcd did not answer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../actor/clock.ts';
import { resolveConfig } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { layoutOf, servicePrefixOf } from '../layout/keys.ts';
import { parseOwner } from '../layout/owner.ts';
import { viewsOf } from '../layout/views.ts';
import { command, dockerAndEtcd, type Io, shellOutput, tellingOfWait, warnOf, warnOfRealm } from './command.ts';
import { type Comparison, compare, type Difference, type Sides } from './compare.ts';
import { type Dialled, dialAll, dialOption, dialSummary, isFine } from './dial.ts';
import { assignments, coloured, json, printable, table } from './print.ts';

const rounds = 3;
const roundMs = 1_000;

export const verify = command({
  options: { output: shellOutput, dial: dialOption },
  aliases: { '-o': '--output' },
  async run({ flags, sources }, io) {
    const { config, warnings } = await resolveConfig(readSources(sources));
    warnOf(warnings, io);
    const { DockerClient } = await import('../docker/docker.ts');
    const { createInspectionPool } = await import('../inspect/pool.ts');
    const { EtcdRegistry } = await import('../etcd/cluster.ts');
    const { id, realm } = config.host;
    const pool = createInspectionPool({ ...config, workers: 0 });
    const registry = new EtcdRegistry(config.etcd);
    try {
      const layout = layoutOf(config.etcd.prefix, realm, id, viewsOf(config.views, realm, id, config.zone));
      const docker = new DockerClient(config.docker.endpoint, config.docker.apiVersion, systemClock);
      const found = await persisting({ config, pool, registry, docker, layout }, io);
      warnOfRealm(parseOwner((await registry.owner(layout.ownerKey))?.value ?? ''), realm, io);
      const below = servicePrefixOf(config.etcd.prefix);
      const dialled = flags.dial ? await dialAll(below, found.published) : undefined;
      io.write(printed(id, found, dialled, flags.output ?? 'table', io.isTerminal));
      return isExact(found) && (dialled ?? []).every(isFine) ? 0 : 1;
    } finally {
      await pool.close();
      registry.close();
    }
  },
});

const isExact = ({ differences, unknown }: Comparison): boolean => differences.length + unknown.length === 0;

/** The comparison with only those differences that every round has found. */
async function persisting(sides: Sides, io: Io): Promise<Comparison> {
  const nameOf = ({ kind, key }: Difference) => `${kind} ${key}`;
  let found = await tellingOfWait(dockerAndEtcd, io, compare(sides));
  for (let round = 2; round <= rounds && !isExact(found); round++) {
    await sleep(roundMs);
    const before = new Set(found.differences.map(nameOf));
    const unknownBefore = new Set(found.unknown.map(({ container }) => container));
    const now = await compare(sides);
    found = {
      ...now,
      differences: now.differences.filter((one) => before.has(nameOf(one))),
      unknown: now.unknown.filter(({ container }) => unknownBefore.has(container)),
    };
  }
  return found;
}

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
