/**
 * `discover get <service>`: the address of one instance, any of them.
 *
 * Exit codes: 0 an instance was printed; 1 and no output: there is none; 69 etcd did not answer.
 */
import { command, shellOutput, tellingOfWait } from './command.ts';
import { assignments, json, variable } from './print.ts';
import { addressOf, choice, connect, describe, queryOf, serviceNames, shellName } from './services.ts';

export const get = command({
  options: { ...choice, output: shellOutput },
  aliases: { '-o': '--output' },
  words: ['<service>'],
  complete: serviceNames,
  async run({ flags, words: [service = ''], sources }, io) {
    await using client = await connect(sources, io);
    const instance = await tellingOfWait('etcd', io, client.pick(service, queryOf(flags)));
    if (instance === undefined) return 1;
    const { protocol, address, port, url } = instance;
    const name = variable(shellName(service));
    const parts = { URL: url, ADDRESS: addressOf(instance), PROTOCOL: protocol, HOST: address, PORT: port };
    if (flags.output === 'json') io.write(json({ name: service, ...describe(instance) }));
    else if (flags.output === 'env')
      io.write(assignments(Object.entries(parts).map(([part, value]) => [`${name}_${part}`, value])));
    else io.write(`${addressOf(instance)}\n`);
    return 0;
  },
});
