/** The output of commands: tables for people, lines for shells, and colours on a terminal. */

const columnGap = 2;

/** Columns as wide as their longest text; the last column as it is. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heads.map((head, column) =>
    rows.reduce((widest, row) => Math.max(widest, (row[column] ?? '').length), head.length),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (column < row.length - 1 ? cell.padEnd((widths[column] ?? 0) + columnGap) : cell))
      .join('');
  return `${[heads, ...rows].map((row) => printable(line(row)).trimEnd()).join('\n')}\n`;
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
