/**
 * One inspection of some containers, or the list of all that run: ask, parse, reduce to small records. Runs in a pool thread, or
 * on the main thread when there are no workers.
 *
 * A batch is handed back when each container is read, or was asked for `lingerMs` ago. A container without an answer by
 * then is reported by itself through `late`, so a container that the engine keeps locked delays no other. At most
 * `freshMax` young requests are under way, the number that an engine answers fastest; late requests are beside them.
 */

import { systemClock } from '../actor/clock.ts';
import { type HostView, isRecord, recordOf } from '../container/address/published.ts';
import { type ContainerId, type Inspection, isContainerId, type Listed } from '../container/container.ts';
import { type InspectionOptions, type NetworkOwner, networkOwnerOf, readInspection } from '../container/document.ts';
import { healthInList } from '../container/traffic.ts';
import { askList } from '../docker/call.ts';
import { InspectClient } from '../docker/inspect-client.ts';
import type { DockerEndpoint } from '../docker/modem.ts';
import { detailsOf, type ErrorDetails, messageOf } from '../errors.ts';
import { type MachineView, viewOfMachine } from '../host-address.ts';
import type { HostAddresses } from './host-watch.ts';

/** The options that a thread gets once, at its start. */
export interface BatchInspectorOptions extends Omit<InspectionOptions, 'hostOnly' | 'hostNetworks'> {
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
      /** The addresses of the host, where they have changed since the start of the thread. */
      readonly host?: HostAddresses;
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
  let machine = machineNow();
  let current: InspectionOptions = { ...options, ...viewOf(machine, options) };

  /** Made anew only where the machine or the host's address has changed. */
  function documentOptions(host: HostView): InspectionOptions {
    const now = machineNow();
    if (now !== machine || host.hostIp !== current.hostIp || host.hostIp6 !== current.hostIp6) {
      machine = now;
      current = { ...options, ...viewOf(machine, host) };
    }
    return current;
  }

  const release = () => {
    const next = waiting.shift();
    if (next) next();
    else fresh--;
  };

  /** `straggles` is called if there is no answer `lingerMs` after the request. */
  async function inspect(
    versionPrefix: string,
    id: ContainerId,
    host: HostView,
    straggles: () => void,
  ): Promise<Inspection> {
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
    const of = documentOptions(host);
    const inspection = readInspection(answer.document, of);
    if (inspection.kind !== 'running' || inspection.sharesWith === undefined) return inspection;
    const owner = await findNetworkOwner(client, versionPrefix, answer.document);
    return 'kind' in owner ? owner : readInspection(answer.document, of, owner);
  }

  async function inspectBatch(
    task: number,
    versionPrefix: string,
    ids: readonly ContainerId[],
    addresses?: HostAddresses,
  ): Promise<TaskResult> {
    const host = addresses === undefined ? options : { hostIp: addresses.ip, hostIp6: addresses.ip6 };
    const reports: Report[] = [];
    let handedBack = false;
    const answeredOrLate = ids.map(
      (id) =>
        new Promise<void>((settle) => {
          void inspect(versionPrefix, id, host, settle).then((inspection) => {
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
      task.kind === 'inspect'
        ? inspectBatch(task.number, task.versionPrefix, task.ids, task.host)
        : list(task.versionPrefix),
    close: () => client.close(),
  };
}

/** A network can be that of a container which uses the network of another one. */
const ownersMax = 8;

/** The container whose network another one uses; or the failure to inspect it, which says nothing of either. */
export async function findNetworkOwner(
  client: Pick<InspectClient, 'inspect'>,
  versionPrefix: string,
  document: unknown,
): Promise<NetworkOwner | Extract<Inspection, { kind: 'failed' }>> {
  const ids: ContainerId[] = [];
  let at = document;
  for (let id = networkOwnerOf(at); id !== undefined; id = networkOwnerOf(at)) {
    // No engine makes a circle, and an endless one would ask for ever.
    if (ids.includes(id) || ids.length === ownersMax) return { ids: [], document: undefined };
    ids.push(id);
    const answer = await client.inspect(versionPrefix, id);
    if (answer.kind === 'failed') return answer;
    at = answer.kind === 'absent' ? undefined : answer.document;
  }
  return { ids, document: at };
}

/** A new network gets its bridge before its first container runs. New networks are rare enough for this interval. */
const machineMs = 10_000;
let machineAt = Number.NEGATIVE_INFINITY;
let lastMachine: MachineView | undefined;

/** The interfaces as they were a moment ago. A list of a thousand interfaces takes milliseconds. */
function machineNow(): MachineView {
  const now = systemClock.now();
  if (lastMachine === undefined || now - machineAt >= machineMs) {
    machineAt = now;
    lastMachine = viewOfMachine();
  }
  return lastMachine;
}

function viewOf({ containerAddresses: hostOnly, networksOf }: MachineView, { hostIp, hostIp6 }: HostView): HostView {
  return { hostIp, hostIp6, hostOnly, hostNetworks: networksOf(hostIp, hostIp6) };
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
      const networks = addressesInList(item.NetworkSettings?.Networks);
      const fingerprint = `${String(item.State)} ${healthInList(item)} ${ports.join()}${networks}`;
      containers.push({ id: item.Id, fingerprint });
    }
  } catch {
    return { kind: 'failed', detail: 'Docker Engine: list is not JSON' };
  }
  return { kind: 'listed', containers };
}

/** The networks of a container and its addresses there. An engine writes them in the order of their names. */
function addressesInList(networks: unknown): string {
  let text = '';
  if (!isRecord(networks)) return text;
  for (const name in networks) {
    const { IPAddress, GlobalIPv6Address } = recordOf(networks[name]);
    text += ` ${name} ${String(IPAddress ?? '')} ${String(GlobalIPv6Address ?? '')}`;
  }
  return text;
}
