/**
 * `discover reap`: deletes the keys of hosts that are gone, as the original's `bin/reapit.py` did.
 *
 * Exit codes: 0 nothing to delete, or all is deleted; 1 a dry run found something to delete; 65 refused: a deletion
 * above the limit, or an invalid list; 69 etcd or EC2 did not answer; 78 the configuration cannot be used.
 */
import { readFileSync } from 'node:fs';
import { resolveEtcd } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { configError, DiscoverError, messageOf } from '../errors.ts';
import { exitNegative, exitRejected } from '../exit-codes.ts';
import { readFleet, removeHost } from '../reap/fleet.ts';
import { parseHosts } from '../reap/living.ts';
import { planReap } from '../reap/plan.ts';
import { asJson, asText, type Report } from '../reap/report.ts';
import { type FileSettings, readSettings, settingNames } from '../reap/settings.ts';
import { command, type Flags, type Io, output, tellingOfWait, warnOf } from './command.ts';

const options = {
  source: {
    type: 'string',
    choices: ['lease', 'ec2', 'file', 'stdin'],
    description: 'Source of the living hosts (ec2 if the file has accounts or regions, else lease)',
  },
  file: { type: 'string', description: 'For --source file: one host id a line, or a JSON array of them' },
  'dry-run': { type: 'boolean', description: 'Only print what would be deleted; --no-dry-run deletes it (true)' },
  force: { type: 'list', description: 'Hosts whose keys are deleted even if they live' },
  'max-percent': { type: 'integer', max: 100, description: 'Refuse to delete more than this share of the hosts (20)' },
  'allow-empty': { type: 'boolean', description: 'Accept a list without a living host (false)' },
  output,
} as const;

export const reap = command({
  options,
  aliases: {
    '-n': '--dry-run',
    '-o': '--output',
    // The names that these options of the configuration had for the original.
    '-H': '--etcd:host',
    '--host': '--etcd:host',
    '-P': '--etcd:port',
    '--port': '--etcd:port',
    '-p': '--etcd:prefix',
    '--prefix': '--etcd:prefix',
  },
  async run({ flags, sources }, io) {
    const layers = readSources({ ...sources, others: settingNames });
    const { etcd, warnings } = resolveEtcd(layers);
    const { settings, warnings: more } = readSettings(layers);
    warnOf([...warnings, ...more], io);
    const source = sourceOf(flags, settings);
    const isDryRun = flags['dry-run'] ?? settings.dryRun ?? true;
    const force = new Set(flags.force ?? settings.force);
    const living = await livingOf(source, flags, settings, io);

    const { EtcdRegistry } = await import('../etcd/cluster.ts');
    const registry = new EtcdRegistry(etcd);
    try {
      const hosts = await tellingOfWait('etcd', io, readFleet(registry, etcd.prefix));
      for (const host of force) if (!hosts.has(host)) io.warn(`--force ${host}: there is no key of this host`);
      const plan = planReap(hosts, {
        living,
        force,
        maxPercent: flags['max-percent'] ?? 20,
        allowEmpty: flags['allow-empty'] ?? false,
      });
      const deleted = new Map<string, string[]>();
      const report: Report = { plan, source, isDryRun, deleted };
      try {
        if (!isDryRun && plan.refusal === undefined) {
          for (const { host, why, found } of plan.reaped) {
            const names: string[] = [];
            deleted.set(host, names);
            const removed = removeHost(registry, `${etcd.prefix}/owner/${host}`, found, why === 'forced');
            for await (const keys of removed) names.push(...keys);
          }
        }
      } finally {
        // Also when etcd fails half-way, to report the keys that are deleted.
        io.write(`${flags.output === 'json' ? asJson(report) : asText(report)}\n`);
      }
      if (plan.refusal !== undefined) {
        io.warn(`refused: ${plan.refusal}`);
        return exitRejected;
      }
      return isDryRun && plan.reaped.length > 0 ? exitNegative : 0;
    } finally {
      registry.close();
    }
  },
});

type Source = NonNullable<Flags<typeof options>['source']>;

function sourceOf(flags: Flags<typeof options>, { accounts, regions }: FileSettings): Source {
  const source = flags.source ?? (accounts || regions ? 'ec2' : 'lease');
  if ((source === 'file') !== (flags.file !== undefined)) {
    const problem = { path: '--source file', reason: 'and --file must be given together' };
    throw configError('the command line', [problem]);
  }
  return source;
}

/** The living hosts; undefined if leases decide. */
async function livingOf(
  source: Source,
  { file = '' }: Flags<typeof options>,
  { accounts = [], regions = [], filters = { 'instance-state-name': 'running' } }: FileSettings,
  io: Io,
): Promise<Set<string> | undefined> {
  switch (source) {
    case 'lease':
      return undefined;
    case 'ec2': {
      const { livingInstances } = await import('../reap/ec2.ts');
      return livingInstances({ accounts, regions, filters });
    }
    case 'file':
      return parseHosts(read(file), file);
    case 'stdin': {
      let text = '';
      for await (const chunk of io.stdin.setEncoding('utf8')) text += chunk;
      return parseHosts(text, 'standard input');
    }
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new DiscoverError('LIST_INVALID', `Cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}
