/**
 * Time and chance, passed to every part that needs them.
 *
 * `now` never goes back and is what deadlines are made of; the wall clock is only for what people
 * read. Nothing under `src/` but this file, the pool threads and the clients of engine and etcd touches
 * the global timers, so a test or a simulation can own both.
 */

export interface Clock {
  /** Milliseconds on a clock that never goes back. */
  now(): number;
  /** Milliseconds since the epoch, for people only. */
  wall(): number;
  /** A number in [0, 1). */
  random(): number;
  /** Runs `action` once after `ms`, unless the returned function is called first. */
  after(ms: number, action: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  random: () => Math.random(),
  after(ms, action) {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
};

/** Resolves after `ms`, or as soon as `signal` is aborted: who waits looks at the signal. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const finish = () => {
      cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = clock.after(ms, finish);
    signal?.addEventListener('abort', finish, { once: true });
  });
}

/**
 * Settles as `work` does, or rejects with what `onTimeout` returns once `ms` have passed. The work
 * itself goes on: this bounds the wait, and whoever started the work bounds the work.
 */
export function deadline<Value>(
  clock: Clock,
  ms: number,
  work: Promise<Value>,
  onTimeout: () => unknown,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => reject(onTimeout()));
    work.finally(cancel).then(resolve, reject);
  });
}
