/**
 * Instances as etcd has them: those of one service, and those of one host.
 *
 * Layout of both: the way back, a heading, a note while the data is stale, a filter, a table with details to open.
 */
import type { ComponentChildren } from 'preact';
import { useMemo } from 'preact/hooks';
import type { HostAnswer, HostInstance, ServiceAnswer } from '../http/shapes.ts';
import { type Asked, StaleNote, useAnswer } from './ask.tsx';
import { matcher } from './listing.ts';
import { ContainerName, Copied, containerFacts, Facts, Filter, Foreign, Mark, Section } from './parts.tsx';
import { hrefOf, useSearch } from './place.ts';
import { type ContainerNames, textsOf } from './rows.ts';
import { type Column, orderOf, Table, useArranged, worstFirst } from './table.tsx';
import { count, foreign, plural } from './words.ts';

type InstanceColumn = Column<HostInstance>;

const service: InstanceColumn = {
  id: 'service',
  label: 'Service',
  sort: ({ name }) => name,
  cell: ({ name }) => <Foreign>{name}</Foreign>,
};
const address: InstanceColumn = {
  id: 'address',
  label: 'Address',
  sort: ({ url }) => url,
  cell: ({ url }) => <Foreign code>{url}</Foreign>,
};
const hostColumn: InstanceColumn = {
  id: 'host',
  label: 'Host',
  sort: ({ host }) => host,
  cell: ({ host }) => <a href={hrefOf('fleet', host)}>{foreign(host)}</a>,
};
const realmColumn: InstanceColumn = {
  id: 'realm',
  label: 'Realm',
  kind: 'spare',
  sort: ({ realm }) => realm,
  cell: ({ realm }) => <Foreign>{realm}</Foreign>,
};
const stateColumn: InstanceColumn = {
  id: 'state',
  label: 'State',
  // The worst first.
  sort: ({ state = 'ready' }) => (state === 'ready' ? 1 : 0),
  cell: ({ state = 'ready' }) => (
    <span class="state">
      <Mark kind={state === 'ready' ? 'good' : 'waiting'} />
      <Foreign>{state}</Foreign>
    </span>
  ),
};
const weightColumn: InstanceColumn = {
  id: 'weight',
  label: 'Weight',
  kind: 'number spare',
  sort: ({ weight = -1 }) => weight,
  cell: ({ weight }) => (weight === undefined ? '–' : count(weight)),
};
const namesColumns: readonly InstanceColumn[] = [
  {
    id: 'container',
    label: 'Container',
    kind: 'spare',
    sort: ({ container, containerId }) => container ?? containerId,
    cell: (row) => <ContainerName id={row.containerId} names={namesOf(row)} />,
  },
  {
    id: 'image',
    label: 'Image',
    kind: 'spare',
    sort: ({ image }) => image ?? '',
    cell: ({ image }) => (image === undefined ? '–' : <Foreign>{image}</Foreign>),
  },
];
const columnsOfHost: readonly InstanceColumn[] = [service, address, stateColumn, realmColumn, ...namesColumns];
const columnsOfService: readonly InstanceColumn[] = [
  address,
  hostColumn,
  stateColumn,
  weightColumn,
  realmColumn,
  ...namesColumns,
];

const keyOfInstance = ({ key }: HostInstance): string => key;

const namesOf = ({ container, image, compose }: HostInstance): ContainerNames => ({
  ...(container !== undefined && { name: container }),
  ...(image !== undefined && { image }),
  ...(compose !== undefined && { compose }),
});

/** Each as `<name>=<value>`. */
const attributesOf = ({ attributes = {} }: HostInstance): string[] =>
  Object.entries(attributes).map(([name, value]) => `${name}=${value}`);

