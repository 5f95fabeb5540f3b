/** Version, build revision and files of this package. */

import { readFileSync } from 'node:fs';
import { getAsset, isSea } from 'node:sea';

/** A file of this package, from inside the program if that is a single file. The path is the same from `src` and from `dist`. */
export function readInPackage(file: string): Buffer {
  if (isSea()) return Buffer.from(getAsset(file));
  return readFileSync(new URL(`../${file}`, import.meta.url));
}

const manifest: unknown = JSON.parse(readInPackage('package.json').toString());

/** The commit of the build, in 12 digits; empty if it is unknown. */
export function builtFrom(): string {
  try {
    return readInPackage('dist/revision').toString().trim();
  } catch {
    return '';
  }
}

export const version = String((manifest as { version?: unknown }).version);
