/**
 * The identity of this process, so that a successor on the same machine can tell whether it still lives.
 *
 * A pid alone says nothing: it is used again, and it means another process in another container. So a
 * process is named by the boot of the machine, the pid namespace, the pid and the moment of its start.
 * Only if the first two are the same, its liveness can be seen. See proc(5).
 *
 * A container that was killed and started again has another pid namespace. Its name is the same, and a container has one
 * life at a time: so a process of an earlier one is gone.
 */

import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import type { ProcessIdentity } from '../layout/owner.ts';
import { startTicksOf } from '../processes.ts';

export type Liveness = 'alive' | 'gone' | 'unknown';

/** Undefined if there is no /proc to read it from. */
export function ownIdentity(): ProcessIdentity | undefined {
  try {
    const startTicks = startTicksOf('self');
    if (startTicks === undefined) return undefined;
    const container = containerIn(readFileSync('/proc/self/mountinfo', 'utf8'));
    return {
      boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
      pidNamespace: readlinkSync('/proc/self/ns/pid'),
      pid: process.pid,
      startTicks,
      ...(container !== undefined && { container }),
    };
  } catch {
    return undefined;
  }
}

/** Whether the process so named still runs, as far as can be proved from here. */
export function livenessOf(other: ProcessIdentity | undefined, self = ownIdentity()): Liveness {
  if (self === undefined || other === undefined) return 'unknown';
  if (other.boot !== self.boot) return 'unknown';
  if (other.pidNamespace !== self.pidNamespace) {
    return other.container !== undefined && other.container === self.container ? 'gone' : 'unknown';
  }
  try {
    return startTicksOf(String(other.pid)) === other.startTicks ? 'alive' : 'gone';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'gone' : 'unknown';
  }
}

/** The files that an engine mounts into every container, from a folder with the id of the container. */
const mountedFile = /\/([\da-f]{64})\/(?:userdata\/)?(hostname|hosts|resolv\.conf) \/etc\/\2 /;
/** The line of the root: its path in its file system, and behind the hyphen type, source and layers of that. */
const rootMount = /^\d+ \d+ \S+ (\S+) \/ .*? - (.*)$/;

/**
 * Names a container for all of its lives, by the mounts in it; undefined outside containers. Containers that share a
 * network share the files, so the root is part of the name.
 */
export function containerIn(mounts: string): string | undefined {
  const id = mountedFile.exec(mounts)?.[1];
  const lines = mounts.split('\n').reverse();
  const [, path, layers] = lines.map((line) => rootMount.exec(line)).find((found) => found !== null) ?? [];
  if (id === undefined || path === undefined) return undefined;
  const root = createHash('sha256').update(`${path} ${layers}`).digest('hex');
  return `${id.slice(0, 12)}-${root.slice(0, 12)}`;
}
