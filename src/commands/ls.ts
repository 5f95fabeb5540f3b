/**
 * `discover ls [service]`: the services and their instances.
 *
 * With `--all` also the instances whose containers deserve no traffic, with the state of each, where their hosts tell it. A shell
 * gets none of these: it would send requests there.
 *
 * Exit codes: 0; 1 if the named service has no instance, or if two services have the same name in a shell; 69 etcd did not answer.
 */
import { command, tellingOfWait } from './command.ts';
import { variable } from './print.ts';
import { choice, clashes, connect, print, queryOf, type Services, serviceNames, shellName } from './services.ts';

const output = {
  type: 'string',
  choices: ['table', 'wide', 'json', 'env'],
  description: 'table, wide with container, image, weight, tags and zone, json, or env for a shell to evaluate (table)',
} as const;

const all = {
  type: 'boolean',
  description: 'Also instances that deserve no traffic, with their states, of hosts whose etcd.meta is always (false)',
} as const;

export const ls = command({
  options: { ...choice, all, output },
  aliases: { '-o': '--output' },
  words: ['[service]'],
  complete: serviceNames,
  async run({ flags, words: [service], sources }, io) {
    await using client = await connect(sources, io);
    const query = queryOf({ ...flags, all: flags.all === true && flags.output !== 'env' });
    const names =
      service === undefined ? [...(await tellingOfWait('etcd', io, client.services(query))).keys()].sort() : [service];
    const services: [string, Services[number][1]][] = [];
    for (const name of names) services.push([name, await tellingOfWait('etcd', io, client.resolve(name, query))]);
    const found = services.filter(([, instances]) => instances.length > 0);
    if (flags.output !== 'env') {
      const columns = io.isTerminal ? process.stdout.columns : undefined;
      io.write(print(found, flags.output ?? 'table', { columns, withStates: flags.all === true }));
      return service !== undefined && found.length === 0 ? 1 : 0;
    }
    const clashing = clashes(found.map(([name]) => name));
    for (const names of clashing) {
      io.warn(
        `services ${names.join(' and ')} are not printed: the name in a shell would be ${variable(shellName(names[0]))} for all`,
      );
    }
    const left = new Set(clashing.flat());
    io.write(
      print(
        found.filter(([name]) => !left.has(name)),
        'env',
      ),
    );
    return clashing.length > 0 || (service !== undefined && found.length === 0) ? 1 : 0;
  },
});
