/**
 * Reads all keys below a prefix or of a range, in pages, all of them at the revision of the first page.
 *
 * A cluster may hold more keys than one answer may have or one deadline allows. So each page has a deadline of
 * its own, and the process does other work between two pages.
 */

import { detailsOf } from '../errors.ts';
import type { Member } from './member.ts';
import { pageTimeoutMs } from './member.ts';
import type { Members } from './members.ts';
import { type Revision, revisionOf } from './registry.ts';

/** A page of service keys is about a megabyte. */
export const pageKeys = 5_000;

type Pairs = Awaited<ReturnType<Member['etcd']['kv']['range']>>['kvs'];

/** The keys from `begin` to before `end`. */
export interface KeyRange {
  readonly begin: Buffer;
  readonly end: Buffer;
}

interface PageOptions {
  /** The key behind which the page begins; at the prefix unless given. */
  readonly after?: string | Buffer;
  readonly keysOnly?: boolean;
  /** The revision to read at; the newest unless given. */
  readonly revision?: Revision | undefined;
  /** The largest number of keys. */
  readonly limit?: number;
}

/** All keys are those of a range, or below a prefix. */
export function readPage(member: Member, all: string | KeyRange, options: PageOptions = {}) {
  const { after: last = '', keysOnly, revision, limit = pageKeys } = options;
  const { begin, end } = typeof all === 'string' ? below(all) : all;
  const key = last.length === 0 ? begin : Buffer.concat([Buffer.from(last), Buffer.of(0)]);
  const request = {
    key,
    range_end: end,
    limit,
    keys_only: keysOnly === true,
    ...(revision !== undefined && { revision }),
  };
  return member.call('range', ({ kv }) => kv.range(request, { deadline: Date.now() + pageTimeoutMs }), {
    timeoutMs: pageTimeoutMs,
  });
}

/** Hands on page after page, and resolves with the revision at which all of them were read. */
export async function readPages(
  members: Members,
  all: string | KeyRange,
  take: (pairs: Pairs) => void | Promise<void>,
  { keysOnly = false, revision: given, limit = pageKeys }: Omit<PageOptions, 'after'> = {},
): Promise<Revision> {
  let revision = given;
  const size = new AnswerSize(limit);
  for (let last: Buffer | undefined = Buffer.alloc(0); ; ) {
    const options: PageOptions = { after: last, keysOnly, revision };
    const { header, kvs, more } = await size.fitting((keys) =>
      members.ask((member) => readPage(member, all, { ...options, limit: keys })),
    );
    revision ??= revisionOf(header.revision);
    await take(kvs);
    last = kvs.at(-1)?.key;
    if (!more || last === undefined) return revision;
  }
}

export function below(prefix: string): KeyRange {
  const begin = Buffer.from(prefix);
  return { begin, end: after(begin) };
}

/**
 * How many keys to ask for at once. Another program may have written values so long that an answer is larger than this
 * process takes: then half as many are asked for, down to one. After an answer that fits, twice as many.
 */
export class AnswerSize {
  readonly #keysMax: number;
  #keys: number;

  constructor(keysMax: number) {
    this.#keysMax = keysMax;
    this.#keys = keysMax;
  }

  async fitting<Result>(ask: (keysMax: number) => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        const result = await ask(this.#keys);
        this.#keys = Math.min(this.#keysMax, this.#keys * 2);
        return result;
      } catch (error) {
        if (this.#keys === 1 || detailsOf(error).failure !== 'answer-too-large') throw error;
        this.#keys = Math.ceil(this.#keys / 2);
      }
    }
  }
}

/** The first key behind all that begin with the prefix. Prefixes here end in a slash, never in 0xff. */
function after(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end.at(-1) as number) + 1;
  return end;
}
