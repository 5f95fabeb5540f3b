/**
 * The containers of this host, as two lists that are kept in order: what they offer, and what is not published, in groups of
 * one reason. Pure; a change costs as much as the containers that changed.
 */
import type { ContainersEvent } from '../http/shapes.ts';
import { type Arrangement, Listing, matcher, type Rows } from './listing.ts';
import { type NamedContainer, type OfferRow, offersOf, type ProblemEntry, problemsOf, textsOf } from './rows.ts';

/** All entries with the same reason, and so with the same remedy. */
export interface Problem {
  readonly code: string;
  readonly title: string;
  readonly remedy: string;
  /** Those that fit the filter. */
  readonly entries: Rows<ProblemEntry>;
}

/** How the offers are sorted. */
export type Order = Pick<Arrangement<OfferRow>, 'by' | 'descending'>;

interface Keys {
  readonly offers: readonly string[];
  readonly problems: readonly (readonly [code: string, key: string])[];
}

/** The changes of one list. */
interface Changes<Row> {
  readonly set: [key: string, row: Row][];
  readonly gone: string[];
}

export class Containers {
  readonly #offers = new Listing<OfferRow>(arrangeOffers(matcher(''), { by: ({ name }) => name, descending: false }));
  readonly #problems = new Map<string, Listing<ProblemEntry>>();
  readonly #keys = new Map<string, Keys>();
  #fits = matcher('');

  /** Those that fit, in order; the same object until something changes. */
  get offers(): Rows<OfferRow> {
    return this.#offers.shown;
  }

  /** Offers whether or not they fit. */
  get offersInAll(): number {
    return this.#offers.size;
  }

  get problemsInAll(): number {
    return [...this.#problems.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** The reason with the most entries comes first. */
  get problems(): readonly Problem[] {
    const groups = [...this.#problems].flatMap(([code, { shown: entries }]) => {
      const [first] = entries.slice(0, 1);
      return first === undefined ? [] : [{ code, title: first.title, remedy: first.remedy, entries }];
    });
    return groups.sort((a, b) => b.entries.length - a.entries.length || (a.code < b.code ? -1 : 1));
  }

  arrange(filter: string, order: Order): void {
    this.#fits = matcher(filter);
    this.#offers.arrange(arrangeOffers(this.#fits, order));
    for (const problems of this.#problems.values()) problems.arrange(arrangeProblems(this.#fits));
  }

  take({ reset, set, gone }: ContainersEvent): void {
    if (reset) this.#clear();
    const offers: Changes<OfferRow> = { set: [], gone: [] };
    const problems = new Map<string, Changes<ProblemEntry>>();
    const ofCode = (code: string): Changes<ProblemEntry> => {
      const known = problems.get(code) ?? { set: [], gone: [] };
      problems.set(code, known);
      return known;
    };
    for (const id of [...gone, ...set.map((container) => container.id)]) {
      const keys = this.#keys.get(id);
      this.#keys.delete(id);
      offers.gone.push(...(keys?.offers ?? []));
      for (const [code, key] of keys?.problems ?? []) ofCode(code).gone.push(key);
    }
    for (const container of set) this.#add(container, offers, ofCode);
    this.#offers.change(offers.set, offers.gone);
    for (const [code, changes] of problems) this.#listingOf(code).change(changes.set, changes.gone);
  }

  #add(container: NamedContainer, offers: Changes<OfferRow>, ofCode: (code: string) => Changes<ProblemEntry>): void {
    const rows = offersOf(container);
    const entries = problemsOf(container);
    for (const row of rows) offers.set.push([row.key, row]);
    const problems = entries.map((entry, index) => [entry.code, `${container.id} ${index}`] as const);
    for (const [index, [code, key]] of problems.entries()) ofCode(code).set.push([key, entries[index] as ProblemEntry]);
    this.#keys.set(container.id, { offers: rows.map(({ key }) => key), problems });
  }

  #clear(): void {
    this.#offers.clear();
    this.#problems.clear();
    this.#keys.clear();
  }

  #listingOf(code: string): Listing<ProblemEntry> {
    const listing = this.#problems.get(code) ?? new Listing(arrangeProblems(this.#fits));
    this.#problems.set(code, listing);
    return listing;
  }
}

type Fits = ReturnType<typeof matcher>;

const arrangeOffers = (fits: Fits, order: Order): Arrangement<OfferRow> => ({
  fits: ({ name, url, container, names, state }) => fits(name, url, container, state, ...textsOf(names)),
  ...order,
  next: ({ name }) => name,
});

const arrangeProblems = (fits: Fits): Arrangement<ProblemEntry> => ({
  fits: ({ container, entry, detail, title, names }) => fits(container, entry, detail, title, ...textsOf(names)),
  by: ({ container, names }) => names.name || container,
  descending: false,
  next: ({ entry }) => entry,
});
