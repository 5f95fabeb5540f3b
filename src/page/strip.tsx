/**
 * The strip on top of every view: the knowledge of Docker, etcd and the lease.
 *
 * Layout: three cells in a row, each a mark, the name and one line. A part that is not known has a block of its own below:
 * since when, the last error, what follows, what to do. The words are the agent's (`health.ts` there), so the page cannot
 * differ from `/status` and the log. The address of the host has a cell only while it is not found. While the page itself has no connection, nothing in the strip is green.
 */
import type { Health, PartHealth, Summary } from '../http/shapes.ts';
import { Facts, Foreign, Mark } from './parts.tsx';
import { since } from './words.ts';

const names: Readonly<Record<keyof Health, string>> = {
  docker: 'Docker',
  etcd: 'etcd',
  lease: 'Lease',
  host: 'Host address',
};
const parts = ['docker', 'etcd', 'lease'] as const satisfies readonly (keyof Health)[];

export function HealthStrip({ summary, isLive }: { readonly summary: Summary; readonly isLive: boolean }) {
  const { health, now } = summary;
  const nowMs = Date.parse(now);
  const lost = parts.filter((part) => health[part].state !== 'known');
  const { host } = health;
  return (
    <section class="strip" aria-label="Health">
      <ul>
        {parts.map((part) => (
          <Cell key={part} name={names[part]} health={health[part]} nowMs={nowMs} isLive={isLive} />
        ))}
        {host !== undefined && <Cell name={names.host} health={host} nowMs={nowMs} isLive={isLive} />}
      </ul>
      {lost.map((part) => (
        <Explanation key={part} name={names[part]} health={health[part]} nowMs={nowMs} />
      ))}
      {host !== undefined && <Explanation name={names.host} health={host} nowMs={nowMs} />}
    </section>
  );
}

interface CellProps {
  readonly name: string;
  readonly health: PartHealth;
  readonly nowMs: number;
  readonly isLive: boolean;
}

function Cell({ name, health, nowMs, isLive }: CellProps) {
  const isKnown = health.state === 'known' && isLive;
  const forSoLong = since(health.since, nowMs);
  return (
    <li class={isKnown ? 'known' : 'amber'}>
      <Mark kind={isKnown ? 'good' : 'waiting'} /> <b>{name}</b>{' '}
      <Foreign>{isLive ? health.summary : `last known: ${health.summary}`}</Foreign>
      {forSoLong !== undefined && <span class="quiet"> for {forSoLong}</span>}
    </li>
  );
}

function Explanation({ name, health, nowMs }: Omit<CellProps, 'isLive'>) {
  const moment = health.since === null ? undefined : new Date(health.since);
  return (
    <div class="explanation">
      <Facts
        of={{
          [name]: health.state === 'stale' ? 'last known state' : 'unknown',
          Since:
            moment === undefined ? undefined : (
              <>
                <time dateTime={moment.toISOString()}>{moment.toLocaleTimeString()}</time>, for{' '}
                {since(health.since, nowMs)}
              </>
            ),
          'Last error': health.cause === null ? undefined : <Foreign>{health.cause}</Foreign>,
          Consequence: health.consequence === null ? undefined : <Foreign>{health.consequence}</Foreign>,
          Remedy: health.remedy === null ? undefined : <Foreign>{health.remedy}</Foreign>,
        }}
      />
    </div>
  );
}
