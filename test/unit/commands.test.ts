/** What commands print to whom: colours where a person reads them, and nothing that steers a terminal. */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { Io } from '../../src/commands/command.ts';
import { doctor } from '../../src/commands/doctor.ts';
import { table } from '../../src/commands/print.ts';
import { DiscoverError } from '../../src/errors.ts';
import { exitCodeOf } from '../../src/exit-codes.ts';

async function printedBy(isTerminal: boolean, ip: string): Promise<string> {
  let text = '';
  const write = (part: string): void => {
    text += part;
  };
  const io: Io = { stdin: Readable.from([]), write, isTerminal, warn: write };
  const sources = { argv: { 'host.ip': ip }, env: {} };
  assert.equal(await doctor.run({ flags: {}, words: [], sources }, io), 78);
  return text;
}

test('a command writes colours to a terminal and nowhere else', async () => {
  assert.match(await printedBy(false, 'nonsense'), /^failed {3}configuration {2}host\.ip .*"nonsense"\n/);
  assert.ok((await printedBy(true, 'nonsense')).startsWith('\u001b[31mfailed \u001b[0m'), 'It is not coloured');
});

test('a table fits a width: the widest texts are cut, never a head nor the last column', () => {
  const heads = ['NAME', 'IMAGE', 'WEIGHT', 'ADDRESS'];
  const rows = [
    ['web', 'registry.example.com/a-team/of-this-company/web:2a', '3', 'tcp://10.0.0.5:49153'],
    ['a-name-of-twenty-one', 'nginx', '-', 'tcp://10.0.0.5:1'],
  ];
  const lines = table(heads, rows, 60).trimEnd().split('\n');
  assert.deepEqual(lines, [
    'NAME            IMAGE           WEIGHT  ADDRESS',
    'web             registr…web:2a  3       tcp://10.0.0.5:49153',
    'a-name-…ty-one  nginx           -       tcp://10.0.0.5:1',
  ]);
  assert.equal(table(heads, rows, 10).split('\n')[2], 'a-…e  nginx  -       tcp://10.0.0.5:1');
  assert.equal(table(heads, rows, 500), table(heads, rows));
});

test('an error ends with the exit code of its code, and anything else as a bug', () => {
  assert.equal(exitCodeOf(new DiscoverError('LEASE_LOST', 'x')), 69);
  assert.equal(exitCodeOf(new DiscoverError('HOST_ID_TAKEN', 'x')), 75);
  assert.equal(exitCodeOf(new Error('x')), 70);
});

test('what a command quotes cannot steer a terminal', async () => {
  const text = await printedBy(false, 'x\u001b[2J\u202e');
  assert.ok(!/[\u202e]/.test(text) && !text.includes('\u001b'), JSON.stringify(text));
});

test('a table may have any number of rows', () => {
  const rows = Array.from({ length: 200_000 }, (_, row) => [String(row), 'x']);
  assert.ok(table(['A', 'B'], rows).endsWith('199999  x\n'));
});
