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
import { messageOf } from '../errors.ts';
import type { Metrics } from '../metrics.ts';
import type { ContainerId, Inspection } from '../model/container.ts';
import type { Fact, Look } from '../model/messages.ts';
import type { Report } from './look.ts';
import type { Looks } from './pool.ts';

/** Ids per task: enough to spread the cost of a task thin, few enough not to hold up the first. */
export const inspectBatchMax = 32;
/** Above the time limit of one inspection, so that only what a lost thread took with it runs into it. */
const lateTimeoutMs = 8_000;

export interface InspectorParts {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly mailbox: KeyedMailbox<Look>;
  readonly looks: Looks;
  /** The API version that was negotiated, as a path prefix. */
  readonly versionPrefix: () => string;
  readonly tick: () => number;
  readonly reconciler: Ref<Fact>;
}

interface Late {
  readonly look: Look;
  readonly began: number;
  readonly cancel: () => void;
}

export class Inspector implements Actor<Look> {
  readonly #parts: InspectorParts;
  readonly #self: Self<Look>;
  readonly #late = new Map<ContainerId, Late>();
  /** Tasks not yet handed back, with what came for them by the other way meanwhile. */
  readonly #open = new Map<number, Map<ContainerId, Inspection>>();

  constructor(parts: InspectorParts, self: Self<Look>) {
    this.#parts = parts;
    this.#self = self;
    parts.looks.onLate = (task, report) => this.#arrived(task, report);
  }

  async receive(batch: readonly Look[]): Promise<readonly Look[]> {
    const { clock, looks, metrics, tick, versionPrefix } = this.#parts;
    const began = tick();
    const waiting = new Map(batch.map((look) => [look.id, look]));
    metrics.tasks++;
    metrics.looks += batch.length;
    const beganMs = clock.now();
    const early = new Map<ContainerId, Inspection>();
    this.#open.set(began, early);
    try {
      const reports = await looks.look(began, versionPrefix(), [...waiting.keys()]);
      metrics.taskSeconds.observe((clock.now() - beganMs) / 1000);
      const found = [...reports.map(({ id, inspection }) => [id, inspection] as const), ...early];
      for (const [id, inspection] of found) {
        const look = waiting.get(id);
        if (look !== undefined && waiting.delete(id)) this.#report(look, began, inspection);
      }
    } catch (error) {
      for (const look of waiting.values()) this.#report(look, began, { kind: 'failed', detail: messageOf(error) });
      return [];
    } finally {
      this.#open.delete(began);
    }
    for (const look of waiting.values()) this.#await(look, began);
    return [...waiting.values()];
  }

  #await(look: Look, began: number): void {
    const lost: Report = { id: look.id, inspection: { kind: 'failed', detail: 'pool thread lost' } };
    const cancel = this.#parts.clock.after(lateTimeoutMs, () => this.#arrived(began, lost));
    this.#late.set(look.id, { look, began, cancel });
  }

  #arrived(task: number, { id, inspection }: Report): void {
    const late = this.#late.get(id);
    if (late?.began !== task) {
      this.#open.get(task)?.set(id, inspection);
      return;
    }
    this.#late.delete(id);
    late.cancel();
    this.#report(late.look, task, inspection);
    this.#self.done(late.look);
  }

  #report({ id, at }: Look, began: number, inspection: Inspection): void {
    const { mailbox, reconciler } = this.#parts;
    const overtaken = mailbox.recalledAt(id);
    if (overtaken !== undefined && !(inspection.kind === 'running' && inspection.startedAt > overtaken)) return;
    reconciler.tell({ kind: 'looked', id, at, began, inspection });
  }
}
