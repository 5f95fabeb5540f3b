/**
 * Maintenance: a person has taken a container, or all of a host, out of traffic until told otherwise. The record of one
 * such decision, and its text in etcd.
 *
 *     {"since":"2026-01-02T03:04:05.000Z","by":"anna@desk-1","reason":"new disk","container":"web-1"}
 *
 * Every member may be missing, because people write the key by hand as well. A text that is no JSON object is no record.
 */

export interface Mark {
  /** RFC 3339. */
  readonly since?: string;
  readonly by?: string;
  readonly reason?: string;
  /** The name that the container had. */
  readonly container?: string;
}

/** All decisions about one host and its containers, by their short ids. */
export interface Maintenance {
  readonly host: Mark | undefined;
  readonly containers: ReadonlyMap<string, Mark>;
}

export const noMaintenance: Maintenance = { host: undefined, containers: new Map() };

/** The decision that takes a container out; that of its host comes first. */
export function markOf({ host, containers }: Maintenance, shortId: string): Mark | undefined {
  return host ?? containers.get(shortId);
}

const wordsMax = 255;
/** Characters that are invisible, or that change how the text around them is shown. */
const unseen = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u;

/** A text of a person that may be written and shown. */
export function isWords(text: string): boolean {
  return text !== '' && text.length <= wordsMax && !unseen.test(text);
}

/** Undefined: the text is no record. A member without its form is left out. */
export function parseMark(text: string): Mark | undefined {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) return undefined;
  const { since, by, reason, container } = record as Readonly<Record<string, unknown>>;
  const mark: { -readonly [Name in keyof Mark]: Mark[Name] } = {};
  if (typeof since === 'string' && isWords(since) && !Number.isNaN(Date.parse(since))) mark.since = since;
  if (typeof by === 'string' && isWords(by)) mark.by = by;
  if (typeof reason === 'string' && isWords(reason)) mark.reason = reason;
  if (typeof container === 'string' && isWords(container)) mark.container = container;
  return mark;
}

/** `by anna@desk-1: new disk (whole host)`; for people. */
export function wordsOf({ by, reason }: Mark, isOfHost: boolean): string {
  const who = by === undefined ? 'by an unknown person' : `by ${by}`;
  return `${who}${reason === undefined ? '' : `: ${reason}`}${isOfHost ? ' (the whole host)' : ''}`;
}
