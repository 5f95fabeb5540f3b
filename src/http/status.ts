/** What the agent is doing, for people: read from the agent whenever somebody asks. The shapes are in `shapes.ts`. */

import type { Agent } from '../agent.ts';
import { total } from '../metrics.ts';
import { version } from '../version.ts';
import { remedyOf } from '../why/explain.ts';
import type { Check, Container, ContainerState, Summary } from './shapes.ts';

const remedies = {
  unreadable: 'Ask the engine itself: docker inspect. Until it answers, what is published of the container stays',
  parked: 'See discover doctor: etcd is out of space, or the role of its user lacks something. It is tried again',
};

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
  const { config, ledger, metrics, remarks, state } = agent;
  const checks = checksOf(agent);
  const { endpoint } = config.docker;
  let services = 0;
  let published = 0;
  for (const short of ledger.containers()) {
    const held = ledger.observed(short);
    if (held.size > 0) published++;
    for (const key of held.keys()) if (isService(agent, key)) services++;
  }
  let refused = 0;
  let unreadable = 0;
  for (const [, remark] of remarks) {
    refused += remark.refusals?.length ?? 0;
    if (remark.unreadable !== undefined) unreadable++;
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
    counts: { running: metrics.running, published, services, refused, unreadable, parked: metrics.parked },
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
  const ids = new Set([...agent.ledger.containers(), ...[...agent.remarks].map(([short]) => short)]);
  for (const short of ids) {
    const container = containerOf(agent, short);
    if (container !== undefined) yield container;
  }
}

export function containerOf(agent: Agent, short: string): Container | undefined {
  const { ledger, remarks } = agent;
  const remark = remarks.get(short);
  const observed = ledger.observed(short);
  const desired = ledger.desired(short) ?? observed;
  if (remark === undefined && observed.size === 0 && desired.size === 0) return undefined;
  const services = [];
  for (const [key, url] of [...desired, ...[...observed].filter(([key]) => !desired.has(key))]) {
    if (!isService(agent, key)) continue;
    const held = observed.get(key);
    const name = agent.layout.nameOf(key) as string;
    services.push({ name, key, url: url ?? '', published: held !== undefined && held === desired.get(key) });
  }
  const { parked, unreadable, refusals = [] } = remark ?? {};
  return {
    id: short,
    state: stateOf(agent, short),
    services,
    refusals: refusals.map(({ code, entry, detail }) => ({ code, entry, detail, remedy: remedyOf(code) })),
    trouble:
      parked !== undefined
        ? { detail: parked, remedy: remedies.parked }
        : unreadable !== undefined
          ? { detail: unreadable, remedy: remedies.unreadable }
          : null,
  };
}

function stateOf({ ledger, remarks }: Agent, short: string): ContainerState {
  const remark = remarks.get(short);
  if (remark?.parked !== undefined) return 'parked';
  if (remark?.unreadable !== undefined) return 'unreadable';
  if (ledger.changes(short).length > 0) return 'pending';
  return ledger.observed(short).size > 0 ? 'published' : 'refused';
}

const isService = ({ layout }: Agent, key: string): boolean => layout.nameOf(key) !== undefined;
