/**
 * A command of the command line without a process of its own: most of what a process takes is its start. That the
 * program hands over its arguments, streams and exit code is shown by the tests that do start it (`cli`, `readme`).
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
}

export async function runCommand(
  args: readonly string[],
  { input = '', env = {} }: CommandOptions = {},
): Promise<Outcome> {
  let [out, err] = ['', ''];
  const io = {
    stdin: Readable.from(input === '' ? [] : [Buffer.from(input)]),
    write: (text: string) => {
      out += text;
    },
    isTerminal: false,
    warn: (text: string) => {
      err += `discover: ${text}\n`;
    },
  };
  const code = await runCommandLine(args, cleanEnvironment(env), io, () => {
    throw new Error('This command line runs the agent');
  });
  return { code, out, err };
}
