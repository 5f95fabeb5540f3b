/**
 * The form of a command: its own options, its words and its action. Each command has a file here and a line in
 * `table.ts`; the file is loaded only when the command is named, or for its help.
 *
 * Help and completion load the file as well, so slow imports (the clients of Docker and etcd) are inside `run`. A
 * command ends by returning its exit code and never exits the process; its errors become a message and a code as
 * everywhere. The commands that need the configuration read it from `sources`, because a command that only reads etcd
 * should not fail without a host address.
 */
import type { Readable } from 'node:stream';
import type { Sources } from '../config/sources.ts';
import { type Problem, problemText } from '../errors.ts';

/** One option that belongs to a command alone, written `--<name>`. */
export interface CommandOption {
  /** A list may be given several times, or with commas. */
  readonly type: 'string' | 'boolean' | 'integer' | 'list';
  /** Also names the effect of leaving the option out. */
  readonly description: string;
  readonly choices?: readonly string[];
  /** For an integer, whose least value is 0. */
  readonly max?: number;
}

export type CommandOptions = Readonly<Record<string, CommandOption>>;

interface Values {
  readonly string: string;
  readonly boolean: boolean;
  readonly integer: number;
  readonly list: readonly string[];
}

/** The given options, checked; options that were not given are absent. */
export type Flags<Options extends CommandOptions> = {
  readonly [Name in keyof Options]?: Options[Name] extends { readonly choices: readonly (infer Choice)[] }
    ? Choice
    : Values[Options[Name]['type']];
};

export interface Given<Options extends CommandOptions> {
  readonly flags: Flags<Options>;
  /** The words behind the command's name, as many as `Command.words` allows. */
  readonly words: readonly string[];
  /** For `readSources`: the command line, the environment and the file. */
  readonly sources: Sources;
}

export interface Io {
  readonly stdin: Readable;
  /** Standard output. */
  write(text: string): void;
  /** Whether standard output is a terminal, so that colours may be shown. */
  readonly isTerminal: boolean;
  /** One line on standard error. */
  warn(text: string): void;
}

export interface Command<Options extends CommandOptions = CommandOptions> {
  readonly options: Options;
  /** Other ways to write an option, of the command or of the configuration: `{ '-o': '--output' }`. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** The words it takes, as in help: `<service>` has to be given, `[service]` may be. */
  readonly words?: readonly string[];
  /** The possible words behind those that were given, for completion; within a third of a second, and never an error. */
  complete?(sources: Sources, given: readonly string[]): Promise<readonly string[]>;
  /** Resolves to the exit code. */
  run(given: Given<Options>, io: Io): Promise<number>;
}

/** A line of the table of commands (`table.ts`). */
export interface CommandRow {
  readonly description: string;
  load(): Promise<Command>;
}

export type CommandTable = Readonly<Record<string, CommandRow>>;

/** After a second without a result, tells a person at a terminal what the command waits for. Not for endless work. */
export async function tellingOfWait<Result>(what: string, io: Io, work: Promise<Result>): Promise<Result> {
  const timer = setTimeout(() => {
    if (io.isTerminal) io.warn(`waiting for ${what}`);
  }, 1_000);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}

/** What commands wait for that need both sides, for `tellingOfWait`. */
export const dockerAndEtcd = 'Docker and etcd';

/** Prints the warnings about the configuration, a line each. */
export function warnOf(warnings: readonly Problem[], io: Io): void {
  for (const warning of warnings) io.warn(problemText(warning));
}

/** Warns if the agent and this command have different realms: the command would look for the agent's keys in vain. */
export function warnOfRealm(owner: { readonly realm?: string } | undefined, realm: string, io: Io): void {
  if (owner?.realm === undefined || owner.realm === realm) return;
  const remedy =
    'give this command the configuration of the agent (--config, DISCOVER_CONFIG, /etc/discover/config.json)';
  io.warn(`host.realm is ${realm} here, and ${owner.realm} for the agent of this host: ${remedy}`);
}

/** Keeps the types of the options for `run`. */
export const command = <const Options extends CommandOptions>(of: Command<Options>): Command<Options> => of;

/** For commands whose result a shell may want to use. */
export const shellOutput = {
  type: 'string',
  choices: ['table', 'json', 'env'],
  description: 'table, json or env, which are lines for a shell to evaluate (table)',
} as const;

/** For commands that print something to read. */
export const output = {
  type: 'string',
  choices: ['table', 'json'],
  description: 'table or json (table)',
} as const;
