/**
 * Servers that are stopped one after the other while a client asks them: how long does a key outlive the engine's word,
 * and which requests fail?
 */
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { DiscoverClient, type Instance } from '../../src/client/index.ts';
import type { EngineClient } from './engine-client.ts';
import { eventually, guardMs } from './eventually.ts';
import type { Host } from './host.ts';

/** Serves on after TERM for the seconds given, as a server that finishes what it has begun. */
export const drainingServer = (seconds: number): readonly string[] => [
  'sh',
  '-c',
  `ln -sf /bin/busybox /bin/sh; mkdir -p /www; echo ok > /www/index.html; httpd -f -p 80 -h /www & trap "sleep ${seconds}; exit 0" TERM; trap : HUP; while :; do wait; done`,
];

export interface Stops {
  readonly service: string;
  /** Two containers of it, published. */
  readonly ids: readonly [string, string];
  readonly count: number;
  /** Seconds for which a server serves on. */
  readonly serveSeconds: number;
  /** The engine's events that tell of a stop: the first is what a withdrawal is measured from. */
  readonly events: readonly string[];
}

export interface Stopped {
  readonly requests: number;
  readonly answers: number;
  /** Requests that failed at the instance that the client named. */
  readonly failures: readonly string[];
  /** Requests that failed at that one and at another. */
  readonly lost: readonly string[];
  /** From the event until a reader hears that the key is gone, in ascending order. */
  readonly delaysMs: readonly number[];
}

/** Three readers, each with one request at a time: a flood on a busy machine would outlast a stop. */
const readers = 3;
const pauseMs = 30;

export async function stopUnderLoad(engine: EngineClient, host: Host, options: Stops): Promise<Stopped> {
  const { count, events, ids, serveSeconds, service } = options;
  const keyOf = (id: string): string => `/discover/service/${service}/default/h1/${id.slice(0, 12)}`;
  await using client = new DiscoverClient({ endpoints: [host.etcd.endpoint] });
  const failures: string[] = [];
  const lost: string[] = [];
  let [requests, answers, isOver] = [0, 0, false];

  /** What went wrong, or undefined. */
  const request = async (instance: Instance | undefined): Promise<string | undefined> => {
    const sentAt = performance.now();
    const problem = await answerOf(instance);
    // What has waited for longer than a stop takes was sent before it: on a busy machine a connection may hang.
    return problem && performance.now() - sentAt < serveSeconds * 1000 ? `${problem} at ${instance?.url}` : undefined;
  };
  const ask = async (): Promise<void> => {
    const first = await client.pick(service);
    requests++;
    const problem = await request(first);
    if (problem === undefined) {
      answers++;
      return;
    }
    failures.push(problem);
    const second = await request(await client.pick(service, { exclude: first ? [first] : [] }));
    if (second !== undefined) lost.push(`${problem}, then ${second}`);
  };
  const load = Promise.all(
    Array.from({ length: readers }, async () => {
      for (; !isOver; await sleep(pauseMs)) await ask();
    }),
  );

  const delaysMs: number[] = [];
  try {
    for (let n = 0; n < count; n++) {
      const id = ids[n % 2] as string;
      const since = Date.now() / 1000;
      const before = await host.mark();
      await engine.docker('stop', id);
      const toldMs = await firstEvent(engine, id, events, since);
      const gone = (await host.changesSince(before)).find(({ key, kind }) => key === keyOf(id) && kind === 'delete');
      delaysMs.push(performance.timeOrigin + (gone?.at ?? Number.NaN) - toldMs);
      await engine.docker('start', id);
      await eventually(async () => {
        if (!(await host.held()).has(keyOf(id))) throw new Error(`${id} is not published`);
      });
    }
  } finally {
    isOver = true;
    await load;
  }
  delaysMs.sort((one, other) => one - other);
  return { answers, delaysMs, failures, lost, requests };
}

/** Requests, and the delays in a line for the test's report. */
export function describeStops({ delaysMs, failures, lost, requests }: Stopped): string {
  const at = (share: number) => delaysMs[Math.floor(share * (delaysMs.length - 1))]?.toFixed(1);
  return (
    `${delaysMs.length} stops, from the event until a reader hears that the key is gone: ` +
    `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms; ` +
    `of ${requests} requests ${failures.length} failed at first and ${lost.length} at a second instance too`
  );
}

/** When the engine noted the first of these events since then, in milliseconds since the epoch. */
function firstEvent(engine: EngineClient, id: string, events: readonly string[], since: number): Promise<number> {
  // Podman may note an event after it has answered the stop.
  return eventually(async () => {
    // It shows nothing where the end is past, or no whole second.
    const range = ['--since', since.toFixed(3), '--until', String(Math.ceil(Date.now() / 1000) + 1)];
    const format = ['--filter', `container=${id}`, '--format', '{{.Action}} {{.TimeNano}}'];
    const told = (await engine.docker('events', ...range, ...format)).split('\n').map((line) => line.split(' '));
    const [, at] = told.find(([action = '']) => events.includes(action)) ?? [];
    if (at === undefined) throw new Error(`No ${events.join(' or ')} of ${id}: ${told.join('; ')}`);
    return Number(at) / 1e6;
  });
}

/** What went wrong, or undefined. */
function answerOf(instance: Instance | undefined): Promise<string | undefined> {
  return new Promise((resolve) => {
    const fail = (error: Error): void => resolve(String(error));
    const signal = AbortSignal.timeout(guardMs);
    const request = http.get({ host: '127.0.0.1', port: instance?.port, agent: false, signal }, (response) => {
      const problem = response.statusCode === 200 ? undefined : String(response.statusCode);
      response
        .resume()
        .on('end', () => resolve(problem))
        .on('error', fail);
    });
    request.on('error', fail);
  });
}
