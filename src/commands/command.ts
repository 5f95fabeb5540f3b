/**
 * What a command is: its own options, the words it takes and what it does. Each has a file here and a line
 * in `table.ts`; what is in the file is loaded only when the command is named, or for its help.
 *
 * Help and completion load the file as well, so what takes time to load (the clients of Docker and etcd) is
 * imported inside `run`. A command ends by returning its exit code, never by itself; what it throws
 * becomes a message and a code as everywhere. Configuration is read from `sources` by the commands that need it, since
 * a command that only reads etcd should not fail for want of a host address.
 */
import type { Readable } from 'node:stream';
import type { Sources } from '../config/sources.ts';
import { type Problem, problemText } from '../errors.ts';

/** One option that belongs to a command alone, written `--<name>`. */
export interface CommandOption {
  /** A list may be given several times, or with commas. */
  readonly type: 'string' | 'boolean' | 'integer' | 'list';
  /** Says as well what holds where the option is left out. */
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

/** What was given of the options, checked; those that were not given are absent. */
export type Flags<Options extends CommandOptions> = {
  readonly [Name in keyof Options]?: Options[Name] extends { readonly choices: readonly (infer Choice)[] }
    ? Choice
    : Values[Options[Name]['type']];
};

export interface Given<Options extends CommandOptions> {
  readonly flags: Flags<Options>;
  /** Those behind the name, as many as `Command.words` allows. */
  readonly words: readonly string[];
  /** For `readSources`: the command line, the environment and the file. */
  readonly sources: Sources;
}

export interface Io {
  readonly stdin: Readable;
  /** Standard output. */
  write(text: string): void;
  /** Whether a person reads that as it is, who may be shown colours. */
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
  /** What may stand as its first word, for completion; within a third of a second, and never an error. */
  complete?(sources: Sources): Promise<readonly string[]>;
  /** Resolves to the exit code. */
  run(given: Given<Options>, io: Io): Promise<number>;
}

/** A line of the table of commands (`table.ts`). */
export interface CommandRow {
  readonly description: string;
  load(): Promise<Command>;
}

export type CommandTable = Readonly<Record<string, CommandRow>>;

/** After a second without a result, tells a person at a terminal what the command waits for. */
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

/** What the configuration is warned of, a line each. */
export function warnOf(warnings: readonly Problem[], io: Io): void {
  for (const warning of warnings) io.warn(problemText(warning));
}

/** Says that the agent and this command are configured differently, which makes one look for the other's keys in vain. */
export function warnOfRealm(owner: { readonly realm?: string } | undefined, realm: string, io: Io): void {
  if (owner?.realm === undefined || owner.realm === realm) return;
  const remedy =
    'give this command the configuration of the agent (--config, DISCOVER_CONFIG, /etc/discover/config.json)';
  io.warn(`host.realm is ${realm} here, and ${owner.realm} for the agent of this host: ${remedy}`);
}

/** Keeps the types of the options for `run`. */
export const command = <const Options extends CommandOptions>(of: Command<Options>): Command<Options> => of;

/** For commands whose result a shell may want to take in. */
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
