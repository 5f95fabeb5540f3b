/**
 * Shapes: what containers, their documents and their events look like beside the plain ones, as real hosts have them.
 *
 * A shape changes what the engine tells, and nothing of the work: the same starts and stops.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultContainer, monotonicMs } from '../engine/churn.ts';
import type { EngineHandle } from '../engine/client.ts';
import type { CreateOptions } from '../engine/documents.ts';
import type { FaultSettings } from '../engine/faults.ts';

export interface Shape {
  readonly about: string;
  readonly container?: CreateOptions;
  readonly api?: '1.41' | '1.52';
  /** Least size of a document. */
  readonly bodyBytes?: number;
  /** Of the engine's answers, from when the subject is ready. */
  readonly faults?: Partial<FaultSettings>;
  readonly isSpaced?: true;
  /** Events of a health check that each of so many more containers has every second. */
  readonly checks?: readonly string[];
}

const [path = ''] = defaultContainer.env ?? [];

/** So many services, each with a port of its own. */
function offering(services: number): CreateOptions {
  const ports = Array.from({ length: services }, (_, index) => 8080 + index);
  const entries = ports.map((port, index) => `service-{n}${index === 0 ? '' : `-${index}`}:${port}`);
  return {
    ...defaultContainer,
    env: [path, `DISCOVER=${entries.join(',')}`],
    ports: ports.map((port) => ({ container: `${port}/tcp` })),
  };
}

const exec = ['exec_create: wget -qO- localhost:8080', 'exec_start: wget -qO- localhost:8080', 'exec_die'];

export const shapes = {
  plain: { about: 'API 1.41, one event a chunk, one service in the variable, a document of 5 KB' },
  'api-1.52': { about: 'the documents and events of Docker 29', api: '1.52' },
  joined: { about: 'eight events a chunk, or those of 5 ms', faults: { joinEvents: 8 } },
  cut: { about: 'half an event a chunk', faults: { chunkBytes: 160 } },
  spaced: { about: '190 ms from the first to the last event of a stop', isSpaced: true },
  'services-3': { about: '3 services a container', container: offering(3) },
  'services-10': { about: '10 services a container', container: offering(10) },
  '16kb': { about: 'documents of 16 KB', bodyBytes: 16 << 10 },
  '64kb': { about: 'documents of 64 KB', bodyBytes: 64 << 10 },
  ipv6: {
    about: 'ports published on one IPv6 address',
    container: { ...defaultContainer, ports: [{ container: '8080/tcp', hostIp: '2001:db8::7' }] },
  },
  labels: {
    about: 'a label in place of the variable',
    container: {
      ...defaultContainer,
      env: [path],
      labels: { discover: 'service-{n}:8080', 'com.example.app': 'shop' },
    },
  },
  nothing: { about: 'containers that offer nothing', container: { ...defaultContainer, env: [path] } },
  checks: { about: '500 more containers with a health check each second', checks: exec },
  'checks-status': {
    about: 'the same, and each check tells of the health, as with Podman',
    checks: [...exec, 'health_status: healthy'],
  },
  'checks-unfiltered': {
    about: 'the same as checks behind a proxy that does not filter events',
    checks: exec,
    faults: { unfiltered: true },
  },
} as const satisfies Readonly<Record<string, Shape>>;

export type ShapeName = keyof typeof shapes;

export const shapeNames = Object.keys(shapes) as readonly ShapeName[];

export function isShapeName(name: string): name is ShapeName {
  return name in shapes;
}

export const checkedContainers = 500;

/** With its health in its document. */
export const checkedContainer: CreateOptions = { ...defaultContainer, isChecked: true };

const everyMs = 5;

/**
 * Sends `perSecond` events, one container after another, each with all of the actions, until the time is over or the signal comes.
 * What is late is sent at once. Resolves with how many that were.
 */
export async function emitChecks(
  engine: EngineHandle,
  ids: readonly string[],
  actions: readonly string[],
  perSecond: number,
  until: { readonly seconds: number } | AbortSignal,
): Promise<number> {
  const attributes = { image: 'app:1', name: 'probed', execID: 'f'.repeat(64) };
  const begunMs = monotonicMs();
  for (let sent = 0; ; await sleep(everyMs)) {
    const passedMs = monotonicMs() - begunMs;
    const endMs = 'seconds' in until ? until.seconds * 1000 : until.aborted ? 0 : Number.POSITIVE_INFINITY;
    const due = Math.max(sent, Math.floor((Math.min(passedMs, endMs) * perSecond) / 1000));
    const events = Array.from({ length: due - sent }, (_, offset) => {
      const number = sent + offset;
      const id = ids[Math.floor(number / actions.length) % ids.length] ?? '';
      return { type: 'container', action: actions[number % actions.length] ?? '', id, attributes };
    });
    await engine.emit(events);
    sent = due;
    if (passedMs >= endMs) return sent;
  }
}
