/**
 * The commands, one line each. The agent's start reads this table as well, so it holds nothing but names, descriptions
 * and how to load the rest.
 */
import type { Command, CommandRow, CommandTable } from './command.ts';

const row = (description: string, load: () => Promise<Command>): CommandRow => ({ description, load });

export const commandTable: CommandTable = {
  ls: row('List the services there are, or the instances of one', async () => (await import('./ls.ts')).ls),
  get: row('Print the address of one instance of a service', async () => (await import('./get.ts')).get),
  watch: row(
    'Print what changes in a service, or run a command whenever it has changed',
    async () => (await import('./watch.ts')).watch,
  ),
  why: row('Tell why a container is published, or is not', async () => (await import('./why.ts')).why),
  doctor: row(
    'Check whether discover could do its work here, and say what to do where not',
    async () => (await import('./doctor.ts')).doctor,
  ),
  verify: row(
    'Compare what etcd holds for this host with what Docker runs',
    async () => (await import('./verify.ts')).verify,
  ),
  health: row('Ask the discover that runs here how it is', async () => (await import('./health.ts')).health),
  config: row(
    'Print the configuration, and where each value comes from',
    async () => (await import('./config.ts')).config,
  ),
  completion: row('Print a completion script for bash or zsh (the one that $SHELL names)', async () =>
    (await import('./completion.ts')).completionOf(commandTable),
  ),
  reap: row('Delete the keys of hosts that are gone', async () => (await import('./reap.ts')).reap),
};
