/**
 * The public entry: discover as a part of another program. Semantic versioning covers the exports of this file, so they
 * are written out as interfaces: no class and no internal type.
 */

import { createAgent } from './agent.ts';
import type { Options } from './config/file-options.ts';
import { resolveConfig } from './config/resolve.ts';
import { readSources } from './config/sources.ts';
import { Doors } from './daemon/doors.ts';
import { type DiscoverError, problemText } from './errors.ts';
import { silentLog } from './log.ts';

export type { Options } from './config/file-options.ts';
export { DiscoverError, type ErrorCode, type ErrorDetails, type Failure, type Problem } from './errors.ts';

/** A container whose keys have changed in etcd. */
export interface Publication {
  /** The 12 digits that end its keys. */
  readonly id: string;
  /** Service name to its key; for `unpublish`, the keys that are gone. */
  readonly services: Readonly<Record<string, string>>;
  /** Every key with its address; empty for `unpublish`. */
  readonly addresses: ReadonlyMap<string, string>;
}

export interface AgentEvents {
  /** A Docker Engine answers; again after each time it was lost. */
  connect: [];
  /** The running containers have been listed, and this process writes for its host. */
  start: [];
  /** The keys of a container have appeared or changed, in one transaction. */
  publish: [publication: Publication];
  /** All keys of a container have gone, in one transaction. */
  unpublish: [publication: Publication];
}

export interface Agent {
  on<Name extends keyof AgentEvents>(name: Name, listener: (...given: AgentEvents[Name]) => void): this;
  once<Name extends keyof AgentEvents>(name: Name, listener: (...given: AgentEvents[Name]) => void): this;
  off<Name extends keyof AgentEvents>(name: Name, listener: (...given: AgentEvents[Name]) => void): this;
  /** Resolves when the agent has stopped: with the error that made it stop, or with nothing if it was asked to. */
  readonly ended: Promise<DiscoverError | undefined>;
  /** Finishes the accepted work, releases the owner key, ends the threads. Never rejects. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

type Write = (fields: Record<string, unknown>, message: string) => void;

/** The log of the agent, in the shape of pino. */
export interface Log {
  readonly error: Write;
  readonly warn: Write;
  readonly info: Write;
  readonly debug: Write;
  child(fields: Record<string, unknown>): Log;
}

/**
 * Starts an agent from options in the shape of a configuration file; environment and command line
 * are the program's own. Rejects with a `DiscoverError` of code `CONFIG_INVALID` before any
 * connection is made, or of code `LISTEN_FAILED`. The agent waits for Docker and etcd as long as it takes, until `stop()`
 * or a fatal cause: await `ended`.
 *
 *     const agent = await startAgent({ host: { id: 'host-1', ip: '10.0.0.5' } });
 *     agent.on('publish', ({ id, services }) => console.log(id, services));
 */
export async function startAgent(options: Options = {}, { log = silentLog }: { log?: Log } = {}): Promise<Agent> {
  const { config, warnings, notes } = await resolveConfig(readSources({ options }));
  for (const warning of warnings) log.warn({}, problemText(warning));
  for (const note of notes) log.info({}, note);
  // Before the agent exists: if it cannot listen, it claims nothing.
  const doors = await Doors.open(config);
  const agent = createAgent(config, { log });
  await doors.serve(agent, log);
  void agent.ended.then(() => doors.close());
  return agent;
}
