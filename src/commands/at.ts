/**
 * `discover at <address>`: which instances are at an address now, on any host, and which were there on this one.
 *
 * etcd is asked for the present, and the agent of this host for the past, if `http.listen` is set. Exit codes: 0; 1 nothing is
 * known of the address; 69 etcd did not answer.
 */
import { isIP } from 'node:net';
import type { Instance } from '../client/index.ts';
import { codeOf, configError, messageOf } from '../errors.ts';
import { command, output, tellingOfWait } from './command.ts';
import { type Entry, entriesOf, since, tableOf, timeOf } from './history.ts';
import { json } from './print.ts';
import { addressOf, connect, describe, print } from './services.ts';

export const at = command({
  options: { since, output },
  aliases: { '-o': '--output' },
  words: ['<address>'],
  async run({ flags, words: [given = ''], sources }, io) {
    const address = checked(given);
    if (flags.since !== undefined) timeOf(flags.since);
    await using client = await connect(sources, io);
    const now: Instance[] = [];
    for (const name of (await tellingOfWait('etcd', io, client.services())).keys()) {
      for (const one of await client.resolve(name)) {
        const there = addressOf(one);
        if (there === address || there.slice(0, there.lastIndexOf(':')) === address) now.push(one);
      }
    }
    let entries: readonly Entry[] = [];
    try {
      entries = await entriesOf(sources, { address, since: flags.since }, io);
    } catch (error) {
      if (!['AGENT_UNAVAILABLE', 'CONFIG_INVALID'].includes(codeOf(error) ?? '')) throw error;
      io.warn(`The past is not known here: ${messageOf(error).replaceAll(/\s+/g, ' ')}`);
    }
    if (flags.output === 'json') {
      io.write(json({ address, now: now.map((one) => ({ name: one.name, ...describe(one) })), history: entries }));
    } else {
      const columns = io.isTerminal ? process.stdout.columns : undefined;
      const parts = [
        ...(now.length > 0 ? [print([['', now]], 'wide', { columns })] : []),
        ...(entries.length > 0 ? [tableOf(entries)] : []),
      ];
      io.write(parts.join('\n'));
    }
    return now.length + entries.length > 0 ? 0 : 1;
  },
});

/** With a port, IPv6 is in brackets, as in a URL. */
function checked(text: string): string {
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::([1-9]\d{0,4}))?$/.exec(text) ?? [];
  const host = six ?? four ?? (isIP(text) === 6 ? text : '');
  if (isIP(host) === (six === undefined && four !== undefined ? 4 : 6) && Number(port ?? 1) <= 65_535) {
    const written = isIP(host) === 6 ? `[${host}]` : host;
    return port === undefined ? written : `${written}:${port}`;
  }
  const reason = 'must be an address such as 10.0.0.5:8080, [2001:db8::5]:8080 or 10.0.0.5';
  throw configError('the command line', [{ path: 'The address', reason, got: `"${text}"` }]);
}
