/** Which discover this is: the version of this package, as its package.json says, and the commit; and where it lies. */

import { readFileSync } from 'node:fs';

/** A file of this package: from `src` it is as far away as from what is built. */
export function inPackage(file: string): URL {
  return new URL(`../${file}`, import.meta.url);
}

const manifest: unknown = JSON.parse(readFileSync(inPackage('package.json'), 'utf8'));

/** The commit it was built from, in 12 digits; empty where that is not known. */
export function builtFrom(): string {
  try {
    return readFileSync(inPackage('dist/revision'), 'utf8').trim();
  } catch {
    return '';
  }
}

export const version = String((manifest as { version?: unknown }).version);
