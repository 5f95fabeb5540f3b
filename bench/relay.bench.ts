/**
 * relay: what do so many readers of one agent cost it, and when has the last of them been told of a change?
 *
 * All readers follow one service with ten instances, which is the worst there is: each change concerns every one. A change
 * is put into etcd once the one before is told, and its time begins when etcd is asked. The readers are this process, whose
 * CPU is in no figure. `watches` are those that etcd has opened for the readers.
 */
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../test/helpers/eventually.ts';
import { type Bench, startMeter } from './lib/bench.ts';
import { percentile, usageOf } from './lib/measure.ts';
import { httpSocketBeside } from './lib/subject.ts';
import { openWorld, type World } from './lib/world.ts';

const pauseMs = 100;
const instances = 10;
const firstPort = 10_000;

const keyOf = (instance: number): string => `/discover/service/web/default/h2/${String(instance).padStart(12, '0')}`;
const put = (world: World, instance: number, port: number): Promise<void> =>
  world.etcd.put(new Map([[keyOf(instance), `tcp://10.0.0.6:${port}`]]));

/** Readers that count those of them which have been told of the newest port. */
class Readers implements Disposable {
  #told = 0;
  #port = 0;
  #onAll: () => void = () => {};
  readonly #requests: http.ClientRequest[];

  constructor(socketPath: string, count: number) {
    this.#requests = Array.from({ length: count }, () => {
      let seen = 0;
      const request = http.get({ socketPath, path: '/v1/services/web?watch', agent: false }, (response) => {
        response
          .setEncoding('utf8')
          .on('data', (text: string) => {
            if (seen === this.#port || !text.includes(`:${this.#port}"`)) return;
            seen = this.#port;
            if (++this.#told === count) this.#onAll();
          })
          .on('error', () => {});
      });
      return request.on('error', () => {});
    });
  }

  /** Milliseconds until the last reader has been told of what `change` does, which leads to this port. */
  async tell(port: number, change: () => Promise<void>): Promise<number> {
    const beganMs = performance.now();
    this.#told = 0;
    this.#port = port;
    const all = new Promise<void>((resolve) => {
      this.#onAll = resolve;
    });
    await Promise.all([change(), this.#requests.length > 0 ? all : undefined]);
    return performance.now() - beganMs;
  }

  [Symbol.dispose](): void {
    for (const request of this.#requests) request.destroy();
  }
}

async function watchesOf(world: World): Promise<number> {
  const text = await (await fetch(`${world.etcd.endpoint}/metrics`)).text();
  return Number(/^etcd_debugging_mvcc_watcher_total (\d+)$/m.exec(text)?.[1]);
}

export const relay: Bench = {
  name: 'relay',
  named: true,
  question: 'what do so many readers of one agent cost it, and when is the last of them told of a change?',
  axis: 'readers',
  points: [0, 100, 1_000],
  seconds: 10,
  subjects: () => ['relay'],
  columns: 'changes lastP50Ms lastP99Ms cpuPercent cpuMicrosEach rssMb watches',
  measure: async (_, count, { seconds, workers }) => {
    await using world = await openWorld({ subject: 'discover', workers, serves: 'relay' });
    for (let n = 0; n < instances; n++) await put(world, n, firstPort);
    const before = await watchesOf(world);
    using readers = new Readers(httpSocketBeside(world.engine.socketPath), count);
    let port = firstPort;
    const change = () => readers.tell(++port, () => put(world, port % instances, port));
    await eventually(() => change(), { timeoutMs: 30_000 });
    const meter = await startMeter(world);
    const lastMs: number[] = [];
    for (const endMs = performance.now() + seconds * 1000; performance.now() < endMs; await sleep(pauseMs))
      lastMs.push(await change());
    const figures = await meter();
    return {
      changes: lastMs.length,
      lastP50Ms: percentile(lastMs, 0.5),
      lastP99Ms: percentile(lastMs, 0.99),
      ...figures,
      cpuMicrosEach: (Number(figures.cpuPercent) * seconds * 1e4) / Math.max(1, count * lastMs.length),
      rssMb: usageOf(world.subject.pid).rssMb,
      watches: (await watchesOf(world)) - before,
    };
  },
};
