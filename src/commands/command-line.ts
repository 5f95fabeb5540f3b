/**
 * One command line, from its words to its exit code: parses it and runs the agent or a command. `cli.ts` lends it the
 * process; tests run commands by it without a process of their own.
 */
import { type Resolved, resolveConfig } from '../config/resolve.ts';
import { readSources, systemFilePath } from '../config/sources.ts';
import { codeOf } from '../errors.ts';
import { exitCodeOf } from '../exit-codes.ts';
import { parseArguments } from './arguments.ts';
import type { Io } from './command.ts';

/** `argv`: the words behind the program's name. `runAgent` resolves to its exit code; a reload calls `read` again. */
export async function runCommandLine(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  io: Io,
  runAgent: (read: () => Promise<Resolved>) => Promise<number>,
): Promise<number> {
  try {
    const { command, configFile: file, flags, options, text, words } = await parseArguments(argv);
    if (text !== undefined) {
      io.write(`${text.trimEnd()}\n`);
      return 0;
    }
    const sources = { argv: options, env, file, systemFile: systemFilePath };
    if (command === undefined) return await runAgent(() => resolveConfig(readSources({ ...sources, isAgent: true })));
    return await command.run({ flags, words, sources }, io);
  } catch (error) {
    io.warn(codeOf(error) ? (error as Error).message : String((error as Error).stack));
    return exitCodeOf(error);
  }
}
