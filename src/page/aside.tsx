/** How the agent of this host is: charts, readiness, connections, mailboxes, threads. */
import type { Summary } from '../http/shapes.ts';
import { Churn, PublishLatency } from './chart.tsx';
import type { Here } from './here.ts';
import { Facts, Foreign, Mark, Meter, Section } from './parts.tsx';
import { count, duration, since } from './words.ts';

const checkNames: Readonly<Record<Summary['checks'][number]['name'], string>> = {
  docker: 'Event stream',
  listed: 'Initial list',
  lease: 'Lease',
  settled: 'Changes',
};

export function Aside({ here, summary }: { readonly here: Here; readonly summary: Summary }) {
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
