/** The texts of `discover help`, made by yargs from the grammar and the table of commands. */
import type { Command } from './command.ts';
import { general, parserFor } from './grammar.ts';
import { commandTable } from './table.ts';

/** Every command with its description, also the commands without a file of their own. */
export const commandDescriptions: Readonly<Record<string, string>> = {
  run: 'Publish the services of this host (default)',
  ...Object.fromEntries(Object.entries(commandTable).map(([name, { description }]) => [name, description])),
  help: general.help.describe,
  version: general.version.describe,
};

/** The help of one command, or without one of the program. */
export async function help(name = '', command?: Command): Promise<string> {
  const parser = parserFor('show', { command, withConfig: command === undefined });
  if (command) {
    const words = ['$0', name, ...(command.words ?? []), '[options]'];
    parser.usage(words.join(' '), commandDescriptions[name] ?? '');
    parser.epilogue('All options of the configuration are accepted as well, such as --config: see discover help.');
    return parser.getHelp();
  }
  parser.usage('$0 [command] [options]');
  for (const [command, description] of Object.entries(commandDescriptions)) parser.command(command, description);
  parser
    .example('$0', 'Engine at /var/run/docker.sock, etcd at localhost:2379')
    .example('$0 --etcd:endpoints a:2379,b:2379 --host:realm blue', 'A cluster, and a realm of its own')
    .example('$0 --config discover.json --debug', 'Options from a file, and a line for each container')
    .example('DISCOVER_HOST_IP=10.0.0.5 $0 config', 'The effective configuration, and the source of each value')
    .epilogue(
      '--host.realm is the same as --host:realm. An option given twice: the last value counts; values of lists add up.',
    );
  return parser.getHelp();
}
