/**
 * `/metrics`: what is counted, as Prometheus reads it. prom-client writes the text and adds what it knows of the
 * process; our own figures are read when they are asked for, so that counting costs the agent nothing more.
 *
 * No id of a container, host or lease is ever a label, and every series is there from the start, at zero.
 */

import { collectDefaultMetrics, type Metric, Registry } from 'prom-client';
import type { Agent } from '../agent.ts';
import { Histogram } from '../metrics.ts';
import { builtFrom, version } from '../version.ts';

type Labels = Readonly<Record<string, string>>;
interface Sample {
  readonly value: number;
  readonly labels?: Labels;
  readonly metricName?: string;
}

/** Late by how much a timer was, each time. */
const loopCheckMs = 250;
const loopBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

export interface Exposition {
  readonly contentType: string;
  text(): Promise<string>;
  close(): void;
}

/** What the process knows beside the agent. */
export interface Surroundings {
  readonly streams: () => number;
  readonly reload: { readonly isSuccessful: boolean; readonly at: number };
}

export function exposition(agent: Agent, surroundings: Surroundings): Exposition {
  const registry = new Registry();
  // Its own watch over the event loop wakes the process a hundred times a second, which is most of what an idle discover
  // would do. Ours is below.
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

  const family = (type: 'gauge' | 'counter' | 'histogram', name: string, help: string, read: () => Sample[]) => {
    const metric = { name: `discover_${name}`, help, type, get: async () => ({ ...metric, values: read() }) };
    registry.registerMetric(metric as unknown as Metric);
  };
  const one = (type: 'gauge' | 'counter', name: string, help: string, read: () => number) =>
    family(type, name, help, () => [{ value: read() }]);
  const each = (type: 'gauge' | 'counter', name: string, help: string, label: string, read: () => Counts) =>
    family(type, name, help, () => samples(label, read()));
  const timing = (name: string, help: string, read: () => Histogram) =>
    family('histogram', name, help, () => buckets(`discover_${name}`, read()));
  const { metrics } = agent;
  const revision = builtFrom();

  family('gauge', 'build_info', 'The version that runs; always 1', () => [{ value: 1, labels: { version, revision } }]);
  one('gauge', 'docker_connected', 'Whether the event stream is open', () => Number(metrics.dockerConnected));
  each('counter', 'docker_events_total', 'Events that asked for something', 'action', () => metrics.events);
  each(
    'counter',
    'docker_stream_reconnects_total',
    'Event streams that ended, by what ended them',
    'reason',
    () => metrics.streamEnds,
  );
  one(
    'gauge',
    'docker_last_event_timestamp_seconds',
    'Time of the newest event by the clock of the engine',
    () => metrics.lastEventAt,
  );
  each(
    'gauge',
    'containers',
    'Containers of this host: running, and what became of those that advertise',
    'state',
    () => statesOf(agent),
  );
  one('gauge', 'services_desired', 'Instances that should be in etcd', () => servicesOf(agent).desired);
  one('gauge', 'services_published', 'Instances of this host that are in etcd', () => servicesOf(agent).published);
  each('gauge', 'services_unresolved', 'Entries of running containers that are not published', 'reason', () =>
    refusedOf(agent),
  );
  each(
    'counter',
    'refusals_total',
    'Entries that were not published when their container started',
    'reason',
    () => metrics.refusals,
  );
  one('counter', 'published_total', 'Containers that appeared in etcd or changed there', () => metrics.published);
  one('counter', 'unpublished_total', 'Containers that were taken from etcd', () => metrics.unpublished);
  timing('publish_latency_seconds', 'From the event of the engine to the commit in etcd', () => metrics.publishSeconds);
  timing(
    'inspect_duration_seconds',
    'One task of the pool, in which containers are inspected',
    () => metrics.taskSeconds,
  );
  one('gauge', 'etcd_connected', 'Whether etcd answered when it was last asked', () => Number(metrics.etcdConnected));
  family('counter', 'etcd_requests_total', 'Calls of etcd', () =>
    Object.entries(metrics.etcdCalls).flatMap(([op, { ok, refused, unavailable }]) =>
      samples('outcome', { ok, refused, unavailable }, { op }),
    ),
  );
  family('histogram', 'etcd_request_duration_seconds', 'Calls of etcd; op="commit" are the transactions', () =>
    Object.entries(metrics.etcdCalls).flatMap(([op, { seconds }]) =>
      buckets('discover_etcd_request_duration_seconds', seconds, { op }),
    ),
  );
  each('counter', 'operations_total', 'Keys written and deleted in transactions', 'op', () => metrics.operations);
  one(
    'gauge',
    'lease_remaining_seconds',
    'Until the keys of this host end; 0 while no lease is held',
    () => agent.state.leaseRemainingSeconds ?? 0,
  );
  one('gauge', 'lease_ttl_seconds', 'What the lease is renewed to', () => agent.config.etcd.ttlSeconds);
  one('counter', 'lease_lost_total', 'Leases that had ended when they were to be renewed', () => metrics.leasesLost);
  one(
    'counter',
    'claims_total',
    'Claims of the owner key: one at the start, one after each doubt',
    () => metrics.claims,
  );
  family('counter', 'reconcile_total', 'Comparisons of what runs with what is published', () =>
    Object.entries(metrics.lists).flatMap(([trigger, outcomes]) => samples('outcome', outcomes, { trigger })),
  );
  timing('reconcile_duration_seconds', 'To list what runs', () => metrics.listSeconds);
  each(
    'counter',
    'drift_repaired_total',
    'Comparisons with etcd that found something other than was written',
    'kind',
    () => metrics.drift,
  );
  family('gauge', 'queue_depth', 'Messages that wait for a part', () =>
    agent.state.mailboxes.map(({ name, waiting }) => ({ value: waiting, labels: { mailbox: name } })),
  );
  one('gauge', 'pool_threads', 'Inspection threads that run', () => agent.state.pool.threads);
  one('gauge', 'pool_threads_max', 'Inspection threads there may be', () => agent.state.pool.threadsMax);
  one(
    'gauge',
    'pool_utilization_ratio',
    'Share of the time that as many threads were busy',
    () => agent.state.pool.utilization,
  );
  family('histogram', 'event_loop_delay_seconds', 'By how much a timer of the main thread was late', () =>
    buckets('discover_event_loop_delay_seconds', loopSeconds),
  );
  one('gauge', 'config_last_reload_successful', 'Whether the configuration could be used when it was last read', () =>
    Number(surroundings.reload.isSuccessful),
  );
  one(
    'gauge',
    'config_last_reload_success_timestamp_seconds',
    'When a configuration was last taken',
    () => surroundings.reload.at / 1000,
  );
  one('gauge', 'http_streams', 'Event streams that are being read', () => surroundings.streams());

  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    close() {
      clearInterval(timer);
      registry.clear();
    },
  };
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

function statesOf({ ledger, metrics, conditions }: Agent): Counts {
  let [published, pending, unreadable] = [0, 0, 0];
  for (const shortId of ledger.containers()) {
    if (ledger.observed(shortId).size > 0) published++;
    if (ledger.changes(shortId).length > 0) pending++;
  }
  for (const [, condition] of conditions) if (condition.unreadable !== undefined) unreadable++;
  return { running: metrics.running, published, pending, unreadable, quarantined: metrics.quarantined };
}

function servicesOf({ layout, ledger }: Agent): { desired: number; published: number } {
  let [desired, published] = [0, 0];
  for (const shortId of ledger.containers()) {
    for (const key of ledger.desired(shortId)?.keys() ?? []) if (layout.nameOf(key) !== undefined) desired++;
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
