/**
 * npx tsx test/fuzz/net.ts: the protocols of `src/net`, by the million; see `http2-frames.ts` and `http2-calls.ts`.
 *
 *   npx tsx test/fuzz/net.ts --frames 1000000 --calls 10000 --seed 1
 *   npx tsx test/fuzz/net.ts --frames 1 --calls 0 --seed 4711        one connection again
 *
 * Prints how many a second, what was wrong with the seed of each, and how the memory of the process grew. The status
 * is 1 where anything was wrong, or the memory grew by more than a process of this kind needs.
 */
import { parseArgs } from 'node:util';
import { compareCalls } from './http2-calls.ts';
import { fuzzConnection } from './http2-frames.ts';

const { values } = parseArgs({
  options: {
    frames: { type: 'string', default: '1000000' },
    calls: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
  },
});
const [frames, calls, firstSeed] = [Number(values.frames), Number(values.calls), Number(values.seed)];
if (!(frames >= 0 && calls >= 0 && firstSeed >= 0)) throw new Error('--frames, --calls, --seed: a number');

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
    if (++faults <= told) console.log(`--frames 1 --calls 0 --seed ${seed}: ${result.fault}`);
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
process.exitCode = faults > 0 ? 1 : 0;
