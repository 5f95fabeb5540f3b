/** The fleet as etcd has it: every host and who writes for it, and the instances of one on demand. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { HostAnswer, HostInstance, HostRow, HostsAnswer, Stale } from '../http/shapes.ts';
import { follow } from './feed.ts';
import { Facts, Filter, Foreign, Mark, Section } from './parts.tsx';
import { matcher } from './rows.ts';
import { type Column, Table } from './table.tsx';
import { count, duration, plural, since } from './words.ts';

interface FleetProps {
  /** The agent's clock. */
  readonly nowMs: number;
  /** Another number after each connection that was lost. */
  readonly connection: number;
}

export const pathOfHost = (host: string): string => `#fleet/${encodeURIComponent(host)}`;

function stateOf({ alive, released }: HostRow): { readonly mark: 'good' | 'bad' | 'waiting'; readonly word: string } {
  if (released) return { mark: 'waiting', word: 'stopped in order' };
  return alive ? { mark: 'good', word: 'alive' } : { mark: 'bad', word: 'nobody writes' };
}

const keyOfHost = ({ host }: HostRow): string => host;

function hostColumns(nowMs: number): readonly Column<HostRow>[] {
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
      sort: (row) => stateOf(row).word,
      cell: (row) => (
        <span class="state">
          <Mark kind={stateOf(row).mark} />
          {stateOf(row).word}
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
          // An event stream that is refused does not say why.
          if (kind === 'lost') void ask('v1/hosts').then((asked) => setFailure(asked.failure));
        },
      }),
    [connection],
  );
  // Ages have a minute's use of a new column each, not a second's.
  const minute = Math.floor(nowMs / 60_000);
  const columns = useMemo(() => hostColumns(nowMs), [minute]);
  const hosts = answer?.hosts;
  const shown = useMemo(() => {
    const fits = matcher(filter);
    return hosts?.filter((row) => fits(row.host, row.ip ?? '', row.version ?? '', stateOf(row).word)) ?? [];
  }, [hosts, filter]);
  return (
    <>
      <h2 tabIndex={-1} id="view">
        Fleet
      </h2>
      <StaleNote stale={answer?.stale} failure={failure} />
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
            empty={filter.trim() === '' ? 'There is no host in etcd.' : 'No host fits the filter.'}
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
  return parts.join(', ') + (without === 0 ? '' : `; nobody writes for ${count(without)} of them`);
}

const instanceColumns: readonly Column<HostInstance>[] = [
  { label: 'Service', sort: ({ name }) => name, cell: ({ name }) => <Foreign>{name}</Foreign> },
  { label: 'Address', sort: ({ url }) => url, cell: ({ url }) => <Foreign code>{url}</Foreign> },
  { label: 'Realm', kind: 'spare', sort: ({ realm }) => realm, cell: ({ realm }) => <Foreign>{realm}</Foreign> },
  {
    label: 'Container',
    kind: 'spare',
    sort: ({ containerId }) => containerId,
    cell: ({ containerId }) => <Foreign code>{containerId}</Foreign>,
  },
];
const keyOfInstance = ({ key }: HostInstance): string => key;

function instanceDetails({ key, url, realm, containerId }: HostInstance) {
  return (
    <Facts
      of={{
        'Key in etcd': <Foreign code>{key}</Foreign>,
        Value: <Foreign code>{url}</Foreign>,
        Realm: <Foreign>{realm}</Foreign>,
        Container: <Foreign code>{containerId}</Foreign>,
      }}
    />
  );
}

/** etcd is asked again after so long, as long as somebody looks. */
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
        // What was there stays while there is no answer.
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
    return instances?.filter(({ name, url, realm, containerId }) => fits(name, url, realm, containerId)) ?? [];
  }, [instances, filter]);
  return (
    <>
      <nav class="trail" aria-label="Where you are">
        <a href="#fleet">Fleet</a>
      </nav>
      <h2 tabIndex={-1} id="view">
        <Foreign>{host}</Foreign>
      </h2>
      <StaleNote stale={asked?.answer?.stale} failure={asked?.failure} />
      {instances === undefined ? (
        asked?.failure === undefined && <p class="empty">Reading etcd …</p>
      ) : (
        <>
          <Filter
            label="Filter by service, address or container"
            value={filter}
            change={setFilter}
            found={plural(shown.length, 'instance')}
          />
          <Section title={plural(instances.length, 'instance')}>
            <Table
              caption="Instances of the host"
              columns={instanceColumns}
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

function StaleNote({ stale, failure }: { readonly stale: Stale | undefined; readonly failure: string | undefined }) {
  if (failure === undefined && stale === undefined) return null;
  return (
    <p class="note" role="status">
      <Mark kind="bad" />
      {stale === undefined
        ? 'There is no answer: '
        : `etcd cannot be followed for ${duration(stale.ageMs)}; this is what it last said: `}
      <Foreign>{failure ?? stale?.cause ?? ''}</Foreign>
    </p>
  );
}

interface Asked<Answer> {
  readonly answer: Answer | undefined;
  /** Why there is none. */
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
