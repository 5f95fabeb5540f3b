/**
 * The bundler's settings for our code and the packages in it: for `dist` (`build.mjs`), and for the program that is a single file
 * (`deploy/package`).
 *
 * Four things of packages are changed on the way. Each says what for, where upstream knows of it, and what makes it unnecessary; a
 * build fails once a package no longer has the place. Run from the source they are not changed: a start is
 * slower, and an etcd that is addressed by IP over TLS earns a warning, from Node 26 on an error.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const common = { absWorkingDir: root, bundle: true, target: 'es2022', metafile: true, logLevel: 'warning' };

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
    replaceIn(onLoad, /etcd3\/lib\/connection-pool\.js$/, [
      [read, (file) => `(0, proto_loader_1.fromJSON)(${JSON.stringify(protocolOf(file))},`],
    ]);
    // proto-loader 0.7 and 0.8 describe each message for reflection, which nothing here asks for: a tenth of a start's CPU. No issue
    // upstream; grpc/grpc-node#2595 is about the same descriptions. Of no use once proto-loader makes them when they are asked for.
    const described = `const messageDescriptor = message.toDescriptor('proto3');
    return {
        format: 'Protocol Buffer 3 DescriptorProto',
        type: messageDescriptor.$type.toObject(messageDescriptor, descriptorOptions),`;
    replaceIn(onLoad, /@grpc\/proto-loader\/build\/src\/index\.js$/, [
      [described, () => `return { format: 'Protocol Buffer 3 DescriptorProto', type: {},`],
      [`root.toDescriptor('proto3').file`, () => '[]'],
    ]);
    // grpc-js 1.14.7 asks for an address by TLS, which cannot be: Node warned of the attempt until 26, which refuses it.
    // grpc/grpc-node#1919, open. The certificate is checked for the address all the same. Of no use once grpc-js leaves it out.
    const asked = 'connectionOptions.servername = remoteHost;';
    replaceIn(onLoad, /grpc-js\/build\/src\/channel-credentials\.js$/, [
      [asked, () => `if (require('node:net').isIP(remoteHost) === 0) ${asked}`],
    ]);
  },
};

/** Loads a file with other texts in some places. */
export function replaceIn(onLoad, filter, places) {
  onLoad({ filter }, ({ path: file }) => {
    let contents = readFileSync(file, 'utf8');
    for (const [from, to] of places) {
      const parts = contents.split(from);
      if (parts.length !== 2) throw new Error(`${file} does not have this once, see src/bundle.mjs: ${from}`);
      contents = parts.join(to(file));
    }
    return { contents };
  });
}

function protocolOf(file) {
  const fromLoader = createRequire(createRequire(file).resolve('@grpc/proto-loader'));
  const { Root } = fromLoader('protobufjs');
  return new Root().loadSync(path.join(file, '../../proto/rpc.proto'), { keepCase: true }).toJSON();
}

export function licencesOf(inputs) {
  const folders = Object.keys(inputs).flatMap((file) => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []);
  const texts = [...new Set(folders)].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(path.join(root, folder, 'package.json'), 'utf8'));
    const file = readdirSync(path.join(root, folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? '' : readFileSync(path.join(root, folder, file), 'utf8').trim();
    return `${name} ${version}, ${license}\n\n${text}`.trim();
  });
  return `Parts of this program are other packages.\n\n${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

/** The code for Node. Its chunks lie beside the entries, because code asks for what lies beside it. */
export const forNode = {
  ...common,
  platform: 'node',
  format: 'esm',
  splitting: true,
  chunkNames: '[name]-[hash]',
  banner: {
    js: 'import { createRequire as r$ } from "node:module"; const require = r$(import.meta.url ?? __filename);',
  },
  define: { __dirname: 'import.meta.dirname' },
  plugins: [packages],
};
