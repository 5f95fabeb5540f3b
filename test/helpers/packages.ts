/** What `npm run package` makes, from the `dist` that was built before. */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cleanEnvironment } from './run.ts';

const main = fileURLToPath(new URL('../../deploy/package/main.mjs', import.meta.url));
/** Debian's tools would take the name of this machine. */
const maintainer = { DEBFULLNAME: 'discover', DEBEMAIL: 'discover@example.org', SOURCE_DATE_EPOCH: '1700000000' };

export interface Packages {
  /** The program as one file. */
  readonly program: string;
  readonly deb: string;
}

/** By the arguments of the script, into an empty folder; for one architecture. */
export async function makePackages(out: string, ...args: readonly string[]): Promise<Packages> {
  const env = cleanEnvironment(maintainer);
  await promisify(execFile)(process.execPath, [main, ...args, '--out', out], { env, maxBuffer: 1 << 26 });
  const find = (pattern: RegExp): string =>
    path.join(out, readdirSync(out).find((name) => pattern.test(name)) ?? `nothing like ${pattern}`);
  return { program: find(/^discover-linux-\w+$/), deb: find(/\.deb$/) };
}
