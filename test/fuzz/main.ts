/**
 * node --import ./test/loader.mjs test/fuzz/main.ts: what containers and engines may say, by the million, see
 * `advertisements.ts`, `labels.ts` and `documents.ts`.
 *
 *   node --import ./test/loader.mjs test/fuzz/main.ts --strings 1000000 --labels 1000000 --documents 100000 --seed 1
 *   node --import ./test/loader.mjs test/fuzz/main.ts --strings 1 --labels 0 --documents 0 --seed 4711       one of them again
 *
 * Prints how many a second and what was wrong, with the seed of each and, of an environment, the least
 * that still fails; then how long the parsers take for 1, 2 and 4 MiB, to be read, not judged. The status
 * is 1 where anything was wrong.
 */
import { parseArgs } from 'node:util';
import { readInspection } from '../../src/container/document.ts';
import { ObjectSplitter, readEvent } from '../../src/docker/events.ts';
import { readList } from '../../src/inspect/batch.ts';
import { environmentOf, type Finding, faultOf, shortened } from './advertisements.ts';
import { answerOf, faultOfAnswer } from './documents.ts';
import { faultOfLabels, labelledOf } from './labels.ts';

const { values } = parseArgs({
  options: {
    strings: { type: 'string', default: '1000000' },
    labels: { type: 'string', default: '1000000' },
    documents: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
  },
});
const [strings, labels, documents, firstSeed] = [
  ...[Number(values.strings), Number(values.labels), Number(values.documents), Number(values.seed)],
] as const;
if (!(strings >= 0 && labels >= 0 && documents >= 0 && firstSeed >= 0)) {
  throw new Error('--strings, --labels, --documents, --seed: a number');
}

const told = 5;

/** JSON in ASCII alone: what is told here is written to steer terminals. */
function plain(value: unknown): string {
  const escaped = (mark: string) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replaceAll(/[^ -~]/g, escaped);
}

/** Runs them all; `describe` tells of one that failed. */
function fuzz(
  what: string,
  count: number,
  faultAt: (seed: number) => Finding | undefined,
  describe: (seed: number, found: Finding) => string,
): number {
  const counts = { throw: 0, 'foreign key': 0, difference: 0, nonsense: 0 };
  let faults = 0;
  const began = performance.now();
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    const found = faultAt(seed);
    if (found === undefined) continue;
    counts[found.kind]++;
    if (++faults <= told)
      console.log(`${found.kind}: ${plain(found.detail).slice(0, 500)}\n  ${describe(seed, found)}`);
  }
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `${count} ${what} in ${seconds.toFixed(1)} s, ${Math.round(count / seconds)} a second: ${counts.throw} throws, ` +
      `${counts['foreign key']} foreign keys, ${counts.difference} differences, ${counts.nonsense} without sense`,
  );
  return faults;
}

let faults = 0;
if (strings > 0) {
  faults += fuzz(
    'environments',
    strings,
    (seed) => faultOf(environmentOf(seed)),
    (seed, found) =>
      `--strings 1 --labels 0 --documents 0 --seed ${seed}: ${plain(shortened(environmentOf(seed), found))}`,
  );
}
if (labels > 0) {
  faults += fuzz(
    'documents with labels',
    labels,
    (seed) => faultOfLabels(labelledOf(seed)),
    (seed) => `--strings 0 --labels 1 --documents 0 --seed ${seed}: ${plain(labelledOf(seed)).slice(0, 500)}`,
  );
}
if (documents > 0) {
  faults += fuzz(
    'documents',
    documents,
    (seed) => faultOfAnswer(answerOf(seed)),
    (seed) => `--strings 0 --labels 0 --documents 1 --seed ${seed}: ${plain(answerOf(seed)).slice(0, 500)}`,
  );
}
process.exitCode = faults > 0 ? 1 : 0;

/** What an attacker would repeat, and who has to read it. */
const repeated: readonly (readonly [what: string, unit: string, read: (text: string) => void])[] = [
  ...[',', ':', 'web:80,', 'web:80/tcp/', ' ', '\u202e'].map((unit) => ['DISCOVER', unit, readEnvironment] as const),
  ...['{', '"\\"', '{}', '\\\\'].map((unit) => ['event', unit, readEvents] as const),
  ...[' ', 'x', '\\\\'].map((unit) => ['action', unit, readAction] as const),
  ...['{"Id":"",', '[', '{},'].map((unit) => ['list', unit, readAsList] as const),
];

function readEnvironment(text: string): void {
  // As it comes in: the document is parsed whole, the variable read as far as its limit.
  const document = JSON.stringify({ State: { Running: true }, Config: { Env: [`DISCOVER=${text}`] } });
  readInspection(JSON.parse(document), { hostIp: '10.0.0.1', serviceVariable: 'DISCOVER', namePolicy: 'raw' });
}

function readEvents(text: string): void {
  new ObjectSplitter(readEvent, () => {}).push(Buffer.from(`{"a":"${text}"}{${text}`));
}

/** In Docker's usual form but for its end. */
function readAction(text: string): void {
  readEvent(`{"Type":"container","Action":"exec_create: ${text}","Actor":{"ID":"${'0'.repeat(64)}","Attributes":{}}}`);
}

function readAsList(text: string): void {
  readList(Buffer.from(`[${text}`));
}

function fastest(read: (text: string) => void, text: string): number {
  const times = Array.from({ length: 5 }, () => {
    const began = performance.now();
    read(text);
    return performance.now() - began;
  });
  return Math.min(...times);
}

console.log('\nmilliseconds for 1, 2 and 4 MiB (best of 5)');
for (const [what, unit, read] of repeated) {
  const times = [1, 2, 4].map((mib) => fastest(read, unit.repeat((mib << 20) / unit.length)));
  const cells = times.map((ms) => ms.toFixed(1).padStart(7)).join('');
  console.log(`${what.padEnd(9)}${plain(unit).padEnd(14)}${cells}`);
}
