/**
 * Help and completion, written by yargs, of which this is the only import: loading it takes 60 ms, so this file
 * is loaded for these alone.
 */
import type { Argv } from 'yargs';
import { isPrintable, type OptionRow, optionTable } from '../config/options.ts';
import type { Command, CommandOption } from './command.ts';
import { commandTable } from './table.ts';

const descriptions: Readonly<Record<string, string>> = {
  run: 'Publish the services of this host, which is the default',
  ...Object.fromEntries(Object.entries(commandTable).map(([name, { description }]) => [name, description])),
  completion: 'Print a completion script for bash or zsh, whichever $SHELL names',
  help: 'Print this text, or that of the command named with it',
  version: 'Print the version',
};

const headings: Readonly<Record<string, string>> = { discover: 'Services:', docker: 'Docker Engine:', host: 'Host:' };

/** The help of one command, or without one of the program. */
export async function help(name = '', command?: Command): Promise<string> {
  const parser = await parserOf();
  if (command) {
    const words = ['$0', name, ...(command.words ?? []), '[options]'];
    addOwn(parser.usage(words.join(' '), descriptions[name] ?? ''), command);
    parser.epilogue('It takes the options of the configuration as well, such as --config: see discover help.');
  } else {
    addCommands(parser.usage('$0 [command] [options]'));
    addConfig(parser, ':');
    parser
      .example('$0', 'Engine at /var/run/docker.sock, etcd at localhost:2379')
      .example('$0 --etcd:endpoints a:2379,b:2379 --host:realm blue', 'A cluster, and a realm of its own')
      .example('$0 --config discover.json --debug', 'Options from a file, and a line for each container')
      .example('DISCOVER_HOST_IP=10.0.0.5 $0 config', 'Which value holds, and where it comes from')
      .epilogue('--host.realm is the same as --host:realm. Of an option given twice the last counts.');
  }
  return parser.getHelp();
}

/** What the completion script is, or is answered. With dots: bash takes words apart at each colon. */
export async function completion(argv: readonly string[], command?: Command): Promise<string> {
  const parser = await parserOf();
  addCommands(parser);
  if (command) addOwn(parser, command);
  addConfig(parser, '.');
  let text = '';
  const keep = (_error: unknown, _given: unknown, output: string): void => {
    text = output;
  };
  void parser.completion('completion', false).parse(argv, keep);
  return text;
}

async function parserOf(): Promise<Argv> {
  const { default: yargs } = await import('yargs');
  return yargs()
    .scriptName('discover')
    .locale('en')
    .wrap(Math.min(120, process.stdout.columns ?? 120))
    .parserConfiguration({ 'dot-notation': false, 'camel-case-expansion': false })
    .help(false)
    .version(false);
}

function addCommands(parser: Argv): void {
  for (const [name, description] of Object.entries(descriptions)) parser.command(name, description);
}

function addOwn(parser: Argv, { options, aliases = {} }: Command): void {
  for (const [name, { type, description, choices }] of Object.entries(options)) {
    const alias = Object.entries(aliases).flatMap(([from, to]) =>
      to === `--${name}` ? [from.replace(/^-+/, '')] : [],
    );
    parser.option(name, { type: yargsType(type), describe: description, alias, ...(choices && { choices }) });
  }
}

function addConfig(parser: Argv, separator: ':' | '.'): void {
  parser
    .option('config', { type: 'string', alias: 'c', group: 'General:', describe: 'JSON file that holds options' })
    .option('help', { type: 'boolean', alias: 'h', group: 'General:', describe: descriptions.help ?? '' })
    .option('version', { type: 'boolean', group: 'General:', describe: descriptions.version ?? '' });
  // Whoever can list processes can read a command line, so no secret is an option of it.
  for (const { path, type, choices, default: value, description } of optionTable.filter((row) =>
    isPrintable(row.path),
  )) {
    const [group = ''] = path.includes('.') ? path.split('.') : ['General'];
    parser.option(path.replaceAll('.', separator), {
      type: yargsType(type),
      group: headings[group] ?? `${group}:`,
      describe: description,
      ...(choices && { choices }),
      ...(value !== null && value !== false && { default: value }),
    });
  }
}

function yargsType(type: OptionRow['type'] | CommandOption['type']): 'boolean' | 'number' | 'string' {
  return type === 'boolean' ? type : type === 'integer' ? 'number' : 'string';
}
