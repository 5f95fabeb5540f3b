/**
 * The demo: discover at its job, for a person to see. `discover demo [--seconds N] [--docker]`; the command loads this file.
 *
 * Everything is real that can be real here: etcd where it is installed (else the tests' in-memory
 * registry), and with `--docker` the machine's Docker Engine (else the simulated engine, with services
 * of its own coming and going). Each line is a change that etcd has taken: `+ name  address  id` for
 * an address that appeared, `- name  address  id` for one that is gone.
 *
 * Nothing of the machine's own is touched: etcd is started privately and deleted afterwards, and from
 * Docker discover only reads.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../src/actor/clock.ts';
import { type Agent, createAgent } from '../src/agent.ts';
import type { Options } from '../src/config/file-options.ts';
import { resolveConfig } from '../src/config/resolve.ts';
import { readSources } from '../src/config/sources.ts';
import { DockerClient, type DockerEndpoint } from '../src/docker/docker.ts';
import { EtcdRegistry } from '../src/etcd/cluster.ts';
import type { Registry } from '../src/etcd/registry.ts';
import { openLog } from '../src/log.ts';
import type { Publication } from '../src/reconcile/publications.ts';
import { startEtcd } from '../test/helpers/etcd.ts';
import { findCommand } from '../test/helpers/run.ts';
import { MemoryRegistry } from '../test/sim/registry.ts';
import { Engine } from './engine/engine.ts';

export interface DemoOptions {
  readonly seconds: number;
  /** Whether to watch the machine's own engine. */
  readonly isReal: boolean;
}

/** What there is to clean up, last first. */
const cleanups: (() => unknown)[] = [];
const stopped = new AbortController();

export async function runDemo(options: DemoOptions): Promise<void> {
  const stop = (): void => stopped.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop);
  try {
    await demo(options);
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, stop);
  }
}

async function demo({ seconds, isReal }: DemoOptions): Promise<void> {
  const etcd = findCommand('etcd') && (await privateEtcd());
  const docker = isReal ? await findDocker() : await simulatedDocker('simulated, API 1.52');
  const options: Options = {
    docker: docker.options,
    etcd: { ...(etcd && { endpoints: [etcd] }), prefix: '/discover', ttl: 10 },
    host: { id: hostname(), realm: 'demo', ...(docker.ip !== undefined && { ip: docker.ip }) },
  };
  const { config } = await resolveConfig(readSources({ options }));
  const { log } = await openLog({ level: 'error' });
  const registry: Registry = etcd ? new EtcdRegistry(config.etcd) : new MemoryRegistry(systemClock);

  console.log(`Docker Engine: ${docker.what}`);
  console.log(`etcd:          ${etcd ? `real, private, at ${etcd}` : 'in memory (etcd is not installed here)'}`);
  if (etcd) console.log(`read it with:  ETCDCTL_API=3 etcdctl --endpoints ${etcd} get --prefix /discover/service/`);
  if (docker.hint) console.log(docker.hint);
  console.log('');

  const agent = createAgent(config, { log, registry });
  cleanups.push(() => agent.stop());
  print(agent);
  // From here on there is something to see, however long the start took.
  if (Number.isFinite(seconds)) setTimeout(() => stopped.abort(), seconds * 1000).unref();
  const failed = agent.ended.then((cause) => {
    if (cause !== undefined) throw cause;
  });
  await Promise.race([failed, docker.animate(stopped.signal), aborted(stopped.signal)]);
  const { transactions, operations, inspections, events } = agent.metrics;
  const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0);
  console.log(
    `\n${sum(events)} events, ${inspections} inspections, ${sum(operations)} keys in ${transactions} transactions`,
  );
}

/** One line for each address that came or went; a moved port is both. */
function print(agent: Agent): void {
  const shown = new Map<string, ReadonlyMap<string, string>>();
  const show = ({ id, addresses }: Publication) => {
    const before = shown.get(id) ?? new Map<string, string>();
    for (const [key, url] of before) if (addresses.get(key) !== url) line('-', key, url, id);
    for (const [key, url] of addresses) if (before.get(key) !== url) line('+', key, url, id);
    if (addresses.size > 0) shown.set(id, addresses);
    else shown.delete(id);
  };
  agent.on('publish', show);
  agent.on('unpublish', show);
}

function line(sign: '+' | '-', key: string, url: string, id: string): void {
  const name = key.split('/')[3] ?? '';
  console.log(`${sign} ${name}  ${url}  ${id}`);
}

interface DemoDocker {
  readonly what: string;
  readonly options: NonNullable<Options['docker']>;
  /** The address to publish where the machine's own would mean nothing. */
  readonly ip?: string;
  readonly hint?: string;
  /** Makes something happen until the demo is over. */
  animate(signal: AbortSignal): Promise<void>;
}

async function findDocker(): Promise<DemoDocker> {
  const { config } = await resolveConfig(
    readSources({ options: { host: { ip: '192.0.2.1', id: 'demo' } }, env: process.env }),
  );
  const { endpoint } = config.docker;
  const engine = await new DockerClient(endpoint, undefined, systemClock).negotiate().catch(() => undefined);
  if (engine !== undefined) {
    return {
      what: `real, ${engine.serverVersion}, at ${addressOf(endpoint)}`,
      options:
        endpoint.kind === 'socket' ? { socketPath: endpoint.path } : { host: endpoint.host, port: endpoint.port },
      hint: 'try:           docker run --rm -e DISCOVER=web:80 -p 80 IMAGE',
      animate: aborted,
    };
  }
  return simulatedDocker(`simulated, API 1.52 (no engine answers at ${addressOf(endpoint)})`);
}

async function simulatedDocker(what: string): Promise<DemoDocker> {
  const directory = mkdtempSync(path.join(tmpdir(), 'discover-demo-'));
  const socketPath = path.join(directory, 'docker.sock');
  const engine = new Engine({ api: '1.52' });
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  await engine.listen({ socketPath });
  cleanups.push(() => engine.close());
  return {
    what,
    options: { socketPath },
    ip: '10.0.0.5',
    animate: (signal) => animate(engine, signal),
  };
}

/** A small host's day in fast motion: containers start, live a while, restart, stop. */
async function animate(engine: Engine, signal: AbortSignal): Promise<void> {
  const advertisements = ['web:8080/tcp', 'api:3000/tcp, metrics:9100/tcp', 'dns:53/tcp, dns:53/udp', 'stats:8125/udp'];
  const running: string[] = [];
  for (let turn = 0; !signal.aborted; turn++) {
    const advertisement = advertisements[turn % advertisements.length] ?? '';
    const ports = advertisement.split(',').map((entry) => entry.split(':')[1] ?? '');
    if (running.length < 6 || turn % 3 !== 2) {
      const container = { env: [`DISCOVER=${advertisement}`], ports: ports.map((port) => ({ container: port })) };
      running.push(engine.run(container));
    }
    if (turn % 4 === 3 && running[0]) engine.restart(running[0]);
    if (running.length > 5) for (const id of running.splice(0, 2)) engine.stop(id);
    await sleep(1_000, undefined, { signal }).catch(() => {});
  }
}

async function privateEtcd(): Promise<string> {
  const etcd = await startEtcd();
  cleanups.push(() => etcd.close());
  return etcd.endpoint;
}

function addressOf(endpoint: DockerEndpoint): string {
  return endpoint.kind === 'socket' ? endpoint.path : `${endpoint.host}:${endpoint.port}`;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
