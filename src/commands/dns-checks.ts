/** The check of `doctor` about DNS: the running agent is asked for its zone. There is none if `dns.listen` is not set. */
import { Resolver } from 'node:dns/promises';
import type { Config } from '../config/options.ts';
import { type Check, ok, warning } from './checks.ts';

const timeoutMs = 1_000;
/** Asked at an address that stands for all, the system takes one of this machine. */
const anyAddress: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

export async function dnsChecks({ dns }: Config): Promise<Check[]> {
  if (dns === undefined) return [];
  const { listen, zone } = dns;
  const host = anyAddress[listen.host] ?? listen.host;
  const at = `${host.includes(':') ? `[${host}]` : host}:${listen.port}`;
  const resolver = new Resolver({ timeout: timeoutMs, tries: 1 });
  resolver.setServers([at]);
  try {
    await resolver.resolveSoa(zone);
    return [ok('dns', `${at} answers for ${zone}`)];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ESERVFAIL') return [warning('dns', `${at} has not read etcd yet`, 'See the checks of etcd')];
    const seen = `${at} does not answer for ${zone} (${code})`;
    return [warning('dns', seen, 'Right if no agent runs here; else look for another server at this address')];
  }
}
