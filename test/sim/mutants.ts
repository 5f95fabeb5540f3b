/**
 * node --import ./test/loader.mjs test/sim/mutants.ts: does the simulation see?
 *
 * `--only` takes a part of the name of a fault or of its file. `--property` plants the faults of the life cycle alone
 * and runs its property test alone, which takes minutes in place of hours. `--jobs` is the number of faults at a time.
 *
 * The script plants one fault after the other in a copy of `src` and runs the simulation against the copy. For the
 * life cycle it first runs the property test. It tells what finds each fault. A comment in the source marks each place:
 * `// mutant: <name>` stands above the line that the fault replaces, `// mutant (3 lines): <name>` above three.
 * A fault without its comment, a comment without its fault, and a fault that does not compile are errors.
 * The status is 1 where a fault survives that is not known to be harmless.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** By name what takes the place of the statement below the comment `// mutant: <name>` in `src`. */
const mutants: Record<string, string> = {
  // The mailbox
  'forget what was put during a flight': 'this.#turns.delete(key);',
  'hand out what is in flight already': 'this.#enqueue(key, turn);',
  'withdraw every message that waits': 'if (turn?.waiting === undefined) return;',
  'lose a turn that waits': 'if (batch.length < 2) batch.push(turn.waiting);',

  // Addresses
  "follow no other container's network": 'return [];',
  'believe what was read before the owner of the network changed': '',
  'keep the address of the host': '',
  'inspect nothing where the host has another address': '',
  'believe any guess': 'const isBetter = true;',
  'keep no address that goes': 'return { address: otherwise, missingSince: undefined };',

  // The inspector
  'forget a task that was lost': '',
  'take a lost task for absence': `for (const request of waiting.values())
  this.#report(request, began, { kind: 'down' });`,
  'take a lost thread for absence': "const lost: Report = { id: request.id, inspection: { kind: 'down' } };",
  'forget what came before its batch':
    'const found = [...reports.map(({ id, inspection }) => [id, inspection] as const)];',
  'wait for nothing that is late': '',
  'never end a late flight': '',
  'count a task as told before it is': 'const began = sequence.next();',

  // The life cycle
  'drop an inspection that a list has overtaken': 'return unchanged(state);',
  'believe an inspection that overlaps with a list':
    "if (listing === undefined && inspection.kind === 'running' && began < context.listBegan) {",
  'believe an inspection from before a list that did not show it':
    'const isPast = began < (listing === undefined ? context.listBegan : 0);',
  'take each list for the first': 'const since = listEnded;',
  'believe an inspection that a list has overtaken': 'const isPast = false;',
  'believe an inspection that a death has overtaken':
    'if (isPast) return unchanged(known.failing ? settled(known) : state);',
  'retry what a newer list does not show': '',
  'let no inspection that was overtaken end a retry':
    'if (isPast || isOvertakenByDeath(known, seen)) return unchanged(state);',
  'drop what was overtaken by a death, even a later start': 'return true;',
  'take an error for absence': "if (inspection.kind === 'failed') return gone(known, id, context);",
  'ask once only': 'const wakeAt = undefined;',
  'keep a retry after a success': 'wakeAt: known.wakeAt,',
  'see the end of an inspection at its beginning': 'const ended = began;',
  'pass over a move during an inspection': 'const isOld = false;',
  'inspect for ever after a move': 'const isOld = known.movedAt > 0;',
  'wake without asking': 'return { state: { ...state, wakeAt: undefined }, effects: [] };',
  'let the newest death alone count': 'const death = { heard, at, untimed };',
  'hear of a death too early': 'const death = { heard: 0, at: Math.max(at, known.death?.at ?? 0), untimed };',
  'believe any death': 'const isOldNews = false;',
  'take every death for old news': "const isOldNews = known.kind === 'running';",
  'believe a death older than what a predecessor published': 'const isForeign = false;',
  'drop a death that is old news': 'if (isOldNews || isForeign) return { state: { ...known, death }, effects: [] };',
  'end a retry at a death': 'return gone(settled(known), id, context, death);',
  'pass over a move': "if (known.kind === 'running') return { state: known, effects: [] };",
  'forget a move before a start': 'return { state: known, effects: [] };',
  'inspect the unknown alone': "const isNews = known.kind !== 'running';",
  'inspect nothing unknown': 'const isNews = full || known.listing?.fingerprint !== fingerprint;',
  'remember no fingerprint':
    "return { state: { ...known, listing: { began, since, fingerprint: '' } }, effects: isNews ? [inspect(id)] : [] };",
  'retry what is not listed': 'const known = unlist(state);',
  'believe any list over any inspection': '',
  'believe an inspection over a list that overlaps with it': 'if (known.ended > began) return unchanged(known);',
  'judge what a predecessor left by an old list': '',
  'keep what a predecessor left': 'return { state: known, effects: [] };',
  'keep what was found of a container that offers nothing': "if (state?.kind === 'running') return unchanged(state);",
  'ask for no newer list': 'return { state: next, effects: [] };',
  'forget what was uncertain and never inspect again': 'const effects: Effect[] = [];',
  'take the uncertain for certain': 'return unchanged(state);',
  'remember the dead as listed': 'listing: known.listing,',
  'forget a death at once': 'return true;',
  'publish over another with the same short id': 'const holder = undefined;',
  'keep no request that an event joins': 'return later;',
  'let a death withdraw a retry': 'return at <= diedAt;',
  'let a death withdraw a later start': 'return !isKept;',
  'warn of another one that does not run': "return { state, effects: [{ kind: 'clash', id, holder }] };",
  'retry what was seen down': 'return gone(known, id, context);',
  'forget the place in a list at an inspection': 'listing: undefined,',
  'count old failures after a success': 'failing: known.failing,',
  'forget when it started': 'startedAt: 0,',
  'count no failures': 'const tries = 1;',
  'wait without a limit': 'const ceilingMs = policy.retryFirstMs * 2 ** Math.min(tries - 1, 30);',
  'retry at once by chance': 'const wakeAt = now + ceilingMs * chance;',
  'let any list end a retry':
    'return { state: { ...known, failing: { tries, began: 0, detail }, wakeAt }, effects: [] };',
  'stay awake': 'return { state, effects: [inspect(state.id)] };',
  'let a container die for another one': '',
  'let a container move for another one': '',
  'list a container for another one': '',
  'take a death without a time for an old one': 'const untimed = known.death?.untimed ?? 0;',
  'let a death without a time overtake all that comes': 'if (death.untimed > 0) return true;',
  'take a full list for an incremental one':
    "const isNews = known.kind !== 'running' || known.listing?.fingerprint !== fingerprint;",
  'date no list':
    'return { state: { ...known, listing: { began: 0, since, fingerprint } }, effects: isNews ? [inspect(id)] : [] };',
  'keep the place in a list that shows it no more': 'const known = isRetried ? state : settled(state);',
  'end a retry at an older list': 'return unchanged(undefined);',
  'forget everything at a list that withdraws': 'return { state: undefined, desired: [], effects: [] };',
  'forget everything at a list that judges what a predecessor left':
    'return { state: undefined, desired: [], effects: [] };',
  'forget that keys were found': 'const next = unknownOf(state, state?.id, 0);',
  'end a retry where keys are found': 'const next = settled(unknownOf(state, state?.id, moment));',
  'fence and forget': 'return { state: unknownOf(state, state.id, 0), effects };',
  'forget the death of the dead': 'death: undefined,',
  'forget a move at a death': 'movedAt: 0,',
  'let a death overtake what began after it': 'if (death === undefined) return false;',
  'forget keys that were found under the short id': 'const foundAt = 0;',
  'inherit from another one with the same short id': 'return unknownOf(state, id, foundAt);',
  'take the first failure for failing': 'export const failingTries = 1;',
  'forget at once what was found': "const hasOpinion = state.kind === 'running';",
  'forget a retry at once': 'if (hasOpinion || state.listing !== undefined) return false;',
  'forget at once what a list shows': 'if (hasOpinion || state.failing !== undefined) return false;',
  'forget a move at once': 'return Math.max(since, state.death?.heard ?? 0) < oldestReading;',
  'remember the dead for ever': 'return false;',
  'drain for ever':
    "if (sent !== undefined) return { isPublished: false, reason: 'draining', until: Math.max(now + 1_000, stopEndsAt) };",
  'keep what is paused': '',
  'take the sick for the well': '',
  'require no health': '',
  'publish the young': '',
  'publish what crashes again and again': '',
  'hold nothing that crashes': 'if (held === 0) return { times, requiredMs: 0 };',
  'take each signal for a stop': 'const isStop = true;',
  'publish whatever runs': 'return offers;',
  'take signals into the next life': 'const own = signals;',
  'begin a drain in an earlier life': 'return own;',
  'let a signal to another one count': '',
  'take signals of an earlier life': 'const isPast = false;',
  'drain again at each signal': 'const signal = { number, firstAt: at, at, since: now, last: now };',
  'forget signals before the first inspection': 'return unchanged(state);',
  'keep a verdict for ever': "if (state.kind === 'running') return unchanged(state);",
  'remember signals of the dead for ever': 'return unchanged(state);',
  'forget at once that a start was asked to stop': '',
  'publish what is in maintenance': '',
  'forget the maintenance at an inspection': 'takenOut: undefined,',
  'pass over maintenance': "if (state?.kind === 'running') return unchanged(state);",
  'keep what a predecessor left in maintenance': 'return unchanged(state);',
  'keep what is found of a host in maintenance': 'return { state, effects };',
  'count no reading as under way': '',
  'end no reading': '',
  'take the newest reading for the oldest': 'for (const began of [...this.#underWay].reverse()) return began;',

  // The reconciler
  'take in a list that was overtaken': '',
  'let no list take anything away': 'if (!shown.has(id ?? shortId)) continue;',
  'tell the writer nothing': '',
  'believe readings of an earlier incarnation': 'this.#listBegan = 0;',
  'forget what was published before a crash': '',
  'forget what was not yet received': 'this.#settledBefore = Number.POSITIVE_INFINITY;',

  'pass over the maintenance of a host': '',
  'pass over the maintenance of a container': '',
  'tell no state of what is in maintenance':
    "if (!tellsStates || state === undefined || shortId !== '') return noKeys;",

  // The layout
  'tell every instance ready in maintenance': 'const said = `"state":"ready"`;',

  // The watch for maintenance
  'forget the maintenance that a reading shows': '',
  'pass over the end of maintenance': 'if (value !== undefined) keys.set(key, value);',
  'watch maintenance from now on':
    'await reader.watchBoth(key, await reader.readBoth(key, () => {}), changed, signal);',
  'follow maintenance once': 'return;',
  'write before maintenance is known': '',

  // The ledger
  'delete nothing': '',
  'write what is there already': 'changes.push({ key, value });',
  'take unknown for unwanted': `if (entry === undefined) return [];
entry.desired ??= new Map();`,
  'remember what a reading does not show': 'entry.version = this.#version;',
  'compare what is being written': '',
  'compare what was written since': '',
  'forget what is under way': '',
  'take note of no delete': 'if (value !== undefined) entry.observed.set(key, ours(value));',
  'take note of no commit': '',

  // The writer
  'write without the guard':
    "const isCommitted = await registry.commit('/none', { ...ownership, revision: '0' as typeof ownership.revision }, changes);",
  'write without a lease':
    "const isCommitted = await registry.commit(layout.ownerKey, { ...ownership, lease: '0' as typeof ownership.lease }, changes);",
  'split a container over two transactions': `await registry.commit(layout.ownerKey, ownership, changes.slice(0, 1));
const isCommitted = await registry.commit(layout.ownerKey, ownership, changes.slice(1));`,
  'write twice': `await registry.commit(layout.ownerKey, ownership, changes);
const isCommitted = await registry.commit(layout.ownerKey, ownership, changes);`,
  'pass over a failed guard': 'if (!isCommitted) return;',
  'take a failed guard for success': 'if (!isCommitted) metrics.transactions++;',
  'take no answer for a refusal that is over': 'return;',
  'take no answer for success': 'metrics.transactions++;',
  'take a refusal for a lost ownership': '',
  'never return to what moved on': `        {}
    }
  }
}`,
  'never try a quarantined container again': 'this.#quarantined.add(shortId);',
  'lose the ownership in silence': '',

  'claim and read nothing': 'this.#uncertain = [];',
  'take what was known before for newer than what another has written':
    'this.#uncertain = ledger.load(reading, false);',

  // The lease keeper
  'read first and claim then': `const before = this.#parts.registry;
const reading = await readHost(before, this.#parts.layout, { lease: '0', revision: '0' } as Ownership, this.#claim.predecessorKeys);
const ownership = await this.#claim.try();
if (ownership !== undefined) {
  this.#uncertain = this.#parts.ledger.load(reading, this.#claim.isSuccessor);
  return ownership;
}`,
  'pass over what other views have left': 'containerOf: layout.containerOf,',
  'forget which views were on before': 'this.#views = [];',

  // The reading of a predecessor’s keys
  'read no keys of views': 'if (layout.plainKeyOf(key) !== undefined) wanted.add(layout.plainKeyOf(key) ?? key);',

  // The writer
  'write views in a transaction of their own': `const isNative = (c: Change) => layout.nameOf(c.key) !== undefined || c.key.startsWith(layout.recordPrefix);
if (!(await registry.commit(layout.ownerKey, ownership, changes.filter(isNative)))) return;
const isCommitted = await registry.commit(layout.ownerKey, ownership, changes.filter((c) => !isNative(c)));`,

  // The lease keeper
  'follow an owner that cannot be seen': "if (liveness === 'unknown') return true;",
  'follow an owner that lives': `if (owner.revision) return true;
throw hostIdTaken(record, \`its process \${record?.process?.pid} runs on this machine\`);`,
  'take an ended lease for a sign of life':
    '// Left alone, the time left goes down by the second; answers are whole seconds.',
  'take one renewal for a sign of life': "if (left > 0) throw hostIdTaken(record, 'it renews its lease');",
  'pass over the end of the lease': 'await this.#parts.registry.keepAlive(ownership.lease);',
  'renew once': '',
  'never renew': 'onOwned(this.#uncertain);',
  'go on writing while ownership is verified': `this.#cancelRenewal();
log.debug({ reason }, 'verifying ownership');`,
  'give up seeking after one try': `  break;
}
return undefined;`,
  'release what is not ours':
    'const ownership = await registry.claim(layout.ownerKey, record, lease, (await registry.owner(layout.ownerKey))?.revision ?? absent);',

  // The agent
  'drain no host before the end': '',
  'write nothing once the host is owned': '',
  'do not tell of a reading': '',

  // The watcher
  'subscribe and never list': '',
  'list before subscribing, not after': `await this.#list(engine, true, 'connect');
const { reconciler } = this.#parts;
const tell = (message: ReconcilerMessage) => {
  if (message.kind === 'list') Object.assign(this.#parts, { reconciler });
  else reconciler.tell(message);
};
Object.assign(this.#parts, { reconciler: { ...reconciler, tell } });
return await docker.events(engine, since, (chunk, connection = 0) => splitters[connection].push(chunk));`,
  'after a gap inspect the unknown alone': "await this.#list(engine, false, 'connect');",
  'withdraw nothing at a death': '',
  'withdraw everything at a death': 'withdraw(id, Number.POSITIVE_INFINITY);',
  'pass over deaths': '',
  'count a death that may have been asked for': 'return counted(known, transition, context);',
  'pass over starts': '',
  'pass over signals': '',
  'pass over moves': '',
  'never renew the stream': 'const cancelRenewal = () => {};',
  'date a list by its answer':
    "reconciler.tell({ kind: 'list', began: sequence.next(), containers, full, isPeriodic });",
  'stay without a stream': `for (let turn = 0; turn < 1; turn++) {
  try {
    const stream = await this.#open();`,
};

