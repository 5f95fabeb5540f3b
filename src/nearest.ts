/** The name that a misspelt word probably means. */

/** The name that takes the fewest changes to make of this one, if those are few. */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const start = word.slice(0, 64).toLowerCase();
  const scored = names.map((name) => ({ name, score: distance(start, name.toLowerCase()) }));
  const best = scored.sort((a, b) => a.score - b.score)[0];
  return best && best.score <= 1 + start.length / 4 ? best.name : undefined;
}

/** The number of characters to insert, delete or replace to get from one text to the other. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (const letter of from) {
    const next: number[] = [];
    for (const [column, above] of row.entries()) {
      const replaced = (row[column - 1] ?? Infinity) + (letter === to[column - 1] ? 0 : 1);
      next.push(Math.min(above + 1, replaced, (next[column - 1] ?? Infinity) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
