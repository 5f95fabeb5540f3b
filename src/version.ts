/** Which discover this is: the version of this package, as its package.json says, and the commit. */

import { readFileSync } from 'node:fs';

const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/** The commit it was built from, in 12 digits; empty where that is not known. */
export function builtFrom(): string {
  try {
    return readFileSync(new URL('../dist/revision', import.meta.url), 'utf8').trim();
  } catch {
    return '';
  }
}

export const version = String((manifest as { version?: unknown }).version);
