/**
 * The commands, one line each. The agent's start reads this table as well, so it has only names, descriptions and
 * the functions that load the rest.
 */
import type { Command, CommandRow, CommandTable } from './command.ts';

const row = (description: string, load: () => Promise<Command>): CommandRow => ({ description, load });

export const commandTable: CommandTable = {
  demo: row('Show the agent at its job, with a simulated engine', async () => (await import('./demo.ts')).demo),
  init: row('Write a first configuration file, and check it', async () => (await import('./init.ts')).init),
  ls: row('List the services, or the instances of one or of a host', async () => (await import('./ls.ts')).ls),
  get: row('Print the address of one instance of a service', async () => (await import('./get.ts')).get),
  watch: row(
    'Print the changes of services, run a shell command after each, or keep a file',
    async () => (await import('./watch.ts')).watch,
  ),
  history: row(
    'Show what this host published and withdrew, when and why',
    async () => (await import('./history.ts')).history,
  ),
  at: row('Show which instances are, and were, at an address', async () => (await import('./at.ts')).at),
  why: row('Explain why a container is published or not', async () => (await import('./why.ts')).why),
  maintenance: row(
    'Take a container or a host out of traffic (on), until told otherwise (off)',
    async () => (await import('./maintenance.ts')).maintenance,
  ),
  doctor: row('Diagnose configuration, Docker, etcd and permissions', async () => (await import('./doctor.ts')).doctor),
  verify: row(
    'Compare what etcd holds for this host with what Docker runs',
    async () => (await import('./verify.ts')).verify,
  ),
  plan: row(
    'Print what the agent would write for this host, and what it would not publish',
    async () => (await import('./plan.ts')).plan,
  ),
  health: row('Query the health of the running agent', async () => (await import('./health.ts')).health),
  config: row(
    'Print the effective configuration and the source of each value',
    async () => (await import('./config.ts')).config,
  ),
  completion: row('Print a completion script for bash or zsh (the one that $SHELL names)', async () =>
    (await import('./completion.ts')).completionOf(commandTable),
  ),
  migrate: row('Copy the keys of the original or of registrator', async () => (await import('./migrate.ts')).migrate),
  reap: row('Delete the keys of hosts that are gone', async () => (await import('./reap.ts')).reap),
};
