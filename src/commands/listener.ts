/**
 * The process that listens at an address of this machine, as /proc shows it: see proc(5).
 *
 * A process is found only if this user may see its files, such as a process of its own.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export type ListeningAt = { readonly port: number } | { readonly path: string };

const listeningTcp = '0A';
const listeningUnix = '00010000';

export function listenerOf(place: ListeningAt): number | undefined {
  const sockets = new Set([...('path' in place ? unixSockets(place.path) : tcpSockets(place.port))]);
  if (sockets.size === 0) return undefined;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => filesOf(pid).some((file) => sockets.has(file)));
}

/** `sl local remote state queues timer retransmits uid timeout inode`, the port in hexadecimal behind a colon. */
function* tcpSockets(port: number): Iterable<string> {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  for (const table of ['tcp', 'tcp6']) {
    for (const line of linesOf(`/proc/net/${table}`)) {
      const [, local = '', , state, , , , , , inode] = line;
      if (state === listeningTcp && local.endsWith(`:${wanted}`)) yield `socket:[${inode}]`;
    }
  }
}

/** `address count protocol flags type state inode path`. */
function* unixSockets(path: string): Iterable<string> {
  for (const [, , , flags, , , inode, ...rest] of linesOf('/proc/net/unix')) {
    if (flags === listeningUnix && rest.join(' ') === path) yield `socket:[${inode}]`;
  }
}

function linesOf(file: string): string[][] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/ +/));
  } catch {
    return []; // without IPv6 there is no tcp6
  }
}

/** What its descriptors lead to; none of a process that has ended, or is of another user. */
function filesOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${name}`)];
      } catch {
        return []; // closed meanwhile
      }
    });
  } catch {
    return [];
  }
}
