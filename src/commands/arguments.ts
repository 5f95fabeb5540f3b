/**
 * The command line: yargs reads it by the grammar (`grammar.ts`), and this file finds the mistakes.
 *
 * Every option of the configuration is allowed for every command, as `--host:realm` (its form in the original) and as
 * `--host.realm`. The options of a command come after its name. If an option is given twice, the last value counts, but
 * lists add up.
 * All mistakes are reported at once.
 */
import { isPrintable, optionRows, optionTable } from '../config/options.ts';
import { didYouMean, hint } from '../config/sources.ts';
import { configError, type Problem } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { version } from '../version.ts';
import type { Command, CommandOption } from './command.ts';
import { colons, general } from './grammar.ts';
import { dots, joined, read, type Value } from './reading.ts';
import { commandTable } from './table.ts';

type Flag = string | boolean | number | readonly string[];

export interface Arguments {
  readonly name: string;
  /** By path, the values as they were typed; `--debug` is true, `--no-debug` false. */
  readonly options: Readonly<Record<string, Value>>;
  readonly configFile?: string;
  /** The command to run instead of the agent; `flags` and `words` are its own options and arguments. */
  readonly command?: Command;
  readonly flags: Readonly<Record<string, Flag>>;
  readonly words: readonly string[];
  /** The text to print instead of any other action. */
  readonly text?: string;
}

const names = (): string[] => ['run', ...Object.keys(commandTable), 'help', 'version'];
const isGeneral = (name: string): boolean => Object.hasOwn(general, name);
const dashed = (name: string): string => (name.length === 1 ? `-${name}` : `--${name}`);

/** Reads the arguments after the program's name. Throws `CONFIG_INVALID` with every mistake in them. */
export async function parseArguments(argv: readonly string[]): Promise<Arguments> {
  const first = read(argv, undefined);
  const isOn = (name: string): boolean => first.given.get(name)?.at(-1) === true;
  const [name = 'run', next] = first.words;
  if (name === 'help' || isOn('help')) {
    const about = name === 'help' ? next : first.words[0];
    return textOf('help', await (await import('./help.ts')).help(about, await commandOf(about)));
  }
  if (name === 'version' || isOn('version')) return textOf('version', version);

  // The options depend on the command, so its line is read again with its own.
  const command = await commandOf(name);
  const { words, given, problems } = command ? read(argv, command) : first;
  if (!names().includes(name)) {
    problems.push({ path: name, reason: `is not a command${hint(nearest(name, names()))}` });
  }
  problems.push(...wordProblems(words.slice(1), command));
  const sorted = await sort(given, command, problems);
  if (problems.length > 0) throw configError('the command line', problems);
  const config = given.get('config')?.at(-1);
  const file = typeof config === 'string' ? { configFile: config } : {};
  return { name, ...sorted, words: words.slice(1), ...file, ...(command && { command }) };
}

const textOf = (name: string, text: string): Arguments => ({ name, options: {}, flags: {}, words: [], text });

async function commandOf(name: string | undefined): Promise<Command | undefined> {
  return name !== undefined && Object.hasOwn(commandTable, name) ? commandTable[name]?.load() : undefined;
}

/** The mistakes in the words after the command's name. */
function wordProblems(words: readonly string[], command: Command | undefined): Problem[] {
  const takes = command?.words ?? [];
  const missing = takes.slice(words.length).filter((word) => word.startsWith('<'));
  return [
    ...words
      .slice(takes.at(-1)?.endsWith('...]') ? words.length : takes.length)
      .map((word) => ({ path: '', reason: `unexpected argument ${JSON.stringify(word)}` })),
    ...missing.map((word) => ({ path: '', reason: `missing ${word}` })),
  ];
}

/** Sorts the given options into those of the configuration and those of the command. */
async function sort(
  given: ReadonlyMap<string, readonly Value[]>,
  command: Command | undefined,
  problems: Problem[],
): Promise<Pick<Arguments, 'options' | 'flags'>> {
  const own = command?.options ?? {};
  const options: Record<string, Value> = {};
  const flags: Record<string, Flag> = {};
  for (const [name, values] of given) {
    const option = Object.hasOwn(own, name) ? own[name] : undefined;
    const row = optionRows.get(dots(name));
    if (option) {
      const flag = flagOf(option, values);
      if (flag !== undefined) flags[name] = flag;
      else {
        const got = JSON.stringify(values.at(-1));
        problems.push({ path: `--${name}`, reason: `must be ${allowed(option)}`, got });
      }
    } else if (row && !isPrintable(row.path)) problems.push(secretProblem(name));
    else if (row) options[row.path] = joined(values, row.type);
    else if (!isGeneral(name)) problems.push(await unknown(name, own));
    else if (name === 'config' && (values.at(-1) === '' || values.at(-1) === false)) {
      problems.push({ path: '--config', reason: 'must be the path of a file' });
    }
  }
  return { options, flags };
}

/** Other users can list processes, and so read a command line. */
function secretProblem(name: string): Problem {
  const instead = `use --${name}File or DISCOVER_${name.replaceAll(':', '_').toUpperCase()}`;
  return { path: `--${name}`, reason: `is refused, other users could read it: ${instead}` };
}

/** The value of a command's own option; undefined if the value is invalid. */
function flagOf(option: CommandOption, values: readonly Value[]): Flag | undefined {
  const last = values.at(-1);
  if (option.type === 'boolean') return last === true || last === false ? last : undefined;
  if (values.includes(false)) return undefined;
  const value = String(last);
  switch (option.type) {
    case 'integer':
      return /^\d{1,9}$/.test(value) && Number(value) <= (option.max ?? Infinity) ? Number(value) : undefined;
    case 'list': {
      const items = values.flatMap((one) => String(one).split(',')).map((item) => item.trim());
      return items.every((item) => item !== '') ? items : undefined;
    }
    case 'string':
      return (option.choices?.includes(value) ?? value !== '') ? value : undefined;
  }
}

function allowed({ type, choices, max }: CommandOption): string {
  if (choices) return choices.join(' or ');
  if (type === 'integer') return max === undefined ? 'an integer' : `an integer from 0 to ${max}`;
  return type === 'boolean' ? 'true or false' : 'text that is not empty';
}

/** The problem to report for an option that belongs neither to the configuration nor to the command. */
async function unknown(name: string, own: object): Promise<Problem> {
  const users: string[] = [];
  for (const [user, { load }] of Object.entries(commandTable)) {
    if (Object.hasOwn((await load()).options, name)) users.push(`discover ${user}`);
  }
  const meant = didYouMean(dots(name));
  const isOption = meant !== undefined && optionTable.some(({ path }) => path === meant && isPrintable(path));
  if (users.length > 0) {
    const isLast = isOption && meant.endsWith(`.${name}`);
    return {
      path: `--${name}`,
      reason: `belongs to ${users.join(', ')}${hint(isLast ? `--${colons(meant)}` : undefined)}`,
    };
  }
  const near = nearest(name, [...Object.keys(general), ...Object.keys(own)]) ?? (isOption ? colons(meant) : undefined);
  return { path: dashed(name), reason: `is not an option${hint(near === undefined ? undefined : `--${near}`)}` };
}