function instanceDetails(row: HostInstance) {
  const { name, host, key, url, realm, containerId, zone, weight, priority, tags, privatePort, state } = row;
  const attributes = attributesOf(row);
  return (
    <Facts
      of={{
        'Key in etcd': <Copied of="key">{key}</Copied>,
        Value: <Copied of="value">{url}</Copied>,
        Host: <a href={hrefOf('fleet', host)}>{foreign(host)}</a>,
        Service: <a href={hrefOf('services', name)}>{foreign(name)}</a>,
        Realm: <Foreign>{realm}</Foreign>,
        Zone: zone === undefined ? undefined : <Foreign>{zone}</Foreign>,
        Weight: weight,
        Priority: priority,
        Tags: tags === undefined ? undefined : <Foreign>{tags.join(', ')}</Foreign>,
        Attributes: attributes.length === 0 ? undefined : <Lines of={attributes} />,
        ...containerFacts(containerId, namesOf(row)),
        'Private port': privatePort,
        State: state === undefined ? undefined : <Foreign>{state}</Foreign>,
      }}
    />
  );
}

function Lines({ of }: { readonly of: readonly string[] }) {
  return of.map((line) => (
    <div key={line}>
      <Foreign code>{line}</Foreign>
    </div>
  ));
}

function instanceFits(row: HostInstance, fits: ReturnType<typeof matcher>): boolean {
  const { name, host, url, realm, containerId, zone = '', tags = [], weight, state = 'ready' } = row;
  const says = [...tags, ...attributesOf(row), weight === undefined ? '' : `weight=${weight}`];
  return fits(name, host, url, realm, containerId, zone, state, ...says, ...textsOf(namesOf(row)));
}

export function FleetHostView({ host }: { readonly host: string }) {
  return (
    <InstancesView
      asked={useAnswer<HostAnswer>(`v1/hosts/${encodeURIComponent(host)}`)}
      back={<a href="#fleet">Fleet</a>}
      heading={host}
      caption="Instances of the host"
      columns={columnsOfHost}
      label="Filter by service, container or attribute"
      empty="Nothing of this host is in etcd."
    />
  );
}

export function ServiceView({ name }: { readonly name: string }) {
  return (
    <InstancesView
      asked={useAnswer<ServiceAnswer>(`v1/services/${encodeURIComponent(name)}?states`)}
      back={<a href="#services">Services</a>}
      heading={name}
      caption="Instances of the service"
      columns={columnsOfService}
      label="Filter by host, container or attribute"
      empty="No instance of this service is in etcd."
    />
  );
}

interface InstancesProps {
  readonly asked: Asked<HostAnswer | ServiceAnswer> | undefined;
  readonly back: ComponentChildren;
  readonly heading: string;
  readonly caption: string;
  readonly columns: readonly InstanceColumn[];
  readonly label: string;
  readonly empty: string;
}

function InstancesView({ asked, back, heading, caption, columns, label, empty }: InstancesProps) {
  const { filter, order = worstFirst, setFilter, setOrder } = useSearch();
  const instances = asked?.answer?.instances;
  const fits = useMemo(() => matcher(filter), [filter]);
  const arrangement = {
    ...orderOf(columns, order),
    fits: (row: HostInstance) => instanceFits(row, fits),
    next: ({ name, host }: HostInstance) => `${name} ${host}`,
  };
  const shown = useArranged(instances, keyOfInstance, arrangement, filter, order.column, order.descending);
  return (
    <>
      <nav class="trail" aria-label="Where you are">
        {back}
      </nav>
      <h2 tabIndex={-1} id="view">
        <Foreign>{heading}</Foreign>
      </h2>
      <StaleNote stale={asked?.answer?.stale} failure={asked?.failure} nowMs={Date.now()} />
      {instances === undefined ? (
        asked?.failure === undefined && <p class="empty">Reading etcd …</p>
      ) : (
        <>
          <Filter label={label} value={filter} change={setFilter} found={plural(shown.length, 'instance')} />
          <Section title={plural(instances.length, 'instance')}>
            <Table
              caption={caption}
              columns={columns}
              rows={shown}
              order={order}
              setOrder={setOrder}
              keyOf={keyOfInstance}
              details={instanceDetails}
              empty={filter.trim() === '' ? empty : 'No instance fits the filter.'}
            />
          </Section>
        </>
      )}
    </>
  );
}
