/**
 * `discover doctor`: checks one after the other whether discover could do its work here, with remedies.
 *
 * `--dial` connects to the published addresses as well. It starts nothing, writes nothing, and needs no running agent. Exit codes: 0 no check has failed, though there may be
 * warnings; 1 a check has failed; 78 the configuration cannot be used, so nothing else could be checked.
 */
import { type Resolved, resolveConfig } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { codeOf, detailsOf, messageOf, problemText } from '../errors.ts';
import { exitCodes, exitNegative } from '../exit-codes.ts';
import { type Check, configurationChecks, failed } from './checks.ts';
import { command, dockerAndEtcd, shellOutput, tellingOfWait } from './command.ts';
import { dialOption } from './dial.ts';
import { dialChecks } from './dial-check.ts';
import { dnsChecks } from './dns-checks.ts';
import { dockerChecks } from './docker-checks.ts';
import { etcdChecks } from './etcd-checks.ts';
import { assignments, coloured, json, printable } from './print.ts';

export const doctor = command({
  options: { output: shellOutput, dial: dialOption },
  aliases: { '-o': '--output' },
  async run({ flags, sources }, io) {
    const as = flags.output ?? 'table';
    let resolved: Resolved;
    try {
      resolved = await resolveConfig(readSources(sources));
    } catch (error) {
      if (codeOf(error) !== 'CONFIG_INVALID') throw error;
      const { problems = [] } = detailsOf(error);
      const seen = problems.length > 0 ? problems.map(problemText).join('; ') : messageOf(error);
      const check = failed('configuration', seen, 'Correct it; `discover help` has the options');
      io.write(printed([check], as, io.isTerminal));
      return exitCodes.CONFIG_INVALID;
    }
    const { config } = resolved;
    const found = [
      dockerChecks(config),
      etcdChecks(config),
      dnsChecks(config),
      ...(flags.dial ? [dialChecks(config)] : []),
    ];
    const answered = await tellingOfWait(dockerAndEtcd, io, Promise.all(found));
    const checks = [...configurationChecks(resolved), ...answered.flat()];
    io.write(printed(checks, as, io.isTerminal));
    return count(checks, 'failed') > 0 ? exitNegative : 0;
  },
});

const count = (checks: readonly Check[], state: Check['state']): number =>
  checks.filter((check) => check.state === state).length;

const colours = { ok: 'green', warning: 'yellow', failed: 'red' } as const;

function printed(checks: readonly Check[], as: 'table' | 'json' | 'env', isTerminal: boolean): string {
  const [warnings, failures] = [count(checks, 'warning'), count(checks, 'failed')];
  if (as === 'json') return json({ ok: failures === 0, warnings, failed: failures, checks });
  if (as === 'env') {
    return assignments([
      ['doctor_ok', failures === 0],
      ['doctor_warnings', warnings],
      ['doctor_failed', failures],
      ['doctor_failures', checks.flatMap(({ name, state }) => (state === 'failed' ? name : [])).join(', ')],
    ]);
  }
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, state, seen, remedy }) => [
    `${coloured(isTerminal, colours[state], state.padEnd(7))}  ${name.padEnd(width)}  ${printable(seen)}`,
    ...(remedy === undefined ? [] : [`${' '.repeat(width + 11)}→ ${printable(remedy)}`]),
  ]);
  return `${lines.join('\n')}\n`;
}