/** Survivors that are right to survive, and why. */
const harmless: Record<string, string> = {
  'go on writing while ownership is verified': 'the guard refuses what is written',
  'after a gap inspect the unknown alone': 'other ports show in the list',
  'withdraw nothing at a death': 'an inspection too many finds that it has ended; unit tests tell',
  'count a death that may have been asked for': 'the simulated engine tells of each stop; a unit test tells',
  'pass over deaths': 'the network that it leaves tells of its end as well; unit tests tell',
  'take in a list that was overtaken': 'the next list mends it',
  'take a refusal for a lost ownership': 'costs a claim, and the refused container waits for one',
};

const root = fileURLToPath(new URL('../..', import.meta.url));
const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '8000' },
    only: { type: 'string', default: '' },
    property: { type: 'boolean', default: false },
    jobs: { type: 'string', default: String(availableParallelism()) },
  },
});

interface Place {
  readonly file: string;
  readonly line: number;
  /** Lines that the fault replaces. */
  readonly count: number;
}

/** The places that comments mark, by the name of the fault. */
function placesIn(src: string): Map<string, Place> {
  const places = new Map<string, Place>();
  for (const file of readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))) {
    const lines = readFileSync(path.join(src, file), 'utf8').split('\n');
    for (const [index, text] of lines.entries()) {
      const [, count = '1', name] = /\/\/ mutant(?: \((\d+) lines\))?: (.*)$/.exec(text) ?? [];
      if (name === undefined) continue;
      if (places.has(name)) throw new Error(`${file}: a second place for "${name}"`);
      const below = lines.slice(index + 1).findIndex((line) => !line.trimStart().startsWith('//'));
      places.set(name, { file, line: index + 1 + below, count: Number(count) });
    }
  }
  return places;
}

