/** Questions of commands to the running agent, at the address of `http.listen`. */
import { get, type IncomingMessage } from 'node:http';
import type { Config } from '../config/options.ts';
import { configError, DiscoverError, messageOf } from '../errors.ts';

export type Place = NonNullable<Config['http']>['listen'];

/** Throws if `http.listen` is not set. */
export function placeOf(http: Config['http']): Place {
  if (http !== undefined) return reachable(http.listen);
  const reason = 'must be set, for the agent and here: else there is no endpoint to ask';
  throw configError('the configuration', [{ path: 'http.listen', reason }]);
}

/** A listener at all addresses is asked at the loopback address. */
function reachable(listen: Place): Place {
  if ('path' in listen) return listen;
  const { host, port } = listen;
  return { host: /^[0.]+$/.test(host) ? '127.0.0.1' : /^[0:]+$/.test(host) ? '::1' : host, port };
}

/** Rejects with `AGENT_UNAVAILABLE`. Of a longer answer than `textMax` the rest is left out. */
export async function askAgent(
  place: Place,
  path: string,
  { timeLimitMs, textMax }: { readonly timeLimitMs: number; readonly textMax: number },
): Promise<{ readonly status: number; readonly text: string }> {
  const signal = AbortSignal.timeout(timeLimitMs);
  // The endpoint accepts `localhost` in any configuration, unlike other names in `Host`.
  const options = { path, headers: { host: 'localhost' }, agent: false, signal };
  const to = 'path' in place ? { socketPath: place.path } : place;
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      get({ ...options, ...to }, resolve).on('error', reject);
    });
    let text = '';
    for await (const piece of response.setEncoding('utf8')) {
      text += piece;
      if (text.length > textMax) break;
    }
    return { status: response.statusCode ?? 0, text: text.slice(0, textMax) };
  } catch (error) {
    const where = 'path' in place ? place.path : `${place.host}:${place.port}`;
    const cause = signal.aborted ? `nothing within ${timeLimitMs / 1000} s` : messageOf(error);
    const message = `No discover answers at ${where} (http.listen): ${cause}`;
    throw new DiscoverError('AGENT_UNAVAILABLE', message, { details: { isSilent: signal.aborted } });
  }
}
