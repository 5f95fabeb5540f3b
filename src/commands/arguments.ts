/**
 * The command line, read by Node's parseArgs; `help.ts` writes what there is to print about it.
 *
 * Every option of the table is here, as `--host:realm` (so it was in the original) and as
 * `--host.realm`, for every command; behind the name of a command come its own. Of an option given twice
 * the last counts. Values of the configuration stay the text they are, so that `--host:id 0123` keeps its
 * zero; `config/` reads and checks them.
 */
import { parseArgs } from 'node:util';
import { optionTable } from '../config/options.ts';
import { didYouMean, hint, nearest } from '../config/sources.ts';
import { DiscoverError } from '../errors.ts';
import { version } from '../version.ts';
import type { Command, CommandOption } from './command.ts';
import { commandTable } from './table.ts';

const names = (): string[] => ['run', ...Object.keys(commandTable), 'completion', 'help', 'version'];
type Value = string | boolean;
type Flag = string | boolean | number | readonly string[];

export interface Arguments {
  readonly name: string;
  /** By path, the values as they were typed; `--debug` is true, `--no-debug` false. */
  readonly options: Readonly<Record<string, Value>>;
  readonly configFile?: string;
  /** What to do instead of running the agent, and what it was told for itself. */
  readonly command?: Command;
  readonly flags: Readonly<Record<string, Flag>>;
  readonly words: readonly string[];
  /** What to print instead of doing anything else. */
  readonly text?: string;
}

/** Whoever can list processes can read a command line. */
const refused = 'etcd.password';
const refusal =
  '--etcd:password is refused, other users could read it: use --etcd:passwordFile or DISCOVER_ETCD_PASSWORD';

const general = { config: 'string', help: 'boolean', version: 'boolean' } as const;
type TokenType = 'string' | 'boolean';
const configTypes = new Map<string, TokenType>(Object.entries(general));
for (const { path, type } of optionTable) configTypes.set(path, type === 'boolean' ? type : 'string');
const shorts: Readonly<Record<string, string>> = { '-c': '--config', '-h': '--help' };
const colons = (path: string): string => path.replaceAll('.', ':');
const dots = (name: string): string => name.replaceAll(':', '.');

/** Reads the arguments after the program's name. Throws `CONFIG_INVALID` for what it does not know. */
export async function parseArguments(argv: readonly string[]): Promise<Arguments> {
  if (argv.includes('--get-yargs-completions')) {
    const named = await commandOf(argv.find((word) => Object.hasOwn(commandTable, word)));
    return textOf('completion', await (await import('./help.ts')).completion(argv, named));
  }
  const first = read(argv, configTypes, shorts);
  const isOn = (path: string): boolean => /^(true|1)$/.test(String(first.given.get(path)?.at(-1)));
  const [name = 'run', next] = first.words;
  if (name === 'help' || isOn('help')) {
    const about = name === 'help' ? next : name;
    return textOf('help', await (await import('./help.ts')).help(about, await commandOf(about)));
  }
  if (name === 'version' || isOn('version')) return textOf('version', version);

  // Which options there are depends on the command, so a command's line is read again for its own.
  const command = await commandOf(name);
  const own = command?.options ?? {};
  const all = new Map([
    ...configTypes,
    ...Object.entries(own).map(([path, { type }]) => [path, tokenType(type)] as const),
  ]);
  const { words, given } = command ? read(argv, all, { ...shorts, ...command.aliases }) : first;

  const problems: string[] = [];
  if (!names().includes(name)) problems.push(`${name} is not a command${hint(nearest(name, names()))}`);
  problems.push(...problemsOf(words.slice(1), name, command));
  const options: Record<string, Value> = {};
  const flags: Record<string, Flag> = {};
  for (const [path, values] of given) {
    const value = values.at(-1) as Value;
    const option = Object.hasOwn(own, path) ? own[path] : undefined;
    if (path === refused) problems.push(refusal);
    else if (option) {
      const flag = flagOf(option, values);
      if (flag === undefined) problems.push(`--${path} must be ${allowed(option)}, got ${JSON.stringify(value)}`);
      else flags[path] = flag;
    } else if (!configTypes.has(path)) problems.push(await unknown(path, own));
    else if (!Object.hasOwn(general, path)) options[path] = value;
  }
  const config = given.get('config')?.at(-1);
  if (config === '' || config === false) problems.push('--config must be the path of a file');
  if (problems.length > 0) {
    throw new DiscoverError('CONFIG_INVALID', ['Cannot use the command line:', ...problems].join('\n  '));
  }
  if (name === 'completion') return textOf(name, await (await import('./help.ts')).completion([name]));
  const file = typeof config === 'string' ? { configFile: config } : {};
  return { name, options, flags, words: words.slice(1), ...file, ...(command && { command }) };
}

