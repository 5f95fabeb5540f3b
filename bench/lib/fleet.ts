/**
 * A fleet: hundreds of hosts on one etcd of three members, as real agents in one process.
 *
 * All hosts look at one simulated engine, so that the same containers run on each of them: what starts there starts
 * everywhere at the same moment, which is harder for etcd than what happens.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type EtcdServer, startEtcd } from '../../test/helpers/etcd.ts';
import { eventually } from '../../test/helpers/eventually.ts';
import { atExit, cleanEnvironment, exitOf } from '../../test/helpers/run.ts';
import { type EngineHandle, forkEngine } from '../engine/client.ts';
import { type Deviation, deviationOf } from './exact.ts';
import { field, open } from './grpc.ts';
import { discoverLayout, expectedKeys } from './layout.ts';
import { usageOf } from './measure.ts';

export interface Fleet extends AsyncDisposable {
  readonly engine: EngineHandle;
  readonly etcd: EtcdServer;
  /** Of all members together. */
  etcdUsage(): { cpuMs: number; rssMb: number };
  /** Of all agents together. */
  agentsUsage(): { cpuMs: number; rssMb: number };
  /** Starts or restarts the hosts from one to another; resolves when all of them have listed and may write. */
  tell(from: number, to: number, isRestart?: boolean): Promise<void>;
  /** Kills all agents at once and prepares others in their place, which are not started. */
  crash(): Promise<void>;
  /** Waits until etcd holds what runs on all hosts; returns how far off it is where it does not come to that. */
  settle(limitMs?: number): Promise<Deviation>;
}

const agentsScript = fileURLToPath(new URL('./fleet-agents.mjs', import.meta.url));
const settleLimitMs = 60_000;
/** Reading all keys costs as much as a host's work of seconds: not more often. */
const settleEveryMs = 200;

export async function openFleet(hosts: number, containers: number): Promise<Fleet> {
  const etcd = await startEtcd({ nodes: 3 });
  const engine = await forkEngine({ containers });
  const launch = (): ChildProcess =>
    fork(agentsScript, [engine.socketPath, etcd.endpoints.join(',')], { env: cleanEnvironment(), stdio: 'ignore' });
  let agents = launch();
  const forget = atExit(() => agents.kill('SIGKILL'));
  const end = async (): Promise<void> => {
    const exit = exitOf(agents);
    agents.kill('SIGKILL');
    await exit;
  };
  const off = async (): Promise<Deviation> => {
    const running = await engine.snapshot();
    const layouts = Array.from({ length: hosts }, (_, index) => discoverLayout(`h${index}`));
    const wanted = new Map(layouts.flatMap((layout) => [...expectedKeys(running, layout)]));
    return deviationOf(wanted, await etcd.get('/discover/'), discoverLayout());
  };
  return {
    engine,
    etcd,
    etcdUsage: () => sumOf(etcd.pids.map(usageOf)),
    agentsUsage: () => usageOf(agents.pid ?? 0),
    tell: async (from, to, isRestart = false) => {
      const answered = new AbortController();
      const { signal } = answered;
      agents.send({ from, to, isRestart });
      const gone = once(agents, 'exit', { signal }).then(() => Promise.reject(new Error('The agents have ended')));
      await Promise.race([once(agents, 'message', { signal }), gone]).finally(() => answered.abort());
    },
    crash: async () => {
      await end();
      agents = launch();
      await once(agents, 'spawn');
    },
    settle: async (limitMs = settleLimitMs) => {
      for (const untilMs = performance.now() + limitMs; ; await sleep(settleEveryMs)) {
        const deviation = await off();
        const { missing, stale, wrong } = deviation;
        if (missing + stale + wrong === 0 || performance.now() > untilMs) return deviation;
      }
    },
    [Symbol.asyncDispose]: async () => {
      forget();
      await end();
      await engine.close();
      await etcd.close();
    },
  };
}

function sumOf(usages: readonly { cpuMs: number; rssMb: number }[]) {
  const sum = (of: 'cpuMs' | 'rssMb'): number => usages.reduce((total, usage) => total + usage[of], 0);
  return { cpuMs: sum('cpuMs'), rssMb: sum('rssMb') };
}

/** So many readers of all services, as lean as can be, of one member; `chunks` counts what arrives. */
export async function openReaders(endpoint: string, count: number) {
  const session = connect(endpoint);
  let chunks = 0;
  const all = field(1, Buffer.concat([field(1, '/discover/service/'), field(2, '/discover/service0')]));
  const streams = Array.from({ length: count }, () => open(session, 'Watch/Watch', all, false));
  for (const stream of streams) stream.on('data', () => chunks++);
  await eventually(() => {
    if (chunks < count) throw new Error('Not yet');
  });
  return { [Symbol.asyncDispose]: async () => session.destroy() };
}

/** Bytes that etcd's database holds in use, by its first member. */
export async function databaseBytes(etcd: EtcdServer): Promise<number> {
  const response = await fetch(`${etcd.endpoint}/v3/maintenance/status`, { method: 'POST', body: '{}' });
  return Number(((await response.json()) as { dbSizeInUse: string }).dbSizeInUse);
}
