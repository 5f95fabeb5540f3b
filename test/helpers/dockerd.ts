/**
 * A real dockerd of the test's own, beside any other on the machine: own data, socket, bridge
 * and subnets, no iptables rules, and an image made of busybox, so nothing is ever pulled.
 *
 * Published ports work through docker-proxy. Without iptables a start takes 0.2 s instead of 2 s,
 * and a daemon cannot flush the rules of its neighbour, which dockerd does when it starts.
 *
 * Containers ignore being asked to stop, as PID 1 does by default, so they are made with
 * `--stop-signal KILL`: a stop is then as quick as a kill and emits the same events.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import http from 'node:http';
import os from 'node:os';
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
  killProcessesOf,
  pauseNow,
  requireCommand,
  scratchDirectory,
} from './run.ts';

export interface DockerdOptions {
  readonly liveRestore?: boolean;
  /** Its data lies on a disk of its own, in memory and of this size. */
  readonly dataBytes?: number;
  /** Appended to dockerd's own arguments. */
  readonly args?: readonly string[];
}

export interface Dockerd extends EngineClient, AsyncDisposable {
  readonly dataDir: string;
  /** Address of the bridge on the host's side. */
  readonly gateway: string;
  readonly pid: number;
  /** SIGTERM: containers end too, unless live-restore is on. Resolves when the daemon has ended. */
  stop(): Promise<void>;
  /** SIGKILL: containers run on. */
  kill(): Promise<void>;
  pause(): void;
  resume(): void;
  /** Starts the daemon again if it does not run, on the same data and socket. */
  restart(): Promise<void>;
  log(): string;
  /** Ends containers and daemon, the hard way, and removes every trace. */
  close(): Promise<void>;
}

const runFile = promisify(execFile);

export async function startDockerd(options: DockerdOptions = {}): Promise<Dockerd> {
  const program = requireCommand('dockerd');
  // A unix socket's path ends at 107 bytes, and containerd adds 38 to this one.
  const parent = os.tmpdir().length > 25 ? '/tmp' : os.tmpdir();
  for (const directory of abandoned('dockerd', parent)) erase(directory);

  const scratch = scratchDirectory('dockerd', parent);
  const forget = atExit(() => erase(scratch));
  const socketPath = path.join(scratch, 'docker.sock');
  const dataDir = path.join(scratch, 'data');
  const exec = path.join(scratch, 'exec');
  const logFile = path.join(scratch, 'log');
  const pidFile = path.join(scratch, 'docker.pid');
  const configFile = path.join(scratch, 'daemon.json');
  writeFileSync(configFile, '{}'); // or the machine's own would be read, and clash with the flags
  const env = cleanEnvironment({ DOCKER_CONFIG: path.join(scratch, 'client') });
  let child: ChildProcess | undefined;
  let subnet = 0;

  const isRunning = (): boolean => child?.exitCode === null && child.signalCode === null;
  const launch = (): void => {
    // After SIGKILL these name pids that may by now be somebody else's; dockerd would refuse to start.
    for (const stale of [pidFile, path.join(exec, 'containerd/containerd.pid')]) rmSync(stale, { force: true });
    const output = openSync(logFile, 'a');
    const flags = [
      `--config-file=${configFile}`,
      `--data-root=${dataDir}`,
      `--exec-root=${exec}`,
      `--pidfile=${pidFile}`,
      `--host=unix://${socketPath}`,
      `--bridge=dsc${subnet}`,
      `--default-address-pool=base=172.31.${subnet}.0/24,size=28`,
      '--iptables=false',
      '--ip6tables=false',
      '--ip-masq=false',
      '--ip-forward=false',
      ...(options.liveRestore === true ? ['--live-restore'] : []),
    ];
    child = spawn(program, [...flags, ...(options.args ?? [])], { stdio: ['ignore', output, output], env });
    closeSync(output);
    child.unref(); // one that was forgotten must not keep the test from ending; atExit ends it
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child === undefined || !isRunning()) return;
    child.ref();
    const exit = exitOf(child);
    child.kill(signal);
    await exit;
  };
  const dockerd: Dockerd = {
    ...createEngineClient(socketPath, scratch),
    dataDir,
    get gateway() {
      return `172.30.${subnet}.1`;
    },
    get pid() {
      return child?.pid ?? -1;
    },
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    pause: () => {
      child?.kill('SIGSTOP');
    },
    resume: () => {
      child?.kill('SIGCONT');
    },
    restart: () =>
      withPortRange(subnet, async () => {
        if (!isRunning()) launch();
        // After a SIGKILL with containers left, dockerd takes up to 11 s to clear them away before it answers.
        const answered = await eventually(
          async () => {
            if (!isRunning()) return false;
            await ping(socketPath);
            return true;
          },
          { everyMs: 10 },
        );
        if (!answered) throw new Error(`dockerd has ended. Its log:\n${dockerd.log().slice(-3000)}`);
      }),
    log: () => readFileSync(logFile, 'utf8'),
    close: async () => {
      await end('SIGKILL');
      erase(scratch);
      forget();
    },
    [Symbol.asyncDispose]: () => dockerd.close(),
  };
  try {
    if (options.dataBytes !== undefined) {
      mkdirSync(dataDir);
      await runFile('mount', ['-t', 'tmpfs', '-o', `size=${options.dataBytes}`, 'tmpfs', dataDir]);
    }
    subnet = claimBridge(scratch);
    await dockerd.restart();
  } catch (error) {
    await dockerd.close();
    throw error;
  }
  return dockerd;
}

const portRange = '/proc/sys/net/ipv4/ip_local_port_range';
const portLock = path.join(os.tmpdir(), 'dsc-port-range');

