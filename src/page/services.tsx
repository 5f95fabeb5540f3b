/**
 * The view of all services of the fleet: where each one runs, and how it is.
 *
 * Layout: a heading, a note while the data is stale, a filter, a table with a link to the instances of each service. Services
 * whose names begin with what is typed come first, so `/` and a letter or two say where a service runs.
 */
import { useEffect, useMemo, useReducer, useState } from 'preact/hooks';
import type { ServiceRow, ServicesEvent, Stale } from '../http/shapes.ts';
import { ask, StaleNote } from './ask.tsx';
import { type Arrangement, Listing, matcher, type Order } from './listing.ts';
import { Filter, Foreign, Mark } from './parts.tsx';
import { hrefOf, useSearch } from './place.ts';
import { subscribe } from './subscribe.ts';
import { type Column, orderOf, Table, worstFirst } from './table.tsx';
import { count, foreign, plural } from './words.ts';

const readyOf = ({ states }: ServiceRow): number => states.ready ?? 0;

/** The worst first: nothing is ready, something is not, all is. */
function rankOf(row: ServiceRow): number {
  if (readyOf(row) === 0) return 0;
  return readyOf(row) < row.instances ? 1 : 2;
}

const marks = ['bad', 'waiting', 'good'] as const;

/** `2 ready, 1 draining`. */
const stateWords = (row: ServiceRow): string =>
  Object.entries(row.states)
    .sort(([one, ofOne], [other, ofOther]) => ofOther - ofOne || (one < other ? -1 : 1))
    .map(([state, number]) => `${count(number)} ${state}`)
    .join(', ');

const columns: readonly Column<ServiceRow>[] = [
  {
    id: 'service',
    label: 'Service',
    sort: ({ name }) => name,
    cell: ({ name }) => (
      <a data-row="" href={hrefOf('services', name)}>
        <Foreign>{name}</Foreign>
      </a>
    ),
  },
  {
    id: 'state',
    label: 'State',
    sort: rankOf,
    cell: (row) => (
      <span class="state">
        <Mark kind={marks[rankOf(row)] ?? 'bad'} />
        <Foreign>{stateWords(row)}</Foreign>
      </span>
    ),
  },
  { id: 'hosts', label: 'Hosts', sort: ({ hosts }) => hosts, cell: (row) => <Hosts row={row} /> },
  {
    id: 'realms',
    label: 'Realms',
    kind: 'spare',
    sort: ({ realms }) => realms.join(),
    cell: ({ realms }) => <Foreign>{realms.join(', ')}</Foreign>,
  },
  {
    id: 'weights',
    label: 'Weights',
    kind: 'spare',
    sort: ({ weights }) => weights?.[1] ?? -1,
    cell: ({ weights }) => weightWords(weights),
  },
  {
    id: 'instances',
    label: 'Instances',
    kind: 'number spare',
    sort: ({ instances }) => instances,
    cell: ({ instances }) => count(instances),
  },
];
const keyOf = ({ name }: ServiceRow): string => name;

function weightWords(weights: ServiceRow['weights']): string {
  if (weights === null) return '–';
  const [least, most] = weights.map(count);
  return least === most ? `${least}` : `${least}–${most}`;
}

/** `host-1, host-2, host-3 and 4 more`. */
function Hosts({ row: { hosts, someHosts } }: { readonly row: ServiceRow }) {
  const more = hosts - someHosts.length;
  return (
    <>
      {someHosts.map((host, index) => (
        <>
          {index > 0 && ', '}
          <a key={host} href={hrefOf('fleet', host)}>
            {foreign(host)}
          </a>
        </>
      ))}
      {more > 0 && ` and ${count(more)} more`}
    </>
  );
}

function arrangementOf(filter: string, order: Order): Arrangement<ServiceRow> {
  const fits = matcher(filter);
  const [word = ''] = filter.trim().toLowerCase().split(/\s+/);
  return {
    ...orderOf(columns, order),
    fits: (row) => fits(row.name, ...row.realms, ...row.someHosts, ...Object.keys(row.states)),
    next: keyOf,
    isFirst: ({ name }) => word !== '' && name.toLowerCase().startsWith(word),
  };
}

interface Following {
  readonly listing: Listing<ServiceRow>;
  readonly isKnown: boolean;
  readonly stale: Stale | undefined;
  readonly failure: string | undefined;
}

/** The rows are in the listing, which changes in place; drawn anew once for each frame of the screen. */
function useServices(): Following {
  const [listing] = useState(() => new Listing(arrangementOf('', worstFirst)));
  const [{ isKnown, stale, failure }, change] = useReducer(
    (before: Omit<Following, 'listing'>, now: Partial<Following>) => ({ ...before, ...now }),
    { isKnown: false, stale: undefined, failure: undefined },
  );
  useEffect(() => {
    let frame: number | undefined;
    let latest: Stale | undefined;
    const stop = subscribe('services', {
      on: {
        services: ({ reset, set, gone, stale }: ServicesEvent) => {
          latest = stale;
          if (reset) listing.clear();
          listing.change(
            set.map((row) => [row.name, row]),
            gone,
          );
          frame ??= requestAnimationFrame(() => {
            frame = undefined;
            change({ isKnown: true, stale: latest, failure: undefined });
          });
        },
      },
      onLink: ({ kind }) => {
        // A refused event stream does not say why.
        if (kind === 'lost') void ask('v1/overview').then((asked) => change({ failure: asked.failure }));
      },
    });
    return () => {
      stop();
      if (frame !== undefined) cancelAnimationFrame(frame);
    };
  }, [listing]);
  return { listing, isKnown, stale, failure };
}

/** `nowMs` is the agent's clock. */
export function ServicesView({ nowMs }: { readonly nowMs: number }) {
  const { listing, isKnown, stale, failure } = useServices();
  const { filter, order = worstFirst, setFilter, setOrder } = useSearch();
  useMemo(() => listing.arrange(arrangementOf(filter, order)), [listing, filter, order.column, order.descending]);
  const { shown, size } = listing;
  return (
    <>
      <h2 tabIndex={-1} id="view">
        Services{' '}
        <span class="count">
          {isKnown && (shown.length === size ? count(size) : `${count(shown.length)} of ${count(size)}`)}
        </span>
      </h2>
      <StaleNote stale={stale} failure={failure} nowMs={nowMs} />
      <Filter
        id="find"
        label="Filter by service, realm or state"
        value={filter}
        change={setFilter}
        found={plural(shown.length, 'service')}
      />
      {!isKnown && failure === undefined && <p class="empty">Reading etcd …</p>}
      {useMemo(
        () =>
          isKnown && (
            <Table
              caption="Services in etcd"
              columns={columns}
              rows={shown}
              order={order}
              setOrder={setOrder}
              keyOf={keyOf}
              empty={filter.trim() === '' ? 'No service is in etcd.' : 'No service fits the filter.'}
            />
          ),
        [isKnown, shown, order.column, order.descending, filter],
      )}
    </>
  );
}
