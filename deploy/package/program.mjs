/**
 * The program as a single file for Linux: Node with our code in it, which runs where no Node is installed.
 *
 * It is Node's own form for that, a single executable application. A file that unpacks itself at each start was the alternative: it
 * needs a folder to write to, which a service with a read-only root does not have, and leaves copies behind. `discover reap` finds the
 * SDK for EC2 inside.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { forNode, licencesOf, replaceIn, root } from '../../src/bundle.mjs';
import { withBlob } from './elf.mjs';
import { fetchNode } from './node.mjs';

/** The pool's threads begin with a text of `start.cjs` in the place of a file. */
const threads = {
  name: 'threads',
  setup({ onLoad, onResolve }) {
    const beside = "(0, node_path_1.resolve)(__dirname, 'worker.js')";
    replaceIn(onLoad, /piscina\/dist\/index\.js$/, [[beside, () => 'globalThis.discoverThread']]);
    // Machine code, for the priority of threads, which the pool does not set.
    onResolve({ filter: /^@napi-rs\/nice$/ }, () => ({ path: 'nice', namespace: 'unused' }));
    onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'module.exports = {}' }));
    // Its modules: of its other form a lazy import finds no names.
    const sdk = path.join(root, 'node_modules/@aws-sdk/client-ec2/dist-es/index.js');
    onResolve({ filter: /^@aws-sdk\/client-ec2$/ }, () => ({ path: sdk }));
  },
};

/** What the program has inside, by its path in the package; `dist` has been built. */
async function assetsOf() {
  const { outputFiles, metafile } = await build({
    ...forNode,
    target: 'node24',
    entryPoints: {
      cli: 'src/cli.ts',
      worker: 'src/inspect/worker.ts',
      demo: 'bench/demo.ts',
      thread: 'node_modules/piscina/dist/worker.js',
      texts: 'deploy/package/texts.mjs',
    },
    outdir: 'dist',
    write: false,
    plugins: [threads, ...forNode.plugins],
  });
  const assets = new Map(outputFiles.map((file) => [path.relative(root, file.path), file.contents]));
  const page = readdirSync(path.join(root, 'dist/page')).map((name) => `dist/page/${name}`);
  for (const file of ['package.json', 'dist/revision', ...page]) assets.set(file, readFileSync(path.join(root, file)));
  return { assets, licences: licencesOf(metafile.inputs) };
}

/** What the code says, run from a folder. */
async function textsOf(assets) {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'discover-texts-'));
  try {
    mkdirSync(path.join(scratch, 'dist'));
    for (const [name, content] of assets) {
      if (!name.startsWith('dist/page/')) writeFileSync(path.join(scratch, name), content);
    }
    const { helps, completion } = await import(pathToFileURL(path.join(scratch, 'dist/texts.js')).href);
    return { helps: await helps(), bash: await completion('bash'), zsh: await completion('zsh') };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Our code in the form that a Node of this version reads, made by that Node. It is the same for every architecture. */
function blobOf(assets) {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'discover-blob-'));
  try {
    const files = [...assets].map(([name, content], index) => {
      const file = path.join(scratch, String(index));
      writeFileSync(file, content);
      return [name, file];
    });
    const output = path.join(scratch, 'blob');
    const config = path.join(scratch, 'config.json');
    const main = path.join(import.meta.dirname, 'start.cjs');
    const rest = { disableExperimentalSEAWarning: true, useCodeCache: false, useSnapshot: false };
    writeFileSync(config, JSON.stringify({ main, output, assets: Object.fromEntries(files), ...rest }));
    const node = path.join(fetchNode(process.arch), 'bin/node');
    execFileSync(node, ['--experimental-sea-config', config], { stdio: 'pipe' });
    return readFileSync(output);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Makes what is the same for all architectures, and gives a function that writes the program for one of them. */
export async function prepare() {
  const { assets, licences } = await assetsOf();
  const texts = await textsOf(assets);
  const blob = blobOf(assets);
  return {
    texts,
    licencesFor: (arch) =>
      `${licences}\n${'-'.repeat(80)}\n\n${readFileSync(path.join(fetchNode(arch), 'LICENSE'), 'utf8')}`,
    writeProgram(arch, file) {
      mkdirSync(path.dirname(file), { recursive: true });
      const node = readFileSync(path.join(fetchNode(arch), 'bin/node'));
      rmSync(file, { force: true }); // one that runs keeps its own
      writeFileSync(file, withBlob(node, blob), { mode: 0o755 });
    },
  };
}
