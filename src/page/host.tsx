/**
 * The view of this host.
 *
 * Layout: four figures; below them two columns. Left, a filter over both lists, what is not published (grouped by reason, with
 * its remedy), and the table of services. Right, the charts and the facts about the agent.
 */
import { useMemo, useState } from 'preact/hooks';
import type { Container, Summary } from '../http/shapes.ts';
import { Churn, PublishLatency } from './chart.tsx';
import type { Here } from './here.ts';
import { ContainerName, containerFacts, Facts, Filter, Foreign, Mark, Meter, Section } from './parts.tsx';
import { matcher, type Problem, problemsOf, type ServiceRow, serviceRows, textsOf } from './rows.ts';
import { type Column, Table } from './table.tsx';
import { count, duration, plural, since } from './words.ts';

const columns: readonly Column<ServiceRow>[] = [
  { label: 'Service', sort: ({ name }) => name, cell: ({ name }) => <Foreign>{name}</Foreign> },
  { label: 'Address', sort: ({ url }) => url, cell: ({ url }) => <Foreign code>{url}</Foreign> },
  {
    label: 'Container',
    kind: 'spare',
    sort: ({ container, names }) => names.name || container,
    cell: ({ container, names }) => <ContainerName id={container} names={names} />,
  },
  { label: 'State', sort: ({ state }) => state, cell: ({ state }) => <State state={state} /> },
];
const columnsWithImage: typeof columns = [
  ...columns,
  {
    label: 'Image',
    kind: 'spare',
    sort: ({ names }) => names.image ?? '',
    cell: ({ names }) => (names.image ? <Foreign>{names.image}</Foreign> : '–'),
  },
];
const keyOf = ({ key }: ServiceRow): string => key;

const states: Readonly<
  Record<ServiceRow['state'], { readonly mark: 'good' | 'bad' | 'waiting'; readonly word: string }>
> = {
  published: { mark: 'good', word: 'published' },
  pending: { mark: 'waiting', word: 'pending' },
  unknown: { mark: 'waiting', word: 'unknown' },
  withheld: { mark: 'waiting', word: 'withheld' },
  refused: { mark: 'bad', word: 'refused' },
  failing: { mark: 'bad', word: 'failing' },
  quarantined: { mark: 'bad', word: 'quarantined' },
};

function State({ state }: { readonly state: ServiceRow['state'] }) {
  const { mark, word } = states[state];
  return (
    <span class="state">
      <Mark kind={mark} />
      {word}
    </span>
  );
}

function rowDetails({ key, url, container, names }: ServiceRow) {
  return (
    <Facts
      of={{
        'Key in etcd': <Foreign code>{key}</Foreign>,
        Value: <Foreign code>{url}</Foreign>,
        ...containerFacts(container, names),
        'Ask more': <code>discover why {container}</code>,
      }}
    />
  );
}

