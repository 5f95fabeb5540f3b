/**
 * The documents: links lead somewhere, files that are named exist, every file of `src` and every state is described.
 *
 * `UPDATE=1 node --import ./test/loader.mjs --test test/unit/documents.test.ts` writes the missing rows of `src/README.md`, and
 * every table that is made from the source.
 */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { stateNames } from '../../src/lifecycle/state.ts';
import { runs } from '../helpers/code-blocks.ts';
import { below, blocksOf, documents, generated, read, root, tableIn, withTable } from '../helpers/documents.ts';

const update = 'run: UPDATE=1 node --import ./test/loader.mjs --test test/unit/documents.test.ts';
const isUpdating = process.env.UPDATE !== undefined;

/** The anchors that GitHub makes of headings. */
function anchorsOf(text: string): Set<string> {
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/** A sentence for a new file: the first one of its header. */
function sentenceOf(file: string): string {
  const [, header = ''] = /\/\*\*(.*?)\*\//s.exec(read(`src/${file}`)) ?? [];
  const text = header.replaceAll(/\s*\n\s*\*\s?/g, ' ').trim();
  return (/^.*?[.:](?= |$)/.exec(text)?.[0] ?? text).replace(/:$/, '.');
}

/** The page with a row for each file, in the table of its folder; new folders come last. */
function withRows(text: string, files: readonly string[]): string {
  const lines = text.split('\n').filter((line) => {
    const [, file] = /^\| `([^`]+)` \|/.exec(line) ?? [];
    return file === undefined || files.includes(file);
  });
  for (const file of files) {
    if (lines.some((line) => line.startsWith(`| \`${file}\` |`))) continue;
    const row = `| \`${file}\` | ${sentenceOf(file)} |`;
    const folder = file.includes('/') ? file.split('/', 1)[0] : undefined;
    const heading = lines.indexOf(folder === undefined ? '### The ground' : `### \`${folder}/\``);
    if (heading < 0) {
      const end = lines.indexOf('## Outside packages');
      lines.splice(end, 0, `### \`${folder}/\``, '', '| file | what it is |', '|---|---|', row, '');
      continue;
    }
    let index = lines.indexOf('|---|---|', heading) + 1;
    while ((lines[index] ?? '').startsWith('|') && (lines[index] ?? '') < row) index++;
    lines.splice(index, 0, row);
  }
  return lines.join('\n');
}

