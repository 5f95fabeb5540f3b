/**
 * The soak: `npm run soak -- --hours 24 --rate 200`, or `--events 1000000` for CI.
 *
 * discover as built, a simulated engine and a real etcd, all private. Containers come and go in rounds, and each
 * round cuts the event stream once. After each round etcd must hold exactly what runs, garbage is
 * collected, and what discover holds is written down. In the end it says whether any of that grows; the
 * status is 1 if it does, or if etcd was not exact.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { monotonicMs } from './engine/churn.ts';
import { usageOf } from './lib/measure.ts';
import { describeMachine } from './lib/report.ts';
import { heading, type Look, rowOf, sayVerdicts, verdictsOf } from './lib/soak.ts';
import { openWorld, type World } from './lib/world.ts';

const help = `npm run soak -- [options]

  --hours N          how long; default 1
  --seconds N        the same, for a short look
  --events N         until the engine has told of so many instead
  --rate N           events of the engine a second; default 2000, eight of them are a container's life
  --json FILE        write every look and the verdicts to a file
  --chart FILE.svg   draw them
  --help             this text`;

/** create, connect, start, kill, die, disconnect, stop, destroy. */
const eventsOfLife = 8;
const lifetimeMs = 500;
/** A round is a sixtieth of the whole, within these limits. */
const [roundSecondsMin, roundSecondsMax] = [1, 600];
const warmUpSeconds = 3;

function refuse(message: string): never {
  console.error(`soak: ${message}`);
  process.exit(64);
}

function readArguments() {
  const text = { type: 'string' } as const;
  const options = { hours: text, seconds: text, events: text, rate: text, json: text, chart: text };
  try {
    const { values } = parseArgs({ options: { ...options, help: { type: 'boolean' } } });
    const number = (name: 'hours' | 'seconds' | 'events' | 'rate'): number | undefined => {
      const value = values[name] === undefined ? undefined : Number(values[name]);
      if (value !== undefined && !(value > 0)) refuse(`--${name} must be a number above 0, got "${values[name]}"`);
      return value;
    };
    const rate = number('rate') ?? 2_000;
    const events = number('events');
    const limits = [number('hours'), number('seconds'), events].filter((limit) => limit !== undefined);
    if (limits.length > 1) refuse('--hours, --seconds and --events are three ways to say one thing: give one');
    const seconds = events === undefined ? (number('seconds') ?? (number('hours') ?? 1) * 3_600) : events / rate;
    return { ...values, rate, seconds, events };
  } catch (error) {
    return refuse((error as Error).message);
  }
}

/** What discover holds now. */
async function lookAt(world: World, off: number, begunMs: number): Promise<Look> {
  const held = await world.subject.look();
  const { pid } = world.subject;
  return {
    seconds: (monotonicMs() - begunMs) / 1000,
    events: await world.engine.published(),
    heapMb: (held.heapBytes ?? Number.NaN) / 2 ** 20,
    buffersMb: (held.bufferBytes ?? Number.NaN) / 2 ** 20,
    rssMb: usageOf(pid).rssMb,
    connections: held.connections ?? Number.NaN,
    descriptors: readdirSync(`/proc/${pid}/fd`).length - (held.connections ?? 0),
    timers: held.timers ?? Number.NaN,
    handles: held.handles ?? Number.NaN,
    listeners: held.listeners ?? Number.NaN,
    off,
  };
}

async function soak({ rate, seconds, events }: ReturnType<typeof readArguments>): Promise<Look[]> {
  // Days of history would fill etcd's space.
  const etcd = { args: ['--auto-compaction-mode=periodic', '--auto-compaction-retention=5m'] };
  await using world = await openWorld({ subject: 'discover', probe: 'soak-probe.mjs', etcd });
  const lives = rate / eventsOfLife;
  const round = Math.min(roundSecondsMax, Math.max(roundSecondsMin, seconds / 60));
  const pass = async (length: number): Promise<number> => {
    const churning = world.engine.churn({ rate: lives, seconds: length, lifetimeMs, unread: 'lose' });
    await world.engine.cutEvents(0);
    await churning;
    const { missing, stale, wrong, note } = await world.settle();
    if (note) throw new Error(`discover ${note}`);
    return missing + stale + wrong;
  };
  await pass(warmUpSeconds);
  const [begunMs, before] = [monotonicMs(), await world.engine.published()];
  const looks: Look[] = [];
  console.log(heading);
  for (;;) {
    const look = await lookAt(world, await pass(round), begunMs);
    looks.push({ ...look, events: look.events - before });
    console.log(rowOf(looks.at(-1) as Look));
    const isOver = events === undefined ? look.seconds >= seconds : look.events - before >= events;
    if (isOver) return looks;
  }
}

const args = readArguments();
if (args.help) {
  console.log(help);
} else {
  const about = describeMachine();
  for (const [name, value] of Object.entries(about)) console.log(`${name.padEnd(9)} ${value}`);
  console.log('');
  const looks = await soak(args);
  const verdicts = verdictsOf(looks);
  const isExact = looks.at(-1)?.off === 0;
  console.log(`\n${sayVerdicts(verdicts)}\n${isExact ? 'etcd is exact' : 'etcd is not exact'}`);
  const grows = verdicts.some((verdict) => verdict.grows);
  console.log(grows ? 'grows' : 'flat');
  if (args.json) writeFileSync(args.json, `${JSON.stringify({ about, looks, verdicts, isExact }, undefined, 2)}\n`);
  if (args.chart) writeFileSync(args.chart, (await import('./lib/chart.ts')).drawSoak(looks, about));
  process.exitCode = grows || !isExact ? 1 : 0;
}