export function HostView({ here, summary }: { readonly here: Here; readonly summary: Summary }) {
  const [filter, setFilter] = useState('');
  const all = useMemo(() => listed(here.containers.values()), [here.revision]);
  const shown = useMemo(() => filtered(all, filter), [all, filter]);
  const hasImages = useMemo(() => all.rows.some(({ names }) => names.image), [all]);
  const { counts, health } = summary;
  const isKnown = health.lease.state !== 'unknown';
  const isListed = counts.running !== null;
  const found = `${plural(shown.rows.length, 'service')}, ${count(shown.entries)} not published`;
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
        <Figure name="not published" value={counts.refused + counts.failing + counts.quarantined} alerts />
      </dl>
      <div class="columns">
        <div class="lists">
          <Filter
            label="Filter by service, address, container or image"
            value={filter}
            change={setFilter}
            found={found}
          />
          <NotPublished problems={shown.problems} count={ofAll(shown.entries, all.entries)} />
          <Section
            title={
              <>
                Services <span class="count">{ofAll(shown.rows.length, all.rows.length)}</span>
              </>
            }
          >
            {useMemo(
              () => (
                <Table
                  caption="Services of this host"
                  columns={hasImages ? columnsWithImage : columns}
                  rows={shown.rows}
                  keyOf={keyOf}
                  details={rowDetails}
                  empty={emptyText(isFiltered, isListed)}
                />
              ),
              [shown.rows, hasImages, isFiltered, isListed],
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

interface Listed {
  readonly rows: readonly ServiceRow[];
  readonly problems: readonly Problem[];
  /** Of all problems. */
  readonly entries: number;
}

function listOf(rows: readonly ServiceRow[], problems: readonly Problem[]): Listed {
  return { rows, problems, entries: problems.reduce((sum, { entries }) => sum + entries.length, 0) };
}

function listed(containers: Iterable<Container>): Listed {
  const all = [...containers];
  return listOf(serviceRows(all), problemsOf(all));
}

function filtered(all: Listed, filter: string): Listed {
  if (filter.trim() === '') return all;
  const fits = matcher(filter);
  const problems = all.problems.map((problem) => ({
    ...problem,
    entries: problem.entries.filter(({ container, names, entry, detail }) =>
      fits(container, entry, detail, problem.title, ...textsOf(names)),
    ),
  }));
  return listOf(
    all.rows.filter(({ name, url, container, names }) => fits(name, url, container, ...textsOf(names))),
    problems.filter(({ entries }) => entries.length > 0),
  );
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

function NotPublished({ problems, count }: { readonly problems: readonly Problem[]; readonly count: string }) {
  if (problems.length === 0) return null;
  return (
    <Section
      title={
        <>
          Not published <span class="count">{count}</span>
        </>
      }
      class="problems"
    >
      {problems.map((problem) => (
        <ProblemGroup key={problem.code} problem={problem} />
      ))}
    </Section>
  );
}

const entriesAtOnce = 10;
const moreAtOnce = 100;

function ProblemGroup({ problem: { title, remedy, entries } }: { readonly problem: Problem }) {
  const [limit, setLimit] = useState(entriesAtOnce);
  return (
    <article>
      <h3>
        {title} <span class="count">{plural(entries.length, 'entry', 'entries')}</span>
      </h3>
      <p class="remedy">{remedy}</p>
      <ul>
        {entries.slice(0, limit).map(({ container, names, entry, detail }) => (
          <li key={`${container} ${entry}`}>
            <ContainerName id={container} names={names} />
            {entry !== '' && (
              <b>
                <Foreign code>{entry}</Foreign>
              </b>
            )}
            <Foreign>{detail}</Foreign>
          </li>
        ))}
      </ul>
      {entries.length > limit && (
        <button type="button" class="more" onClick={() => setLimit(limit + moreAtOnce)}>
          {plural(Math.min(moreAtOnce, entries.length - limit), 'more entry', 'more entries')}
        </button>
      )}
    </article>
  );
}

const checkNames: Readonly<Record<Summary['checks'][number]['name'], string>> = {
  docker: 'Event stream',
  listed: 'Initial list',
  lease: 'Lease',
  settled: 'Changes',
};

function Aside({ here, summary }: { readonly here: Here; readonly summary: Summary }) {
  const { checks, docker, etcd, mailboxes, now, oldestUnsettledSeconds: oldest, workers } = summary;
  const nowMs = Date.parse(now);
  const { leaseRemainingSeconds: left, ttlSeconds } = etcd;
  // The agent lists them in the order of their start, the sink first.
  const inDataOrder = [...mailboxes].reverse();
  const lastEvent = since(docker.lastEventAt, nowMs);
  return (
    <aside aria-label="The agent">
      <Churn history={here.history} />
      <PublishLatency history={here.history} />
      <Section title="Ready">
        <ul class="checks">
          {checks.map(({ name, ok, detail }) => (
            <li key={name}>
              <span class="quiet">{checkNames[name]}</span>
              <span>
                <Mark kind={ok ? 'good' : 'bad'} />
                <span class="unseen">{ok ? 'good: ' : 'missing: '}</span> <Foreign>{detail}</Foreign>
              </span>
            </li>
          ))}
        </ul>
      </Section>
      <Section title="Docker">
        <Facts
          of={{
            Connection: <Connected is={docker.connected} />,
            Engine: docker.engine === null ? undefined : <Foreign>{docker.engine}</Foreign>,
            API: docker.api === null ? undefined : <Foreign>{docker.api}</Foreign>,
            At: <Foreign code>{docker.endpoint}</Foreign>,
            'Last event': lastEvent === undefined ? 'none yet' : `${lastEvent} ago`,
            Reconnects: count(docker.reconnects),
          }}
        />
      </Section>
      <Section title="etcd">
        <Facts
          of={{
            Connection: <Connected is={etcd.connected} />,
            At: etcd.endpoints.map((endpoint) => (
              <div key={endpoint}>
                <Foreign code>{endpoint}</Foreign>
              </div>
            )),
            Lease:
              left === null ? (
                <span class="state">
                  <Mark kind="bad" />
                  none
                </span>
              ) : (
                <>
                  {Math.round(left)} of {ttlSeconds} s left
                  <Meter label="Lease" share={left / ttlSeconds} />
                </>
              ),
            Claims: count(etcd.claims),
            'Oldest unsettled': oldest === 0 ? 'none' : duration(oldest * 1000),
          }}
        />
      </Section>
      <Section title="Mailboxes">
        <table class="small">
          <thead>
            <tr>
              <th scope="col">Actor</th>
              <th scope="col" class="number">
                Waiting
              </th>
              <th scope="col" class="number">
                In flight
              </th>
            </tr>
          </thead>
          <tbody>
            {inDataOrder.map(({ name, waiting, inFlight }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{count(waiting)}</td>
                <td class="number">{count(inFlight)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Section>
      <Section title="Workers">
        <Facts
          of={{
            Threads: workers.max === 0 ? 'none: all on the main thread' : `${workers.threads} of ${workers.max}`,
            'In use': (
              <>
                {Math.round(workers.utilization * 100)} %
                <Meter label="In use" share={workers.utilization} />
              </>
            ),
            'Running for': duration(nowMs - Date.parse(summary.startedAt)),
          }}
        />
      </Section>
    </aside>
  );
}

function Connected({ is }: { readonly is: boolean }) {
  return (
    <span class="state">
      <Mark kind={is ? 'good' : 'bad'} />
      {is ? 'connected' : 'not connected'}
    </span>
  );
}
