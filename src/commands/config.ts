/** `discover config`: the configuration, and where each value comes from; or what a file may hold. */
import { describeConfig } from '../config/describe.ts';
import { jsonSchema } from '../config/options.ts';
import { resolveConfig } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { command, output, warnOf } from './command.ts';

export const config = command({
  options: {
    schema: { type: 'boolean', description: 'Print the JSON Schema of the file instead' },
    output,
  },
  aliases: { '-o': '--output' },
  async run({ flags, sources }, io) {
    if (flags.schema) {
      io.write(`${JSON.stringify(jsonSchema(), undefined, 2)}\n`);
      return 0;
    }
    const resolved = await resolveConfig(readSources(sources));
    warnOf(resolved.warnings, io);
    for (const note of resolved.notes) io.warn(note);
    io.write(`${describeConfig(resolved, flags.output ?? 'table')}\n`);
    return 0;
  },
});
