/**
 * A real Podman of the test's own, which serves Docker's API at a socket: own data, network and images.
 *
 * Podman has no daemon: the process that serves the API may end, and containers run on. What the service and the
 * command line know of each other is in the directories that both are given.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createEngineClient, type EngineClient } from './engine-client.ts';
import { eventually } from './eventually.ts';
import {
  abandoned,
  atExit,
  cleanEnvironment,
  exitOf,
  isAlive,
  killProcessesOf,
  pidNamespace,
  requireCommand,
  scratchDirectory,
} from './run.ts';

export interface Podman extends EngineClient, AsyncDisposable {
  readonly version: string;
  /** Runs Podman's own command line, for what Docker has no words for, such as a pod. */
  podman(...args: readonly string[]): Promise<string>;
  /** Ends the service: containers run on. */
  kill(): Promise<void>;
  /** Serves again if it does not. */
  restart(): Promise<void>;
}

const runFile = promisify(execFile);
const network = 'podman';

export async function startPodman(): Promise<Podman> {
  const program = requireCommand('podman');
  const release = await claimMachine();
  for (const directory of abandoned('podman', '/tmp')) erase(program, directory);
  const scratch = scratchDirectory('podman', '/tmp');
  const forget = atExit(() => {
    erase(program, scratch);
    release();
  });
  const socketPath = path.join(scratch, 'podman.sock');
  const flags = flagsOf(scratch);
  const env = environmentOf(scratch);
  mkdirSync(path.join(scratch, 'networks'));
  const subnet = claimSubnet(scratch);
  writeFileSync(configurationOf(scratch), configurationWith(subnet));
  let child: ChildProcess | undefined;
  const log = path.join(scratch, 'log');
  const isRunning = (): boolean => child?.exitCode === null && child.signalCode === null;
  const podman: Podman = {
    ...createEngineClient(socketPath, scratch),
    version: readVersion(program),
    podman: async (...args) => (await runFile(program, [...flags, ...args], { env })).stdout.trimEnd(),
    kill: async () => {
      if (child === undefined || !isRunning()) return;
      child.ref();
      const exit = exitOf(child);
      child.kill('SIGKILL');
      await exit;
      rmSync(socketPath, { force: true });
    },
    restart: async () => {
      if (!isRunning()) {
        const output = openSync(log, 'a');
        const args = [...flags, 'system', 'service', '--time=0', `unix://${socketPath}`];
        child = spawn(program, args, { stdio: ['ignore', output, output], env });
        closeSync(output);
        child.unref(); // one that was forgotten must not keep the test from ending; atExit ends it
      }
      const answered = await eventually(async () => {
        if (!isRunning()) return false;
        return (await podman.ask('GET', '/info')).status === 200;
      });
      if (!answered) throw new Error(`Podman has ended. Its log:\n${readFileSync(log, 'utf8').slice(-3000)}`);
    },
    [Symbol.asyncDispose]: async () => {
      await podman.kill();
      erase(program, scratch);
      forget();
      release();
    },
  };
  try {
    // Older versions make the network that everybody is in with the first container, newer ones have it built in.
    const known = await podman.podman('network', 'ls', '--format={{.Name}}');
    if (!known.split('\n').includes(network))
      await podman.podman('network', 'create', `--subnet=172.29.${subnet}.0/24`, network);
    await podman.restart();
  } catch (error) {
    await podman[Symbol.asyncDispose]();
    throw error;
  }
  return podman;
}

const lock = '/tmp/dsc-podman-runs';
/** No file with a real Podman takes this long, whose process another namespace cannot be asked for. */
const lockMs = 600_000;

/**
 * The bridge of the default network has one name on a machine, whatever a Podman's directories are: one runs at a time.
 * Returns what lets the next one run.
 */