/** Errors of a copy beyond what a fault leaves unused or unreachable. */
function errorsOf(folder: string): string {
  const { stdout } = spawnSync(path.join(root, 'node_modules/.bin/tsc'), ['-p', '.'], {
    cwd: folder,
    encoding: 'utf8',
  });
  const harmlessCodes = /error TS(6133|6192|6196|6198|7027|2454):/;
  return stdout
    .split('\n')
    .filter((line) => /error TS/.test(line) && !harmlessCodes.test(line))
    .join('\n');
}

const loader = new URL('../loader.mjs', import.meta.url).href;
const lifecycleProperty = 'test/property/lifecycle.property.test.ts';

function isOfLifecycle(file: string): boolean {
  return file.startsWith('lifecycle/');
}

/** The first property of the life cycle that finds the fault, in seconds; undefined where none does. */
async function brokenProperty(folder: string): Promise<string | undefined> {
  const args = ['--import', loader, '--test-reporter', 'tap', lifecycleProperty];
  const child = spawn(process.execPath, args, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: 120_000,
  });
  const closed = once(child, 'close');
  let found: string | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const [, name, error] = /^not ok \d+ - (.*)$|^ +(?:error: )?.*Got AssertionError[^:]*: (.*)$/.exec(line) ?? [];
    found ??= name;
    if (error === undefined) continue;
    found = `${found}: ${error}`;
    break;
  }
  child.kill();
  const [status, signal] = await closed;
  if (found === undefined && (status !== 0 || signal !== null)) return 'the property test does not come to an end';
  return found;
}

