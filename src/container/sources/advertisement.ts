/**
 * The grammar of an advertisement, whatever its source: `web:80,api:8080/tcp` to entries.
 *
 * The container writes the text, so nothing in it is trusted. A bad entry is refused with its reason,
 * and the other entries stay. At most 16 KiB are read, 100 entries taken and 20 refusals listed, in
 * time linear in the bytes that are read. A name that passes is one segment of a key under every
 * policy. An entry with such a name that the original published is taken here too.
 *
 * Not here: whether Docker publishes the port (`address/published.ts`).
 */
import type { Protocol, Refusal, RefusalCode } from '../container.ts';

/** `compat`: as the original, in plain characters. `strict`: RFC 1123. `encode`: the rest as %XX. `raw`: nearly all. */
export type NamePolicy = 'compat' | 'strict' | 'encode' | 'raw';

export interface GrammarOptions {
  readonly namePolicy: NamePolicy;
  /** The limit of entries: below the usual 100 if each entry has more than one key. */
  readonly entriesMax?: number | undefined;
}

/** One thing offered: under this name, at this port of the container. */
export interface Entry {
  /** As in the key: percent-encoded under `encode`. */
  readonly name: string;
  readonly privatePort: number;
  readonly protocol: Protocol;
}

export interface Advertisement {
  readonly entries: readonly Entry[];
  readonly refusals: readonly Refusal[];
}

const BYTES_MAX = 16 * 1024;
// With the record and the owner's guard, so many entries fit into one etcd transaction of 128 operations.
export const ENTRIES_MAX = 100;
const REFUSALS_MAX = 20;
const REFUSAL_CHARACTERS = 64;

// The characters that `.` does not match: in the original, one of them hid the whole variable.
const LINE_TERMINATOR = /[\n\r\u2028\u2029]/;
const NEVER_IN_A_KEY = /[/\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u;

// A log line in JSON has ESC and its like escaped, but not what a terminal obeys beyond ASCII or shows as nothing.
// Nearly every text is plain, and the classes of Unicode take ten times as long.
const PLAIN = /^[\x20-\x7e]*$/;
const STEERS_A_READER = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

const NAMES: Record<NamePolicy, { readonly passes: (name: string) => boolean; readonly accepted: string }> = {
  compat: {
    passes: (name) => /^[A-Za-z0-9._~-]{1,128}$/.test(name),
    accepted: 'A name is 1 to 128 of A-Z a-z 0-9 . _ ~ - and neither "." nor ".."',
  },
  strict: {
    passes: (name) => /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/.test(name),
    accepted: 'A name is an RFC 1123 label: 1 to 63 of a-z 0-9 -, with no - at either end',
  },
  encode: {
    // A lone surrogate has no UTF-8, so two of them would end as one name.
    passes: (name) => Buffer.byteLength(name) <= 128 && !/\p{Cs}/u.test(name),
    accepted: 'A name is 1 to 128 bytes of well-formed text and neither "." nor ".."',
  },
  raw: {
    passes: (name) => Buffer.byteLength(name) <= 255 && !NEVER_IN_A_KEY.test(name),
    accepted: 'A name is 1 to 255 bytes without slash, control or bidi characters and neither "." nor ".."',
  },
};

/** Reads the texts in order. An entry advertised twice is given once. */
export function parseAdvertisement(texts: readonly string[], options: GrammarOptions): Advertisement {
  const { entriesMax = ENTRIES_MAX } = options;
  const refusals: Refusal[] = [];
  let unlisted = 0;
  const refuse = (refused: Refusal): void => {
    if (refusals.length < REFUSALS_MAX) refusals.push(refused);
    else unlisted++;
  };

  const { items, dropped } = itemsOf(texts, refuse);
  const entries: Entry[] = [];
  const seen = new Set<string>();
  let firstLeftOut: string | undefined;
  for (const item of items) {
    const entry = parseEntry(item, options.namePolicy);
    if ('code' in entry) refuse(entry);
    else if (!seen.has(textOf(entry))) {
      seen.add(textOf(entry));
      if (seen.size <= entriesMax) entries.push(entry);
      else firstLeftOut ??= item;
    }
  }

  if (unlisted > 0) refusals.push(notListed(unlisted));
  if (dropped !== undefined) {
    refusals.push(refusal('too-long', dropped, `Only the first ${BYTES_MAX} bytes are read, to the last whole entry`));
  }
  if (firstLeftOut !== undefined) {
    refusals.push(refusal('too-many', firstLeftOut, `The first ${entriesMax} of ${seen.size} entries are taken`));
  }
  return { entries, refusals };
}

const utf8 = new TextEncoder();
const scratch = new Uint8Array(BYTES_MAX);

/** The entries as written, trimmed, of at most `BYTES_MAX` in all; and the beginning of what was left out. */
function itemsOf(texts: readonly string[], refuse: (refused: Refusal) => void) {
  const items: string[] = [];
  let room = BYTES_MAX;
  for (const value of texts) {
    // Counts the bytes etcd will count, and stops by itself where the room ends.
    const { read, written } = utf8.encodeInto(value.slice(0, room), scratch.subarray(0, room));
    room -= written;
    const seen = value.slice(0, read);
    const cut = read < value.length;
    // A comma right behind what was read means that the last entry is whole.
    const end = cut ? value.lastIndexOf(',', read) : read;
    if (LINE_TERMINATOR.test(seen)) {
      refuse(refusal('multiline', seen, 'An advertisement with a line break in it is ignored as a whole'));
    } else {
      const listed = value.slice(0, Math.max(0, end)).split(',');
      items.push(...listed.map((item) => item.trim()).filter((item) => item !== ''));
    }
    if (cut) return { items, dropped: value.slice(end + 1, end + 1 + REFUSAL_CHARACTERS) };
  }
  return { items };
}

function parseEntry(item: string, policy: NamePolicy): Entry | Refusal {
  const [nameText = '', portText = ''] = item.split(':');
  const name = acceptName(nameText, policy);
  if (name === undefined) return refusal('name-invalid', item, NAMES[policy].accepted);
  const [numberText = '', protocolText = 'tcp'] = portText.split('/');
  const privatePort = parsePort(numberText);
  if (privatePort === undefined) {
    return refusal('port-invalid', item, 'A port is 1 to 65535 in plain digits, as in web:80');
  }
  const protocol = protocolText.toLowerCase();
  if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp') {
    return refusal('protocol-invalid', item, 'A protocol is tcp, udp or sctp, as in dns:53/udp');
  }
  return { name, privatePort, protocol };
}

