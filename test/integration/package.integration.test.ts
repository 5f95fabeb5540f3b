/**
 * The package as npm would publish it: packed, installed into an empty folder with nothing but what it depends
 * on there, and used from there by a shell, a program, a compiler and as an agent. It was built before, like
 * everything that these tests run; installing asks the registry only for what npm's cache lacks.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { forkEngine } from '../../bench/engine/client.ts';
import { runProgram, startGreeter, startHttp, startNginx, writeProgram } from '../helpers/client-programs.ts';
import { startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromEngine, startHost } from '../helpers/host.ts';
import { cleanEnvironment, needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly engines: Readonly<Record<'node', string>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
}

const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Manifest;

/** What only the repository has: sources, tests, maps. */
const published =
  /^(dist\/(?!.*\.map$).*|package\.json|README\.md|LICENSE|CHANGELOG\.md|config\.example\.json|deploy\/.*|(\.github|bench|src|test)\/.*\.md)$/;

const program = `
import { readFileSync } from 'node:fs';
import { startAgent, DiscoverError } from 'docker-discover';
import { DiscoverClient } from 'docker-discover/client';
import { registerDiscoverResolver } from 'docker-discover/grpc';
import schema from 'docker-discover/config.schema.json' with { type: 'json' };
const inner = await import('docker-discover/dist/agent.js').catch(({ code }) => code);
const refused = await startAgent({ etcd: { ttl: 0 } }).catch(({ code }) => code);
const client = new DiscoverClient({ endpoints: ['127.0.0.1:1'] });
registerDiscoverResolver(client);
await client.close();
console.log(JSON.stringify([typeof DiscoverError, Object.keys(schema.properties).sort(), inner, refused]));
`;

/** A consumer who wants to know everything of the types, and also checks what they are declared with. */
const consumer = `
import { type Agent, type AgentEvents, DiscoverError, type ErrorCode, type Log, type Options, type Publication, startAgent } from 'docker-discover';
import { type ClientOptions, type Difference, DiscoverClient, type Instance, type Query, type Selector, type Stale, type Update } from 'docker-discover/client';
import { registerDiscoverResolver } from 'docker-discover/grpc';

const etcd = { endpoints: ['etcd-1:2379'], tls: { ca: '/etc/ca.pem' }, username: 'reader', passwordFile: '/run/secret' };
const options: Options = { etcd, host: { id: 'h1', ip: '10.0.0.5' } };
export const agent: Agent = await startAgent(options);
agent.on('publish', ({ id, services }: Publication) => console.log(id.length, Object.keys(services)));
export const ended: DiscoverError | undefined = await agent.ended;
export const code: ErrorCode | undefined = ended?.code;

const access: ClientOptions = etcd;
export const client = new DiscoverClient(access);
registerDiscoverResolver(client);
const question: Query = { realm: 'production', signal: AbortSignal.timeout(1) };
export const one: Instance | undefined = await client.pick('web', question);
for await (const { instances, added } of client.watch('web', question)) console.log(instances.length, added.length);
export const stale: Stale | undefined = client.stale;
export type Rest = [AgentEvents, Difference, Log, Selector, Update];

// @ts-expect-error: there is no such option
startAgent({ etcd: { hots: 'a' } });
// @ts-expect-error: an instance has no such field
one?.hostname;
`;

/** In CommonJS, as it is and as a bundle. */
const commonJs = `
const { DiscoverClient } = require('docker-discover/client');
const client = new DiscoverClient({ endpoints: ['127.0.0.1:1'] });
client.close().then(() => console.log('closed'));
`;

const compilerOptions = {
  target: 'es2022',
  module: 'nodenext',
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  skipLibCheck: false,
  noEmit: true,
  types: ['node'],
};

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

const medianOf = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

