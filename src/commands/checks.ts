/**
 * A check of `discover doctor`: the finding and, if it is a problem, the remedy; and the checks of the configuration.
 * A failed check does not end the others, but checks that depend on it are left out.
 */
import type { Resolved } from '../config/resolve.ts';
import { messageOf, problemText } from '../errors.ts';
import { interfaceOf, leadsToContainers } from '../host-address.ts';

export interface Check {
  readonly name: string;
  readonly state: 'ok' | 'warning' | 'failed';
  readonly seen: string;
  /** The action that would solve the problem. */
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

/** The configuration by itself, and whether it fits this machine. Warnings about the host are shown with its values. */
export function configurationChecks(resolved: Resolved): Check[] {
  const general = resolved.warnings.filter(({ path }) => path !== 'host.ip' && path !== 'host.id').map(problemText);
  return [
    ...general.map((text) => warning('configuration', text, '`discover config` shows the source of each value')),
    ...(general.length === 0 ? [ok('configuration', 'can be used')] : []),
    addressCheck(resolved),
    idCheck(resolved),
  ];
}

function addressCheck({ config, origins, warnings, addressReason }: Resolved): Check {
  const name = 'host.ip';
  const remedy = 'Set host.ip, or host.interface, to the address at which other machines reach this one';
  const warned = warnings.find(({ path }) => path === name);
  if (warned !== undefined) return warning(name, problemText(warned), remedy);
  const { ip, ip6 } = config.host;
  const second = ip6 === undefined ? '' : ` and ${ip6} (${origins.get('host.ip6')})`;
  const text = `${ip} (${origins.get(name)})${second}`;
  const found = interfaceOf(ip);
  if (found === undefined) {
    return warning(name, `${text} is on no interface here`, `Right behind an address translation; else: ${remedy}`);
  }
  if (leadsToContainers.test(found)) return warning(name, `${text} is on ${found}, which leads to containers`, remedy);
  return ok(name, `${text} is on ${found}${addressReason === '' ? '' : `: ${addressReason}`}`);
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

/** The check whose finding `work` returns. If `work` fails, so does the check, with the remedy for the error. */
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
