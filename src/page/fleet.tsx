/**
 * The views of the fleet, as etcd has it: all hosts, and the instances of one.
 *
 * Layout of both: a heading, a note while the data is stale, a filter, a table. A state is shown as the last known one while
 * the data is stale.
 */
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { HostAnswer, HostInstance, HostRow, HostsAnswer, Stale } from '../http/shapes.ts';
import { follow } from './feed.ts';
import { ContainerName, containerFacts, Facts, Filter, Foreign, Mark, Section } from './parts.tsx';
import { type ContainerNames, matcher, textsOf } from './rows.ts';
import { type Column, Table } from './table.tsx';
import { count, duration, plural, since } from './words.ts';

interface FleetProps {
  /** The agent's clock. */
  readonly nowMs: number;
  /** Another number after each connection that was lost. */
  readonly connection: number;
}

export const pathOfHost = (host: string): string => `#fleet/${encodeURIComponent(host)}`;

interface HostState {
  readonly mark: 'good' | 'bad' | 'waiting';
  readonly word: string;
}

function stateOf({ alive, released }: HostRow, isStale: boolean): HostState {
  if (released) return { mark: 'waiting', word: 'stopped cleanly' };
  if (!alive) return { mark: 'bad', word: 'no owner' };
  return isStale ? { mark: 'waiting', word: 'last known alive' } : { mark: 'good', word: 'alive' };
}

const keyOfHost = ({ host }: HostRow): string => host;

function hostColumns(nowMs: number, isStale: boolean): readonly Column<HostRow>[] {
  const ageMs = ({ startedAt }: HostRow): number => nowMs - Date.parse(startedAt ?? '');
  return [
    {
      label: 'Host',
      sort: ({ host }) => host,
      cell: ({ host }) => (
        <a data-row="" href={pathOfHost(host)}>
          <Foreign>{host}</Foreign>
        </a>
      ),
    },
    {
      label: 'State',
      sort: (row) => stateOf(row, isStale).word,
      cell: (row) => (
        <span class="state">
          <Mark kind={stateOf(row, isStale).mark} />
          {stateOf(row, isStale).word}
        </span>
      ),
    },
    {
      label: 'Address',
      kind: 'spare',
      sort: ({ ip }) => ip ?? '',
      cell: ({ ip }) => (ip === null ? '–' : <Foreign code>{ip}</Foreign>),
    },
    {
      label: 'Version',
      sort: ({ version }) => version ?? '',
      cell: ({ version }) => (version === null ? '–' : <Foreign>{version}</Foreign>),
    },
    {
      label: 'Running for',
      sort: (row) => ageMs(row) || 0,
      cell: ({ startedAt }) => since(startedAt, nowMs) ?? '–',
    },
    {
      label: 'Instances',
      kind: 'number',
      sort: ({ instances }) => instances,
      cell: ({ instances }) => count(instances),
    },
  ];
}

