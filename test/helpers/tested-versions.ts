/**
 * The versions with which the tests have passed, in `test/tested-versions.json`: written by `test:engines` and
 * `test:node`, and shown in `deploy/upgrade.md`.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface Tested {
  /** Such as `dockerd 26.1.5, podman 5.4.2, etcd 3.5.16`. */
  readonly versions: string;
  /** Such as `26 of 26 files`. */
  readonly passed: string;
  /** The day of the last run. */
  readonly date: string;
}

const file = fileURLToPath(new URL('../tested-versions.json', import.meta.url));

/** By where they ran, such as `Debian 13` or `Node 24`. */
export const testedVersions = (): Record<string, Tested> =>
  existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, Tested>) : {};

export function noteTested(where: string, tested: Tested): void {
  const all = { ...testedVersions(), [where]: tested };
  const sorted = Object.fromEntries(Object.entries(all).sort(([one], [other]) => one.localeCompare(other, 'en')));
  writeFileSync(file, `${JSON.stringify(sorted, undefined, 2)}\n`);
}

export const today = (at = new Date()): string => at.toISOString().slice(0, 10);
