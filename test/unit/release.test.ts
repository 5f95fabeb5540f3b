/** What is run by hand, by CI and for a release is there: scripts, files, workflows, and the check of a tag. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseDocument } from 'yaml';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');
const manifest = JSON.parse(read('package.json')) as {
  readonly scripts: Readonly<Record<string, string>>;
  readonly engines: { readonly node: string };
};
const workflows = readdirSync(path.join(root, '.github', 'workflows')).map((name) => `.github/workflows/${name}`);

/** Whatever tells somebody to run something. */
const telling = [
  ...['', '.github', 'bench', 'deploy', 'test', 'test/fault', 'test/fixtures']
    .concat(['src', 'src/client', 'src/config', 'src/layout'])
    .filter((folder) => existsSync(path.join(root, folder)))
    .flatMap((folder) => readdirSync(path.join(root, folder)).map((name) => path.posix.join(folder, name)))
    .filter((file) => file.endsWith('.md')),
  ...workflows,
  '.ci/run',
  'package.json',
];

test('there are twelve scripts at most, beside the one that npm itself runs', () => {
  const scripts = Object.keys(manifest.scripts).filter((name) => name !== 'prepack');
  assert.ok(scripts.length <= 12, scripts.join(', '));
});

for (const file of telling) {
  test(`${file} tells only to run what is there`, () => {
    const text = read(file);
    for (const [, script = ''] of text.matchAll(/\bnpm run (?:--silent |-s )?([a-z][\w:]*)/g)) {
      assert.ok(script in manifest.scripts, `npm run ${script}`);
    }
    for (const [, program = ''] of text.matchAll(/\bnode(?: --import \S+)?(?: --test)? ([\w./-]+\.(?:m?js|ts))\b/g)) {
      // Built later than this may run, and from a source that is there.
      const source = program.replace(/^dist\/(.*)\.js$/, 'src/$1.ts');
      assert.ok(existsSync(path.join(root, source)), program);
    }
    if (text.includes('.ci/run')) accessSync(path.join(root, '.ci/run'), constants.X_OK);
  });
}

interface Step {
  readonly uses?: string;
  readonly run?: string;
}

interface Workflow {
  readonly on: unknown;
  readonly permissions: Readonly<Record<string, string>>;
  readonly jobs: Readonly<
    Record<
      string,
      {
        readonly uses?: string;
        readonly steps?: readonly Step[];
        readonly permissions?: Readonly<Record<string, string>>;
        readonly strategy?: { readonly matrix: { readonly node: readonly number[] } };
      }
    >
  >;
}

function workflow(file: string): Workflow {
  const document = parseDocument(read(file), { strict: true, prettyErrors: true });
  assert.deepEqual([document.errors, document.warnings], [[], []]);
  return document.toJS() as Workflow;
}

for (const file of workflows) {
  test(`${file} is a workflow whose jobs may read and, but for the release, no more`, () => {
    const { on, permissions, jobs } = workflow(file);
    assert.ok(on, 'It is never run');
    assert.deepEqual(permissions, { contents: 'read' });
    for (const [name, job] of Object.entries(jobs)) {
      if (name !== 'publish') assert.equal(job.permissions, undefined, `${name} has permissions of its own`);
      if (job.uses !== undefined) assert.ok(existsSync(path.join(root, job.uses)), job.uses);
      else assert.ok(job.steps?.length, `${name} does nothing`);
      for (const { uses, run } of job.steps ?? []) {
        assert.notEqual(uses === undefined, run === undefined, `${name}: a step either uses or runs something`);
        if (uses !== undefined)
          assert.match(uses, /^actions\/[a-z-]+@[0-9a-f]{40}$/, 'Only what GitHub itself provides');
      }
    }
  });
}

test('CI runs the gate with the oldest Node that package.json allows, and with later ones', () => {
  const { gate } = workflow('.github/workflows/ci.yml').jobs;
  const versions = gate?.strategy?.matrix.node ?? [];
  const [, oldest] = /^>=(\d+)\./.exec(manifest.engines.node) ?? [];
  assert.equal(Math.min(...versions), Number(oldest));
  assert.ok(versions.length >= 3, versions.join(', '));
  assert.ok(gate?.steps?.some(({ run }) => run?.endsWith('.ci/run')));
});

