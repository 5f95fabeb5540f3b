/**
 * A command of the command line without a process of its own, because a process spends most of its time on its start.
 * The tests `cli` and `readme` start the program, and so show that it passes on arguments, streams and the exit code.
 */
import { Readable } from 'node:stream';
import { runCommandLine } from '../../src/commands/command-line.ts';
import { cleanEnvironment } from './run.ts';

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface CommandOptions {
  /** What the command reads from standard input. */
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Makes it a command at a terminal. Called for each line on standard error. */
  readonly onWarning?: (text: string) => void;
}

export async function runCommand(
  args: readonly string[],
  { input = '', env = {}, onWarning }: CommandOptions = {},
): Promise<Outcome> {
  let [out, err] = ['', ''];
  const io = {
    stdin: Readable.from(input === '' ? [] : [Buffer.from(input)]),
    write: (text: string) => {
      out += text;
    },
    isTerminal: onWarning !== undefined,
    warn: (text: string) => {
      err += `discover: ${text}\n`;
      onWarning?.(text);
    },
  };
  const code = await runCommandLine(args, cleanEnvironment(env), io, () => {
    throw new Error('This command line runs the agent');
  });
  return { code, out, err };
}
