/**
 * Builds `dist`, which is what runs and what is published: `npm run build`. The compiler has put the types there.
 *
 * The code is bundled with dockerode, etcd3, mnemonist, yargs and zod. Read file by file the first two and zod make a start 0.14 s longer
 * (of 0.46 s), and they bring packages along that want to run scripts when they are installed. Of mnemonist little but the queue is
 * taken along (2 ms of CPU more than the queue alone); read file by file, as a whole, it takes some 50 ms. What loads files or threads
 * of its own (piscina, pino), or is seldom needed, stays a dependency.
 *
 * Three things of packages are changed on the way. Each says what for, where upstream knows of it, and what makes it unnecessary; a
 * build fails once a package no longer has the place. Run from the source they are not changed: a start is
 * slower, and an etcd that is addressed by IP over TLS earns a warning, from Node 26 on an error.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const inDist = (name) => path.join(root, 'dist', name);

const common = { absWorkingDir: root, bundle: true, target: 'es2022', metafile: true, logLevel: 'warning' };

/** What bundled packages would look for beside their own files, or would load for what is never asked of them. */
const packages = {
  name: 'packages',
  setup({ onLoad, onResolve }) {
    // docker-modem 5.0.7 loads ssh2 (0.7 MB) for ssh:// alone, which is refused. No issue upstream; of no use once it loads ssh2
    // when it is asked for.
    onResolve({ filter: /^ssh2$/ }, () => ({ path: 'ssh2', namespace: 'absent' }));
    onLoad({ filter: /.*/, namespace: 'absent' }, () => ({ contents: 'module.exports = {}' }));
    // yargs aligns help by it, and our help is plain text: its Unicode tables are half of what yargs adds to a start.
    onResolve({ filter: /^string-width$/ }, () => ({ path: 'string-width', namespace: 'plain' }));
    onLoad({ filter: /.*/, namespace: 'plain' }, () => ({ contents: 'export default (text) => text.length' }));
    // A program must register its resolver with the same copy of the package that its channels use.
    onResolve({ filter: /^@grpc\/grpc-js$/ }, ({ importer }) =>
      importer === path.join(root, 'src/client/grpc.ts') ? { path: '@grpc/grpc-js', external: true } : undefined,
    );
    // etcd3 1.1.2 reads its .proto files at each start, from beside its own code: microsoft/etcd3#179, closed as meant so. They are read
    // now. Of no use once a release of etcd3 brings them as JSON or code.
    const read = '(0, proto_loader_1.loadSync)(`$' + '{__dirname}/../proto/rpc.proto`,';
    replaceIn(/etcd3\/lib\/connection-pool\.js$/, read, (file) => {
      return `(0, proto_loader_1.fromJSON)(${JSON.stringify(protocolOf(file))},`;
    });
    // grpc-js 1.14.7 asks for an address by TLS, which cannot be: Node warned of the attempt until 26, which refuses it.
    // grpc/grpc-node#1919, open. The certificate is checked for the address all the same. Of no use once grpc-js leaves it out.
    const asked = 'connectionOptions.servername = remoteHost;';
    replaceIn(/grpc-js\/build\/src\/channel-credentials\.js$/, asked, () => {
      return `if (require('node:net').isIP(remoteHost) === 0) ${asked}`;
    });

    function replaceIn(filter, from, to) {
      onLoad({ filter }, ({ path: file }) => {
        const parts = readFileSync(file, 'utf8').split(from);
        if (parts.length !== 2) throw new Error(`${file} does not have this once, see src/build.mjs: ${from}`);
        return { contents: parts.join(to(file)) };
      });
    }
  },
};

function protocolOf(file) {
  const fromLoader = createRequire(createRequire(file).resolve('@grpc/proto-loader'));
  const { Root } = fromLoader('protobufjs');
  return new Root().loadSync(path.join(file, '../../proto/rpc.proto'), { keepCase: true }).toJSON();
}

function licencesOf(inputs) {
  const folders = Object.keys(inputs).flatMap((file) => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []);
  const texts = [...new Set(folders)].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(path.join(root, folder, 'package.json'), 'utf8'));
    const file = readdirSync(path.join(root, folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? '' : readFileSync(path.join(root, folder, file), 'utf8').trim();
    return `${name} ${version}, ${license}\n\n${text}`.trim();
  });
  return `Parts of this program are other packages.\n\n${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

const code = await build({
  ...common,
  entryPoints: {
    cli: 'src/cli.ts',
    index: 'src/index.ts',
    worker: 'src/inspect/worker.ts',
    demo: 'bench/demo.ts',
    'client/index': 'src/client/index.ts',
    'client/grpc': 'src/client/grpc.ts',
  },
  outdir: 'dist',
  platform: 'node',
  format: 'esm',
  splitting: true,
  // Beside the entries, because code asks for what lies beside it.
  chunkNames: '[name]-[hash]',
  sourcemap: true,
  // They lie beside it; and coverage would have the whole source written once for each process of the tests.
  sourcesContent: false,
  external: ['piscina', 'pino', 'pino-pretty', 'prom-client', '@aws-sdk/client-ec2'],
  banner: {
    js: 'import { createRequire as r$ } from "node:module"; const require = r$(import.meta.url ?? __filename);',
  },
  define: { __dirname: 'import.meta.dirname' },
  plugins: [packages],
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
