/**
 * The effective configuration as text and JSON: `discover config`.
 *
 * Only options that are known to be harmless show their values; null is unset.
 */
import { isPrintable, optionTable } from './options.ts';
import type { Resolved } from './resolve.ts';

export function redacted({ effective, origins }: Resolved): { key: string; value: unknown; origin: string }[] {
  return optionTable.map(({ path }) => {
    const step = (tree: unknown, key: string): unknown => (tree as Record<string, unknown>)[key];
    const value = path.split('.').reduce(step, effective) ?? null;
    return { key: path, value: value === null || isPrintable(path) ? value : '***', origin: origins.get(path) ?? '' };
  });
}

/** The same as text: a table, or JSON. */
export function describeConfig(resolved: Resolved, output: 'table' | 'json'): string {
  const rows = redacted(resolved);
  if (output === 'json') {
    return JSON.stringify(Object.fromEntries(rows.map(({ key, ...rest }) => [key, rest])), undefined, 2);
  }
  const texts = rows.map(({ key, value, origin }) => ({ key, value: value === null ? '-' : `${value}`, origin }));
  const width = (column: 'key' | 'value'): number => Math.max(...texts.map((row) => row[column].length));
  const [keys, values] = [width('key'), width('value')];
  return texts.map((row) => `${row.key.padEnd(keys)}  ${row.value.padEnd(values)}  ${row.origin}`).join('\n');
}
