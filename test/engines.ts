/**
 * The tests with the engines and the etcd of Debian's next release: `npm run test:engines`.
 *
 * `debootstrap` makes a root of that release once, in `~/.cache/discover-test`: dockerd 26.1, etcd 3.5 and Podman 5.4.
 * The tests run inside it, with the Node and the files of this machine, in a mount namespace that ends with them. What
 * is at hand on this machine, dockerd 20.10, etcd 3.4 and Podman 4.3, is in every `npm test`; `--here` runs the same
 * files with it. `--file <name>` runs one file alone.
 *
 * A file that has passed is not run again until something in `src`, `test` or `bench` changes: a run that was ended goes
 * on where it was. As root on Debian or Ubuntu; elsewhere it says what it needs.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { exitOf, findCommand } from './helpers/run.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const release = 'trixie';
const cache = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'discover-test');
const guest = path.join(cache, release);

/** What the tests below use; the rest of the machine's parts are not of an engine or an etcd. */
const packages = [
  ...['docker.io', 'docker-cli', 'etcd-server', 'etcd-client', 'podman', 'netavark', 'aardvark-dns', 'crun'],
  ...['busybox-static', 'iptables', 'nftables', 'iproute2', 'openssl', 'curl', 'procps', 'mount', 'util-linux'],
  ...['rootlesskit', 'slirp4netns', 'uidmap', 'libstdc++6', 'libatomic1', 'ca-certificates'],
];

/** The files that lean on an engine or on etcd. */
const files = [
  ...[
    'walk',
    'churn',
    'podman',
    'swarm',
    'rootless',
    'views',
    'client',
    'etcd-auth',
    'etcd-tls',
    'commands',
    'why',
  ].map((name) => `integration/${name}.integration.test.ts`),
  ...['container-lives', 'docker-away', 'discover-restarted', 'etcd-away', 'etcd-leader', 'etcd-full', 'client'].map(
    (name) => `fault/${name}.fault.test.ts`,
  ),
];

function fail(text: string): never {
  console.error(text);
  process.exit(1);
}

function makeGuest(): void {
  const isReady = path.join(guest, '.ready');
  const wanted = packages.join(' ');
  if (existsSync(isReady) && readFileSync(isReady, 'utf8') === wanted) return;
  if (findCommand('debootstrap') === undefined || process.getuid?.() !== 0) {
    fail('A root of the next release is made by debootstrap, as root: apt-get install -y debootstrap');
  }
  console.error(`Making a root of Debian ${release} in ${guest}; it takes some minutes and 1 GB`);
  rmSync(guest, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  const args = ['--variant=minbase', `--include=${packages.join()}`, release, guest];
  const { status } = spawnSync(findCommand('debootstrap') ?? '', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0) fail(`debootstrap has ended with ${status}`);
  writeFileSync(isReady, wanted);
}

/** Runs in a mount namespace of its own, so that nothing is left mounted, whatever ends it. */
const enter = `
set -e
guest=$1; root=$2; node=$3; shift 3
mount --bind "$guest" "$guest"
for dir in proc sys dev; do mount --rbind "/$dir" "$guest/$dir"; done
mount -t tmpfs tmpfs "$guest/run"
mkdir -p "$guest$root" && mount --bind "$root" "$guest$root"
touch "$guest/usr/local/bin/node" && mount --bind "$node" "$guest/usr/local/bin/node"
cp /etc/hosts /etc/resolv.conf "$guest/etc/"
exec chroot "$guest" /usr/bin/env -C "$root" "$@"
`;

function commandFor(isGuest: boolean, args: readonly string[]): readonly [program: string, args: readonly string[]] {
  if (!isGuest) return [process.execPath, args];
  const inner = [guest, root.replace(/\/$/, ''), process.execPath, '/usr/local/bin/node', ...args];
  return ['unshare', ['--mount', '--propagation', 'private', 'sh', '-c', enter, 'enter', ...inner]];
}

function versionsOf(isGuest: boolean): string {
  const script = `
    const { spawnSync } = require('node:child_process');
    const of = (program) => /\\d+(\\.\\d+)+/.exec(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[0];
    console.log(['dockerd', 'podman', 'etcd'].map((program) => program + ' ' + of(program)).join(', '));`;
  const [program, args] = commandFor(isGuest, ['-e', script]);
  const { stdout, stderr, status } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) fail(`The root cannot be entered:\n${stderr}`);
  return stdout.trim();
}

/** What the outcome of a file depends on. */
function stateOfSources(): string {
  const hash = createHash('sha256');
  for (const folder of ['src', 'test', 'bench']) {
    for (const name of readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' }).sort()) {
      if (/\.(ts|tsx|mjs|css|html)$/.test(name)) hash.update(name).update(readFileSync(path.join(root, folder, name)));
    }
  }
  return hash.digest('hex').slice(0, 16);
}

interface Outcome {
  readonly isGood: boolean;
  readonly said: string;
}

async function runFile(file: string, isGuest: boolean): Promise<Outcome> {
  const [program, args] = commandFor(isGuest, [
    ...['--import', './test/loader.mjs', '--test', '--test-reporter=spec', `test/${file}`],
  ]);
  const child = spawn(program, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    // A part that is missing fails the run: it would say nothing of the engine.
    env: { ...process.env, CI: 'true', TMPDIR: '/tmp', PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  const { code } = await exitOf(child);
  const count = (name: string): string => new RegExp(`^ℹ ${name} (\\d+)$`, 'm').exec(text)?.[1] ?? '0';
  const said = `${count('pass')} passed, ${count('fail')} failed, ${count('skipped')} skipped`;
  if (code !== 0) console.log(text.slice(Math.max(text.lastIndexOf('✖ failing tests'), text.length - 20_000)));
  return { isGood: code === 0 && count('pass') !== '0', said };
}

const { values } = parseArgs({
  options: { here: { type: 'boolean', default: false }, file: { type: 'string', default: '' } },
});
const isGuest = !values.here;
if (isGuest) makeGuest();
const versions = versionsOf(isGuest);
console.log(versions);
const passedFile = path.join(cache, `passed-${isGuest ? release : 'here'}.json`);
const key = `${stateOfSources()} ${versions}`;
const passed = new Map<string, string>(
  existsSync(passedFile)
    ? Object.entries(
        (JSON.parse(readFileSync(passedFile, 'utf8')) as Record<string, Record<string, string>>)[key] ?? {},
      )
    : [],
);
mkdirSync(cache, { recursive: true });
const waiting = files.filter((file) => file.includes(values.file));
for (const file of waiting) {
  const before = passed.get(file);
  const { isGood, said } =
    before === undefined ? await runFile(file, isGuest) : { isGood: true, said: `${before} (before)` };
  console.log(`${isGood ? 'ok    ' : 'FAILED'}  ${file}: ${said}`);
  if (!isGood) process.exitCode = 1;
  else if (before === undefined) {
    passed.set(file, said);
    writeFileSync(passedFile, JSON.stringify({ [key]: Object.fromEntries(passed) }));
  }
}
