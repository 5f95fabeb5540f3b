/**
 * A client of an engine that a test has started, Docker's or Podman's: by the API wherever it can be, because a process
 * of the command line client takes more of a core than what it is there to ask for.
 */
import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { argumentsOf, type ContainerOptions, documentOf } from './docker-run.ts';
import { guardMs } from './eventually.ts';
import { cleanEnvironment, requireCommand } from './run.ts';

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

export interface EngineClient {
  readonly socketPath: string;
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
}

const runFile = promisify(execFile);

/** So long one call may take: an engine that has lost sight of a container's end lets a stop wait for ever. */
const callMs = 2 * guardMs;

/** `scratch` is a directory for what the client makes, and has the engine's log. */
export function createEngineClient(socketPath: string, scratch: string): EngineClient {
  const program = requireCommand('docker');
  const env = cleanEnvironment({ DOCKER_CONFIG: path.join(scratch, 'client') });
  const images = new Map<string, Promise<string>>();
  const stuck = (call: string): Error => {
    const log = readFileSync(path.join(scratch, 'log'), 'utf8').slice(-3000);
    return new Error(`The engine has not answered within ${callMs / 1000} s: ${call}. The end of its log:\n${log}`);
  };
  const docker = async (...args: readonly string[]): Promise<string> => {
    const limits = { maxBuffer: 1 << 28, timeout: callMs, killSignal: 'SIGKILL' } as const;
    const call = async () => runFile(program, ['-H', `unix://${socketPath}`, ...args], { env, ...limits });
    // Another test's daemon hands out host ports from the same range, and may have been faster.
    const isTaken = (error: unknown): boolean => /address already in use/.test(String(error));
    for (let tries = 1; ; tries++) {
      try {
        return (await call()).stdout.trimEnd();
      } catch (error) {
        if ((error as { killed?: boolean }).killed) throw stuck(args.join(' '));
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
    const created = await client.ask('POST', `/containers/create${name}`, documentOf(container, image));
    if (created.status !== 201) return { id: '', problem: created.said };
    const { Id: id } = JSON.parse(created.said) as { Id: string };
    const { status, said } = await client.ask('POST', `/containers/${id}/start`);
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

  const client: EngineClient = {
    socketPath,
    docker,
    ask: async (method, path, body) => {
      const headers = { 'content-type': 'application/json' };
      const signal = AbortSignal.timeout(callMs);
      const options = { socketPath, method, path: `/v1.41${path}`, headers, agent: false, signal };
      try {
        const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
          http
            .request(options, resolve)
            .on('error', reject)
            .end(body && JSON.stringify(body));
        });
        return { status: response.statusCode ?? 0, said: await text(response) };
      } catch (error) {
        throw signal.aborted ? stuck(`${method} ${path}`) : error;
      }
    },
    image: (changes = []) => {
      const key = changes.join('\n');
      const made = images.get(key) ?? importImage(changes, `busybox-${images.size}`);
      images.set(key, made);
      return made;
    },
    run: async (container = {}) => {
      const image = container.image ?? (await client.image());
      for (let attempt = 1; ; attempt++) {
        const { id, problem } = await (container.args === undefined ? byApi : byCommand)(container, image);
        if (problem === undefined) return id;
        // Daemons pick random ports from one range without knowing of each other; each try moves on.
        if (attempt === 5 || !/address already in use|port is already allocated/.test(problem)) throw Error(problem);
        if (id !== '') await docker('rm', '--force', id).catch(() => undefined); // gone already with --rm
      }
    },
    inspect: async (id) => {
      const { status, said } = await client.ask('GET', `/containers/${encodeURIComponent(id)}/json`);
      if (status !== 200) throw new Error(`Cannot inspect ${id}: ${status} ${said}`);
      return JSON.parse(said) as Inspection;
    },
    hostPort: async (id, port) => {
      const binding = (await client.inspect(id)).NetworkSettings.Ports[port]?.[0];
      return binding === undefined ? undefined : Number(binding.HostPort);
    },
  };
  return client;
}
