/**
 * client: with so many services of ten instances each, what does the client for programs that look
 * services up cost, and how much later than etcd's own watch do they learn of a change?
 *
 * In this process. One change at a time: it is put, and the clock runs until the last of 50 iterations
 * has it, and until a bare HTTP/2 stream of etcd's watch, read beside them, has it. What the put itself
 * takes is in both.
 */
import { connect } from 'node:http2';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { DiscoverClient } from '../src/client/index.ts';
import { startEtcd } from '../test/helpers/etcd.ts';
import { eventually } from '../test/helpers/eventually.ts';
import { keyOf, startWriter } from '../test/helpers/reader.ts';
import type { Bench } from './lib/bench.ts';
import { field, Messages, open } from './lib/grpc.ts';
import { percentile } from './lib/measure.ts';

const instancesEach = 10;
const watchers = 50;
const keysPerWrite = 100;
const resolves = 200_000;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

export const client: Bench = {
  name: 'client',
  question: 'with so many services of ten instances, what does a reader cost, and how late does it learn of a change?',
  axis: 'services',
  points: [1_000],
  seconds: 5,
  subjects: () => ['client'],
  columns: 'resolveMicros bytesPerInstance readMs reachP50Ms reachP99Ms bareP50Ms bareP99Ms laterP99Ms changes',
  measure: async (_subject, services, { seconds }) => {
    await using etcd = await startEtcd();
    await using writer = startWriter(etcd.endpoint);
    const names = Array.from({ length: services }, (_, index) => `service-${index}`);
    const keys = names.flatMap((name) => Array.from({ length: instancesEach }, (_, id) => keyOf(name, id)));
    for (let start = 0; start < keys.length; start += keysPerWrite) {
      const some = keys.slice(start, start + keysPerWrite);
      await writer.write(new Map(some.map((key, index) => [key, `tcp://10.0.0.5:${1 + ((start + index) % 65_535)}`])));
    }

    await using reader = new DiscoverClient({ endpoints: etcd.endpoints });
    await reader.resolve('unknown');
    const emptyBytes = heapBytes();
    const begunMs = performance.now();
    await reader.services();
    const readMs = performance.now() - begunMs;
    const bytesPerInstance = (heapBytes() - emptyBytes) / keys.length;

    const askedMs = performance.now();
    for (let count = 0; count < resolves; count++) await reader.resolve(names[count % services] ?? '');
    const resolveMicros = ((performance.now() - askedMs) * 1000) / resolves;

    const [name = ''] = names;
    const key = keyOf(name, 0);
    let reached = 0;
    const arrive = { last: (): void => {}, bare: (): void => {} };
    const iterations = Array.from({ length: watchers }, async () => {
      for await (const _update of reader.watch(name)) if (++reached % watchers === 0) arrive.last();
    });
    await eventually(() => {
      if (reached < watchers) throw new Error('Not yet');
    });
    await using bare = await bareWatch(etcd.endpoint, key, () => arrive.bare());
    const [reachMs, bareMs]: [number[], number[]] = [[], []];
    for (const untilMs = performance.now() + seconds * 1000; performance.now() < untilMs && bare.isOpen; ) {
      const putMs = performance.now();
      const all = Promise.all([
        new Promise<void>((resolve) => {
          arrive.last = resolve;
        }).then(() => reachMs.push(performance.now() - putMs)),
        new Promise<void>((resolve) => {
          arrive.bare = resolve;
        }).then(() => bareMs.push(performance.now() - putMs)),
      ]);
      await writer.write(new Map([[key, `tcp://10.0.0.6:${1 + (reachMs.length % 65_535)}`]]));
      await all;
    }
    await reader.close();
    await Promise.all(iterations);
    const [reachP99Ms, bareP99Ms] = [percentile(reachMs, 0.99), percentile(bareMs, 0.99)];
    return {
      ...{ resolveMicros, bytesPerInstance, readMs },
      ...{ reachP50Ms: percentile(reachMs, 0.5), reachP99Ms, bareP50Ms: percentile(bareMs, 0.5), bareP99Ms },
      ...{ laterP99Ms: reachP99Ms - bareP99Ms, changes: reachMs.length },
    };
  },
};

/** A watch of one key, as lean as can be: whatever comes after the answer that it has begun is a change. */
async function bareWatch(endpoint: string, key: string, onChange: () => void) {
  const session = connect(endpoint);
  const stream = open(session, 'Watch/Watch', field(1, field(1, key)), false);
  const messages = new Messages();
  let begin = (): void => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  let count = 0;
  stream.on('data', (chunk: Buffer) => {
    for (const _message of messages.push(chunk)) {
      if (count++ === 0) begin();
      else onChange();
    }
  });
  await begun;
  return {
    get isOpen() {
      return !stream.closed;
    },
    [Symbol.asyncDispose]: async () => session.destroy(),
  };
}
