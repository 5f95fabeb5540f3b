/**
 * Names of gRPC: `discover:///web` or `discover:///web?realm=production` means all live instances of a
 * service, and calls go to each in proportion to its weight. The public entry `docker-discover/grpc`.
 *
 *     registerDiscoverResolver(client);
 *     const greeter = new Greeter('discover:///greeter', credentials.createInsecure());
 *
 * The resolver hands a channel every set that the client gets. A connection to an instance that is gone
 * takes no new calls and is closed when the calls on it have ended. So no call fails if a server goes on
 * for a moment after its key has gone. While etcd is away the channel keeps its last set.
 */

import { experimental, type MethodConfig, type ServiceConfig, status } from '@grpc/grpc-js';
import { messageOf } from '../errors.ts';
import type { Instance } from '../layout/instance.ts';
import type { DiscoverClient } from './client.ts';
import { registerWeightedBalancer, weightedBy } from './grpc-balancer.ts';
import { priorityOf, type Ranked, weightOf } from './pick.ts';

const { endpointToString, parseDuration, registerResolver, statusOrFromError, statusOrFromValue } = experimental;
type Resolver = experimental.Resolver;
type Target = experimental.GrpcUri;
type Listener = experimental.ResolverListener;

/** The service configuration for a set of addresses; null if the channel's own configuration counts. */
type ConfigFor = (ranks: Readonly<Record<string, Ranked>>) => Parameters<Listener>[2];

/** For all channels made from now on. */
export function registerDiscoverResolver(client: DiscoverClient): void {
  registerWeightedBalancer();
  registerResolver(
    'discover',
    class extends DiscoverResolver {
      constructor(target: Target, listener: Listener, options: object) {
        super(client, target, listener, configFor(options));
      }

      static getDefaultAuthority(target: Target): string {
        return nameOf(target);
      }
    },
  );
}

class DiscoverResolver implements Resolver {
  readonly #client: DiscoverClient;
  readonly #target: Target;
  readonly #listener: Listener;
  readonly #config: ConfigFor;
  #watching: AbortController | undefined;

  constructor(client: DiscoverClient, target: Target, listener: Listener, config: ConfigFor) {
    this.#client = client;
    this.#target = target;
    this.#listener = listener;
    this.#config = config;
  }

  /** Called again whenever a connection is lost. A service that is already watched needs no new request. */
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
    try {
      const { name, realm } = queryOf(this.#target);
      for await (const { instances } of this.#client.watch(name, { realm, protocol: 'tcp', signal })) {
        const { endpoints, ranks } = addressesOf(instances);
        this.#listener(statusOrFromValue(endpoints), {}, this.#config(ranks), '');
        // With only an empty list, a policy such as round_robin would let calls wait for their deadlines.
        if (endpoints.length === 0) this.#listener(unavailable(`${name} has no instances`), {}, this.#config({}), '');
      }
    } catch (error) {
      if (!signal.aborted) this.#listener(unavailable(messageOf(error)), {}, this.#config({}), '');
    } finally {
      // Refused, or the client was closed: the next call tries again.
      if (!signal.aborted) this.#watching = undefined;
    }
  }
}

const unavailable = (details: string) =>
  statusOrFromError<experimental.Endpoint[]>({ code: status.UNAVAILABLE, details });

/**
 * Each address once, as a channel has one connection to it. Instances at one address have the calls of all of them
 * together, as by `pick`: of the lowest priority, the sum of their weights.
 */
function addressesOf(instances: readonly Instance[]) {
  const endpoints = new Map<string, experimental.Endpoint>();
  const ranks: Record<string, Ranked> = {};
  for (const instance of instances) {
    const endpoint = { addresses: [{ host: instance.address, port: instance.port }] };
    const name = endpointToString(endpoint);
    endpoints.set(name, endpoint);
    const [weight, priority] = [weightOf(instance), priorityOf(instance)];
    const other = ranks[name];
    if (other === undefined || priorityOf(other) > priority) ranks[name] = { weight, priority };
    else if (priorityOf(other) === priority) ranks[name] = { weight: weight + weightOf(other), priority };
  }
  return { endpoints: [...endpoints.values()], ranks };
}

/**
 * A configuration of the channel without a policy of load balancing (only a retry policy, a time-out) stays and gets the
 * policy of this resolver; one with a policy counts alone.
 */
function configFor(options: object): ConfigFor {
  const own: unknown = 'grpc.service_config' in options ? options['grpc.service_config'] : undefined;
  let rest: ServiceConfig = { loadBalancingConfig: [], methodConfig: [] };
  if (own !== undefined) {
    try {
      const parsed: unknown = JSON.parse(String(own));
      if (!isRecord(parsed)) return () => null;
      const policies = parsed.loadBalancingConfig;
      const hasPolicy = 'loadBalancingPolicy' in parsed || (Array.isArray(policies) && policies.length > 0);
      if (hasPolicy) return () => null;
      rest = checkedConfig(parsed);
    } catch {
      // grpc-js reports the mistake in it.
      return () => null;
    }
  }
  return (ranks) => statusOrFromValue({ ...rest, loadBalancingConfig: [weightedBy(ranks)] });
}

/** `own` is of the form that grpc-js demands: it has checked this very text before it asks for a resolver. */
function checkedConfig(own: Record<string, unknown>): ServiceConfig {
  const { methodConfig = [], ...rest } = own as Partial<ServiceConfig>;
  // As grpc-js reads a configuration: durations are texts in JSON.
  const methods = methodConfig.map(({ timeout, ...method }): MethodConfig => {
    const duration = typeof timeout === 'string' ? parseDuration(timeout) : (timeout ?? null);
    return { ...method, ...(duration && { timeout: duration }) };
  });
  return { loadBalancingConfig: [], ...rest, methodConfig: methods };
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

const nameOf = ({ path }: Target): string => path.split('?', 1)[0] ?? '';

interface Query {
  readonly name: string;
  readonly realm: string | undefined;
}

/** The path of `discover:///web?realm=production` is `web?realm=production`. Throws at any other parameter. */
function queryOf({ path }: Target): Query {
  const [name = '', query] = path.split('?', 2);
  const parameters = new URLSearchParams(query);
  for (const parameter of parameters.keys()) {
    if (parameter !== 'realm') throw new Error(`a target may have the parameter realm, got "${parameter}"`);
  }
  if (parameters.getAll('realm').length > 1) throw new Error('a target may name one realm');
  return { name, realm: parameters.get('realm') ?? undefined };
}
