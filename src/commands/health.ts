/**
 * `discover health`: queries the health of the running agent, at the address of `http.listen`. It is the health check
 * of the image, and of any other supervisor of processes.
 *
 * The agent and this command need the same configuration, so both should read the same file and environment. Docker
 * starts an unhealthy container again only once its process has ended: `--end` ends an agent that is stuck. One that
 * answers, or does not listen yet, is left alone.
 * Exit codes: 0 the agent is well; 1 the agent answers that it is not; 69 nothing answers; 78 `http.listen` is not set.
 */
import { resolveHttp } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { DiscoverError, messageOf } from '../errors.ts';
import { askAgent, type Place, placeOf } from './agent.ts';
import { command, warnOf } from './command.ts';
import { listenerOf } from './listener.ts';
import { printable } from './print.ts';

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
    end: {
      type: 'integer',
      max: 60,
      description: 'End an agent that listens and gives no answer for so many seconds, so that it is started again',
    },
  },
  async run({ flags, sources }, io) {
    const { http, warnings } = resolveHttp(readSources(sources));
    warnOf(warnings, io);
    const path = flags.ready === true ? '/readyz' : '/healthz';
    const place = placeOf(http);
    const limits = { timeLimitMs: flags.end === undefined ? timeLimitMs : flags.end * 1000, textMax };
    const { status, text } = await askAgent(place, path, limits).catch((error: unknown) => {
      throw flags.end !== undefined && isSilence(error) ? end(place, error) : error;
    });
    const lines = text.trim().split(/\r?\n/).map(printable);
    io.write(`${lines.join('\n') || `HTTP status ${status}`}\n`);
    return status === 200 ? 0 : 1;
  },
});

const isSilence = (error: unknown): error is DiscoverError =>
  error instanceof DiscoverError && error.details.isSilent === true;

/** Ends the process that listens there. Returns what was said before, and what has become of the process. */
function end(place: Place, { code, message }: DiscoverError): DiscoverError {
  const pid = listenerOf(place);
  const tell = (outcome: string): DiscoverError => new DiscoverError(code, `${message}; ${outcome}`);
  if (pid === undefined) return tell('this user sees no process that listens there');
  // Linux keeps signals from the first process of a container, if they come from within.
  if (pid === 1) return tell('it is process 1, which cannot be ended from within: start the container with --init');
  try {
    process.kill(pid, 'SIGKILL');
    return tell(`process ${pid} was ended`);
  } catch (error) {
    return tell(`process ${pid} cannot be ended: ${messageOf(error)}`);
  }
}
