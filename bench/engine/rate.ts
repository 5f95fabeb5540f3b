/**
 * How fast the simulated engine answers inspects: `node --import ./test/loader.mjs bench/engine/rate.ts`.
 *
 * 16 kept-alive connections, each asking again as soon as it has its answer, from this process to
 * a forked engine. The client reads no more of an answer than its length, so that the figure is
 * the engine's.
 */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { forkEngine } from './client.ts';

const connections = 16;
const seconds = 2;
const containers = 200;

let answers = 0;
let bytes = 0;
let problem: string | undefined;

function ask(socketPath: string, ids: readonly string[], offset: number): () => void {
  const requests = ids.map((id) => `GET /v1.41/containers/${id}/json HTTP/1.1\r\nHost: docker\r\n\r\n`);
  const socket = connect(socketPath);
  let next = offset;
  let left = 0;
  const request = (): void => {
    socket.write(requests[next++ % requests.length] ?? '');
  };
  socket.on('connect', request);
  socket.on('data', (data) => {
    bytes += data.length;
    if (left === 0) {
      const headEnd = data.indexOf('\r\n\r\n') + 4;
      const head = data.toString('latin1', 0, headEnd);
      if (!head.startsWith('HTTP/1.1 200')) problem ??= head;
      left = headEnd + Number(/Content-Length: (\d+)/.exec(head)?.[1]);
    }
    left -= data.length;
    if (left > 0) return;
    answers++;
    request();
  });
  return () => socket.destroy();
}

await using engine = await forkEngine({ containers });
const ids = (await engine.snapshot()).map(({ id }) => id);
const closers = Array.from({ length: connections }, (_, index) => ask(engine.socketPath, ids, index * 7));
await sleep(500);
const [answersBefore, bytesBefore, startedAt] = [answers, bytes, performance.now()];
await sleep(seconds * 1000);
const took = (performance.now() - startedAt) / 1000;
const perSecond = Math.round((answers - answersBefore) / took);
const size = Math.round((bytes - bytesBefore) / (answers - answersBefore));
for (const close of closers) close();
if (problem) throw new Error(`Not an answer to count: ${problem}`);
process.stdout.write(`${perSecond} inspects/s of ${size} bytes over ${connections} connections\n`);
