/**
 * The knowledge about one existing key of this host in etcd.
 *
 * A key on another lease, or on none, is `foreign`. Its value is not kept, because the key has to be written again or
 * deleted in any case. An audit reads the names of all keys and the values of some; the other keys are `unread`.
 */

/** The ledger's knowledge of an existing key. */
export type Held = { readonly kind: 'ours'; readonly value: string } | { readonly kind: 'foreign' };

/** An audit's knowledge of an existing key. */
export type Audited = Held | { readonly kind: 'unread' };

export const foreign: Held = Object.freeze({ kind: 'foreign' });
export const unread: Audited = Object.freeze({ kind: 'unread' });
export const ours = (value: string): Held => ({ kind: 'ours', value });

/** The value of a key that is ours; undefined for every other key. */
export function ourValue(held: Audited | undefined): string | undefined {
  return held?.kind === 'ours' ? held.value : undefined;
}
