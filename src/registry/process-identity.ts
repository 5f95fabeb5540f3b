/**
 * The identity of this process, so that a successor on the same machine can tell whether it still lives.
 *
 * A pid alone says nothing: it is used again, and it means another process in another container. So a
 * process is named by the boot of the machine, the pid namespace, the pid and the moment of its start.
 * Only if the first two are the same, its liveness can be known. See proc(5).
 */

import { readFileSync, readlinkSync } from 'node:fs';
import type { ProcessIdentity } from '../layout/owner.ts';
import { startTicksOf } from '../processes.ts';

export type Liveness = 'alive' | 'gone' | 'unknown';

/** Undefined if there is no /proc to read it from. */
export function ownIdentity(): ProcessIdentity | undefined {
  try {
    const startTicks = startTicksOf('self');
    if (startTicks === undefined) return undefined;
    return {
      boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
      pidNamespace: readlinkSync('/proc/self/ns/pid'),
      pid: process.pid,
      startTicks,
    };
  } catch {
    return undefined;
  }
}

/** Whether the process so named still runs, as far as can be proved from here. */
export function livenessOf(other: ProcessIdentity | undefined, self = ownIdentity()): Liveness {
  if (self === undefined || other === undefined) return 'unknown';
  if (other.boot !== self.boot || other.pidNamespace !== self.pidNamespace) return 'unknown';
  try {
    return startTicksOf(String(other.pid)) === other.startTicks ? 'alive' : 'gone';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'gone' : 'unknown';
  }
}