export function FleetView({ nowMs, connection }: FleetProps) {
  const [answer, setAnswer] = useState<HostsAnswer>();
  const [failure, setFailure] = useState<string>();
  const [filter, setFilter] = useState('');
  useEffect(
    () =>
      follow({
        path: 'v1/hosts?watch',
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
    [connection],
  );
  // Ages change by the minute: the columns are not made anew each second.
  const minute = Math.floor(nowMs / 60_000);
  const isStale = answer?.stale !== undefined || failure !== undefined;
  const columns = useMemo(() => hostColumns(nowMs, isStale), [minute, isStale]);
  const hosts = answer?.hosts;
  const shown = useMemo(() => {
    const fits = matcher(filter);
    return hosts?.filter((row) => fits(row.host, row.ip ?? '', row.version ?? '', stateOf(row, isStale).word)) ?? [];
  }, [hosts, filter, isStale]);
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

const instanceColumns: readonly Column<HostInstance>[] = [
  { label: 'Service', sort: ({ name }) => name, cell: ({ name }) => <Foreign>{name}</Foreign> },
  { label: 'Address', sort: ({ url }) => url, cell: ({ url }) => <Foreign code>{url}</Foreign> },
  { label: 'Realm', kind: 'spare', sort: ({ realm }) => realm, cell: ({ realm }) => <Foreign>{realm}</Foreign> },
  {
    label: 'Container',
    kind: 'spare',
    sort: ({ container, containerId }) => container ?? containerId,
    cell: (row) => <ContainerName id={row.containerId} names={namesOf(row)} />,
  },
];
const stateColumn: Column<HostInstance> = {
  label: 'State',
  sort: ({ state }) => state ?? 'ready',
  cell: ({ state = 'ready' }) => (
    <span class="state">
      <Mark kind={state === 'ready' ? 'good' : 'waiting'} />
      <Foreign>{state}</Foreign>
    </span>
  ),
};
const imageColumns: typeof instanceColumns = [
  {
    label: 'Image',
    kind: 'spare',
    sort: ({ image }) => image ?? '',
    cell: ({ image }) => (image === undefined ? '–' : <Foreign>{image}</Foreign>),
  },
];
/** Columns for what at least one of them tells. */
function columnsFor(instances: readonly HostInstance[]): readonly Column<HostInstance>[] {
  return [
    ...instanceColumns,
    ...(instances.some(({ image }) => image !== undefined) ? imageColumns : []),
    ...(instances.some(({ state }) => state !== undefined) ? [stateColumn] : []),
  ];
}

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
  const { key, url, realm, containerId, zone, weight, priority, tags, privatePort, state } = row;
  const attributes = attributesOf(row);
  return (
    <Facts
      of={{
        'Key in etcd': <Foreign code>{key}</Foreign>,
        Value: <Foreign code>{url}</Foreign>,
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
  const { name, url, realm, containerId, zone = '', tags = [], weight, state = 'ready' } = row;
  const says = [...tags, ...attributesOf(row), weight === undefined ? '' : `weight=${weight}`];
  return fits(name, url, realm, containerId, zone, state, ...says, ...textsOf(namesOf(row)));
}

/** The time between two requests of a visible page. */
const refreshMs = 5_000;

export function FleetHostView({ host }: { readonly host: string }) {
  const [asked, setAsked] = useState<Asked<HostAnswer>>();
  const [filter, setFilter] = useState('');
  useEffect(() => {
    let isOver = false;
    let timer: number | undefined;
    const refresh = async (): Promise<void> => {
      if (!document.hidden) {
        const next = await ask<HostAnswer>(`v1/hosts/${encodeURIComponent(host)}`);
        // The last answer stays while there is no new one.
        if (!isOver) setAsked((before) => ({ answer: next.answer ?? before?.answer, failure: next.failure }));
      }
      if (!isOver) timer = setTimeout(refresh, refreshMs);
    };
    setAsked(undefined);
    void refresh();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [host]);
  const instances = asked?.answer?.instances;
  const shown = useMemo(() => {
    const fits = matcher(filter);
    return instances?.filter((row) => instanceFits(row, fits)) ?? [];
  }, [instances, filter]);
  const columns = useMemo(() => columnsFor(instances ?? []), [instances]);
  return (
    <>
      <nav class="trail" aria-label="Where you are">
        <a href="#fleet">Fleet</a>
      </nav>
      <h2 tabIndex={-1} id="view">
        <Foreign>{host}</Foreign>
      </h2>
      <StaleNote stale={asked?.answer?.stale} failure={asked?.failure} nowMs={Date.now()} />
      {instances === undefined ? (
        asked?.failure === undefined && <p class="empty">Reading etcd …</p>
      ) : (
        <>
          <Filter
            label="Filter by service, container or attribute"
            value={filter}
            change={setFilter}
            found={plural(shown.length, 'instance')}
          />
          <Section title={plural(instances.length, 'instance')}>
            <Table
              caption="Instances of the host"
              columns={columns}
              rows={shown}
              keyOf={keyOfInstance}
              details={instanceDetails}
              empty={filter.trim() === '' ? 'Nothing of this host is in etcd.' : 'No instance fits the filter.'}
            />
          </Section>
        </>
      )}
    </>
  );
}

interface StaleNoteProps {
  readonly stale: Stale | undefined;
  /** The reason why there is no answer at all. */
  readonly failure: string | undefined;
  readonly nowMs: number;
}

function StaleNote({ stale, failure, nowMs }: StaleNoteProps) {
  if (failure === undefined && stale === undefined) return null;
  return (
    <p class="note" role="status">
      <Mark kind="bad" />
      {stale === undefined
        ? 'No answer: '
        : `etcd last answered ${since(stale.since, nowMs) ?? duration(stale.ageMs)} ago, showing the last known state: `}
      <Foreign>{failure ?? stale?.cause ?? ''}</Foreign>
    </p>
  );
}

interface Asked<Answer> {
  readonly answer: Answer | undefined;
  /** The reason why there is no answer. */
  readonly failure: string | undefined;
}

async function ask<Answer>(path: string): Promise<Asked<Answer>> {
  try {
    const response = await fetch(path);
    const body = await response.json();
    if (response.ok) return { answer: body as Answer, failure: undefined };
    return { answer: undefined, failure: String((body as { error?: unknown }).error ?? response.status) };
  } catch (error) {
    return { answer: undefined, failure: error instanceof Error ? error.message : String(error) };
  }
}
