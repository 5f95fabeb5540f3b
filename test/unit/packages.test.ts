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
const { withoutLanguages } = (await load('icu.mjs')) as { withoutLanguages(data: Buffer): Buffer };
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

/** Data as ICU has it, of tables in the order of their names. */
function icuData(tables: Readonly<Record<string, string>>): Buffer {
  const head = Buffer.alloc(32);
  head.writeUInt16LE(head.length, 0);
  head.writeUInt16LE(0x27da, 2);
  head.write('CmnD', 12, 'latin1');
  const names = Object.keys(tables).map((name) => Buffer.from(`icudt1l/${name}\0`));
  const contents = Object.values(tables).map((text) =>
    Buffer.from(text.padEnd(Math.ceil(text.length / 16) * 16, '\0')),
  );
  const places = Buffer.alloc(4 + names.length * 8);
  places.writeUInt32LE(names.length, 0);
  const namesEnd = places.length + Buffer.concat(names).length;
  const start = Math.ceil(namesEnd / 16) * 16;
  names.forEach((_, index) => {
    places.writeUInt32LE(places.length + Buffer.concat(names.slice(0, index)).length, 4 + index * 8);
    places.writeUInt32LE(start + Buffer.concat(contents.slice(0, index)).length, 8 + index * 8);
  });
  return Buffer.concat([head, places, ...names, Buffer.alloc(start - namesEnd), ...contents]);
}

test('the tables of other languages, scripts and encodings are left out, and what stays is at its new place', () => {
  const kept = {
    'coll/ucadata.icu': 'order of letters',
    'curr/en_GB.res': 'pound',
    'en.res': 'English, longer than a line of sixteen',
    'root.res': 'no language',
    'zoneinfo64.res': 'zones',
  };
  const others = {
    'brkitr/thaidict.dict': 'words',
    'coll/de.res': 'ä',
    'ibm-949.cnv': 'encoding',
    'res_index.res': 'de, en',
    'translit/root.res': 'scripts',
    'zh_Hant_TW.res': 'Chinese',
  };
  const all = Object.fromEntries(Object.entries({ ...kept, ...others }).sort(([a], [b]) => (a < b ? -1 : 1)));
  assert.deepEqual(withoutLanguages(icuData(all)), icuData(kept));
  assert.throws(() => withoutLanguages(Buffer.alloc(64)), /Not data of ICU/);
  assert.throws(() => withoutLanguages(icuData(kept)), /The tables of ICU have other names/);
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
