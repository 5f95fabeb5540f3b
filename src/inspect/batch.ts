/**
 * One look at some containers: ask, parse, reduce to small records. Runs in a pool thread, or on
 * the main thread when there are no workers.
 *
 * A batch is handed back when each is read, or has been asked for `lingerMs` ago; who has not answered
 * by then is reported by itself through `late`, so a container that the engine holds locked delays
 * nobody else. At most `freshMax` young requests are under way, which is what an engine answers
 * fastest; the stragglers are beside them.
 */

import { type ContainerId, type Inspection, isContainerId, type Listed } from '../container/container.ts';
import { readInspection } from '../container/document.ts';
import type { NamePolicy } from '../container/sources/variable.ts';
import type { DockerEndpoint } from '../docker/docker.ts';
import { InspectClient } from '../docker/inspect-client.ts';

/** What a thread is told once, at its start. */
export interface BatchInspectorOptions {
  readonly endpoint: DockerEndpoint;
  readonly hostIp: string;
  readonly serviceVariable: string;
  readonly namePolicy: NamePolicy;
  readonly entriesMax?: number | undefined;
}

/** What crosses the thread boundary, there and back: plain data. */
export type Task =
  | {
      readonly kind: 'inspect';
      /** Returned with what comes late, to tell this task from another. */
      readonly number: number;
      readonly versionPrefix: string;
      readonly ids: readonly ContainerId[];
    }
  | { readonly kind: 'list'; readonly body: Uint8Array };

export interface Report {
  readonly id: ContainerId;
  readonly inspection: Inspection;
}

export type TaskResult =
  | { readonly kind: 'inspected'; readonly reports: readonly Report[] }
  | { readonly kind: 'listed'; readonly containers: readonly Listed[] }
  | { readonly kind: 'malformed'; readonly detail: string };

const lingerMs = 25;
const freshMax = 8;

export interface BatchInspector {
  run(task: Task): Promise<TaskResult>;
  close(): Promise<void>;
}

export function createBatchInspector(
  options: BatchInspectorOptions,
  late: (task: number, report: Report) => void,
): BatchInspector {
  const client = new InspectClient(options.endpoint);
  const waiting: (() => void)[] = [];
  let fresh = 0;

  const release = () => {
    const next = waiting.shift();
    if (next) next();
    else fresh--;
  };

  /** `straggles` is called if the answer is not there `lingerMs` after the request was made. */
  async function inspect(versionPrefix: string, id: ContainerId, straggles: () => void): Promise<Inspection> {
    if (fresh < freshMax) fresh++;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    let isFresh = true;
    const timer = setTimeout(() => {
      isFresh = false;
      release();
      straggles();
    }, lingerMs);
    const answer = await client.inspect(versionPrefix, id);
    clearTimeout(timer);
    if (isFresh) release();
    if (answer.kind === 'absent') return { kind: 'down' };
    if (answer.kind === 'failed') return answer;
    try {
      return readInspection(JSON.parse(answer.body), options);
    } catch {
      // The parser's message would quote the document, and with it somebody's environment.
      return { kind: 'failed', detail: 'inspect answer is not JSON' };
    }
  }

  async function inspectBatch(task: number, versionPrefix: string, ids: readonly ContainerId[]): Promise<TaskResult> {
    const reports: Report[] = [];
    let handedBack = false;
    const answeredOrLate = ids.map(
      (id) =>
        new Promise<void>((settle) => {
          void inspect(versionPrefix, id, settle).then((inspection) => {
            if (handedBack) late(task, { id, inspection });
            else reports.push({ id, inspection });
            settle();
          });
        }),
    );
    await Promise.all(answeredOrLate);
    handedBack = true;
    return { kind: 'inspected', reports };
  }

  return {
    run: async (task) =>
      task.kind === 'inspect' ? inspectBatch(task.number, task.versionPrefix, task.ids) : readList(task.body),
    close: () => client.close(),
  };
}

interface RawListed {
  readonly Id?: unknown;
  readonly State?: unknown;
  readonly Ports?: unknown;
  readonly NetworkSettings?: { readonly Networks?: unknown } | null;
}

/** A list is whole and of the right shape, or it says nothing at all. */
export function readList(body: Uint8Array): TaskResult {
  const containers: Listed[] = [];
  try {
    const list: unknown = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8'));
    if (!Array.isArray(list)) return { kind: 'malformed', detail: 'list is not an array' };
    for (const item of list as (RawListed | null)[]) {
      if (!isContainerId(item?.Id)) return { kind: 'malformed', detail: 'list has an element without a full id' };
      const ports = Array.isArray(item.Ports) ? item.Ports.map((port) => JSON.stringify(port)).sort() : [];
      containers.push({ id: item.Id, fingerprint: `${String(item.State)} ${ports.join()}` });
    }
  } catch {
    return { kind: 'malformed', detail: 'list is not JSON' };
  }
  return { kind: 'listed', containers };
}
