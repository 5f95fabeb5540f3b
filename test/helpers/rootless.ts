/**
 * A real dockerd of a user without privileges, started by Docker's own dockerd-rootless.sh: own data and socket.
 *
 * The user is made up, and is in /etc/passwd and /etc/subuid in a mount namespace of the engine alone. There every user
 * may also open /dev/net/tun, as on most machines, for the network behind rootlesskit.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { createEngineClient, type EngineClient } from './engine-client.ts';
import { eventually } from './eventually.ts';
import {
  abandoned,
  atExit,
  cleanEnvironment,
  exitOf,
  killProcessesOf,
  requireCommand,
  scratchDirectory,
} from './run.ts';

export interface Rootless extends EngineClient, AsyncDisposable {
  readonly version: string;
  log(): string;
}

export const rootlessScript = '/usr/share/docker.io/contrib/dockerd-rootless.sh';
const firstUser = 59_100;

/** `$1` scratch, `$2` user, `$3` run-time directory; then the program. */
const enter = `
set -e
scratch=$1; user=$2; runtime=$3; shift 3
for name in passwd group subuid subgid; do
  touch "/etc/$name"; cat "/etc/$name" > "$scratch/$name"
done
echo "dsc$user:x:$user:$user::$scratch/home:/bin/sh" >> "$scratch/passwd"
echo "dsc$user:x:$user:" >> "$scratch/group"
for name in subuid subgid; do echo "dsc$user:1000000:65536" >> "$scratch/$name"; done
for name in passwd group subuid subgid; do mount --bind "$scratch/$name" "/etc/$name"; done
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
exec setpriv --reuid="$user" --regid="$user" --clear-groups env HOME="$scratch/home" XDG_RUNTIME_DIR="$runtime" "$@"
`;

export async function startRootless(): Promise<Rootless> {
  for (const directory of abandoned('rootless', '/tmp')) erase(directory);
  const scratch = scratchDirectory('rootless', '/tmp');
  const forget = atExit(() => erase(scratch));
  const user = claimUser(scratch);
  const runtime = runtimeOf(user);
  for (const directory of [path.join(scratch, 'home'), path.join(scratch, 'data')]) {
    mkdirSync(directory);
    chownSync(directory, user, user);
  }
  chownSync(scratch, user, user);
  const log = path.join(scratch, 'log');
  const socketPath = path.join(runtime, 'docker.sock');
  writeFileSync(path.join(scratch, 'daemon.json'), '{}');
  const flags = [
    ...[`--config-file=${scratch}/daemon.json`, `--data-root=${scratch}/data`, `--host=unix://${socketPath}`],
    ...['--iptables=false', '--ip6tables=false', '--storage-driver=vfs'],
  ];
  const output = openSync(log, 'a');
  const args = ['--mount', 'sh', '-c', enter, 'enter', scratch, String(user), runtime, rootlessScript, ...flags];
  const child: ChildProcess = spawn(requireCommand('unshare'), args, {
    ...{ stdio: ['ignore', output, output], env: cleanEnvironment({ DOCKER_CONFIG: `${scratch}/client` }) },
  });
  closeSync(output);
  child.unref(); // one that was forgotten must not keep the test from ending; atExit ends it
  const client = createEngineClient(socketPath, scratch);
  const readLog = (): string => readFileSync(log, 'utf8');
  const close = async (): Promise<void> => {
    child.ref();
    const exit = exitOf(child);
    child.kill('SIGTERM');
    const isOver = await eventually(() => exit.then(() => true), { timeoutMs: 20_000 }).catch(() => false);
    erase(scratch);
    forget();
    if (!isOver) throw new Error(`The engine does not end:\n${readLog().slice(-3000)}`);
  };
  try {
    const answered = await eventually(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return undefined;
      return client.ask('GET', '/version');
    });
    if (answered === undefined) throw new Error(`The engine has ended. Its log:\n${readLog().slice(-3000)}`);
    const { Version: version } = JSON.parse(answered.said) as { Version: string };
    return { ...client, version, log: readLog, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
}

/** The directory that pam_systemd makes: the place tells a rootless engine from others. */
function runtimeOf(user: number): string {
  return `/run/user/${user}`;
}

function claimUser(scratch: string): number {
  mkdirSync('/run/user', { recursive: true });
  for (let user = firstUser; ; user++) {
    try {
      mkdirSync(runtimeOf(user), { mode: 0o700 });
    } catch {
      continue; // of another test
    }
    chownSync(runtimeOf(user), user, user);
    writeFileSync(path.join(scratch, 'user'), String(user));
    return user;
  }
}

function erase(scratch: string): void {
  const note = path.join(scratch, 'user');
  const user = existsSync(note) ? Number(readFileSync(note, 'utf8')) : 0;
  killProcessesOf(scratch, ['rootlesskit', 'dockerd', 'containerd', 'unshare', 'sh']);
  if (user >= firstUser) {
    killProcessesOfUser(user);
    killProcessesOf(runtimeOf(user), [
      'rootlesskit',
      'dockerd',
      'containerd',
      'slirp4netns',
      'containerd-shim-runc-v2',
    ]);
    rmSync(runtimeOf(user), { recursive: true, force: true, maxRetries: 5 });
  }
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
}

/** Its containers run in the ids of the user as well. */
function killProcessesOfUser(user: number): void {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (new RegExp(`^Uid:\\t${user}\\t`, 'm').test(readFileSync(`/proc/${pid}/status`, 'utf8'))) {
        process.kill(Number(pid), 'SIGKILL');
      }
    } catch {
      // It has ended since.
    }
  }
}
