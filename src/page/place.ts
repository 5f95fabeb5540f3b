/**
 * The place in the page, which its URL has whole: the view, what it is of, the filter and the order. So a link shows another
 * person the same.
 *
 *     #services?q=web&sort=-instances     #services/checkout     #fleet/host-1?q=draining
 */
import { useEffect, useState } from 'preact/hooks';
import type { Order } from './listing.ts';

export interface Place {
  readonly view: 'here' | 'services' | 'fleet';
  /** The service, or the host. */
  readonly of: string | undefined;
}

export const hrefOf = (view: Place['view'], of?: string): string =>
  of === undefined ? `#${view}` : `#${view}/${encodeURIComponent(of)}`;

/** A hash typed by hand leads to the nearest view. */
export function placeOf(hash: string): Place {
  const [path = ''] = hash.slice(1).split('?', 1);
  const [name = '', of = ''] = path.split('/');
  const view = name === 'services' || name === 'fleet' ? name : 'here';
  return { view, of: view === 'here' ? undefined : decoded(of) };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text) || undefined;
  } catch {
    return undefined;
  }
}

/** What the URL says of the list that is shown. */
export interface Search {
  readonly filter: string;
  readonly order: Order | undefined;
}

export function searchOf(hash: string): Search {
  const params = new URLSearchParams(hash.split('?')[1] ?? '');
  const sort = params.get('sort') ?? '';
  const descending = sort.startsWith('-');
  const column = descending ? sort.slice(1) : sort;
  return { filter: params.get('q') ?? '', order: column === '' ? undefined : { column, descending } };
}

export function hashOf(hash: string, { filter, order }: Search): string {
  const params = new URLSearchParams();
  if (filter !== '') params.set('q', filter);
  if (order !== undefined) params.set('sort', `${order.descending ? '-' : ''}${order.column}`);
  const query = params.toString();
  const [path = ''] = hash.split('?', 1);
  return `${path === '' ? '#here' : path}${query === '' ? '' : `?${query}`}`;
}

export interface Going {
  readonly place: Place;
  /** Goes to a view as a link does, and without waiting for the browser. */
  readonly go: (href: string) => void;
}

export function usePlace(): Going {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const onChange = (): void => setHash(location.hash);
    addEventListener('hashchange', onChange);
    return () => removeEventListener('hashchange', onChange);
  }, []);
  const go = (href: string): void => {
    history.pushState(null, '', href);
    setHash(location.hash);
  };
  return { place: placeOf(hash), go };
}

export interface Searching extends Search {
  readonly setFilter: (filter: string) => void;
  readonly setOrder: (order: Order) => void;
}

/** The filter and the order of a list, in the URL. */
export function useSearch(): Searching {
  const [search, setSearch] = useState(() => searchOf(location.hash));
  useEffect(() => {
    const onChange = (): void => setSearch(searchOf(location.hash));
    addEventListener('hashchange', onChange);
    return () => removeEventListener('hashchange', onChange);
  }, []);
  const set = (next: Search): void => {
    setSearch(next);
    // Each letter would be a step back in the history of the browser.
    history.replaceState(null, '', hashOf(location.hash, next));
  };
  return {
    ...search,
    setFilter: (filter) => set({ ...search, filter }),
    setOrder: (order) => set({ ...search, order }),
  };
}
