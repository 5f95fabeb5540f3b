/**
 * node --import ./test/loader.mjs test/fuzz/net.ts: the protocols of `src/net`, by the million; see `http2-frames.ts`, `http2-calls.ts` and `http1-responses.ts`.
 *
 *   node --import ./test/loader.mjs test/fuzz/net.ts --frames 1000000 --calls 10000 --responses 1000000 --inspections 10000 --seed 1
 *   node --import ./test/loader.mjs test/fuzz/net.ts --only frames --frames 1 --seed 4711        one connection again
 *
 * Prints how many a second, what was wrong with the seed of each, and how the memory of the process grew. The status
 * is 1 where anything was wrong, or the memory grew by more than a process of this kind needs.
 */
import { parseArgs } from 'node:util';
import { compareInspections, fuzzResponse } from './http1-responses.ts';
import { compareCalls } from './http2-calls.ts';
import { fuzzConnection } from './http2-frames.ts';

const { values } = parseArgs({
  options: {
    frames: { type: 'string', default: '1000000' },
    calls: { type: 'string', default: '10000' },
    responses: { type: 'string', default: '1000000' },
    inspections: { type: 'string', default: '10000' },
    only: { type: 'string' },
    seed: { type: 'string', default: '1' },
  },
});
const numberOf = (name: 'frames' | 'calls' | 'responses' | 'inspections'): number =>
  values.only === undefined || values.only === name ? Number(values[name]) : 0;
const [frames, calls, responses, inspections] = (['frames', 'calls', 'responses', 'inspections'] as const).map(
  numberOf,
) as [number, number, number, number];
const firstSeed = Number(values.seed);
if (!(frames >= 0 && calls >= 0 && responses >= 0 && inspections >= 0 && firstSeed >= 0)) {
  throw new Error('--frames, --calls, --responses, --inspections, --seed: a number');
}

const told = 5;
const grownMbMax = 150;
let faults = 0;

function residentMb(): number {
  return process.memoryUsage().rss / 2 ** 20;
}

if (frames > 0) {
  const began = performance.now();
  const beforeMb = residentMb();
  const sum = { frames: 0, connections: 0, answered: 0, ended: 0 };
  for (let seed = firstSeed; sum.frames < frames; seed++) {
    const result = fuzzConnection(seed);
    sum.frames += result.frames;
    sum.connections++;
    sum.answered += result.answered;
    if (result.isEnded) sum.ended++;
    if (result.fault === undefined) continue;
    if (++faults <= told) console.log(`--only frames --frames 1 --seed ${seed}: ${result.fault}`);
  }
  const seconds = (performance.now() - began) / 1000;
  const grownMb = residentMb() - beforeMb;
  console.log(
    `${sum.frames} frames on ${sum.connections} connections in ${seconds.toFixed(1)} s: ${sum.answered} calls answered, ` +
      `${sum.ended} connections ended by a fault, ${faults} findings, ${grownMb.toFixed(0)} MB more in memory`,
  );
  if (grownMb > grownMbMax) faults++;
}
if (calls > 0) {
  const began = performance.now();
  const { answered, differences, plans } = await compareCalls(calls, firstSeed);
  const seconds = (performance.now() - began) / 1000;
  for (const { outcomes, plan, seed } of differences.slice(0, told))
    console.log(`${plan}, seed ${seed}: ${outcomes.join(' | ')}`);
  const kinds = [...plans].map(([plan, count]) => `${count} ${plan}`).join(', ');
  console.log(
    `${calls} calls through both clients in ${seconds.toFixed(1)} s: ${answered} answered, ${differences.length} differences (${kinds})`,
  );
  faults += differences.length;
}
if (responses > 0) {
  const began = performance.now();
  const beforeMb = residentMb();
  let [read, found] = [0, 0];
  for (let seed = firstSeed; seed < firstSeed + responses; seed++) {
    const { fault, isRead } = fuzzResponse(seed);
    if (isRead) read++;
    if (fault === undefined) continue;
    if (++found <= told) console.log(`--only responses --responses 1 --seed ${seed}: ${fault}`);
  }
  const seconds = (performance.now() - began) / 1000;
  const grownMb = residentMb() - beforeMb;
  console.log(
    `${responses} responses of HTTP/1 in ${seconds.toFixed(1)} s: ${read} read, ${found} findings, ${grownMb.toFixed(0)} MB more in memory`,
  );
  faults += found + (grownMb > grownMbMax ? 1 : 0);
}
if (inspections > 0) {
  const began = performance.now();
  const { differences, documents } = await compareInspections(inspections, firstSeed);
  const seconds = (performance.now() - began) / 1000;
  for (const { outcomes, seed } of differences.slice(0, told))
    console.log(`seed ${seed}: ${outcomes.join(' | ').slice(0, 500)}`);
  console.log(
    `${inspections} inspections through both clients in ${seconds.toFixed(1)} s: ${documents} documents, ${differences.length} differences`,
  );
  faults += differences.length;
}
process.exitCode = faults > 0 ? 1 : 0;
