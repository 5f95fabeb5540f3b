/**
 * `discover watch <service>…`: the instances of services, and again whenever they have changed; `--all` for every service.
 *
 * With `--exec` a shell command runs instead, at the start and each time the instances have changed, but not for a change
 * that is undone within `--wait`. It gets them as JSON on its standard input and as addresses in DISCOVERED. With `--to`
 * a file has what the command prints (see `render.ts`). Runs never overlap; a change during one run leads to another run.
 *
 * Ends by a signal, or with 69 if etcd has not answered once. A failed command leads to a warning; with `--to` it is
 * tried again.
 */
import type { Instance, Update } from '../client/index.ts';
import { configError } from '../errors.ts';
import { command, type Io, shellOutput } from './command.ts';
import { coloured, printable } from './print.ts';
import { act, type Plan } from './render.ts';
import { attributesText, choice, connect, describe, print, queryOf, serviceNames, sorted } from './services.ts';
import { type Batch, batchesOf, Sets, tellOfOutages } from './sets.ts';

const retryFirstMs = 1_000;
const retryCapMs = 60_000;

export const watch = command({
  options: {
    ...choice,
    all: { type: 'boolean', description: 'Every service, those that come later as well' },
    exec: {
      type: 'string',
      description: 'What the shell runs at the start and when the instances have changed (print the changes)',
    },
    to: { type: 'string', description: 'File that has what --exec prints, or without --exec the instances as JSON' },
    reload: { type: 'string', description: 'What the shell runs once the file of --to has other bytes' },
    empty: {
      type: 'string',
      choices: ['keep', 'write'],
      description: 'With --to: what becomes of the file when no instance is left (keep)',
    },
    timeout: { type: 'string', description: 'With --to: how long a command may take, such as 30s (30s)' },
    wait: {
      type: 'string',
      description: 'With --exec or --to: how long nothing may have changed, and at the most (1s:5s)',
    },
    output: shellOutput,
  },
  aliases: { '-o': '--output' },
  words: ['[service...]'],
  complete: serviceNames,
  async run({ flags, words, sources }, io) {
    const names = flags.all ? undefined : [...new Set(words)];
    if (words.length === 0 && !flags.all) refuse('', 'a service, or --all, is needed');
    if (words.length > 0 && flags.all) refuse('--all', 'takes no service beside it', words.join(' '));
    for (const name of ['reload', 'empty', 'timeout'] as const) {
      if (flags[name] !== undefined && flags.to === undefined) refuse(`--${name}`, 'needs --to');
    }
    const wait = parseWait(flags.wait ?? '1s:5s');
    const timeoutMs = parseTime(flags.timeout ?? '30s');
    await using client = await connect(sources, io);
    // Its `--all` means services, not states.
    const batches = await batchesOf(client, names, queryOf({ ...flags, all: false }));
    const stop = tellOfOutages(client, io);
    try {
      const isList = names?.length !== 1;
      const { empty, exec, reload, to } = flags;
      if (exec !== undefined || to !== undefined) {
        const plan = { exec, to, reload, timeoutMs, writesEmpty: empty === 'write', isList };
        await execute(await Sets.of(batches), plan, wait, io);
        return 0;
      }
      let isFirst = true;
      for await (const batch of batches) {
        io.write(printed(batch, isFirst, flags.output ?? 'table', io.isTerminal));
        isFirst = false;
      }
      return 0;
    } finally {
      stop();
    }
  },
});

function printed(batch: Batch, isFirst: boolean, as: 'table' | 'json' | 'env', isTerminal: boolean): string {
  const all = [...batch].sort(([one], [other]) => (one < other ? -1 : 1));
  // A line each, for programs that read line by line.
  if (as === 'json') {
    return all
      .map(([name, { instances }]) => `${JSON.stringify({ name, instances: sorted(instances).map(describe) })}\n`)
      .join('');
  }
  if (as === 'env' || isFirst) {
    return print(
      all.map(([name, { instances }]) => [name, instances] as const),
      as,
    );
  }
  return all.map(([name, update]) => lines(name, update, isTerminal)).join('');
}

function lines(service: string, { added, removed, changed }: Update, isTerminal: boolean): string {
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

async function execute(sets: Sets, plan: Plan, wait: Wait, io: Io): Promise<void> {
  let known: string | undefined;
  let failures = 0;
  let said: string | undefined;
  for (;;) {
    const services = sets.all;
    const now = fingerprint(services);
    if (now !== known || failures > 0) {
      const outcome = await act(plan, services);
      known = now;
      failures = outcome.kind === 'retry' ? failures + 1 : 0;
      const problem = outcome.kind === 'done' ? undefined : outcome.problem;
      // The same problem is told once, until it is over.
      if (problem !== undefined && (outcome.kind === 'failed' || problem !== said)) io.warn(problem);
      if (problem === undefined && said !== undefined && plan.to !== undefined)
        io.warn(`${plan.to} is up to date again`);
      said = problem;
    }
    if (sets.isOver) return;
    const isNews = await sets.changed(failures > 0 ? retryMs(failures) : undefined);
    if (isNews) await settled(sets, wait);
  }
}

const retryMs = (failures: number): number => Math.min(retryCapMs, retryFirstMs * 2 ** (failures - 1));

/** Waits until nothing has changed for a while. */
async function settled(sets: Sets, { quietMs, mostMs }: Wait): Promise<void> {
  const began = performance.now();
  for (;;) {
    const leftMs = mostMs - (performance.now() - began);
    if (leftMs <= 0 || sets.isOver || !(await sets.changed(Math.min(quietMs, leftMs)))) return;
  }
}

const fingerprint = (services: Sets['all']): string =>
  services
    .map(
      ([name, instances]) =>
        `${name}\n${sorted(instances)
          .map((one) => JSON.stringify(one))
          .join('\n')}`,
    )
    .join('\n\n');

function refuse(option: string, reason: string, got?: string): never {
  throw configError('the command line', [{ path: option, reason, ...(got !== undefined && { got: `"${got}"` }) }]);
}

const unitMs = { ms: 1, s: 1_000, m: 60_000 } as const;

function parseTime(text: string): number {
  const [, digits, unit] = /^([1-9]\d{0,5})(ms|s|m)$/.exec(text) ?? [];
  if (digits === undefined) refuse('--timeout', 'must be a time such as 30s', text);
  return Number(digits) * unitMs[unit as keyof typeof unitMs];
}

function parseWait(text: string): Wait {
  const [, quiet, quietUnit, most, mostUnit] = /^(\d{1,6})(ms|s|m)(?::(\d{1,6})(ms|s|m))?$/.exec(text) ?? [];
  const ms = (digits: string, unit: string | undefined) => Number(digits) * unitMs[unit as keyof typeof unitMs];
  if (quiet !== undefined) {
    const quietMs = ms(quiet, quietUnit);
    const mostMs = most === undefined ? quietMs : ms(most, mostUnit);
    if (mostMs >= quietMs) return { quietMs, mostMs };
  }
  refuse('--wait', 'must be one time or two, the second no less, such as 1s:5s', text);
}
