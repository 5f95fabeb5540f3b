/**
 * Time and chance, passed to every part that needs them.
 *
 * Deadlines use `now`, which never goes back. The wall clock is only for people. The actors use no global timer, so a
 * test or a simulation can own their time. Global timers are left to code outside the actors: the process, the log,
 * the HTTP endpoint, the pool threads and the clients of engine and etcd.
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

/** Resolves after `ms`, or as soon as `signal` is aborted. The caller has to look at the signal. */
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
 * Settles as `work` does, or rejects with the result of `onTimeout` after `ms`. The work itself continues: this
 * function bounds the wait, and the code that started the work has to bound the work.
 */
export function deadline<Value>(
  clock: Clock,
  ms: number,
  work: Promise<Value>,
  onTimeout: () => unknown,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => reject(onTimeout()));
    // One step rather than "finally" and "then": each commit and each task waits here.
    work.then(
      (value) => {
        cancel();
        resolve(value);
      },
      (error: unknown) => {
        cancel();
        reject(error);
      },
    );
  });
}
