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

/** The objects in these chunks, each read into the same room, as from a connection. */
function objectsOf(chunks: readonly Buffer[]): string[] {
  const objects: string[] = [];
  const splitter = new ObjectSplitter((text) => objects.push(text), assert.fail);
  const room = Buffer.alloc(Math.max(0, ...chunks.map((chunk) => chunk.length)));
  for (const chunk of chunks) splitter.push(room.subarray(0, chunk.copy(room)));
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

test('an event in its usual form means the same as when all of it is parsed, whatever the labels say', () => {
  const id = 'e9'.repeat(32);
  const other = 'b4'.repeat(32);
  const told = fc.constantFrom(
    `","Type":"container","Action":"die","Actor":{"ID":"${other}"`,
    '"}},"scope":"local","time":1,"timeNano":1}',
    '"signal":"9"',
    'signal',
    'timeNano',
    'ID',
    '\\',
    '"',
    '}}',
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    told,
    fc.array(told, { maxLength: 4 }).map((parts) => parts.join('')),
  );
  const labels = fc.oneof(
    fc.constantFrom({ timeNano: '1' }, { 'signal 9': '' }, { signals: '9' }, { ID: other, Action: 'die' }),
    fc.dictionary(text, text, { maxKeys: 4 }),
  );
  const action = fc.oneof(
    fc.constantFrom('start', 'die', 'destroy', 'kill', 'pause', 'create', 'health_status: healthy', 'exec_die'),
    fc.tuple(fc.constantFrom('exec_create: ', 'exec_start:', 'health_status:  '), text).map((parts) => parts.join('')),
  );
  const at = fc.oneof(fc.integer({ min: -1, max: 3 }), fc.bigInt(0n, 2n ** 64n));
  let usual = 0;
  fc.assert(
    fc.property(
      action,
      labels,
      at,
      fc.boolean(),
      text,
      fc.option(fc.nat(70)),
      (name, said, time, isOld, from, signal) => {
        const attributes = { ...said, ...(signal !== null && { signal: String(signal) }) };
        const event = {
          ...(isOld && { status: name, id, from }),
          ...{ Type: 'container', Action: name, Actor: { ID: id, Attributes: attributes }, scope: 'local', time: 1 },
        };
        const written = `${JSON.stringify(event).slice(0, -1)},"timeNano":${time}}`;
        const expected = readEvent(written.replace('{', '{ '));
        assert.deepEqual(readEvent(written), expected);
        if (expected?.kind === 'died') usual++;
      },
    ),
    { numRuns: amount(3_000, 100_000) },
  );
  assert.ok(usual > 100);
});

test('so does an event of a network', () => {
  const id = 'e9'.repeat(32);
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      'bridge',
      '"}},"scope":"local","time":1,"timeNano":1}',
      `","container":"${'b4'.repeat(32)}"`,
      '\\',
      '}}',
    ),
  );
  const container = fc.oneof({ weight: 4, arbitrary: fc.constant(id) }, text);
  const names = fc.dictionary(fc.oneof(text, fc.constantFrom('container', 'name')), text, { maxKeys: 3 });
  const action = fc.constantFrom('connect', 'disconnect', 'create', 'destroy', 'start');
  const network = fc.oneof(fc.constantFrom('ab'.repeat(32), 'k3xyz0'), text);
  let usual = 0;
  fc.assert(
    fc.property(action, network, container, names, fc.nat(3), (name, ID, member, others, time) => {
      const attributes = { container: member, ...others, type: 'bridge' };
      const event = { Type: 'network', Action: name, Actor: { ID, Attributes: attributes }, scope: 'local', time: 1 };
      const written = `${JSON.stringify(event).slice(0, -1)},"timeNano":${time}}`;
      const expected = readEvent(written.replace('{', '{ '));
      assert.deepEqual(readEvent(written), expected);
      if (expected?.kind === 'moved') usual++;
    }),
    { numRuns: amount(2_000, 100_000) },
  );
  assert.ok(usual > 100);
});
