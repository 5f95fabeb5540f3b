/**
 * inspect: what does the inspection of a container cost in a pool thread, through the HTTP/1 client of our own and through
 * node:http with an agent that keeps its connections, at so many a second?
 *
 * A process for each measurement, with the pool as it is built: one thread, two tasks at a time. Three rounds in
 * turns. `src/net/README.md` says at what saving the client of our own is deleted.
 */
import { type EngineHandle, forkEngine } from './engine/client.ts';
import type { Bench } from './lib/bench.ts';
import { measureApart, savingsOf } from './lib/pairs.ts';

const containers = 500;
let engine: EngineHandle | undefined;

export const inspect: Bench = {
  name: 'inspect',
  named: true,
  question: 'what does an inspection cost in a pool thread through each of two clients, at so many a second?',
  axis: 'inspections/s',
  points: [200, 1_000],
  seconds: 6,
  rounds: 3,
  subjects: () => ['own', 'node:http'],
  columns: 'cpuMicrosEach p50Ms p99Ms inspections failed',
  measure: async (client, rate, { seconds }) => {
    engine ??= await forkEngine({ containers });
    return measureApart('./inspections.ts', { client, rate, seconds, socketPath: engine.socketPath });
  },
  conclude: (rows) => savingsOf(rows, 'own', 'node:http', 'cpuMicrosEach'),
  finish: async () => {
    await engine?.close();
    engine = undefined;
  },
};
