/**
 * Changes in the knowledge of Docker, etcd and the lease, as lines of the log: the words of `/status` and of the page.
 *
 * A part that becomes stale or unknown leads to a warning with its cause, consequence and remedy; a part that is known
 * again leads to a line. The health is read once a second: a shorter change is not reported.
 */

import { type Health, partNames } from '../health.ts';
import type { Log } from '../log.ts';

const everyMs = 1_000;
/** The time after a start in which an unknown part leads to no warning. */
const graceMs = 5_000;
const parts = ['docker', 'etcd', 'lease'] as const satisfies readonly (keyof Health)[];

/** Logs until the returned function is called. */
export function logHealth(read: () => Health, log: () => Log): () => void {
  const last: Record<(typeof parts)[number], Health['docker']['state']> = {
    docker: 'unknown',
    etcd: 'unknown',
    lease: 'unknown',
  };
  const warned = new Set<string>();
  let ageMs = 0;
  const look = (): void => {
    ageMs += everyMs;
    const health = read();
    for (const part of parts) {
      const { state, summary, since, cause, consequence, remedy } = health[part];
      const isNews = state !== last[part] || (state !== 'known' && !warned.has(part));
      if (!isNews || (ageMs < graceMs && state !== 'known')) continue;
      last[part] = state;
      if (state !== 'known') {
        warned.add(part);
        log().warn({ part, state, since, cause, consequence, remedy }, `${partNames[part]}: ${summary}`);
      } else if (warned.delete(part)) {
        log().info({ part, state, since }, `${partNames[part]}: ${summary}`);
      }
    }
  };
  const timer = setInterval(look, everyMs).unref();
  return () => clearInterval(timer);
}
