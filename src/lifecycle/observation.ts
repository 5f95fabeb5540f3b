/**
 * The messages in which actors tell each other about containers, in the order of the data.
 *
 *     watcher ── InspectionRequest ──► inspector ── Inspected ──► reconciler ── short id ──► writer
 *        └──────────── Killed, Died, Moved, List ────────────────────┘
 *
 * An `Observation` is about one container and is the input of the life cycle. The reconciler makes
 * the observations `listed`, `unlisted`, `found`, `fenced`, `woke`, `due`, `ended`, `given-up` and
 * `taken-out` of a list, of readings of etcd, of a timer and of an engine that is away.
 *
 * Two kinds of time: `at` is the engine's clock in nanoseconds since the epoch, 0 where the engine does not say.
 * `began` and `heard` are moments of the logical clock (`sequence.ts`).
 */

import type { ContainerId, Inspection, Listed } from '../container/container.ts';
import type { Maintenance } from '../container/maintenance.ts';
import type { Health } from '../container/traffic.ts';

/** Ask for an inspection of a container, because of an event of `at`; 0 if there was none. */
export interface InspectionRequest {
  readonly id: ContainerId;
  readonly at: number;
  /** The life cycle asks too, after a list, a move or a failure. */
  readonly isKept?: boolean;
}

/** One request in place of two that wait: the later event counts. */
export function merged(older: InspectionRequest, newer: InspectionRequest): InspectionRequest {
  const later = newer.at > older.at ? newer : older;
  // mutant: keep no request that an event joins
  return older.isKept === newer.isKept ? later : { ...later, isKept: true };
}

/** Whether a death at `diedAt` ends the need for the inspection: nothing but earlier events asked for it. */
export function isNeedless({ at, isKept }: InspectionRequest, diedAt: number): boolean {
  // mutant: let a death withdraw a retry
  // mutant: let a death withdraw a later start
  return !isKept && at <= diedAt;
}

/** An inspection that began at `began`, because of an event of `at`, found this. */
export interface Inspected {
  readonly kind: 'inspected';
  readonly id: ContainerId;
  readonly at: number;
  readonly began: number;
  readonly inspection: Inspection;
}

/** The engine reported the end of the container's process. */
export interface Died {
  readonly kind: 'died';
  readonly id: ContainerId;
  readonly at: number;
  readonly heard: number;
  /** It may have been asked to end: no crash. */
  readonly isAsked?: true | undefined;
}

/** A signal was sent to the container's main process, from outside. */
export interface Killed {
  readonly kind: 'killed';
  readonly id: ContainerId;
  /** 0 where the engine does not say which. */
  readonly signal: number;
  readonly at: number;
}

/** The container was connected to, or disconnected from, a network; was paused, renamed; or its health was told. */
export interface Moved {
  readonly kind: 'moved';
  readonly id: ContainerId;
  readonly heard: number;
  /** Where the event is about its health alone. */
  readonly health?: Health | undefined;
}

export type Observation =
  | Inspected
  | Killed
  | Died
  | Moved
  /** A complete list that began at `began` shows the container. After a gap (`full`) everything is inspected again. */
  | {
      readonly kind: 'listed';
      readonly id: ContainerId;
      readonly began: number;
      readonly fingerprint: string;
      readonly full: boolean;
    }
  /** A complete list that began at `began` does not show the container. */
  | { readonly kind: 'unlisted'; readonly began: number }
  /** etcd holds keys of the container, and it is unknown here whether it should. */
  | { readonly kind: 'found' }
  /** Another process published the container otherwise than this one would, and may know more. */
  | { readonly kind: 'fenced' }
  /** The time has come for the retry that the state waits for. */
  | { readonly kind: 'woke' }
  /** The time has come at which the verdict of the state ends. */
  | { readonly kind: 'due' }
  /** The engine is away, and the main process of the container has ended. */
  | { readonly kind: 'ended'; readonly heard: number }
  /** The engine has been away for so long that nothing of it is believed any more. */
  | { readonly kind: 'given-up' }
  /** Maintenance begins or ends, or the agent drains its host: see the context. */
  | { readonly kind: 'taken-out' };

/** The messages of the reconciler. */
export type ReconcilerMessage =
  | Inspected
  | Killed
  | Died
  | Moved
  /** All decisions of people about this host, as they are now. */
  | { readonly kind: 'maintenance'; readonly maintenance: Maintenance }
  /** The agent will end: everything is withdrawn. */
  | { readonly kind: 'drain' }
  /** The engine is away, or back: then a full list was told before. */
  | { readonly kind: 'engine'; readonly isAway: boolean }
  /** A complete list. */
  | {
      readonly kind: 'list';
      readonly began: number;
      readonly containers: readonly Listed[];
      readonly full: boolean;
      /** The interval alone asked for the list: each change in it should have had an event. */
      readonly isPeriodic: boolean;
    }
  /** The time has come that the state of a container waited for. */
  | { readonly kind: 'woke' | 'due'; readonly shortId: string }
  /** The ledger has a new reading of etcd. About the uncertain containers another process may know more than this. */
  | { readonly kind: 'read'; readonly uncertain: readonly string[] };
