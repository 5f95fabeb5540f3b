/**
 * Runs TypeScript: `node --import ./test/loader.mjs <file>`, which is how `npm test` and what it starts do it.
 *
 * Each file is transformed by esbuild, as the build does it, and what comes out is kept by its content in
 * `node_modules/.cache`: the tests start hundreds of processes, and each would transform its files anew.
 *
 * It also gives `assert.ok` a message where it has none. Node would make one up from the source, at the line and column
 * that the transformed code has: in a source of one long line it looks for an expression at each column, for minutes.
 */
import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const cache = `${root}node_modules/.cache/discover-test/`;
const target = `node${process.versions.node}`;

// With Node 20 hooks have a thread of their own, which loads this file a second time.
const hooksOnly = '?hooks';
if (!import.meta.url.endsWith(hooksOnly)) {
  process.setSourceMapsEnabled(true);
  explainAssertions();
  if (nodeModule.registerHooks) nodeModule.registerHooks({ load });
  else nodeModule.register(`${import.meta.url}${hooksOnly}`);
}

/** The hook: serves what is in the thread and, as it waits for nothing, what is asked from outside, too. */
export function load(url, context, nextLoad) {
  if (!url.startsWith('file:') || !/\.tsx?(\?|$)/.test(url)) return nextLoad(url, context);
  const file = fileURLToPath(url);
  return { format: 'module', source: transformed(file, readFileSync(file, 'utf8')), shortCircuit: true };
}

function transformed(file, text) {
  // A copy of the source, such as one with a fault planted, is read once.
  if (!file.startsWith(root)) return transform(file, text);
  const place = `${cache}${createHash('sha1').update(`${target}\n${file}\n${text}`).digest('hex')}.js`;
  try {
    return readFileSync(place, 'utf8');
  } catch {
    const code = transform(file, text);
    mkdirSync(cache, { recursive: true });
    // Others may read it at any time.
    const written = `${place}.${process.pid}`;
    writeFileSync(written, code);
    renameSync(written, place);
    return code;
  }
}

function transform(file, text) {
  // Loaded when it is needed: that takes as long as the rest.
  const { transformSync } = nodeModule.createRequire(import.meta.url)('esbuild');
  const options = {
    loader: file.endsWith('x') ? 'tsx' : 'ts',
    format: 'esm',
    target,
    sourcefile: file,
    sourcemap: 'inline',
    sourcesContent: false,
    tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
  };
  return transformSync(text, options).code;
}

function explainAssertions() {
  const { ok } = assert;
  const explained = (...args) => {
    if (args[0] || args.length > 1) return ok(...args);
    throw new assert.AssertionError({
      actual: args[0],
      expected: true,
      operator: '==',
      message: `Not so: ${callerOf(explained)}`,
      stackStartFn: explained,
    });
  };
  for (const one of [assert, assert.strict]) one.ok = explained;
  nodeModule.syncBuiltinESMExports();
}

/** The line of the source that has called the function. */
function callerOf(called) {
  const at = {};
  Error.captureStackTrace(at, called);
  const [, place = '', line = '0'] = /\(?((?:file:)?\/[^\n]*?):(\d+):\d+\)?(?:\n|$)/.exec(at.stack) ?? [];
  try {
    const text = readFileSync(place.startsWith('file:') ? fileURLToPath(place) : place, 'utf8');
    const [first = '', second = ''] = text.split('\n').slice(Number(line) - 1);
    return first.endsWith('(') ? `${first.trim()}${second.trim()}` : first.trim();
  } catch {
    return 'what was asserted';
  }
}
