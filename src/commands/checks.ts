/**
 * A check of `discover doctor`: what was seen and, where that is not as it should be, what to do; and those of the
 * configuration. A check that fails ends no other; what cannot even be tried without it is left out.
 */
import type { Resolved } from '../config/resolve.ts';
import { messageOf, problemText } from '../errors.ts';
import { interfaceOf, leadsToContainers } from '../host.ts';

export interface Check {
  readonly name: string;
  readonly state: 'ok' | 'warning' | 'failed';
  readonly seen: string;
  /** What to do about it. */
  readonly remedy?: string;
}

export const ok = (name: string, seen: string): Check => ({ name, state: 'ok', seen });
export const warning = (name: string, seen: string, remedy: string): Check => ({
  name,
  state: 'warning',
  seen,
  remedy,
});
export const failed = (name: string, seen: string, remedy: string): Check => ({ name, state: 'failed', seen, remedy });

/** The configuration by itself, and whether it fits this machine. Warnings about the host are shown with what they are about. */
export function configurationChecks(resolved: Resolved): Check[] {
  const general = resolved.warnings.filter(({ path }) => path !== 'host.ip' && path !== 'host.id').map(problemText);
  return [
    ...general.map((text) => warning('configuration', text, '`discover config` shows the source of each value')),
    ...(general.length === 0 ? [ok('configuration', 'can be used')] : []),
    addressCheck(resolved),
    idCheck(resolved),
  ];
}

function addressCheck({ config, origins, warnings }: Resolved): Check {
  const name = 'host.ip';
  const remedy = 'Set host.ip, or host.interface, to the address at which other machines reach this one';
  const warned = warnings.find(({ path }) => path === name);
  if (warned !== undefined) return warning(name, problemText(warned), remedy);
  const { ip } = config.host;
  const text = `${ip} (${origins.get(name)})`;
  const found = interfaceOf(ip);
  if (found === undefined) {
    return warning(name, `${text} is on no interface here`, `Right behind an address translation; else: ${remedy}`);
  }
  if (leadsToContainers.test(found)) return warning(name, `${text} is on ${found}, which leads to containers`, remedy);
  return ok(name, `${text} is on ${found}`);
}

function idCheck({ config, origins, warnings }: Resolved): Check {
  const name = 'host.id';
  const remedy = 'Set host.id to a name that no other host has';
  const warned = warnings.find(({ path }) => path === name);
  if (warned !== undefined) return warning(name, problemText(warned), remedy);
  const { id } = config.host;
  const text = `${id} (${origins.get(name)})`;
  const isCommon = /^localhost(\.|$)/.test(id);
  return isCommon ? warning(name, `${text} may be the name of other hosts as well`, remedy) : ok(name, text);
}

/** What `work` has seen; a failure is one check that failed, with what can be done about it. */
export async function attempt(
  name: string,
  work: () => Promise<string>,
  remedyOf: (error: unknown) => string,
): Promise<Check> {
  try {
    return ok(name, await work());
  } catch (error) {
    return failed(name, messageOf(error), remedyOf(error));
  }
}
