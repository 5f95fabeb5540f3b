/**
 * Builds `dist`, which is what runs and what is published: `npm run build`. The compiler has put the types there.
 *
 * The code is bundled with dockerode, etcd3, mnemonist, yargs and zod. Read file by file the first two and zod make a start 0.14 s longer
 * (of 0.46 s), and they bring packages along that want to run scripts when they are installed. Of mnemonist little but the queue is
 * taken along (2 ms of CPU more than the queue alone); read file by file, as a whole, it takes some 50 ms. What loads files or threads
 * of its own (piscina, pino), or is seldom needed, stays a dependency.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { common, forNode, licencesOf, root } from './bundle.mjs';

const inDist = (name) => path.join(root, 'dist', name);

const code = await build({
  ...forNode,
  entryPoints: {
    cli: 'src/start.ts',
    index: 'src/index.ts',
    worker: 'src/inspect/worker.ts',
    demo: 'bench/demo.ts',
    'client/index': 'src/client/index.ts',
    'client/grpc': 'src/client/grpc.ts',
  },
  outdir: 'dist',
  sourcemap: true,
  // They lie beside it; and coverage would have the whole source written once for each process of the tests.
  sourcesContent: false,
  external: ['piscina', 'pino', 'pino-pretty', 'prom-client', '@aws-sdk/client-ec2'],
});
const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const page = await build({
  ...common,
  entryPoints: ['page.tsx', 'worker.ts', 'page.css', 'index.html'].map((name) => `src/page/${name}`),
  outdir: 'dist/page',
  minify: true,
  define: { pageVersion: JSON.stringify(version) },
  loader: { '.html': 'copy' },
});
const isOld = (file) => /\.js(\.map)?$/.test(file) && !(`dist/${file}` in code.metafile.outputs);
for (const file of readdirSync(inDist('.'), { recursive: true })) {
  if (isOld(file) && !file.startsWith('page/')) rmSync(inDist(file));
}
writeFileSync(inDist('LICENSES'), licencesOf({ ...code.metafile.inputs, ...page.metafile.inputs }));
writeFileSync(inDist('config.schema.json'), execFileSync(process.execPath, [inDist('cli.js'), 'config', '--schema']));
try {
  const revision = execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  writeFileSync(inDist('revision'), revision);
} catch {
  copyFileSync('/dev/null', inDist('revision')); // not a checkout
}
