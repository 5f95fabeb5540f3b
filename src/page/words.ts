/**
 * Words of the page: titles of refusals, durations, numbers, and text from other writers made safe to show.
 * Pure; it uses nothing of the browser.
 */
import { outages, refusals, withheld } from '../container/refusals.ts';

/** The reasons why an entry, or a whole container, is not published: the heading above such entries. */
export const reasons = { ...refusals, ...withheld, ...outages };

/** Characters that are invisible or that change how the text around them is shown. */
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const charactersMax = 300;

/** Text from another writer as it can be shown: invisible characters replaced, and cut to a length. */
export function foreign(text: string): string {
  const cut = text.length > charactersMax ? `${text.slice(0, charactersMax)}…` : text;
  return cut.replaceAll(unseen, '\ufffd');
}

const grouped = new Intl.NumberFormat('en');

export function count(value: number): string {
  return grouped.format(value);
}

/** `1 entry`, `2 entries`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** At most two units. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes < 10 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return days < 100 ? `${days} d ${hours % 24} h` : `${count(days)} d`;
}

/** Time passed since a moment; undefined for a text that is no moment, because other programs write owner keys too. */
export function since(moment: string | null, nowMs: number): string | undefined {
  const ms = nowMs - Date.parse(moment ?? '');
  return Number.isNaN(ms) ? undefined : duration(ms);
}

/** Two significant digits. */
export function latency(seconds: number): string {
  const [value, unit] = seconds < 1 ? [seconds * 1000, 'ms'] : [seconds, 's'];
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

export function rate(perSecond: number): string {
  return count(perSecond < 9.95 ? Math.round(perSecond * 10) / 10 : Math.round(perSecond));
}
