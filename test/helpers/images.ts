/**
 * Images made on the spot, where none can be pulled: what `deploy/` builds on and runs beside, from programs and
 * packages of this machine, under the very names that stand in its files.
 *
 * They are stand-ins: Debian's builds of the same programs, of Debian's versions, with as much around them as the
 * real ones promise (what is in the path, which user, what is run). Files are read from the machine as dpkg knows
 * them, so nothing is downloaded but npm's packages, and those only the first time.
 */
import { execFile, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Dockerd } from './dockerd.ts';
import { atExit, requireCommand, scratchDirectory } from './run.ts';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../..', import.meta.url));

const passwd = (...users: readonly string[]): string =>
  users.map((user) => `${user.replace(/:(\d+):/, ':x:$1:$1::')}:/bin/sh\n`).join('');

/** The files of an image to be. */
class Root {
  readonly directory = scratchDirectory('image', os.tmpdir());

  /** A file of this machine, or what its name points at. */
  file(from: string, to = from): this {
    const target = this.#place(to);
    copyFileSync(from, target);
    chmodSync(target, statSync(from).mode);
    return this;
  }

  text(to: string, content: string): this {
    writeFileSync(this.#place(to), content);
    return this;
  }

  link(to: string, target: string): this {
    symlinkSync(target, this.#place(to));
    return this;
  }

  tree(from: string, to: string): this {
    cpSync(from, this.#place(to), { recursive: true, verbatimSymlinks: true });
    return this;
  }

  /** A program, with the loader and the libraries that it asks for. */
  program(from: string, to = from): this {
    const { stdout } = spawnSync('ldd', [from], { encoding: 'utf8' });
    for (const [, library = ''] of stdout.matchAll(/(?:^|\s)(\/\S+) \(0x/g)) this.file(library);
    return this.file(from, to);
  }

  /** The files of these packages of Debian as they are installed here. Of documents only the licences. */
  packages(...names: readonly string[]): this {
    const { stdout } = spawnSync('dpkg', ['-L', ...names], { encoding: 'utf8' });
    const unread = /^\/usr\/share\/(?!doc\/[^/]+\/copyright$)/;
    for (const file of stdout.split('\n').filter((line) => line.startsWith('/') && !unread.test(line))) {
      if (!statSync(file, { throwIfNoEntry: false })?.isFile()) continue;
      if (lstatSync(file).isSymbolicLink()) this.link(file, readlinkSync(file));
      else this.file(file);
    }
    return this;
  }

  /** A shell, and the small programs that go with one. */
  busybox(): this {
    const program = requireCommand('busybox');
    this.file(program, '/bin/busybox').link('/usr/bin/env', '/bin/busybox').text('/etc/passwd', passwd('root:0:/root'));
    const names = spawnSync(program, ['--list'], { encoding: 'utf8' }).stdout.trim().split('\n');
    for (const name of names.filter((one) => one !== 'busybox')) this.link(`/bin/${name}`, 'busybox');
    return this;
  }

  async import({ docker }: Dockerd, name: string, ...changes: readonly string[]): Promise<void> {
    const archive = `${this.directory}.tar`;
    mkdirSync(path.join(this.directory, 'tmp'), { recursive: true });
    chmodSync(path.join(this.directory, 'tmp'), 0o1777);
    await run('tar', ['-C', this.directory, '--owner=0', '--group=0', '-cf', archive, '.']);
    rmSync(this.directory, { recursive: true });
    await docker('import', ...changes.flatMap((change) => ['--change', change]), archive, name);
    rmSync(archive);
  }

  #place(file: string): string {
    const place = path.join(this.directory, file);
    mkdirSync(path.dirname(place), { recursive: true });
    return place;
  }
}

/** For the Dockerfile: this machine's node and npm, with all that the lock file names, and no network to fetch it by. */
export async function makeNode(dockerd: Dockerd, name: string): Promise<void> {
  const npm = path.dirname(path.dirname(realpathSync(requireCommand('npm'))));
  await new Root()
    .busybox()
    .program(process.execPath, '/usr/local/bin/node')
    .tree(npm, '/usr/local/lib/node_modules/npm')
    .link('/usr/local/bin/npm', '../lib/node_modules/npm/bin/npm-cli.js')
    .tree(path.join(await npmCache(), '_cacache'), '/root/.npm/_cacache')
    .tree(await nodeOfPackages(), '/root/.cache/discover-package')
    .import(dockerd, name, 'ENV npm_config_offline=true');
}

/** Kept from one run to the next, and filled from where npm is set to fetch from. */
async function npmCache(): Promise<string> {
  const cache = path.join(os.tmpdir(), 'dsc-npm-cache');
  const project = scratchDirectory('npm', os.tmpdir());
  for (const file of ['package.json', 'package-lock.json', '.npmrc']) {
    copyFileSync(path.join(repository, file), path.join(project, file));
  }
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', '--cache', cache], {
    cwd: project,
  });
  rmSync(project, { recursive: true });
  return cache;
}

/** Where the Node that `deploy/package` puts into the program is kept, once it was fetched. */
async function nodeOfPackages(): Promise<string> {
  const { fetchNode } = (await import(path.join(repository, 'deploy/package/node.mjs'))) as {
    fetchNode(arch: string): string;
  };
  return path.dirname(fetchNode(process.arch));
}

/** For the Dockerfile: the C and C++ libraries, and what is known of their packages, where they are in `distroless/cc`. */
export async function makeLibraries(dockerd: Dockerd, name: string): Promise<void> {
  const root = new Root()
    .packages('libc6', 'libgcc-s1', 'libstdc++6', 'gcc-12-base')
    .file('/etc/os-release', '/usr/lib/os-release');
  for (const one of ['libc6', 'libgcc-s1', 'libstdc++6']) {
    root.text(`/var/lib/dpkg/status.d/${one}`, spawnSync('dpkg', ['--status', one], { encoding: 'utf8' }).stdout);
  }
  await root.import(dockerd, name);
}

export async function makeEtcd(dockerd: Dockerd, name: string): Promise<void> {
  const root = new Root();
  for (const program of ['etcd', 'etcdctl']) root.program(requireCommand(program), `/usr/local/bin/${program}`);
  await root.import(dockerd, name, 'ENV ETCDCTL_API=3', 'CMD ["/usr/local/bin/etcd"]');
}

export async function makeHaproxy(dockerd: Dockerd, name: string): Promise<void> {
  const configuration = '/usr/local/etc/haproxy/haproxy.cfg';
  const command = ['haproxy', '-W', '-db', '-f', configuration];
  await new Root()
    .program(requireCommand('haproxy'), '/usr/local/sbin/haproxy')
    .text('/etc/passwd', passwd('root:0:/root', 'haproxy:99:/var/lib/haproxy'))
    .text(configuration, '')
    .import(dockerd, name, 'USER haproxy', `ENTRYPOINT ${JSON.stringify(command)}`);
}

/** A web server at port 80. */
export async function makeWeb(dockerd: Dockerd, name: string): Promise<void> {
  const command = ['httpd', '-f', '-p', '80', '-h', '/www'];
  await new Root()
    .busybox()
    .text('/www/index.html', 'here I am\n')
    .import(dockerd, name, 'EXPOSE 80', `ENTRYPOINT ${JSON.stringify(command)}`);
}

/** The value of a name as it stands in a file of `deploy/`, such as that of an image. */
export function named(file: string, pattern: RegExp): string {
  const found = pattern.exec(readFileSync(path.join(repository, 'deploy', file), 'utf8'))?.[1];
  if (found === undefined) throw new Error(`deploy/${file} has no ${pattern}`);
  return found;
}

/**
 * Whoever has run a dockerd of the machine's own has left a firewall that drops what one container says to another,
 * where the kernel asks it about bridges. This lets through what this engine's networks say among themselves.
 */
export function letContainersTalk({ gateway }: Dockerd): Disposable {
  const networks = `${gateway.replace('172.30', '172.31').replace(/1$/, '0')}/24`;
  const rule = ['FORWARD', '--source', networks, '--destination', networks, '--jump', 'ACCEPT'];
  const change = (what: '--insert' | '--delete') => spawnSync(requireCommand('iptables'), ['--wait', what, ...rule]);
  change('--insert');
  const undo = (): void => {
    change('--delete');
  };
  const forget = atExit(undo);
  return {
    [Symbol.dispose]: () => {
      undo();
      forget();
    },
  };
}