async function claimMachine(): Promise<() => void> {
  const mine = `${process.pid} ${pidNamespace()}`;
  for (;;) {
    try {
      writeFileSync(lock, mine, { flag: 'wx' });
      return () => rmSync(lock, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      const [pid, namespace] = existsSync(lock) ? readFileSync(lock, 'utf8').split(' ') : [];
      const isLeft = namespace === pidNamespace() ? !isAlive(Number(pid)) : age > lockMs;
      if (isLeft) rmSync(lock, { force: true });
      else await sleep(200);
    }
  }
}

function flagsOf(scratch: string): string[] {
  return [
    `--root=${scratch}/data`,
    `--runroot=${scratch}/run`,
    `--tmpdir=${scratch}/tmp`,
    `--network-config-dir=${scratch}/networks`,
    '--cgroup-manager=cgroupfs',
    // The one that dockerd runs as well: crun refuses control groups of both versions side by side.
    '--runtime=runc',
    '--events-backend=file',
    '--storage-driver=vfs',
  ];
}

/**
 * Instead of the machine's own. Podman asks for a million open files, which a container of its own, in which tests may
 * run, does not grant. Of two bridges with one subnet, such as one that another version has left, one is not reached.
 */
const configurationWith = (subnet: number): string => `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
default_subnet = "172.29.${subnet}.0/24"
default_subnet_pools = [{"base" = "172.28.${subnet}.0/24", "size" = 28}]
`;

function claimSubnet(scratch: string): number {
  const addresses = addressesOfBridges();
  for (;;) {
    const subnet = 1 + Math.floor(Math.random() * 254);
    if (addresses.some(({ address }) => isOf(subnet, address))) continue;
    writeFileSync(path.join(scratch, 'subnet'), String(subnet));
    return subnet;
  }
}

const isOf = (subnet: number, address: string): boolean => /^172\.2[89]\.(\d+)\./.exec(address)?.[1] === String(subnet);

function addressesOfBridges(): { readonly name: string; readonly address: string }[] {
  const { stdout } = spawnSync(requireCommand('ip'), ['-oneline', '-4', 'address'], { encoding: 'utf8' });
  return [...stdout.matchAll(/^\d+: (\S+)\s+inet ([\d.]+)/gm)].map(([, name = '', address = '']) => ({
    name,
    address,
  }));
}

function configurationOf(scratch: string): string {
  return path.join(scratch, 'containers.conf');
}

/** Podman 5 says of version 1 of control groups that their time is over, and goes on with them when it is told to. */
function environmentOf(scratch: string): Record<string, string> {
  return cleanEnvironment({ PODMAN_IGNORE_CGROUPSV1_WARNING: '1', CONTAINERS_CONF: configurationOf(scratch) });
}

function readVersion(program: string): string {
  return /[\d.]+/.exec(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout)?.[0] ?? 'unknown';
}

/** Podman removes what it has made: pods, containers, their mounts and rules; it needs no service for that. */
function erase(program: string, scratch: string): void {
  const run = (...args: readonly string[]): void =>
    void spawnSync(program, [...flagsOf(scratch), ...args], {
      env: environmentOf(scratch),
      stdio: 'ignore',
      timeout: 60_000,
    });
  run('pod', 'rm', '--all', '--force', '--time=0');
  // Twice, because one that another one depends on goes after it.
  for (let turn = 0; turn < 2; turn++) run('rm', '--all', '--force', '--time=0');
  // What it has not ended: each container is a child of its conmon.
  killProcessesOf(scratch, ['podman', 'conmon']);
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(`${scratch}/`))
    .sort((a, b) => b.length - a.length);
  if (mounts.length > 0) spawnSync('umount', ['--lazy', ...mounts]);
  const note = path.join(scratch, 'subnet');
  const subnet = existsSync(note) ? Number(readFileSync(note, 'utf8')) : 0;
  for (const { name, address } of addressesOfBridges()) {
    if (isOf(subnet, address)) spawnSync(requireCommand('ip'), ['link', 'delete', name]);
  }
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
}
