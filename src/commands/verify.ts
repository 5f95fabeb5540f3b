/**
 * `discover verify`: whether etcd holds exactly the keys that Docker's containers should have, without the agent's
 * help.
 *
 * A reported difference has been seen three times, a second apart: a change under way is no difference. Exit codes: 0
 * no difference; 1 a difference, or a container that cannot be inspected; 69 Docker or etcd did not answer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../actor/clock.ts';
import { resolveConfig } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { layoutOf } from '../layout/keys.ts';
import { parseOwner } from '../layout/owner.ts';
import { viewsOf } from '../layout/views.ts';
import { command, dockerAndEtcd, type Io, shellOutput, tellingOfWait, warnOf, warnOfRealm } from './command.ts';
import { type Comparison, compare, type Difference, type Sides } from './compare.ts';
import { assignments, coloured, json, printable, table } from './print.ts';

const rounds = 3;
const roundMs = 1_000;

export const verify = command({
  options: { output: shellOutput },
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
      io.write(printed(id, found, flags.output ?? 'table', io.isTerminal));
      return isExact(found) ? 0 : 1;
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