describe('A release', () => {
  const check = (
    tag: string,
    version: string,
    changelog: string,
    names: object = { repository: 'github:owner/name', author: 'A Maintainer <a@example.org>' },
  ): { status: number | null; text: string } => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'dsc-release-'));
    try {
      writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ version, ...names }));
      writeFileSync(path.join(folder, 'CHANGELOG.md'), changelog);
      const program = path.join(root, '.github', 'check-release.mjs');
      const { status, stderr } = spawnSync(process.execPath, [program, tag], { cwd: folder, encoding: 'utf8' });
      const notes = path.join(folder, 'release-notes.md');
      return { status, text: existsSync(notes) ? readFileSync(notes, 'utf8') : stderr };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };
  const changelog =
    '# Changelog\n\nNewest first.\n\n## 1.2.0 (2027-01-01)\n\n- **feat** That.\n\n## 1.1.0 (2026-12-01)\n\n- Old.\n';

  test('that tag, package and changelog agree on is let through, with the notes of its section', () => {
    assert.deepEqual(check('v1.2.0', '1.2.0', changelog), { status: 0, text: '- **feat** That.' });
  });

  test('whose package names no repository is refused', () => {
    const { status, text } = check('v1.2.0', '1.2.0', changelog, { author: 'A Maintainer <a@example.org>' });
    assert.equal(status, 1);
    assert.match(text, /package\.json names no repository: npm pkg set repository=github:<owner>\/<name>$/m);
  });

  for (const author of [undefined, 'A Maintainer', { name: 'A Maintainer' }]) {
    test(`whose package has ${JSON.stringify(author) ?? 'no author'}, so the deb no maintainer, is refused`, () => {
      const { status, text } = check('v1.2.0', '1.2.0', changelog, { repository: 'github:owner/name', author });
      assert.equal(status, 1);
      assert.match(
        text,
        /published: package\.json names no author with an address: npm pkg set author='<name> <address>'$/m,
      );
    });
  }

  test('whose author is an object with an address is let through', () => {
    const author = { name: 'A Maintainer', email: 'a@example.org' };
    assert.equal(check('v1.2.0', '1.2.0', changelog, { repository: 'github:owner/name', author }).status, 0);
  });

  for (const [what, tag, version, text, said] of [
    ['under another tag', 'v1.2.1', '1.2.0', changelog, /the tag is v1\.2\.1, package\.json has 1\.2\.0/],
    ['without a tag', '', '1.2.0', changelog, /the tag is ,/],
    [
      'that the changelog does not tell of',
      'v1.3.0',
      '1.3.0',
      changelog,
      /newest section of CHANGELOG\.md is "1\.2\.0 \(/,
    ],
    [
      'with something pending',
      'v1.2.0',
      '1.2.0',
      changelog.replace('## 1.2.0', '## Pending\n\n## 1.2.0'),
      /is pending/,
    ],
    ['without a changelog', 'v1.2.0', '1.2.0', '# Changelog\n', /newest section/],
  ] as const) {
    test(`${what} is refused`, () => {
      const outcome = check(tag, version, text);
      assert.equal(outcome.status, 1);
      assert.match(outcome.text, said);
    });
  }
});

test('every action of the workflows is pinned to a commit, and says which version that is', () => {
  for (const file of workflows) {
    for (const [line, action = ''] of read(file).matchAll(/^ *(?:- )?uses: (\S+).*$/gm)) {
      if (!action.startsWith('./')) assert.match(line, /@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, file);
    }
  }
});

test('the range of @grpc/grpc-js begins behind its known advisories', () => {
  const { peerDependencies } = JSON.parse(read('package.json')) as { peerDependencies: Record<string, string> };
  // GHSA-m9gg-hp2v-232j and GHSA-f596-whhp-79r4 are fixed in 1.14.5.
  const [, minor = 0, patch = 0] =
    /^\^1\.(\d+)\.(\d+)$/.exec(peerDependencies['@grpc/grpc-js'] ?? '')?.map(Number) ?? [];
  assert.ok(minor > 14 || (minor === 14 && patch >= 5));
});
