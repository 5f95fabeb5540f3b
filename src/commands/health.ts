/**
 * `discover health`: queries the health of the running agent, at the address of `http.listen`. It is the health check
 * of the image, and of any other supervisor of processes.
 *
 * The agent and this command need the same configuration, so both should read the same file and environment. Exit
 * codes: 0 the agent is well; 1 the agent answers that it is not; 69 nothing answers; 78 `http.listen` is not set.
 */
import { resolveHttp } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { askAgent, placeOf } from './agent.ts';
import { command, warnOf } from './command.ts';
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
  },
  async run({ flags, sources }, io) {
    const { http, warnings } = resolveHttp(readSources(sources));
    warnOf(warnings, io);
    const path = flags.ready === true ? '/readyz' : '/healthz';
    const { status, text } = await askAgent(placeOf(http), path, { timeLimitMs, textMax });
    const lines = text.trim().split(/\r?\n/).map(printable);
    io.write(`${lines.join('\n') || `HTTP status ${status}`}\n`);
    return status === 200 ? 0 : 1;
  },
});
