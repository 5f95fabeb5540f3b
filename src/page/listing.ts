/**
 * Rows in order, kept in order as single ones change: of ten thousand rows a change costs a search and not a sort. Pure.
 *
 * All rows are kept by key. Those that fit the filter are also in a sorted list, which is made anew only for another filter,
 * another order, or a change of a great part of it.
 */

export interface Arrangement<Row> {
  readonly fits: (row: Row) => boolean;
  readonly by: (row: Row) => string | number;
  readonly descending: boolean;
  /** The order of rows that have the same value. */
  readonly next: (row: Row) => string;
  /** Such rows come before all others. */
  readonly isFirst?: (row: Row) => boolean;
}

/** By which column, and whether from its end. */
export interface Order {
  /** The id of a column. */
  readonly column: string;
  readonly descending: boolean;
}

interface Entry<Row> {
  readonly row: Row;
  readonly key: string;
  readonly rank: number;
  readonly value: string | number;
  readonly next: string;
}

/** A list of rows. Only a few of them are looked at. */
export type Rows<Row> = Pick<readonly Row[], 'length' | 'slice'>;

/** Above this share of changed rows a sort is cheaper. */
const sortShare = 1 / 8;

export class Listing<Row> {
  readonly #rows = new Map<string, Row>();
  readonly #entries = new Map<string, Entry<Row>>();
  #arrangement: Arrangement<Row>;
  #sorted: Entry<Row>[] = [];
  #shown: Rows<Row> | undefined;

  constructor(arrangement: Arrangement<Row>) {
    this.#arrangement = arrangement;
  }

  /** All rows, whether or not they fit. */
  get size(): number {
    return this.#rows.size;
  }

  /** The rows that fit, in order; the same object until something changes. */
  get shown(): Rows<Row> {
    const sorted = this.#sorted;
    this.#shown ??= { length: sorted.length, slice: (from, to) => sorted.slice(from, to).map(({ row }) => row) };
    return this.#shown;
  }

  arrange(arrangement: Arrangement<Row>): void {
    this.#arrangement = arrangement;
    this.#sortAll();
  }

  clear(): void {
    this.#rows.clear();
    this.#sortAll();
  }

  change(set: Iterable<readonly [key: string, row: Row]>, gone: Iterable<string> = []): void {
    const keys = new Set<string>();
    for (const key of gone) if (this.#rows.delete(key)) keys.add(key);
    for (const [key, row] of set) {
      this.#rows.set(key, row);
      keys.add(key);
    }
    if (keys.size === 0) return;
    if (keys.size > this.#rows.size * sortShare) this.#sortAll();
    else for (const key of keys) this.#place(key);
    this.#shown = undefined;
  }

  #place(key: string): void {
    const before = this.#entries.get(key);
    if (before !== undefined) this.#sorted.splice(this.#indexOf(before), 1);
    this.#entries.delete(key);
    const row = this.#rows.get(key);
    if (row === undefined || !this.#arrangement.fits(row)) return;
    const entry = this.#entryOf(key, row);
    this.#entries.set(key, entry);
    this.#sorted.splice(this.#indexOf(entry), 0, entry);
  }

  #sortAll(): void {
    this.#entries.clear();
    for (const [key, row] of this.#rows) {
      if (this.#arrangement.fits(row)) this.#entries.set(key, this.#entryOf(key, row));
    }
    this.#sorted = [...this.#entries.values()].sort((a, b) => this.#compare(a, b));
    this.#shown = undefined;
  }

  #entryOf(key: string, row: Row): Entry<Row> {
    const { by, next, isFirst } = this.#arrangement;
    const value = by(row);
    return {
      ...{ row, key, next: orderOf(next(row)), rank: isFirst?.(row) ? 0 : 1 },
      value: typeof value === 'number' ? value : orderOf(value),
    };
  }

  /** Where it is, or belongs. */
  #indexOf(entry: Entry<Row>): number {
    let [low, high] = [0, this.#sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#compare(this.#sorted[middle] as Entry<Row>, entry) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Never 0 for two keys. */
  #compare(a: Entry<Row>, b: Entry<Row>): number {
    if (a.rank !== b.rank) return a.rank - b.rank;
    if (a.value !== b.value) return a.value < b.value === this.#arrangement.descending ? 1 : -1;
    if (a.next !== b.next) return a.next < b.next ? -1 : 1;
    if (a.key !== b.key) return a.key < b.key ? -1 : 1;
    return 0;
  }
}

/** A text that sorts numbers by value: service-2 before service-10. A collator takes ten times as long for the same. */
function orderOf(text: string): string {
  return text.toLowerCase().replaceAll(/\d+/g, (digits) => digits.padStart(12, '0'));
}

/** Whether each word of the filter is somewhere in the text; upper and lower case are one. */
export function matcher(filter: string): (...texts: readonly string[]) => boolean {
  const words = filter
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  if (words.length === 0) return () => true;
  return (...texts) => {
    const text = texts.join(' ').toLowerCase();
    return words.every((word) => text.includes(word));
  };
}
