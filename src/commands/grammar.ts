/**
 * The grammar of the command line, as yargs has it: one table of options for reading, help and completion. This is the
 * only file that imports yargs.
 *
 * For reading, every option but a switch is text: `--host:id 0123` keeps its zero, and `config/` checks values from
 * every source alike. yargs gets no default either: an option that was not given must stay absent, or its source would
 * be wrong.
 * An option is written `--host:realm`, as in the original; `arguments.ts` turns `--host.realm` into that.
 */
import yargs, { type Argv, type Options } from 'yargs';
import { isPrintable, type OptionRow, optionTable } from '../config/options.ts';
import type { Command, CommandOption } from './command.ts';

export const colons = (path: string): string => path.replaceAll('.', ':');

/** The options of the program itself, which no other place can set. */
export const general = {
  config: { type: 'string', alias: 'c', describe: 'JSON file that holds options' },
  help: { type: 'boolean', alias: 'h', describe: 'Print this text, or that of the command named with it' },
  version: { type: 'boolean', describe: 'Print the version' },
} as const satisfies Record<string, Options>;

const headings: Readonly<Record<string, string>> = {
  discover: 'Services:',
  docker: 'Docker Engine:',
  etcd: 'etcd:',
  views: 'Views:',
  host: 'Host:',
  http: 'HTTP:',
};

/** The purpose of a parser. For reading, every value is text; help and completion show the types of options. */
export type Purpose = 'read' | 'show';

/** A parser that knows the options of the configuration and those of `command`, or one of the two. */
export function parserFor(
  purpose: Purpose,
  { command, withConfig = true }: { command?: Command | undefined; withConfig?: boolean },
): Argv {
  const parser = yargs()
    .scriptName('discover')
    .locale('en')
    .wrap(Math.min(120, process.stdout.columns ?? 120))
    .parserConfiguration({
      'dot-notation': false,
      'camel-case-expansion': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'strip-aliased': true,
    })
    .help(false)
    .version(false)
    .exitProcess(false)
    // `arguments.ts` finds the same mistakes as yargs, and reports all of them at once.
    .fail((_message, error) => {
      if (error) throw error;
    });
  if (withConfig) addConfig(parser, purpose);
  if (command) addOwn(parser, command, purpose);
  return parser;
}

function addConfig(parser: Argv, purpose: Purpose): void {
  for (const [name, settings] of Object.entries(general)) parser.option(name, { ...settings, group: 'General:' });
  for (const { path, type, choices, default: value, description } of optionTable) {
    // Other users can list processes and so read a command line: no secret is an option of it.
    if (!isPrintable(path)) continue;
    const [group = ''] = path.includes('.') ? path.split('.', 1) : [];
    parser.option(colons(path), {
      type: shownType(type, purpose),
      group: headings[group] ?? 'General:',
      describe: description,
      ...(choices && { choices }),
      ...(value !== null && value !== false && { defaultDescription: String(value) }),
    });
  }
}

function addOwn(parser: Argv, { options, aliases = {} }: Command, purpose: Purpose): void {
  for (const [name, { type, description, choices }] of Object.entries(options)) {
    parser.option(name, { type: shownType(type, purpose), describe: description, ...(choices && { choices }) });
  }
  const bare = (word: string): string => word.replace(/^-+/, '');
  for (const [alias, to] of Object.entries(aliases)) parser.alias(bare(to), bare(alias));
}

function shownType(type: OptionRow['type'] | CommandOption['type'], purpose: Purpose): NonNullable<Options['type']> {
  if (type === 'boolean') return type;
  if (purpose === 'read') return 'string';
  if (type === 'integer') return 'number';
  return type === 'list' || type === 'lines' ? 'array' : 'string';
}
