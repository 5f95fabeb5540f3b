/**
 * `discover watch <service>`: its instances, and again whenever they have changed.
 *
 * With `--exec` a shell command runs instead, each time the set has changed: not at the start, and not for a change
 * that is undone within `--wait`. The command gets the set as JSON on its standard input and as addresses in
 * DISCOVERED. Runs never overlap; a change during one run leads to another run.
 *
 * Ends by a signal, or with 69 if etcd has not answered once. A failed command leads to a warning, and nothing else.
 */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Instance, Update } from '../client/index.ts';
import { configError } from '../errors.ts';
import { command, type Io, shellOutput } from './command.ts';
import { coloured, printable } from './print.ts';
import {
  addressOf,
  attributesText,
  choice,
  connect,
  describe,
  print,
  queryOf,
  serviceNames,
  sorted,
} from './services.ts';

export const watch = command({
  options: {
    ...choice,
    exec: { type: 'string', description: 'What the shell runs when the set has changed (print the changes)' },
    wait: { type: 'string', description: 'With --exec: how long nothing may have changed, and at the most (1s:5s)' },
    output: shellOutput,
  },
  aliases: { '-o': '--output' },
  words: ['<service>'],
  complete: serviceNames,
  async run({ flags, words: [service = ''], sources }, io) {
    const wait = parseWait(flags.wait ?? '1s:5s');
    await using client = await connect(sources, io);
    // If etcd gives no first answer, the command fails; after the first answer it waits through outages.
    await client.resolve(service, queryOf(flags));
    const updates = client.watch(service, queryOf(flags));
    if (flags.exec !== undefined) {
      await execute(service, updates, { line: flags.exec, wait }, io);
      return 0;
    }
    let isFirst = true;
    for await (const update of updates) {
      io.write(printed(service, update, isFirst, flags.output ?? 'table', io.isTerminal));
      isFirst = false;
    }
    return 0;
  },
});

function printed(
  service: string,
  update: Update,
  isFirst: boolean,
  as: 'table' | 'json' | 'env',
  isTerminal: boolean,
): string {
  const { instances, added, removed, changed } = update;
  // A line each, for programs that read line by line.
  if (as === 'json') return `${JSON.stringify({ name: service, instances: sorted(instances).map(describe) })}\n`;
  if (as === 'env') return print([[service, instances]], 'env');
  if (isFirst) return print([[service, instances]], 'table');
  const line = (sign: string, colour: 'green' | 'red' | 'yellow') => (one: Instance) =>
    `${coloured(isTerminal, colour, printable(`${sign} ${service} ${one.realm} ${one.host} ${one.containerId} ${one.url}${attributesText(one)}`))}\n`;
  return [
    ...sorted(removed).map(line('-', 'red')),
    ...sorted(changed).map(line('~', 'yellow')),
    ...sorted(added).map(line('+', 'green')),
  ].join('');
}

interface Wait {
  readonly quietMs: number;
  readonly mostMs: number;
}

async function execute(
  service: string,
  updates: AsyncIterator<Update>,
  { line, wait }: { readonly line: string; readonly wait: Wait },
  io: Io,
): Promise<void> {
  const first = await updates.next();
  if (first.done) return;
  let known = fingerprint(first.value.instances);
  for (let next = updates.next(); ; ) {
    const changed = await next;
    if (changed.done) return;
    let { instances } = changed.value;
    next = updates.next();
    const began = performance.now();
    for (;;) {
      const left = Math.min(wait.quietMs, wait.mostMs - (performance.now() - began));
      const later = await Promise.race([next, sleep(Math.max(0, left), undefined)]);
      if (later === undefined || later.done) break;
      ({ instances } = later.value);
      next = updates.next();
      if (performance.now() - began >= wait.mostMs) break;
    }
    if (fingerprint(instances) === known) continue;
    known = fingerprint(instances);
    const problem = await run(line, service, sorted(instances));
    if (problem !== undefined) io.warn(`${line}: ${problem}`);
  }
}

const fingerprint = (instances: readonly Instance[]): string =>
  sorted(instances)
    .map((one) => JSON.stringify(one))
    .join('\n');

/** The reason of a failed run; undefined if it ended with 0. */
function run(line: string, service: string, instances: readonly Instance[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const env = { ...process.env, DISCOVERED: instances.map(addressOf).join(' ') };
    const child = spawn(line, { shell: true, stdio: ['pipe', 'inherit', 'inherit'], env });
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(code === 0 ? undefined : `ended with ${signal ?? code}`));
    // The command need not read its input.
    child.stdin.on('error', () => {});
    child.stdin.end(`${JSON.stringify({ name: service, instances: instances.map(describe) })}\n`);
  });
}

function parseWait(text: string): Wait {
  const [, quiet, quietUnit, most, mostUnit] = /^(\d{1,6})(ms|s|m)(?::(\d{1,6})(ms|s|m))?$/.exec(text) ?? [];
  const unitMs = { ms: 1, s: 1_000, m: 60_000 } as const;
  const ms = (digits: string, unit: string | undefined) => Number(digits) * unitMs[unit as keyof typeof unitMs];
  if (quiet !== undefined) {
    const quietMs = ms(quiet, quietUnit);
    const mostMs = most === undefined ? quietMs : ms(most, mostUnit);
    if (mostMs >= quietMs) return { quietMs, mostMs };
  }
  const reason = 'must be one time or two, the second no less, such as 1s:5s';
  throw configError('the command line', [{ path: '--wait', reason, got: `"${text}"` }]);
}
