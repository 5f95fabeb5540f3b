/** A share of `node --import ./test/loader.mjs test/fuzz/net.ts`, and that it would find what it looks for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AnswerReader } from '../../src/net/http2/answer.ts';
import { Streams } from '../../src/net/http2/streams.ts';
import { compareCalls } from '../fuzz/http2-calls.ts';
import { fuzzConnection } from '../fuzz/http2-frames.ts';

test('30,000 frames are read without a throw, and each call on their connections is settled once', () => {
  const sum = { frames: 0, answered: 0, ended: 0, connections: 0 };
  for (let seed = 1; sum.frames < 30_000; seed++) {
    const { answered, fault, frames, isEnded } = fuzzConnection(seed);
    assert.equal(
      fault,
      undefined,
      `node --import ./test/loader.mjs test/fuzz/net.ts --frames 1 --calls 0 --seed ${seed}`,
    );
    sum.frames += frames;
    sum.answered += answered;
    sum.connections++;
    if (isEnded) sum.ended++;
  }
  // Neither all faults nor all well: else it would show nothing.
  assert.ok(sum.answered > 2_000, `Only ${sum.answered} answers`);
  assert.ok(sum.ended > 200, `Only ${sum.ended} connections ended`);
});

test('1,000 calls with faults have the same outcome through this client and through node:http2', async () => {
  const { answered, differences, plans } = await compareCalls(1_000, 1);
  assert.deepEqual(differences, []);
  assert.equal(plans.size, 11);
  assert.ok(answered > 400, `Only ${answered} answers`);
});

test('the fuzzer finds a call that is settled twice, one that is forgotten, and what is thrown', (context) => {
  const faultOf = (): string | undefined => {
    for (let seed = 1; seed < 500; seed++) {
      const { fault } = fuzzConnection(seed);
      if (fault !== undefined) return fault;
    }
    return undefined;
  };
  assert.equal(faultOf(), undefined);
  const { settle } = Streams.prototype;
  const planted = [
    context.mock.method(Streams.prototype, 'settle', function twice(this: Streams, ...args: Parameters<typeof settle>) {
      const call = this.find(args[0]);
      settle.apply(this, args);
      call?.settle(args[1], args[2]);
    }),
    () => context.mock.method(Streams.prototype, 'fail', () => {}),
    () =>
      context.mock.method(Streams.prototype, 'open', () => {
        throw new Error('planted');
      }),
  ] as const;
  assert.match(String(faultOf()), /settled .*2/);
  planted[0].mock.restore();
  const forgotten = planted[1]();
  assert.match(String(faultOf()), /a call is left|settled .*0/);
  forgotten.mock.restore();
  const thrown = planted[2]();
  assert.match(String(faultOf()), /thrown: Error: planted/);
  thrown.mock.restore();
});

test('the comparison finds an answer that is read in another way', async (context) => {
  const { data } = AnswerReader.prototype;
  context.mock.method(
    AnswerReader.prototype,
    'data',
    function shortened(this: AnswerReader, bytes: Buffer, isLast: boolean) {
      data.call(this, bytes.length > 200 ? bytes.subarray(1) : bytes, isLast);
    },
  );
  const { differences } = await compareCalls(100, 1);
  assert.ok(differences.length > 0, 'No difference');
});
