/**
 * What etcd is known to hold under one key of this host.
 *
 * A key may be there and yet not be as this process wrote it: on another lease, or on none. Such a key is
 * `foreign`, and its value is not kept, because it has to be written anew or deleted whatever it says. An
 * audit asks for the names of all keys and for the values of some: the others are `unread`.
 */

/** What the ledger knows of a key that is there. */
export type Held = { readonly kind: 'ours'; readonly value: string } | { readonly kind: 'foreign' };

/** What an audit learns of a key that is there. */
export type Audited = Held | { readonly kind: 'unread' };

export const foreign: Held = Object.freeze({ kind: 'foreign' });
export const unread: Audited = Object.freeze({ kind: 'unread' });
export const ours = (value: string): Held => ({ kind: 'ours', value });

/** The value of a key that is ours; undefined for every other key. */
export function ourValue(held: Audited | undefined): string | undefined {
  return held?.kind === 'ours' ? held.value : undefined;
}
