/**
 * The relay: `/v1/services` and `/v1/services/<name>` at an address of its own, for the containers of this host.
 *
 * It has nothing of the agent itself: no status, no metrics, no page. So it can be handed to containers, as a socket or as
 * an address of their bridge, and it takes many more readers than the endpoint.
 */
import type { Fleet } from './fleet.ts';
import type { HttpListener } from './server.ts';
import { Places, Services } from './services.ts';

const readersMax = 4_000;
/** Readers that stay, and as many again that only ask. */
export const relayConnectionsMax = 2 * readersMax;

export class Relay {
  readonly #services: Services;
  readonly #places = new Places(readersMax);

  constructor(listener: HttpListener, hosts: readonly string[], fleet: Fleet) {
    const services = new Services(fleet, listener, this.#places);
    this.#services = services;
    listener.serve(hosts, (request, response) => {
      const [, name] = /^\/v1\/services(?:\/([^/]+))?$/.exec(request.path) ?? [];
      if (!request.path.startsWith('/v1/services') || (name === undefined && request.path !== '/v1/services')) {
        return listener.fail(response, 404, 'There are /v1/services and /v1/services/<name>');
      }
      const decoded = name === undefined ? undefined : decode(name);
      if (name !== undefined && decoded === undefined) return listener.fail(response, 400, 'The path is not UTF-8');
      return services.answer({ ...request, name: decoded }, response);
    });
  }

  /** Readers that follow an answer or wait for it. */
  get readers(): number {
    return this.#places.size;
  }

  close(): void {
    this.#services.close();
  }
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}
