/**
 * What the sources of options come to, option by option, with the questions that options ask about each other. What is
 * wrong is collected, so that all of it makes one error.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type * as z from 'zod/mini';
import { messageOf, type Problem } from '../errors.ts';
import { type Config, schema, shown } from './options.ts';
import type { Layers } from './sources.ts';

/** The options as they are once nulls, which mean unset, are left out. */
export type Settled<T> = {
  [K in keyof T]: T[K] extends Readonly<Record<string, unknown>> ? Settled<T[K]> : Exclude<T[K], null>;
};

/** What was chosen, with the questions that options ask about each other. A bad value counts as unset meanwhile. */
export class Choice {
  readonly problems: Problem[];
  readonly warnings: Problem[];
  readonly values: Settled<z.output<typeof schema>>;
  readonly chosen: Layers['chosen'];

  constructor({ chosen, problems, warnings }: Layers) {
    this.chosen = chosen;
    this.problems = [...problems];
    this.warnings = [...warnings];
    const tree: Record<string, unknown> = {};
    for (const [path, { value }] of chosen) put(tree, path.split('.'), value);
    this.values = schema.parse(tree) as Settled<z.output<typeof schema>>;
  }

  origin(path: string, otherwise = 'default'): string {
    return this.chosen.get(path)?.origin ?? otherwise;
  }

  /** Whether `path` counts and not its `rivals`: so if it is set no lower than they are, or none is set. */
  prefers(path: string, ...rivals: string[]): boolean {
    const rank = (name: string): number => this.chosen.get(name)?.rank ?? Infinity;
    const isPreferred = rank(path) <= Math.min(...rivals.map(rank));
    const named = (names: string[]): string =>
      names.flatMap((name) => (this.chosen.has(name) ? `${name} (${this.origin(name)})` : [])).join(' and ');
    const [counts, ignored] = isPreferred ? [[path], rivals] : [rivals, [path]];
    if (named(counts) && named(ignored)) {
      this.warnings.push({ path: named(ignored), reason: `ignored in favour of ${named(counts)}` });
    }
    return isPreferred;
  }

  refuse(path: string, reason: string, got?: string): void {
    this.problems.push({ path, origin: this.origin(path), reason, got });
  }

  read(path: string, name: string | undefined): Buffer | undefined {
    try {
      return name === undefined ? undefined : readFileSync(name);
    } catch (error) {
      this.refuse(path, 'must be a file that can be read', `${shown(path, name)}: ${messageOf(error)}`);
      return undefined;
    }
  }

  #parses(kind: 'ca' | 'cert' | 'key', content: Buffer): boolean {
    try {
      return kind === 'key' ? Boolean(createPrivateKey(content)) : Boolean(new X509Certificate(content));
    } catch {
      return false;
    }
  }

  /** The files of one `tls` group; undefined where none is set. */
  certificates(group: 'docker' | 'etcd'): Config['etcd']['tls'] {
    const files: { ca?: Buffer; cert?: Buffer; key?: Buffer } = {};
    for (const kind of ['ca', 'cert', 'key'] as const) {
      const [path, name] = [`${group}.tls.${kind}`, this.values[group].tls[kind]];
      const content = this.read(path, name);
      if (content) files[kind] = content;
      if (content && !this.#parses(kind, content)) {
        const what = kind === 'key' ? 'private key without a passphrase' : 'certificate';
        this.refuse(path, `must be a PEM file that holds a ${what}`, `"${name}"`);
        delete files[kind];
      }
    }
    if (files.cert && files.key && !new X509Certificate(files.cert).checkPrivateKey(createPrivateKey(files.key))) {
      this.refuse(`${group}.tls.key`, `must be the key of ${group}.tls.cert`, `"${this.values[group].tls.key}"`);
    }
    const [ca, cert, key] = ['ca', 'cert', 'key'].map((kind) => this.chosen.has(`${group}.tls.${kind}`));
    if (cert !== key) {
      this.problems.push({ path: `${group}.tls.cert`, reason: `and ${group}.tls.key must be set together` });
    }
    return ca || cert || key ? files : undefined;
  }
}

/** Sets one leaf of a tree. */
export function put(tree: Record<string, unknown>, [key = '', ...rest]: string[], value: unknown): void {
  tree[key] = rest.length === 0 ? value : (tree[key] ?? {});
  if (rest.length > 0) put(tree[key] as Record<string, unknown>, rest, value);
}
