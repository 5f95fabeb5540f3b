/** Inspections at a rate in a pool thread; a process of its own, started by `inspect.bench.ts`. Its argument is a task in JSON. */
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import type { ContainerId } from '../../src/container/container.ts';
import type { Task, TaskResult } from '../../src/inspect/batch.ts';
import { percentile } from './measure.ts';

const { client, rate, seconds, socketPath } = JSON.parse(process.argv[2] ?? '') as {
  client: 'own' | 'node:http';
  rate: number;
  seconds: number;
  socketPath: string;
};
const warmUpSeconds = 3;
const tickMs = 5;

/** As `src/inspect/pool.ts` opens it. */
const pool = new Piscina<Task, TaskResult>({
  filename: fileURLToPath(new URL('./inspect-worker.ts', import.meta.url)),
  minThreads: 1,
  maxThreads: 1,
  concurrentTasksPerWorker: 2,
  atomics: 'disabled',
  workerData: { client, socketPath },
  resourceLimits: { maxYoungGenerationSizeMb: 2 },
});

function listIds(): Promise<ContainerId[]> {
  return new Promise((resolve, reject) => {
    http.get({ socketPath, path: '/containers/json', headers: { host: 'docker' } }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const list = JSON.parse(Buffer.concat(chunks).toString()) as { Id: ContainerId }[];
        resolve(list.map(({ Id }) => Id));
      });
    });
  });
}

/** A task each tick, with the ids that have come since: work never waits for more of it. */
async function run(ids: readonly ContainerId[], forSeconds: number) {
  const latenciesMs: number[] = [];
  let failed = 0;
  let asked = 0;
  const underWay = new Set<Promise<void>>();
  const began = performance.now();
  while (asked < rate * forSeconds) {
    const due = Math.min(rate * forSeconds, Math.floor(((performance.now() - began) / 1000) * rate));
    const batch = Array.from(
      { length: Math.min(32, due - asked) },
      (_, at) => ids[(asked + at) % ids.length] as ContainerId,
    );
    if (batch.length > 0) {
      const sentMs = performance.now();
      const task = pool.run({ kind: 'inspect', number: asked, versionPrefix: '/v1.41', ids: batch }).then((result) => {
        const reports = 'reports' in result ? result.reports : [];
        for (const { inspection } of reports) {
          if (inspection.kind === 'running') latenciesMs.push(performance.now() - sentMs);
          else failed++;
        }
        underWay.delete(task);
      });
      underWay.add(task);
      asked += batch.length;
    }
    await new Promise((resolve) => setTimeout(resolve, tickMs));
  }
  await Promise.all(underWay);
  return { latenciesMs, failed, asked };
}

const ids = await listIds();
await run(ids, warmUpSeconds);
const before = process.cpuUsage();
// Of the asked ones, those that straggle are reported in a message of their own, without a latency here.
const { asked, failed, latenciesMs } = await run(ids, seconds);
const { user, system } = process.cpuUsage(before);
const figures = {
  cpuMicrosEach: (user + system) / asked,
  p50Ms: percentile(latenciesMs, 0.5),
  p99Ms: percentile(latenciesMs, 0.99),
  inspections: asked,
  failed,
  exact: failed === 0 ? 'yes' : `${failed} failed`,
};
await pool.destroy();
process.send?.(figures, () => process.exit(0));
