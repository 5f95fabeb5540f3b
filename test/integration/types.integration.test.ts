/** The types of the package as it is built: they reach no file of the inside, and no package that npm would not install. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly types: string }>>;
  readonly dependencies: object;
  readonly peerDependencies: object;
}

const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Manifest;
const declared = new Set(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }));

/** What is promised by version: the entries, and the files that hold nothing but what they export. */
const open = [
  'client/catalogue.d.ts',
  'client/client.d.ts',
  'client/feed.d.ts',
  'client/grpc.d.ts',
  'client/http.d.ts',
  'client/index.d.ts',
  'client/options.d.ts',
  'client/query.d.ts',
  'client/services.d.ts',
  'config/file-options.d.ts',
  'errors.d.ts',
  // The options of etcd, which agent and client share.
  'etcd/access.d.ts',
  'index.d.ts',
  'layout/instance.d.ts',
  'layout/meta.d.ts',
];

test('the types of the package reach no file of the inside and no package that is not declared', () => {
  const files = new Set<string>();
  const packages = new Set<string>();
  const visit = (file: string): void => {
    if (files.has(file)) return;
    files.add(file);
    const text = readFileSync(file, 'utf8');
    for (const [, one, other] of text.matchAll(/(?:from |import\()'([^']+)'|^import '([^']+)'/gm)) {
      const specifier = one ?? other ?? '';
      if (specifier.startsWith('.')) visit(path.resolve(path.dirname(file), specifier.replace(/\.[jt]s$/, '.d.ts')));
      else if (!specifier.startsWith('node:')) packages.add(/^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? '');
    }
  };
  for (const entry of Object.values(manifest.exports)) {
    if (typeof entry === 'string') continue;
    const file = path.join(root, entry.types);
    assert.ok(existsSync(file), `${entry.types} is missing: npm run build`);
    visit(file);
  }
  const inside = [...files]
    .map((file) => path.relative(path.join(root, 'dist'), file))
    .filter((file) => !open.includes(file));
  assert.deepEqual(inside, [], 'Files of the inside');
  assert.deepEqual(
    [...packages].filter((name) => !declared.has(name)),
    [],
    'Packages that are not declared',
  );
});
