/**
 * What can be asked of an engine in a process of its own. Arguments and results cross as JSON.
 *
 * The table is the protocol: `main.ts` looks a name up and calls it, `client.ts` makes a promise
 * of each.
 */

import { type ChurnOptions, churn } from './churn.ts';
import type { ContainerTruth } from './containers.ts';
import type { CreateOptions } from './documents.ts';
import type { Engine } from './engine.ts';
import type { EngineEvent } from './events.ts';
import type { FaultSettings } from './faults.ts';

export type Operation =
  | 'start'
  | 'stop'
  | 'die'
  | 'kill'
  | 'crash'
  | 'dieUnseen'
  | 'restart'
  | 'pause'
  | 'unpause'
  | 'disconnect'
  | 'connect'
  | 'remove';

export const commands = {
  /** Creates and starts, in order. */
  run: (engine: Engine, containers: readonly CreateOptions[]) => containers.map((options) => engine.run(options)),
  create: (engine: Engine, options: CreateOptions) => engine.create(options),
  /** Does the same to each, in order. */
  apply: (engine: Engine, operation: Operation, ids: readonly string[]) => {
    for (const id of ids) engine[operation](id);
  },
  rename: (engine: Engine, id: string, name: string) => engine.rename(id, name),
  emit: (engine: Engine, events: readonly EngineEvent[]) => {
    for (const event of events) engine.emit(event);
  },
  /** Settles when the last of the containers that are to end has ended. */
  churn: (engine: Engine, options: ChurnOptions) => churn(engine, options),
  snapshot: (engine: Engine): ContainerTruth[] => engine.snapshot(),
  /** Requests by kind, and what became of the event streams. */
  counts: (engine: Engine) => ({ ...engine.counts, streams: engine.streamCount, eventsLost: engine.eventsLost }),
  /** Events of all kinds, with or without a listener. */
  published: (engine: Engine) => engine.eventsPublished,
  /** Records the requests from now on; gives those recorded until now. */
  record: (engine: Engine, on: boolean) => {
    engine.recordRequests = on;
    return [...engine.requests];
  },
  /** Changes the faults named and leaves the others. */
  setFaults: (engine: Engine, faults: Partial<FaultSettings>) => {
    Object.assign(engine.faults, faults);
  },
  /** Sets the engine's clock so far from the true time. */
  setClock: (engine: Engine, offsetMs: number) => engine.setClock(offsetMs),
  cutEvents: (engine: Engine, afterBytes: number) => engine.cutEvents(afterBytes),
  leave: (engine: Engine, as: 'missing' | 'refusing') => engine.leave(as),
  comeBack: (engine: Engine, options: { remembering?: boolean }) => engine.comeBack(options),
};

type Table = typeof commands;

/** The same table from outside: without the engine, and with promises. */
export type Commands = {
  [Name in keyof Table]: Table[Name] extends (engine: Engine, ...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

export type ToEngine = { readonly call: number; readonly name: keyof Table; readonly args: readonly unknown[] };
export type FromEngine =
  | { readonly kind: 'ready'; readonly socketPath?: string; readonly port?: number }
  | { readonly kind: 'result'; readonly call: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly call: number; readonly message: string };
