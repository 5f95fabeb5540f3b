/**
 * One inspection of some containers, or the list of all that run: ask, parse, reduce to small records. Runs in a pool thread, or
 * on the main thread when there are no workers.
 *
 * A batch is handed back when each container is read, or was asked for `lingerMs` ago. A container without an answer by
 * then is reported by itself through `late`, so a container that the engine keeps locked delays no other. At most
 * `freshMax` young requests are under way, the number that an engine answers fastest; late requests are beside them.
 */

import { systemClock } from '../actor/clock.ts';
import { type ContainerId, type Inspection, isContainerId, type Listed } from '../container/container.ts';
import { type InspectionOptions, readInspection } from '../container/document.ts';
import { healthInList } from '../container/traffic.ts';
import { askList } from '../docker/call.ts';
import { InspectClient } from '../docker/inspect-client.ts';
import type { DockerEndpoint } from '../docker/modem.ts';
import { detailsOf, type ErrorDetails, messageOf } from '../errors.ts';
import { containerAddresses } from '../host.ts';

/** The options that a thread gets once, at its start. */
export interface BatchInspectorOptions extends Omit<InspectionOptions, 'hostOnly'> {
  readonly endpoint: DockerEndpoint;
}

/** The task of a thread. Tasks and results are plain data, because they cross the thread boundary. */
export type Task =
  | {
      readonly kind: 'inspect';
      /** Returned with late results, to tell this task from another. */
      readonly number: number;
      readonly versionPrefix: string;
      readonly ids: readonly ContainerId[];
    }
  | { readonly kind: 'list'; readonly versionPrefix: string };

export interface Report {
  readonly id: ContainerId;
  readonly inspection: Inspection;
}

export type TaskResult =
  | { readonly kind: 'inspected'; readonly reports: readonly Report[] }
  | { readonly kind: 'listed'; readonly containers: readonly Listed[] }
  /** The reason why there is no list. Plain data, because an error loses its class on the way between threads. */
  | { readonly kind: 'failed'; readonly detail: string; readonly details?: ErrorDetails };

const lingerMs = 25;
const freshMax = 8;

export interface BatchInspector {
  run(task: Task): Promise<TaskResult>;
  close(): Promise<void>;
}

export function createBatchInspector(
  options: BatchInspectorOptions,
  late: (task: number, report: Report) => void,
  client: Pick<InspectClient, 'inspect' | 'close'> = new InspectClient(options.endpoint),
): BatchInspector {
  const waiting: (() => void)[] = [];
  let fresh = 0;
  let current: InspectionOptions = { ...options, hostOnly: hostOnly() };

  function documentOptions(): InspectionOptions {
    const addresses = hostOnly();
    if (current.hostOnly !== addresses) current = { ...options, hostOnly: addresses };
    return current;
  }

  const release = () => {
    const next = waiting.shift();
    if (next) next();
    else fresh--;
  };

  /** `straggles` is called if there is no answer `lingerMs` after the request. */
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
    return readInspection(answer.document, documentOptions());
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

  async function list(versionPrefix: string): Promise<TaskResult> {
    try {
      return readList(await askList(options.endpoint, systemClock, versionPrefix, options.filter));
    } catch (error) {
      return { kind: 'failed', detail: messageOf(error), details: detailsOf(error) };
    }
  }

  return {
    run: (task) =>
      task.kind === 'inspect' ? inspectBatch(task.number, task.versionPrefix, task.ids) : list(task.versionPrefix),
    close: () => client.close(),
  };
}

/** A new network gets its bridge before its first container runs. New networks are rare enough for this interval. */
const hostOnlyMs = 10_000;
let hostOnlyAt = Number.NEGATIVE_INFINITY;
let hostOnlyAddresses: readonly string[] = [];

/** Addresses of this host that lead to containers. A list of a thousand interfaces takes milliseconds. */
function hostOnly(): readonly string[] {
  const now = systemClock.now();
  if (now - hostOnlyAt >= hostOnlyMs) {
    hostOnlyAt = now;
    hostOnlyAddresses = containerAddresses();
  }
  return hostOnlyAddresses;
}

interface RawListed {
  readonly Id?: unknown;
  readonly State?: unknown;
  readonly Status?: unknown;
  readonly Health?: unknown;
  readonly Ports?: unknown;
  readonly NetworkSettings?: { readonly Networks?: unknown } | null;
}

/** A list counts only if it is complete and has the right shape. */
export function readList(body: Uint8Array): TaskResult {
  const containers: Listed[] = [];
  try {
    const list: unknown = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8'));
    if (!Array.isArray(list)) return { kind: 'failed', detail: 'Docker Engine: list is not an array' };
    for (const item of list as (RawListed | null)[]) {
      if (!isContainerId(item?.Id))
        return { kind: 'failed', detail: 'Docker Engine: list has an element without a full id' };
      const ports = Array.isArray(item.Ports) ? item.Ports.map((port) => JSON.stringify(port)).sort() : [];
      containers.push({ id: item.Id, fingerprint: `${String(item.State)} ${healthInList(item)} ${ports.join()}` });
    }
  } catch {
    return { kind: 'failed', detail: 'Docker Engine: list is not JSON' };
  }
  return { kind: 'listed', containers };
}
