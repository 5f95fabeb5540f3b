/** The parts of `npm run package` that need neither Node's program nor Debian's tools. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const load = (name: string): Promise<unknown> => import(path.join(repository, 'deploy/package', name));

const { withBlob } = (await load('elf.mjs')) as { withBlob(program: Buffer, blob: Buffer): Buffer };
const { manPage } = (await load('man.mjs')) as {
  manPage(about: { version: string; date: string; helps: ReadonlyMap<string, string> }): string;
};

test('a blob is put into programs of Linux at fixed addresses alone', () => {
  assert.throws(() => withBlob(Buffer.from('#!/bin/sh\n'), Buffer.alloc(4)), /Not a program for Linux with 64 bits/);
  const movable = Buffer.alloc(64);
  movable.write('\x7fELF\x02\x01', 'latin1');
  movable.writeUInt16LE(3, 16);
  assert.throws(() => withBlob(movable, Buffer.alloc(4)), /Not a program at fixed addresses/);
});

test('the man page has the options of the program and of its commands, and nothing that troff would take for a request', () => {
  const program = `discover [command] [options]

Commands:
  discover ls    .List\\ what there is
  discover help  Print this text

Host:
      --host:ip  Address to publish, or
                 another one                  [string]

Examples:
  discover  As it is

--a is the same as --b.`;
  const ls = 'discover ls [options]\n\nOptions:\n  -a, --all  All  [boolean]\n\nMore: see help.\n';
  const helps = new Map([
    ['', program],
    ['ls', ls],
  ]);
  const page = manPage({ version: '1.2.3', date: '2026-01-01', helps });
  assert.match(page, /^\.TH DISCOVER 1 "2026-01-01" "discover 1\.2\.3" "User Commands"$/m);
  assert.match(
    page,
    /^\.B discover ls\n\\&\.List\\e what there is\n\.RS\n\.TP\n\.B \\-a, \\-\\-all\nAll \[boolean\]\n\.RE$/m,
  );
  assert.match(page, /^\.SS Host\n\.TP\n\.B \\-\\-host:ip\nAddress to publish, or another one \[string\]$/m);
  assert.match(page, /^\.PP\n\\-\\-a is the same as \\-\\-b\.$/m);
});

test('the Node of the packages is of a line that CI tests, and is named by a checksum for each architecture', () => {
  const { version, integrity } = JSON.parse(
    readFileSync(path.join(repository, 'deploy/package/node.json'), 'utf8'),
  ) as { version: string; integrity: Record<string, string> };
  const workflow = parse(readFileSync(path.join(repository, '.github/workflows/ci.yml'), 'utf8')) as {
    readonly jobs: { readonly gate: { readonly strategy: { readonly matrix: { readonly node: readonly number[] } } } };
  };
  assert.ok(workflow.jobs.gate.strategy.matrix.node.includes(Number(version.split('.', 1)[0])), version);
  assert.deepEqual(Object.keys(integrity), ['x64', 'arm64']);
  for (const sum of Object.values(integrity)) assert.match(sum, /^sha512-[\w+/]{86}==$/);
});