/** The violation that found the fault; undefined where none has. */
async function hunt({ file, line, count }: Place, fault: string): Promise<string | undefined> {
  const folder = mkdtempSync(path.join(tmpdir(), 'discover-mutant-'));
  try {
    for (const part of ['src', 'test/sim', lifecycleProperty, 'package.json', 'tsconfig.json']) {
      cpSync(path.join(root, part), path.join(folder, part), { recursive: true });
    }
    symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
    const target = path.join(folder, 'src', file);
    const lines = readFileSync(target, 'utf8').split('\n');
    lines.splice(line, count, fault);
    writeFileSync(target, lines.join('\n'));
    const errors = errorsOf(folder);
    if (errors !== '') throw new Error(errors);
    if (isOfLifecycle(file)) {
      const broken = await brokenProperty(folder);
      if (broken !== undefined || values.property) return broken;
    }
    const args = ['--import', loader, 'test/sim/main.ts', '--schedules', values.schedules, '--jobs', '1', '--once'];
    const child = spawn(process.execPath, args, {
      cwd: folder,
      env: { ...process.env, SIM_JOB: '0' },
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 900_000,
    });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk;
    });
    const [status] = await once(child, 'close');
    if (status !== 0) return 'the simulation does not come to an end';
    const { failures } = JSON.parse(out.trim().split('\n').at(-1) ?? '') as {
      failures: { faultClass: string; seed: number; violations: string[] }[];
    };
    const [found] = failures;
    return found && `${found.faultClass} ${found.seed}: ${found.violations[0]?.slice(0, 60)}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const places = placesIn(path.join(root, 'src'));
const unfit = [
  ...Object.keys(mutants).filter((name) => !places.has(name)),
  ...[...places.keys()].filter((name) => !(name in mutants)),
];
if (unfit.length > 0) throw new Error(`no comment or no fault for: ${unfit.join('; ')}`);

const waiting = [...places].filter(
  ([name, { file }]) =>
    (name.includes(values.only) || file.includes(values.only)) && (!values.property || isOfLifecycle(file)),
);
const survivors: string[] = [];
/** Faults that do not compile where they are planted. */
const misfits: string[] = [];
let [killed, spared] = [0, 0];
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [name, place] = next;
      const found = await hunt(place, mutants[name] ?? '').catch((error: Error) => {
        misfits.push(name);
        console.log(`UNFIT     ${name}\n${error.message}`);
      });
      if (misfits.includes(name)) continue;
      if (found !== undefined) killed++;
      else if (name in harmless) spared++;
      else survivors.push(name);
      const verdict = found !== undefined ? 'found   ' : name in harmless ? 'harmless' : 'SURVIVED';
      console.log(`${verdict}  ${name}  (${found ?? harmless[name] ?? 'nothing was violated'})`);
    }
  }),
);
const total = killed + spared + survivors.length;
console.log(
  `${killed} of ${total} planted faults found ` +
    (values.property ? 'by the property of the life cycle, ' : `in at most ${values.schedules} schedules each, `) +
    `${spared} known to be harmless, ${survivors.length} survived`,
);
if (misfits.length > 0) console.log(`${misfits.length} faults do not compile in their places`);
process.exitCode = survivors.length + misfits.length > 0 ? 1 : 0;
