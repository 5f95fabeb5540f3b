/**
 * `/metrics`: the agent's counters in Prometheus's format. prom-client writes the text and adds the metrics of the process;
 * our own figures are read at each scrape, so that counting costs the agent nothing more.
 *
 * No id of a container, host or lease is ever a label. Every series is there from the start, at zero. The number of
 * published containers is 0 once the lease has run out by our own clock: see `health.ts`.
 */

import { collectDefaultMetrics, type Metric, Registry } from 'prom-client';
import type { Agent } from '../agent.ts';
import { nameOf, type StateName, stateNames } from '../lifecycle/state.ts';
import { Histogram } from '../metrics.ts';
import { builtFrom, version } from '../version.ts';

type Labels = Readonly<Record<string, string>>;
interface Sample {
  readonly value: number;
  readonly labels?: Labels;
  readonly metricName?: string;
}

/** Timer lateness per sample. */
const loopCheckMs = 250;
const loopBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

export interface Exposition {
  readonly contentType: string;
  text(): Promise<string>;
  close(): void;
}

/** Facts of the process that the agent does not have. */
export interface Surroundings {
  readonly streams: () => number;
  readonly reload: { readonly isSuccessful: boolean; readonly at: number };
  /** Undefined: DNS is off. */
  readonly dns?: () => { readonly outcomes: Counts } | undefined;
}

export function exposition(agent: Agent, surroundings: Surroundings): Exposition {
  const registry = new Registry();
  // prom-client's own monitor of the event loop wakes the process a hundred times a second, most of the work of an idle
  // discover. Our monitor is below.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 60_000 });
  const lags = registry.getMetricsAsArray().map(({ name }) => name);
  for (const name of lags) if (name.startsWith('nodejs_eventloop_lag')) registry.removeSingleMetric(name);
  const loopSeconds = new Histogram(loopBounds);
  let checkedAt = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    loopSeconds.observe((now - checkedAt - loopCheckMs) / 1000);
    checkedAt = now;
  }, loopCheckMs).unref();

  const families = new Families(registry);
  dockerFamilies(families, agent);
  containerFamilies(families, agent);
  etcdFamilies(families, agent);
  leaseFamilies(families, agent);
  hostFamilies(families, agent);
  poolFamilies(families, agent);
  processFamilies(families, loopSeconds, surroundings);

  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    close() {
      clearInterval(timer);
      registry.clear();
    },
  };
}

/** Families of metrics whose values are read at each scrape. */
class Families {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  family(type: 'gauge' | 'counter' | 'histogram', name: string, help: string, read: () => Sample[]): void {
    const metric = { name: `discover_${name}`, help, type, get: async () => ({ ...metric, values: read() }) };
    this.#registry.registerMetric(metric as unknown as Metric);
  }

  gauge(name: string, help: string, read: () => number): void {
    this.family('gauge', name, help, () => [{ value: read() }]);
  }

  counter(name: string, help: string, read: () => number): void {
    this.family('counter', name, help, () => [{ value: read() }]);
  }

  /** One series for each value of a label. */
  each(type: 'gauge' | 'counter', name: string, help: string, label: string, read: () => Counts): void {
    this.family(type, name, help, () => samples(label, read()));
  }

  timing(name: string, help: string, read: () => Histogram): void {
    this.family('histogram', name, help, () => buckets(`discover_${name}`, read()));
  }
}

function dockerFamilies(families: Families, { metrics }: Agent): void {
  families.gauge('docker_connected', 'Whether the Docker event stream is open', () => Number(metrics.docker.isUp));
  families.each('counter', 'docker_events_total', 'Docker events that triggered work', 'action', () => metrics.events);
  families.each(
    'counter',
    'docker_stream_reconnects_total',
    'Docker event streams that ended, by the reason',
    'reason',
    () => metrics.streamEnds,
  );
  families.gauge(
    'docker_last_event_timestamp_seconds',
    "Time of the newest event by the engine's clock",
    () => metrics.lastEventAt,
  );
  families.family('counter', 'reconcile_total', 'Container lists, by trigger and outcome', () =>
    Object.entries(metrics.lists).flatMap(([trigger, outcomes]) => samples('outcome', outcomes, { trigger })),
  );
  families.timing('reconcile_duration_seconds', 'Duration of a container list', () => metrics.listSeconds);
}

