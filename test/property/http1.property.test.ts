/** A share of `node --import ./test/loader.mjs test/fuzz/net.ts` for HTTP/1, and that it would find what it looks for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ResponseReader } from '../../src/net/http1/response.ts';
import { compareInspections, fuzzResponse } from '../fuzz/http1-responses.ts';

test('10,000 responses, most of them damaged, are read the same wherever they are cut', () => {
  let read = 0;
  for (let seed = 1; seed <= 10_000; seed++) {
    const { fault, isRead } = fuzzResponse(seed);
    assert.equal(
      fault,
      undefined,
      `node --import ./test/loader.mjs test/fuzz/net.ts --only responses --responses 1 --seed ${seed}`,
    );
    if (isRead) read++;
  }
  // Neither all of them nor only those that are whole.
  assert.ok(read > 3_500 && read < 9_000, `${read} read`);
});

test('1,000 inspections with faults have the same outcome through this client and through node:http', async () => {
  const { differences, documents } = await compareInspections(1_000, 1);
  assert.deepEqual(differences, []);
  assert.ok(documents > 500, `Only ${documents} documents`);
});

test('a byte that is lost at a cut is found by both', async (context) => {
  const { push } = ResponseReader.prototype;
  context.mock.method(ResponseReader.prototype, 'push', function lossy(this: ResponseReader, bytes: Buffer) {
    return push.call(this, this.isReading ? bytes.subarray(1) : bytes);
  });
  const faults = Array.from({ length: 200 }, (_, seed) => fuzzResponse(seed + 1).fault);
  assert.ok(
    faults.some((fault) => fault !== undefined),
    'No fault',
  );
  const { differences } = await compareInspections(30, 1);
  assert.ok(differences.length > 0, 'No difference');
});
