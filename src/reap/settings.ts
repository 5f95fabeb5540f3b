/**
 * The settings of the reaper in the configuration file, under the names of the original's `reap.json`.
 *
 * The group `etcd` of that file needs no code here, because its settings are options of discover. Values are never shown:
 * the accounts hold secret keys.
 */
import { statSync } from 'node:fs';
import * as z from 'zod/mini';
import type { Layers } from '../config/sources.ts';
import { configError, type Problem } from '../errors.ts';

const list = z.array(z.string());
const rules = {
  accounts: [z.array(z.tuple([z.string(), z.string()])), 'a list of [access key, secret key]'],
  regions: [list, 'a list of names'],
  filters: [
    z.record(z.string(), z.union([z.string(), list])),
    'an object of a value, or a list of them, for each filter',
  ],
  dryRun: [z.boolean(), 'true or false'],
  force: [list, 'a list of host ids'],
} as const;

type Rules = typeof rules;
export type FileSettings = { readonly [Name in keyof Rules]?: z.output<Rules[Name][0]> };

export const settingNames: readonly string[] = Object.keys(rules);

export function readSettings({ others, file }: Layers): { settings: FileSettings; warnings: Problem[] } {
  const problems: Problem[] = [];
  for (const [name, [schema, allowed]] of Object.entries(rules)) {
    if (others.has(name) && !schema.safeParse(others.get(name)).success) {
      problems.push({ path: name, reason: `must be ${allowed}` });
    }
  }
  if (problems.length > 0) throw configError(`${file}`, problems);
  const settings: FileSettings = Object.fromEntries(others);
  const isOpen = settings.accounts !== undefined && file !== undefined && (statSync(file).mode & 0o077) !== 0;
  const advice = 'the environment, a profile or a role keeps them better, or chmod 600';
  return {
    settings,
    warnings: isOpen ? [{ path: `${file}`, reason: `holds keys and others may read it: ${advice}` }] : [],
  };
}