test('src/README.md describes exactly the files of src', () => {
  const files = below('src')
    .filter((file) => !file.endsWith('.md'))
    .sort();
  if (isUpdating) writeFileSync(path.join(root, 'src/README.md'), withRows(read('src/README.md'), files));
  const rows = [...read('src/README.md').matchAll(/^\| `([^`]+)` \| \S.*\. \|$/gm)].map(([, file]) => file);
  assert.deepEqual(rows.sort(), files, update);
});

for (const [name, { document, lines }] of Object.entries(generated))
  test(`${document} has the table of the source: ${name}`, () => {
    if (isUpdating) writeFileSync(path.join(root, document), withTable(read(document), name, lines));
    assert.equal(tableIn(read(document), name), lines.join('\n'), update);
  });

for (const document of new Set([...documents, ...Object.keys(runs)])) {
  test(`${document} has no block of code that no test runs and nothing is said of`, () => {
    const known = runs[document] ?? [];
    const starts = blocksOf(read(document)).map(({ lines: [first = ''] }) => first);
    // By the longest beginning, so that a new block is shown as it is.
    const found = starts.map((line, at) => (line.startsWith(known[at]?.[0] ?? '\0') ? known[at]?.[0] : line));
    assert.deepEqual(
      found,
      known.map(([start]) => start),
      'test/helpers/code-blocks.ts says who runs it',
    );
    for (const [start, by] of known) {
      const [, kind = '', rest = ''] = /^(?:(same|shown|why not): )?(.{4,})$/.exec(by) ?? [];
      if (kind === 'shown' || kind === 'why not') continue;
      assert.ok(existsSync(path.join(root, rest)), `${start}: there is no ${rest}`);
      // The test of command lines takes all documents.
      const names = [document, path.basename(document), "helpers/documents.ts'"];
      if (kind === '')
        assert.ok(
          names.some((name) => read(rest).includes(name)),
          `${rest} does not read ${document}`,
        );
    }
  });
}

for (const document of documents) {
  test(`${document} links to what is there`, () => {
    for (const [, link, picture] of read(document).matchAll(/\]\(([^)\s]+)\)|\b(?:src|srcset|href)="([^"\s]+)"/g)) {
      const target = link ?? picture ?? '';
      if (/^[a-z]+:/.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const linked = file === '' ? document : path.posix.join(path.posix.dirname(document), file);
      assert.ok(existsSync(path.join(root, linked)), `${target}: there is no ${linked}`);
      if (anchor !== undefined) assert.ok(anchorsOf(read(linked)).has(anchor), `${target}: no such heading`);
    }
  });
}

type Versions = Readonly<Record<string, string>>;
const manifest = JSON.parse(read('package.json')) as {
  readonly files: readonly string[];
  readonly dependencies: Versions;
  readonly devDependencies: Versions;
  readonly peerDependencies: Versions;
};

test('src/README.md names each package that the program uses', () => {
  const [, table = ''] = /\| package \| for \|\n\|---\|---\|\n((?:\|.*\n)+)/.exec(read('src/README.md')) ?? [];
  const named = [...table.matchAll(/^\| (.*?) \|/gm)].flatMap(([, names = '']) => names.split(', '));
  const used = { ...manifest.dependencies, ...manifest.peerDependencies };
  for (const name of Object.keys(used)) assert.ok(named.includes(name), name);
  for (const name of named)
    assert.ok(name in used || name in manifest.devDependencies, `${name} is not in package.json`);
});

/** Whether npm packs a file, by `files` of package.json as far as that uses patterns: the last one that fits decides. */
function isPacked(file: string): boolean {
  const last = ['README.md', 'LICENSE', 'package.json', ...manifest.files].findLast((pattern) => {
    const asRegExp = pattern
      .replace(/^!/, '')
      .replaceAll('.', '\\.')
      .replaceAll('**/', '(.*/)?')
      .replaceAll(/(?<!\.)\*/g, '[^/]*');
    return new RegExp(`^${asRegExp}(/|$)`).test(file);
  });
  return last !== undefined && !last.startsWith('!');
}

test('documents of the package link only to what is in the package, except for pictures', () => {
  assert.ok(!isPacked('src/agent.ts') && !isPacked('bench/main.ts') && isPacked('deploy/compose.yaml'));
  assert.ok(!isPacked('deploy/package/elf.mjs') && !isPacked('dist/cli.js.map'));
  for (const document of documents.filter(isPacked)) {
    for (const [, target = ''] of read(document).matchAll(/(?<!!)\[[^\]]*\]\(([^)\s#]+)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const linked = path.posix.join(path.posix.dirname(document), target);
      assert.ok(isPacked(linked), `${document} links to ${linked}`);
    }
  }
});

test('README.md has at most 250 lines', () => {
  assert.ok(read('README.md').split('\n').length <= 251);
});

/** Words that made the documents hard to read for engineers whose first language is another one. */
const avoided = /\b(whoever|nobody|of which|parcel|tenure|doubt|remark)\b/i;

for (const document of documents) {
  test(`${document} avoids words that are hard to read`, () => {
    for (const line of read(document).split('\n')) assert.doesNotMatch(line, avoided);
  });
}

for (const document of ['.github/ARCHITECTURE.md', '.github/GLOSSARY.md', '.github/CONTRIBUTING.md', 'src/README.md']) {
  test(`${document} names files that are there`, () => {
    for (const [, file = ''] of read(document).matchAll(/`([\w-]+\/[\w./-]+\.(?:tsx?|mjs))`/g)) {
      assert.ok(
        [file, `src/${file}`].some((one) => existsSync(path.join(root, one))),
        `there is no ${file}`,
      );
    }
  });
}

test('.github/GLOSSARY.md defines every state of a container', () => {
  for (const name of stateNames) {
    assert.match(
      read('.github/GLOSSARY.md'),
      new RegExp(`^\\| \\| .*\\*\\*${name}\\*\\*[:,]`, 'm'),
      `define **${name}**: in the glossary`,
    );
  }
});
