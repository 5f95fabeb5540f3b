/** The output of commands: tables for people, lines for shells, and colours on a terminal. */

const columnGap = 2;

/**
 * Columns as wide as their longest text; the last column as it is. With a width, the widest columns but the last are made
 * narrower until the table fits, and texts that are too long have an ellipsis.
 */
export function table(heads: readonly string[], rows: readonly (readonly string[])[], width?: number): string {
  const all = [heads, ...rows];
  const longest = heads.map((_, column) => all.reduce((most, row) => Math.max(most, (row[column] ?? '').length), 0));
  const widths = width === undefined ? longest : fitted(longest, heads, width);
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => {
        const size = widths[column] ?? 0;
        return column < row.length - 1 ? cut(cell, size).padEnd(size + columnGap) : cell;
      })
      .join('');
  return `${all.map((row) => printable(line(row)).trimEnd()).join('\n')}\n`;
}

/** In the middle: an image is told by its end, a service by its beginning. */
function cut(cell: string, size: number): string {
  if (cell.length <= size) return cell;
  const kept = size - 1;
  return `${cell.slice(0, Math.ceil(kept / 2))}…${cell.slice(cell.length - Math.floor(kept / 2))}`;
}

/** The widths of columns, the widest reduced until all fit; no column gets narrower than its head. */
function fitted(longest: readonly number[], heads: readonly string[], width: number): number[] {
  const widths = [...longest];
  const last = widths.length - 1;
  let excess = widths.reduce((sum, one) => sum + one, columnGap * last) - width;
  while (excess > 0) {
    const shrinkable = widths.flatMap((size, column) =>
      column < last && size > (heads[column]?.length ?? 0) ? [{ size, column }] : [],
    );
    const widest = shrinkable.reduce<{ size: number; column: number } | undefined>(
      (most, one) => (most === undefined || one.size > most.size ? one : most),
      undefined,
    );
    if (widest === undefined) break;
    widths[widest.column] = widest.size - 1;
    excess--;
  }
  return widths;
}

/** `NAME='value'`, quoted for every POSIX shell. Names get only the characters that a variable may have. */
export function assignments(values: Iterable<readonly [name: string, value: string | number | boolean]>): string {
  let text = '';
  for (const [name, value] of values) text += `${variable(name)}='${String(value).replaceAll("'", `'\\''`)}'\n`;
  return text;
}

export function variable(name: string): string {
  const text = name.toUpperCase().replaceAll(/[^A-Z0-9]+/g, '_');
  return /^[0-9]/.test(text) ? `_${text}` : text;
}

export const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

/** Names come from containers: nothing of them may steer a terminal. */
export const printable = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{fffd}');

const colours = { red: 31, green: 32, yellow: 33, bold: 1 } as const;

export function coloured(isTerminal: boolean, colour: keyof typeof colours, text: string): string {
  return isTerminal ? `\u{1b}[${colours[colour]}m${text}\u{1b}[0m` : text;
}
