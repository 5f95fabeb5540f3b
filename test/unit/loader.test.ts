/** What runs the tests' TypeScript: a failing assertion is told at once, with its own words and its place. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { typescript } from '../helpers/run.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-loader-'));
after(() => rmSync(directory, { recursive: true, force: true }));

// As long as the longest test: with all of it on one line, Node's own search for a message takes minutes.
const filler = Array.from({ length: 900 }, (_, n) => `const f${n} = (a: number): number[] => [a, ${n}]; void f${n};`);

function outcomeOf(...lines: readonly string[]): { readonly said: string; readonly status: number | null } {
  const file = path.join(directory, 'file.ts');
  writeFileSync(file, ["import assert from 'node:assert/strict';", ...filler, ...lines].join('\n'));
  const { stderr, status } = spawnSync(process.execPath, [...typescript, file], { encoding: 'utf8' });
  return { said: stderr, status };
}

test('a bare assertion that fails says what it asserts, and where', () => {
  const { said, status } = outcomeOf('interface Never { readonly used: 1 }', 'assert.ok(f1(2).length === 3);');
  assert.equal(status, 1);
  assert.match(said, /^AssertionError \[ERR_ASSERTION\]: Not so: assert\.ok\(f1\(2\)\.length === 3\);$/m);
  assert.match(said, /file\.ts:903:\d+\)?$/m);
});

test('one over several lines says the first of what it asserts, and one with a message says that', () => {
  assert.match(
    outcomeOf('assert.ok(', '  f1(2).length === 3,', ');').said,
    /Not so: assert\.ok\(f1\(2\)\.length === 3,$/m,
  );
  assert.match(outcomeOf("assert.ok(0, 'told');").said, /^AssertionError \[ERR_ASSERTION\]: told$/m);
  assert.deepEqual(outcomeOf("assert.ok('true');"), { said: '', status: 0 });
});
