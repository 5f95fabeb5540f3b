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
  const parts = new Parts(typeof all === 'string' ? below(all) : all, limit);
  do {
    const { header, kvs, more, count } = await size.fitting((keys) =>
      members.ask((member) => readPage(member, parts.next, { keysOnly, revision, limit: keys })),
    );
    revision ??= revisionOf(header.revision);
    await take(kvs);
    parts.took({ first: kvs[0]?.key, last: kvs.at(-1)?.key, hasMore: more, count: Number(count) });
  } while (!parts.isOver);
  return revision;
}

interface Page {
  readonly first: Buffer | undefined;
  readonly last: Buffer | undefined;
  readonly hasMore: boolean;
  /** The number of keys of the part that was asked for, on the page or not. */
  readonly count: number;
}

/** A part with more pages than this is too large. */
const pagesMax = 8;

/**
 * The parts of a range that are asked for, one after the other and without gaps.
 *
 * For each page etcd walks over all keys of the range it is asked for, to count them. Page after page of the whole range
 * takes time by the square of its keys: minutes of CPU for 650,000. So what comes after a page is asked for in parts that
 * have a few pages each. A part is all keys that begin with the same bytes, and the last page tells how many bytes that
 * should be.
 */
export class Parts {
  readonly #end: Buffer;
  readonly #pageKeys: number;
  #from: Buffer;
  #until: Buffer;
  /** How many bytes the keys of a part have in common; 0 for all that is left. */
  #depth = 0;

  constructor({ begin, end }: KeyRange, keysOfPage: number) {
    this.#end = end;
    this.#pageKeys = keysOfPage;
    this.#from = begin;
    this.#until = end;
  }

  get next(): KeyRange {
    return { begin: this.#from, end: this.#until };
  }

  get isOver(): boolean {
    return this.#from.compare(this.#end) >= 0;
  }

  took({ first, last, hasMore, count }: Page): void {
    if (hasMore && first !== undefined && last !== undefined) {
      // The first byte in which the page differs: beyond it parts are about as large as the page.
      if (count > pagesMax * this.#pageKeys) this.#depth = Math.max(this.#depth, commonLength(first, last)) + 1;
      this.#from = Buffer.concat([last, Buffer.of(0)]);
    } else {
      this.#from = this.#until;
      if (count < this.#pageKeys / pagesMax) this.#depth = Math.max(0, this.#depth - 1);
    }
    this.#until = this.#untilOf(this.#from);
  }

  /** The first key behind all that have the first `depth` bytes of this one. */
  #untilOf(from: Buffer): Buffer {
    if (this.#depth === 0) return this.#end;
    const begin = Buffer.from(from.subarray(0, this.#depth));
    let length = begin.length;
    while (length > 0 && begin[length - 1] === 0xff) length--;
    if (length === 0) return this.#end;
    begin[length - 1] = (begin[length - 1] as number) + 1;
    const until = begin.subarray(0, length);
    return until.compare(this.#end) < 0 ? until : this.#end;
  }
}

function commonLength(one: Buffer, other: Buffer): number {
  let length = 0;
  while (length < one.length && one[length] === other[length]) length++;
  return length;
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
