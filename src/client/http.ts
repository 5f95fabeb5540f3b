/**
 * Services by name in HTTP: `http://web/` goes to an instance of the service `web`. For `fetch`, and for undici.
 *
 *     const fetch = discoverFetch(client, { realm: 'production' });
 *     await fetch('http://web/orders');
 *
 *     const agent = new Agent().compose(discoverInterceptor(client));
 *     await request('http://web/orders', { dispatcher: agent });
 *
 * A name without a dot and without a port is a service; every other address stays as it is. An instance that cannot be
 * connected to is reported, and another one is tried: no byte has been sent then. Neither needs the package undici.
 */

import { DiscoverError } from '../errors.ts';
import type { Instance } from '../layout/instance.ts';
import type { DiscoverClient } from './client.ts';
import type { PickQuery } from './query.ts';

export interface HttpOptions extends Pick<PickQuery, 'realm' | 'prefer' | 'wait'> {
  /** How many instances are tried if one cannot be connected to; 3 unless given. */
  readonly tries?: number | undefined;
  /** Whether a host name is that of a service; unless given: it has no dot and is not `localhost`. */
  readonly isService?: ((name: string) => boolean) | undefined;
}

/** What this file needs of a client. */
type Chooser = Pick<DiscoverClient, 'pick' | 'reportFailed'>;

const options: ReadonlySet<string> = new Set(['realm', 'prefer', 'wait', 'tries', 'isService']);
const triesUnlessGiven = 3;
/** The connection has not come about. */
const unconnected: ReadonlySet<unknown> = new Set([
  ...['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT'],
]);

/** A `fetch` that takes names of services. Redirects lead to where the instance says. */
export function discoverFetch(client: Chooser, given: HttpOptions = {}): typeof fetch {
  const picker = new Picker(client, given);
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    if (!picker.isService(url)) return fetch(input, init);
    const request = input instanceof Request ? input : undefined;
    const signal = init?.signal ?? request?.signal;
    const tried: Instance[] = [];
    let last: unknown;
    for (;;) {
      const instance = await picker.pick(url.hostname, tried, last, signal ?? undefined);
      const there = at(url, instance);
      try {
        // A body that is a stream can be sent once; a clone leaves it for another try.
        return await (request === undefined ? fetch(there, init) : fetch(new Request(there, request.clone()), init));
      } catch (error) {
        if (!picker.isTriedAgain(error, instance, tried) || isStream(init?.body)) throw error;
        last = error;
      }
    }
  };
}

function at(url: URL, { address, port }: Instance): URL {
  const there = new URL(url);
  there.host = `${address.includes(':') ? `[${address}]` : address}:${port}`;
  return there;
}

const isStream = (body: unknown): boolean => body instanceof ReadableStream;

/** The options of a request, and what a dispatcher of undici has to do with it: as far as this file needs them. */
interface DispatchOptions {
  origin?: string | URL | undefined;
}
type Dispatch<Options, Handler> = (options: Options, handler: Handler) => boolean;

/** For `compose` of a dispatcher of undici, 6 or newer, or of the global dispatcher of Node. */
export function discoverInterceptor(
  client: Chooser,
  given: HttpOptions = {},
): <Options extends DispatchOptions, Handler extends object>(
  dispatch: Dispatch<Options, Handler>,
) => Dispatch<Options, Handler> {
  const picker = new Picker(client, given);
  return (dispatch) => (options, handler) => {
    const url = options.origin === undefined ? undefined : new URL(options.origin);
    if (url === undefined || !picker.isService(url)) return dispatch(options, handler);
    const tried: Instance[] = [];
    const attempt = async (last?: unknown): Promise<void> => {
      try {
        const instance = await picker.pick(url.hostname, tried, last);
        const again = (error: unknown): boolean => {
          if (!picker.isTriedAgain(error, instance, tried)) return false;
          void attempt(error);
          return true;
        };
        dispatch({ ...options, origin: at(url, instance).origin }, withErrors(handler, again));
      } catch (error) {
        failed(handler, error);
      }
    };
    void attempt();
    return true;
  };
}

const errorNames: ReadonlySet<unknown> = new Set(['onError', 'onResponseError']);

/** The handler, except that errors are first shown to `takes`. undici 6 calls other methods of it than undici 7. */
function withErrors<Handler extends object>(handler: Handler, takes: (error: unknown) => boolean): Handler {
  return new Proxy(handler, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...given: unknown[]) => {
        const isTaken = errorNames.has(name) && takes(name === 'onError' ? given[0] : given[1]);
        return isTaken ? undefined : Reflect.apply(value, target, given);
      };
    },
  });
}

function failed(handler: object, error: unknown): void {
  const { onError, onResponseError } = handler as {
    readonly onError?: (error: unknown) => void;
    readonly onResponseError?: (controller: unknown, error: unknown) => void;
  };
  if (onResponseError !== undefined) onResponseError.call(handler, undefined, error);
  else onError?.call(handler, error);
}

class Picker {
  readonly #client: Chooser;
  readonly #query: PickQuery;
  readonly #tries: number;
  readonly #isName: (name: string) => boolean;

  constructor(client: Chooser, given: HttpOptions) {
    for (const name of Object.keys(given)) {
      if (options.has(name)) continue;
      throw new DiscoverError('CONFIG_INVALID', `${name} is not an option, there are ${[...options].join(', ')}`);
    }
    const { isService, tries = triesUnlessGiven, ...query } = given;
    if (!(Number.isInteger(tries) && tries >= 1)) {
      throw new DiscoverError('CONFIG_INVALID', `tries must be an integer of at least 1, got ${JSON.stringify(tries)}`);
    }
    this.#client = client;
    this.#query = { ...query, protocol: 'tcp' };
    this.#tries = tries;
    this.#isName = isService ?? ((name) => !name.includes('.') && !name.includes(':') && name !== 'localhost');
  }

  isService({ hostname, port, protocol }: URL): boolean {
    return port === '' && (protocol === 'http:' || protocol === 'https:') && this.#isName(hostname);
  }

  /** Rejects with `NO_INSTANCE`; if others were tried already, with the error of the last one. */
  async pick(name: string, tried: readonly Instance[], last: unknown, signal?: AbortSignal): Promise<Instance> {
    const instance = await this.#client.pick(name, { ...this.#query, exclude: tried, signal });
    if (instance !== undefined) return instance;
    throw last ?? new DiscoverError('NO_INSTANCE', `The service ${name} has no instance`);
  }

  isTriedAgain(error: unknown, instance: Instance, tried: Instance[]): boolean {
    if (!isUnconnected(error)) return false;
    this.#client.reportFailed(instance);
    tried.push(instance);
    return tried.length < this.#tries;
  }
}

/** The cause of what `fetch` rejects with; with two addresses, one of several. */
function isUnconnected(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const { cause, code, syscall } = error as {
    readonly cause?: unknown;
    readonly code?: unknown;
    readonly syscall?: unknown;
  };
  const isOfConnection = code !== 'ETIMEDOUT' || syscall === 'connect';
  return (unconnected.has(code) && isOfConnection) || (cause !== undefined && isUnconnected(cause));
}
