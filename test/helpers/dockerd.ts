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
  copyFileSync,
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
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { argumentsOf, type ContainerOptions, documentOf } from './docker-run.ts';
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

export interface Inspection {
  readonly Id: string;
  readonly Name: string;
  readonly State: {
    readonly Status: string;
    readonly Running: boolean;
    readonly Pid: number;
    readonly StartedAt: string;
  };
  readonly NetworkSettings: {
    readonly Ports: Readonly<Record<string, readonly { readonly HostIp: string; readonly HostPort: string }[] | null>>;
  };
}

export interface Dockerd extends AsyncDisposable {
  readonly socketPath: string;
  readonly dataDir: string;
  /** Address of the bridge on the host's side. */
  readonly gateway: string;
  readonly pid: number;
  /** Runs the command line client and returns what it wrote to stdout, trimmed. */
  docker(...args: readonly string[]): Promise<string>;
  /** Asks the API itself: for what is too much for a command line, and where a process each would be most of the cost. */
  ask(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    body?: object,
  ): Promise<{ readonly status: number; readonly said: string }>;
  /** Starts a container and returns its full id. */
  run(options?: ContainerOptions): Promise<string>;
  /** Makes, once, a busybox image with the changes, such as `ENV DISCOVER=web:80`; returns its name. */
  image(changes?: readonly string[]): Promise<string>;
  inspect(id: string): Promise<Inspection>;
  /** The published port, as inspect shows it, of `80/tcp` for example. */
  hostPort(id: string, port: string): Promise<number | undefined>;
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
  const client = requireCommand('docker');
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
  const images = new Map<string, Promise<string>>();

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
  const docker = async (...args: readonly string[]): Promise<string> => {
    const call = async () => runFile(client, ['-H', `unix://${socketPath}`, ...args], { env, maxBuffer: 1 << 28 });
    // Another test's daemon hands out host ports from the same range, and may have been faster.
    const isTaken = (error: unknown): boolean => /address already in use/.test(String(error));
    for (let tries = 1; ; tries++) {
      try {
        return (await call()).stdout.trimEnd();
      } catch (error) {
        // One of --rm may be on its way out by itself.
        if (args[0] === 'rm' && /already in progress/.test(String(error))) return '';
        if (args[0] === 'run' || tries > 5 || !isTaken(error)) throw error;
      }
    }
  };

  interface Begun {
    readonly id: string;
    readonly problem?: string;
  }
  /** As `docker run --detach` does it, without a process for it. */
  const byApi = async (container: ContainerOptions, image: string): Promise<Begun> => {
    const name = container.name === undefined ? '' : `?name=${container.name}`;
    const created = await dockerd.ask('POST', `/containers/create${name}`, documentOf(container, image));
    if (created.status !== 201) return { id: '', problem: created.said };
    const { Id: id } = JSON.parse(created.said) as { Id: string };
    const { status, said } = await dockerd.ask('POST', `/containers/${id}/start`);
    return status === 204 ? { id } : { id, problem: said };
  };
  const byCommand = async (container: ContainerOptions, image: string): Promise<Begun> => {
    try {
      return { id: await docker(...argumentsOf(container, image)) };
    } catch (error) {
      const { stdout = '', stderr } = error as { stdout?: string; stderr?: string };
      return { id: stdout.trim(), problem: stderr ?? String(error) };
    }
  };

  const importImage = async (changes: readonly string[], name: string): Promise<string> => {
    const root = path.join(scratch, 'root');
    if (!existsSync(root)) {
      mkdirSync(path.join(root, 'bin'), { recursive: true });
      copyFileSync(requireCommand('busybox'), path.join(root, 'bin/busybox'));
    }
    const archive = path.join(scratch, `${name}.tar`);
    await runFile('tar', ['-C', root, '-cf', archive, '.']);
    const flags = ['ENTRYPOINT ["/bin/busybox"]', ...changes].flatMap((change) => ['--change', change]);
    await docker('import', ...flags, archive, name);
    rmSync(archive);
    return name;
  };

  const dockerd: Dockerd = {
    socketPath,
    dataDir,
    get gateway() {
      return `172.30.${subnet}.1`;
    },
    get pid() {
      return child?.pid ?? -1;
    },
    docker,
    ask: async (method, path, body) => {
      const headers = { 'content-type': 'application/json' };
      const options = { socketPath, method, path: `/v1.41${path}`, headers, agent: false };
      const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
        http
          .request(options, resolve)
          .on('error', reject)
          .end(body && JSON.stringify(body));
      });
      return { status: response.statusCode ?? 0, said: await text(response) };
    },
    image: (changes = []) => {
      const key = changes.join('\n');
      const made = images.get(key) ?? importImage(changes, `busybox-${images.size}`);
      images.set(key, made);
      return made;
    },
    run: async (container = {}) => {
      const image = container.image ?? (await dockerd.image());
      for (let attempt = 1; ; attempt++) {
        const { id, problem } = await (container.args === undefined ? byApi : byCommand)(container, image);
        if (problem === undefined) return id;
        // Daemons pick random ports from one range without knowing of each other; each try moves on.
        if (attempt === 5 || !/address already in use|port is already allocated/.test(problem)) throw Error(problem);
        if (id !== '') await docker('rm', '--force', id).catch(() => undefined); // gone already with --rm
      }
    },
    inspect: async (id) => {
      const { status, said } = await dockerd.ask('GET', `/containers/${encodeURIComponent(id)}/json`);
      if (status !== 200) throw new Error(`Cannot inspect ${id}: ${status} ${said}`);
      return JSON.parse(said) as Inspection;
    },
    hostPort: async (id, port) => {
      const binding = (await dockerd.inspect(id)).NetworkSettings.Ports[port]?.[0];
      return binding === undefined ? undefined : Number(binding.HostPort);
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
    } catch {
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
