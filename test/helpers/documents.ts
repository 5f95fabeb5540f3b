/**
 * The documents as the tests see them: their files, the tables in them that are written from the source, and their
 * blocks of code.
 *
 * A generated table stands between `<!-- <name>:begin -->` and `<!-- <name>:end -->`. `UPDATE=1` with
 * `test/unit/documents.test.ts` writes all of them.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type OptionRow, optionTable } from '../../src/config/options.ts';
import { outages, refusals, withheld } from '../../src/container/refusals.ts';
import { attributeMeanings } from '../../src/container/sources/attributes.ts';
import { labelMeanings } from '../../src/container/sources/label.ts';
import { errorCodes, failures } from '../../src/errors.ts';
import { exitCodes, exitMeanings } from '../../src/exit-codes.ts';
import { testedVersions } from './tested-versions.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');

/** Files below a folder of the repository, as paths from it. */
export const below = (folder: string): string[] =>
  readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(path.join(root, folder), path.join(entry.parentPath, entry.name)));

export const documents: readonly string[] = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...['.github', 'bench', 'deploy', 'src', 'test'].flatMap((folder) =>
    below(folder)
      .filter((name) => name.endsWith('.md'))
      .map((name) => path.posix.join(folder, name)),
  ),
];

type Reasons = Readonly<Record<string, { readonly title: string; readonly remedy: string }>>;
const reasonsOf = (reasons: Reasons): string[] => [
  ...['| reason | what it means | what to do |', '|---|---|---|'],
  ...Object.entries(reasons).map(([code, { title, remedy }]) => `| \`${code}\` | ${title} | ${remedy} |`),
];

/** What holds where nothing is set ends the description, in brackets, if it is no plain value. */
function optionLine({ path: name, default: value, description, allowed }: OptionRow): string {
  const [, text = description, otherwise = ''] = /^(.*) \((.*)\)$/.exec(description) ?? [];
  const fallback = value === null ? otherwise : `\`${value}\``;
  return `| \`${name}\` | ${fallback} | ${text}; ${allowed} |`;
}

const codesOf = (exit: string): string[] =>
  Object.entries(exitCodes).flatMap(([code, number]) => (String(number) === exit ? [`\`${code}\``] : []));

const codes = 'deploy/codes.md';

/** Every generated table: its document and its lines. */
export const generated: Readonly<Record<string, { readonly document: string; readonly lines: readonly string[] }>> = {
  options: {
    document: 'src/config/README.md',
    lines: [...['| option | default | what it is; what is allowed |', '|---|---|---|'], ...optionTable.map(optionLine)],
  },
  labels: {
    document: 'src/container/README.md',
    lines: [
      ...['| label | meaning |', '|---|---|'],
      '| `discover` | an advertisement in the place of the variable; an empty one (`--label discover=`) silences an image that advertises |',
      ...Object.entries(labelMeanings).map(([name, meaning]) => `| \`discover.${name}\` | ${meaning} |`),
      ...Object.entries(attributeMeanings).map(([name, meaning]) => `| \`discover.<service>.${name}\` | ${meaning} |`),
      '| `discover.<service>.<attribute>` | any other attribute, with a text |',
    ],
  },
  refusals: { document: codes, lines: reasonsOf(refusals) },
  withheld: { document: codes, lines: reasonsOf(withheld) },
  outages: { document: codes, lines: reasonsOf(outages) },
  exits: {
    document: codes,
    lines: [
      ...['| exit code | meaning | errors |', '|---|---|---|'],
      ...Object.entries(exitMeanings).map(
        ([code, meaning]) => `| ${code} | ${meaning} | ${codesOf(code).join(', ')} |`,
      ),
    ],
  },
  errors: {
    document: codes,
    lines: [
      ...['| `code` | meaning |', '|---|---|'],
      ...Object.entries(errorCodes).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`),
    ],
  },
  tested: {
    document: 'deploy/upgrade.md',
    lines: [
      ...['| where | versions | passed | last |', '|---|---|---|---|'],
      ...Object.entries(testedVersions()).map(
        ([where, { versions, passed, date }]) => `| ${where} | ${versions} | ${passed} | ${date} |`,
      ),
    ],
  },
  failures: {
    document: codes,
    lines: [
      ...['| `details.failure` | meaning |', '|---|---|'],
      ...Object.entries(failures).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`),
    ],
  },
};

const frame = (name: string): RegExp => new RegExp(`(<!-- ${name}:begin -->\\n)(.*?)(\\n?<!-- ${name}:end -->)`, 's');

/** What a document has between the markers of a table; undefined without them. */
export const tableIn = (text: string, name: string): string | undefined => frame(name).exec(text)?.[2];

/** The document with this table between its markers. */
export const withTable = (text: string, name: string, lines: readonly string[]): string =>
  text.replace(frame(name), (_, begin: string) => `${begin}${lines.join('\n')}\n<!-- ${name}:end -->`);

/** A block of code: fenced, or indented by four. */
export interface Block {
  /** Of a fence, such as `json`; empty if it has none, and for an indented one. */
  readonly language: string;
  readonly lines: readonly string[];
}

/** The blocks of a document, in their order. An empty line does not end an indented one. */
export function blocksOf(text: string): Block[] {
  const blocks: { language: string; lines: string[] }[] = [];
  let open: string[] | undefined;
  let isFenced = false;
  for (const line of text.split('\n')) {
    const fence = /^```(\w*)/.exec(line);
    if (fence) {
      isFenced = !isFenced;
      open = isFenced ? [] : undefined;
      if (open) blocks.push({ language: fence[1] ?? '', lines: open });
    } else if (isFenced) {
      open?.push(line);
    } else if (line.startsWith('    ')) {
      if (open === undefined) {
        open = [];
        blocks.push({ language: '', lines: open });
      }
      open.push(line.slice(4));
    } else if (line !== '') {
      open = undefined;
    }
  }
  return blocks;
}

/** The lines of the one block of a document that begins so. */
export function block(document: string, start: string): string {
  const found = blocksOf(read(document)).filter(({ lines: [first = ''] }) => first.startsWith(start));
  if (found.length !== 1) throw new Error(`${document} has ${found.length} blocks that begin with ${start}`);
  return (found[0]?.lines ?? []).join('\n');
}
