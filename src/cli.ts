#!/usr/bin/env node
/**
 * The command line: reads the configuration, runs the agent (`daemon/`) or a command, and turns what ends it into an
 * exit code (`exit-codes.ts`).
 */

import { parseArguments } from './commands/arguments.ts';
import type { Io } from './commands/command.ts';
import { type Resolved, resolveConfig } from './config/resolve.ts';
import { readSources } from './config/sources.ts';
import { runDaemon } from './daemon/daemon.ts';
import { codeOf } from './errors.ts';
import { exitCodeOf } from './exit-codes.ts';

/** Read by the agent and by every command where no other file is named. */
const systemFile = '/etc/discover/config.json';

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
    const sources = { argv: given.options, env: process.env, file: given.configFile, systemFile };
    const { command, flags, words } = given;
    if (command === undefined) return await run(() => resolveConfig(readSources(sources)));
    // A command finishes its work, even if the reader of its pipe has gone.
    process.stdout.on('error', () => {});
    process.exitCode = await command.run({ flags, words, sources }, io);
  } catch (error) {
    process.stderr.write(`discover: ${codeOf(error) ? (error as Error).message : String((error as Error).stack)}\n`);
    process.exitCode = exitCodeOf(error);
  }
}

async function run(read: () => Promise<Resolved>): Promise<never> {
  const resolved = await read();
  if (process.stdout.isTTY && resolved.config.log.file === undefined) process.stdout.write(`${banner}\n`);
  const cause = await runDaemon(resolved, read);
  // Repeated on standard error, where a person looks after a failed start.
  if (cause !== undefined) process.stderr.write(`discover: ${cause.message}\n`);
  process.exit(cause === undefined ? 0 : exitCodeOf(cause));
}

await main();
