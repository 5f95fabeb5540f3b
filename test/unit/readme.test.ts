/** The documents for users: the table of options is that of the program, and the program accepts their command lines. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseArguments } from '../../src/commands/arguments.ts';
import { type OptionRow, optionTable } from '../../src/config/options.ts';
import { refusals, withheld } from '../../src/container/refusals.ts';
import { exitCodes, exitNegative } from '../../src/exit-codes.ts';

const documents = [
  'README.md',
  'deploy/README.md',
  'src/config/README.md',
  'src/client/README.md',
  'src/layout/README.md',
].concat('.github/MIGRATING.md');
const read = (file: string): string => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
const options = 'src/config/README.md';
const operating = 'deploy/README.md';

/** What holds where nothing is set ends the description, in brackets, if it is no plain value. */
function line({ path, default: value, description, allowed }: OptionRow): string {
  const [, text = description, otherwise = ''] = /^(.*) \((.*)\)$/.exec(description) ?? [];
  const fallback = value === null ? otherwise : `\`${value}\``;
  return `| \`${path}\` | ${fallback} | ${text}; ${allowed} |`;
}

test(`${options} has the options as they are`, () => {
  const table = ['| option | default | what it is; what is allowed |', '|---|---|---|', ...optionTable.map(line)].join(
    '\n',
  );
  const [, found] = /<!-- options:begin -->\n(.*)\n<!-- options:end -->/s.exec(read(options)) ?? [];
  assert.equal(found, table, `${options} must have this between its two markers:\n\n${table}\n`);
});

for (const [name, reasons] of Object.entries({ refusals, withheld }))
  test(`${operating} has the reasons as they are: ${name}`, () => {
    const rows = Object.entries(reasons).map(([code, { title, remedy }]) => `| \`${code}\` | ${title} | ${remedy} |`);
    const table = ['| reason | what it means | what to do |', '|---|---|---|', ...rows].join('\n');
    const [, found] =
      new RegExp(`<!-- ${name}:begin -->\\n(.*)\\n<!-- ${name}:end -->`, 's').exec(read(operating)) ?? [];
    assert.equal(found, table, `${operating} must have this between its two markers:\n\n${table}\n`);
  });

test(`${operating} has every exit code`, () => {
  const codes = new Set<number>([0, exitNegative, ...Object.values(exitCodes)]);
  const rows = new Set([...read(operating).matchAll(/^\| (\d+) \| /gm)].map(([, code]) => Number(code)));
  for (const code of codes) assert.ok(rows.has(code), `${code} is missing`);
});

/** The arguments of each `discover` in a block of code, without what the shell keeps to itself. */
function commandLines(document: string): string[][] {
  const code = read(document)
    .split('\n')
    .flatMap((line) => /^ {4}(?:\$ )?(\S.*)$/.exec(line)?.[1] ?? []);
  const stages = code.flatMap((line) => line.replace(/\s#.*$/, '').split(/\s\|\s/));
  return stages.flatMap((stage) => {
    const [, args] = /^(?:[A-Z_]+=\S+ )*discover(?:\s+([^<>]*))?(?:[<>].*)?$/.exec(stage.trim()) ?? [];
    return /^(?:[A-Z_]+=\S+ )*discover\b/.test(stage.trim()) ? [args?.trim().split(/\s+/) ?? []] : [];
  });
}

test('every command line of discover in the documents is one that the program takes', async () => {
  const lines = documents.flatMap(commandLines);
  assert.ok(lines.length >= 10, `Only ${lines.length} found`);
  for (const argv of lines) await assert.doesNotReject(parseArguments(argv), `discover ${argv.join(' ')}`);
});
