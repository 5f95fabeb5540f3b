/**
 * npm run sim: schedules by the thousand, see `schedule.ts`.
 *
 *   npm run sim -- --schedules 10000 --seed 1 --class etcd
 *   npm run sim -- --schedules 1 --seed 17 --class etcd --trace     one of them, told in full
 *   npm run sim -- --schedules 1 --seed 17 --class etcd --repeat 1000   the same one, again and again
 *
 * Prints how many a second, how much time passed in them and what was violated; a schedule that fails
 * is run again, which must tell the same, and shortened to the steps that it needs. The status is 1
 * where anything was violated, or a repetition told another story.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type FaultClass, faultClasses, type Outcome, runSchedule, type ScheduleOptions } from './schedule.ts';
import { seeds } from './seeds.ts';

interface Failure {
  readonly seed: number;
  readonly faultClass: FaultClass;
  readonly violations: readonly string[];
  readonly steps: readonly string[];
}

interface Share {
  schedules: number;
  virtualMs: number;
  revisions: number;
  failures: Failure[];
}

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    class: { type: 'string' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    trace: { type: 'boolean', default: false },
    repeat: { type: 'string', default: '1' },
    /** Stop at the first violation, and do not shorten it. */
    once: { type: 'boolean', default: false },
  },
});
const [schedules, firstSeed, jobs] = [Number(values.schedules), Number(values.seed), Number(values.jobs)];
const chosen = values.class === undefined ? faultClasses : faultClasses.filter((name) => name === values.class);
if (chosen.length === 0) throw new Error(`--class must be one of ${faultClasses.join(', ')}, got "${values.class}"`);
if (!(schedules >= 1 && firstSeed >= 0 && jobs >= 1)) throw new Error('--schedules, --seed and --jobs must be numbers');

/** Schedule number n: classes take turns, so that any number of schedules has some of each. */
function scheduleOf(n: number): ScheduleOptions {
  return { seed: firstSeed + n, faultClass: chosen[(firstSeed + n) % chosen.length] as FaultClass };
}

/** The steps without which it would not fail in the same way. */
async function shorten(options: ScheduleOptions, found: Outcome): Promise<Outcome> {
  const kind = found.violations[0]?.split(' ', 1)[0];
  const without = new Set<number>();
  let shortest = found;
  for (let size = 32; size >= 1; size >>= 1) {
    for (let from = 0; from < 64; from += size) {
      const trial = new Set([...without, ...Array.from({ length: size }, (_, index) => from + index)]);
      if (trial.size === without.size) continue;
      const outcome = await runSchedule({ ...options, without: trial });
      if (outcome.violations[0]?.split(' ', 1)[0] !== kind) continue;
      for (const index of trial) without.add(index);
      shortest = outcome;
    }
  }
  return shortest;
}

async function runShare(all: Iterable<ScheduleOptions>): Promise<Share> {
  const share: Share = { schedules: 0, virtualMs: 0, revisions: 0, failures: [] };
  for (const options of all) {
    const outcome = await runSchedule(values.trace ? { ...options, onLine: (line) => console.log(line) } : options);
    share.schedules++;
    share.virtualMs += outcome.virtualMs;
    share.revisions += outcome.revisions;
    for (let repetition = 1; repetition < Number(values.repeat); repetition++) {
      const { hash } = await runSchedule(options);
      share.schedules++;
      if (hash !== outcome.hash) share.failures.push({ ...options, violations: [`replay: ${hash}`], steps: [] });
    }
    if (outcome.violations.length === 0) continue;
    if (values.once) {
      share.failures.push({ ...options, ...outcome });
      break;
    }
    const again = await runSchedule(options);
    const differs = again.hash === outcome.hash ? [] : ['replay: the same seed told another story'];
    const { steps } = share.failures.length < 3 && !values.trace ? await shorten(options, outcome) : outcome;
    share.failures.push({ ...options, violations: [...differs, ...outcome.violations], steps });
  }
  return share;
}

async function runJob(job: number): Promise<Share> {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, SIM_JOB: String(job) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let last = '';
  createInterface({ input: child.stdout }).on('line', (line) => {
    last = line;
  });
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`a job ended with status ${status}`);
  return JSON.parse(last) as Share;
}

function* every(step: number, from: number): Generator<ScheduleOptions> {
  // What has found a fault once comes first.
  if (from === 0 && values.class === undefined) yield* Object.values(seeds);
  for (let n = from; n < schedules; n += step) yield scheduleOf(n);
}

const job = process.env.SIM_JOB;
if (job !== undefined) {
  console.log(JSON.stringify(await runShare(every(jobs, Number(job)))));
} else {
  const begun = performance.now();
  const shares =
    schedules < 10 || values.trace
      ? [await runShare(every(1, 0))]
      : await Promise.all(Array.from({ length: jobs }, (_, index) => runJob(index)));
  const seconds = (performance.now() - begun) / 1000;
  const sum = (of: (share: Share) => number): number => shares.reduce((total, share) => total + of(share), 0);
  const failures = shares.flatMap((share) => share.failures);
  for (const { faultClass, seed, violations, steps } of failures.slice(0, 10)) {
    console.log(`\n--class ${faultClass} --seed ${seed}`);
    for (const violation of violations) console.log(`  ${violation}`);
    for (const step of steps) console.log(`    ${step}`);
  }
  for (const name of chosen) {
    const count = failures.filter(({ faultClass }) => faultClass === name).length;
    if (count > 0) console.log(`${name}: ${count} with a violation`);
  }
  console.log(
    `${sum((share) => share.schedules)} schedules of ${chosen.join(', ')}, ` +
      `${(sum((share) => share.schedules) / seconds).toFixed(1)} a second, ` +
      `${(sum((share) => share.virtualMs) / 3_600_000).toFixed(1)} hours of their time, ` +
      `${sum((share) => share.revisions)} revisions, ${failures.length} schedules with a violation`,
  );
  process.exitCode = failures.length > 0 ? 1 : 0;
}
