/**
 * The files of TLS that options name: read, parsed and checked against each other.
 *
 * Every problem is handed to `refuse`, with the option that is wrong and the value that it must have. Refused files
 * are left out of the result.
 */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { messageOf } from '../errors.ts';

/** Options that are wrong, each by itself or only together, and the words that follow "must be". */
export type Refuse = (options: readonly string[], mustBe: string) => void;

export interface Certificates {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

const kinds = ['ca', 'cert', 'key'] as const;
/** Each is a path, or the content of the file. */
export type CertificateFiles = Readonly<Partial<Record<(typeof kinds)[number], string | Buffer | null | undefined>>>;

/** Undefined if no file is named. `group` is that of the options, such as `etcd.tls`. */
export function readCertificates(group: string, files: CertificateFiles, refuse: Refuse): Certificates | undefined {
  const named = kinds.filter((kind) => files[kind] != null);
  if (named.length === 0) return undefined;
  const found: { ca?: Buffer; cert?: Buffer; key?: Buffer } = {};
  for (const kind of named) {
    const file = files[kind] ?? '';
    const content = readOption(`${group}.${kind}`, file, refuse);
    if (content === undefined) continue;
    if (parses(kind, content)) {
      found[kind] = content;
      continue;
    }
    const what = kind === 'key' ? 'private key without a passphrase' : 'certificate';
    const got = typeof file === 'string' ? `"${file}"` : `${file.length} bytes`;
    refuse([`${group}.${kind}`], `a PEM file that holds a ${what}, got ${got}`);
  }
  if (named.includes('cert') !== named.includes('key')) refuse([`${group}.cert`, `${group}.key`], 'set together');
  const { cert, key } = found;
  if (cert && key && !new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    const file = files.key;
    refuse([`${group}.key`], `the key of ${group}.cert, got ${typeof file === 'string' ? `"${file}"` : 'another'}`);
  }
  return found;
}

/** The content of the file that an option names. */
export function readOption(option: string, file: string | Buffer, refuse: Refuse): Buffer | undefined {
  if (typeof file !== 'string') return file;
  try {
    return readFileSync(file);
  } catch (error) {
    refuse([option], `a file that can be read, got ${shown(file)}: ${messageOf(error)}`);
    return undefined;
  }
}

/** A value for a message: short, and hidden if it may hold a secret. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'undefined';
  return text.includes('@') ? '***' : text.slice(0, 80);
}

function parses(kind: (typeof kinds)[number], content: Buffer): boolean {
  try {
    return kind === 'key' ? Boolean(createPrivateKey(content)) : Boolean(new X509Certificate(content));
  } catch {
    return false;
  }
}