function containerFamilies(families: Families, agent: Agent): void {
  const { metrics } = agent;
  families.each(
    'gauge',
    'containers',
    'Containers of this host by life cycle (starting, ready, draining, paused, unhealthy, held, maintenance, failing, gone), running, and by what etcd has of them; published is 0 once the lease has expired',
    'state',
    () => statesOf(agent),
  );
  families.each(
    'gauge',
    'maintenance',
    'Decisions of people that take this host, or one of its containers, out of traffic',
    'of',
    () => ({ host: agent.maintenance.host === undefined ? 0 : 1, container: agent.maintenance.containers.size }),
  );
  families.gauge('services_desired', 'Instances that should be in etcd', () => servicesOf(agent).desired);
  families.gauge(
    'services_published',
    'Instances of this host known to be in etcd; 0 once the lease has expired',
    () => servicesOf(agent).published,
  );
  families.gauge(
    'oldest_unsettled_seconds',
    'Age of the oldest change of a container that is not in etcd yet; 0 if none waits',
    () => agent.ledger.oldestUnsettledSeconds(),
  );
  families.each('gauge', 'services_unresolved', 'Entries of running containers that are not published', 'reason', () =>
    refusedOf(agent),
  );
  families.each(
    'counter',
    'refusals_total',
    'Entries that were refused when their container started',
    'reason',
    () => metrics.refusals,
  );
  families.counter('published_total', 'Containers that appeared in etcd or changed there', () => metrics.published);
  families.counter('unpublished_total', 'Containers that were removed from etcd', () => metrics.unpublished);
  families.timing(
    'publish_latency_seconds',
    "Time from the engine's event to the commit in etcd",
    () => metrics.publishSeconds,
  );
}

function etcdFamilies(families: Families, { metrics }: Agent): void {
  families.gauge('etcd_connected', 'Whether etcd answered the last call', () => Number(metrics.etcd.isUp));
  families.family('counter', 'etcd_requests_total', 'etcd calls, by operation and outcome', () =>
    Object.entries(metrics.etcdCalls).flatMap(([op, { ok, refused, unavailable }]) =>
      samples('outcome', { ok, refused, unavailable }, { op }),
    ),
  );
  families.family(
    'histogram',
    'etcd_request_duration_seconds',
    'Duration of etcd calls; op="commit" are the transactions',
    () =>
      Object.entries(metrics.etcdCalls).flatMap(([op, { seconds }]) =>
        buckets('discover_etcd_request_duration_seconds', seconds, { op }),
      ),
  );
  families.each(
    'counter',
    'operations_total',
    'Keys written and deleted in transactions',
    'op',
    () => metrics.operations,
  );
  families.each(
    'counter',
    'drift_repaired_total',
    'Comparisons with etcd that found something else than was written',
    'kind',
    () => metrics.drift,
  );
}

function leaseFamilies(families: Families, agent: Agent): void {
  const { metrics } = agent;
  families.gauge(
    'lease_remaining_seconds',
    'Seconds until the lease expires; 0 while no lease is held',
    () => agent.state.leaseRemainingSeconds ?? 0,
  );
  families.gauge('lease_ttl_seconds', 'Time to live of the lease', () => agent.config.etcd.ttlSeconds);
  families.counter('lease_lost_total', 'Leases that had expired before a renewal', () => metrics.leasesLost);
  families.counter(
    'claims_total',
    'Claims of the owner key: one at the start, one after each verification of the ownership',
    () => metrics.claims,
  );
}

function hostFamilies(families: Families, agent: Agent): void {
  families.counter(
    'host_address_changes_total',
    'Changes of the addresses of this host since the start',
    () => agent.metrics.hostAddressChanges,
  );
  families.gauge('host_address_missing', 'Whether the address of this host is not found', () =>
    Number(agent.host.missingSince !== undefined),
  );
}

