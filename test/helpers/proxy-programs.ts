/**
 * Real proxies of the test's own: HAProxy, nginx and etcd's grpc-proxy. Each is one process, so that a kill ends all of
 * it, and it comes back at the same place.
 *
 * A test gives the configuration; this file adds what has nothing to do with the traffic: where logs and scratch files go.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { eventually } from './eventually.ts';
import { atExit, cleanEnvironment, exitOf, requireCommand } from './run.ts';

export interface ProxyProgram extends AsyncDisposable {
  /** All that it wrote since its first start. */
  readonly said: string;
  /** Ends it at once, with all connections. */
  kill(): Promise<void>;
  /** Starts it, and waits until it listens. */
  start(): Promise<void>;
}

/** A path or `host:port`. */
type Listener = string;

const canConnect = (listener: Listener): Promise<boolean> =>
  new Promise((resolve) => {
    const [host = '', port = ''] = listener.split(':');
    const socket = net.connect(listener.startsWith('/') ? { path: listener } : { host, port: Number(port) });
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });

async function startProgram(
  command: string,
  args: readonly string[],
  listeners: readonly Listener[],
): Promise<ProxyProgram> {
  let said = '';
  let child: ChildProcess | undefined;
  const forget = atExit(() => child?.kill('SIGKILL'));
  const program: ProxyProgram = {
    get said() {
      return said;
    },
    start: async () => {
      const started = spawn(requireCommand(command), args, {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: cleanEnvironment(),
      });
      child = started;
      for (const stream of [started.stdout, started.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => {
          said += text;
        });
      }
      await eventually(async () => {
        if (started.exitCode !== null) return;
        const answers = await Promise.all(listeners.map(canConnect));
        if (answers.includes(false)) throw new Error(`${command} does not listen yet:\n${said.slice(-3000)}`);
      });
      if (started.exitCode !== null) throw new Error(`${command} has ended:\n${said.slice(-3000)}`);
    },
    kill: async () => {
      child?.kill('SIGKILL');
      if (child !== undefined) await exitOf(child);
    },
    [Symbol.asyncDispose]: async () => {
      await program.kill();
      forget();
    },
  };
  try {
    await program.start();
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  return program;
}

/** `directory` is for this one alone. */
export function startHaproxy(
  directory: string,
  configuration: string,
  listeners: readonly Listener[],
): Promise<ProxyProgram> {
  const file = path.join(directory, 'haproxy.cfg');
  writeFileSync(file, configuration);
  return startProgram('haproxy', ['-db', '-f', file], listeners);
}

/** `http`: what is in its block `http`. */
export function startNginx(directory: string, http: string, listeners: readonly Listener[]): Promise<ProxyProgram> {
  const scratch = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `    ${kind}_temp_path ${path.join(directory, kind)};\n`,
  );
  const file = path.join(directory, 'nginx.conf');
  // Without a master, because a worker would outlive its kill and keep the port.
  const configuration = [
    `daemon off;\nmaster_process off;\npid ${path.join(directory, 'nginx.pid')};\nerror_log stderr info;\n`,
    `events {}\nhttp {\n    access_log off;\n${scratch.join('')}${http}\n}\n`,
  ];
  writeFileSync(file, configuration.join(''));
  return startProgram('nginx', ['-p', directory, '-e', 'stderr', '-c', file], listeners);
}

export function startGrpcProxy(args: readonly string[], port: number): Promise<ProxyProgram> {
  const listener = `127.0.0.1:${port}`;
  const own = [`--listen-addr=${listener}`, `--advertise-client-url=${listener}`];
  return startProgram('etcd', ['grpc-proxy', 'start', ...own, ...args], [listener]);
}
