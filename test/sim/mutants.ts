/**
 * npx tsx test/sim/mutants.ts: does the simulation see?
 *
 * Plants one fault after the other in a copy of `src`, lets the simulation run against it, and tells
 * which it has found. A fault is a piece of text and what takes its place; one that does not fit the
 * source any more is an error here. The status is 1 where one survives that is not known to be
 * harmless.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

type Mutant = readonly [file: string, from: string, to: string];

const mutants: Record<string, Mutant> = {
  // The mailbox
  'forget what was put during a flight': [
    'actor/mailbox.ts',
    'if (turn.waiting !== undefined) this.#enqueue(key, turn);\n    else this.#turns.delete(key);',
    'this.#turns.delete(key);',
  ],
  'hand out what is in flight already': [
    'actor/mailbox.ts',
    'if (turn.inFlight === undefined) this.#enqueue(key, turn);',
    'this.#enqueue(key, turn);',
  ],
  'recall no flight': [
    'actor/mailbox.ts',
    'if (turn.inFlight !== undefined && isOlder(turn.inFlight)) turn.recalledAt = Math.max(turn.recalledAt ?? at, at);',
    '',
  ],
  'let an older recall take the place of a newer': [
    'actor/mailbox.ts',
    'turn.recalledAt = Math.max(turn.recalledAt ?? at, at);',
    'turn.recalledAt = at;',
  ],
  'recall every waiting turn': [
    'actor/mailbox.ts',
    'if (turn.waiting !== undefined && isOlder(turn.waiting)) {',
    'if (turn.waiting !== undefined) {',
  ],
  'keep a turn recalled for ever': [
    'actor/mailbox.ts',
    '    turn.recalledAt = undefined;\n    this.#inFlight--;',
    '    this.#inFlight--;',
  ],
  'lose a turn that waits': [
    'actor/mailbox.ts',
    '      batch.push(turn.waiting);',
    '      if (batch.length < 2) batch.push(turn.waiting);',
  ],

  // The inspector
  'report what was overtaken': [
    'inspect/inspector.ts',
    "if (overtaken !== undefined && !(inspection.kind === 'running' && inspection.startedAt > overtaken)) return;",
    '',
  ],
  'report nothing that was overtaken, not even a later start': [
    'inspect/inspector.ts',
    "if (overtaken !== undefined && !(inspection.kind === 'running' && inspection.startedAt > overtaken)) return;",
    'if (overtaken !== undefined) return;',
  ],
  'forget a task that was lost': [
    'inspect/inspector.ts',
    "for (const request of waiting.values())\n        this.#report(request, began, { kind: 'failed', detail: messageOf(error) });",
    '',
  ],
  'take a lost task for absence': [
    'inspect/inspector.ts',
    "for (const request of waiting.values())\n        this.#report(request, began, { kind: 'failed', detail: messageOf(error) });",
    "for (const request of waiting.values())\n        this.#report(request, began, { kind: 'down' });",
  ],
  'take a lost thread for absence': [
    'inspect/inspector.ts',
    "inspection: { kind: 'failed', detail: 'pool thread lost' }",
    "inspection: { kind: 'down' }",
  ],
  'forget what came before its batch': [
    'inspect/inspector.ts',
    '[...reports.map(({ id, inspection }) => [id, inspection] as const), ...early]',
    '[...reports.map(({ id, inspection }) => [id, inspection] as const)]',
  ],
  'wait for nobody who is late': [
    'inspect/inspector.ts',
    'for (const request of waiting.values()) this.#await(request, began);',
    '',
  ],
  'never end a late flight': ['inspect/inspector.ts', 'this.#self.done(late.request);', ''],

  // The reconciler
  'believe an inspection that a list has overtaken': [
    'reconcile/reconciler.ts',
    'if (began < this.#list.began && !this.#list.fingerprints.has(id)) {',
    'if (began < 0) {',
  ],
  'take an error for absence': [
    'reconcile/reconciler.ts',
    'this.#retry(id, began, inspection.detail);\n      return;',
    'this.#gone(id);\n      return;',
  ],
  'ask once only': ['reconcile/reconciler.ts', 'this.#retry(id, began, inspection.detail);\n      return;', 'return;'],
  'believe any death': ['reconcile/reconciler.ts', 'if (at !== 0 && at < startedAt) {', 'if (at < 0) {'],
  'believe a death older than what a predecessor published': [
    'reconcile/reconciler.ts',
    'if (ledger.observed(shortId).size > 0 && !this.#known.has(id) && ledger.desired(shortId) === undefined) {',
    'if (at < 0) {',
  ],
  'believe a list that overlaps with a inspect': [
    'reconcile/reconciler.ts',
    'if (inspect.ended < began) this.#gone(id);',
    'if (inspect.began < began) this.#gone(id);',
  ],
  'let no list take anything away': [
    'reconcile/reconciler.ts',
    'if (fingerprints.has(id) || inspect.began > began) continue;',
    'if (began > 0) continue;',
  ],
  'believe any list over any inspect': [
    'reconcile/reconciler.ts',
    'if (fingerprints.has(id) || inspect.began > began) continue;\n      if (inspect.ended < began) this.#gone(id);',
    'if (fingerprints.has(id)) continue;\n      if (inspect.ended > 0) this.#gone(id);',
  ],
  'keep what a predecessor left': [
    'reconcile/reconciler.ts',
    '    this.#dropUnlisted();\n    for (const [id, fingerprint]',
    '    for (const [id, fingerprint]',
  ],
  'inspect only at strangers': [
    'reconcile/reconciler.ts',
    'if (full || !this.#known.has(id) || before.get(id) !== fingerprint)',
    'if (!this.#known.has(id))',
  ],
  'inspect at no strangers': [
    'reconcile/reconciler.ts',
    'if (full || !this.#known.has(id) || before.get(id) !== fingerprint)',
    'if (this.#known.has(id))',
  ],
  'judge a predecessor by an old list': [
    'reconcile/reconciler.ts',
    'const isNewer = this.#list.began > this.#readAt;',
    'const isNewer = this.#list.began > 0;',
  ],
  'ask for no newer list': ['reconcile/reconciler.ts', "if (isUnsure) resync('incremental');", ''],
  'take in a list that was overtaken': ['reconcile/reconciler.ts', '    if (began < this.#list.began) return;\n', ''],
  'remember the dead as listed': ['reconcile/reconciler.ts', '    this.#list.fingerprints.delete(id);\n', ''],
  'pass over moves': [
    'reconcile/reconciler.ts',
    'if (this.#known.has(observation.id)) this.#parts.inspect(observation.id);',
    '',
  ],
  'remember the dead as known': [
    'reconcile/reconciler.ts',
    '    this.#known.delete(id);\n    metrics.running = this.#known.size;\n',
    '',
  ],
  'tell the writer nothing': [
    'reconcile/reconciler.ts',
    'if (ledger.changes(shortId).length > 0) writer.tell(shortId);',
    '',
  ],
  'never ask again': [
    'reconcile/reconciler.ts',
    'failing.cancel = clock.after(failing.backoff.next(), () => this.#parts.inspect(id));',
    '',
  ],
  'publish what has died': ['reconcile/reconciler.ts', '    this.#desire(shortId, noKeys, at);', ''],

  // The ledger
  'delete nothing': [
    'reconcile/ledger.ts',
    'if (!entry.desired.has(key)) changes.push({ key, value: undefined });',
    '',
  ],
  'write what is there already': [
    'reconcile/ledger.ts',
    'if (entry.observed.get(key) !== value) changes.push({ key, value });',
    'changes.push({ key, value });',
  ],
  'take unknown for unwanted': [
    'reconcile/ledger.ts',
    'if (entry?.desired === undefined) return [];',
    'if (entry === undefined) return [];\n    entry.desired ??= new Map();',
  ],
  'remember what a reading does not show': [
    'reconcile/ledger.ts',
    '      entry.observed = new Map();\n      entry.version',
    '      entry.version',
  ],
  'compare what is being written': [
    'reconcile/ledger.ts',
    'if (entry.version > version || entry.underWay) continue;',
    '',
  ],
  'compare what was written since': ['reconcile/ledger.ts', '    if (this.#version > version) return false;\n', ''],
  'forget what is under way': [
    'reconcile/ledger.ts',
    'if (changes.length > 0) this.#entry(shortId).underWay = true;',
    '',
  ],
  'take note of no delete': [
    'reconcile/ledger.ts',
    'if (value === undefined) entry.observed.delete(key);\n      else entry.observed.set(key, value);',
    'if (value !== undefined) entry.observed.set(key, value);',
  ],
  'take note of no commit': ['reconcile/ledger.ts', '      else entry.observed.set(key, value);', ''],

  // The writer
  'write without the guard': [
    'registry/writer.ts',
    'await registry.commit(layout.ownerKey, ownership, changes);',
    "await registry.commit('/none', { ...ownership, revision: '0' }, changes);",
  ],
  'write without a lease': [
    'registry/writer.ts',
    'await registry.commit(layout.ownerKey, ownership, changes);',
    "await registry.commit(layout.ownerKey, { ...ownership, lease: '0' }, changes);",
  ],
  'split a container over two transactions': [
    'registry/writer.ts',
    'const isCommitted = await registry.commit(layout.ownerKey, ownership, changes);',
    'await registry.commit(layout.ownerKey, ownership, changes.slice(0, 1));\n      const isCommitted = await registry.commit(layout.ownerKey, ownership, changes.slice(1));',
  ],
  'write twice': [
    'registry/writer.ts',
    'const isCommitted = await registry.commit(layout.ownerKey, ownership, changes);',
    'await registry.commit(layout.ownerKey, ownership, changes);\n      const isCommitted = await registry.commit(layout.ownerKey, ownership, changes);',
  ],
  'pass over a failed guard': [
    'registry/writer.ts',
    "if (!isCommitted) return this.#verifyOwnership(ownership, 'the owner key is not as we wrote it');",
    'if (!isCommitted) return;',
  ],
  'take a failed guard for success': [
    'registry/writer.ts',
    "if (!isCommitted) return this.#verifyOwnership(ownership, 'the owner key is not as we wrote it');",
    'if (!isCommitted) metrics.transactions++;',
  ],
  'take no answer for a refusal that is over': [
    'registry/writer.ts',
    'return this.#verifyOwnership(ownership, messageOf(error));',
    'return;',
  ],
  'take no answer for success': [
    'registry/writer.ts',
    'return this.#verifyOwnership(ownership, messageOf(error));',
    'metrics.transactions++;',
  ],
  'take a refusal for a verifyOwnership': [
    'registry/writer.ts',
    "if (codeOf(error) === 'ETCD_REFUSED') return this.#refused(ownership, batch, error);",
    '',
  ],
  'never inspect back at what moved on': [
    'registry/writer.ts',
    'this.#self.tell(shortId);\n      }\n    }\n  }',
    '{}\n      }\n    }\n  }',
  ],
  'never try a quarantined container again': [
    'registry/writer.ts',
    '      this.#quarantined.add(shortId);\n      this.#self.tell(shortId);\n',
    '      this.#quarantined.add(shortId);\n',
  ],
  'verifyOwnership in silence': [
    'registry/writer.ts',
    "    this.#parts.keeper.tell({ kind: 'verify', ownership, reason });\n",
    '',
  ],

  // The lease keeper
  'claim and read nothing': [
    'registry/lease-keeper.ts',
    'this.#uncertain = this.#parts.ledger.load(reading, this.#isSuccessor);',
    'this.#uncertain = [];',
  ],
  'take what was known before for newer than what another has written': [
    'registry/lease-keeper.ts',
    'this.#parts.ledger.load(reading, this.#isSuccessor);',
    'this.#parts.ledger.load(reading, false);',
  ],
  'verifyOwnership what was known and never inspect again': [
    'reconcile/reconciler.ts',
    '    this.#known.delete(id);\n    this.#parts.metrics.running = this.#known.size;\n    this.#parts.inspect(id);\n',
    '',
  ],
  'read first and claim then': [
    'registry/lease-keeper.ts',
    'const ownership = await this.#claim();\n        if (ownership !== undefined) {\n          const reading = await readHost(this.#parts.registry, this.#parts.layout, ownership, this.#left);',
    "const reading = await readHost(this.#parts.registry, this.#parts.layout, { lease: this.#lease ?? '', revision: '0' }, this.#left);\n        const ownership = await this.#claim();\n        if (ownership !== undefined) {",
  ],
  'pass over what other views have left': [
    'registry/lease-keeper.ts',
    'containerOf: (key) => layout.containerOf(key) ?? former(key),',
    'containerOf: layout.containerOf,',
  ],
  'forget which views were on before': [
    'registry/lease-keeper.ts',
    'this.#views = owner?.lease === lease ? [...new Set([...own, ...templates])] : own;',
    'this.#views = [];',
  ],
  'read no keys of views': [
    'registry/reading.ts',
    'wanted.add(layout.nameOf(key) === undefined ? key : plainOf(key));',
    'if (layout.nameOf(key) !== undefined) wanted.add(plainOf(key));',
  ],
  'write views in a transaction of their own': [
    'registry/writer.ts',
    'const isCommitted = await registry.commit(layout.ownerKey, ownership, changes);',
    'const isNative = (c: Change) => layout.nameOf(c.key) !== undefined || c.key.startsWith(layout.recordPrefix);\n      if (!(await registry.commit(layout.ownerKey, ownership, changes.filter(isNative)))) return;\n      const isCommitted = await registry.commit(layout.ownerKey, ownership, changes.filter((c) => !isNative(c)));',
  ],
  'follow whoever cannot be seen': [
    'registry/lease-keeper.ts',
    "if (liveness === 'unknown') return this.#outlast(owner, record);",
    "if (liveness === 'unknown') return true;",
  ],
  'follow whoever lives': [
    'registry/lease-keeper.ts',
    'throw hostIdTaken(record, `its process',
    'if (owner.revision) return true;\n    throw hostIdTaken(record, `its process',
  ],
  'take an ended lease for a sign of life': [
    'registry/lease-keeper.ts',
    '      if (left <= 0) return true;\n      // Left',
    '      // Left',
  ],
  'take one renewal for a sign of life': [
    'registry/lease-keeper.ts',
    'if (hasRenewed) throw hostIdTaken',
    'if (left > 0) throw hostIdTaken',
  ],
  'pass over the end of the lease': [
    'registry/lease-keeper.ts',
    'if ((await this.#parts.registry.keepAlive(ownership.lease)) <= 0) return this.#lost(ownership);',
    'await this.#parts.registry.keepAlive(ownership.lease);',
  ],
  'renew once': [
    'registry/lease-keeper.ts',
    'if (this.#parts.current.ownership === ownership) this.#renewLater();',
    '',
  ],
  'never renew': [
    'registry/lease-keeper.ts',
    '    this.#renewLater();\n    onOwned(this.#uncertain);',
    '    onOwned(this.#uncertain);',
  ],
  'go on writing in verifyOwnership': [
    'registry/lease-keeper.ts',
    '    current.ownership = undefined;\n    this.#cancelRenewal();\n    log.debug',
    '    this.#cancelRenewal();\n    log.debug',
  ],
  'give up seeking after one try': [
    'registry/lease-keeper.ts',
    '      await sleep(clock, this.#backoff.next(), this.#signal);\n    }\n    return undefined;',
    '      break;\n    }\n    return undefined;',
  ],
  'release what is not ours': [
    'registry/lease-keeper.ts',
    'lease, owner?.revision ??',
    'lease, (await registry.owner(layout.ownerKey))?.revision ??',
  ],

  // The agent and the watcher
  'write nothing once the ownership is held': [
    'agent.ts',
    'for (const shortId of ledger.unsettled()) writer.tell(shortId);',
    '',
  ],
  'do not tell of a reading': ['agent.ts', "              reconciler.tell({ kind: 'read', uncertain });\n", ''],
  'subscribe and never list': ['docker/watcher.ts', "      await this.#list(engine, true, 'connect');\n", ''],
  'list before subscribing, not after': [
    'docker/watcher.ts',
    'const stream = await docker\n      .events(',
    'await this.#list(engine, true, "connect");\n    this.#list = async () => {};\n    const stream = await docker.events(',
  ],
  'inspect at strangers only after a gap': [
    'docker/watcher.ts',
    "      await this.#list(engine, true, 'connect');\n",
    "      await this.#list(engine, false, 'connect');\n",
  ],
  'recall nothing at a death': [
    'docker/watcher.ts',
    'inspectorMailbox.recall(id, at, (inspect) => inspect.at <= at);',
    '',
  ],
  'recall everything at a death': ['docker/watcher.ts', '(inspect) => inspect.at <= at);', '() => true);'],
  'pass over deaths': ['docker/watcher.ts', '      reconciler.tell({ kind, id, at: event.at });\n', ''],
  'pass over starts': ['docker/watcher.ts', "if (kind === 'inspect' || (kind === 'moved'", "if ((kind === 'moved'"],
  'pass over moves during a inspect': [
    'docker/watcher.ts',
    "if (kind === 'inspect' || (kind === 'moved' && inspectorMailbox.holds(id))) {",
    "if (kind === 'inspect') {",
  ],
  'never renew the stream': [
    'docker/watcher.ts',
    "clock.after(streamLifeMs * (1 + clock.random()), () => this.#closeStream('renewed'))",
    '() => {}',
  ],
  'date a list by its answer': [
    'docker/watcher.ts',
    "reconciler.tell({ kind: 'listed', began, containers, full });",
    "reconciler.tell({ kind: 'listed', began: nextSequence() + began - began, containers, full });",
  ],
  'stay without a stream': [
    'docker/watcher.ts',
    '    while (!this.#signal.aborted) {\n      try {\n        const stream',
    '    for (let turn = 0; turn < 1; turn++) {\n      try {\n        const stream',
  ],
};

/** Survivors that are right to survive, and why. */
const harmless: Record<string, string> = {
  'report nothing that was overtaken, not even a later start':
    'the start has an event of its own, and with it a inspect',
  'remember the dead as known': 'whatever is asked about them is answered by a inspect',
  'go on writing in verifyOwnership': 'the guard refuses what is written',
  'inspect at strangers only after a gap': 'other ports show in the list',
  'list before subscribing, not after': 'the stream begins a second before it was asked for',
  'believe an inspection that a list has overtaken': 'the next list mends it',
  'take in a list that was overtaken': 'the next list mends it',
  'take a refusal for a verifyOwnership': 'costs a claim, and the refused container waits for one',
};

