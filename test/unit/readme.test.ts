/** README.md: its table of options is the one of the program. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type OptionRow, optionTable } from '../../src/config/options.ts';

/** What holds where nothing is set ends the description, in brackets, if it is no plain value. */
function line({ path, default: value, description, allowed }: OptionRow): string {
  const [, text = description, otherwise = ''] = /^(.*) \((.*)\)$/.exec(description) ?? [];
  const fallback = value === null ? otherwise : `\`${value}\``;
  return `| \`${path}\` | ${fallback} | ${text}; ${allowed} |`;
}

test('README.md has the options as they are', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const table = ['| option | default | what it is; what is allowed |', '|---|---|---|', ...optionTable.map(line)].join(
    '\n',
  );
  const [, found] = /<!-- options:begin -->\n(.*)\n<!-- options:end -->/s.exec(readme) ?? [];
  assert.equal(found, table, `README.md must have this between its two markers:\n\n${table}\n`);
});
