/**
 * Names of gRPC: `discover:///web` or `discover:///web?realm=production` stands for all live instances of
 * a service, and calls go to each in turn. The public entry `docker-discover/grpc`.
 *
 *     registerDiscoverResolver(client);
 *     const greeter = new Greeter('discover:///greeter', credentials.createInsecure());
 *
 * The resolver tells a channel of every set that the client is told of. A connection to an instance that
 * is gone takes no new calls and is closed when those on it have ended, so a server that goes on for a
 * moment after its key has gone fails none. While etcd is away the channel keeps what it has.
 */

import { experimental, status } from '@grpc/grpc-js';
import { messageOf } from '../errors.ts';
import type { Instance } from '../layout/instance.ts';
import type { DiscoverClient } from './client.ts';

const { registerResolver, statusOrFromError, statusOrFromValue } = experimental;
type Resolver = experimental.Resolver;
type Target = experimental.GrpcUri;
type Listener = experimental.ResolverListener;

const roundRobin = statusOrFromValue({ loadBalancingConfig: [{ round_robin: {} }], methodConfig: [] });

/** For all channels made from now on. */
export function registerDiscoverResolver(client: DiscoverClient): void {
  registerResolver(
    'discover',
    class extends DiscoverResolver {
      constructor(target: Target, listener: Listener, options: object) {
        super(client, target, listener, 'grpc.service_config' in options);
      }

      static getDefaultAuthority(target: Target): string {
        return queryOf(target).name;
      }
    },
  );
}

class DiscoverResolver implements Resolver {
  readonly #client: DiscoverClient;
  readonly #target: Target;
  readonly #listener: Listener;
  readonly #hasServiceConfig: boolean;
  #watching: AbortController | undefined;

  constructor(client: DiscoverClient, target: Target, listener: Listener, hasServiceConfig: boolean) {
    this.#client = client;
    this.#target = target;
    this.#listener = listener;
    this.#hasServiceConfig = hasServiceConfig;
  }

  /** Asked for again whenever a connection is lost: what is watched needs no asking. */
  updateResolution(): void {
    if (this.#watching !== undefined) return;
    this.#watching = new AbortController();
    void this.#watch(this.#watching.signal);
  }

  destroy(): void {
    this.#watching?.abort();
    this.#watching = undefined;
  }

  async #watch(signal: AbortSignal): Promise<void> {
    // The channel's own service configuration counts, where it has one.
    const config = this.#hasServiceConfig ? null : roundRobin;
    try {
      const { name, realm } = queryOf(this.#target);
      for await (const { instances } of this.#client.watch(name, { realm, protocol: 'tcp', signal })) {
        const endpoints = instances.map(endpointOf);
        this.#listener(statusOrFromValue(endpoints), {}, config, '');
        // Told of an empty list alone, round_robin would have calls wait for their deadlines.
        if (endpoints.length === 0) this.#listener(unavailable(`${name} has no instances`), {}, config, '');
      }
    } catch (error) {
      if (!signal.aborted) this.#listener(unavailable(messageOf(error)), {}, config, '');
    } finally {
      // Refused, or the client was closed: the next time it is asked, it tries anew.
      if (!signal.aborted) this.#watching = undefined;
    }
  }
}

const unavailable = (details: string) =>
  statusOrFromError<experimental.Endpoint[]>({ code: status.UNAVAILABLE, details });

function endpointOf({ address, port }: Instance): experimental.Endpoint {
  return { addresses: [{ host: address, port }] };
}

/** Of `discover:///web?realm=production`, the path is `web?realm=production`. */
function queryOf({ path }: Target): { readonly name: string; readonly realm: string | undefined } {
  const [name = '', query] = path.split('?', 2);
  return { name, realm: new URLSearchParams(query).get('realm') ?? undefined };
}
