/**
 * `discover health`: queries the health of the running agent, at the address of `http.listen`. It is the health check
 * of the image, and of any other supervisor of processes.
 *
 * The agent and this command need the same configuration, so both should read the same file and environment. Exit
 * codes: 0 the agent is well; 1 the agent answers that it is not; 69 nothing answers; 78 `http.listen` is not set.
 */
import { get, type IncomingMessage } from 'node:http';
import type { Config } from '../config/options.ts';
import { resolveHttp } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { configError, DiscoverError, messageOf } from '../errors.ts';
import { command, warnOf } from './command.ts';
import { printable } from './print.ts';

type Place = NonNullable<Config['http']>['listen'];

/** For the whole answer: a health checker has a time limit too, and should get an answer before that. */
const timeLimitMs = 2000;
/** The length that Docker keeps of the output of a check. */
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

/** A listener at all addresses is asked at the loopback address. */
function reachable(listen: Place): Place {
  if ('path' in listen) return listen;
  const { host, port } = listen;
  return { host: /^[0.]+$/.test(host) ? '127.0.0.1' : /^[0:]+$/.test(host) ? '::1' : host, port };
}

async function ask(place: Place, path: string): Promise<{ readonly status: number; readonly text: string }> {
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
    throw new DiscoverError('AGENT_UNAVAILABLE', `No discover answers at ${where} (http.listen): ${cause}`);
  }
}
