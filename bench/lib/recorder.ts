/**
 * Recorder: every change in etcd with the moment it arrived here, on a thread of its own.
 *
 * It is a raw watch of the whole store from its first revision. On arrival a chunk gets its time and
 * is kept; it is read only when somebody asks and nothing has come for a while, so that reading does
 * not delay what it times. With `follow` every chunk is read and told at once, for closed loops.
 * Its own CPU is known too: the part of the machine that measuring takes.
 */
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { monotonicMs } from '../engine/churn.ts';
import type { Event } from './exact.ts';
import { field, fields, Messages, numberField, open } from './grpc.ts';
import { cpuMsOf } from './measure.ts';

export interface Change extends Event {
  readonly revision: number;
}

export interface Recorder extends AsyncDisposable {
  /** All changes since the last call, once `quietMs` have passed without one, or `limitMs` in any case. */
  take(limitMs: number): Promise<readonly Change[]>;
  cpuMs(): Promise<number>;
}

interface Told {
  readonly changes: readonly Change[];
  readonly cpuMs: number;
  /** Not asked for. */
  readonly followed?: true;
}

const quietMs = 250;

export async function startRecorder(
  endpoint: string,
  follow?: (changes: readonly Change[]) => void,
): Promise<Recorder> {
  // Loaders are a thread's own.
  const loader = new URL('../../test/loader.mjs', import.meta.url);
  const thread = new Worker(`import('${loader}').then(() => import('${import.meta.url}'))`, {
    eval: true,
    workerData: { endpoint, follow: follow !== undefined },
  });
  const heard: Change[] = [];
  let answer: ((told: Told) => void) | undefined;
  thread.on('message', (told: Told) => {
    for (const change of told.changes) heard.push(change);
    if (told.followed) follow?.(told.changes);
    else answer?.(told);
  });
  /** One at a time. Undefined waits for the thread to be there. */
  const ask = (limitMs: number | undefined): Promise<Told> =>
    new Promise((resolve, reject) => {
      answer = resolve;
      thread.removeAllListeners('error').once('error', reject);
      if (limitMs !== undefined) thread.postMessage(limitMs);
    });
  await ask(undefined);
  return {
    take: async (limitMs) => {
      await ask(limitMs);
      return heard.splice(0);
    },
    cpuMs: async () => (await ask(-1)).cpuMs,
    [Symbol.asyncDispose]: async () => void (await thread.terminate()),
  };
}

/** What a WatchResponse tells of. */
function* readResponse(message: Buffer, at: number): Generator<Change> {
  for (const [number, , event] of fields(message)) {
    if (number !== 11) continue; // WatchResponse.events
    let isDelete = false;
    let [key, value, revision] = ['', '', 0];
    for (const [part, type, pair] of fields(event)) {
      if (part === 1) isDelete = type === 1; // Event.type
      if (part !== 2) continue; // Event.kv
      for (const [name, whole, bytes] of fields(pair)) {
        if (name === 1) key = bytes.toString();
        else if (name === 3)
          revision = whole; // KeyValue.mod_revision
        else if (name === 5) value = bytes.toString();
      }
    }
    yield { at, revision, key, value: isDelete ? undefined : value };
  }
}

function record({ endpoint, follow }: { readonly endpoint: string; readonly follow: boolean }): void {
  let kept: { at: number; chunk: Buffer }[] = [];
  const messages = new Messages();
  let lastMs = monotonicMs();
  const tell = (isReading: boolean, followed?: true): void => {
    const changes: Change[] = [];
    for (const { at, chunk } of isReading ? kept : []) {
      for (const message of messages.push(chunk)) changes.push(...readResponse(message, at));
    }
    if (isReading) kept = [];
    const cpuMs = cpuMsOf(readFileSync('/proc/thread-self/stat', 'utf8'));
    parentPort?.postMessage({ changes, cpuMs, ...(followed && { followed }) } satisfies Told);
  };
  // WatchRequest.create_request: every key, from revision 1.
  const everything = Buffer.concat([field(1, '\0'), field(2, '\0'), numberField(3, 1)]);
  const stream = open(http2.connect(endpoint), 'Watch/Watch', field(1, everything), false);
  stream.on('response', () => tell(false));
  stream.on('data', (chunk: Buffer) => {
    lastMs = monotonicMs();
    kept.push({ at: lastMs, chunk });
    if (follow) tell(true, true);
  });
  parentPort?.on('message', (limitMs: number) => {
    if (limitMs < 0) return tell(false);
    const untilMs = monotonicMs() + limitMs;
    const answer = (): void => {
      const waitMs = Math.min(lastMs + quietMs, untilMs) - monotonicMs();
      if (waitMs > 0) setTimeout(answer, waitMs);
      else tell(true);
    };
    answer();
  });
}

if (!isMainThread) record(workerData as { endpoint: string; follow: boolean });
