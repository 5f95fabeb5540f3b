#!/usr/bin/env node
/**
 * The command line: reads the configuration, runs the agent (`daemon.ts`) or a command, and turns ends into
 * exit codes, those of sysexits(3) where it has one.
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

import { parseArguments } from './commands/arguments.ts';
import type { Io } from './commands/command.ts';
import { type Resolved, resolveConfig } from './config/resolve.ts';
import { readSources } from './config/sources.ts';
import { exitUnexpected, runDaemon } from './daemon/daemon.ts';
import { codeOf, type ErrorCode } from './errors.ts';

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
    if (command === undefined) return await run(() => resolveConfig(readSources(sources)));
    // What a command has begun it ends, whether or not the reader of a pipe stays that long.
    process.stdout.on('error', () => {});
    process.exitCode = await command.run({ flags, words, sources }, io);
  } catch (error) {
    process.stderr.write(`discover: ${codeOf(error) ? (error as Error).message : String((error as Error).stack)}\n`);
    process.exitCode = exitCodes[codeOf(error) ?? 'RESTARTS_EXCEEDED'] ?? exitUnexpected;
  }
}

async function run(read: () => Promise<Resolved>): Promise<never> {
  const resolved = await read();
  if (process.stdout.isTTY && resolved.config.log.file === undefined) process.stdout.write(`${banner}\n`);
  const cause = await runDaemon(resolved, read);
  // Said where a person looks who sees only that it did not start.
  if (cause !== undefined) process.stderr.write(`discover: ${cause.message}\n`);
  process.exit(cause === undefined ? 0 : (exitCodes[cause.code] ?? exitUnexpected));
}

await main();
