/** Version, build revision and paths of this package. */

import { readFileSync } from 'node:fs';

/** A file of this package. The path is the same from `src` and from `dist`. */
export function inPackage(file: string): URL {
  return new URL(`../${file}`, import.meta.url);
}

const manifest: unknown = JSON.parse(readFileSync(inPackage('package.json'), 'utf8'));

/** The commit of the build, in 12 digits; empty if it is unknown. */
export function builtFrom(): string {
  try {
    return readFileSync(inPackage('dist/revision'), 'utf8').trim();
  } catch {
    return '';
  }
}

export const version = String((manifest as { version?: unknown }).version);
