/**
 * Inspector: takes container ids, has the pool look at them, tells the reconciler what was found.
 *
 * A batch is what gathered while the pool was busy, so it is one id on a calm host and `batchMax` on
 * a busy one. An id stays in flight until its own result is in, also when that comes after its
 * batch; whoever was overtaken by a death meanwhile is not reported, unless the look saw a start
 * that came after that death.
 */

import type { Actor, Ref, Self } from '../actor/actor.ts';
import type { Clock } from '../actor/clock.ts';
import type { KeyedMailbox } from '../actor/mailbox.ts';
import type { ContainerId, Inspection } from '../container/container.ts';
import { messageOf } from '../errors.ts';
import type { InspectionRequest, Observation } from '../lifecycle/observation.ts';
import type { Metrics } from '../metrics.ts';
import type { Report } from './batch.ts';
import type { InspectionPool } from './pool.ts';

/** Ids per task: enough to spread the cost of a task thin, few enough not to hold up the first. */
export const inspectBatchMax = 32;
/** Above the time limit of one inspection, so that only what a lost thread took with it runs into it. */
const lateTimeoutMs = 8_000;

export interface InspectorParts {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly mailbox: KeyedMailbox<InspectionRequest>;
  readonly pool: InspectionPool;
  /** The API version that was negotiated, as a path prefix. */
  readonly versionPrefix: () => string;
  readonly nextSequence: () => number;
  readonly reconciler: Ref<Observation>;
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
  /** Tasks not yet handed back, with what came for them by the other way meanwhile. */
  readonly #open = new Map<number, Map<ContainerId, Inspection>>();

  constructor(parts: InspectorParts, self: Self<InspectionRequest>) {
    this.#parts = parts;
    this.#self = self;
    parts.pool.onLate = (task, report) => this.#arrived(task, report);
  }

  async receive(batch: readonly InspectionRequest[]): Promise<readonly InspectionRequest[]> {
    const { clock, pool, metrics, nextSequence, versionPrefix } = this.#parts;
    const began = nextSequence();
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
      return [];
    } finally {
      this.#open.delete(began);
    }
    // mutant: wait for nobody who is late
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
    // mutant: never end a late flight
    this.#self.done(late.request);
  }

  #report({ id, at }: InspectionRequest, began: number, inspection: Inspection): void {
    const { mailbox, reconciler } = this.#parts;
    const overtaken = mailbox.recalledAt(id);
    // mutant: report nothing that was overtaken, not even a later start
    // mutant: report what was overtaken
    if (overtaken !== undefined && !(inspection.kind === 'running' && inspection.startedAt > overtaken)) return;
    reconciler.tell({ kind: 'inspected', id, at, began, inspection });
  }
}
