/** The program: lends the process to the command line (`commands/command-line.ts`), and to the agent (`daemon/`). */

import type { Io } from './commands/command.ts';
import { runCommandLine } from './commands/command-line.ts';
import type { Resolved } from './config/resolve.ts';
import { runDaemon } from './daemon/daemon.ts';
import { exitCodeOf } from './exit-codes.ts';

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

async function runAgent(read: () => Promise<Resolved>): Promise<never> {
  const resolved = await read();
  if (process.stdout.isTTY && resolved.config.log.file === undefined) process.stdout.write(`${banner}\n`);
  const cause = await runDaemon(resolved, read);
  // Repeated on standard error, where a person looks after a failed start.
  if (cause !== undefined) io.warn(cause.message);
  process.exit(cause === undefined ? 0 : exitCodeOf(cause));
}

// A command finishes its work, even if the reader of its pipe has gone.
process.stdout.on('error', () => {});
process.exitCode = await runCommandLine(process.argv.slice(2), process.env, io, runAgent);
