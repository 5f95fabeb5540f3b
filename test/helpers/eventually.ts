/**
 * The only wait of the tests: ask again until the assertion holds.
 *
 * The deadline is a guard against hanging, never a claim about speed, so it is generous. What is
 * thrown in the end is the last error of the assertion itself, with the time that has passed
 * added to its message. An assertion that does not settle counts as failed at the deadline.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** How long anything may take that has to happen: as long as the slowest machine could need, with others at work on it. */
export const guardMs = 120_000;

export interface EventuallyOptions {
  readonly timeoutMs?: number;
  readonly everyMs?: number;
}

export async function eventually<T>(assertion: () => T | Promise<T>, options: EventuallyOptions = {}): Promise<T> {
  const { timeoutMs = guardMs, everyMs = 25 } = options;
  const startedAt = performance.now();
  const elapsed = (): string => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
  let lastError: unknown = new Error('The assertion has not settled once');
  for (;;) {
    const leftMs = timeoutMs - (performance.now() - startedAt);
    const deadline = new AbortController();
    try {
      return await Promise.race([
        assertion(),
        sleep(Math.max(leftMs, 0), undefined, { signal: deadline.signal }).then(() => {
          throw lastError;
        }),
      ]);
    } catch (error) {
      lastError = error;
    } finally {
      deadline.abort();
    }
    if (performance.now() - startedAt >= timeoutMs) {
      if (lastError instanceof Error) {
        lastError.message += `\n(still so after ${elapsed()})`;
      }
      throw lastError;
    }
    await sleep(everyMs);
  }
}
