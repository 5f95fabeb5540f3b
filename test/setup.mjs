/**
 * Makes this machine ready: `node test/setup.mjs [--for test|engines|demo]`.
 *
 * Checks Node, installs the dependencies, the programs that tests (dockerd, etcd, ...) or the demo
 * (etcd) use, and builds. Silent where nothing is to do. As root on Debian or Ubuntu it installs
 * without asking, having said what; elsewhere it prints the line to type and goes on with what
 * there is, except with CI=true, where a missing part ends it with status 1.
 *
 * etcd 3.5 is of Debian's next release. Its package is unpacked in the cache of the user, and nothing of it is
 * installed.
 *
 * Plain JavaScript and no package: it runs before there is a node_modules.
 */
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const inCi = process.env.CI === 'true';
// An ordinary user's PATH on Debian lacks sbin, where dockerd and iptables are.
const searchPath = [...new Set([...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/local/sbin'])];

/** Debian's next release, and the keys that its packages are checked by. */
const next = 'trixie';
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
const cache = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'discover-test');
const newerEtcd = path.join(cache, 'etcd-3.5');

const everywhere = ['test', 'engines'];
const parts = [
  { program: 'etcd', package: 'etcd-server', for: ['test', 'engines', 'demo'] },
  { program: 'etcdctl', package: 'etcd-client', for: everywhere },
  { program: 'dockerd', package: 'docker.io', for: everywhere },
  { program: 'docker', package: 'docker.io', for: everywhere },
  { program: 'busybox', package: 'busybox-static', for: everywhere, fits: isStatic },
  { program: 'iptables', package: 'iptables', for: everywhere },
  { program: 'ip', package: 'iproute2', for: everywhere },
  { program: 'curl', package: 'curl', for: everywhere },
  { program: 'openssl', package: 'openssl', for: everywhere },
  { program: 'podman', package: 'podman', for: everywhere },
  ...networksOfPodman().map((part) => ({ ...part, for: everywhere })),
  { program: 'haproxy', package: 'haproxy', for: ['test'] },
  { program: 'nginx', package: 'nginx', for: ['test'] },
  { program: 'dig', package: 'bind9-dnsutils', for: ['test'] },
  { program: 'docker-compose', package: 'docker-compose', for: ['test'] },
  { program: 'promtool', package: 'prometheus', for: ['test'] },
  { program: 'systemd-analyze', package: 'systemd', for: ['test'] },
  { program: 'systemd-notify', package: 'systemd', for: ['test'] },
  { program: 'chromium', package: 'chromium', for: ['test'] },
  { program: '/usr/bin/python3', package: 'python3-etcd3', for: everywhere, fits: hasEtcd3 },
  // On another system it also says where Debian is.
  { program: 'debootstrap', package: 'debootstrap', for: fieldOfOs('ID') === 'debian' ? ['engines'] : everywhere },
  { program: 'rootlesskit', package: 'rootlesskit', for: ['engines'] },
  { program: 'slirp4netns', package: 'slirp4netns', for: ['engines'] },
  { program: 'newuidmap', package: 'uidmap', for: ['engines'] },
  { program: keyring, package: 'debian-archive-keyring', for: everywhere, find: existsSync },
  {
    program: 'etcd 3.5',
    package: `etcd-server of Debian ${next}`,
    for: ['test'],
    find: findNewerEtcd,
    isFetched: true,
  },
];

/** Podman recommends them only. Up to version 4 it takes the plugins of CNI if there are no others. */
function networksOfPodman() {
  if (fieldOfOs('VERSION_CODENAME') === 'bookworm') {
    return [{ program: '/usr/lib/cni/bridge', package: 'containernetworking-plugins' }];
  }
  return ['netavark', 'aardvark-dns'].map((name) => ({ program: `/usr/lib/podman/${name}`, package: name }));
}

function main() {
  const purpose = readPurpose(process.argv.slice(2));
  checkNode();
  installDependencies();
  installParts(purpose);
  build();
}

function readPurpose(args) {
  const [flag = '--for', purpose = 'test', ...rest] = args;
  if (flag !== '--for' || !['test', 'engines', 'demo'].includes(purpose) || rest.length > 0) {
    fail(`Cannot read the arguments: node test/setup.mjs [--for test|engines|demo], got "${args.join(' ')}"`, 64);
  }
  return purpose;
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    fail(`Node 20.19 or newer is needed, this is ${process.versions.node}: see https://nodejs.org`);
  }
}

function installDependencies() {
  const [wanted, installed] = ['package-lock.json', 'node_modules/.package-lock.json'].map(inRoot);
  if (!existsSync(wanted)) return;
  // npm writes both files within milliseconds of each other, in either order: newer means by more than that.
  const isOld = !existsSync(installed) || statSync(installed).mtimeMs + 2000 < statSync(wanted).mtimeMs;
  if (!isOld || (existsSync(installed) && samePackages(wanted, installed))) return;
  say('Installing the dependencies with npm ci');
  run('npm', ['ci', '--no-audit', '--no-fund']) || fail('npm ci has failed');
}

/** A checkout touches the lock file without changing it; installing again would be for nothing. */
function samePackages(wantedFile, installedFile) {
  try {
    const [wanted, installed] = [wantedFile, installedFile].map(
      (file) => JSON.parse(readFileSync(file, 'utf8')).packages,
    );
    return Object.entries(wanted).every(
      ([name, entry]) => name === '' || entry.optional || entry.version === installed[name]?.version,
    );
  } catch {
    return false;
  }
}

function installParts(purpose) {
  const relevant = parts.filter((part) => part.for.includes(purpose));
  const missing = () => relevant.filter((part) => !isThere(part));
  if (missing().length > 0) {
    const isDebian = ['debian', 'ubuntu'].includes(fieldOfOs('ID')) && find('apt-get') !== undefined;
    const installed = missing().filter((part) => !part.isFetched);
    if (isDebian && isRoot() && installed.length > 0) withApt(installed);
    if (isDebian && missing().some((part) => part.isFetched)) fetchNewerEtcd();
    const left = missing();
    if (left.length > 0) {
      const packages = [...new Set(left.filter((part) => !part.isFetched).map((part) => part.package))].join(' ');
      say(`Missing: ${left.map((part) => part.program).join(', ')}. What needs them is left out.`);
      if (packages !== '')
        say(
          isDebian
            ? `To install: sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages}`
            : `To install, by their names on Debian: ${packages}`,
        );
      if (inCi) fail('With CI=true nothing may be missing');
    }
  }
  if (purpose !== 'demo' && !isRoot()) {
    say('Not root: the tests that start a dockerd of their own are left out.');
    if (inCi) fail('With CI=true nothing may be left out: run as root');
  }
}

function withApt(missing) {
  const packages = new Set(missing.map((part) => part.package));
  const apt = (...args) =>
    run('apt-get', ['-o', 'DPkg::Lock::Timeout=300', '-q', '-y', ...args], {
      env: { ...process.env, PATH: searchPath.join(':'), DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'a' },
      // Its progress is of interest only when it fails.
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  say(`Installing ${[...packages].join(', ')} with apt-get`);
  apt('update'); // one broken source need not matter; the installation will tell
  // Since Debian 13 the client is a package of its own, which docker.io only recommends.
  if (packages.has('docker.io') && find('docker') === undefined && aptKnows('docker-cli')) packages.add('docker-cli');
  const withoutServices = forbidServices();
  try {
    apt('install', '--no-install-recommends', ...packages);
  } finally {
    withoutServices.end();
  }
  // Tests start daemons of their own. On a machine with systemd the packages would start theirs at the next boot.
  if (existsSync('/run/systemd/system')) {
    const units = [
      ...(packages.has('etcd-server') ? ['etcd.service'] : []),
      ...(packages.has('docker.io') && missing.some((part) => part.program === 'dockerd')
        ? ['docker.service', 'docker.socket']
        : []),
      ...(packages.has('nginx') ? ['nginx.service'] : []),
      ...(packages.has('prometheus') ? ['prometheus.service'] : []),
    ];
    if (units.length > 0) {
      say(`Leaving ${units.join(', ')} off; to use them: systemctl enable --now ${units.join(' ')}`);
      spawnSync('systemctl', ['disable', '--now', ...units], { stdio: 'ignore' });
    }
  }
}

/** Debian asks this script before a package starts its service; 101 says no. One that is there already is left alone. */
function forbidServices() {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return { end: () => {} };
  const remove = () => rmSync(policy, { force: true });
  // Ctrl-C while apt-get runs: without a handler node would end at once and leave the script behind.
  const interrupted = () => process.exit(130);
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  process.on('exit', remove).on('SIGINT', interrupted).on('SIGTERM', interrupted);
  const end = () => {
    remove();
    process.off('exit', remove).off('SIGINT', interrupted).off('SIGTERM', interrupted);
  };
  return { end };
}

function aptKnows(name) {
  const { stdout } = spawnSync('apt-cache', ['policy', name], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  return /Candidate: (?!\(none\))/.test(stdout ?? '');
}

function build() {
  // The demo that ships is built from both.
  const sources = ['src', 'bench'].map(inRoot);
  const { scripts = {} } = JSON.parse(readFileSync(inRoot('package.json'), 'utf8'));
  if (scripts.build === undefined || Math.max(...sources.map(newest)) <= newest(inRoot('dist'))) return;
  say('Building with npm run build');
  run('npm', ['run', '--silent', 'build']) || fail('npm run build has failed');
}

/** Of files and folders: a folder is younger than the file that has been removed from it. */
function newest(directory) {
  if (!existsSync(directory)) return 0;
  return readdirSync(directory, { recursive: true })
    .map((name) => statSync(path.join(directory, name), { throwIfNoEntry: false })?.mtimeMs ?? 0)
    .reduce((a, b) => Math.max(a, b), 1);
}

/**
 * The package of etcd of the next release, by apt with lists of its own: it is checked as any other, and the machine's
 * lists stay as they are. Needs no root.
 */
function fetchNewerEtcd() {
  say(`Fetching etcd 3.5 of Debian ${next} into ${newerEtcd}`);
  mkdirSync(cache, { recursive: true });
  const scratch = mkdtempSync(path.join(cache, 'fetch-'));
  try {
    for (const name of ['lists/partial', 'archives/partial']) mkdirSync(path.join(scratch, name), { recursive: true });
    const sources = path.join(scratch, 'sources.list');
    writeFileSync(sources, `deb [signed-by=${keyring}] ${mirrorOf()} ${next} main\n`);
    const settings = [
      ...[`Dir::Etc::sourcelist=${sources}`, 'Dir::Etc::sourceparts=-', `Dir::State::lists=${scratch}/lists`],
      ...[`Dir::Cache=${scratch}`, 'APT::Sandbox::User=root', 'Acquire::Languages=none'],
    ].flatMap((setting) => ['-o', setting]);
    const quiet = { cwd: scratch, stdio: ['ignore', 'pipe', 'pipe'] };
    if (!run('apt-get', [...settings, 'update'], quiet)) return;
    if (!run('apt-get', [...settings, 'download', 'etcd-server'], quiet)) return;
    const archive = readdirSync(scratch).find((name) => name.endsWith('.deb'));
    const unpacked = path.join(scratch, 'unpacked');
    if (!run('dpkg-deb', ['-x', archive, unpacked], quiet)) return;
    rmSync(newerEtcd, { recursive: true, force: true });
    renameSync(unpacked, newerEtcd);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Where a Debian has its own packages from. Elsewhere, and where that is no address, what debootstrap would take. */
function mirrorOf() {
  const args = ['indextargets', '--format', '$(REPO_URI)', 'Label: Debian'];
  const { stdout } = fieldOfOs('ID') === 'debian' ? spawnSync('apt-get', args, { encoding: 'utf8' }) : {};
  const [own] = /^http\S+/m.exec(stdout ?? '') ?? [];
  const debootstrap = find('debootstrap');
  const told = own ?? (debootstrap && /^DEF_MIRROR="(.+)"$/m.exec(readFileSync(debootstrap, 'utf8'))?.[1]);
  return told ?? fail(`Debian ${next} has etcd 3.5, and nothing here says where: apt-get install -y debootstrap`);
}

/** This machine's own, or the one that was fetched. */
function findNewerEtcd() {
  return [path.join(newerEtcd, 'usr/bin/etcd'), find('etcd')].find((file) => {
    if (file === undefined || !existsSync(file)) return false;
    const { stdout } = spawnSync(file, ['--version'], { encoding: 'utf8' });
    return /^etcd Version: 3\.([5-9]|\d\d)/.test(stdout ?? '');
  });
}

function isThere(part) {
  if (part.find !== undefined) return Boolean(part.find(part.program));
  const file = find(part.program);
  return file !== undefined && (part.fits === undefined || part.fits(file));
}

/** A client of etcd in another language, for what other readers make of the keys. */
function hasEtcd3(file) {
  return spawnSync(file, ['-c', 'import etcd3'], { stdio: 'ignore' }).status === 0;
}

/** An image made of one file needs a program that asks for no loader: no PT_INTERP (3) among its ELF headers. */
function isStatic(file) {
  const bytes = Buffer.alloc(4096);
  const descriptor = openSync(file, 'r');
  readSync(descriptor, bytes, 0, bytes.length, 0);
  closeSync(descriptor);
  if (bytes.toString('latin1', 0, 4) !== '\x7fELF' || bytes[4] !== 2) return false;
  const [start, size, count] = [Number(bytes.readBigUInt64LE(32)), bytes.readUInt16LE(54), bytes.readUInt16LE(56)];
  const types = Array.from({ length: count }, (_, index) => bytes.readUInt32LE(start + index * size));
  return !types.includes(3);
}

function find(name) {
  return searchPath
    .filter((directory) => directory !== '')
    .map((directory) => path.resolve(directory, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

function fieldOfOs(name) {
  try {
    const text = readFileSync('/etc/os-release', 'utf8');
    return new RegExp(`^${name}="?([^"\\n]*)"?$`, 'm').exec(text)?.[1] ?? '';
  } catch {
    return '';
  }
}

function isRoot() {
  return process.getuid?.() === 0;
}

function inRoot(name) {
  return path.join(root, name);
}

function run(program, args, options = {}) {
  const { status, signal, error, stdout, stderr } = spawnSync(program, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
  });
  if (signal === 'SIGINT') process.exit(130); // Ctrl-C reached it first
  if (status !== 0) {
    say(`${program} ${args.join(' ')}: ${error?.message ?? signal ?? `status ${status}`}`);
    const output = `${stdout ?? ''}${stderr ?? ''}`.trim();
    if (output !== '') say(output.split('\n').slice(-20).join('\n'));
  }
  return status === 0;
}

function say(text) {
  console.error(text);
}

function fail(text, status = 1) {
  say(text);
  process.exit(status);
}

main();
