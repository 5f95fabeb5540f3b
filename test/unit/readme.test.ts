/** The documents for users: the program takes their command lines, configurations and labels. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { parseArguments } from '../../src/commands/arguments.ts';
import { readSources } from '../../src/config/sources.ts';
import { readDeclaration } from '../../src/container/sources/declaration.ts';
import { block, blocksOf, documents, read } from '../helpers/documents.ts';

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

test('every configuration in the documents is one that the program takes', () => {
  const blocks = documents.flatMap((document) => blocksOf(read(document)));
  const parts = blocks.flatMap(({ language, lines: [first = '', ...more] }) =>
    language === 'json' ? [[first, ...more].join('\n')] : /^"\w+": \{/.test(first) ? [`{${first}}`] : [],
  );
  assert.ok(parts.length >= 4, `Only ${parts.length} found`);
  for (const text of parts) {
    const { problems, warnings } = readSources({ options: JSON.parse(text) });
    assert.deepEqual([problems, warnings], [[], []], text);
  }
});

test('the labels of the compose file in deploy/engines.md advertise what they say', () => {
  const { services } = parse(block('deploy/engines.md', 'services:')) as {
    readonly services: Readonly<Record<string, { readonly labels: object }>>;
  };
  const says = readDeclaration(
    { Config: { Labels: services.web?.labels } },
    { serviceVariable: 'DISCOVER', namePolicy: 'compat' },
  );
  assert.deepEqual(says.entries, [{ name: 'web', privatePort: 80, protocol: 'tcp' }]);
  assert.deepEqual([says.attributes.get('web'), says.refusals], [{ weight: 10 }, []]);
});
