/**
 * The view of the fleet, as etcd has it: all hosts.
 *
 * Layout: a heading, a note while the data is stale, a filter, a table. A state is shown as the last known one while the data
 * is stale.
 */
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { HostRow, HostsAnswer } from '../http/shapes.ts';
import { ask, StaleNote } from './ask.tsx';
import { matcher } from './listing.ts';
import { Filter, Foreign, Mark } from './parts.tsx';
import { hrefOf, useSearch } from './place.ts';
import { subscribe } from './subscribe.ts';
import { type Column, orderOf, Table, useArranged, worstFirst } from './table.tsx';
import { count, plural, since } from './words.ts';

interface HostState {
  readonly mark: 'good' | 'bad' | 'waiting';
  readonly word: string;
  /** The worst first. */
  readonly rank: number;
}

function stateOf({ alive, released }: HostRow, isStale: boolean): HostState {
  if (released) return { mark: 'waiting', word: 'stopped cleanly', rank: 1 };
  if (!alive) return { mark: 'bad', word: 'no owner', rank: 0 };
  return isStale ? { mark: 'waiting', word: 'last known alive', rank: 2 } : { mark: 'good', word: 'alive', rank: 2 };
}

const keyOfHost = ({ host }: HostRow): string => host;

function hostColumns(nowMs: number, isStale: boolean): readonly Column<HostRow>[] {
  const ageMs = ({ startedAt }: HostRow): number => nowMs - Date.parse(startedAt ?? '');
  return [
    {
      id: 'host',
      label: 'Host',
      sort: ({ host }) => host,
      cell: ({ host }) => (
        <a data-row="" href={hrefOf('fleet', host)}>
          <Foreign>{host}</Foreign>
        </a>
      ),
    },
    {
      id: 'state',
      label: 'State',
      sort: (row) => stateOf(row, isStale).rank,
      cell: (row) => (
        <span class="state">
          <Mark kind={stateOf(row, isStale).mark} />
          {stateOf(row, isStale).word}
        </span>
      ),
    },
    {
      id: 'address',
      label: 'Address',
      kind: 'spare',
      sort: ({ ip }) => ip ?? '',
      cell: ({ ip }) => (ip === null ? '–' : <Foreign code>{ip}</Foreign>),
    },
    {
      id: 'version',
      label: 'Version',
      kind: 'spare',
      sort: ({ version }) => version ?? '',
      cell: ({ version }) => (version === null ? '–' : <Foreign>{version}</Foreign>),
    },
    {
      id: 'age',
      label: 'Running for',
      sort: (row) => ageMs(row) || 0,
      cell: ({ startedAt }) => since(startedAt, nowMs) ?? '–',
    },
    {
      id: 'instances',
      label: 'Instances',
      kind: 'number',
      sort: ({ instances }) => instances,
      cell: ({ instances }) => count(instances),
    },
  ];
}

/** `nowMs` is the agent's clock. */
export function FleetView({ nowMs }: { readonly nowMs: number }) {
  const [answer, setAnswer] = useState<HostsAnswer>();
  const [failure, setFailure] = useState<string>();
  const { filter, order = worstFirst, setFilter, setOrder } = useSearch();
  useEffect(
    () =>
      subscribe('hosts', {
        on: {
          hosts: (hosts: HostsAnswer) => {
            setAnswer(hosts);
            setFailure(undefined);
          },
        },
        onLink: ({ kind }) => {
          // A refused event stream does not say why.
          if (kind === 'lost') void ask('v1/hosts').then((asked) => setFailure(asked.failure));
        },
      }),
    [],
  );
  // Ages change by the minute: the columns are not made anew each second.
  const minute = Math.floor(nowMs / 60_000);
  const isStale = answer?.stale !== undefined || failure !== undefined;
  const columns = useMemo(() => hostColumns(nowMs, isStale), [minute, isStale]);
  const hosts = answer?.hosts;
  const fits = matcher(filter);
  const arrangement = {
    ...orderOf(columns, order),
    fits: (row: HostRow) => fits(row.host, row.ip ?? '', row.version ?? '', stateOf(row, isStale).word),
    next: keyOfHost,
  };
  const shown = useArranged(hosts, keyOfHost, arrangement, columns, filter, order.column, order.descending);
  return (
    <>
      <h2 tabIndex={-1} id="view">
        Fleet
      </h2>
      <StaleNote stale={answer?.stale} failure={failure} nowMs={nowMs} />
      {hosts === undefined ? (
        failure === undefined && <p class="empty">Reading etcd …</p>
      ) : (
        <>
          <p class="lead">{summaryOf(hosts)}</p>
          <Filter
            label="Filter by host, address, version or state"
            value={filter}
            change={setFilter}
            found={plural(shown.length, 'host')}
          />
          <Table
            caption="Hosts in etcd"
            columns={columns}
            rows={shown}
            order={order}
            setOrder={setOrder}
            keyOf={keyOfHost}
            empty={filter.trim() === '' ? 'No host is in etcd.' : 'No host fits the filter.'}
          />
        </>
      )}
    </>
  );
}

function summaryOf(hosts: readonly HostRow[]): string {
  const instances = hosts.reduce((sum, host) => sum + host.instances, 0);
  const versions = new Set(hosts.flatMap(({ version }) => version ?? []));
  const without = hosts.filter(({ alive, released }) => !alive && !released).length;
  const parts = [plural(hosts.length, 'host'), plural(instances, 'instance'), plural(versions.size, 'version')];
  return parts.join(', ') + (without === 0 ? '' : `; ${count(without)} without an owner`);
}
