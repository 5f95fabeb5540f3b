/** What the agent is doing, for people: read from the agent whenever somebody asks. The shapes are in `shapes.ts`. */

import type { Agent } from '../agent.ts';
import { outages, refusals as reasons } from '../container/refusals.ts';
import { total } from '../metrics.ts';
import { version } from '../version.ts';
import type { Check, Container, ContainerState, Summary } from './shapes.ts';

export function checksOf({ metrics, state, config }: Agent): Check[] {
  const { isListed, leaseRemainingSeconds: left } = state;
  return [
    {
      name: 'docker',
      ok: metrics.dockerConnected,
      detail: metrics.dockerConnected ? `engine ${metrics.engine?.version}` : 'no event stream',
    },
    { name: 'listed', ok: isListed, detail: isListed ? `${metrics.running} containers run` : 'not yet' },
    {
      name: 'lease',
      ok: (left ?? 0) > 0,
      detail: left === undefined ? 'not held' : `${Math.round(left)} s left of ${config.etcd.ttlSeconds}`,
    },
  ];
}

export function summaryOf(agent: Agent): Summary {
  const { config, ledger, metrics, conditions, state } = agent;
  const checks = checksOf(agent);
  const { endpoint } = config.docker;
  let services = 0;
  let published = 0;
  for (const shortId of ledger.containers()) {
    const held = ledger.observed(shortId);
    if (held.size > 0) published++;
    for (const key of held.keys()) if (isService(agent, key)) services++;
  }
  let refused = 0;
  let unreadable = 0;
  for (const [, condition] of conditions) {
    refused += condition.refusals?.length ?? 0;
    if (condition.unreadable !== undefined) unreadable++;
  }
  const { publishSeconds: latency } = metrics;
  return {
    version,
    startedAt: new Date(agent.startedAt).toISOString(),
    now: new Date().toISOString(),
    host: { id: config.host.id, realm: config.host.realm, ip: config.host.ip },
    prefix: config.etcd.prefix,
    ready: checks.every(({ ok }) => ok),
    checks,
    docker: {
      connected: metrics.dockerConnected,
      engine: metrics.engine?.version ?? null,
      api: metrics.engine?.api.replace(/^\/v/, '') || null,
      endpoint: endpoint.kind === 'socket' ? endpoint.path : `${endpoint.host}:${endpoint.port}`,
      lastEventAt: metrics.lastEventAt > 0 ? new Date(metrics.lastEventAt * 1000).toISOString() : null,
      reconnects: total(metrics.streamEnds),
    },
    etcd: {
      connected: metrics.etcdConnected,
      endpoints: config.etcd.endpoints,
      leaseRemainingSeconds: state.leaseRemainingSeconds ?? null,
      ttlSeconds: config.etcd.ttlSeconds,
      claims: metrics.claims,
    },
    mailboxes: state.mailboxes,
    workers: { threads: state.pool.threads, max: state.pool.threadsMax, utilization: state.pool.utilization },
    counts: { running: metrics.running, published, services, refused, unreadable, quarantined: metrics.quarantined },
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

/** All containers of which there is anything to say. One that runs and advertises nothing is none of them. */
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
  const desired = ledger.desired(shortId) ?? observed;
  if (condition === undefined && observed.size === 0 && desired.size === 0) return undefined;
  const services = [];
  for (const [key, url] of [...desired, ...[...observed].filter(([key]) => !desired.has(key))]) {
    if (!isService(agent, key)) continue;
    const held = observed.get(key);
    const name = agent.layout.nameOf(key) as string;
    services.push({ name, key, url: url ?? '', published: held !== undefined && held === desired.get(key) });
  }
  const { quarantined, unreadable, refusals = [] } = condition ?? {};
  return {
    id: shortId,
    state: stateOf(agent, shortId),
    services,
    refusals: refusals.map(({ code, entry, detail }) => ({ code, entry, detail, remedy: reasons[code].remedy })),
    outage:
      quarantined !== undefined
        ? { detail: quarantined, remedy: outages.quarantined.remedy }
        : unreadable !== undefined
          ? { detail: unreadable, remedy: outages.unreadable.remedy }
          : null,
  };
}

function stateOf({ ledger, conditions }: Agent, shortId: string): ContainerState {
  const condition = conditions.get(shortId);
  if (condition?.quarantined !== undefined) return 'quarantined';
  if (condition?.unreadable !== undefined) return 'unreadable';
  if (ledger.changes(shortId).length > 0) return 'pending';
  return ledger.observed(shortId).size > 0 ? 'published' : 'refused';
}

const isService = ({ layout }: Agent, key: string): boolean => layout.nameOf(key) !== undefined;
