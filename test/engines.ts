/**
 * The tests with several engines and versions of etcd: `npm run test:engines`.
 *
 * There are four sets of them. `here` is what this machine has, on Debian 12 dockerd 20.10, Podman 4.3 and etcd 3.4.
 * `trixie` is Debian 13: dockerd 26.1, Podman 5.4 and etcd 3.5. `forky` is the release after it: dockerd 28.5, Podman 5.8
 * and etcd 3.5. `debootstrap` makes a root of each once, in `~/.cache/discover-test`. The tests run inside it with the
 * Node and the files of this machine, in a mount namespace that ends with them. `ipvlan` is `forky` on a kernel that has
 * ipvlan, with the tests of networks on a wire alone (`helpers/user-mode-linux.ts`).
 *
 * `--set trixie` runs one set and `--file walk` one file. A file that has passed is not run again until it or something
 * in `src`, `bench` or `test/helpers` changes: a run that was ended goes on where it was. `--again` runs it all the same.
 * The versions and the number of files that have passed with them are noted in `test/tested-versions.json`.
 * `--record` writes the fixtures of the engines anew instead (`fixtures/record.ts`).
 *
 * Needs root on Debian or Ubuntu; elsewhere it says what it needs.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cacheDirectory } from './helpers/newer-etcd.ts';
import { atExit, exitOf, findCommand, scratchDirectory } from './helpers/run.ts';
import { noteTested, today } from './helpers/tested-versions.ts';
import { onUserModeLinux } from './helpers/user-mode-linux.ts';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const releases = ['trixie', 'forky'] as const;
type Release = (typeof releases)[number];
const sets = ['here', ...releases, 'ipvlan'] as const;
type EngineSet = (typeof sets)[number];
const systems: Readonly<Record<EngineSet, string>> = {
  ...{ here: 'Debian 12', trixie: 'Debian 13', forky: 'Debian 14' },
  ipvlan: 'Debian 14, ipvlan',
};

/** Whose root a set runs in; undefined for this machine. */
const releaseOf = (set: EngineSet): Release | undefined =>
  set === 'ipvlan' ? 'forky' : releases.find((release) => release === set);
const guestOf = (release: Release): string => path.join(cacheDirectory, release);

/** What the files below use. */
const packages = [
  ...['docker.io', 'docker-cli', 'etcd-server', 'etcd-client', 'podman', 'netavark', 'aardvark-dns', 'runc'],
  ...['busybox-static', 'iptables', 'nftables', 'iproute2', 'openssl', 'curl', 'procps', 'mount', 'util-linux'],
  ...['rootlesskit', 'slirp4netns', 'uidmap', 'libstdc++6', 'libatomic1', 'ca-certificates', 'python3-etcd3'],
];
const packagesOf = (release: Release): readonly string[] =>
  release === 'forky' && process.arch === 'x64' ? [...packages, 'user-mode-linux'] : packages;

const integration = [
  'walk',
  'churn',
  'podman',
  'traffic',
  'address',
  'maintenance',
  'filter',
  'why',
  'commands',
  'views',
  'client',
  'etcd-auth',
  'etcd-tls',
];
const faults = [
  ...['container-lives', 'docker-away', 'discover-restarted', 'etcd-away', 'etcd-wiped', 'etcd-leader', 'etcd-full'],
  'client',
];
const files = [
  ...integration.map((name) => `integration/${name}.integration.test.ts`),
  ...['podman', 'swarm', 'rootless'].map((name) => `integration/${name}.slow.ts`),
  ...faults.map((name) => `fault/${name}.fault.test.ts`),
];
const filesOf = (set: EngineSet): readonly string[] =>
  set === 'ipvlan' ? files.filter((file) => file.includes('/address.')) : files;
/** The first is what runs the others in a namespace of their own. */
const wires = ['What is published', 'macvlan', 'ipvlan'].flatMap((name) => ['--test-name-pattern', name]);

function fail(text: string): never {
  console.error(text);
  process.exit(1);
}

