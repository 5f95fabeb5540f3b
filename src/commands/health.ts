/**
 * `discover health`: asks the discover that runs here how it is, where `http.listen` says that it can be asked. It
 * is the health check of the image, and one for whatever else watches over processes.
 *
 * The agent and this have to be configured alike, and so they are where both read the same file and environment.
 * Exit codes: 0 it is well; 1 it says that it is not; 69 nothing answers; 78 `http.listen` is not set.
 */
import { get, type IncomingMessage } from 'node:http';
import type { Config } from '../config/options.ts';
import { resolveHttp } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { configError, DiscoverError, messageOf } from '../errors.ts';
import { command, warnOf } from './command.ts';
import { printable } from './print.ts';

type Place = NonNullable<Config['http']>['listen'];

/** For the whole of the answer: a health checker has a limit too, and should get an answer before it. */
const timeLimitMs = 2000;
/** As much as Docker keeps of a check. */
const textMax = 4096;

export const health = command({
  options: {
    ready: {
      type: 'boolean',
      description: 'Ask whether it is in step with Docker and etcd, rather than whether it works at all',
    },
  },
  async run({ flags, sources }, io) {
    const { http, warnings } = resolveHttp(readSources(sources));
    warnOf(warnings, io);
    if (http === undefined) {
      const reason = 'must be set, for the agent and here: else there is no endpoint to ask';
      throw configError('the configuration', [{ path: 'http.listen', reason }]);
    }
    const { status, text } = await ask(reachable(http.listen), flags.ready === true ? '/readyz' : '/healthz');
    const lines = text.trim().split(/\r?\n/).map(printable);
    io.write(`${lines.join('\n') || `HTTP status ${status}`}\n`);
    return status === 200 ? 0 : 1;
  },
});

/** Who listens at any address is asked at that of the machine itself. */
function reachable(listen: Place): Place {
  if ('path' in listen) return listen;
  const { host, port } = listen;
  return { host: /^[0.]+$/.test(host) ? '127.0.0.1' : /^[0:]+$/.test(host) ? '::1' : host, port };
}

async function ask(place: Place, path: string): Promise<{ readonly status: number; readonly text: string }> {
  const signal = AbortSignal.timeout(timeLimitMs);
  // Any other name in `Host` would have to be one that the endpoint may be asked by.
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
    throw new DiscoverError('AGENT_UNAVAILABLE', `No discover answers at ${where} (http.listen): ${cause}`);
  }
}
