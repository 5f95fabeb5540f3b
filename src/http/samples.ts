/**
 * The last ten minutes of the counters that the page draws, so that its charts are full when it opens. Kept only while
 * `http.listen` is set, in memory, over reloads and not over restarts: 120 samples.
 */
import type { Agent } from '../agent.ts';
import type { Sample } from './shapes.ts';

export const sampleEveryMs = 5_000;
export const samplesMax = 120;

export class Samples {
  readonly #samples: Sample[] = [];

  /** Samples the agent until the returned function is called. */
  follow(agent: Agent): () => void {
    const take = (): void => {
      this.#samples.push(sampleOf(agent));
      if (this.#samples.length > samplesMax) this.#samples.shift();
    };
    take();
    const timer = setInterval(take, sampleEveryMs).unref();
    return () => clearInterval(timer);
  }

  get all(): readonly Sample[] {
    return this.#samples;
  }
}

function sampleOf({ metrics, startedAt }: Agent): Sample {
  const { published, unpublished, publishSeconds } = metrics;
  const latency = { buckets: publishSeconds.cumulative(), count: publishSeconds.count };
  return {
    now: new Date().toISOString(),
    startedAt: new Date(startedAt).toISOString(),
    totals: { published, unpublished },
    latency,
  };
}
