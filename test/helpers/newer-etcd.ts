/**
 * etcd 3.5, the one of Debian's next release: this machine's own if it is that new, or the one that `setup.mjs` has
 * fetched into the cache.
 */
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { findCommand } from './run.ts';

/** Where the tests keep what they have fetched or made for other runs. */
export const cacheDirectory = path.join(
  process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'),
  'discover-test',
);

const fetched = path.join(cacheDirectory, 'etcd-3.5/usr/bin/etcd');

export function versionOfEtcd(program: string): string {
  return /etcd Version: (\S+)/.exec(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1] ?? '';
}

/** The program; one that is missing has a path all the same, for the message that says so. */
export function newerEtcd(): string {
  const own = findCommand('etcd');
  return own !== undefined && isNew(versionOfEtcd(own)) ? own : fetched;
}

function isNew(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 3 || (major === 3 && minor >= 5);
}
