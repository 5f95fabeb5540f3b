/**
 * The commands beside `run`, one line each. The agent's start reads this table too, so it holds nothing but
 * names, descriptions and how to load the rest.
 */
import type { Command } from './command.ts';

export interface CommandRow {
  readonly description: string;
  load(): Promise<Command>;
}

const row = (description: string, load: () => Promise<Command>): CommandRow => ({ description, load });

export const commandTable: Readonly<Record<string, CommandRow>> = {
  config: row(
    'Print the configuration, and where each value comes from',
    async () => (await import('./config.ts')).config,
  ),
  reap: row('Delete the keys of hosts that are gone', async () => (await import('./reap.ts')).reap),
};
