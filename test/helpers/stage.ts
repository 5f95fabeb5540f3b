/**
 * What every unit test of an actor has around it: a virtual clock, a log that is kept, and metrics. Each extends it with
 * what its actor works on.
 */
import { createMetrics } from '../../src/metrics.ts';
import { VirtualClock } from '../sim/clock.ts';
import { recordingLog } from './recording-log.ts';

export class BaseStage {
  readonly clock: VirtualClock;
  readonly log = recordingLog();
  readonly metrics = createMetrics();

  constructor(seed?: number) {
    this.clock = new VirtualClock(seed);
  }

  /** The messages of errors and warnings. */
  get warnings(): string[] {
    return this.log.loud.map(({ message }) => message);
  }
}