function makeGuest(release: Release): void {
  const guest = guestOf(release);
  const ready = path.join(guest, '.ready');
  const wanted = packagesOf(release).join(' ');
  const made = existsSync(ready) ? readFileSync(ready, 'utf8') : undefined;
  if (made === wanted) return;
  console.error(`Making a root of Debian ${release} in ${guest}: it takes minutes and 1 GB`);
  if (made === undefined) {
    rmSync(guest, { recursive: true, force: true });
    mkdirSync(cacheDirectory, { recursive: true });
    const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
    // Its usual mirror, and the script of all newer releases, which an older debootstrap does not know by name.
    const script = '/usr/share/debootstrap/scripts/sid';
    run('debootstrap', ['--variant=minbase', `--keyring=${keyring}`, release, guest, '', script]);
    // A package that starts its service asks this script, and is told not to.
    writeFileSync(path.join(guest, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
    writeFileSync(ready, '');
  }
  // By apt, which chooses between packages that can stand for one another.
  run(...enterWith(release, ['/usr/bin/dpkg', '--configure', '-a'])); // where an earlier run was ended
  // A release under way is signed for a week at a time, and a mirror may be behind.
  const anyAge = ['-o', 'Acquire::Check-Valid-Until=false'];
  run(...enterWith(release, ['/usr/bin/apt-get', '-q', ...anyAge, 'update']));
  const install = ['-y', '--no-install-recommends', 'install', ...packagesOf(release)];
  run(...enterWith(release, ['/usr/bin/apt-get', '-q', ...install]));
  run(...enterWith(release, ['/usr/bin/apt-get', 'clean']));
  writeFileSync(ready, wanted);
}

function run(program: string, args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(findCommand(program) ?? program, args, {
    ...{ cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 },
    env: { ...environment, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (status !== 0) fail(`${(stdout + stderr).slice(-3000)}\n${program} has ended with ${status}`);
}

/**
 * Runs in a mount namespace of its own, so that nothing stays mounted, whatever ends it. Not by chroot: a process in
 * one may not make a user namespace, which a rootless engine needs. `/tmp` is the machine's: the
 * tests of both keep the locks there by which they share bridges and ports.
 */
const enter = `
set -e
guest=$1; root=$2; modules=$3; node=$4; tmp=$5; shift 5
mount --bind "$guest" "$guest"
for dir in proc sys dev; do mount --rbind "/$dir" "$guest/$dir"; done
mount -t tmpfs tmpfs "$guest/run"
mount --bind "$tmp" "$guest/tmp"
for dir in "$root" "$modules"; do mkdir -p "$guest$dir"; mount --bind "$dir" "$guest$dir"; done
touch "$guest/usr/local/bin/node"
mount --bind "$node" "$guest/usr/local/bin/node"
cp /etc/hosts /etc/resolv.conf "$guest/etc/"
mkdir -p "$guest/.old"
cd "$guest"
pivot_root . .old
cd /
umount --lazy /.old
exec /usr/bin/env -C "$root" "$@"
`;

type Command = readonly [program: string, args: readonly string[]];

function enterWith(release: Release, command: readonly string[], tmp = os.tmpdir()): Command {
  const places = [guestOf(release), root, realpathSync(path.join(root, 'node_modules')), process.execPath, tmp];
  const flags = ['--mount', '--propagation', 'private', 'sh', '-c', enter, 'enter'];
  return ['unshare', [...flags, ...places, ...command]];
}

/** Node with these arguments. */
function commandFor(set: EngineSet, args: readonly string[]): Command {
  const release = releaseOf(set);
  if (release === undefined) return [process.execPath, args];
  const command = ['/usr/local/bin/node', ...args];
  if (set !== 'ipvlan') return enterWith(release, command);
  const tmp = scratchDirectory('uml', os.tmpdir());
  atExit(() => rmSync(tmp, { recursive: true, force: true }));
  // What is counted are then the tests in the namespace: one that is missing shows.
  const inside = { PATH: environment.PATH, HOME: '/root', CI: 'true', FULL: '1', SHOW: '1' };
  return enterWith(release, onUserModeLinux(tmp, root, inside, command), tmp);
}

const environment = {
  ...process.env,
  // A part that is missing fails the run.
  CI: 'true',
  PATH: [...new Set([...(process.env.PATH ?? '').split(':'), '/usr/local/bin', '/usr/sbin', '/sbin'])].join(':'),
};

function versionsOf(set: EngineSet): string {
  const script = `
    const { spawnSync } = require('node:child_process');
    const of = (program) => /\\d+(\\.\\d+)+/.exec(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[0];
    const kernel = ${set === 'ipvlan'} ? [', Linux ' + require('node:os').release()] : [];
    console.log(['dockerd', 'podman', 'etcd'].map((program) => program + ' ' + of(program)).join(', ') + kernel);`;
  const [program, args] = commandFor(set, ['-e', script]);
  const { stdout, stderr, status } = spawnSync(program, args, { cwd: root, encoding: 'utf8', env: environment });
  const [versions] = /^dockerd .*$/m.exec(stdout) ?? [];
  if (status !== 0 || versions === undefined) fail(`The set ${set} cannot be used:\n${stdout}${stderr}`);
  return versions.trim();
}

/** What the outcome of a file depends on, beside the engines. */
function stateOf(file: string): string {
  const hash = createHash('sha256').update(readFileSync(path.join(root, 'test', file)));
  for (const folder of ['src', 'bench', 'test/helpers']) {
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

async function runFile(set: EngineSet, file: string): Promise<Outcome> {
  const flags = ['--import', './test/loader.mjs', '--test', '--test-reporter=spec', ...(set === 'ipvlan' ? wires : [])];
  const [program, args] = commandFor(set, [...flags, `test/${file}`]);
  const begunMs = performance.now();
  // Of the others the share of `npm test` is enough for a release; Podman and the networks have no other file.
  const env = /\/(podman|address)\./.test(file) ? { ...environment, FULL: '1' } : environment;
  const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], env });
  const forget = atExit(() => child.kill('SIGTERM'));
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  const { code } = await exitOf(child);
  forget();
  const count = (name: string): string => new RegExp(`^ℹ ${name} (\\d+)$`, 'm').exec(text)?.[1] ?? '0';
  const isGood = code === 0 && count('pass') !== '0' && count('fail') === '0';
  if (!isGood) console.log(text.slice(Math.max(text.lastIndexOf('✖ failing tests'), text.length - 20_000)));
  // What tests say of their own accord: figures.
  for (const [, figures] of text.matchAll(
    /^ *ℹ (?!(?:tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) )(.*)$/gm,
  ))
    console.log(`        ${figures}`);
  const seconds = Math.round((performance.now() - begunMs) / 1000);
  return {
    isGood,
    said: `${count('pass')} passed, ${count('fail')} failed, ${count('skipped')} skipped, ${seconds} s`,
  };
}

async function runSet(set: EngineSet, waiting: readonly string[], isAgain: boolean): Promise<void> {
  const versions = versionsOf(set);
  console.log(`${set}: ${versions}`);
  const passedFile = path.join(cacheDirectory, `passed-${set}.json`);
  mkdirSync(cacheDirectory, { recursive: true });
  const kept: unknown = existsSync(passedFile) ? JSON.parse(readFileSync(passedFile, 'utf8')) : {};
  const passed = new Map(Object.entries(kept as Record<string, { readonly state: string; readonly said: string }>));
  for (const file of waiting.filter((one) => filesOf(set).includes(one))) {
    const state = `${stateOf(file)} ${versions}`;
    const before = isAgain ? undefined : passed.get(file);
    const isKnown = before?.state === state;
    const { isGood, said } = isKnown ? { isGood: true, said: `${before.said} (before)` } : await runFile(set, file);
    console.log(`${isGood ? 'ok    ' : 'FAILED'}  ${set}  ${file}: ${said}`);
    if (isKnown) continue;
    if (isGood) passed.set(file, { state, said });
    else {
      // What passed before does not any more.
      passed.delete(file);
      process.exitCode = 1;
    }
    writeFileSync(passedFile, JSON.stringify(Object.fromEntries(passed), undefined, 1));
  }
  const withThese = filesOf(set).filter((file) => passed.get(file)?.state.endsWith(` ${versions}`));
  if (withThese.length > 0) {
    const count = `${withThese.length} of ${filesOf(set).length} files`;
    noteTested(systems[set], { versions, passed: count, date: today(statSync(passedFile).mtime) });
  }
}

/** Writes the fixtures of the engines of a set. */
function record(set: EngineSet): void {
  for (const engine of ['dockerd', 'podman']) {
    const [program, args] = commandFor(set, ['--import', './test/loader.mjs', 'test/fixtures/record.ts', engine]);
    const { status } = spawnSync(program, args, { cwd: root, stdio: 'inherit', env: environment });
    if (status !== 0) process.exitCode = 1;
  }
}

const { values } = parseArgs({
  options: {
    set: { type: 'string', default: '' },
    file: { type: 'string', default: '' },
    again: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
  },
});
if (process.getuid?.() !== 0) fail('Needs root: the tests start engines of their own');
if (findCommand('debootstrap') === undefined) fail('Needs debootstrap: apt-get install -y debootstrap');
const begunMs = performance.now();
const available = sets.filter((set) => set !== 'ipvlan' || process.arch === 'x64');
const chosen = available.filter((set) => values.set === '' || set === values.set);
const waiting = files.filter((file) => file.includes(values.file));
if (chosen.length === 0 || waiting.length === 0) fail(`Sets: ${available.join(', ')}. Files: ${files.join(', ')}`);
for (const release of releases.filter((one) => chosen.some((set) => releaseOf(set) === one))) makeGuest(release);
for (const set of chosen) {
  if (!values.record) await runSet(set, waiting, values.again);
  else if (set !== 'ipvlan') record(set);
}
console.log(`in ${Math.round((performance.now() - begunMs) / 1000)} s`);