/** Whether a name may be written so in a key under any policy: under `encode` 128 bytes become up to 384. */
export function couldBeName(segment: string): boolean {
  if (segment === '' || segment === '.' || segment === '..') return false;
  return Buffer.byteLength(segment) <= 3 * 128 && !NEVER_IN_A_KEY.test(segment);
}

export const acceptedNames = (policy: NamePolicy): string => NAMES[policy].accepted;

/** The name as in a key; undefined if the policy refuses it. */
export function acceptName(name: string, policy: NamePolicy): string | undefined {
  if (name === '' || name === '.' || name === '..' || !NAMES[policy].passes(name)) return undefined;
  if (policy !== 'encode') return name;
  return encodeURIComponent(name).replaceAll(/[!*'()]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Docker writes ports in plain digits, so `080` or `1e3` never name one. */
export function parsePort(text: string): number | undefined {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) return undefined;
  const port = Number(text);
  return port <= 65535 ? port : undefined;
}

/** The entry as its advertiser would have written it in full; no two entries share it. */
export function textOf(entry: Entry): string {
  return `${entry.name}:${entry.privatePort}/${entry.protocol}`;
}

/** The first of them, and how many more there are. */
export function listed(refusals: readonly Refusal[]): readonly Refusal[] {
  const unlisted = refusals.length - REFUSALS_MAX;
  if (unlisted <= 0) return refusals;
  return [...refusals.slice(0, REFUSALS_MAX), notListed(unlisted)];
}

const notListed = (count: number): Refusal => refusal('too-many', '', `${count} more refusals are not listed`);

/** The text with \ufffd for each character that steers a reader. */
export const shown = (text: string): string => (PLAIN.test(text) ? text : text.replaceAll(STEERS_A_READER, '\ufffd'));

export function refusal(code: RefusalCode, entry: string, detail: string): Refusal {
  // A detail may name what the container wrote.
  return { code, entry: shown(entry.slice(0, REFUSAL_CHARACTERS)), detail: shown(detail) };
}