const textOf = (name: string, text: string): Arguments => ({ name, options: {}, flags: {}, words: [], text });

async function commandOf(name: string | undefined): Promise<Command | undefined> {
  return name !== undefined && Object.hasOwn(commandTable, name) ? commandTable[name]?.load() : undefined;
}

const tokenType = (type: CommandOption['type']): TokenType => (type === 'boolean' ? type : 'string');

/** What is wrong with the words behind the command's name. */
function problemsOf(words: readonly string[], name: string, command: Command | undefined): string[] {
  const takes = command?.words ?? [];
  const missing = takes.slice(words.length).filter((word) => word.startsWith('<'));
  return [
    ...words.slice(takes.length).map((word) => `${word} is one word too many after ${name}`),
    ...missing.map((word) => `${name} needs ${word}`),
  ];
}

/** The value of a command's own option; undefined where it will not do. */
function flagOf(option: CommandOption, values: readonly Value[]): Flag | undefined {
  const value = String(values.at(-1));
  switch (option.type) {
    case 'boolean':
      return /^(true|false|1|0)$/.test(value) ? /^(true|1)$/.test(value) : undefined;
    case 'integer':
      return /^\d{1,9}$/.test(value) && Number(value) <= (option.max ?? Infinity) ? Number(value) : undefined;
    case 'list': {
      const items = values.flatMap((one) => String(one).split(',')).map((item) => item.trim());
      return items.every((item) => item !== '') && !values.includes(false) ? items : undefined;
    }
    case 'string':
      return (option.choices?.includes(value) ?? value !== '') && !values.includes(false) ? value : undefined;
  }
}

function allowed({ type, choices, max }: CommandOption): string {
  if (choices) return choices.join(' or ');
  if (type === 'integer') return max === undefined ? 'an integer' : `an integer from 0 to ${max}`;
  return type === 'boolean' ? 'true or false' : 'text that is not empty';
}

/** What to say of an option that is neither the configuration's nor the command's. */
async function unknown(path: string, own: object): Promise<string> {
  const users: string[] = [];
  for (const [name, { load }] of Object.entries(commandTable)) {
    if (Object.hasOwn((await load()).options, path)) users.push(name);
  }
  const meant = didYouMean(path);
  if (users.length > 0) {
    const isLast = meant?.endsWith(`.${path}`) === true;
    return `--${path} has its place behind discover ${users.join(' or ')}${hint(isLast ? `--${colons(meant)}` : undefined)}`;
  }
  const near = nearest(path, [...Object.keys(general), ...Object.keys(own)]) ?? meant;
  const isOption = near !== undefined && (configTypes.has(near) || Object.hasOwn(own, near));
  return `--${colons(path)} is not an option${hint(isOption ? `--${colons(near)}` : undefined)}`;
}

/** The words that are no options, and by path what options were given, known or not. */
function read(
  argv: readonly string[],
  types: ReadonlyMap<string, TokenType>,
  aliases: Readonly<Record<string, string>>,
): { words: string[]; given: Map<string, Value[]> } {
  const spelt = argv.map((word) => {
    const [, name = '', rest = ''] = /^([^=]*)(.*)$/s.exec(word) ?? [];
    return Object.hasOwn(aliases, name) ? `${aliases[name]}${rest}` : word;
  });
  // A text option takes what follows, except another option: parseArgs would take that too.
  const args = spelt.map((word, index) => {
    const isText = word.startsWith('--') && types.get(dots(word.slice(2))) === 'string';
    return isText && /^-(?!\d)/.test(spelt[index + 1] ?? '-') ? `${word}=` : word;
  });
  const both = [...types].flatMap(([path, type]) => [path, colons(path)].map((name) => [name, { type }]));
  const { tokens } = parseArgs({ args, options: Object.fromEntries(both), strict: false, tokens: true });
  const words: string[] = [];
  const given = new Map<string, Value[]>();
  let flag: string | undefined;
  for (const token of tokens) {
    if (token.kind === 'positional') {
      // `--debug false`, or what was meant for the value of an option that is none.
      const isValue = flag !== undefined && (!types.has(flag) || /^(true|false)$/.test(token.value));
      if (isValue) given.get(flag as string)?.splice(-1, 1, token.value);
      else words.push(token.value);
    }
    flag = undefined;
    if (token.kind !== 'option') continue;
    const { name, value } = token;
    const isNo = value === undefined && name.startsWith('no-');
    const path = dots(isNo ? name.slice('no-'.length) : name);
    given.set(path, [...(given.get(path) ?? []), value ?? !isNo]);
    if (value === undefined && !isNo) flag = path;
  }
  return { words, given };
}
