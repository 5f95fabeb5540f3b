/**
 * Reads all keys below a prefix, in pages, all of them at the revision of the first page.
 *
 * A cluster may hold more keys than one answer takes or one deadline lets through: each page has a deadline of
 * its own, and the process does other things between two pages.
 */

import type { Member } from './member.ts';
import { pageTimeoutMs } from './member.ts';
import type { Members } from './members.ts';
import { type Revision, revisionOf } from './registry.ts';

/** A page of service keys is about a megabyte. */
const pageKeys = 5_000;

type Pairs = Awaited<ReturnType<Member['etcd']['kv']['range']>>['kvs'];

/** Hands on page after page, and resolves with the revision at which all of them were read. */
export async function readPages(
  members: Members,
  prefix: string,
  take: (pairs: Pairs) => void,
  { keysOnly = false }: { readonly keysOnly?: boolean } = {},
): Promise<Revision> {
  let key = Buffer.from(prefix);
  const end = after(key);
  let revision: string | undefined;
  for (;;) {
    const request = { key, range_end: end, limit: pageKeys, keys_only: keysOnly, ...(revision && { revision }) };
    const { header, kvs, more } = await members.ask((member) =>
      member.call('range', ({ kv }) => kv.range(request, { deadline: Date.now() + pageTimeoutMs }), pageTimeoutMs),
    );
    revision ??= header.revision;
    take(kvs);
    const last = kvs.at(-1);
    if (!more || last === undefined) return revisionOf(revision);
    key = Buffer.concat([last.key, Buffer.of(0)]);
  }
}

/** The first key behind all that begin with the prefix. Prefixes here end in a slash, never in 0xff. */
export function after(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end.at(-1) as number) + 1;
  return end;
}
