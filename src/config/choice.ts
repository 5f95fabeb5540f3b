/**
 * The chosen value of each option, over all sources, and the rules that concern several options. Problems are
 * collected, so that one error can report all of them.
 */
import type * as z from 'zod/mini';
import type { Problem } from '../errors.ts';
import { type Certificates, type Refuse, readCertificates } from '../net/certificates.ts';
import { schema } from './options.ts';
import type { Layers } from './sources.ts';

/** The options as they are once nulls, which mean unset, are left out. */
export type Settled<T> = {
  [K in keyof T]: T[K] extends Readonly<Record<string, unknown>> ? Settled<T[K]> : Exclude<T[K], null>;
};

/** The chosen values, and the rules that concern several options. A bad value counts as unset meanwhile. */
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

  /** Whether `path` counts and not its `rivals`: it is set, at no lower place than any of them, or none is set. */
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

  /** For rules about several options. Options that are wrong only together are named without their sources. */
  readonly refuseAll: Refuse = ([option = '', ...others], mustBe) => {
    const reason = `must be ${mustBe}`;
    if (others.length === 0 && !mustBe.startsWith('set together')) this.refuse(option, reason);
    else this.problems.push({ path: [option, ...others].join(' and '), reason });
  };

  /** The files of the engine's TLS; undefined if none is set. */
  certificates(): Certificates | undefined {
    return readCertificates('docker.tls', this.values.docker.tls, this.refuseAll);
  }
}

/** Sets one leaf of a tree. */
export function put(tree: Record<string, unknown>, [key = '', ...rest]: string[], value: unknown): void {
  tree[key] = rest.length === 0 ? value : (tree[key] ?? {});
  if (rest.length > 0) put(tree[key] as Record<string, unknown>, rest, value);
}
