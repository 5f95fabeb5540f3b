/** The state of the agent, for people: read from the agent at each request. The shapes are in `shapes.ts`. */

import type { Agent } from '../agent.ts';
import { outages, refusals as reasons, withheld } from '../container/refusals.ts';
import { ourValue } from '../layout/held.ts';
import { nameOf } from '../lifecycle/state.ts';
import { total } from '../metrics.ts';
import type { TrafficReport } from '../reconcile/conditions.ts';
import { namesOf } from '../reconcile/reports.ts';
import { version } from '../version.ts';
import type { Check, Container, ContainerState, LifecycleState, Summary } from './shapes.ts';

/** Above this age of a change, in seconds, the agent is not ready: twice the default `etcd.ttl`, and the default `resync`. */
const unsettledMaxSeconds = 60;

/** The checks that readers of etcd find the containers that run here. */
export function checksOf(agent: Agent): Check[] {
  const { metrics, state, health } = agent;
  const waitingSeconds = Math.round(agent.ledger.oldestUnsettledSeconds());
  return [
    { name: 'docker', ok: metrics.docker.isUp, detail: health.docker.summary },
    {
      name: 'listed',
      ok: state.isListed,
      detail: state.isListed ? `${metrics.running} containers run` : 'Docker has not been listed yet',
    },
    { name: 'lease', ok: (state.leaseRemainingSeconds ?? 0) > 0, detail: health.lease.summary },
    {
      name: 'settled',
      ok: waitingSeconds <= unsettledMaxSeconds,
      detail:
        waitingSeconds === 0
          ? 'no container waits to be written to etcd'
          : `the oldest unsettled container waits for ${waitingSeconds} s, ready up to ${unsettledMaxSeconds} s`,
    },
  ];
}

export function summaryOf(agent: Agent): Summary {
  const { config, ledger, metrics, conditions, state } = agent;
  const checks = checksOf(agent);
  const { endpoint } = config.docker;
  let services = 0;
  let published = 0;
  for (const shortId of agent.isPublishedKnown ? ledger.containers() : []) {
    const held = ledger.observed(shortId);
    let own = 0;
    for (const key of held.keys()) if (isService(agent, key)) own++;
    if (own > 0) published++;
    services += own;
  }
  let refused = 0;
  let failing = 0;
  for (const [, condition] of conditions) {
    refused += condition.refusals?.length ?? 0;
    if (condition.failing !== undefined) failing++;
  }
  const { publishSeconds: latency } = metrics;
  return {
    version,
    startedAt: new Date(agent.startedAt).toISOString(),
    now: new Date().toISOString(),
    host: { id: config.host.id, realm: config.host.realm, ip: agent.host.ip, ip6: agent.host.ip6 ?? null },
    prefix: config.etcd.prefix,
    ready: checks.every(({ ok }) => ok),
    checks,
    health: agent.health,
    oldestUnsettledSeconds: agent.ledger.oldestUnsettledSeconds(),
    docker: {
      connected: metrics.docker.isUp,
      engine: metrics.engine?.version ?? null,
      api: metrics.engine?.api.replace(/^\/v/, '') || null,
      endpoint: endpoint.kind === 'socket' ? endpoint.path : `${endpoint.host}:${endpoint.port}`,
      lastEventAt: metrics.lastEventAt > 0 ? new Date(metrics.lastEventAt * 1000).toISOString() : null,
      reconnects: total(metrics.streamEnds),
    },
    etcd: {
      connected: metrics.etcd.isUp,
      endpoints: config.etcd.endpoints,
      leaseRemainingSeconds: state.leaseRemainingSeconds ?? null,
      ttlSeconds: config.etcd.ttlSeconds,
      claims: metrics.claims,
    },
    mailboxes: state.mailboxes,
    workers: { threads: state.pool.threads, max: state.pool.threadsMax, utilization: state.pool.utilization },
    counts: {
      running: state.isListed ? metrics.running : null,
      published,
      services,
      refused,
      failing,
      quarantined: metrics.quarantined,
    },
    totals: {
      events: total(metrics.events),
      transactions: metrics.transactions,
      operations: total(metrics.operations),
      published: metrics.published,
      unpublished: metrics.unpublished,
      refusals: total(metrics.refusals),
    },
    latency: {
      buckets: latency.cumulative(),
      count: latency.count,
      sumSeconds: latency.sumSeconds,
    },
  };
}

