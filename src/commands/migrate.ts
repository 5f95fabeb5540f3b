/**
 * `discover migrate`: copies the keys of the original or of registrator into this layout, so that readers can move before
 * every host has an agent.
 *
 * A copy does not follow containers. All copies are on one lease that is not renewed: an agent that starts on a host takes
 * its keys over, and the others disappear after `--ttl` seconds.
 * Exit codes: 0 nothing to write, or all is written; 1 a dry run found keys to write, or not all could be written; 65 the
 * export is malformed; 69 etcd did not answer; 78 the configuration cannot be used.
 */
import { readFileSync } from 'node:fs';
import { resolveEtcd } from '../config/resolve.ts';
import { type Layers, readSources } from '../config/sources.ts';
import { configError, DiscoverError, messageOf, type Problem } from '../errors.ts';
import { exitNegative } from '../exit-codes.ts';
import type { Checked } from '../migrate/apply.ts';
import { type Entry, readExport } from '../migrate/export.ts';
import { planMigration, type Settings } from '../migrate/plan.ts';
import { command, type Flags, output, tellingOfWait, warnOf } from './command.ts';
import { json, printable } from './print.ts';

const ttlSeconds = 3_600;

const options = {
  from: {
    type: 'string',
    choices: ['original', 'registrator'],
    description: 'The program that has written the keys (must be given)',
  },
  file: { type: 'string', description: 'An export of etcd; /dev/stdin is one (the keys in etcd v3 are read)' },
  tree: {
    type: 'string',
    description: 'Where the keys are, such as /services (etcd.prefix for the original; must be given for registrator)',
  },
  'host-id': { type: 'list', description: 'Other ids for hosts, as old=new (the ids in the tree)' },
  ttl: { type: 'integer', max: 31_536_000, description: `Seconds until a copy disappears (${ttlSeconds})` },
  'dry-run': { type: 'boolean', description: 'Only print what would be written; --no-dry-run writes it (true)' },
  output,
} as const;

export const migrate = command({
  options,
  aliases: { '-n': '--dry-run', '-o': '--output' },
  async run({ flags, sources }, io) {
    const layers = readSources(sources);
    const { etcd, warnings } = resolveEtcd(layers);
    warnOf(warnings, io);
    const settings = settingsOf(flags, layers, etcd.prefix);
    const { EtcdRegistry } = await import('../etcd/cluster.ts');
    const { check, write } = await import('../migrate/apply.ts');
    const given = flags.file === undefined ? undefined : readExport(read(flags.file), flags.file);
    const registry = new EtcdRegistry(etcd);
    try {
      const entries: readonly Entry[] =
        given ?? (await tellingOfWait('etcd', io, registry.readPrefix(`${settings.tree}/`)));
      const plan = planMigration(entries, settings);
      const checked = await tellingOfWait('etcd', io, check(plan, registry, etcd.prefix));
      const isDryRun = flags['dry-run'] ?? true;
      const written: string[] = [];
      try {
        if (!isDryRun && checked.puts.length > 0) {
          const lease = await registry.grant(flags.ttl ?? ttlSeconds);
          for await (const keys of write(checked.puts, registry, etcd.prefix, lease)) written.push(...keys);
        }
      } finally {
        // Also when etcd fails half-way, to report the keys that are written.
        io.write(flags.output === 'json' ? asJson(checked, isDryRun, written) : asText(checked, isDryRun, written));
      }
      return written.length === count(checked) ? 0 : exitNegative;
    } finally {
      registry.close();
    }
  },
});

const count = ({ puts }: Checked): number => puts.reduce((sum, { keys }) => sum + keys.size, 0);

function settingsOf(flags: Flags<typeof options>, { chosen }: Layers, prefix: string): Settings {
  const problems: Problem[] = [];
  const { from, tree = from === 'original' ? prefix : '' } = flags;
  if (from === undefined) problems.push({ path: '--from', reason: 'must be original or registrator' });
  else if (!/^\/[^/]+(\/[^/]+)*\/?$/.test(tree)) {
    const got = tree === '' ? undefined : JSON.stringify(tree);
    problems.push({ path: '--tree', reason: 'must be a path of etcd, such as /services', got });
  }
  if (flags.ttl === 0) problems.push({ path: '--ttl', reason: 'must be at least 1' });
  const hosts = new Map<string, string>();
  for (const pair of flags['host-id'] ?? []) {
    const [, before, after] = /^([^=/]+)=([A-Za-z0-9._~-]+)$/.exec(pair) ?? [];
    if (before !== undefined && after !== undefined) hosts.set(before, after);
    else problems.push({ path: '--host-id', reason: 'must be <old>=<new>', got: JSON.stringify(pair) });
  }
  if (problems.length > 0 || from === undefined) throw configError('the command line', problems);
  const realm = String(chosen.get('host.realm')?.value ?? 'default');
  return { from, tree: tree.replace(/\/$/, ''), prefix, realm, hosts };
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new DiscoverError('LIST_INVALID', `Cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}

function asJson({ puts, there, left }: Checked, dryRun: boolean, written: readonly string[]): string {
  const containers = puts.map(({ host, shortId, keys, from }) => ({
    ...{ host, container: shortId, from },
    keys: Object.fromEntries(keys),
  }));
  return json({ dryRun, containers, written, there, left });
}

function asText(checked: Checked, isDryRun: boolean, written: readonly string[]): string {
  const { puts, there, left } = checked;
  const done = new Set(written);
  const lines = puts.flatMap(({ keys }) =>
    [...keys].map(([key, value]) => `${isDryRun ? '+' : done.has(key) ? 'written' : 'left'} ${key} = ${value}`),
  );
  for (const { key, reason } of left) lines.push(`left ${key}: ${reason}`);
  const all = `${count(checked)} keys of ${puts.length} containers`;
  const result = isDryRun ? `${all} would be written` : `${written.length} of ${all} are written`;
  const hint = isDryRun && puts.length > 0 ? '; --no-dry-run writes them' : '';
  lines.push(`${result}, ${there.length} are there already, ${left.length} are left${hint}`);
  return `${lines.map(printable).join('\n')}\n`;
}
