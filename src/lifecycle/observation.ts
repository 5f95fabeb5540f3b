/**
 * What actors say to each other, in the order of the data.
 *
 *     watcher ── Look ──► inspector ── Fact ──► reconciler ── short id ──► writer ── doubt ──► lease keeper
 *        └───────────────── Fact ──────────────────┘
 */

import type { ContainerId, Inspection, Listed } from '../container/container.ts';

/** Ask for a look at a container, because of an event of `at` (the engine's nanoseconds; 0 if there was none). */
export interface InspectionRequest {
  readonly id: ContainerId;
  readonly at: number;
}

/** What was found out. A tick counts moments: of two, the later one is larger. */
export type Observation =
  /** A look that began at the tick `began`, because of an event of `at`, found this. */
  | {
      readonly kind: 'inspected';
      readonly id: ContainerId;
      readonly at: number;
      readonly began: number;
      readonly inspection: Inspection;
    }
  /** The engine reported the end of the container's process, at `at` nanoseconds by its own clock. */
  | { readonly kind: 'died'; readonly id: ContainerId; readonly at: number }
  /** The container was connected to, or disconnected from, a network. */
  | { readonly kind: 'moved'; readonly id: ContainerId }
  /** A complete list, begun at the tick `began`. `thorough` after a gap: all that is listed is looked at again. */
  | {
      readonly kind: 'listed';
      readonly began: number;
      readonly containers: readonly Listed[];
      readonly full: boolean;
    }
  /** What etcd holds for this host was read anew into the ledger. Of those in doubt another process may know more than we. */
  | { readonly kind: 'read'; readonly uncertain: readonly string[] };