describe('the package, installed in an empty folder,', { skip: needs('npm', 'etcd', 'etcdctl') }, () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'dsc-package-'));
  const app = path.join(folder, 'app');
  const bin = path.join(app, 'node_modules', '.bin', 'discover');
  let packed: Packed;
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** As from a shell of a user's: what npm tells its children of this project is none of theirs. */
  const run = async (command: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> => {
    const env = Object.entries(cleanEnvironment()).filter(([name]) => !/^npm_/.test(name));
    return promisify(execFile)(command, args, { cwd: app, env: Object.fromEntries(env), maxBuffer: 1 << 26 });
  };

  const install = (what: string) =>
    run('npm', 'install', '--omit=dev', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', what);

  before(async () => {
    mkdirSync(app);
    // Not its scripts: packing would build again, under the feet of the tests beside this one.
    const { stdout } = await run('npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', folder, root);
    packed = (JSON.parse(stdout) as Packed[])[0] as Packed;
    writeFileSync(path.join(app, 'package.json'), '{"private":true,"type":"module"}');
    await install(path.join(folder, packed.filename));
  });

  test('has documents with links to files that it has, except for pictures', async () => {
    const own = path.join(app, 'node_modules', manifest.name);
    const documents = packed.files.map((file) => file.path).filter((file) => file.endsWith('.md'));
    const links = documents.flatMap((document) =>
      [...readFileSync(path.join(own, document), 'utf8').matchAll(/(?<!!\[[^\]]*)\]\(([^)\s#]+)/g)]
        .map(([, target = '']) => target)
        .filter((target) => !/^[a-z]+:/.test(target))
        .map((target) => ({ document, target, file: path.join(own, path.dirname(document), target) })),
    );
    assert.ok(documents.length > 30 && links.length > 100, `${links.length} links in ${documents.length} documents`);
    assert.deepEqual(
      links.filter(({ file }) => !existsSync(file)),
      [],
    );
  });

  test('has all that its package.json names, and nothing of the repository beside', () => {
    const files = packed.files.map((file) => file.path);
    assert.deepEqual(
      files.filter((file) => !published.test(file)),
      [],
    );
    const targets = Object.values(manifest.exports).flatMap((target) =>
      typeof target === 'string' ? [target] : Object.values(target),
    );
    for (const target of [...targets, ...Object.values(manifest.bin)]) {
      assert.ok(files.includes(path.posix.normalize(target)), `${target} is not in the package`);
    }
    // What an earlier build has left in dist would be published as well.
    const code = files.filter((file) => /^dist\/(?!page\/).*\.js$/.test(file));
    const texts = code.map((file) => readFileSync(path.join(root, file), 'utf8'));
    const orphans = files.filter((file) => {
      const isNamed = () => targets.includes(`./${file}`) || texts.some((text) => text.includes(path.basename(file)));
      if (code.includes(file)) return file !== manifest.bin.discover && !isNamed();
      return (
        /^dist\/.*\.d\.ts$/.test(file) && !existsSync(path.join(root, file.replace(/^dist(.*)\.d\.ts$/, 'src$1.ts')))
      );
    });
    assert.deepEqual(orphans, [], 'Built from a source that is gone: remove dist and build');
  });

  test('answers npx discover --version and discover config, and says nothing else', async () => {
    const asked = await run('npx', '--no-install', 'discover', '--version');
    assert.equal(asked.stdout, `${manifest.version}\n`);
    assert.equal(asked.stderr.replaceAll(/^npm .*\n/gm, ''), ''); // npm may have something to say about its own settings
    const { stdout, stderr } = await run(bin, 'config', '--host:ip', '10.0.0.5');
    assert.match(stdout, /^host\.ip +10\.0\.0\.5 +command line$/m);
    assert.equal(stderr, '');
  });

  test('says on an older Node which one it needs, before it loads what only a newer one has', async () => {
    const file = path.join(app, 'node_modules', manifest.name, manifest.bin.discover ?? '');
    const imported = [...readFileSync(file, 'utf8').matchAll(/^import .*from "(.*)";/gm)].map(([, name]) => name);
    assert.deepEqual(imported, ['node:module']);
    const [needed = ''] = /[\d.]+/.exec(manifest.engines.node) ?? [];
    const [major, minor] = needed.split('.').map(Number);
    const pretending = (version: string) =>
      run(process.execPath, '--import', `data:text/javascript,process={...process,versions:{node:'${version}'}}`, file);
    const older = pretending(`${major}.${Number(minor) - 1}.0`);
    const said = `discover: Node ${needed} or newer is needed, this is ${major}.${Number(minor) - 1}.0. `;
    await assert.rejects(older, ({ code, stderr }: { code: number; stderr: string }) => {
      assert.equal(code, 78);
      assert.ok(stderr.startsWith(said), stderr);
      return true;
    });
  });

  test('brings no package along that asks to run a script when it is installed', () => {
    const text = readFileSync(path.join(app, 'node_modules', '.package-lock.json'), 'utf8');
    const { packages } = JSON.parse(text) as { packages: Record<string, { readonly hasInstallScript?: boolean }> };
    const asking = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript);
    assert.deepEqual(asking, []);
    const licences = readFileSync(path.join(app, 'node_modules', manifest.name, 'dist', 'LICENSES'), 'utf8');
    for (const name of ['dockerode', 'etcd3', 'yargs', 'zod', 'preact'])
      assert.match(licences, new RegExp(`^${name} \\d.*\\n\\n\\S`, 'm'));
  });

  test('is of this size and starts in this time', async (t) => {
    const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 0)} MB`;
    const modules = path.join(app, 'node_modules');
    const entries = await readdir(modules, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.'));
    const installed = files.reduce((sum, { parentPath, name }) => sum + statSync(path.join(parentPath, name)).size, 0);
    const packages = Object.keys(
      (JSON.parse(readFileSync(path.join(modules, '.package-lock.json'), 'utf8')) as { packages: object }).packages,
    ).length;
    t.diagnostic(
      `${mb(packed.size)} to fetch, ${mb(packed.unpackedSize)} unpacked, ${mb(installed)} with ${packages - 1} dependencies`,
    );
    // In turn, so that what else the machine does befalls all of them.
    const commands = {
      'node -e 0': ['-e', '0'],
      'discover --version': [bin, '--version'],
      'discover config': [bin, 'config', '--host:ip', '10.0.0.5'],
    };
    const times = new Map<string, number[]>(Object.keys(commands).map((name) => [name, []]));
    for (let round = 0; round < amount(1, 5); round++) {
      for (const [name, args] of Object.entries(commands)) {
        const startedAt = performance.now();
        await run(process.execPath, ...args);
        times.get(name)?.push(performance.now() - startedAt);
      }
    }
    const bare = medianOf(times.get('node -e 0') ?? []);
    for (const [name, all] of times) {
      t.diagnostic(`${name}: ${medianOf(all).toFixed(0)} ms, x${(medianOf(all) / bare).toFixed(1)}`);
    }
  });

  test('is imported by a program under the names that README.md has, and under no other', async () => {
    // An optional peer, for those to bring who use it.
    const peer = readFileSync(path.join(root, 'node_modules/@grpc/grpc-js/package.json'), 'utf8');
    await install(`@grpc/grpc-js@${(JSON.parse(peer) as { version: string }).version}`);
    writeFileSync(path.join(app, 'program.js'), program);
    const { stdout, stderr } = await run(process.execPath, 'program.js');
    const [error, properties, inner, refused] = JSON.parse(stdout) as [string, string[], string, string];
    assert.equal(error, 'function');
    for (const name of ['discover', 'docker', 'etcd', 'host']) assert.ok(properties.includes(name), name);
    assert.equal(inner, 'ERR_PACKAGE_PATH_NOT_EXPORTED');
    assert.equal(refused, 'CONFIG_INVALID');
    // Of Node 20, about importing JSON.
    assert.equal(stderr.replaceAll(/^.*(ExperimentalWarning: Import|--trace-warnings).*\n/gm, ''), '');
  });

  test('is loaded by a program in CommonJS, as it is and as a bundle', async () => {
    writeFileSync(path.join(app, 'program.cjs'), commonJs);
    assert.equal((await run('node', 'program.cjs')).stdout, 'closed\n');
    const bundle = path.join(app, 'bundle.cjs');
    await build({
      ...{ entryPoints: [path.join(app, 'program.cjs')], outfile: bundle, absWorkingDir: app },
      ...{
        bundle: true,
        platform: 'node',
        format: 'cjs',
        logLevel: 'error',
        logOverride: { 'empty-import-meta': 'silent' },
      },
    });
    assert.equal((await run('node', bundle)).stdout, 'closed\n');
  });

  test('has types that the strictest of compilers takes, without a package beside but those of Node', async () => {
    // The only thing a program in TypeScript brings itself; and with the folder that its own dependency is found from.
    mkdirSync(path.join(app, 'node_modules', '@types'), { recursive: true });
    const types = path.join(app, 'node_modules', '@types', 'node');
    if (!existsSync(types)) symlinkSync(path.join(root, 'node_modules', '@types', 'node'), types);
    writeFileSync(path.join(app, 'consumer.ts'), consumer);
    writeFileSync(path.join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
    const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    await run(process.execPath, tsc, '-p', '.').catch(({ stdout }: { stdout: string }) => assert.fail(stdout));
  });

  test('runs the three programs of src/client/README.md as they are printed (real nginx, real gRPC server, real etcd)', {
    skip: needs('nginx'),
  }, async () => {
    await using etcd = await startEtcd();
    await using one = await startHttp('one');
    await using two = await startHttp('two');
    const keyOf = (name: string, at: number): string => `/discover/service/${name}/default/h1/00000000000${at}`;
    const put = (name: string, ...ports: readonly number[]): Promise<void> =>
      etcd.put(new Map(ports.map((port, at) => [keyOf(name, at), `tcp://127.0.0.1:${port}`])));
    const endpoint = { 'etcd-1:2379': etcd.endpoint };
    const answersOf = async (port: number, init: RequestInit = {}): Promise<string[]> => {
      const ask = async () => (await fetch(`http://127.0.0.1:${port}/a?b=c`, init)).text();
      return [...new Set(await Promise.all(Array.from({ length: 12 }, ask)))].sort();
    };
    await put('web', one.port, two.port, await freePort());

    const [port, nginxPort] = [await freePort(), await freePort()];
    await using _balancer = runProgram(app, writeProgram(app, 'balancer.js', { ...endpoint, '8080': String(port) }));
    const posted = { method: 'POST', body: 'text' };
    await eventually(async () =>
      assert.deepEqual(await answersOf(port, posted), ['one POST /a?b=c text', 'two POST /a?b=c text']),
    );

    writeProgram(app, 'greeter.proto');
    await using greeter = await startGreeter(path.join(app, 'greeter.proto'));
    await put('greeter', greeter.port);
    await using greeting = runProgram(app, writeProgram(app, 'greet.js', endpoint));
    assert.equal(await greeting.said, 'Hello you\n');

    await using nginx = startNginx(app, nginxPort);
    await using _upstream = runProgram(
      app,
      writeProgram(app, 'upstream.js', {
        ...endpoint,
        '/etc/nginx/conf.d/web.conf': nginx.upstream,
        "'-s', 'reload'": `'-c', '${nginx.configuration}', '-s', 'reload'`,
      }),
    );
    await eventually(async () => assert.deepEqual(await answersOf(nginxPort), ['one GET /a?b=c ', 'two GET /a?b=c ']));
    // Both follow an instance that goes.
    await etcd.ctl('del', keyOf('web', 0));
    for (const at of [port, nginxPort])
      await eventually(async () => assert.deepEqual(await answersOf(at), ['two GET /a?b=c ']));
  });

  test('runs as an agent and publishes (simulated engine, real etcd)', async (t) => {
    await using engine = await forkEngine({ containers: 3 });
    const options = { script: bin, cwd: app };
    await using host = await startHost({ source: fromEngine(engine), run: options, idle: true });
    const times: number[] = [];
    const rounds = amount(1, 3);
    for (let round = 1; round <= rounds; round++) {
      const startedAt = Date.now();
      const discover = await host.launch();
      const { time } = await discover.waitForLog((line) => line.msg === 'started');
      times.push(Date.parse(String(time)) - startedAt);
      await host.converged();
      if (round < rounds) await host.terminate();
    }
    t.diagnostic(`discover, until it has listed what runs and writes for its host: ${medianOf(times).toFixed(0)} ms`);
    await engine.run([{ env: ['DISCOVER=web:8080'], ports: [{ container: '8080/tcp' }] }]);
    await host.converged();
    assert.equal((await host.terminate()).code, 0);
  });
});
