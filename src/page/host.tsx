/**
 * The view of this host.
 *
 * Layout: four figures; below them two columns. Left, a filter over both lists, what is not published (grouped by reason, with
 * its remedy), and the table of services. Right, the charts and the facts about the agent.
 */
import { useMemo } from 'preact/hooks';
import type { Summary } from '../http/shapes.ts';
import { Aside } from './aside.tsx';
import type { Here } from './here.ts';
import { ContainerName, Copied, containerFacts, Facts, Filter, Foreign, Mark, Section } from './parts.tsx';
import { hrefOf, useSearch } from './place.ts';
import { NotPublished } from './problems.tsx';
import type { OfferRow } from './rows.ts';
import { type Column, orderOf, Table, worstFirst } from './table.tsx';
import { count, plural } from './words.ts';

type State = OfferRow['state'];

/** The worst first. */
const states: Readonly<Record<State, { readonly mark: 'good' | 'bad' | 'waiting'; readonly rank: number }>> = {
  quarantined: { mark: 'bad', rank: 0 },
  failing: { mark: 'bad', rank: 1 },
  refused: { mark: 'bad', rank: 2 },
  withheld: { mark: 'waiting', rank: 3 },
  unknown: { mark: 'waiting', rank: 4 },
  pending: { mark: 'waiting', rank: 5 },
  published: { mark: 'good', rank: 6 },
};

const columns: readonly Column<OfferRow>[] = [
  { id: 'service', label: 'Service', sort: ({ name }) => name, cell: ({ name }) => <Foreign>{name}</Foreign> },
  { id: 'address', label: 'Address', sort: ({ url }) => url, cell: ({ url }) => <Foreign code>{url}</Foreign> },
  {
    id: 'container',
    label: 'Container',
    kind: 'spare',
    sort: ({ container, names }) => names.name || container,
    cell: ({ container, names }) => <ContainerName id={container} names={names} />,
  },
  {
    id: 'state',
    label: 'State',
    sort: ({ state }) => states[state].rank,
    cell: ({ state }) => (
      <span class="state">
        <Mark kind={states[state].mark} />
        {state}
      </span>
    ),
  },
  {
    id: 'image',
    label: 'Image',
    kind: 'spare',
    sort: ({ names }) => names.image ?? '',
    cell: ({ names }) => (names.image ? <Foreign>{names.image}</Foreign> : '–'),
  },
];
const keyOf = ({ key }: OfferRow): string => key;

function rowDetails({ name, key, url, container, names }: OfferRow) {
  return (
    <Facts
      of={{
        'Key in etcd': <Copied of="key">{key}</Copied>,
        Value: <Copied of="value">{url}</Copied>,
        ...containerFacts(container, names),
        'On all hosts': <a href={hrefOf('services', name)}>instances of this service</a>,
        'Ask more': <code>discover why {container}</code>,
      }}
    />
  );
}

export function HostView({ here, summary }: { readonly here: Here; readonly summary: Summary }) {
  const { filter, order = worstFirst, setFilter, setOrder } = useSearch();
  const { containers } = here;
  useMemo(
    () => containers.arrange(filter, orderOf(columns, order)),
    [containers, filter, order.column, order.descending],
  );
  const { offers, problems } = containers;
  const entries = problems.reduce((sum, problem) => sum + problem.entries.length, 0);
  const { counts, health } = summary;
  const isKnown = health.lease.state !== 'unknown';
  const isListed = counts.running !== null;
  const isFiltered = filter.trim() !== '';
  return (
    <>
      <h2 class="unseen" tabIndex={-1} id="view">
        This host
      </h2>
      <dl class="figures">
        <Figure name="running" value={counts.running} />
        <Figure name="published" value={isKnown ? counts.published : null} />
        <Figure name="service keys" value={isKnown ? counts.services : null} />
        <Figure name="not published" value={containers.problemsInAll} alerts />
      </dl>
      <div class="columns">
        <div class="lists">
          <Filter
            label="Filter by service, address, container or image"
            value={filter}
            change={setFilter}
            found={`${plural(offers.length, 'service')}, ${count(entries)} not published`}
          />
          <NotPublished problems={problems} count={ofAll(entries, containers.problemsInAll)} />
          <Section
            title={
              <>
                Services <span class="count">{ofAll(offers.length, containers.offersInAll)}</span>
              </>
            }
          >
            {useMemo(
              () => (
                <Table
                  caption="Services of this host"
                  columns={columns}
                  rows={offers}
                  order={order}
                  setOrder={setOrder}
                  keyOf={keyOf}
                  details={rowDetails}
                  empty={emptyText(isFiltered, isListed)}
                />
              ),
              [offers, order.column, order.descending, filter, isListed],
            )}
          </Section>
        </div>
        <Aside here={here} summary={summary} />
      </div>
    </>
  );
}

function emptyText(isFiltered: boolean, isListed: boolean): string {
  if (isFiltered) return 'No service fits the filter.';
  return isListed ? 'No container that runs here advertises a service.' : 'Docker has not been listed yet.';
}

const ofAll = (shown: number, all: number): string => (shown === all ? count(all) : `${count(shown)} of ${count(all)}`);

function Figure({
  name,
  value,
  alerts = false,
}: {
  readonly name: string;
  /** Null: not known. */
  readonly value: number | null;
  readonly alerts?: boolean;
}) {
  return (
    <div class={alerts && value !== null && value > 0 ? 'alert' : undefined}>
      <dt>{name}</dt>
      <dd>{value === null ? 'unknown' : count(value)}</dd>
    </div>
  );
}
