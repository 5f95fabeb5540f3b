/**
 * Inspector: takes container ids, has the pool inspect them, tells the reconciler the results.
 *
 * A batch is all ids that gathered while the pool was busy, so it is one id on a calm host and `batchMax`
 * on a busy one. An id stays in flight until its own result is in, also when the result comes after its
 * batch. A result that events have overtaken is told like any other: the life cycle judges it.
 */

import type { Actor, Ref, Self } from '../actor/actor.ts';
import type { Clock } from '../actor/clock.ts';
import type { ContainerId, Inspection } from '../container/container.ts';
import { messageOf } from '../errors.ts';
import type { Inspected, InspectionRequest } from '../lifecycle/observation.ts';
import type { Sequence } from '../lifecycle/sequence.ts';
import type { Metrics } from '../metrics.ts';
import type { Report } from './batch.ts';
import type { InspectionPool } from './pool.ts';

/** Ids per task: enough to share the cost of a task, few enough not to delay the first id. */
export const inspectBatchMax = 32;
/** Above the time limit of one inspection, so that only the inspections of a lost thread reach this limit. */
const lateTimeoutMs = 8_000;

export interface InspectorParts {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly pool: InspectionPool;
  /** The API version that was negotiated, as a path prefix. */
  readonly versionPrefix: () => string;
  readonly sequence: Sequence;
  readonly reconciler: Ref<Inspected>;
}

interface Late {
  readonly request: InspectionRequest;
  readonly began: number;
  readonly cancel: () => void;
}

export class Inspector implements Actor<InspectionRequest> {
  readonly #parts: InspectorParts;
  readonly #self: Self<InspectionRequest>;
  readonly #late = new Map<ContainerId, Late>();
  /** Tasks that are not yet handed back, with the late results that came for them before that. */
  readonly #open = new Map<number, Map<ContainerId, Inspection>>();

  /** By the moment at which a task began: the number of its containers without a result. */
  readonly #missing = new Map<number, number>();

  constructor(parts: InspectorParts, self: Self<InspectionRequest>, signal: AbortSignal) {
    this.#parts = parts;
    this.#self = self;
    const stopListening = parts.pool.late.add((task, report) => this.#arrived(task, report));
    // Results for this incarnation after its end are dropped.
    signal.addEventListener('abort', () => {
      stopListening();
      for (const began of this.#missing.keys()) parts.sequence.end(began);
    });
  }

  async receive(batch: readonly InspectionRequest[]): Promise<readonly InspectionRequest[]> {
    const { clock, pool, metrics, sequence, versionPrefix } = this.#parts;
    // mutant: count a task as told before it is
    const began = sequence.begin();
    const waiting = new Map(batch.map((request) => [request.id, request]));
    metrics.tasks++;
    metrics.inspections += batch.length;
    const beganMs = clock.now();
    const early = new Map<ContainerId, Inspection>();
    this.#open.set(began, early);
    try {
      const reports = await pool.inspect(began, versionPrefix(), [...waiting.keys()]);
      metrics.taskSeconds.observe((clock.now() - beganMs) / 1000);
      // mutant: forget what came before its batch
      const found = [...reports.map(({ id, inspection }) => [id, inspection] as const), ...early];
      for (const [id, inspection] of found) {
        const request = waiting.get(id);
        if (request !== undefined && waiting.delete(id)) this.#report(request, began, inspection);
      }
    } catch (error) {
      // mutant (2 lines): take a lost task for absence
      // mutant (2 lines): forget a task that was lost
      for (const request of waiting.values())
        this.#report(request, began, { kind: 'failed', detail: messageOf(error) });
      sequence.end(began);
      return [];
    } finally {
      this.#open.delete(began);
    }
    if (waiting.size === 0) sequence.end(began);
    else this.#missing.set(began, waiting.size);
    // mutant: wait for nothing that is late
    for (const request of waiting.values()) this.#await(request, began);
    return [...waiting.values()];
  }

  #await(request: InspectionRequest, began: number): void {
    // mutant: take a lost thread for absence
    const lost: Report = { id: request.id, inspection: { kind: 'failed', detail: 'pool thread lost' } };
    const cancel = this.#parts.clock.after(lateTimeoutMs, () => this.#arrived(began, lost));
    this.#late.set(request.id, { request, began, cancel });
  }

  #arrived(task: number, { id, inspection }: Report): void {
    const late = this.#late.get(id);
    if (late?.began !== task) {
      this.#open.get(task)?.set(id, inspection);
      return;
    }
    this.#late.delete(id);
    late.cancel();
    this.#report(late.request, task, inspection);
    this.#arrivedOne(task);
    // mutant: never end a late flight
    this.#self.done(late.request);
  }

  #arrivedOne(task: number): void {
    const missing = (this.#missing.get(task) ?? 1) - 1;
    if (missing > 0) this.#missing.set(task, missing);
    else {
      this.#missing.delete(task);
      this.#parts.sequence.end(task);
    }
  }

  #report({ id, at }: InspectionRequest, began: number, inspection: Inspection): void {
    this.#parts.reconciler.tell({ kind: 'inspected', id, at, began, inspection });
  }
}
