/**
 * Connections of the HTTP endpoint: the limits of their number and of the requests on each of them.
 *
 * - One answer at a time per connection. A few pipelined requests of a client wait unanswered; a client that sends more
 *   is disconnected. So a client that reads nothing costs only one answer.
 * - Above the limit of connections the least useful one is closed: the longest idle connection, else the connection
 *   whose answer has waited longest for its reader. A new connection is never closed, so a health check always gets
 *   through. Event streams stay: they have a limit of their own, well below this one.
 */

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export const connectionsMax = 64;
/** Requests that may wait behind the one that is answered. */
const pipelinedMax = 16;

interface Peer {
  readonly waiting: (() => void)[];
  /** The response under way; undefined while the connection is idle. */
  current: ServerResponse | undefined;
  isStream: boolean;
  /** When it became idle, or when its answer began. */
  sinceMs: number;
}

export class Connections {
  readonly #peers = new Map<Socket, Peer>();
  readonly #max: number;

  constructor(max = connectionsMax) {
    this.#max = max;
  }

  get size(): number {
    return this.#peers.size;
  }

  add(socket: Socket): void {
    this.#peers.set(socket, { waiting: [], current: undefined, isStream: false, sinceMs: performance.now() });
    socket.once('close', () => this.#peers.delete(socket));
    if (this.#peers.size > this.#max) (this.#leastUseful(socket) ?? socket).destroy();
  }

  /** Calls `answer` once the answers before it are finished; never if the connection ends first. */
  inTurn(socket: Socket, response: ServerResponse, answer: () => void): void {
    const peer = this.#peers.get(socket);
    if (peer === undefined || socket.destroyed) return;
    const begin = (): void => {
      peer.current = response;
      peer.sinceMs = performance.now();
      // In another turn of the event loop: a long pipeline of one client does not delay other clients.
      response.once('close', () => setImmediate(() => this.#finished(socket, peer)));
      answer();
    };
    if (peer.current === undefined) begin();
    else if (peer.waiting.length < pipelinedMax) peer.waiting.push(begin);
    else socket.destroy();
  }

  /** This response is an event stream: it goes on until its reader leaves. */
  markStream(response: ServerResponse): void {
    const peer = response.socket === null ? undefined : this.#peers.get(response.socket);
    if (peer?.current === response) peer.isStream = true;
  }

  #finished(socket: Socket, peer: Peer): void {
    peer.current = undefined;
    peer.isStream = false;
    peer.sinceMs = performance.now();
    if (!socket.destroyed) peer.waiting.shift()?.();
  }

  #leastUseful(newest: Socket): Socket | undefined {
    let found: Socket | undefined;
    let foundRank = Number.POSITIVE_INFINITY;
    for (const [socket, { current, isStream, sinceMs }] of this.#peers) {
      if (socket === newest || isStream) continue;
      // Any idle connection goes before any that is answered.
      const rank = current === undefined ? sinceMs - Number.MAX_SAFE_INTEGER : sinceMs;
      if (rank >= foundRank) continue;
      found = socket;
      foundRank = rank;
    }
    return found;
  }
}
