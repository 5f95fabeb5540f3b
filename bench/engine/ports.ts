/** The host's ports: which are taken, and which ephemeral one is next, as dockerd hands them out. */
import type { Bindings, PortSpec } from './documents.ts';

export class HostPorts {
  readonly #range: readonly [number, number];
  /** `8080/tcp`: a port of one protocol says nothing of another's. */
  readonly #taken = new Set<string>();
  #last: number;

  constructor(range: readonly [number, number]) {
    this.#range = range;
    this.#last = range[0] - 1;
  }

  /** Throws when the port is taken, or none is left. */
  bind({ container, hostIp, hostPort, published }: PortSpec): Bindings {
    if (published === false) return null;
    const protocol = container.split('/')[1] ?? 'tcp';
    const number = hostPort ?? this.#next(protocol);
    if (this.#taken.has(`${number}/${protocol}`)) throw new Error(`Port is already allocated: ${number}/${protocol}`);
    this.#taken.add(`${number}/${protocol}`);
    return (hostIp ? [hostIp] : ['0.0.0.0', '::']).map((HostIp) => ({ HostIp, HostPort: String(number) }));
  }

  free(bindings: ReadonlyMap<string, Bindings>): void {
    for (const [container, bound] of bindings) {
      const protocol = container.split('/')[1] ?? 'tcp';
      for (const { HostPort } of bound ?? []) this.#taken.delete(`${HostPort}/${protocol}`);
    }
  }

  /** The one after the last given out, so that a port comes back as late as may be. */
  #next(protocol: string): number {
    const [low, high] = this.#range;
    for (let tries = low; tries <= high; tries++) {
      this.#last = this.#last >= high ? low : this.#last + 1;
      if (!this.#taken.has(`${this.#last}/${protocol}`)) return this.#last;
    }
    throw new Error('All ephemeral ports are taken');
  }
}
