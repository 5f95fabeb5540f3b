/**
 * A check of `discover doctor`: what was seen and, where that is not as it should be, what to do; and those of the
 * configuration. A check that fails ends no other; what cannot even be tried without it is left out.
 */
import type { Resolved } from '../config/resolve.ts';
import { messageOf } from '../errors.ts';
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

/** Configured well, but is it this machine? What was warned of is told where it belongs. */
export function configurationChecks({ config, origins, warnings }: Resolved): Check[] {
  const about = (text: string) => /^host\.(ip|id) /.exec(text)?.[1];
  const general = warnings.filter((text) => about(text) === undefined);
  const { ip, id } = config.host;
  const [ipWarning, idWarning] = ['ip', 'id'].map((what) => warnings.find((text) => about(text) === what));
  const [ipFrom, idFrom] = ['host.ip', 'host.id'].map((path) => origins.get(path));
  const found = interfaceOf(ip);
  const setIp = 'Set host.ip, or host.interface, to what other machines reach this one at';
  const setId = 'Set host.id to a name that no other host has';
  const isAnybodys = /^localhost(\.|$)/.test(id);
  return [
    ...general.map((text) => warning('configuration', text, '`discover config` shows where each value comes from')),
    ...(general.length === 0 ? [ok('configuration', 'can be used')] : []),
    ipWarning !== undefined
      ? warning('host.ip', ipWarning, setIp)
      : found === undefined
        ? warning(
            'host.ip',
            `${ip} (${ipFrom}) is on no interface here`,
            `Right behind an address translation; else: ${setIp}`,
          )
        : leadsToContainers.test(found)
          ? warning('host.ip', `${ip} (${ipFrom}) is on ${found}, which leads to containers`, setIp)
          : ok('host.ip', `${ip} (${ipFrom}) is on ${found}`),
    idWarning !== undefined || isAnybodys
      ? warning('host.id', idWarning ?? `${id} (${idFrom}) may be the name of other hosts as well`, setId)
      : ok('host.id', `${id} (${idFrom})`),
  ];
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
