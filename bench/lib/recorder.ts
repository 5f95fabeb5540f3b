/**
 * Recorder: every change in etcd with the moment it arrived here, on a thread of its own.
 *
 * It is a raw watch of the whole store from its first revision. On arrival a chunk gets its time and
 * is kept; it is read only when `take` is asked and nothing has come for a while, so that reading
 * does not delay what it times. With `follow` every chunk is read and told at once, for closed
 * loops. `cpuMs` is what the thread has used: the share of the machine that measuring takes.
 */
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { monotonicMs } from '../engine/churn.ts';
import { field, fields, Messages, numberField, open } from './grpc.ts';
import { cpuMsOf } from './measure.ts';

export interface Change {
  /** By the machine's monotonic clock. */
  readonly at: number;
  readonly revision: number;
  readonly key: string;
  /** Undefined for a delete. */
  readonly value: string | undefined;
}

export interface Recorder extends AsyncDisposable {
  /** All changes since the last call, once `quietMs` have passed without one, or `limitMs` in any case. */
  take(limitMs: number): Promise<readonly Change[]>;
  cpuMs(): Promise<number>;
}

type Ask = { readonly kind: 'take'; readonly limitMs: number } | { readonly kind: 'cpu' };
type Told =
  | { readonly kind: 'taken' | 'followed'; readonly changes: readonly Change[] }
  | { readonly kind: 'cpu'; readonly ms: number }
  | { readonly kind: 'ready' };

const quietMs = 250;

export async function startRecorder(
  endpoint: string,
  follow?: (changes: readonly Change[]) => void,
): Promise<Recorder> {
  // In a thread tsx does nothing until it is asked to.
  const [tsx, self] = [import.meta.resolve('tsx/esm/api'), import.meta.url];
  const thread = new Worker(`import('${tsx}').then((api) => (api.register(), import('${self}')))`, {
    eval: true,
    workerData: { endpoint, follow: follow !== undefined },
  });
  const answer = (kind: Told['kind']): Promise<Told> =>
    new Promise((resolve, reject) => {
      const listen = (told: Told): void => {
        if (told.kind !== kind) return;
        thread.off('message', listen).off('error', reject);
        resolve(told);
      };
      thread.on('message', listen).once('error', reject);
    });
  const heard: Change[] = [];
  thread.on('message', (told: Told) => {
    if (told.kind !== 'followed') return;
    for (const change of told.changes) heard.push(change);
    follow?.(told.changes);
  });
  const ask = (question: Ask, kind: Told['kind']): Promise<Told> => {
    const told = answer(kind);
    thread.postMessage(question);
    return told;
  };
  await answer('ready');
  return {
    take: async (limitMs) => {
      const told = await ask({ kind: 'take', limitMs }, 'taken');
      return told.kind === 'taken' ? heard.splice(0).concat(told.changes) : [];
    },
    cpuMs: async () => {
      const told = await ask({ kind: 'cpu' }, 'cpu');
      return told.kind === 'cpu' ? told.ms : 0;
    },
    [Symbol.asyncDispose]: async () => void (await thread.terminate()),
  };
}

/** What a WatchResponse tells of. */
function readResponse(message: Buffer, at: number): Change[] {
  const changes: Change[] = [];
  for (const [number, , event] of fields(message)) {
    if (number !== 11) continue; // WatchResponse.events
    let isDelete = false;
    let [key, value, revision] = ['', '', 0];
    for (const [name, type, pair] of fields(event)) {
      if (name === 1) isDelete = type === 1; // Event.type
      if (name !== 2) continue; // Event.kv
      for (const [part, whole, bytes] of fields(pair)) {
        if (part === 1) key = bytes.toString();
        else if (part === 3)
          revision = whole; // KeyValue.mod_revision
        else if (part === 5) value = bytes.toString();
      }
    }
    changes.push({ at, revision, key, value: isDelete ? undefined : value });
  }
  return changes;
}

function record({ endpoint, follow }: { readonly endpoint: string; readonly follow: boolean }): void {
  const tell = (told: Told): void => parentPort?.postMessage(told);
  const kept: { at: number; chunk: Buffer }[] = [];
  const messages = new Messages();
  let lastAt = monotonicMs();
  const read = (): Change[] =>
    kept.splice(0).flatMap(({ at, chunk }) => messages.push(chunk).flatMap((message) => readResponse(message, at)));

  // WatchRequest.create_request: every key, from revision 1.
  const everything = Buffer.concat([field(1, '\0'), field(2, '\0'), numberField(3, 1)]);
  const stream = open(http2.connect(endpoint), 'Watch/Watch', field(1, everything), false);
  stream.on('response', () => tell({ kind: 'ready' }));
  stream.on('data', (chunk: Buffer) => {
    lastAt = monotonicMs();
    kept.push({ at: lastAt, chunk });
    if (follow) tell({ kind: 'followed', changes: read() });
  });
  stream.on('end', () => {
    throw new Error('The watch has ended');
  });

  parentPort?.on('message', (ask: Ask) => {
    if (ask.kind === 'cpu') return tell({ kind: 'cpu', ms: cpuMsOf(readFileSync('/proc/thread-self/stat', 'utf8')) });
    const until = monotonicMs() + ask.limitMs;
    const answer = (): void => {
      const now = monotonicMs();
      const waitMs = Math.min(lastAt + quietMs, until) - now;
      if (waitMs > 0) setTimeout(answer, waitMs);
      else tell({ kind: 'taken', changes: read() });
    };
    answer();
  });
}

if (!isMainThread) record(workerData as { endpoint: string; follow: boolean });
