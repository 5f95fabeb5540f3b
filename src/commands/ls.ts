/**
 * `discover ls [service]`: the services and their instances.
 *
 * Exit codes: 0, or 1 if the named service has no instance; 69 etcd did not answer.
 */
import { command, shellOutput } from './command.ts';
import { choice, connect, print, queryOf, type Services, serviceNames } from './services.ts';

export const ls = command({
  options: { ...choice, output: shellOutput },
  aliases: { '-o': '--output' },
  words: ['[service]'],
  complete: serviceNames,
  async run({ flags, words: [service], sources }, io) {
    await using client = await connect(sources, io);
    const query = queryOf(flags);
    const names = service === undefined ? [...(await client.services(query)).keys()].sort() : [service];
    const all: [string, Services[number][1]][] = [];
    for (const name of names) all.push([name, await client.resolve(name, query)]);
    const found = all.filter(([, instances]) => instances.length > 0);
    io.write(print(found, flags.output ?? 'table'));
    return service !== undefined && found.length === 0 ? 1 : 0;
  },
});
