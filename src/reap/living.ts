/**
 * A list of living hosts: one id a line, or a JSON array of ids.
 *
 * A list with one invalid item is refused as a whole, because half a list would name living hosts as dead.
 */
import { optionRows } from '../config/options.ts';
import { DiscoverError } from '../errors.ts';

export function parseHosts(text: string, origin: string): Set<string> {
  const refuse = (why: string) => new DiscoverError('LIST_INVALID', `Cannot use ${origin}: ${why}`);
  const isArray = /^\s*\[/.test(text);
  const hosts = new Set<string>();
  for (const item of isArray ? arrayOf(text, refuse) : text.split('\n')) {
    const host = typeof item === 'string' ? item.trim() : item;
    if (host === '' && !isArray) continue;
    const { schema, allowed = '' } = optionRows.get('host.id') ?? {};
    if (typeof host !== 'string' || !schema?.safeParse(host).success) {
      throw refuse(`a host id must be ${allowed}, got ${JSON.stringify(item)?.slice(0, 80)}`);
    }
    hosts.add(host);
  }
  return hosts;
}

function arrayOf(text: string, refuse: (why: string) => DiscoverError): unknown[] {
  try {
    return JSON.parse(text) as unknown[];
  } catch {
    throw refuse('it begins like a JSON array but is not valid JSON');
  }
}