/**
 * Runs `start` while the machine's range of local ports is a thousand of our own. A daemon reads it when
 * it starts and hands out host ports from it ever after; two with one range take each other's, and a
 * container that should come back by itself then does not. One daemon at a time, over all processes.
 */
async function withPortRange(subnet: number, start: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      mkdirSync(portLock);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      // Left by a test that was killed: no start takes this long.
      const age = Date.now() - (statSync(portLock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (age > 90_000) {
        writeFileSync(portRange, readFileSync(path.join(portLock, 'range'), 'utf8'));
        rmSync(portLock, { recursive: true, force: true });
      }
      await sleep(20);
    }
  }
  const range = readFileSync(portRange, 'utf8');
  writeFileSync(path.join(portLock, 'range'), range);
  const first = 32_768 + (subnet % 28) * 1_000;
  const restore = (): void => {
    writeFileSync(portRange, range);
    rmSync(portLock, { recursive: true, force: true });
  };
  const forget = atExit(restore);
  try {
    writeFileSync(portRange, `${first} ${first + 999}`);
    await start();
  } finally {
    restore();
    forget();
  }
}

function ping(socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(5000);
    const request = http.get({ socketPath, path: '/_ping', agent: false, signal }, (response) => {
      response.resume();
      response.on('error', reject);
      response.on('end', () =>
        response.statusCode === 200 ? resolve() : reject(new Error(`_ping: ${response.statusCode}`)),
      );
    });
    request.on('error', reject);
  });
}

function ip(...args: readonly string[]): { readonly ok: boolean; readonly stdout: string; readonly stderr: string } {
  const { status, stdout, stderr } = spawnSync(requireCommand('ip'), args, { encoding: 'utf8' });
  return { ok: status === 0, stdout, stderr };
}

/**
 * Makes a bridge `dsc<x>` with 172.30.x.1/24 and returns x; 172.31.x.0/24 is then for the networks
 * a test creates. The kernel makes a name once only, so that is the lock between test processes.
 */
function claimBridge(scratch: string): number {
  const addresses = ip('-oneline', '-4', 'address').stdout;
  const offset = Math.floor(Math.random() * 254);
  let lastError = '';
  for (let step = 0; step < 254; step++) {
    const subnet = ((offset + step) % 254) + 1;
    if (addresses.includes(` 172.30.${subnet}.`) || addresses.includes(` 172.31.${subnet}.`)) continue;
    // Noted before it is made: a bridge without a note would never be removed.
    writeFileSync(path.join(scratch, 'subnet'), String(subnet));
    const made = ip('link', 'add', `dsc${subnet}`, 'type', 'bridge');
    if (made.ok) {
      ip('address', 'add', `172.30.${subnet}.1/24`, 'dev', `dsc${subnet}`);
      ip('link', 'set', `dsc${subnet}`, 'up');
      return subnet;
    }
    rmSync(path.join(scratch, 'subnet'));
    lastError = made.stderr;
  }
  throw new Error(`No bridge can be made (root is needed): ${lastError}`);
}

/**
 * Removes a daemon and all it has made, whatever state it is in: one way for close, for exit and
 * for what a killed test has left. Asking the daemon to do it would need one that answers.
 */
function erase(scratch: string): void {
  const programs = ['dockerd', 'containerd', 'containerd-shim-runc-v2', 'containerd-shim', 'runc', 'docker-proxy'];
  killProcessesOf(scratch, programs);

  // The shims' sockets lie outside; the name of each is noted in its bundle.
  const bundles = path.join(scratch, 'exec/containerd/daemon/io.containerd.runtime.v2.task/moby');
  for (const id of list(bundles)) {
    const note = path.join(bundles, id, 'address');
    if (existsSync(note)) rmSync(readFileSync(note, 'utf8').replace('unix://', ''), { force: true });
  }
  for (const id of list(path.join(scratch, 'data/containers'))) removeCgroups(id);

  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(`${scratch}/`))
    .sort((a, b) => b.length - a.length);
  // Lazy, for a mount that a process which is still ending keeps busy.
  if (mounts.length > 0 && spawnSync('umount', mounts).status !== 0) spawnSync('umount', ['--lazy', ...mounts]);

  const note = path.join(scratch, 'subnet');
  if (existsSync(note)) {
    const subnet = readFileSync(note, 'utf8');
    // "12: br-0a1b    inet 172.31.7.1/28 ..." for the networks a test has created.
    const created = [...ip('-oneline', '-4', 'address').stdout.matchAll(/^\d+: (\S+)\s+inet ([\d.]+)/gm)]
      .filter(([, , address = '']) => address.startsWith(`172.31.${subnet}.`))
      .map(([, name = '']) => name);
    for (const bridge of [`dsc${subnet}`, ...created]) {
      for (const [, port = ''] of ip('-oneline', 'link', 'show', 'master', bridge).stdout.matchAll(
        /^\d+: ([^@:]+)/gm,
      )) {
        ip('link', 'delete', port);
      }
      ip('link', 'delete', bridge);
    }
  }
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
}

function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

// Version 1 has a tree per controller, version 2 one; with systemd the scope goes by itself.
function removeCgroups(id: string): void {
  const root = '/sys/fs/cgroup';
  for (const directory of [root, ...list(root).map((name) => path.join(root, name))]) {
    for (let attempt = 0; attempt < 200; attempt++) {
      try {
        rmdirSync(path.join(directory, 'docker', id));
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EBUSY') break; // not there
      }
      // A process leaves its group a little after it has lost its command line, by which we saw it end.
      pauseNow(5);
    }
  }
}