function poolFamilies(families: Families, agent: Agent): void {
  families.timing('inspect_duration_seconds', 'Duration of an inspection task', () => agent.metrics.taskSeconds);
  families.family('gauge', 'queue_depth', 'Messages waiting in each mailbox', () =>
    agent.state.mailboxes.map(({ name, waiting }) => ({ value: waiting, labels: { mailbox: name } })),
  );
  families.gauge('pool_threads', 'Inspection threads that run', () => agent.state.pool.threads);
  families.gauge('pool_threads_max', 'Upper limit of inspection threads', () => agent.state.pool.threadsMax);
  families.gauge(
    'pool_utilization_ratio',
    'Share of the time that the inspection threads were busy, 0 to 1',
    // The first sample of a thread may lie outside.
    () => Math.min(1, Math.max(0, agent.state.pool.utilization)),
  );
}

function processFamilies(families: Families, loopSeconds: Histogram, { dns, reload, streams }: Surroundings): void {
  const revision = builtFrom();
  families.family('gauge', 'build_info', 'The running version; always 1', () => [
    { value: 1, labels: { version, revision: revision } },
  ]);
  families.timing('event_loop_delay_seconds', 'Event loop delay', () => loopSeconds);
  families.gauge('config_last_reload_successful', 'Whether the configuration was usable when it was last read', () =>
    Number(reload.isSuccessful),
  );
  families.gauge(
    'config_last_reload_success_timestamp_seconds',
    'When a configuration was last accepted',
    () => reload.at / 1000,
  );
  families.gauge('http_streams', 'Event streams with a reader', streams);
  if (dns?.() === undefined) return;
  families.each('counter', 'dns_queries_total', 'Queries over DNS, by outcome', 'outcome', () => dns()?.outcomes ?? {});
}

type Counts = Readonly<Record<string, number>>;

function samples(label: string, counts: Counts, labels: Labels = {}): Sample[] {
  return Object.entries(counts).map(([name, value]) => ({ value, labels: { ...labels, [label]: name } }));
}

function buckets(name: string, histogram: Histogram, labels: Labels = {}): Sample[] {
  const { count, sumSeconds } = histogram;
  const below = [...histogram.cumulative(), ['+Inf', count] as const];
  return [
    ...below.map(([le, value]) => ({ value, labels: { ...labels, le: String(le) }, metricName: `${name}_bucket` })),
    { value: sumSeconds, labels, metricName: `${name}_sum` },
    { value: count, labels, metricName: `${name}_count` },
  ];
}

function statesOf({ layout, ledger, metrics, states, isPublishedKnown }: Agent): Counts {
  const lifeCycle = Object.fromEntries(stateNames.map((name) => [name, 0])) as Record<StateName, number>;
  for (const state of states.values()) lifeCycle[nameOf(state)]++;
  let published = 0;
  let unknown = 0;
  let pending = 0;
  for (const shortId of ledger.containers()) {
    // A container that is withheld may have its state in etcd, and nothing else.
    if ([...ledger.observed(shortId).keys()].some((key) => layout.nameOf(key) !== undefined)) {
      if (isPublishedKnown) published++;
      else unknown++;
    }
    if (ledger.changes(shortId).length > 0) pending++;
  }
  return { ...lifeCycle, running: metrics.running, published, unknown, pending, quarantined: metrics.quarantined };
}

function servicesOf({ layout, ledger, isPublishedKnown }: Agent): { desired: number; published: number } {
  let desired = 0;
  let published = 0;
  for (const shortId of ledger.containers()) {
    for (const key of ledger.desired(shortId)?.keys() ?? []) if (layout.nameOf(key) !== undefined) desired++;
    if (!isPublishedKnown) continue;
    for (const key of ledger.observed(shortId).keys()) if (layout.nameOf(key) !== undefined) published++;
  }
  return { desired, published };
}

function refusedOf({ metrics, conditions }: Agent): Counts {
  const counts: Record<string, number> = Object.fromEntries(Object.keys(metrics.refusals).map((code) => [code, 0]));
  for (const [, { refusals = [] }] of conditions) {
    for (const { code } of refusals) counts[code] = (counts[code] ?? 0) + 1;
  }
  return counts;
}
