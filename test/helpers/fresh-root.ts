/**
 * A fresh Debian as a stranger has it: what debootstrap makes of a release, without systemd and without Node. All that is
 * written to it is thrown away in the end. For root.
 *
 * The root is made once, in the cache; each test gets a layer of its own above it. It shares the network and `/tmp` of this machine.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory } from './newer-etcd.ts';
import { atExit, cleanEnvironment, requireCommand, scratchDirectory } from './run.ts';

const run = promisify(execFile);
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

export interface FreshRoot extends AsyncDisposable {
  /** Where it is for us. */
  readonly root: string;
  /** What stands before a command that runs inside. */
  readonly enter: readonly [string, ...string[]];
  /** Runs a line of shell inside, and returns both outputs. Rejects with them when that fails. */
  shell(line: string): Promise<string>;
}

async function made(release: string): Promise<string> {
  const folder = path.join(cacheDirectory, `fresh-${release}`);
  if (existsSync(folder)) return folder;
  mkdirSync(cacheDirectory, { recursive: true });
  const part = `${folder}.${process.pid}`;
  const options = { maxBuffer: 1 << 28, env: cleanEnvironment() };
  await run(requireCommand('debootstrap'), ['--variant=minbase', `--keyring=${keyring}`, release, part], options);
  if (!existsSync(folder)) renameSync(part, folder);
  return folder;
}

export async function freshRoot(release: string): Promise<FreshRoot> {
  const lower = await made(release);
  const scratch = scratchDirectory('fresh', os.tmpdir());
  await run('mount', ['-t', 'tmpfs', 'tmpfs', scratch]);
  const [root = '', upper = '', work = ''] = ['root', 'upper', 'work'].map((name) => path.join(scratch, name));
  for (const folder of [root, upper, work]) mkdirSync(folder);
  const mounts: string[] = [scratch];
  const mount = async (at: string, ...args: readonly string[]): Promise<void> => {
    await run('mount', [...args, at]);
    mounts.push(at);
  };
  const unmount = (): void => {
    for (const at of mounts.splice(0).reverse()) spawnSync('umount', ['--lazy', at]);
    rmSync(scratch, { recursive: true, force: true });
  };
  const forget = atExit(unmount);
  await mount(root, '-t', 'overlay', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}`);
  await mount(path.join(root, 'proc'), '-t', 'proc', 'proc');
  await mount(path.join(root, 'dev'), '--bind', '/dev');
  await mount(path.join(root, 'tmp'), '--bind', '/tmp');
  const enter = [requireCommand('chroot'), root] as const;
  return {
    root,
    enter,
    async shell(line) {
      const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
      const env = { PATH, HOME: '/root', LANG: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive', NO_COLOR: '1' };
      const [program, ...before] = enter;
      const options = { env, maxBuffer: 1 << 26 };
      return (await run(program, [...before, 'sh', '-c', `exec 2>&1; cd /root; ${line}`], options)).stdout;
    },
    async [Symbol.asyncDispose]() {
      forget();
      unmount();
    },
  };
}
