#!/usr/bin/env node
/**
 * The command line: reads the configuration, runs the agent, turns signals into stops and ends into
 * exit codes. The codes are sysexits(3) where it has one.
 *
 *     0    stopped as asked, or the command has printed what it was asked for
 *     1    the command's own no: an instance that is not there, something to delete, a difference, a failed check
 *     65   a command refuses to believe what it was given
 *     69   a command got no answer, or a refusal, from etcd, Docker, EC2 or the agent, which itself waits; or the agent
 *          cannot listen where it should
 *     70   a part kept crashing, or something unexpected was thrown
 *     75   another discover writes for this host id
 *     78   the configuration cannot be used
 *     130  a second SIGINT, 143 a second SIGTERM: ended at once
 */

import { constants } from 'node:os';
import type { Agent } from './agent.ts';
import { parseArguments } from './arguments.ts';
import type { Io } from './commands/command.ts';
import { type Resolved, resolveConfig } from './config/resolve.ts';
import { readSources } from './config/sources.ts';
import { codeOf, type DiscoverError, type ErrorCode, messageOf } from './errors.ts';
import { type LogSink, openLog } from './log.ts';
import { version } from './version.ts';

const exitCodes: Partial<Record<ErrorCode, number>> = {
  CONFIG_INVALID: 78,
  NAME_INVALID: 78,
  HOST_ID_TAKEN: 75,
  LIST_INVALID: 65,
  EC2_UNAVAILABLE: 69,
  AGENT_UNAVAILABLE: 69,
  DOCKER_UNAVAILABLE: 69,
  ETCD_UNAVAILABLE: 69,
  ETCD_REFUSED: 69,
  LISTEN_FAILED: 69,
};
const exitUnexpected = 70;
/** Stages have time limits of their own; this is for what those did not foresee. */
const stopTimeoutMs = 9_500;

const banner = String.raw`
     ___
  __| (_)___  ___ _____   _____ _ __
 / _' | / __|/ __/ _ \ \ / / _ \ '__|
| (_| | \__ \ (_| (_) \ V /  __/ |
 \__,_|_|___/\___\___/ \_/ \___|_|
`;

const io: Io = {
  stdin: process.stdin,
  write(text) {
    process.stdout.write(text);
  },
  isTerminal: process.stdout.isTTY === true && !process.env.NO_COLOR,
  warn(text) {
    process.stderr.write(`discover: ${text}\n`);
  },
};

async function main(): Promise<void> {
  try {
    const given = await parseArguments(process.argv.slice(2));
    if (given.text !== undefined) {
      process.stdout.write(`${given.text.trimEnd()}\n`);
      return;
    }
    const sources = { argv: given.options, env: process.env, file: given.configFile };
    const { command, flags, words } = given;
    if (command === undefined) return await run(await resolveConfig(readSources(sources)));
    // What a command has begun it ends, whether or not the reader of a pipe stays that long.
    process.stdout.on('error', () => {});
    process.exitCode = await command.run({ flags, words, sources }, io);
  } catch (error) {
    process.stderr.write(`discover: ${codeOf(error) ? (error as Error).message : String((error as Error).stack)}\n`);
    process.exitCode = exitCodes[codeOf(error) ?? 'RESTARTS_EXCEEDED'] ?? exitUnexpected;
  }
}

async function run({ config, warnings }: Resolved): Promise<void> {
  const sink = await openLog(config.log);
  const { log } = sink;
  if (process.stdout.isTTY && config.log.file === undefined) process.stdout.write(`${banner}\n`);
  for (const warning of warnings) log.warn({}, warning);
  // The threads start up while this one loads what it needs for Docker and etcd.
  const { createLooks } = await import('./inspect/pool.ts');
  const looks = createLooks(config);
  const { createAgent } = await import('./agent.ts');
  const agent = createAgent(config, { log, looks });
  agent.once('start', () => log.info({ host: config.host.id, published: agent.published }, 'started'));
  log.info(
    { version, host: config.host.id, realm: config.host.realm, ip: config.host.ip, prefix: config.etcd.prefix },
    'starting',
  );
  handleSignals(agent, sink);
  if (config.http !== undefined) {
    const { Endpoint } = await import('./http/endpoint.ts');
    const { http } = config;
    const endpoint = Endpoint.open(http, agent, log).catch((error: DiscoverError) => void agent.stop(error));
    void agent.ended.then(async () => (await endpoint)?.close());
  }
  const cause = await agent.ended;
  if (cause === undefined) log.info({}, 'stopped');
  else log.error({ code: cause.code, error: messageOf(cause) }, 'stopped');
  // Said where a person looks who sees only that it did not start.
  if (cause !== undefined) process.stderr.write(`discover: ${cause.message}\n`);
  exit(sink, cause === undefined ? 0 : (exitCodes[cause.code] ?? exitUnexpected));
}

function handleSignals(agent: Agent, sink: LogSink): void {
  const { log } = sink;
  let isStopping = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (isStopping) return exit(sink, 128 + constants.signals[signal]);
      isStopping = true;
      log.info({ signal }, 'stopping');
      setTimeout(() => {
        log.error({}, 'did not stop in time');
        exit(sink, exitUnexpected);
      }, stopTimeoutMs).unref();
      void agent.stop();
    });
  }
  process.on('SIGHUP', () => {
    sink.reopen();
    log.info({}, 'log reopened');
  });
  process.on('SIGUSR2', () => log.info({ ...agent.metrics, memory: process.memoryUsage().rss }, 'state'));
  // Node would write these to standard error, as text; TLS to an address rather than a name makes one.
  process.removeAllListeners('warning');
  process.on('warning', (warning) => log.debug({ warning: warning.message }, 'warning of the runtime'));
  // Without a listener Node would open a debugger port.
  process.on('SIGUSR1', () => {});
  const onBug = (error: unknown) => {
    log.error({ error: messageOf(error), stack: error instanceof Error ? error.stack : undefined }, 'unexpected error');
    exit(sink, exitUnexpected);
  };
  process.on('uncaughtException', onBug);
  process.on('unhandledRejection', onBug);
}

function exit(sink: LogSink, code: number): never {
  sink.flush();
  process.exit(code);
}

await main();
