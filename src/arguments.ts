/**
 * The command line. Node's parseArgs reads it; yargs, of which this is the only import, writes help and
 * completion and is loaded for these alone, because that takes it 60 ms.
 *
 * Every option of the table is here, as `--host:realm` (so it was in the original) and as
 * `--host.realm`. Of an option given twice the last counts. Values stay the text they are, so that
 * `--host:id 0123` keeps its zero; `config/` reads and checks them.
 */
import { parseArgs } from 'node:util';
import type { Argv } from 'yargs';
import { jsonSchema, optionTable } from './config/options.ts';
import { didYouMean, hint, nearest } from './config/sources.ts';
import { DiscoverError } from './errors.ts';
import { version } from './version.ts';

const commands = {
  run: 'Publish the services of this host, which is the default',
  config: 'Print the configuration, and where each value comes from',
  completion: 'Print a completion script for bash or zsh, whichever $SHELL names',
  help: 'Print this text',
  version: 'Print the version',
} as const;

type Command = keyof typeof commands;
type Value = string | boolean;

export interface Arguments {
  readonly command: Command;
  /** By path, the values as they were typed; `--debug` is true, `--no-debug` false. */
  readonly options: Readonly<Record<string, Value>>;
  readonly configFile?: string;
  /** How `discover config` prints. */
  readonly output: 'table' | 'json';
  /** What to print instead of doing anything else. */
  readonly text?: string;
}

/** Whoever can list processes can read a command line. */
const refused = 'etcd.password';
const refusal =
  '--etcd:password is refused, other users could read it: use --etcd:passwordFile or DISCOVER_ETCD_PASSWORD';

const general = { config: 'string', help: 'boolean', version: 'boolean', schema: 'boolean', output: 'string' } as const;
const types = new Map<string, 'string' | 'boolean'>(Object.entries(general));
for (const { path, type } of optionTable) types.set(path, type === 'boolean' ? type : 'string');
const shorts = new Map([
  ['-c', '--config'],
  ['-h', '--help'],
  ['-o', '--output'],
]);
const colons = (path: string): string => path.replaceAll('.', ':');
const dots = (name: string): string => name.replaceAll(':', '.');

/** Reads the arguments after the program's name. Throws `CONFIG_INVALID` for what it does not know. */
export async function parseArguments(argv: readonly string[]): Promise<Arguments> {
  if (argv.includes('--get-yargs-completions')) return textOf('completion', await printed(argv));
  const { words, given } = read(argv);
  const isOn = (name: string): boolean => /^(true|1)$/.test(String(given.get(name)));
  const [command = 'run', ...stray] = words;
  if (command === 'help' || isOn('help')) return textOf('help', await (await forReading(':')).getHelp());
  if (command === 'version' || isOn('version')) return textOf('version', version);

  const problems: string[] = [];
  if (!isCommand(command)) problems.push(`${command} is not a command${hint(nearest(command, Object.keys(commands)))}`);
  for (const word of stray) problems.push(`${word} is one word too many after ${command}`);
  const options: Record<string, Value> = {};
  for (const [path, value] of given) {
    if (path === refused) problems.push(refusal);
    else if (!types.has(path)) problems.push(`--${colons(path)} is not an option${hint(meant(path))}`);
    else if (!Object.hasOwn(general, path)) options[path] = value;
  }
  const config = given.get('config');
  const output = given.get('output') ?? 'table';
  if (config === '' || config === false) problems.push('--config must be the path of a file');
  if (output !== 'table' && output !== 'json') problems.push(`--output must be table or json, got "${output}"`);
  if (command !== 'config' && (given.has('schema') || given.has('output')))
    problems.push('--schema and --output are for discover config');
  if (problems.length > 0 || !isCommand(command)) {
    throw new DiscoverError('CONFIG_INVALID', ['Cannot use the command line:', ...problems].join('\n  '));
  }
  if (isOn('schema')) return textOf(command, JSON.stringify(jsonSchema(), undefined, 2));
  if (command === 'completion') return textOf(command, await printed([command]));
  const file = typeof config === 'string' ? { configFile: config } : {};
  return { command, options, output: output === 'json' ? 'json' : 'table', ...file };
}

