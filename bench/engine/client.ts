/**
 * A simulated engine in a child process, as its parent holds it.
 *
 * A call that the engine refuses rejects with its words; when the process ends, every call that
 * waits does. `close` leaves no process, socket or directory; neither does the end of the parent,
 * however sudden, because the child ends when its channel does.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Commands, commands, type FromEngine, type ToEngine } from './commands.ts';

export interface ForkOptions {
  /** Default: a socket in a temporary directory, unless a port is asked for. */
  readonly socketPath?: string;
  /** On 127.0.0.1; 0 for any free one. */
  readonly port?: number;
  readonly api?: '1.41' | '1.52';
  readonly minApi?: string;
  /** Running from the start: `DISCOVER=service-<number>:8080`, port 8080 published. */
  readonly containers?: number;
  readonly bodyBytes?: number;
  readonly seed?: number;
  readonly portRange?: readonly [number, number];
}

export interface EngineHandle extends Commands, AsyncDisposable {
  /** Empty where it listens on a port. */
  readonly socketPath: string;
  readonly port: number | undefined;
  readonly pid: number;
  close(): Promise<void>;
}

/** Loaded from where it is, whatever the parent runs TypeScript with. */
const loader = new URL('../../test/loader.mjs', import.meta.url).href;
const stopTimeoutMs = 3_000;

export async function forkEngine(options: ForkOptions = {}): Promise<EngineHandle> {
  const flags: Record<string, string | number | undefined> = {
    socket: options.socketPath,
    port: options.port,
    api: options.api,
    'min-api': options.minApi,
    containers: options.containers,
    'body-bytes': options.bodyBytes,
    seed: options.seed,
    'port-range': options.portRange?.join('-'),
  };
  const args = Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [`--${flag}=${value}`]));
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  // Coverage is measured of discover only; an engine would write 1 MB about itself at its end.
  const env = { ...process.env, NODE_V8_COVERAGE: '' };
  const child = fork(main, args, { execArgv: ['--import', loader], stdio: 'inherit', env });
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  const exited = once(child, 'exit');
  let calls = 0;

  const ready = new Promise<FromEngine & { kind: 'ready' }>((resolve, reject) => {
    child.on('message', (message: FromEngine) => {
      if (message.kind === 'ready') return resolve(message);
      const call = waiting.get(message.call);
      waiting.delete(message.call);
      if (message.kind === 'result') call?.resolve(message.value);
      else call?.reject(new Error(message.message));
    });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      const error = new Error(`The simulated engine has ended (${signal ?? code})`);
      reject(error);
      for (const call of waiting.values()) call.reject(error);
      waiting.clear();
    });
  });

  const call = (name: keyof Commands, args: unknown[]): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (!child.connected) return reject(new Error('The simulated engine has ended'));
      const message: ToEngine = { call: ++calls, name, args };
      waiting.set(message.call, { resolve, reject });
      child.send(message);
    });
  const names = Object.keys(commands) as (keyof Commands)[];
  const promised = names.map((name) => [name, (...args: unknown[]) => call(name, args)]);

  const { socketPath = '', port } = await ready;
  const close = async (): Promise<void> => {
    if (child.connected) child.disconnect();
    const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
    if (child.exitCode === null && child.signalCode === null) await exited;
    clearTimeout(timer);
    // What a killed child could not take away itself.
    if (socketPath) await rm(options.socketPath ?? dirname(socketPath), { recursive: true, force: true });
  };
  return {
    ...(Object.fromEntries(promised) as Commands),
    socketPath,
    port,
    pid: child.pid ?? 0,
    close,
    [Symbol.asyncDispose]: close,
  };
}
