/** The event stream, cut anywhere: the same events, whatever the chunks. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { ObjectSplitter, readEvent } from '../../src/docker/events.ts';
import { amount } from '../helpers/share.ts';

const fixtures = new URL('../fixtures/', import.meta.url);
const recordings = readdirSync(fixtures, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.jsonl'),
);

/** The objects in these chunks. */
function objectsOf(chunks: readonly Buffer[]): string[] {
  const objects: string[] = [];
  const splitter = new ObjectSplitter((text) => objects.push(text), assert.fail);
  for (const chunk of chunks) splitter.push(chunk);
  return objects;
}

function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

for (const file of amount(recordings.slice(-3), recordings)) {
  test(`every cut of the recording ${file} gives the same events`, () => {
    const bytes = readFileSync(new URL(file, fixtures));
    const lines = bytes.toString().trim().split('\n');
    const whole = objectsOf([bytes]);
    assert.deepEqual(whole, lines);
    assert.ok(whole.some((text) => readEvent(text) !== undefined) || file.includes('created'));
    const expected = whole.join('\n');
    for (let cut = 1; cut < bytes.length; cut++) {
      const found = objectsOf([bytes.subarray(0, cut), bytes.subarray(cut)]).join('\n');
      // Comparing two strings here is what lets it be every cut.
      if (found !== expected) assert.fail(`cut at ${cut}`);
    }
  });
}

test('any cuts of any objects give the same objects, also within a character', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('größe 🚀', '}{', '"', '\\', '\\"', '{"', '\u001e', '\n', '\u2028'),
  );
  const object = fc.dictionary(text, fc.oneof(text, fc.array(text), fc.dictionary(text, text)), { maxKeys: 4 });
  const between = fc.constantFrom('', '\n', '\r\n', '\u001e', '\n\u001e', ' ');
  fc.assert(
    fc.property(
      fc.array(fc.tuple(between, object), { maxLength: 8 }),
      fc.array(fc.nat(), { maxLength: 30 }),
      (parts, cuts) => {
        const texts = parts.map(([, value]) => JSON.stringify(value));
        const bytes = Buffer.from(parts.map(([space], index) => space + texts[index]).join(''));
        assert.deepEqual(objectsOf(cutAt(bytes, cuts)), texts);
      },
    ),
    { numRuns: 300 },
  );
});
