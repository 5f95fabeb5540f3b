/**
 * `discover demo`: the agent at its job with a simulated engine, for a person to see. The demo itself is a program of its own
 * beside this one, so that nothing of it is loaded by any other command.
 */
import { command } from './command.ts';

interface Demo {
  runDemo(options: { readonly seconds: number; readonly isReal: boolean }): Promise<void>;
}

export const demo = command({
  options: {
    seconds: { type: 'integer', max: 86_400, description: 'End after so many seconds (until Ctrl-C)' },
    docker: { type: 'boolean', description: "Watch this machine's Docker Engine, by reading alone (a simulated one)" },
  },
  async run({ flags }) {
    const isSource = import.meta.url.endsWith('.ts');
    const file = new URL(isSource ? '../../bench/demo.ts' : './demo.js', import.meta.url).href;
    const { runDemo } = (await import(file)) as Demo;
    await runDemo({ seconds: flags.seconds ?? Number.POSITIVE_INFINITY, isReal: flags.docker ?? false });
    return 0;
  },
});
