/**
 * The reading of a command line by yargs, by the grammar and before anything is judged: words, and the values of
 * options by name in the order in which they were given.
 */
import { optionRows } from '../config/options.ts';
import type { Problem } from '../errors.ts';
import type { Command } from './command.ts';
import { colons, general, parserFor } from './grammar.ts';

export type Value = string | boolean;
export const dots = (name: string): string => name.replaceAll(':', '.');

/** yargs prints help by itself, unless it has a function that takes the text. */
const silent = (): void => {};

export interface Reading {
  readonly words: string[];
  /** By name, every value that was given, in order. */
  readonly given: Map<string, Value[]>;
  readonly problems: Problem[];
}

export function read(argv: readonly string[], command: Command | undefined): Reading {
  const problems: Problem[] = [];
  const parser = parserFor('read', { command });
  const { _: words, $0: _program, ...found } = parser.parseSync(spelled(argv, command, problems), {}, silent);
  const given = new Map<string, Value[]>();
  for (const [name, value] of Object.entries(found)) {
    const values = (Array.isArray(value) ? value : [value]).filter((one) => one !== undefined);
    given.set(
      name,
      values.map((one) => (typeof one === 'boolean' ? one : String(one))),
    );
  }
  return { words: words.map(String), given, problems };
}

/**
 * The words with options spelled as the grammar has them, and the value of a switch as yargs knows it: of `--debug=1`
 * it would make false.
 */
function spelled(argv: readonly string[], command: Command | undefined, problems: Problem[]): string[] {
  const end = argv.indexOf('--');
  return argv.map((word, index) => {
    const [, written, equals = '', value = ''] = /^--([^=]+)(=?)(.*)$/s.exec(word) ?? [];
    if (written === undefined || (end !== -1 && index > end)) return word;
    const name = colons(written);
    if (equals === '' || !isSwitch(name, command)) return `--${name}${equals}${value}`;
    if (/^(true|1)$/.test(value)) return `--${name}`;
    if (!/^(false|0)$/.test(value)) {
      problems.push({ path: `--${name}`, reason: 'must be true or false', got: JSON.stringify(value) });
    }
    return `--no-${name}`;
  });
}

function isSwitch(name: string, command: Command | undefined): boolean {
  if (command && Object.hasOwn(command.options, name)) return command.options[name]?.type === 'boolean';
  if (Object.hasOwn(general, name)) return general[name as keyof typeof general].type === 'boolean';
  return optionRows.get(dots(name))?.type === 'boolean';
}

/** Lists add up; for every other option the last value counts. */
export function joined(values: readonly Value[], type: string): Value {
  const last = values.at(-1) ?? '';
  if (values.length < 2 || typeof last === 'boolean' || (type !== 'list' && type !== 'lines')) return last;
  return values.join(type === 'lines' ? '\n' : ',');
}

/** The readable parts of a line that may be wrong or incomplete, for completion. */
export function readLeniently(
  argv: readonly string[],
  command?: Command,
): { words: string[]; options: Record<string, Value>; configFile: string | undefined } {
  const { words, given } = read(argv, command);
  const options: Record<string, Value> = {};
  for (const [name, values] of given) {
    const row = optionRows.get(dots(name));
    if (row && values.at(-1) !== '') options[row.path] = joined(values, row.type);
  }
  const config = given.get('config')?.at(-1);
  return { words, options, configFile: typeof config === 'string' && config !== '' ? config : undefined };
}