const root = fileURLToPath(new URL('../..', import.meta.url));
const { values } = parseArgs({
  options: { schedules: { type: 'string', default: '8000' }, only: { type: 'string', default: '' } },
});

/** Which violation has found it; undefined where none has. */
async function hunt([file, from, to]: Mutant): Promise<string | undefined> {
  const folder = mkdtempSync(path.join(tmpdir(), 'discover-mutant-'));
  try {
    for (const part of ['src', 'test/sim', 'package.json', 'tsconfig.json']) {
      cpSync(path.join(root, part), path.join(folder, part), { recursive: true });
    }
    symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
    const target = path.join(folder, 'src', file);
    const text = readFileSync(target, 'utf8');
    writeFileSync(
      target,
      text.replace(from, () => to),
    );
    const args = ['--import', 'tsx', 'test/sim/main.ts', '--schedules', values.schedules, '--jobs', '1', '--once'];
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

/** Faults that the code has grown away from: each has to be found in its file exactly once. */
const unfit = Object.entries(mutants).flatMap(([name, [file, from]]) => {
  const times = readFileSync(path.join(root, 'src', file), 'utf8').split(from).length - 1;
  return times === 1 ? [] : [`${name}: ${file} holds this ${times} times: ${from}`];
});
if (unfit.length > 0) throw new Error(unfit.join('\n'));

const waiting = Object.entries(mutants).filter(([name]) => name.includes(values.only));
const survivors: string[] = [];
let [killed, spared] = [0, 0];
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [name, mutant] = next;
      const found = await hunt(mutant);
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
  `${killed} of ${total} planted faults found in at most ${values.schedules} schedules each, ` +
    `${spared} known to be harmless, ${survivors.length} survived`,
);
process.exitCode = survivors.length > 0 ? 1 : 0;
