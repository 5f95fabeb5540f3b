/** The public entry: discover as a part of another program. */

import { type Agent, createAgent, type Parts } from './agent.ts';
import type { Options } from './config/options.ts';
import { resolveConfig } from './config/resolve.ts';
import { readSources } from './config/sources.ts';
import { problemText } from './errors.ts';
import { Endpoint } from './http/endpoint.ts';
import { silentLog } from './log.ts';

export type { Agent, AgentEvents, Publication } from './agent.ts';
export type { Options } from './config/options.ts';
export { DiscoverError, type ErrorCode } from './errors.ts';
export type { Log } from './log.ts';

/**
 * Starts an agent from options in the shape of a configuration file; environment and command line
 * are the program's own. Rejects with a `DiscoverError` of code `CONFIG_INVALID` before any
 * connection is made, or of code `LISTEN_FAILED`. The agent goes on whatever becomes of Docker and etcd, until `stop()` or a
 * fatal cause: await `ended`.
 *
 *     const agent = await startAgent({ host: { id: 'host-1', ip: '10.0.0.5' } });
 *     agent.on('publish', ({ id, services }) => console.log(id, services));
 */
export async function startAgent(
  options: Options = {},
  parts: Pick<Partial<Parts>, 'log' | 'operationsMax'> = {},
): Promise<Agent> {
  const { config, warnings } = await resolveConfig(readSources({ options }));
  for (const warning of warnings) parts.log?.warn({}, problemText(warning));
  const agent = createAgent(config, parts);
  if (config.http !== undefined) {
    try {
      const endpoint = await Endpoint.open(config.http, agent, parts.log ?? silentLog);
      void agent.ended.then(() => endpoint.close());
    } catch (error) {
      await agent.stop();
      throw error;
    }
  }
  return agent;
}
