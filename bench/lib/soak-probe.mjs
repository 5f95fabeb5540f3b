/**
 * Loaded before discover for a soak: collects garbage in every thread when asked, and says what is left.
 *
 * It ends discover with the runner, as `probe.mjs` does. Plain JavaScript for the same reason.
 */
import { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BroadcastChannel, isMainThread } from 'node:worker_threads';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
/** Requests and writes come and go with the moment; what is counted is what stays. */
const staying = /^(TCP|Pipe|TTY|UDP|Signal|FSEvent|Process|MessagePort|Worker|HTTP)/;
/** A thread that is about to end does not answer. */
const answerTimeoutMs = 2_000;

function look() {
  collect();
  const { arrayBuffers, external, heapUsed } = process.memoryUsage();
  const resources = process.getActiveResourcesInfo();
  // A pool thread keeps connections to the engine and closes the idle ones: they come and go, and are counted apart.
  const sockets = isMainThread ? [] : process._getActiveHandles().filter((one) => one instanceof Socket);
  const emitters = [process, ...process._getActiveHandles()].filter(
    (one) => one.eventNames !== undefined && !sockets.includes(one),
  );
  const listenersOf = (emitter) => emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0);
  return {
    ...{ threads: 1, heapBytes: heapUsed, bufferBytes: external + arrayBuffers },
    timers: resources.filter((name) => name === 'Timeout').length,
    handles: resources.filter((name) => staying.test(name)).length - sockets.length,
    connections: sockets.length,
    listeners: emitters.reduce((sum, emitter) => sum + listenersOf(emitter), 0),
  };
}

function sumOf(looks) {
  const total = (key) => looks.reduce((sum, one) => sum + one[key], 0);
  return Object.fromEntries(Object.keys(looks[0]).map((key) => [key, total(key)]));
}

const channel = new BroadcastChannel('soak');
if (!isMainThread) {
  channel.onmessage = ({ data }) => data === 'look' && channel.postMessage(look());
} else if (process.channel) {
  let threads = 0;
  let looks = [];
  let answered = () => {};
  process.on('worker', (worker) => {
    threads++;
    worker.once('exit', () => void threads--);
  });
  channel.onmessage = ({ data }) => {
    looks.push(data);
    if (looks.length > threads) answered();
  };
  process.on('message', async () => {
    looks = [look()];
    if (threads > 0) {
      await new Promise((resolve) => {
        answered = resolve;
        setTimeout(resolve, answerTimeoutMs).unref();
        channel.postMessage('look');
      });
    }
    process.send(sumOf(looks));
  });
  process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.channel.unref();
}
channel.unref();
