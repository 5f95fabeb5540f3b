/**
 * The tests under other versions of Node: `npm run test:node -- 24 26`, or without a number all others of CI.
 *
 * Each version comes as a package of npm (`node-<platform>-<architecture>`, where the package `node` gets it
 * from) into a temporary folder, and stands first in PATH: the build, all unit and property tests and a core
 * of the others run with it, or with `--all` every test there is. That their child processes use it as well
 * is not believed but looked at in /proc. Warnings of Node, such as one about something deprecated, end up in
 * a file instead of on somebody's stderr. The status is 1 where a test fails, another node ran or one warned.
 *
 * Linux only. Not run by `npm test`, but by CI for each version that is supported.
 */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parse } from 'yaml';
import { atExit, exitOf, scratchDirectory } from './helpers/run.ts';
import { noteTested, today } from './helpers/tested-versions.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Those of CI, but for the one that runs this. */
function otherVersions(): string[] {
  const workflow = parse(readFileSync(path.join(root, '.github', 'workflows', 'ci.yml'), 'utf8')) as {
    readonly jobs: { readonly gate: { readonly strategy: { readonly matrix: { readonly node: readonly number[] } } } };
  };
  const lines = workflow.jobs.gate.strategy.matrix.node.map(String);
  return lines.filter((line) => line !== process.versions.node.split('.', 1)[0]);
}

const quick = ['unit/*.test.ts', 'property/*.test.ts'];
/** What leans on Node most: processes, signals, threads, streams, sockets, TLS, HTTP/2, and the package as installed. */
const core = [
  ...quick,
  ...['cli', 'commands', 'library', 'walk', 'churn', 'client', 'grpc', 'etcd-tls', 'package'].map(
    (name) => `integration/${name}.integration.test.ts`,
  ),
  ...['event-stream', 'pool-thread', 'client'].map((name) => `fault/${name}.fault.test.ts`),
];
const everything = ['*/*.test.ts'];

const mark = 'TEST_NODE_VERSION';

interface Installed {
  readonly version: string;
  readonly program: string;
  readonly directory: string;
}

/** The newest of that line. Its package has no script to run, only the program. */
function install(line: string): Installed {
  const directory = scratchDirectory('node', os.tmpdir());
  atExit(() => rmSync(directory, { recursive: true, force: true }));
  const name = `node-${process.platform}-${process.arch}`;
  const args = ['install', '--prefix', directory, '--no-save', '--ignore-scripts', '--prefer-offline', '--no-audit'];
  const { status, stderr } = spawnSync('npm', [...args, `${name}@${line}`], { cwd: directory, encoding: 'utf8' });
  if (status !== 0) throw new Error(`npm cannot install ${name}@${line}:\n${stderr}`);
  const program = path.join(directory, 'node_modules', name, 'bin', 'node');
  return { directory, program, version: run(program, ['-p', 'process.versions.node']) };
}

function run(program: string, args: readonly string[], env = process.env): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: root, encoding: 'utf8', env });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`);
  return stdout.trim();
}

/** As after `export PATH=<its folder>:$PATH` in a shell that npm has not started: npm tells its children of its own node. */
function environmentOf({ program, version, directory }: Installed): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('npm_') && name !== 'NODE');
  return {
    ...Object.fromEntries(kept),
    PATH: `${path.dirname(program)}:${process.env.PATH ?? ''}`,
    [mark]: version,
    NODE_REDIRECT_WARNINGS: path.join(directory, 'warnings'),
  };
}

/** Looks again and again which programs the processes of node are that carry the mark. */
function watchProcesses(version: string): { readonly seen: ReadonlyMap<string, string>; stop(): void } {
  const seen = new Map<string, string>();
  const look = (): void => {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const program = readlinkSync(`/proc/${pid}/exe`);
        if (path.basename(program) !== 'node') continue;
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
        if (environment.includes(`${mark}=${version}`)) seen.set(pid, program);
      } catch {
        // It has ended meanwhile, or belongs to somebody else.
      }
    }
  };
  const timer = setInterval(look, 50);
  return { seen, stop: () => clearInterval(timer) };
}

/** Of node:test's last lines, `ℹ pass 12`. */
function totalsOf(output: string): string {
  return [...output.matchAll(/^ℹ (tests|pass|fail|cancelled|skipped|todo) (\d+)$/gm)]
    .map(([, name, count]) => `${count} ${name}`)
    .join(', ');
}

/** What grpc-js does for an endpoint that is an address and no name, and what tests use: neither is ours to change. */
const known = /DEP0123|The MockTimers API/;

function warningsOf(file: string): string[] {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  const warnings = lines.map((line) => line.replace(/^\(node:\d+\) /, ''));
  return [...new Set(warnings)].filter((line) => line !== '' && !line.startsWith('(Use ') && !known.test(line));
}

async function test(installed: Installed, patterns: readonly string[]): Promise<boolean> {
  const { version, program, directory } = installed;
  const env = environmentOf(installed);
  const found = JSON.parse(run('sh', ['-c', 'node -p "JSON.stringify([process.execPath, process.version])"'], env));
  if (found[0] !== program || found[1] !== `v${version}`) throw new Error(`PATH leads to ${found.join(', ')}`);
  const watch = watchProcesses(version);
  const startedAt = performance.now();
  run('npm', ['run', '--silent', 'build'], env);
  const log = path.join(directory, 'log');
  const output = openSync(log, 'w');
  const command = 'exec node --import ./test/loader.mjs --test --test-reporter=spec --test-concurrency=2';
  const files = patterns.map((pattern) => `test/${pattern}`).join(' ');
  const child = spawn('sh', ['-c', `${command} ${files}`], { cwd: root, env, stdio: ['ignore', output, output] });
  closeSync(output);
  const forget = atExit(() => child.kill('SIGTERM'));
  const { code } = await exitOf(child);
  forget();
  watch.stop();

  const text = readFileSync(log, 'utf8');
  const others = [...new Set(watch.seen.values())].filter((one) => one !== program);
  const warnings = warningsOf(env.NODE_REDIRECT_WARNINGS ?? '');
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  if (code !== 0) console.log(text.slice(Math.max(text.lastIndexOf('✖ failing tests'), text.length - 20_000)));
  for (const warning of warnings) console.log(`Node ${version} warns: ${warning}`);
  console.log(`Node ${version}: ${totalsOf(text)}, in ${seconds} s`);
  console.log(
    `  ${watch.seen.size} processes of node seen, ${others.length === 0 ? 'all this one' : `also ${others}`}`,
  );
  const isGood = code === 0 && others.length === 0 && watch.seen.size > 0 && warnings.length === 0;
  const passed = `${/^ℹ pass (\d+)$/m.exec(text)?.[1]} tests${patterns === core ? ', a core' : ''}`;
  if (isGood) noteTested(`Node ${version.split('.', 1)[0]}`, { versions: `Node ${version}`, passed, date: today() });
  return isGood;
}

const { values, positionals } = parseArgs({ options: { all: { type: 'boolean' } }, allowPositionals: true });
for (const version of positionals.length > 0 ? positionals : otherVersions()) {
  const isGood = await test(install(version), values.all ? everything : core);
  if (!isGood) process.exitCode = 1;
}