/** All containers with keys or conditions. A container that runs and advertises nothing is not among them. */
export function* containersOf(agent: Agent): Generator<Container> {
  const ids = new Set([...agent.ledger.containers(), ...[...agent.conditions].map(([shortId]) => shortId)]);
  for (const shortId of ids) {
    const container = containerOf(agent, shortId);
    if (container !== undefined) yield container;
  }
}

export function containerOf(agent: Agent, shortId: string): Container | undefined {
  const { ledger, conditions } = agent;
  const condition = conditions.get(shortId);
  const observed = ledger.observed(shortId);
  const desired = ledger.desired(shortId);
  if (condition === undefined && observed.size === 0 && (desired ?? observed).size === 0) return undefined;
  const isKnown = agent.isPublishedKnown;
  const services = [];
  for (const key of new Set([...(desired?.keys() ?? []), ...observed.keys()])) {
    if (!isService(agent, key)) continue;
    const held = ourValue(observed.get(key));
    const wanted = desired === undefined ? held : desired.get(key);
    const name = agent.layout.nameOf(key) as string;
    services.push({
      name,
      key,
      url: wanted ?? held ?? '',
      published: isKnown && held !== undefined && held === wanted,
    });
  }
  const { quarantined, failing, refusals = [], traffic } = condition ?? {};
  const { name = null, image = null, compose = null } = namesOf(agent, shortId) ?? {};
  return {
    id: shortId,
    ...{ name, image, compose },
    state: stateOf(agent, shortId),
    lifecycle: lifecycleOf(agent, shortId),
    services,
    refusals: refusals.map(({ code, entry, detail }) => ({ code, entry, detail, remedy: reasons[code].remedy })),
    traffic: traffic
      ? {
          reason: traffic.reason,
          published: traffic.isPublished,
          since: new Date(traffic.since).toISOString(),
          until: traffic.until === undefined ? null : new Date(traffic.until).toISOString(),
          remedy: withheld[traffic.reason].remedy,
          ...(traffic.maintenance && { maintenance: maintenanceOf(traffic.maintenance) }),
        }
      : null,
    outage:
      quarantined !== undefined
        ? { detail: quarantined, remedy: outages.quarantined.remedy }
        : failing !== undefined
          ? { detail: failing, remedy: outages.failing.remedy }
          : null,
  };
}

function stateOf(agent: Agent, shortId: string): ContainerState {
  const { ledger, conditions, isPublishedKnown } = agent;
  const condition = conditions.get(shortId);
  if (condition?.quarantined !== undefined) return 'quarantined';
  if (condition?.failing !== undefined) return 'failing';
  if (!isPublishedKnown && ledger.observed(shortId).size > 0) return 'unknown';
  if (ledger.changes(shortId).length > 0) return 'pending';
  // A container that is withheld may have its state in etcd, and nothing else.
  for (const key of ledger.observed(shortId).keys()) if (isService(agent, key)) return 'published';
  return condition?.traffic?.isPublished === false ? 'withheld' : 'refused';
}

function maintenanceOf({ mark, isOfHost }: NonNullable<TrafficReport['maintenance']>) {
  return {
    by: mark.by ?? null,
    reason: mark.reason ?? null,
    of: isOfHost ? ('host' as const) : ('container' as const),
  };
}

/** A container without a remembered state has gone. */
function lifecycleOf({ states }: Agent, shortId: string): LifecycleState {
  const state = states.get(shortId);
  return state === undefined ? 'gone' : nameOf(state);
}

const isService = ({ layout }: Agent, key: string): boolean => layout.nameOf(key) !== undefined;