const textOf = (command: Command, text: string): Arguments => ({ command, options: {}, output: 'table', text });
const isCommand = (word: string): word is Command => Object.hasOwn(commands, word);

/** The words that are no options, and by path the options, known or not. */
function read(argv: readonly string[]): { words: string[]; given: Map<string, Value> } {
  // A text option takes what follows, except another option: parseArgs would take that too.
  const args = argv.map((given, index) => {
    const word = shorts.get(given) ?? given;
    const isText = word.startsWith('--') && types.get(dots(word.slice(2))) === 'string';
    return isText && /^-(?!\d)/.test(argv[index + 1] ?? '-') ? `${word}=` : word;
  });
  const both = [...types].flatMap(([path, type]) => [path, colons(path)].map((name) => [name, { type }]));
  const { tokens } = parseArgs({ args, options: Object.fromEntries(both), strict: false, tokens: true });
  const words: string[] = [];
  const given = new Map<string, Value>();
  let flag: string | undefined;
  for (const token of tokens) {
    if (token.kind === 'positional') {
      // `--debug false`, or what was meant for the value of an option that is none.
      if (flag !== undefined && (!types.has(flag) || /^(true|false)$/.test(token.value))) given.set(flag, token.value);
      else words.push(token.value);
    }
    flag = undefined;
    if (token.kind !== 'option') continue;
    const { name, value } = token;
    const isNo = value === undefined && name.startsWith('no-');
    const path = dots(isNo ? name.slice('no-'.length) : name);
    given.set(path, value ?? !isNo);
    if (value === undefined && !isNo) flag = path;
  }
  return { words, given };
}

function meant(path: string): string | undefined {
  const near = nearest(path, Object.keys(general)) ?? didYouMean(path);
  return near && types.has(near) ? `--${colons(near)}` : undefined;
}

/** What the completion script is, or is answered. With dots: bash takes words apart at each colon. */
async function printed(argv: readonly string[]): Promise<string> {
  let text = '';
  const keep = (_error: unknown, _given: unknown, output: string): void => {
    text = output;
  };
  void (await forReading('.')).parse(argv, keep);
  return text;
}

const headings: Readonly<Record<string, string>> = { discover: 'Services:', docker: 'Docker Engine:', host: 'Host:' };

async function forReading(separator: ':' | '.'): Promise<Argv> {
  const { default: yargs } = await import('yargs');
  const parser = yargs()
    .scriptName('discover')
    .locale('en')
    .wrap(Math.min(120, process.stdout.columns ?? 120))
    .parserConfiguration({ 'dot-notation': false, 'camel-case-expansion': false })
    .usage('$0 [command] [options]')
    .completion('completion', false)
    .help(false)
    .version(false)
    .option('config', { type: 'string', alias: 'c', group: 'General:', describe: 'JSON file that holds options' })
    .option('help', { type: 'boolean', alias: 'h', group: 'General:', describe: commands.help })
    .option('version', { type: 'boolean', group: 'General:', describe: commands.version })
    .option('schema', { type: 'boolean', group: 'discover config:', describe: 'Print the JSON Schema of the file' })
    .option('output', { type: 'string', alias: 'o', group: 'discover config:', describe: 'table or json' })
    .example('$0', 'Engine at /var/run/docker.sock, etcd at localhost:2379')
    .example('$0 --etcd:endpoints a:2379,b:2379 --host:realm blue', 'A cluster, and a realm of its own')
    .example('$0 --config discover.json --debug', 'Options from a file, and a line for each container')
    .example('DISCOVER_HOST_IP=10.0.0.5 $0 config', 'Which value holds, and where it comes from')
    .epilogue('--host.realm is the same as --host:realm. Of an option given twice the last counts.');
  for (const [name, description] of Object.entries(commands)) parser.command(name, description);
  for (const { path, type, choices, default: value, description } of optionTable) {
    if (path === refused) continue;
    const [group = ''] = path.includes('.') ? path.split('.') : ['General'];
    parser.option(path.replaceAll('.', separator), {
      type: type === 'boolean' ? 'boolean' : type === 'integer' ? 'number' : 'string',
      group: headings[group] ?? `${group}:`,
      describe: description,
      ...(choices && { choices }),
      ...(value !== null && value !== false && { default: value }),
    });
  }
  return parser;
}
